//! Log lines that somebody outside can cause as often as they like: one now and then, which tells how many it stands for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// No more often than this.
const EVERY: Duration = Duration::from_secs(10);

/// Says when it is time for a line.
#[derive(Debug, Default)]
pub(super) struct Rarely(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    unsaid: u64,
}

impl Rarely {
    /// Returns how many lines went unsaid since the last one if it is time for another, and counts this one if not.
    pub(super) fn now(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            state.unsaid += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_comes_every_ten_seconds_and_tells_how_many_it_stands_for() {
        let (rarely, began) = (Rarely::default(), Instant::now());
        let after = |seconds| rarely.now(began + Duration::from_secs(seconds));
        assert_eq!([0, 0, 9, 10, 19, 30].map(after), [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
