//! When to purge, and how far: in small steps between commits, so that none of them waits for long.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::event::EventId;
use crate::spool::store::Store;
use crate::telemetry::metrics::Metrics;

/// Events that one step looks at: some milliseconds of work.
const STEP: usize = 500;
/// The pause between two steps while there is work.
const PAUSE: Duration = Duration::from_millis(20);
/// How often to look for work when the last step found no more.
const EVERY: Duration = Duration::from_secs(30);
/// How often to look again at events that were passed over, for they were not settled then.
const ANEW: Duration = Duration::from_secs(3600);

/// Is where the purge stands.
pub(super) struct Purge {
    retention: SignedDuration,
    max_size: u64,
    cursor: EventId,
    next_at: Instant,
    anew_at: Instant,
}

impl Purge {
    /// Begins at once, with the oldest event.
    pub(super) fn new(retention: SignedDuration, max_size: u64, now: Instant) -> Self {
        Self { retention, max_size, cursor: EventId(0), next_at: now, anew_at: now + ANEW }
    }

    /// Returns when the next step is due.
    pub(super) fn next_at(&self) -> Instant {
        self.next_at
    }

    /// Takes one step; one that fails is taken again later.
    pub(super) fn step(&mut self, store: &mut dyn Store, metrics: &Metrics, now: Timestamp, instant: Instant) {
        if instant >= self.anew_at {
            self.anew_at = instant + ANEW;
            self.cursor = EventId(0);
        }
        let bytes = store.bytes().unwrap_or(0);
        metrics.spool_bytes.set(bytes.cast_signed());
        let too_big = bytes > self.max_size;
        let cutoff = if too_big { now } else { now.checked_sub(self.retention).unwrap_or(Timestamp::MIN) };
        let pause = match store.purge(self.cursor, cutoff, STEP) {
            Ok(Some(cursor)) => {
                self.cursor = cursor;
                PAUSE
            }
            Ok(None) => {
                if too_big {
                    let (used, most) = (bytes >> 20, self.max_size >> 20);
                    tracing::warn!(
                        "the spool holds {used} MiB, more than its max_size of {most} MiB, in events that are not delivered yet"
                    );
                    self.cursor = EventId(0);
                }
                EVERY
            }
            Err(error) => {
                tracing::warn!(%error, "delivered events could not be purged, trying again later");
                EVERY
            }
        };
        self.next_at = instant + pause;
    }
}
