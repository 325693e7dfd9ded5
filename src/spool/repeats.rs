//! Recognising a body that was seen before.
//!
//! The window holds eight bytes of each digest, in two generations that take turns, so that its memory
//! is bounded whatever the rate. A hit is a candidate only: the writer compares the whole digest, the
//! group and the time before it drops a delivery, so a chance or a forged likeness cannot lose an event.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::{SignedDuration, Timestamp};

use crate::event::{Digest, EventId};

/// Digests in one generation: about 9 MB at the most. At 400 events/s and more the window is shorter than asked.
const GENERATION: usize = 1 << 18;

/// Remembers which bodies were seen within a span of time.
pub(super) struct Repeats {
    span: SignedDuration,
    turned_at: Timestamp,
    young: HashMap<u64, EventId>,
    old: HashMap<u64, EventId>,
}

impl Repeats {
    /// Makes an empty window; a span of zero remembers nothing.
    pub(super) fn new(span: SignedDuration, now: Timestamp) -> Self {
        Self { span, turned_at: now, young: HashMap::new(), old: HashMap::new() }
    }

    /// Returns the event that may have had this body, in this group of subscriptions.
    pub(super) fn candidate(&self, group: &str, digest: Digest) -> Option<EventId> {
        let key = key(group, digest);
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    /// Remembers that this event has this body.
    pub(super) fn remember(&mut self, group: &str, digest: Digest, id: EventId, now: Timestamp) {
        if self.span.is_zero() {
            return;
        }
        // A clock that was set back makes the age negative: the generations then turn by count alone.
        if self.young.len() >= GENERATION || now.duration_since(self.turned_at) >= self.span {
            self.old = std::mem::take(&mut self.young);
            self.turned_at = now;
        }
        self.young.insert(key(group, digest), id);
    }

    /// Returns since when the window lasts.
    pub(super) fn since(&self, now: Timestamp) -> Timestamp {
        now.checked_sub(self.span).unwrap_or(Timestamp::MIN)
    }

    /// Tells whether something seen at `then` is still within the window.
    pub(super) fn covers(&self, then: Timestamp, now: Timestamp) -> bool {
        now.duration_since(then).abs() < self.span
    }
}

/// Mixes the group in, so that groups do not shadow each other's candidates.
fn key(group: &str, digest: Digest) -> u64 {
    let mut hasher = DefaultHasher::new();
    group.hash(&mut hasher);
    digest.prefix() ^ hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("within range")
    }

    fn window(seconds: i64) -> Repeats {
        Repeats::new(SignedDuration::from_secs(seconds), at(0))
    }

    #[test]
    fn same_body_in_the_same_group_is_a_candidate() {
        let mut repeats = window(600);
        let digest = Digest::of(b"body");
        repeats.remember("main", digest, EventId(7), at(1));
        assert_eq!(repeats.candidate("main", digest), Some(EventId(7)));
        assert_eq!(repeats.candidate("other", digest), None);
        assert_eq!(repeats.candidate("main", Digest::of(b"bodY")), None);
    }

    #[test]
    fn window_forgets_after_two_turns() {
        let mut repeats = window(600);
        let digest = Digest::of(b"body");
        repeats.remember("main", digest, EventId(1), at(1));
        repeats.remember("main", Digest::of(b"2"), EventId(2), at(601));
        assert_eq!(repeats.candidate("main", digest), Some(EventId(1)), "one turn keeps it for the time check");
        repeats.remember("main", Digest::of(b"3"), EventId(3), at(1202));
        assert_eq!(repeats.candidate("main", digest), None);
    }

    #[test]
    fn time_decides_what_is_covered() {
        let repeats = window(600);
        assert!(repeats.covers(at(100), at(699)));
        assert!(!repeats.covers(at(100), at(700)));
        assert!(!repeats.covers(at(5000), at(100)), "a clock set back by more than the window covers nothing");
    }

    #[test]
    fn memory_is_bounded_whatever_the_rate() {
        let mut repeats = window(600);
        for n in 0..3 * GENERATION as u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            repeats.remember("main", Digest(digest), EventId(n), at(1));
        }
        assert!(repeats.young.len() + repeats.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn span_of_zero_remembers_nothing() {
        let mut repeats = window(0);
        repeats.remember("main", Digest::of(b"body"), EventId(1), at(1));
        assert_eq!(repeats.candidate("main", Digest::of(b"body")), None);
    }
}
