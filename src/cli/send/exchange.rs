//! One request and its answer, through the client that the bridge uses.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tower::ServiceExt as _;
use url::Url;

use super::Sample;
use super::judgement::{self, Expected, Judgement};
use crate::clock::Clock;
use crate::config::secret::Secret;
use crate::config::{BodyForm, Destination};
use crate::event::RequestId;
use crate::webhook::client::{Client, ClientError, client};
use crate::webhook::request::Outgoing;
use crate::webhook::signature::Signer;
use crate::webhook::validation::{plain_token, question};
use crate::webhook::verdict::{Answer, SendError};

/// Is the handler that is tried.
pub(super) struct Handler {
    client: Client,
    signer: Signer,
    secret_token: Secret,
    clock: Clock,
}

/// Is what became of one request.
pub(super) struct Exchange {
    pub(super) event: String,
    pub(super) bytes: usize,
    pub(super) request_id: RequestId,
    pub(super) expected: Expected,
    pub(super) result: Result<Answer, SendError>,
    pub(super) took: Duration,
    pub(super) judgement: Judgement,
}

impl Handler {
    pub(super) fn new(
        url: &Url,
        secret_token: Secret,
        timeout: Duration,
        ca_file: Option<PathBuf>,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let destination = Destination {
            // Samples are posted as they are given.
            body: BodyForm::Verbatim,
            timeout,
            concurrency: 1,
            ca_file,
            ..Destination::new("send", url.clone(), secret_token)
        };
        let (client, signer) = (client(&destination)?, Signer::new(&destination.secret_token));
        Ok(Self { client, signer, secret_token: destination.secret_token, clock })
    }

    pub(super) fn request_id(&self) -> RequestId {
        self.clock.request_id()
    }

    /// Sends a sample, and judges the answer.
    pub(super) async fn exchange(&self, sample: &Sample, request_id: RequestId, expected: Expected) -> Exchange {
        let now = self.clock.now();
        let body = sample.body.clone();
        let outgoing = match expected {
            Expected::Accept => Outgoing::signed(body, request_id, &self.signer, now),
            Expected::AcceptOld(age) | Expected::RefuseStale(age) => {
                Outgoing::signed(body, request_id, &self.signer, before(now, age))
            }
            Expected::RefuseForged => {
                let another = Secret::new(self.clock.request_id().to_string());
                Outgoing::signed(body, request_id, &Signer::new(&another), now)
            }
        };
        let (result, took) = self.post(outgoing).await;
        let judgement = judgement::judge(&result, took, expected, self.clock.now());
        Exchange {
            event: sample.event.clone().into_owned(),
            bytes: sample.body.len(),
            request_id,
            expected,
            result,
            took,
            judgement,
        }
    }

    /// Asks for the URL validation, and judges the answer.
    pub(super) async fn validate(&self) -> Exchange {
        let request_id = self.clock.request_id();
        let plain_token = plain_token(self.clock.request_id().uuid());
        let outgoing = question(&plain_token, request_id, &self.signer, self.clock.now());
        let bytes = outgoing.body.len();
        let (result, took) = self.post(outgoing).await;
        let judgement = judgement::judge_validation(&result, took, &plain_token, &self.signer);
        let event = "endpoint.url_validation".to_owned();
        Exchange { event, bytes, request_id, expected: Expected::Accept, result, took, judgement }
    }

    /// Posts a request; an answer that quotes the secret token is shown without it.
    async fn post(&self, outgoing: Outgoing) -> (Result<Answer, SendError>, Duration) {
        let begun = self.clock.instant();
        let mut result = self.client.clone().oneshot(outgoing).await;
        let took = begun.elapsed();
        if let Ok(answer) = &mut result {
            answer.excerpt = answer.excerpt.replace(self.secret_token.expose(), "***");
        }
        (result, took)
    }
}

fn before(now: Timestamp, seconds: u64) -> Timestamp {
    let age = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    now.saturating_sub(age).unwrap_or(Timestamp::MIN)
}
