//! The lane: one task that takes a destination's events to its handler.
//!
//! It decides nothing by itself: it waits for whatever comes first (an answer, an event, a due retry, new
//! settings, a pause, the end), asks the pure functions, and reports to the spool. What it holds in memory
//! is bounded by a window; everything else waits in the spool.

mod attempt;
mod finish;
mod flight;
mod retries;
mod shortage;
mod start;
mod voice;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::Service;

use self::flight::Flight;
use self::retries::{READ_AGAIN, Retries, Step, TOO_MANY_UNSTORED, wait};
use self::shortage::Narrow;
use self::voice::{Reading, Voice};
use super::body::Herald;
use super::breaker::{Breaker, Change};
use super::key::key;
use super::order::{HELD_APART, Item, Order, Put};
use super::rate::Bucket;
use super::retry::Policy;
use super::schedule::{Kind, Slots};
use super::status::Status;
use crate::clock::Clock;
use crate::config::limits::{Rate, Ttl};
use crate::config::{self, BodyForm, Ordering, Probe};
use crate::event::EventId;
use crate::spool::feed::{Feed, Item as Fed, Room};
use crate::spool::record::Pause;
use crate::spool::settlement::{HELD, Outcome};
use crate::spool::store::Due;
use crate::spool::{Closed, Spool};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::{Receiver, Spans};
use crate::webhook::extras::Extras;
use crate::webhook::keyring::{Keyring, Which};
use crate::webhook::request::Outgoing;
use crate::webhook::verdict::{Answer, SendError, StatusRules};

/// Events that wait in memory, beside those in flight: enough to look past a thing that is busy.
const WINDOW_EVENTS: usize = 512;
/// Bytes of bodies that wait in memory.
const WINDOW_BYTES: usize = 2 << 20;

/// Is everything of a destination that can change while its lane runs.
pub struct Settings<S> {
    policy: Policy,
    /// The longest time that a retry can lie ahead.
    longest: SignedDuration,
    rules: StatusRules,
    keyring: Keyring,
    extras: Option<Extras>,
    /// Whom spans name.
    to: Arc<Receiver>,
    body: BodyForm,
    concurrency: usize,
    ordering: Ordering,
    /// Things that are held apart in strict order.
    apart: usize,
    rate: Option<Rate>,
    ttl: Ttl,
    probe: Probe,
    client: S,
}

impl<S> Settings<S> {
    /// Puts together what a destination's configuration says, and the client that posts to it.
    pub fn new(destination: &config::Destination, client: S) -> Self {
        let policy = Policy::from(&destination.retry).limited(destination.max_attempts, destination.max_age);
        Self {
            longest: policy.longest(),
            policy,
            rules: StatusRules::from(&destination.retry),
            keyring: Keyring::new(destination),
            extras: Extras::of(destination),
            to: Arc::new(Receiver::new(&destination.name, &destination.url)),
            body: destination.body,
            concurrency: destination.concurrency,
            ordering: destination.ordering,
            apart: HELD_APART,
            rate: destination.rate,
            ttl: destination.ttl.clone(),
            probe: destination.probe,
            client,
        }
    }

    /// Holds only so many things apart.
    #[cfg(test)]
    pub(crate) fn holding_apart(self, apart: usize) -> Self {
        Self { apart, ..self }
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
    /// The secret token that the handler took after it had refused the other, since these settings are in force.
    accepted: Option<Which>,
    voice: Voice,
    spans: Spans,
    bodies: Herald,
    slots: Slots,
    order: Order,
    /// `None` where no rate limits the attempts.
    bucket: Option<Bucket>,
    /// Since this machine had nothing left to make a connection with.
    narrow: Option<Narrow>,
    breaker: Breaker,
    /// The URL validation closed the breaker, and no event was accepted since: should it open again, that question says
    /// nothing of events, and an event is the probe.
    unproven: bool,
    pause: Pause,
    retries: Retries,
    flight: Flight<S>,
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
            spans: metrics.spans.clone(),
            slots: Slots::new(current.concurrency),
            order: Order::new(current.ordering, current.apart),
            bucket: current.rate.map(|rate| Bucket::new(rate, clock.instant().into_std())),
            retries: Retries::new(clock.now()),
            narrow: None,
            breaker,
            unproven: false,
            pause,
            name,
            feed,
            spool,
            clock,
            settings,
            current,
            accepted: None,
            voice,
            flight: Flight::new(),
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
            biased;
            () = work => {}
            () = cut.cancelled() => {}
        }
    }

    async fn work(&mut self, stop: &CancellationToken) -> Result<(), Closed> {
        self.find_waiting(stop).await;
        loop {
            self.start_what_may(stop).await?;
            let wake = self.wake_in();
            let room = if self.has_room() { Room::ForEvents } else { Room::Full };
            let clock = &self.clock;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ended) = self.flight.next() => self.end(ended).await?,
                step = self.retries.next(|| clock.now()) => {
                    self.take_step(step).await?;
                    self.voice.next_retry(self.retries.look_at());
                }
                changed = self.settings.changed() => match changed {
                    Ok(()) => self.change_settings(),
                    Err(_) => return Ok(()),
                },
                fed = self.feed.next(room) => match fed {
                    Some(fed) => self.take(fed).await?,
                    None => return Ok(()),
                },
                () = wait(wake) => {}
            }
        }
    }

    async fn take_step(&mut self, step: Step) -> Result<(), Closed> {
        match step {
            Step::Confirmed => {}
            Step::Unstored { event, key, is_beyond } => {
                self.order.lost(key, event);
                if is_beyond {
                    self.voice.unreadable(Reading::Retries, TOO_MANY_UNSTORED.into(), self.clock.now());
                }
            }
            Step::Read(due) => {
                self.voice.readable(Reading::Retries);
                let horizon = self.clock.now().saturating_add(self.current.longest).unwrap_or(Timestamp::MAX);
                self.order.look_up_to(horizon);
                for due in due {
                    self.put(Kind::Retry, due).await?;
                }
            }
            Step::Unreadable(reason) => self.voice.unreadable(Reading::Retries, reason, self.clock.now()),
        }
        Ok(())
    }

    async fn take(&mut self, fed: Fed) -> Result<(), Closed> {
        match fed {
            Fed::Fresh(event) => {
                let since = event.received_at;
                self.put(Kind::First, Due { event, attempts: 0, since, due: since, replays: 0, is_planned: false })
                    .await?;
            }
            Fed::Due(at) => self.retries.look_no_later_than(at),
            Fed::Pause(pause) => {
                self.pause = pause;
                self.voice.pause(pause);
            }
            Fed::Unreadable(reason) => self.voice.unreadable(Reading::Fresh, reason, self.clock.now()),
            Fed::Readable => self.voice.readable(Reading::Fresh),
        }
        Ok(())
    }

    /// Lets what is in flight end.
    async fn drain(&mut self) -> Result<(), Closed> {
        while let Some(ended) = self.flight.next().await {
            self.end(ended).await?;
        }
        Ok(())
    }

    /// In strict order, finds out what waits for its retry on the disk: it holds later events back.
    async fn find_waiting(&mut self, stop: &CancellationToken) {
        if self.order.ordering() != Ordering::Strict {
            return;
        }
        let (mut after, mut failures) = ((Timestamp::MIN, EventId(0)), 0);
        while !stop.is_cancelled() {
            match self.feed.waiting(after, failures).await {
                Ok(page) => {
                    failures = 0;
                    self.voice.readable(Reading::Retries);
                    let Some(last) = page.last() else { return };
                    after = (last.due, last.event.id);
                    for waiting in page.into_iter().filter(|waiting| !self.retries.leaves_alone(waiting.event.id)) {
                        let key = key(&waiting.event.body);
                        self.order.found_waiting(key, waiting.event.id, waiting.due);
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.voice.unreadable(Reading::Retries, error.to_string().into(), self.clock.now());
                    let again = Duration::try_from(READ_AGAIN).unwrap_or_default();
                    tokio::select! {
                        () = tokio::time::sleep(again) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.order.count() < WINDOW_EVENTS && self.order.bytes() < WINDOW_BYTES
    }

    fn has_room_for_retries(&self) -> bool {
        self.has_room() && self.retries.has_room()
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
        self.settle(&item, item.due.attempts, Outcome::Retry { due: until, cause: HELD.into() }, None).await
    }

    /// Takes new settings; what is in flight ends under the old ones.
    fn change_settings(&mut self) {
        self.current = Arc::clone(&self.settings.borrow_and_update());
        self.accepted = None;
        self.unproven = false;
        self.slots.resize(self.current.concurrency);
        let now = self.clock.instant().into_std();
        self.bucket = self.current.rate.map(|rate| match self.bucket {
            Some(bucket) => bucket.at(rate, now),
            None => Bucket::new(rate, now),
        });
    }
}

#[cfg(test)]
mod tests;
