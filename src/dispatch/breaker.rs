//! The breaker: a storm of failures makes events wait instead of wearing out their attempts.
//!
//! ```text
//! Closed ──9 of 10 attempts failed──▶ Open ──delay over──▶ one probe ──succeeds──▶ Closed
//!                                       ▲                       │
//!                                       └──────── fails, delay doubles
//! ```
//!
//! Any failure counts, refusals too: after a secret was rotated a handler answers 401 to everything, and the
//! backlog must not become dead letters for it. One odd 404 among successes never opens the breaker. At a destination
//! that sees little traffic it opens when the last twenty first attempts have all failed, however long ago they were.
//! Nor does a backlog that fails again and again at a handler that takes what is new: retries alone say nothing
//! as long as first attempts fare well.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::retry::later;
use super::schedule::Kind;
use crate::event::EventId;
use crate::spool::record::Opened;

/// The most results that are looked at: of a handler that fails at three of four, nine of ten rarely look so.
const WINDOW: usize = 100;
/// Fewer results than this say nothing.
const SAMPLE: usize = 20;
/// So many failures of ten open the breaker.
const FAILURES_OF_TEN: usize = 9;
/// Results older than this say nothing of now, unless all first attempts since say the same.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// The first delay before a probe; each failure doubles it.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest delay before a probe: how long a handler that is back may wait for its events.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// How far a delay may move either way.
const JITTER: f64 = 0.2;
/// The longest that a probe can lie ahead: the longest delay, moved as far as can be.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(72);

/// Is what an attempt says of the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It works.
    Well,
    /// It does not.
    Failed,
    /// It refused this event, which is a dead letter now.
    Refused(EventId),
}

/// Watches the attempts of one destination.
#[derive(Debug)]
pub struct Breaker {
    /// The results of all attempts.
    all: Window,
    /// Those of first attempts.
    first: Window,
    /// The last first attempts, however old.
    latest: VecDeque<(Timestamp, Sign)>,
    opened: Option<Opened>,
    probing: bool,
}

/// Says what a result changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The breaker has opened; these events were refused on the way to it and deserve another chance.
    Opened(Vec<EventId>),
    /// A probe failed, and the next one waits longer.
    Postponed,
    /// A probe succeeded.
    Closed,
}

impl Breaker {
    /// Begins closed, or where the process before this one left it.
    pub fn new(opened: Option<Opened>) -> Self {
        let (all, first, latest) = (Window::default(), Window::default(), VecDeque::new());
        Self { all, first, latest, opened, probing: false }
    }

    /// Returns since when it is open, and when the next probe may be sent.
    pub fn opened(&self) -> Option<Opened> {
        self.opened
    }

    /// Tells whether a probe is in flight.
    pub fn is_probing(&self) -> bool {
        self.probing
    }

    /// Tells whether an attempt may start now; while the breaker is open that attempt is the probe.
    ///
    /// A probe that lies further ahead than any delay was planned by a clock that has been set back since.
    pub fn allows(&self, now: Timestamp) -> bool {
        match self.opened {
            None => true,
            Some(opened) => {
                let left = opened.probe_at.duration_since(now);
                !self.probing && (left <= SignedDuration::ZERO || left > LONGEST_WAIT)
            }
        }
    }

    /// Takes note that an attempt starts, and tells whether it is a probe.
    pub fn start(&mut self) -> bool {
        self.probing = self.opened.is_some();
        self.probing
    }

    /// Takes note of a result. `jitter` is at least 0 and less than 1.
    pub fn result(&mut self, sign: Sign, kind: Kind, was_probe: bool, now: Timestamp, jitter: f64) -> Change {
        match (&mut self.opened, was_probe) {
            (Some(_), true) if sign == Sign::Well => {
                *self = Self::new(None);
                Change::Closed
            }
            (Some(opened), true) => {
                opened.probes = opened.probes.saturating_add(1);
                opened.probe_at = later(now, delay(opened.probes, jitter));
                self.probing = false;
                Change::Postponed
            }
            // What was in flight when it opened says nothing new.
            (Some(_), false) => Change::None,
            (None, _) => self.note(sign, kind, now, jitter),
        }
    }

    /// Takes note that an attempt that had started was none after all: another one may start in a second.
    pub fn not_tried(&mut self, was_probe: bool, now: Timestamp) -> Change {
        match &mut self.opened {
            Some(opened) if was_probe => {
                opened.probe_at = later(now, FIRST_DELAY);
                self.probing = false;
                Change::Postponed
            }
            Some(_) | None => Change::None,
        }
    }

    fn note(&mut self, sign: Sign, kind: Kind, now: Timestamp, jitter: f64) -> Change {
        self.all.push(sign, now);
        match kind {
            Kind::First => {
                self.first.push(sign, now);
                self.latest.truncate(SAMPLE - 1);
                self.latest.push_front((now, sign));
            }
            Kind::Retry => self.first.forget_old(now),
        }
        let storm = self.all.0.len() >= SAMPLE && self.all.mostly_fails() && self.first.mostly_fails();
        if !storm && !self.has_long_failed(now) {
            return Change::None;
        }
        let both = self.all.0.drain(..).chain(self.latest.drain(..));
        let refused: BTreeSet<EventId> = both
            .filter_map(|(_, sign)| match sign {
                Sign::Refused(event) => Some(event),
                Sign::Well | Sign::Failed => None,
            })
            .collect();
        let refused = refused.into_iter().collect();
        self.first = Window::default();
        self.opened = Some(Opened { since: now, probe_at: later(now, delay(0, jitter)), probes: 0 });
        Change::Opened(refused)
    }

    /// Tells whether a destination with too little traffic for a storm takes nothing at all.
    fn has_long_failed(&self, now: Timestamp) -> bool {
        let is_rare = self.latest.back().is_some_and(|(at, _)| now.duration_since(*at) > FRESH);
        is_rare && self.latest.len() >= SAMPLE && self.latest.iter().all(|(_, sign)| *sign != Sign::Well)
    }
}

/// Holds the newest results.
#[derive(Debug, Default)]
struct Window(VecDeque<(Timestamp, Sign)>);

impl Window {
    fn push(&mut self, sign: Sign, now: Timestamp) {
        self.forget_old(now);
        if self.0.len() >= WINDOW {
            self.0.pop_front();
        }
        self.0.push_back((now, sign));
    }

    fn forget_old(&mut self, now: Timestamp) {
        while self.0.front().is_some_and(|(at, _)| now.duration_since(*at) > FRESH) {
            self.0.pop_front();
        }
    }

    /// Tells whether hardly any attempt went well; so it is when there was none.
    fn mostly_fails(&self) -> bool {
        let failures = self.0.iter().filter(|(_, sign)| *sign != Sign::Well).count();
        failures * 10 >= self.0.len() * FAILURES_OF_TEN
    }
}

fn delay(probes: u32, jitter: f64) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(1_u32.checked_shl(probes).unwrap_or(u32::MAX)).min(LONGEST_DELAY);
    doubled.mul_f64(1.0 + JITTER * (2.0 * jitter - 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn storm_of_any_failure_opens_it_and_hands_back_what_was_refused() {
        let mut breaker = Breaker::new(None);
        for n in 0..19 {
            let sign = if n % 2 == 0 { Sign::Failed } else { Sign::Refused(EventId(n)) };
            assert_eq!(breaker.result(sign, Kind::First, false, at(0), 0.5), Change::None);
        }
        let odd: Vec<EventId> = (0..19).filter(|n| n % 2 == 1).map(EventId).collect();
        assert_eq!(breaker.result(Sign::Failed, Kind::First, false, at(0), 0.5), Change::Opened(odd));
        assert!(!breaker.allows(at(0)) && breaker.allows(at(1)));
    }

    #[test]
    fn what_was_not_even_tried_says_nothing_and_leaves_the_next_probe_its_turn() {
        let mut breaker = Breaker::new(None);
        for _ in 0..1000 {
            assert_eq!(breaker.not_tried(false, at(0)), Change::None);
        }
        assert!(breaker.opened().is_none());
        let opened = Opened { since: at(0), probe_at: at(5), probes: 4 };
        let mut breaker = Breaker::new(Some(opened));
        assert!(breaker.start());
        assert_eq!(breaker.not_tried(false, at(5)), Change::None, "it was in flight when the breaker opened");
        assert!(breaker.is_probing());
        assert_eq!(breaker.not_tried(true, at(5)), Change::Postponed);
        assert_eq!(breaker.opened(), Some(Opened { probe_at: at(6), ..opened }), "no probe is counted");
        assert!(!breaker.allows(at(5)) && breaker.allows(at(6)));
    }

    #[test]
    fn storm_after_fair_weather_opens_it_and_hands_back_every_refused_event() {
        let mut breaker = Breaker::new(None);
        for _ in 0..1000 {
            breaker.result(Sign::Well, Kind::First, false, at(0), 0.5);
        }
        let storm: Vec<EventId> = (0..90).map(EventId).collect();
        for event in &storm[..89] {
            assert_eq!(breaker.result(Sign::Refused(*event), Kind::First, false, at(1), 0.5), Change::None);
        }
        let last = breaker.result(Sign::Refused(storm[89]), Kind::First, false, at(1), 0.5);
        assert_eq!(last, Change::Opened(storm));
    }

    #[test]
    fn odd_failures_among_successes_never_open_it() {
        let mut breaker = Breaker::new(None);
        for n in 0..10_000 {
            let sign = if n % 6 == 0 { Sign::Well } else { Sign::Refused(EventId(n)) };
            assert_eq!(breaker.result(sign, Kind::First, false, at(0), 0.5), Change::None);
        }
    }

    #[test]
    fn retries_alone_never_open_it_while_first_attempts_fare_well() {
        let mut breaker = Breaker::new(None);
        for n in 0..10_000 {
            let (sign, kind) = if n % 50 == 0 { (Sign::Well, Kind::First) } else { (Sign::Failed, Kind::Retry) };
            assert_eq!(breaker.result(sign, kind, false, at(n / 20), 0.5), Change::None);
        }
    }

    #[test]
    fn retries_open_it_when_first_attempts_fail_too_or_there_are_none() {
        for first in [None, Some(Sign::Failed)] {
            let mut breaker = Breaker::new(None);
            if let Some(sign) = first {
                breaker.result(sign, Kind::First, false, at(0), 0.5);
            }
            for _ in 0..SAMPLE {
                breaker.result(Sign::Failed, Kind::Retry, false, at(0), 0.5);
            }
            assert!(breaker.opened().is_some(), "{first:?}");
        }
    }

    #[test]
    fn first_attempts_that_fared_well_long_ago_keep_it_closed_no_more() {
        let mut breaker = Breaker::new(None);
        breaker.result(Sign::Well, Kind::First, false, at(0), 0.5);
        for n in 0..SAMPLE {
            breaker.result(Sign::Failed, Kind::Retry, false, at(601), 0.5);
            assert_eq!(breaker.opened().is_some(), n + 1 == SAMPLE);
        }
    }

    #[test]
    fn failures_that_are_far_apart_open_it_when_there_is_nothing_else() {
        let mut breaker = Breaker::new(None);
        let ids: Vec<EventId> = (1..=SAMPLE as u64).map(EventId).collect();
        for (nth, id) in ids.iter().enumerate() {
            let change = breaker.result(Sign::Refused(*id), Kind::First, false, at(nth as i64 * 3600), 0.5);
            let expected = if nth + 1 < SAMPLE { Change::None } else { Change::Opened(ids.clone()) };
            assert_eq!(change, expected, "a secret that was rotated on one side burns nothing by night either");
        }
    }

    #[test]
    fn event_that_fails_again_and_again_at_a_quiet_destination_holds_back_no_other() {
        let mut breaker = Breaker::new(None);
        for n in 0..1000 {
            let (sign, kind) = if n % 30 == 0 { (Sign::Well, Kind::First) } else { (Sign::Failed, Kind::Retry) };
            assert_eq!(breaker.result(sign, kind, false, at(n * 3600), 0.5), Change::None);
        }
    }

    #[test]
    fn failures_among_successes_that_are_far_apart_never_open_it() {
        let mut breaker = Breaker::new(None);
        for n in 0..1000 {
            let sign = if n % 5 == 0 { Sign::Well } else { Sign::Failed };
            assert_eq!(breaker.result(sign, Kind::First, false, at(n * 3600), 0.5), Change::None);
        }
    }

    #[test]
    fn probes_go_out_one_at_a_time_and_ever_more_slowly() {
        let mut breaker = open();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            let due = breaker.opened().expect("open").probe_at;
            waits.push(due.duration_since(now).as_secs());
            now = due;
            assert!(breaker.allows(now));
            assert!(breaker.start(), "a probe");
            assert!(!breaker.allows(now), "one at a time");
            assert_eq!(breaker.result(Sign::Failed, Kind::First, true, now, 0.5), Change::Postponed);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn probe_that_succeeds_closes_it() {
        let mut breaker = open();
        breaker.start();
        assert_eq!(breaker.result(Sign::Well, Kind::First, true, at(1), 0.5), Change::Closed);
        assert!(breaker.allows(at(1)) && breaker.opened().is_none());
        assert!(!breaker.start(), "no probe any more");
    }

    #[test]
    fn clock_that_is_set_back_does_not_put_off_a_probe() {
        let breaker = Breaker::new(open().opened());
        assert!(breaker.allows(at(-3600)), "no probe is planned an hour ahead");
        let mut slow = open();
        while slow.opened().is_some_and(|opened| opened.probes < 9) {
            slow.start();
            slow.result(Sign::Failed, Kind::First, true, at(0), 0.999);
        }
        assert!(!slow.allows(at(0)), "the longest delay is waited for");
    }

    #[test]
    fn what_was_in_flight_when_it_opened_changes_nothing() {
        let mut breaker = open();
        let before = breaker.opened();
        assert_eq!(breaker.result(Sign::Well, Kind::First, false, at(0), 0.5), Change::None);
        assert_eq!(breaker.opened(), before);
    }

    #[test]
    fn open_breaker_outlives_the_process() {
        let opened = open().opened();
        let breaker = Breaker::new(opened);
        assert!(!breaker.allows(at(0)) && breaker.allows(at(1)));
    }

    proptest! {
        #[test]
        fn it_always_lets_something_through_in_time(signs in prop::collection::vec(0..3_u8, 1..300), jitter in 0.0..1.0_f64) {
            let mut breaker = Breaker::new(None);
            let mut now = at(0);
            for (n, sign) in (0..).zip(signs) {
                // However it fares, an attempt is allowed again within the longest delay and its jitter.
                if !breaker.allows(now) {
                    now = later(now, LONGEST_DELAY.mul_f64(1.0 + JITTER));
                }
                prop_assert!(breaker.allows(now));
                let probe = breaker.start();
                let sign = [Sign::Well, Sign::Failed, Sign::Refused(EventId(n))][usize::from(sign)];
                let change = breaker.result(sign, Kind::First, probe, now, jitter);
                prop_assert_eq!(probe && sign == Sign::Well, change == Change::Closed);
            }
        }
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::new(None);
        for _ in 0..SAMPLE {
            breaker.result(Sign::Failed, Kind::First, false, at(0), 0.5);
        }
        assert!(breaker.opened().is_some());
        breaker
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("within range")
    }
}
