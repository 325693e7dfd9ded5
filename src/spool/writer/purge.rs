//! When to purge, and how far: in small steps between commits, so that none of them waits for long.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::room::Pressure;
use crate::event::EventId;
use crate::spool::SpoolError;
use crate::spool::erasure::{Erasure, Progress};
use crate::spool::settlement::{Outcome, Settlement};
use crate::spool::store::Store;
use crate::telemetry::metrics::{ByWhat, Metrics};

/// Events that one step looks at: some milliseconds of work.
const STEP: usize = 500;
/// The pause between two steps while there is work.
const PAUSE: Duration = Duration::from_millis(20);
/// How often to look for work when the last step found no more.
const EVERY: Duration = Duration::from_secs(30);
/// How often to look again at events that were passed over, for they were not settled then.
const ANEW: Duration = Duration::from_secs(3600);
/// Stands in the audit table for what the bridge does by itself.
const WHO: &str = "zoomhook";

/// Is where the purge stands.
pub(super) struct Purge {
    retention: SignedDuration,
    /// How long rows of the audit table are kept; for good without it.
    audit_retention: Option<SignedDuration>,
    audit_at: Instant,
    cursor: EventId,
    /// Events that the next step looks at: fewer, down to one, near what cannot be read.
    step: usize,
    /// What was passed over since the last word of it.
    stays: Option<Stays>,
    /// Behind this one an event was delivered that had been passed over.
    passed: Option<EventId>,
    next_at: Instant,
    anew_at: Instant,
    /// What goes for want of room, as long as there is too little.
    dropping: Option<Progress>,
}

/// Is what cannot be purged, from one event to another: so many places, at each of which are one event or many.
struct Stays {
    first: EventId,
    last: EventId,
    places: u64,
    error: SpoolError,
}

impl Purge {
    /// Begins at once, with the oldest event.
    pub(super) fn new(retention: SignedDuration, audit_retention: Option<SignedDuration>, now: Instant) -> Self {
        let (cursor, stays, passed, dropping) = (EventId(0), None, None, None);
        let (audit_at, next_at, anew_at, step) = (now, now, now + ANEW, STEP);
        Self { retention, audit_retention, audit_at, cursor, step, stays, passed, next_at, anew_at, dropping }
    }

    /// Returns when the next step is due.
    pub(super) fn next_at(&self) -> Instant {
        self.next_at
    }

    /// Begins again with the oldest event: something was deleted that others were kept for.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.cursor = EventId(0);
        self.next_at = now;
    }

    /// Takes note of events that were passed over and are delivered now.
    pub(super) fn settled(&mut self, settlements: &[Settlement]) {
        let delivered = settlements.iter().filter(|one| matches!(one.outcome, Outcome::Delivered { .. }));
        if let Some(first) = delivered.map(|one| one.event).min().filter(|first| *first <= self.cursor) {
            let before = EventId(first.0.saturating_sub(1));
            self.passed = Some(self.passed.map_or(before, |passed| passed.min(before)));
        }
    }

    /// Takes the next step soon, since room is needed: more may go than before, what was passed over first.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Some(passed) = self.passed.take() {
            self.cursor = self.cursor.min(passed);
        }
        self.next_at = self.next_at.min(now + PAUSE);
    }

    /// Takes one step; one that fails is taken again later. No event comes after `last`.
    pub(super) fn step(
        &mut self,
        store: &mut dyn Store,
        metrics: &Metrics,
        (pressure, last): (Pressure, EventId),
        now: Timestamp,
        instant: Instant,
    ) {
        if instant >= self.anew_at {
            self.anew_at = instant + ANEW;
            self.cursor = EventId(0);
        }
        if pressure < Pressure::Undelivered {
            self.end_dropping(store, now);
        }
        if instant >= self.audit_at {
            self.audit_at = instant + self.trim_audit(store, now);
        }
        let cutoff = match pressure {
            Pressure::Nothing => now.checked_sub(self.retention).unwrap_or(Timestamp::MIN),
            Pressure::Delivered | Pressure::Undelivered => Timestamp::MAX,
        };
        let pause = match store.purge(self.cursor, cutoff, now, self.step) {
            Ok(Some(cursor)) => {
                (self.cursor, self.step) = (cursor, STEP.min(self.step * 2));
                PAUSE
            }
            Ok(None) if pressure == Pressure::Undelivered => self.drop_oldest(store, metrics, now),
            Ok(None) => EVERY,
            Err(error) if (error.is_damage() || error.is_unread()) && self.cursor < last => {
                self.pass_over(store, error, (cutoff, now)).unwrap_or_else(failed)
            }
            Err(error) => failed(error),
        };
        if pause != PAUSE {
            self.tell_stays();
        }
        self.next_at = instant + pause;
    }

    /// Looks at fewer events, for one of them cannot be read; leaves one alone that is the only one looked at. Returns when
    /// to go on, or the error where it is none of an event.
    fn pass_over(
        &mut self,
        store: &mut dyn Store,
        error: SpoolError,
        (cutoff, now): (Timestamp, Timestamp),
    ) -> Result<Duration, SpoolError> {
        if self.step > 1 {
            self.step /= 2;
            return Ok(PAUSE);
        }
        // What fails without any event is damaged elsewhere.
        store.purge(self.cursor, cutoff, now, 0)?;
        let Some(passed) = store.pass_over(self.cursor)? else { return Ok(EVERY) };
        let (first, places) = self.stays.take().map_or((passed, 0), |stays| (stays.first, stays.places));
        self.stays = Some(Stays { first, last: passed, places: places + 1, error });
        self.cursor = passed;
        Ok(PAUSE)
    }

    /// Tells what was passed over, once for all of it.
    fn tell_stays(&mut self) {
        let Some(Stays { first, last, places, error }) = self.stays.take() else { return };
        tracing::warn!(
            %error, places, %first, %last,
            "the spool is damaged: events cannot be purged from it in some places, and stay"
        );
    }

    /// Drops some dead letters and parked frames; returns when to go on.
    fn drop_oldest(&mut self, store: &mut dyn Store, metrics: &Metrics, now: Timestamp) -> Duration {
        let before = self.dropping.take();
        let begins = before.is_none();
        let before = before.unwrap_or_else(|| Progress::new(Erasure::Oldest, WHO));
        let known = before.erased;
        let progress = match store.erase(before, now) {
            Ok(progress) => progress,
            Err(error) => {
                tracing::warn!(%error, "dead letters could not be dropped to make room, trying again later");
                return EVERY;
            }
        };
        if progress.complete && begins {
            return EVERY;
        }
        if begins {
            tracing::warn!("the spool is full of what is not delivered: its oldest dead letters and parked frames go");
        }
        for (what, count) in
            [("dead", progress.erased.dead - known.dead), ("parked", progress.erased.parked - known.parked)]
        {
            metrics.spool_dropped.get_or_create(&ByWhat { what }).inc_by(count);
        }
        let pause = if progress.complete { EVERY } else { PAUSE };
        self.dropping = Some(progress);
        pause
    }

    /// Tells what went for want of room, now that there is enough, or that nobody looks after it any more.
    pub(super) fn end_dropping(&mut self, store: &mut dyn Store, now: Timestamp) {
        let Some(Progress { erased, audit, .. }) = self.dropping.take() else { return };
        tracing::warn!("{erased} had to go to make room; the audit table of the spool says so, too");
        if let Some(begun) = audit
            && let Err(error) = store.end_task(begun, None, now)
        {
            tracing::warn!(%error, "that there is room again is told in the audit table at the next start");
        }
    }

    /// Takes some rows from the audit table that are too old; returns when to go on.
    fn trim_audit(&self, store: &mut dyn Store, now: Timestamp) -> Duration {
        let Some(retention) = self.audit_retention else { return ANEW };
        match store.trim_audit(now.checked_sub(retention).unwrap_or(Timestamp::MIN), STEP) {
            Ok(0) => ANEW,
            Ok(rows) => {
                tracing::info!(rows, "old rows of the audit table were deleted");
                PAUSE
            }
            Err(error) => {
                tracing::warn!(%error, "old rows of the audit table could not be deleted, trying again later");
                ANEW
            }
        }
    }
}

/// Tells of a step that failed; returns when to take it again.
fn failed(error: SpoolError) -> Duration {
    tracing::warn!(%error, "delivered events could not be purged, trying again later");
    EVERY
}
