//! The lane: one task that takes a destination's events to its handler.
//!
//! It decides nothing by itself: it waits for whatever comes first (an answer, an event, a due retry, new
//! settings, a pause, the end), asks the pure functions, and reports to the spool. What it holds in memory
//! is bounded by a window; everything else waits in the spool.

mod attempt;
mod retries;
mod voice;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service;

use self::attempt::{Finished, Purpose, attempt, failure};
use self::retries::{Retries, wait_until};
use self::voice::Voice;
use super::body::Herald;
use super::breaker::{Breaker, Change, Sign};
use super::key::key;
use super::order::{Item, Order, Put};
use super::retry::{Policy, next};
use super::schedule::{Kind, Slots};
use super::status::Status;
use crate::clock::Clock;
use crate::config::{self, BodyForm, Ordering};
use crate::event::EventId;
use crate::spool::feed::{Feed, Item as Fed};
use crate::spool::record::{DeadQuery, Pause};
use crate::spool::settlement::{FailedAttempt, Outcome, Settlement};
use crate::spool::store::Due;
use crate::spool::{Closed, Spool};
use crate::telemetry::metrics::Metrics;
use crate::webhook::request::Outgoing;
use crate::webhook::signature::Signer;
use crate::webhook::verdict::{Answer, SendError, StatusRules, Verdict, verdict};

/// Events that wait in memory, beside those in flight: enough to look past a thing that is busy.
const WINDOW_EVENTS: usize = 512;
/// Bytes of bodies that wait in memory.
const WINDOW_BYTES: usize = 2 << 20;

/// Is everything of a destination that can change while its lane runs.
pub struct Settings<S> {
    policy: Policy,
    rules: StatusRules,
    signer: Signer,
    body: BodyForm,
    concurrency: usize,
    ordering: Ordering,
    client: S,
}

impl<S> Settings<S> {
    /// Puts together what a destination's configuration says, and the client that posts to it.
    pub fn new(destination: &config::Destination, client: S) -> Self {
        Self {
            policy: Policy::from(&destination.retry),
            rules: StatusRules::from(&destination.retry),
            signer: Signer::new(&destination.secret_token),
            body: destination.body,
            concurrency: destination.concurrency,
            ordering: destination.ordering,
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
    voice: Voice,
    bodies: Herald,
    slots: Slots,
    order: Order,
    breaker: Breaker,
    pause: Pause,
    retries: Retries,
    attempts: JoinSet<Finished<S>>,
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
        let (voice, watched) = Voice::new(Arc::clone(&name), metrics);
        let current = Arc::clone(&settings.borrow());
        let (breaker, pause) = (Breaker::new(feed.opened()), feed.pause());
        voice.breaker(breaker.opened(), &Change::None);
        if pause == Pause::On {
            voice.pause(pause);
        }
        let lane = Self {
            bodies: Herald::new(metrics, &name),
            slots: Slots::new(current.concurrency),
            order: Order::new(current.ordering),
            retries: Retries::new(clock.now()),
            breaker,
            pause,
            name,
            feed,
            spool,
            clock,
            settings,
            current,
            voice,
            attempts: JoinSet::new(),
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
        self.find_waiting(stop).await;
        loop {
            self.start_what_may();
            let now = self.clock.now();
            let wake = self.wake_at(now);
            let clock = &self.clock;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(joined) = self.attempts.join_next() => {
                    // An attempt catches its own panic, and only `cut` aborts it.
                    if let Ok(finished) = joined {
                        self.finish(finished).await?;
                    }
                }
                due = self.retries.next(|| clock.now()) => {
                    for due in due {
                        self.put(Kind::Retry, due).await?;
                    }
                    self.voice.next_retry(self.retries.look_at());
                }
                changed = self.settings.changed() => match changed {
                    Ok(()) => self.change_settings().await?,
                    Err(_) => return Ok(()),
                },
                fed = self.feed.next(), if self.has_room() => match fed {
                    Some(Fed::Fresh(event)) => {
                        let since = event.received_at;
                        self.put(Kind::First, Due { event, attempts: 0, since }).await?;
                    }
                    Some(Fed::Due(at)) => self.retries.look_no_later_than(at),
                    Some(Fed::Pause(pause)) => {
                        self.pause = pause;
                        self.voice.pause(pause);
                    }
                    None => return Ok(()),
                },
                () = wait_until(wake, now) => {}
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

    /// In strict order, finds out what waits for its retry since before this process: it holds later events back.
    async fn find_waiting(&mut self, stop: &CancellationToken) {
        if self.order.ordering() != Ordering::Strict {
            return;
        }
        let mut after = (Timestamp::MIN, EventId(0));
        while !stop.is_cancelled() {
            let page = self.feed.waiting(after).await;
            let Some(last) = page.last() else { return };
            after = (last.due, last.event.id);
            for waiting in page {
                let key = key(&waiting.event.body);
                self.order.found_waiting(key, waiting.event.id, waiting.due);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.order.count() < WINDOW_EVENTS && self.order.bytes() < WINDOW_BYTES
    }

    /// Returns when the clock is the next thing to look at.
    fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.pause == Pause::On {
            return None;
        }
        let ready = self.order.waits(Kind::First) || self.order.waits(Kind::Retry);
        let look = self.retries.look_at().filter(|_| self.has_room());
        match self.breaker.opened() {
            None => look,
            Some(_) if self.breaker.is_probing() => None,
            Some(opened) if ready => Some(opened.probe_at).filter(|at| *at > now),
            Some(opened) => look.map(|at| at.max(opened.probe_at)),
        }
    }

    /// Starts what order, breaker and slots allow, and looks for retries when it is time.
    fn start_what_may(&mut self) {
        if self.pause == Pause::On {
            return;
        }
        let now = self.clock.now();
        while self.breaker.allows(now)
            && let Some(kind) = self.slots.choose(self.order.waits(Kind::First), self.order.waits(Kind::Retry))
            && let Some(item) = self.order.take(kind)
        {
            let purpose = if self.breaker.start() { Purpose::Probe } else { Purpose::Deliver };
            self.slots.start(kind);
            self.attempts.spawn(attempt(item, purpose, Arc::clone(&self.current), self.clock.clone()));
        }
        self.voice.in_flight(self.slots.in_flight());
        let is_time = self.retries.look_at().is_some_and(|at| at <= now);
        if is_time && self.has_room() && self.breaker.allows(now) {
            self.retries.look(&self.feed, now);
        }
    }

    /// Puts an event in its place, or sends it back to the disk when an earlier one holds it.
    async fn put(&mut self, kind: Kind, due: Due) -> Result<(), Closed> {
        let key = match self.order.ordering() {
            Ordering::Object | Ordering::Strict => key(&due.event.body),
            Ordering::None => None,
        };
        match self.order.put(Item { kind, due, key }) {
            Put::Waits => Ok(()),
            Put::Held(item, until) => self.postpone(item, until).await,
        }
    }

    /// Sends an event that was not attempted back to the disk.
    async fn postpone(&mut self, item: Item, until: Timestamp) -> Result<(), Closed> {
        let cause = "waits for an earlier event about the same thing".into();
        self.settle(&item, item.due.attempts, Outcome::Retry { due: until, cause }, None).await
    }

    async fn finish(&mut self, finished: Finished<S>) -> Result<(), Closed> {
        let Finished { item, purpose, rewritten, result, started_at, elapsed, settings } = finished;
        self.slots.end(item.kind);
        if let (Some(rewritten), 0) = (rewritten, item.due.attempts) {
            self.bodies.tell(&self.name, &item.due.event, rewritten);
        }
        let (now, jitter) = (self.clock.now(), self.clock.jitter());
        let event = item.due.event.id;
        let attempt = item.due.attempts.saturating_add(1);
        let verdict = verdict(&result, settings.rules, attempt, now);
        let sign = match verdict {
            Verdict::Delivered { .. } => Sign::Well,
            Verdict::Retry(_) | Verdict::RetryAfter(..) => Sign::Failed,
            Verdict::Refused(_) => Sign::Refused(event),
        };
        let kind = if item.due.attempts == 0 { Kind::First } else { Kind::Retry };
        let change = self.breaker.result(sign, kind, purpose == Purpose::Probe, now, jitter);
        let outcome = next(attempt, verdict, &settings.policy, jitter, item.due.since, now);
        let failed = failure(verdict, result, started_at, elapsed);
        let (outcome, attempts) = match (self.breaker.opened(), &failed) {
            // A handler that fails at everything says nothing of this event: it waits, and loses no attempt.
            (Some(opened), Some(failed)) if !settings.policy.is_over(item.due.since, now) => {
                let due = match verdict {
                    Verdict::RetryAfter(_, at) => at.max(opened.probe_at),
                    Verdict::Retry(_) | Verdict::Refused(_) | Verdict::Delivered { .. } => opened.probe_at,
                };
                (Outcome::Retry { due, cause: failed.cause.clone() }, item.due.attempts)
            }
            (Some(_) | None, _) => (outcome, attempt),
        };
        self.voice.attempt(event, &outcome, failed.as_ref(), elapsed, now, self.clock.instant());
        let behind = match &outcome {
            Outcome::Retry { due, .. } => {
                let held = self.order.waits_for_retry(item.key, event, *due);
                held.into_iter().map(|item| (item, *due)).collect()
            }
            Outcome::Delivered { .. } | Outcome::Dead { .. } => {
                self.order.ended(item.key);
                Vec::new()
            }
        };
        self.settle(&item, attempts, outcome, failed).await?;
        for (item, until) in behind {
            self.postpone(item, until).await?;
        }
        self.breaker_changed(change).await
    }

    async fn settle(
        &mut self,
        item: &Item,
        attempts: u32,
        outcome: Outcome,
        failed: Option<FailedAttempt>,
    ) -> Result<(), Closed> {
        let (event, at) = (item.due.event.id, self.clock.now());
        let due = match &outcome {
            Outcome::Retry { due, .. } => Some(*due),
            Outcome::Delivered { .. } | Outcome::Dead { .. } => None,
        };
        let settlement = Settlement { destination: self.feed.destination(), event, attempts, at, outcome, failed };
        if item.kind == Kind::First && due.is_none() {
            return self.spool.settle(settlement).await;
        }
        let durable = self.spool.settle_acknowledged(settlement).await?;
        self.retries.reported(event, due, durable);
        Ok(())
    }

    /// Makes a change of the breaker durable, and gives what was refused on the way to it another chance.
    async fn breaker_changed(&mut self, change: Change) -> Result<(), Closed> {
        if change == Change::None {
            return Ok(());
        }
        self.voice.breaker(self.breaker.opened(), &change);
        self.spool.breaker(self.feed.destination(), self.breaker.opened()).await?;
        match change {
            Change::Opened(events) if !events.is_empty() => {
                let query = DeadQuery {
                    limit: events.len(),
                    events,
                    destination: Some(self.name.to_string()),
                    ..DeadQuery::default()
                };
                // What cannot be revived stays a dead letter, which the operator can replay.
                if let Err(error) = self.spool.replay_dead(query, "the breaker").await {
                    tracing::error!(destination.name = %self.name, %error, "refused events stay dead letters");
                }
            }
            Change::Opened(_) | Change::None | Change::Postponed | Change::Closed => {}
        }
        Ok(())
    }

    /// Takes new settings; what is in flight ends under the old ones.
    async fn change_settings(&mut self) -> Result<(), Closed> {
        self.current = Arc::clone(&self.settings.borrow_and_update());
        self.slots.resize(self.current.concurrency);
        if self.order.ordering() != self.current.ordering {
            let waiting = self.order.drain();
            self.order = Order::new(self.current.ordering);
            for Item { kind, due, .. } in waiting {
                self.put(kind, due).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
