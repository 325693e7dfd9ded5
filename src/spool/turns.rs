//! Whether the writer comes back: a disk can hang without an error, and nothing is stored meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Health;
use crate::clock::{Clock, Moment};

/// A turn of the writer that takes longer hangs. A step that deletes or fills takes milliseconds, a sync of a slow disk
/// tens of them.
const HANGS_AFTER: Duration = Duration::from_secs(10);

/// What is said of a turn that hangs.
const WORDS: &str = "a write to its disk does not come back; what arrives meanwhile is held in memory only; look after the \
                     disk, do not restart the bridge";

/// Tells since when the writer is at work without coming back; clones share it.
#[derive(Clone)]
pub(super) struct Turns {
    began: Arc<Mutex<Option<Moment>>>,
    clock: Clock,
}

impl Turns {
    pub(super) fn new(clock: Clock) -> Self {
        Self { began: Arc::default(), clock }
    }

    /// Says that work begins.
    pub(super) fn begin(&self) {
        self.set(Some(self.clock.moment()));
    }

    /// Says that it is done.
    pub(super) fn end(&self) {
        self.set(None);
    }

    /// Returns what the writer says of itself, unless it has not been able to say anything for too long.
    pub(super) fn judge(&self, said: Health) -> Health {
        let now = self.clock.moment();
        let Some(began) = *self.began.lock().unwrap_or_else(PoisonError::into_inner) else { return said };
        let hangs = now.since(began) >= HANGS_AFTER;
        match said {
            Health::Writable if hangs => Health::Failing { since: began.seen_from(now), reason: WORDS.into() },
            Health::Writable | Health::Failing { .. } => said,
        }
    }

    fn set(&self, began: Option<Moment>) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = began;
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn disk_that_hangs_is_told_until_it_comes_back() {
        let turns = Turns::new(Clock::system());
        turns.begin();
        advance(HANGS_AFTER - Duration::from_millis(1)).await;
        assert_eq!(turns.judge(Health::Writable), Health::Writable);
        advance(Duration::from_millis(1)).await;
        let Health::Failing { reason, .. } = turns.judge(Health::Writable) else { panic!("it hangs") };
        assert!(reason.contains("does not come back"), "{reason}");
        let full = Health::Failing { since: Timestamp::UNIX_EPOCH, reason: "disk full".into() };
        assert_eq!(turns.judge(full.clone()), full, "what the writer says itself is more exact");
        turns.end();
        assert_eq!(turns.judge(Health::Writable), Health::Writable);
    }

    #[tokio::test(start_paused = true)]
    async fn writer_that_waits_for_work_does_not_hang() {
        let turns = Turns::new(Clock::system());
        turns.begin();
        turns.end();
        advance(Duration::from_secs(3600)).await;
        assert_eq!(turns.judge(Health::Writable), Health::Writable);
    }
}
