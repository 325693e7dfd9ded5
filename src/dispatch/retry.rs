//! What becomes of a delivery after an attempt: done, tried again, or given up.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::Retry;
use crate::spool::settlement::Outcome;
use crate::webhook::verdict::{Cause, RETRY_AFTER_MAX, Verdict};
use crate::wording::{counted, span};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The delays of `steady`: quick at first, for restarts and deployments, then patient, for a weekend.
const STEADY: [Duration; 7] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), MINUTE, minutes(5), minutes(15), HOUR];
/// What `steady` goes on with after its list.
const STEADY_THEN: Duration = Duration::from_secs(3 * 3600);
/// The age at which `steady` gives up.
const STEADY_AGE: Duration = Duration::from_secs(72 * 3600);
/// How far a delay may move either way, so that what failed together does not come back together.
const JITTER: f64 = 0.2;
/// When an event is taken up again that was not even tried.
pub(super) const UNTRIED: Duration = Duration::from_secs(1);
/// The delays of Zoom itself, as documented for its webhooks: each counts from the attempt before it.
const ZOOM: [Duration; 3] = [minutes(5), minutes(20), minutes(60)];

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// Says when failed attempts are repeated, and when no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Delay after the first attempt, the second, and so on.
    delays: Vec<Duration>,
    /// Delay after those, again and again; `None` gives up instead.
    then: Option<Duration>,
    /// Age at which a delivery is given up, whatever is left.
    max_age: Option<Duration>,
    /// How far a delay may move either way, as a share of it.
    jitter: f64,
    /// Attempts after which a delivery is given up, whatever is left.
    max_attempts: Option<u32>,
}

impl From<&Retry> for Policy {
    fn from(retry: &Retry) -> Self {
        let bounded = |delays, jitter| Self { delays, then: None, max_age: None, jitter, max_attempts: None };
        match retry {
            Retry::Steady => {
                Self { then: Some(STEADY_THEN), max_age: Some(STEADY_AGE), ..bounded(STEADY.into(), JITTER) }
            }
            Retry::Zoom => bounded(ZOOM.into(), 0.0),
            Retry::List(delays) => bounded(delays.clone(), JITTER),
        }
    }
}

impl Policy {
    /// Gives up after so many attempts, too, and at this age: the preset's own is replaced, the end of a list stays.
    pub fn limited(self, max_attempts: Option<u32>, max_age: Option<Duration>) -> Self {
        Self { max_attempts, max_age: max_age.or(self.max_age), ..self }
    }

    /// Returns the longest time that a retry can lie ahead, whatever the reason for its delay, and a minute more: a clock
    /// that is only adjusted has not been set back.
    pub fn longest(&self) -> SignedDuration {
        let delay = self.delays.iter().copied().chain(self.then).max().unwrap_or_default();
        let moved = SignedDuration::try_from(delay.mul_f64(1.0 + self.jitter)).unwrap_or(SignedDuration::MAX);
        // What a handler asks for can be longer; the longest delay of a breaker's probe cannot.
        moved.max(RETRY_AFTER_MAX).saturating_add(SignedDuration::from_mins(1))
    }

    /// Tells whether a delivery is too old to be tried again, whatever the reason for its delay.
    pub fn is_over(&self, since: Timestamp, now: Timestamp) -> bool {
        self.max_age.is_some_and(|age| now > later(since, age))
    }
}

/// Decides what becomes of a delivery.
///
/// `attempt` counts from 1; `since` is when the event was stored or last replayed; `jitter` is at least 0
/// and less than 1. An instant that a handler asked for delays the next attempt, and never hastens it: a
/// handler that keeps asking for one second is not asked every second for three days. What was not even tried is taken up
/// again soon, as often as it takes.
pub fn next(attempt: u32, verdict: Verdict, policy: &Policy, jitter: f64, since: Timestamp, now: Timestamp) -> Outcome {
    let (cause, not_before) = match verdict {
        Verdict::Delivered { status } => return Outcome::Delivered { status },
        Verdict::Refused(cause) => return Outcome::Dead { reason: cause.to_string().into() },
        Verdict::NotTried(shortage) => {
            let due = later(now, UNTRIED.mul_f64(1.0 + JITTER * (2.0 * jitter - 1.0)));
            return Outcome::Retry { due, cause: shortage.to_string().into() };
        }
        Verdict::Retry(cause) => (cause, now),
        Verdict::RetryAfter(cause, at) => (cause, at),
    };
    if policy.max_attempts.is_some_and(|most| attempt >= most) {
        return give_up(cause, attempt, None);
    }
    let position = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(delay) = policy.delays.get(position).copied().or(policy.then) else {
        return give_up(cause, attempt, None);
    };
    let moved = delay.mul_f64(1.0 + policy.jitter * (2.0 * jitter - 1.0));
    let due = later(now, moved).max(not_before);
    match policy.max_age {
        Some(age) if due > later(since, age) => give_up(cause, attempt, Some(age)),
        Some(_) | None => Outcome::Retry { due, cause: cause.to_string().into() },
    }
}

fn give_up(cause: Cause, attempts: u32, within: Option<Duration>) -> Outcome {
    let mut reason = format!("{cause} after {}", counted(attempts.into(), "attempt"));
    if let Some(age) = within.and_then(|age| SignedDuration::try_from(age).ok()) {
        reason.push_str(&format!(" within {}", span(age)));
    }
    Outcome::Dead { reason: reason.into() }
}

pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::shortage::Shortage;

    const TIMEOUT: Verdict = Verdict::Retry(Cause::Timeout);

    #[test]
    fn steady_keeps_its_rhythm_until_three_days_are_over() {
        let gaps = delays(&Retry::Steady, 0.5);
        assert_eq!(gaps[..8], [1, 5, 15, 60, 300, 900, 3600, 3 * 3600]);
        assert!(gaps[7..].iter().all(|gap| *gap == 3 * 3600));
        let total: i64 = gaps.iter().sum();
        assert!((69 * 3600..=72 * 3600).contains(&total), "{total}");
    }

    #[test]
    fn zoom_tries_after_five_twenty_and_sixty_minutes_and_no_more() {
        assert_eq!(delays(&Retry::Zoom, 0.9), [300, 1200, 3600]);
    }

    #[test]
    fn explicit_list_is_followed_to_its_end() {
        let list = Retry::List(vec![Duration::from_secs(2), Duration::from_secs(7)]);
        assert_eq!(delays(&list, 0.5), [2, 7]);
        assert_eq!(delays(&Retry::List(Vec::new()), 0.5), [0_i64; 0]);
    }

    #[test]
    fn success_is_delivered_and_refusal_is_dead_with_its_cause() {
        let policy = Policy::from(&Retry::Steady);
        let decide = |verdict| next(1, verdict, &policy, 0.5, at(0), at(0));
        assert_eq!(decide(Verdict::Delivered { status: 204 }), Outcome::Delivered { status: 204 });
        let refused = decide(Verdict::Refused(Cause::Status(410)));
        assert_eq!(refused, Outcome::Dead { reason: "status 410".into() });
    }

    #[test]
    fn what_was_not_even_tried_comes_again_in_a_second_and_is_never_given_up() {
        let not_tried = Verdict::NotTried(Shortage::Descriptors);
        for retry in [Retry::Steady, Retry::Zoom, Retry::List(Vec::new())] {
            let policy = Policy::from(&retry).limited(Some(1), Some(MINUTE));
            for (attempt, jitter, millis) in [(1, 0.5, 1000), (1, 0.0, 800), (9, 0.5, 1000)] {
                let expected = Outcome::Retry {
                    due: at(10_000) + SignedDuration::from_millis(millis),
                    cause: "this machine has no file descriptor left".into(),
                };
                assert_eq!(next(attempt, not_tried, &policy, jitter, at(0), at(10_000)), expected, "{retry:?}");
            }
        }
    }

    #[test]
    fn giving_up_names_cause_and_effort() {
        let policy = Policy::from(&Retry::Zoom);
        let Outcome::Dead { reason } = next(4, TIMEOUT, &policy, 0.5, at(0), at(0)) else { panic!("not given up") };
        assert_eq!(&*reason, "timeout after 4 attempts");
    }

    #[test]
    fn handler_may_delay_the_next_attempt_and_not_hasten_it() {
        let policy = Policy::from(&Retry::Steady);
        let due = |attempt, seconds| {
            let verdict = Verdict::RetryAfter(Cause::Status(429), at(seconds));
            match next(attempt, verdict, &policy, 0.5, at(0), at(0)) {
                Outcome::Retry { due, .. } => due.as_second(),
                other @ (Outcome::Delivered { .. } | Outcome::Dead { .. }) => panic!("{other:?}"),
            }
        };
        assert_eq!(due(1, 120), 120);
        assert_eq!(due(5, 120), 300);
    }

    proptest! {
        #[test]
        fn every_attempt_leads_somewhere_and_never_back_in_time(
            attempt in 1_u32.., jitter in 0.0..1.0_f64, seconds in 0..10_000_000_i64,
        ) {
            for retry in [Retry::Steady, Retry::Zoom, Retry::List(vec![Duration::from_secs(3)])] {
                match next(attempt, TIMEOUT, &Policy::from(&retry), jitter, at(0), at(seconds)) {
                    Outcome::Retry { due, .. } => prop_assert!(due > at(seconds)),
                    Outcome::Dead { reason } => prop_assert!(reason.starts_with("timeout")),
                    Outcome::Delivered { .. } => prop_assert!(false, "delivered"),
                }
            }
        }

        #[test]
        fn jitter_moves_a_delay_by_a_fifth_at_most(jitter in 0.0..1.0_f64) {
            match next(7, TIMEOUT, &Policy::from(&Retry::Steady), jitter, at(0), at(0)) {
                Outcome::Retry { due, .. } => prop_assert!((2880..=4320).contains(&due.as_second())),
                other @ (Outcome::Delivered { .. } | Outcome::Dead { .. }) => prop_assert!(false, "{other:?}"),
            }
        }
    }

    /// Lets every attempt time out, and returns the seconds between them until the delivery is given up.
    fn delays(retry: &Retry, jitter: f64) -> Vec<i64> {
        let policy = Policy::from(retry);
        let (mut now, mut gaps) = (at(0), Vec::new());
        for attempt in 1..1000 {
            match next(attempt, TIMEOUT, &policy, jitter, at(0), now) {
                Outcome::Retry { due, .. } => {
                    gaps.push(due.duration_since(now).as_secs());
                    now = due;
                }
                Outcome::Dead { .. } => return gaps,
                Outcome::Delivered { .. } => panic!("a timeout was delivered"),
            }
        }
        panic!("never given up")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("within range")
    }
}
