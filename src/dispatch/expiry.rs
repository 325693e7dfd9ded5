//! When an event is too old to be attempted.
//!
//! Its age counts from when it was stored or last replayed, and goes on whatever it waits for: a slot, a token, its
//! retry, an earlier event, the breaker, the end of a pause. It is looked at when the event would be attempted, and when a
//! retry is planned that would come too late.

use jiff::Timestamp;

use super::retry::later;
use crate::config::limits::Ttl;
use crate::spool::settlement::Outcome;

/// Is the reason of a dead letter whose time to live was over.
pub const EXPIRED: &str = "expired";

/// Tells whether an event of this type is too old to be attempted.
pub fn is_expired(ttl: &Ttl, kind: &str, since: Timestamp, now: Timestamp) -> bool {
    ttl.of(kind).is_some_and(|ttl| now > later(since, ttl))
}

/// Returns what becomes of a failed attempt: a retry that would come too late is given up now.
pub fn cut(outcome: Outcome, ttl: &Ttl, kind: &str, since: Timestamp) -> Outcome {
    match outcome {
        Outcome::Retry { due, .. } if is_expired(ttl, kind, since, due) => expired(),
        Outcome::Retry { .. } | Outcome::Delivered { .. } | Outcome::Dead { .. } => outcome,
    }
}

/// Returns what becomes of an event that is too old.
pub fn expired() -> Outcome {
    Outcome::Dead { reason: EXPIRED.into() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Retry;
    use crate::dispatch::retry::{Policy, next};
    use crate::webhook::verdict::{Cause, Verdict};

    #[test]
    fn event_lives_until_its_time_is_over_and_not_a_millisecond_longer() {
        let ttl = Ttl::new(vec![("meeting.*".parse().expect("a pattern"), Duration::from_secs(10))]);
        let is = |kind, millis| is_expired(&ttl, kind, at(0), at(millis));
        assert!(!is("meeting.started", 10_000) && is("meeting.started", 10_001));
        assert!(!is("recording.completed", 100_000_000_000_000), "no rule, no end");
    }

    #[test]
    fn clock_that_was_set_back_ends_no_life() {
        let ttl = Ttl::new(vec![("*".parse().expect("a pattern"), Duration::from_secs(10))]);
        assert!(!is_expired(&ttl, "meeting.started", at(3_600_000), at(0)));
    }

    proptest! {
        /// Whatever limits are set together, the tightest ends a delivery that always fails.
        #[test]
        fn no_attempt_is_made_beyond_any_limit_and_each_limit_is_used_up(
            preset in 0..3_usize,
            max_attempts in prop::option::of(1..12_u32),
            max_age in prop::option::of(1..400_000_u64),
            ttl in prop::option::of(1..400_000_u64),
            jitter in 0.0..1.0_f64,
        ) {
            let retry = [Retry::Steady, Retry::Zoom, Retry::List(vec![Duration::from_secs(7); 5])][preset].clone();
            let age = max_age.map(Duration::from_secs);
            let policy = Policy::from(&retry).limited(max_attempts, age);
            let ttl = Ttl::new(ttl.map(|ttl| ("*".parse().expect("a pattern"), Duration::from_secs(ttl))).into_iter().collect());
            let (mut now, mut attempts) = (at(0), 0);
            let reason = loop {
                attempts += 1;
                prop_assert!(!is_expired(&ttl, "a", at(0), now), "attempted after its time");
                prop_assert!(attempts == 1 || !policy.is_over(at(0), now), "attempted beyond its age");
                let outcome = next(attempts, Verdict::Retry(Cause::Timeout), &policy, jitter, at(0), now);
                match cut(outcome, &ttl, "a", at(0)) {
                    Outcome::Retry { due, .. } => now = due,
                    Outcome::Dead { reason } => break reason,
                    Outcome::Delivered { .. } => prop_assert!(false, "delivered"),
                }
            };
            prop_assert!(max_attempts.is_none_or(|most| attempts <= most));
            let listed = retry.attempts().map_or(u32::MAX, |attempts| u32::try_from(attempts).expect("few"));
            prop_assert!(attempts <= listed);
            // It ends for a reason: the number of attempts, or a next one that would have come too late.
            let used_up = attempts == listed.min(max_attempts.unwrap_or(u32::MAX));
            prop_assert_eq!(&*reason == EXPIRED || reason.contains(" within "), !used_up, "{}", reason);
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).expect("within range")
    }
}
