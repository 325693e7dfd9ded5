//! Delays that double: the one place that uses the `backoff` crate, for its arithmetic alone.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// A delay is spread over this much of itself to either side.
const SPREAD: f64 = 0.2;

/// Is a sequence of growing delays.
#[derive(Debug)]
pub(crate) struct Delays(ExponentialBackoff);

impl Delays {
    /// Makes a sequence that begins with `first` and doubles up to `longest`.
    pub(crate) fn doubling(first: Duration, longest: Duration) -> Self {
        Self(ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: longest,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }

    /// Returns the next delay, shifted by up to a fifth of it; `jitter` is at least 0 and less than 1.
    pub(crate) fn next(&mut self, jitter: f64) -> Duration {
        let delay = self.0.current_interval;
        // Only the step is wanted. The value that it returns is off by a random fraction of a nanosecond.
        self.0.next_backoff();
        delay.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * jitter)
    }

    /// Begins again with the first delay.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: f64 = 0.5;

    fn seconds(delays: &mut Delays, count: usize) -> Vec<u64> {
        (0..count).map(|_| delays.next(MIDDLE).as_secs_f64().round() as u64).collect()
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut delays = Delays::doubling(Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(seconds(&mut delays, 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn reset_begins_again() {
        let mut delays = Delays::doubling(Duration::from_secs(1), Duration::from_secs(60));
        seconds(&mut delays, 5);
        delays.reset();
        assert_eq!(seconds(&mut delays, 3), [1, 2, 4]);
    }

    #[test]
    fn jitter_spreads_a_delay_by_a_fifth_to_either_side() {
        let delay = |jitter| Delays::doubling(Duration::from_secs(10), Duration::from_secs(60)).next(jitter);
        assert_eq!(delay(0.0), Duration::from_secs(8));
        assert_eq!(delay(MIDDLE), Duration::from_secs(10));
        assert!(delay(0.999) > Duration::from_millis(11_900) && delay(0.999) < Duration::from_secs(12));
    }

    #[test]
    fn delays_never_end() {
        let mut delays = Delays::doubling(Duration::from_secs(1), Duration::from_secs(60));
        let last = (0..100_000).map(|_| delays.next(MIDDLE)).last();
        assert_eq!(last, Some(Duration::from_secs(60)));
    }
}
