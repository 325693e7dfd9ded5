//! The one place that reads time and randomness.
//!
//! Everything else takes `now`, a jitter or an id as an argument, or is handed a [`Clock`].

use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use uuid::Uuid;

use crate::event::RequestId;

/// Is one moment on both clocks: the wall's, which can be set, and the monotonic one, which stands still while the
/// machine sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    wall: Timestamp,
    instant: Instant,
}

impl Moment {
    /// Returns the time of day that it was, as the clock was set then.
    pub fn wall(self) -> Timestamp {
        self.wall
    }

    /// Returns the time that passed since an earlier moment, by the clock that tells more of it.
    pub fn since(self, earlier: Self) -> Duration {
        let by_wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default();
        by_wall.max(self.instant.duration_since(earlier.instant))
    }

    /// Returns the time of day that it was, for a reader to whom it is now `now`: if the clock was set back since, what
    /// came after must not seem to have come before.
    pub fn seen_from(self, now: Self) -> Timestamp {
        let passed = SignedDuration::try_from(now.instant.duration_since(self.instant)).unwrap_or(SignedDuration::MAX);
        self.wall.min(now.wall.saturating_sub(passed).unwrap_or(Timestamp::MIN))
    }
}

/// Tells the time and throws the dice.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Anchored {
        wall: Timestamp,
        at: Instant,
        set: Arc<AtomicI64>,
    },
    /// An anchored clock whose dice fall as a seed says, and that does not stop a thread.
    #[cfg(test)]
    Seeded {
        clock: Box<Clock>,
        dice: Arc<AtomicU64>,
    },
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

    /// Returns an anchored clock whose dice fall as the seed says.
    #[cfg(test)]
    pub(crate) fn seeded(wall: Timestamp, seed: u64) -> Self {
        Self(Source::Seeded { clock: Box::new(Self::anchored(wall)), dice: Arc::new(AtomicU64::new(seed)) })
    }

    /// Sets an anchored clock, with all its clones, back by so many milliseconds; monotonic time goes on.
    #[cfg(test)]
    pub(crate) fn set_back(&self, millis: i64) {
        match &self.0 {
            Source::System => {}
            Source::Anchored { set, .. } => _ = set.fetch_sub(millis, Ordering::Relaxed),
            Source::Seeded { clock, .. } => clock.set_back(millis),
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
            #[cfg(test)]
            Source::Seeded { clock, .. } => clock.now(),
        }
    }

    /// Tells monotonic time.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Tells both at once.
    pub fn moment(&self) -> Moment {
        Moment { wall: self.now(), instant: self.instant() }
    }

    /// Throws a number that is at least 0 and less than 1.
    pub fn jitter(&self) -> f64 {
        // 53 random bits of a UUID, the precision of the type.
        let bits = self.uuid().as_u128() as u64 & ((1 << 53) - 1);
        bits as f64 / (1_u64 << 53) as f64
    }

    /// Makes the id of a span in a trace, which is not zero.
    pub fn span_id(&self) -> u64 {
        // The upper bits of this half of a UUID tell its variant, which is not zero.
        self.uuid().as_u128() as u64
    }

    /// Makes a request id that no event had before.
    pub fn request_id(&self) -> RequestId {
        RequestId::new(self.uuid())
    }

    /// Stops this thread for so long; not a timer of the runtime, which may have ended.
    pub fn block(&self, duration: Duration) {
        match &self.0 {
            Source::System | Source::Anchored { .. } => std::thread::sleep(duration),
            #[cfg(test)]
            Source::Seeded { .. } => {}
        }
    }

    fn uuid(&self) -> Uuid {
        match &self.0 {
            Source::System | Source::Anchored { .. } => Uuid::new_v4(),
            #[cfg(test)]
            Source::Seeded { dice, .. } => {
                let half = || u128::from(mix(dice.fetch_add(1, Ordering::Relaxed)));
                uuid::Builder::from_random_bytes((half() << 64 | half()).to_be_bytes()).into_uuid()
            }
        }
    }
}

/// Makes of a number one that looks thrown, each of another.
#[cfg(test)]
pub(crate) fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn anchored_clock_follows_the_paused_clock() {
        let clock = Clock::anchored(Timestamp::UNIX_EPOCH);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().as_second(), 90);
        clock.clone().set_back(60_000);
        assert_eq!(clock.now().as_second(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn moment_is_never_after_what_followed_it_though_the_clock_is_set_back() {
        let clock = Clock::anchored("2026-07-29T12:00:00Z".parse().expect("an instant"));
        let heard = clock.moment();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(heard.seen_from(clock.moment()), heard.wall());
        clock.set_back(3_600_000);
        let now = clock.moment();
        assert_eq!(heard.seen_from(now).to_string(), "2026-07-29T11:00:00Z");
        assert_eq!(now.since(heard), Duration::from_secs(5), "an hour less is no time that passed");
        clock.set_back(-3_600_000);
        clock.set_back(-60_000);
        assert_eq!(heard.seen_from(clock.moment()), heard.wall());
        assert_eq!(clock.moment().since(heard), Duration::from_secs(65), "the machine may have slept");
    }

    #[test]
    fn jitter_stays_in_its_range() {
        let clock = Clock::system();
        let throws: Vec<f64> = (0..1000).map(|_| clock.jitter()).collect();
        assert!(throws.iter().all(|throw| (0.0..1.0).contains(throw)));
        assert!(throws.iter().any(|throw| *throw < 0.2) && throws.iter().any(|throw| *throw > 0.8));
    }
}
