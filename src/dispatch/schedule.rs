//! Whose turn is it: a first attempt, or a retry?
//!
//! Neither may starve the other. Retries take no more than half of the slots, so that a handler's past
//! does not delay its present; first attempts leave one slot when retries wait, so that a handler under
//! full load still sees its past. With a single slot they take turns.

/// Is a kind of attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first attempt of an event.
    First,
    /// Any later one.
    Retry,
}

/// Counts the attempts in flight.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    total: usize,
    first: usize,
    retry: usize,
    last: Kind,
}

impl Slots {
    /// Makes so many free slots; there is at least one.
    pub fn new(total: usize) -> Self {
        Self { total: total.max(1), first: 0, retry: 0, last: Kind::Retry }
    }

    /// Changes how many there are; what is in flight stays in flight.
    pub fn resize(&mut self, total: usize) {
        self.total = total.max(1);
    }

    /// Returns how many attempts are in flight.
    pub fn in_flight(&self) -> usize {
        self.first + self.retry
    }

    /// Says what to start now, given what waits.
    pub fn choose(&self, first_waits: bool, retry_waits: bool) -> Option<Kind> {
        if self.in_flight() >= self.total {
            return None;
        }
        let may_retry = retry_waits && self.retry < self.total.div_ceil(2);
        let kept_for_retries = usize::from(self.retry == 0 && self.total > 1);
        let may_start = first_waits && (!may_retry || self.first + kept_for_retries < self.total);
        match (may_start, may_retry) {
            (true, true) if self.last == Kind::First => Some(Kind::Retry),
            (true, _) => Some(Kind::First),
            (false, true) => Some(Kind::Retry),
            (false, false) => None,
        }
    }

    /// Takes a slot.
    pub fn start(&mut self, kind: Kind) {
        self.last = kind;
        *self.count(kind) += 1;
    }

    /// Gives a slot back.
    pub fn end(&mut self, kind: Kind) {
        let count = self.count(kind);
        *count = count.saturating_sub(1);
    }

    fn count(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::First => &mut self.first,
            Kind::Retry => &mut self.retry,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn single_slot_alternates_when_both_wait() {
        let mut slots = Slots::new(1);
        let mut turns = Vec::new();
        for _ in 0..4 {
            let kind = slots.choose(true, true).expect("a free slot");
            slots.start(kind);
            assert_eq!(slots.choose(true, true), None);
            slots.end(kind);
            turns.push(kind);
        }
        assert_eq!(turns, [Kind::First, Kind::Retry, Kind::First, Kind::Retry]);
    }

    #[test]
    fn retries_never_take_more_than_half() {
        let mut slots = Slots::new(8);
        while let Some(kind) = slots.choose(false, true) {
            slots.start(kind);
        }
        assert_eq!(slots.retry, 4);
        assert_eq!(slots.choose(true, true), Some(Kind::First));
    }

    #[test]
    fn first_attempts_alone_may_take_all() {
        let mut slots = Slots::new(8);
        while let Some(kind) = slots.choose(true, false) {
            slots.start(kind);
        }
        assert_eq!(slots.first, 8);
    }

    proptest! {
        #[test]
        fn neither_kind_is_ever_shut_out(total in 1..20_usize, steps in prop::collection::vec((any::<bool>(), 0..20_usize), 1..200)) {
            let mut slots = Slots::new(total);
            let mut running = Vec::new();
            for (is_start, victim) in steps {
                if is_start && let Some(kind) = slots.choose(true, true) {
                    slots.start(kind);
                    running.push(kind);
                } else if !running.is_empty() {
                    slots.end(running.swap_remove(victim % running.len()));
                }
                prop_assert_eq!(slots.in_flight(), running.len());
                prop_assert!(running.len() <= total);
                let full = slots.choose(true, true).is_none();
                prop_assert!(!full || running.len() == total, "a slot stays free while something waits");
                prop_assert!(!full || total == 1 || (slots.first > 0 && slots.retry > 0), "one kind has every slot");
                prop_assert!(!running.is_empty() || slots.choose(true, false) == Some(Kind::First));
                prop_assert!(!running.is_empty() || slots.choose(false, true) == Some(Kind::Retry));
            }
        }
    }
}
