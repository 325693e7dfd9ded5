//! One attempt, from the request to what is kept of its failure.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tower::{Service, ServiceExt as _};

use super::Settings;
use crate::clock::Clock;
use crate::dispatch::body;
use crate::dispatch::order::Item;
use crate::spool::settlement::FailedAttempt;
use crate::spool::store::Due;
use crate::telemetry::spans::{Begun, Spans};
use crate::webhook::keyring::Which;
use crate::webhook::probe::{ProbeError, ask};
use crate::webhook::request::Outgoing;
use crate::webhook::stale::anew_if_stale;
use crate::webhook::verdict::{Answer, Cause, SendError, Verdict};

/// Says why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To deliver.
    Deliver,
    /// To find out whether the handler is back, too.
    Probe,
}

/// Is what was in flight and has ended.
pub(super) enum Ended<S> {
    /// An attempt.
    Attempt(Finished<S>),
    /// A probe by URL validation.
    Probe {
        /// The secret token that the handler has in place of the one in force, if so.
        outcome: Result<Option<Which>, ProbeError>,
        /// What it was made under.
        settings: Arc<Settings<S>>,
    },
}

/// Is an attempt that has ended.
pub(super) struct Finished<S> {
    pub(super) item: Item,
    pub(super) purpose: Purpose,
    /// The secret token that signed, if the handler had refused the other one.
    pub(super) instead: Option<Which>,
    /// How the body was posted, if JavaScript would write it differently.
    pub(super) rewritten: Option<body::Change>,
    pub(super) result: Result<Answer, SendError>,
    pub(super) started_at: Timestamp,
    pub(super) elapsed: Duration,
    /// What it was made under.
    pub(super) settings: Arc<Settings<S>>,
}

impl<S> Settings<S> {
    /// Makes one request of an attempt, with a timestamp and a signature of its own.
    fn request(&self, due: &Due, body: Bytes, secret: Which, begun: Begun, clock: &Clock) -> Outgoing {
        let event = &due.event;
        let mut outgoing = Outgoing::new(event, body, self.keyring.signer(secret), clock.now()).replayed(due.replays);
        if let Some(extras) = &self.extras {
            let (span, sampled) = begun.context(clock);
            extras.add(&mut outgoing, event.request_id, span, sampled);
        }
        outgoing
    }
}

/// Makes an attempt, signed with one of the secret tokens. A panic of the client is a failed attempt.
///
/// Two things are worth another request at once, within the attempt: a kept connection that the handler had closed, and
/// a refusal where there is another secret token to try.
pub(super) async fn attempt<S>(
    item: Item,
    purpose: Purpose,
    secret: Which,
    settings: Arc<Settings<S>>,
    clock: Clock,
    spans: Spans,
) -> Ended<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone,
{
    let started_at = clock.now();
    let started = clock.instant();
    let (mut rewritten, mut instead) = (None, None);
    let attempt = async {
        let due = &item.due;
        let body;
        (body, rewritten) = body::posted(&due.event.body, settings.body);
        let post = |secret| post(&settings, due, body.clone(), secret, &clock, &spans);
        let result = anew_if_stale(|| post(secret)).await;
        instead = settings.keyring.other(secret, &result);
        match instead {
            Some(other) => post(other).await,
            None => result,
        }
    };
    let sent = AssertUnwindSafe(attempt).catch_unwind().await;
    let result = sent.unwrap_or_else(|_| Err(SendError::Own("the attempt panicked".to_owned())));
    let elapsed = started.elapsed();
    Ended::Attempt(Finished { item, purpose, instead, rewritten, result, started_at, elapsed, settings })
}

/// Makes one request of an attempt, and records it.
async fn post<S>(
    settings: &Settings<S>,
    due: &Due,
    body: Bytes,
    secret: Which,
    clock: &Clock,
    spans: &Spans,
) -> Result<Answer, SendError>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone,
{
    let begun = spans.begin(due.event.request_id, clock);
    let request = settings.request(due, body, secret, begun, clock);
    let result = settings.client.clone().oneshot(request).await;
    let answer = || match &result {
        Ok(answer) => Ok(answer.status),
        Err(error) => Err(error.cause().to_string().into()),
    };
    spans.posted(begun, &due.event, &settings.to, due.attempts, answer, clock);
    result
}

/// Asks for the URL validation; no event is touched. A panic of the client is a wrong answer.
pub(super) async fn validate<S>(secret: Which, settings: Arc<Settings<S>>, clock: Clock) -> Ended<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone,
{
    let asked = ask(settings.client.clone(), &settings.keyring, settings.extras.as_ref(), secret, &clock);
    let asked = AssertUnwindSafe(asked).catch_unwind().await;
    let outcome = asked.unwrap_or_else(|_| Err(SendError::Own("the probe panicked".to_owned()).into()));
    let outcome = outcome.map(|taken| (taken != secret).then_some(taken));
    Ended::Probe { outcome, settings }
}

/// Returns what is kept of an attempt that failed, as one that does not count.
pub(super) fn failure(
    verdict: Verdict,
    result: Result<Answer, SendError>,
    at: Timestamp,
    elapsed: Duration,
) -> Option<FailedAttempt> {
    let cause: Cause = match verdict {
        Verdict::Delivered { .. } | Verdict::NotTried(_) => return None,
        Verdict::Retry(cause) | Verdict::RetryAfter(cause, _) | Verdict::Refused(cause) => cause,
    };
    let excerpt = match result {
        Ok(answer) => answer.excerpt,
        Err(error) => error.to_string(),
    };
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    Some(FailedAttempt { number: 0, at, elapsed_ms, cause: cause.to_string().into(), excerpt: excerpt.into() })
}
