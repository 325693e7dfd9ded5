//! Attempts that came to nothing on this machine, for want of a file descriptor, a port or memory.
//!
//! The handler has not seen them and is not blamed: no attempt is counted, no dead letter made, no breaker opened. The event
//! goes back to the disk and comes again in about a second. Meanwhile the lane goes on over the connections that it has,
//! less one, which is there for others then; every second it tries for twice as many.

use std::time::Duration;

use tokio::time::Instant;
use tower::Service;

use super::Lane;
use crate::dispatch::breaker::Change;
use crate::dispatch::retry::UNTRIED;
use crate::net::shortage::Shortage;
use crate::webhook::request::Outgoing;
use crate::webhook::verdict::{Answer, SendError};

/// Is how many attempts may be in flight after a shortage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Narrow {
    slots: usize,
    /// When it is time to try for more.
    until: Instant,
}

impl Narrow {
    /// Begins when one attempt came to nothing and these many are still in flight.
    fn new(in_flight: usize, now: Instant) -> Self {
        // The last one is nobody's to take.
        let slots = if in_flight > 1 { in_flight - 1 } else { in_flight };
        Self { slots, until: now + UNTRIED }
    }

    /// Returns what holds at this time; `None` once there is room for all `total` slots.
    fn at(self, now: Instant, total: usize) -> Option<Self> {
        if now < self.until {
            return Some(self);
        }
        let slots = self.slots.saturating_mul(2).max(1);
        (slots < total).then_some(Self { slots, until: now + UNTRIED })
    }

    /// Returns how long it takes until another attempt may start beside these.
    fn wait(self, in_flight: usize, now: Instant) -> Duration {
        if in_flight < self.slots { Duration::ZERO } else { self.until.saturating_duration_since(now) }
    }
}

impl<S> Lane<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    /// Tells of a shortage, and makes do with less for a while.
    pub(super) fn could_not_try(&mut self, was_probe: bool, shortage: Shortage, event: Option<u64>) -> Change {
        let (now, instant) = (self.clock.now(), self.clock.instant());
        self.narrow = Some(Narrow::new(self.slots.in_flight(), instant));
        self.voice.short(shortage, event, now, instant);
        self.breaker.not_tried(was_probe, now)
    }

    /// Tries for more, when it is time.
    pub(super) fn widen(&mut self) {
        let total = self.current.concurrency;
        self.narrow = self.narrow.and_then(|narrow| narrow.at(self.clock.instant(), total));
    }

    /// Returns how long a shortage holds up the next start.
    pub(super) fn wait_for_room(&self) -> Duration {
        let narrow = self.narrow;
        narrow.map_or(Duration::ZERO, |narrow| narrow.wait(self.slots.in_flight(), self.clock.instant()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lane_goes_on_with_one_connection_less_and_tries_for_twice_as_many_every_second() {
        let now = Instant::now();
        for (in_flight, slots) in [(0, 0), (1, 1), (2, 1), (40, 39)] {
            let narrow = Narrow::new(in_flight, now);
            assert_eq!(narrow.slots, slots);
            assert_eq!(narrow.wait(slots, now), UNTRIED, "no more than that");
            assert!(slots == 0 || narrow.wait(slots - 1, now).is_zero(), "but that goes on");
        }
        let mut narrow = Some(Narrow::new(0, now));
        let mut seen = Vec::new();
        for second in 0..7 {
            narrow = narrow.and_then(|narrow| narrow.at(now + UNTRIED * second, 16));
            seen.extend(narrow.map(|narrow| narrow.slots));
        }
        assert_eq!((seen, narrow), (vec![0, 1, 2, 4, 8], None));
    }
}
