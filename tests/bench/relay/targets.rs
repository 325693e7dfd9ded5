//! What is promised of the cases: the lines of the one table.

use crate::cases::{ALONE, BLAST};
use crate::figures::{CATCH_UP, CPU, DEAD_GROUPS, DEAD_LIST, EVENTS, IDLE, METRICS, P50, P99, PEAK, START, STATUS};

/// Is one line of the table: a figure of a case, and its bound.
pub(crate) struct Target {
    pub(crate) what: &'static str,
    pub(crate) case: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) scale: Scale,
    /// `None` where a figure is told for its own sake.
    pub(crate) bound: Option<Bound>,
}

/// Says what a figure is looked at as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Absolute,
    /// In times of the same figure of a case of the same run.
    Times(&'static str),
    /// As what it is above the same figure of a case of the same run.
    Above(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    /// Returns by how much a value misses it, as a share of it; zero when it is reached.
    pub(crate) fn miss(self, value: f64) -> f64 {
        match self {
            Self::AtLeast(bound) => (1.0 - value / bound).max(0.0),
            Self::AtMost(bound) => (value / bound - 1.0).max(0.0),
        }
    }
}

use Bound::{AtLeast, AtMost};
use Scale::{Above, Absolute, Times};

/// Returns the lines.
pub(crate) fn targets() -> Vec<Target> {
    let waiting = "catch-up, 1 000 000 waiting";
    let dead = "start, 1 000 000 dead";
    let few_dead = "start, 1000 dead";
    vec![
        line("durable relay, 1 destination", BLAST, EVENTS, Absolute, Some(AtLeast(24_000.0))),
        line("durable relay, 3 destinations", "blast, 3 destinations", EVENTS, Absolute, Some(AtLeast(12_000.0))),
        line("durable relay, 10 destinations", "blast, 10 destinations", EVENTS, Absolute, None),
        line("processor time for 10 000 events", BLAST, CPU, Absolute, Some(AtMost(0.45))),
        line("sent to posted at 100/s, p50", "paced, 100/s, 1 destination", P50, Absolute, Some(AtMost(1.0))),
        line("sent to posted at 100/s, p99", "paced, 100/s, 1 destination", P99, Absolute, Some(AtMost(2.0))),
        line("sent to posted at 1000/s, p50", "paced, 1000/s, 1 destination", P50, Absolute, Some(AtMost(0.5))),
        line("sent to posted at 1000/s, p99", "paced, 1000/s, 1 destination", P99, Absolute, Some(AtMost(1.5))),
        line("the same to 3 destinations, p99", "paced, 1000/s, 3 destinations", P99, Absolute, None),
        line("the same to 10 destinations, p99", "paced, 1000/s, 10 destinations", P99, Absolute, None),
        line("memory, idle", BLAST, IDLE, Absolute, Some(AtMost(15.0))),
        line("memory at most, 1 000 000 waiting", waiting, PEAK, Absolute, Some(AtMost(64.0))),
        line("start to connected, nothing waiting", "start, nothing waiting", START, Absolute, None),
        line("start to connected, 1 000 000 waiting", "start, 1 000 000 waiting", START, Absolute, Some(AtMost(50.0))),
        line("start to connected, 1 000 000 dead", dead, START, Absolute, Some(AtMost(50.0))),
        line("backlog of 1 000 000 goes out with", waiting, CATCH_UP, Absolute, None),
        line("fresh events of another meanwhile, p50", waiting, P50, Absolute, None),
        line("fresh events of another meanwhile, p99", waiting, P99, Absolute, None),
        line("p99 beside one that hangs", "beside one that hangs", P99, Times(ALONE), Some(AtMost(1.5))),
        line("p99 beside one that takes 20 s", "beside one that takes 20 s", P99, Times(ALONE), Some(AtMost(1.5))),
        line("p99 beside one that closes", "beside one that closes", P99, Times(ALONE), Some(AtMost(1.5))),
        line("p99 beside one without a name", "beside one without a name", P99, Times(ALONE), Some(AtMost(1.5))),
        line("p50 beside 100 000 own retries", "beside 100 000 own retries", P50, Above(ALONE), Some(AtMost(5.0))),
        line("p50 beside 1 000 000 own retries", "beside 1 000 000 own retries", P50, Above(ALONE), Some(AtMost(5.0))),
        line("p99 beside 100 000 own retries", "beside 100 000 own retries", P99, Above(ALONE), None),
        line("p99 beside 1 000 000 own retries", "beside 1 000 000 own retries", P99, Above(ALONE), None),
        line("encrypted: events", "blast, encrypted", EVENTS, Times(BLAST), Some(AtLeast(0.85))),
        line("encrypted: processor time", "blast, encrypted", CPU, Times(BLAST), Some(AtMost(1.15))),
        line("console open: events", "blast, console open", EVENTS, Times(BLAST), Some(AtLeast(0.9))),
        line("syncs of 5 ms more: relay", "blast, sync 5 ms", EVENTS, Absolute, None),
        line("syncs of 5 ms more: p50 at 1000/s", "paced, 1000/s, sync 5 ms", P50, Absolute, None),
        line("syncs of 5 ms more: p99 at 1000/s", "paced, 1000/s, sync 5 ms", P99, Absolute, None),
        line("syncs of 50 ms more: relay", "blast, sync 50 ms", EVENTS, Absolute, None),
        line("syncs of 50 ms more: p50 at 1000/s", "paced, 1000/s, sync 50 ms", P50, Absolute, None),
        line("syncs of 50 ms more: p99 at 1000/s", "paced, 1000/s, sync 50 ms", P99, Absolute, None),
        line(
            "peak memory, ten times the backlog",
            waiting,
            PEAK,
            Times("catch-up, 100 000 waiting"),
            Some(AtMost(1.25)),
        ),
        line(
            "fresh events meanwhile, p50, ten times the backlog",
            waiting,
            P50,
            Times("catch-up, 100 000 waiting"),
            Some(AtMost(1.25)),
        ),
        line(
            "catch-up, ten times the backlog",
            waiting,
            CATCH_UP,
            Times("catch-up, 100 000 waiting"),
            Some(AtLeast(0.75)),
        ),
        line(
            "1 of 10 destinations wants each: processor time",
            "matching 1 of 10",
            CPU,
            Times("matching 1 of 1"),
            Some(AtMost(1.25)),
        ),
        line(
            "1 of 50 destinations wants each: processor time",
            "matching 1 of 50",
            CPU,
            Times("matching 1 of 1"),
            Some(AtMost(1.5)),
        ),
        line(
            "1 of 50 destinations wants each: events",
            "matching 1 of 50",
            EVENTS,
            Times("matching 1 of 1"),
            Some(AtLeast(0.7)),
        ),
        line("1 000 000 retries: status", "start, 1 000 000 retries", STATUS, Absolute, Some(AtMost(20.0))),
        line("1 000 000 dead: start", dead, START, Times(few_dead), Some(AtMost(1.25))),
        line("1 000 000 dead: list of dead letters", dead, DEAD_LIST, Absolute, Some(AtMost(20.0))),
        line("1 000 000 dead: their groups", dead, DEAD_GROUPS, Absolute, Some(AtMost(20.0))),
        line("1 000 000 dead: status", dead, STATUS, Absolute, Some(AtMost(20.0))),
        line("1 000 000 dead: metrics", dead, METRICS, Absolute, Some(AtMost(20.0))),
    ]
}

fn line(what: &'static str, case: &'static str, figure: &'static str, scale: Scale, bound: Option<Bound>) -> Target {
    Target { what, case, figure, scale, bound }
}

/// Writes a value with its unit.
pub(crate) fn with_unit(value: f64, figure: &str, scale: Scale) -> String {
    match (scale, figure) {
        (Scale::Times(_), _) => format!("{value:.2} times"),
        (_, EVENTS | CATCH_UP) => format!("{} events/s", thousands(value)),
        (_, CPU) => format!("{value:.2} s"),
        (_, IDLE | PEAK) => format!("{value:.1} MB"),
        (Scale::Above(_), _) => format!("{value:.1} ms more"),
        (_, START) => format!("{value:.0} ms"),
        _ => format!("{value:.1} ms"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).expect("digits")).collect();
    groups.join(" ")
}
