//! The one place that reads time and randomness.
//!
//! Everything else takes `now`, a jitter or an id as an argument, or is handed a [`Clock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use uuid::Uuid;

use crate::event::RequestId;

/// Tells the time and throws the dice.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Anchored { wall: Timestamp, at: Instant, set: Arc<AtomicI64> },
}

impl Clock {
    /// Returns the clock of the machine.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that shows `wall` now and goes on with tokio's clock, which tests can pause.
    pub fn anchored(wall: Timestamp) -> Self {
        Self(Source::Anchored { wall, at: Instant::now(), set: Arc::default() })
    }

    /// Sets an anchored clock, with all its clones, back by so many milliseconds; monotonic time goes on.
    #[cfg(test)]
    pub(crate) fn set_back(&self, millis: i64) {
        if let Source::Anchored { set, .. } = &self.0 {
            set.fetch_sub(millis, Ordering::Relaxed);
        }
    }

    /// Tells the time of day, in UTC.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Anchored { wall, at, set } => {
                let passed = SignedDuration::try_from(at.elapsed()).unwrap_or(SignedDuration::MAX);
                let set = SignedDuration::from_millis(set.load(Ordering::Relaxed));
                wall.saturating_add(passed.saturating_add(set)).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Tells monotonic time.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Throws a number that is at least 0 and less than 1.
    pub fn jitter(&self) -> f64 {
        // 53 random bits of a UUID, the precision of the type.
        let bits = Uuid::new_v4().as_u128() as u64 & ((1 << 53) - 1);
        bits as f64 / (1_u64 << 53) as f64
    }

    /// Makes the id of a span in a trace, which is not zero.
    pub fn span_id(&self) -> u64 {
        // The upper bits of this half of a UUID tell its variant, which is not zero.
        Uuid::new_v4().as_u128() as u64
    }

    /// Makes a request id that no event had before.
    pub fn request_id(&self) -> RequestId {
        RequestId::new(Uuid::new_v4())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn anchored_clock_follows_the_paused_clock() {
        let clock = Clock::anchored(Timestamp::UNIX_EPOCH);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().as_second(), 90);
        clock.clone().set_back(60_000);
        assert_eq!(clock.now().as_second(), 30);
    }

    #[test]
    fn jitter_stays_in_its_range() {
        let clock = Clock::system();
        let throws: Vec<f64> = (0..1000).map(|_| clock.jitter()).collect();
        assert!(throws.iter().all(|throw| (0.0..1.0).contains(throw)));
        assert!(throws.iter().any(|throw| *throw < 0.2) && throws.iter().any(|throw| *throw > 0.8));
    }
}
