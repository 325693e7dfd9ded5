//! When the next attempt may start: a bucket that holds a burst of tokens and is filled at the destination's rate.
//!
//! The bucket is kept as the one instant at which it will be full again (the generic cell rate algorithm): no count
//! that drifts, and the wait for the next token is known exactly.

use std::time::{Duration, Instant};

use crate::config::limits::Rate;

/// Holds the tokens of one destination; each attempt takes one.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    interval: Duration,
    /// How far ahead the filling may lie while a token is left.
    slack: Duration,
    full_at: Instant,
}

impl Bucket {
    /// Makes a full one.
    pub fn new(rate: Rate, now: Instant) -> Self {
        let interval = rate.interval();
        Self { interval, slack: interval.saturating_mul(rate.burst() - 1), full_at: now }
    }

    /// Returns how long it takes until there is a token; zero when there is one.
    pub fn wait(&self, now: Instant) -> Duration {
        self.full_at.saturating_duration_since(now).saturating_sub(self.slack)
    }

    /// Takes a token; there must be one.
    pub fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.interval;
    }

    /// Returns the bucket that goes on at a rate. What was taken stays taken, up to a whole bucket: a new rate is no new
    /// burst.
    pub fn at(self, rate: Rate, now: Instant) -> Self {
        let new = Self::new(rate, now);
        let missing = self.full_at.saturating_duration_since(now).min(new.interval + new.slack);
        Self { full_at: now + missing, ..new }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn burst_goes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate("10/s burst 3"), start);
        let mut starts = Vec::new();
        let mut now = start;
        for _ in 0..6 {
            now += bucket.wait(now);
            bucket.take(now);
            starts.push(now.duration_since(start).as_millis());
        }
        assert_eq!(starts, [0, 0, 0, 100, 200, 300]);
    }

    #[test]
    fn rest_fills_the_bucket_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate("10/s burst 2"), start);
        let later = start + Duration::from_secs(3600);
        for _ in 0..2 {
            assert_eq!(bucket.wait(later), Duration::ZERO);
            bucket.take(later);
        }
        assert_eq!(bucket.wait(later), Duration::from_millis(100));
    }

    #[test]
    fn new_rate_gives_no_new_burst_and_forgives_what_it_would_not_have_cost() {
        let now = Instant::now();
        let mut bucket = Bucket::new(rate("1/h"), now);
        bucket.take(now);
        let bucket = bucket.at(rate("10/s burst 5"), now);
        assert_eq!(bucket.wait(now), Duration::from_millis(100));
        let mut bucket = Bucket::new(rate("10/s burst 5"), now);
        bucket.take(now);
        let bucket = bucket.at(rate("1/m"), now);
        assert_eq!(bucket.wait(now), Duration::from_millis(100));
    }

    proptest! {
        #[test]
        fn no_window_ever_sees_more_than_burst_and_rate_allow_and_nobody_starves(
            count in 1..2000_u32,
            burst in 1..50_u32,
            pauses in prop::collection::vec(0..5_000_000_u64, 1..300),
        ) {
            let rate = rate(&format!("{count}/s burst {burst}"));
            let start = Instant::now();
            let (mut bucket, mut now) = (Bucket::new(rate, start), start);
            let mut taken = Vec::new();
            for micros in pauses {
                now += Duration::from_micros(micros % 20_000 * (micros % 3));
                if bucket.wait(now).is_zero() {
                    bucket.take(now);
                    taken.push(now);
                } else {
                    // Exactly after the wait there is a token, and not a nanosecond before.
                    let ready = now + bucket.wait(now);
                    prop_assert!(bucket.wait(ready).is_zero());
                    prop_assert!(!bucket.wait(ready - Duration::from_nanos(1)).is_zero());
                    prop_assert!(bucket.wait(now) <= rate.interval(), "a token comes within one interval");
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (count_in_window, until) in (1_u32..).zip(&taken[first..]) {
                    let allowed = until.duration_since(*from).as_nanos() * u128::from(count) / 1_000_000_000;
                    prop_assert!(u128::from(count_in_window) <= u128::from(burst) + allowed);
                }
            }
        }
    }

    fn rate(text: &str) -> Rate {
        text.parse().expect("a rate")
    }
}
