//! The lane: one task that takes a destination's events to its handler.
//!
//! It decides nothing by itself: it waits for whatever comes first (an answer, an event, a due retry, new
//! settings, the end), asks the pure functions, and reports to the spool. It holds as many events as
//! there are slots, a bounded page of due retries, and one event more.

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use super::retry::{Policy, next};
use super::schedule::{Kind, Slots};
use super::status::{Failure, Status};
use crate::clock::Clock;
use crate::config;
use crate::event::{Event, EventId};
use crate::spool::feed::{DuePage, Feed, Item};
use crate::spool::settlement::{FailedAttempt, Outcome, Settlement};
use crate::spool::store::Due;
use crate::spool::{Closed, Spool, SpoolError};
use crate::telemetry::metrics::{ByDestination, ByDestinationOutcome, Metrics};
use crate::webhook::request::Outgoing;
use crate::webhook::signature::Signer;
use crate::webhook::verdict::{Answer, Cause, SendError, StatusRules, Verdict, verdict};

/// Due retries that are read at once: a few turns of the default number of slots.
const DUE_PAGE: usize = 64;
/// The longest sleep before the clock is looked at again: it may have been set, or the machine asleep.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long a lane waits after due retries could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// How often dead letters of one lane are announced in the log, beside the first of a run.
const ANNOUNCE: Duration = Duration::from_secs(10);

/// Is everything of a destination that can change while its lane runs.
pub struct Settings<S> {
    policy: Policy,
    rules: StatusRules,
    signer: Signer,
    concurrency: usize,
    client: S,
}

impl<S> Settings<S> {
    /// Puts together what a destination's configuration says, and the client that posts to it.
    pub fn new(destination: &config::Destination, client: S) -> Self {
        Self {
            policy: Policy::from(&destination.retry),
            rules: StatusRules::from(&destination.retry),
            signer: Signer::new(&destination.secret_token),
            concurrency: destination.concurrency,
            client,
        }
    }
}

/// Is one destination's task.
pub struct Lane<S> {
    name: Arc<str>,
    feed: Feed,
    spool: Spool,
    clock: Clock,
    settings: watch::Receiver<Arc<Settings<S>>>,
    current: Arc<Settings<S>>,
    status: watch::Sender<Status>,
    meters: Meters,
    slots: Slots,
    attempts: JoinSet<Finished<S>>,
    /// The next event to attempt for the first time.
    fresh: Option<Arc<Event>>,
    /// Retries to attempt now.
    due: VecDeque<Due>,
    /// Retries that are in memory, in flight, or reported and not yet durable: not to be read again.
    busy: HashSet<EventId>,
    /// Reports that the lane must know to be durable before it reads the disk for what they concern.
    unconfirmed: FuturesUnordered<Underway<Confirmed>>,
    reading: Option<Underway<Result<DuePage, SpoolError>>>,
    /// When to look for due retries next; `None` while none wait.
    look_at: Option<Timestamp>,
    announced_at: Option<Instant>,
    unannounced: u64,
}

/// Is something that the lane waits for beside its attempts.
type Underway<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Is an attempt that has ended.
struct Finished<S> {
    kind: Kind,
    due: Due,
    result: Result<Answer, SendError>,
    started_at: Timestamp,
    elapsed: Duration,
    /// What it was made under.
    settings: Arc<Settings<S>>,
}

/// Is a report that has become durable.
struct Confirmed {
    event: EventId,
    /// When the delivery is due again, if it is.
    due: Option<Timestamp>,
}

/// Are the lane's own metrics, looked up once.
struct Meters {
    delivered: Counter,
    retry: Counter,
    refused: Counter,
    seconds: Histogram,
    in_flight: Gauge,
}

impl Meters {
    fn new(metrics: &Metrics, name: &str) -> Self {
        let outcome = |outcome| {
            let labels = ByDestinationOutcome { destination: name.to_owned(), outcome };
            metrics.attempts.get_or_create(&labels).clone()
        };
        let by = ByDestination { destination: name.to_owned() };
        Self {
            delivered: outcome("delivered"),
            retry: outcome("retry"),
            refused: outcome("refused"),
            seconds: metrics.attempt_seconds.get_or_create(&by).clone(),
            in_flight: metrics.deliveries_in_flight.get_or_create(&by).clone(),
        }
    }
}

impl<S> Lane<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    /// Makes the lane of a destination, and the receiver of its status.
    pub fn new(
        name: Arc<str>,
        feed: Feed,
        spool: Spool,
        clock: Clock,
        settings: watch::Receiver<Arc<Settings<S>>>,
        metrics: &Metrics,
    ) -> (Self, watch::Receiver<Status>) {
        let (status, watched) = watch::channel(Status::default());
        let current = Arc::clone(&settings.borrow());
        let lane = Self {
            meters: Meters::new(metrics, &name),
            slots: Slots::new(current.concurrency),
            // Whether retries wait on the disk is found out by a first look.
            look_at: Some(clock.now()),
            name,
            feed,
            spool,
            clock,
            settings,
            current,
            status,
            attempts: JoinSet::new(),
            fresh: None,
            due: VecDeque::new(),
            busy: HashSet::new(),
            unconfirmed: FuturesUnordered::new(),
            reading: None,
            announced_at: None,
            unannounced: 0,
        };
        (lane, watched)
    }

    /// Works until `stop`, then lets what is in flight end; `cut` ends that too.
    ///
    /// An attempt that is cut off is made again at the next start: its event is still in the spool.
    pub async fn run(mut self, stop: CancellationToken, cut: CancellationToken) {
        let work = async {
            if self.work(&stop).await.is_err() || self.drain().await.is_err() {
                tracing::error!(destination.name = %self.name, "the spool closed before its lane");
            }
        };
        tokio::select! {
            () = work => {}
            () = cut.cancelled() => {}
        }
    }

    async fn work(&mut self, stop: &CancellationToken) -> Result<(), Closed> {
        loop {
            while let Some(kind) = self.slots.choose(self.fresh.is_some(), !self.due.is_empty()) {
                self.start(kind);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(joined) = self.attempts.join_next() => {
                    // An attempt catches its own panic, and only `cut` aborts it.
                    if let Ok(finished) = joined {
                        self.finish(finished).await?;
                    }
                }
                Some(confirmed) = self.unconfirmed.next(), if !self.unconfirmed.is_empty() => {
                    self.busy.remove(&confirmed.event);
                    if let Some(due) = confirmed.due {
                        self.look_no_later_than(due);
                    }
                }
                page = poll(&mut self.reading), if self.reading.is_some() => {
                    self.reading = None;
                    self.take(page);
                }
                changed = self.settings.changed() => match changed {
                    Ok(()) => self.resettle(),
                    Err(_) => return Ok(()),
                },
                item = self.feed.next(), if self.fresh.is_none() => match item {
                    Some(Item::Fresh(event)) => self.fresh = Some(event),
                    Some(Item::Due(at)) => self.look_no_later_than(at),
                    None => return Ok(()),
                },
                () = wait_until(self.look_at, &self.clock), if self.may_look() => self.look(),
            }
        }
    }

    /// Lets what is in flight end.
    async fn drain(&mut self) -> Result<(), Closed> {
        while let Some(joined) = self.attempts.join_next().await {
            if let Ok(finished) = joined {
                self.finish(finished).await?;
            }
        }
        Ok(())
    }

    fn resettle(&mut self) {
        self.current = Arc::clone(&self.settings.borrow_and_update());
        self.slots.resize(self.current.concurrency);
    }

    fn start(&mut self, kind: Kind) {
        let due = match kind {
            Kind::First => self.fresh.take().map(|event| {
                let since = event.received_at;
                Due { event, attempts: 0, since }
            }),
            Kind::Retry => self.due.pop_front(),
        };
        let Some(due) = due else { return };
        self.slots.start(kind);
        self.show_in_flight();
        let (settings, clock) = (Arc::clone(&self.current), self.clock.clone());
        self.attempts.spawn(attempt(kind, due, settings, clock));
    }

    async fn finish(&mut self, finished: Finished<S>) -> Result<(), Closed> {
        let Finished { kind, due, result, started_at, elapsed, settings } = finished;
        self.slots.end(kind);
        self.show_in_flight();
        self.meters.seconds.observe(elapsed.as_secs_f64());
        let now = self.clock.now();
        let attempts = due.attempts.saturating_add(1);
        let verdict = verdict(&result, settings.rules, attempts, now);
        let outcome = next(attempts, verdict, &settings.policy, self.clock.jitter(), due.since, now);
        let failed = failure(verdict, result, started_at, elapsed);
        self.tell(due.event.id, &outcome, failed.as_ref(), now);
        let event = due.event.id;
        let due = match &outcome {
            Outcome::Retry { due, .. } => Some(*due),
            Outcome::Delivered { .. } | Outcome::Dead { .. } => None,
        };
        let settlement = Settlement { destination: self.feed.destination(), event, attempts, at: now, outcome, failed };
        if kind == Kind::First && due.is_none() {
            return self.spool.settle(settlement).await;
        }
        let durable = self.spool.settle_acknowledged(settlement).await?;
        self.unconfirmed.push(Box::pin(durable.map(move |_| Confirmed { event, due })));
        Ok(())
    }

    /// Tells status, metrics and log what became of an attempt.
    fn tell(&mut self, event: EventId, outcome: &Outcome, failed: Option<&FailedAttempt>, now: Timestamp) {
        match outcome {
            Outcome::Delivered { .. } => self.meters.delivered.inc(),
            Outcome::Retry { .. } => self.meters.retry.inc(),
            Outcome::Dead { .. } => self.meters.refused.inc(),
        };
        let Some(failed) = failed else {
            self.tell_success(now);
            return;
        };
        tracing::debug!(
            destination.name = %self.name, event.id = event.0, cause = %failed.cause,
            elapsed_ms = failed.elapsed_ms, "an attempt failed"
        );
        let mut begins = false;
        self.status.send_modify(|status| {
            begins = status.failing_since.is_none();
            status.failing_since.get_or_insert(now);
            status.failures_in_a_row += 1;
            status.last_failure = Some(Failure { at: now, cause: failed.cause.clone(), event: event.0 });
        });
        if begins {
            tracing::warn!(destination.name = %self.name, cause = %failed.cause, "deliveries fail");
        }
        if let Outcome::Dead { reason } = outcome {
            self.announce_dead(event, reason);
        }
    }

    fn tell_success(&mut self, now: Timestamp) {
        let mut ended = None;
        self.status.send_modify(|status| {
            status.last_success_at = Some(now);
            ended = status.failing_since.take().map(|since| (since, status.failures_in_a_row));
            status.failures_in_a_row = 0;
        });
        if let Some((since, failures)) = ended {
            tracing::info!(destination.name = %self.name, %since, failures, "deliveries succeed again");
        }
    }

    fn announce_dead(&mut self, event: EventId, reason: &str) {
        self.unannounced += 1;
        let now = self.clock.instant();
        if self.announced_at.is_some_and(|at| now.duration_since(at) < ANNOUNCE) {
            return;
        }
        let count = std::mem::take(&mut self.unannounced);
        self.announced_at = Some(now);
        tracing::warn!(
            destination.name = %self.name, event.id = event.0, reason, count,
            "given up and kept as dead letters; the last is named"
        );
    }

    fn show_in_flight(&self) {
        let in_flight = self.slots.in_flight();
        self.meters.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        self.status.send_if_modified(|status| {
            status.in_flight = in_flight;
            false
        });
    }

    fn may_look(&self) -> bool {
        self.reading.is_none() && self.due.is_empty()
    }

    fn look_no_later_than(&mut self, at: Timestamp) {
        self.set_look_at(Some(self.look_at.map_or(at, |known| known.min(at))));
    }

    fn set_look_at(&mut self, at: Option<Timestamp>) {
        self.look_at = at;
        self.status.send_modify(|status| status.next_retry_at = at);
    }

    /// Begins to read what is due.
    fn look(&mut self) {
        let now = self.clock.now();
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        let busy = self.busy.iter().copied().collect();
        self.look_at = None;
        self.reading = Some(Box::pin(self.feed.due(now, DUE_PAGE, busy)));
    }

    fn take(&mut self, page: Result<DuePage, SpoolError>) {
        match page {
            Ok(DuePage { page, next }) => {
                self.busy.extend(page.iter().map(|due| due.event.id));
                self.due.extend(page);
                // What was settled while the page was read may be due before what the page knew of.
                let at = next.into_iter().chain(self.look_at).min();
                self.set_look_at(at);
            }
            Err(error) => {
                tracing::error!(destination.name = %self.name, error = %error, "cannot read due retries, trying again");
                let again =
                    self.clock.now().saturating_add(jiff::SignedDuration::try_from(READ_AGAIN).unwrap_or_default());
                self.look_no_later_than(again.unwrap_or(Timestamp::MAX));
            }
        }
    }
}

/// Makes one attempt. A panic of the client is a failed attempt.
async fn attempt<S>(kind: Kind, due: Due, settings: Arc<Settings<S>>, clock: Clock) -> Finished<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone,
{
    let started_at = clock.now();
    let started = clock.instant();
    let outgoing = Outgoing::new(&due.event, &settings.signer, started_at);
    let sent = AssertUnwindSafe(settings.client.clone().oneshot(outgoing)).catch_unwind().await;
    let result = sent.unwrap_or_else(|_| Err(SendError::Own("the attempt panicked".to_owned())));
    Finished { kind, due, result, started_at, elapsed: started.elapsed(), settings }
}

fn failure(
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

/// Polls what may not be there; never ready when it is not.
async fn poll<F: Future + Unpin>(maybe: &mut Option<F>) -> F::Output {
    match maybe {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Waits for a time of day, looking at the clock now and then; for ever when there is none.
async fn wait_until(at: Option<Timestamp>, clock: &Clock) {
    let Some(at) = at else { return std::future::pending().await };
    let left = at.duration_since(clock.now());
    tokio::time::sleep(Duration::try_from(left).unwrap_or_default().min(LOOK_AGAIN)).await;
}

#[cfg(test)]
mod tests;
