//! Whether the loops turn: a beat that a task renews, and that goes stale when nothing runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How often the beat is to be renewed.
pub const BEAT: Duration = Duration::from_secs(1);
/// A beat older than this means that the loops stand still: far more than any pause of a busy machine.
const STALE: Duration = Duration::from_secs(30);

/// Remembers the last beat; clones share it.
#[derive(Clone, Debug)]
pub struct Liveness {
    began: Instant,
    /// Milliseconds from `began` to the last beat.
    beat: Arc<AtomicU64>,
}

impl Liveness {
    /// Begins with a beat.
    pub fn new(now: Instant) -> Self {
        Self { began: now, beat: Arc::default() }
    }

    /// Says that the loops turn.
    pub fn beat(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.began).as_millis();
        self.beat.store(u64::try_from(passed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Tells how long ago the last beat was, if that is too long.
    pub(crate) fn stale(&self, now: Instant) -> Option<Duration> {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        let age = now.saturating_duration_since(self.began).saturating_sub(beat);
        (age > STALE).then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beat_goes_stale_after_thirty_seconds_and_is_renewed() {
        let began = Instant::now();
        let liveness = Liveness::new(began);
        let after = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(liveness.stale(after(30)), None);
        assert_eq!(liveness.stale(after(31)), Some(Duration::from_secs(31)));
        liveness.clone().beat(after(31));
        assert_eq!(liveness.stale(after(61)), None);
    }
}
