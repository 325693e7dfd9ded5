//! One attempt, from the request to what is kept of its failure.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tower::{Service, ServiceExt as _};

use super::Settings;
use crate::clock::Clock;
use crate::dispatch::body;
use crate::dispatch::order::Item;
use crate::spool::settlement::FailedAttempt;
use crate::webhook::probe::{ProbeError, ask};
use crate::webhook::request::Outgoing;
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
    Probe(Result<(), ProbeError>),
}

/// Is an attempt that has ended.
pub(super) struct Finished<S> {
    pub(super) item: Item,
    pub(super) purpose: Purpose,
    /// How the body was posted, if JavaScript would write it differently.
    pub(super) rewritten: Option<body::Change>,
    pub(super) result: Result<Answer, SendError>,
    pub(super) started_at: Timestamp,
    pub(super) elapsed: Duration,
    /// What it was made under.
    pub(super) settings: Arc<Settings<S>>,
}

/// Makes an attempt. A panic of the client is a failed attempt.
pub(super) async fn attempt<S>(item: Item, purpose: Purpose, settings: Arc<Settings<S>>, clock: Clock) -> Ended<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone,
{
    let started_at = clock.now();
    let started = clock.instant();
    let mut rewritten = None;
    let attempt = async {
        let posted;
        (posted, rewritten) = body::posted(&item.due.event.body, settings.body);
        settings.client.clone().oneshot(Outgoing::new(&item.due.event, posted, &settings.signer, started_at)).await
    };
    let sent = AssertUnwindSafe(attempt).catch_unwind().await;
    let result = sent.unwrap_or_else(|_| Err(SendError::Own("the attempt panicked".to_owned())));
    Ended::Attempt(Finished { item, purpose, rewritten, result, started_at, elapsed: started.elapsed(), settings })
}

/// Asks for the URL validation; no event is touched. A panic of the client is a wrong answer.
pub(super) async fn validate<S>(settings: Arc<Settings<S>>, clock: Clock) -> Ended<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone,
{
    let asked = AssertUnwindSafe(ask(settings.client.clone(), &settings.signer, &clock)).catch_unwind().await;
    Ended::Probe(asked.unwrap_or_else(|_| Err(SendError::Own("the probe panicked".to_owned()).into())))
}

/// Returns what is kept of an attempt that failed.
pub(super) fn failure(
    verdict: Verdict,
    result: Result<Answer, SendError>,
    at: Timestamp,
    elapsed: Duration,
) -> Option<FailedAttempt> {
    let cause: Cause = match verdict {
        Verdict::Delivered { .. } => return None,
        Verdict::Retry(cause) | Verdict::RetryAfter(cause, _) | Verdict::Refused(cause) => cause,
    };
    let excerpt = match result {
        Ok(answer) => answer.excerpt,
        Err(error) => error.to_string(),
    };
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    Some(FailedAttempt { at, elapsed_ms, cause: cause.to_string().into(), excerpt: excerpt.into() })
}
