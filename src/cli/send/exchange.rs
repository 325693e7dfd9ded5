//! One request and its answer, through the client that the bridge uses.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tower::ServiceExt as _;

use super::Sample;
use super::judgement::{self, Expected, Judgement};
use crate::clock::Clock;
use crate::config::Destination;
use crate::config::secret::Secret;
use crate::event::RequestId;
use crate::telemetry::spans::Sampled;
use crate::tls::Roots;
use crate::webhook::client::{Client, ClientError, client};
use crate::webhook::extras::Extras;
use crate::webhook::keyring::{Keyring, Which};
use crate::webhook::request::Outgoing;
use crate::webhook::signature::Signer;
use crate::webhook::validation::{plain_token, question};
use crate::webhook::verdict::{Answer, SendError};

/// Is the handler that is tried.
pub(super) struct Handler {
    client: Client,
    keyring: Keyring,
    extras: Option<Extras>,
    /// What an answer is shown without.
    secrets: Vec<Secret>,
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
    /// Makes ready what a bridge would send to this destination, one request at a time.
    pub(super) fn new(destination: Destination, clock: Clock) -> Result<Self, ClientError> {
        let destination = Destination { concurrency: 1, ..destination };
        let next = destination.next_secret_token.as_ref().map(|next| next.token.clone());
        Ok(Self {
            client: client(&destination, &Roots::load(), &clock)?,
            keyring: Keyring::new(&destination),
            extras: Extras::of(&destination),
            secrets: std::iter::once(destination.secret_token).chain(next).collect(),
            clock,
        })
    }

    pub(super) fn request_id(&self) -> RequestId {
        self.clock.request_id()
    }

    /// Sends a sample, and judges the answer.
    pub(super) async fn exchange(&self, sample: &Sample, request_id: RequestId, expected: Expected) -> Exchange {
        let secret = self.keyring.in_force(None, self.clock.now());
        let (mut result, mut took) = self.post(self.request(sample, request_id, expected, secret), request_id).await;
        let other = match expected {
            Expected::Accept | Expected::AcceptOld(_) | Expected::Either(_) => self.keyring.other(secret, &result),
            Expected::RefuseForged | Expected::RefuseStale(_) => None,
        };
        if let Some(other) = other {
            (result, took) = self.post(self.request(sample, request_id, expected, other), request_id).await;
        }
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

    fn request(&self, sample: &Sample, request_id: RequestId, expected: Expected, secret: Which) -> Outgoing {
        let (now, body, signer) = (self.clock.now(), sample.body.clone(), self.keyring.signer(secret));
        match expected {
            Expected::Accept | Expected::Either(_) => Outgoing::signed(body, request_id, signer, now),
            Expected::AcceptOld(age) | Expected::RefuseStale(age) => {
                Outgoing::signed(body, request_id, signer, before(now, age))
            }
            Expected::RefuseForged => {
                let another = Secret::new(self.clock.request_id().to_string());
                Outgoing::signed(body, request_id, &Signer::new(&another), now)
            }
        }
    }

    /// Asks for the URL validation, and judges the answer.
    pub(super) async fn validate(&self) -> Exchange {
        let secret = self.keyring.in_force(None, self.clock.now());
        let asked = self.ask(secret).await;
        match self.keyring.alternative(secret) {
            Some(other) if !asked.judgement.good => self.ask(other).await,
            Some(_) | None => asked,
        }
    }

    async fn ask(&self, secret: Which) -> Exchange {
        let (request_id, signer) = (self.clock.request_id(), self.keyring.signer(secret));
        let plain_token = plain_token(self.clock.request_id().uuid());
        let outgoing = question(&plain_token, request_id, signer, self.clock.now());
        let bytes = outgoing.body.len();
        let (result, took) = self.post(outgoing, request_id).await;
        let judgement = judgement::judge_validation(&result, took, &plain_token, signer);
        let event = "endpoint.url_validation".to_owned();
        Exchange { event, bytes, request_id, expected: Expected::Accept, result, took, judgement }
    }

    /// Posts a request; an answer that quotes a secret token is shown without it.
    async fn post(&self, mut outgoing: Outgoing, request_id: RequestId) -> (Result<Answer, SendError>, Duration) {
        if let Some(extras) = &self.extras {
            extras.add(&mut outgoing, request_id, self.clock.span_id(), Sampled::Yes);
        }
        let begun = self.clock.instant();
        let mut result = self.client.clone().oneshot(outgoing).await;
        let took = begun.elapsed();
        if let Ok(answer) = &mut result {
            for secret in &self.secrets {
                answer.excerpt = answer.excerpt.replace(secret.expose(), "***");
            }
        }
        (result, took)
    }
}

fn before(now: Timestamp, seconds: u64) -> Timestamp {
    let age = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    now.saturating_sub(age).unwrap_or(Timestamp::MIN)
}
