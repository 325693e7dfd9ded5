//! ◆ What `top` knows of a moment, and what two moments tell together.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::metrics::{Attempts, attempts};
use super::picture::{DestinationLine, Picture, SubscriptionLine};

/// Rates are taken over this time: long enough to be read, short enough to show what changes.
const SPAN: SignedDuration = SignedDuration::from_secs(10);

/// Is one moment: the status document, and the counts of the metrics page.
#[derive(Clone)]
pub(super) struct Sample {
    status: Status,
    /// By destination; `None` where the page could not be had.
    attempts: Option<BTreeMap<String, Attempts>>,
}

#[derive(Clone, Deserialize)]
struct Status {
    level: String,
    summary: String,
    running: Option<bool>,
    at: Timestamp,
    started_at: Option<Timestamp>,
    subscriptions: Vec<Subscription>,
    destinations: Vec<Destination>,
}

#[derive(Clone, Deserialize)]
struct Subscription {
    name: String,
    level: String,
    status: Option<Socket>,
    last_event_at: Option<Timestamp>,
}

#[derive(Clone, Deserialize)]
struct Socket {
    link: String,
    last_event_lag_ms: Option<i64>,
    events: u64,
}

#[derive(Clone, Deserialize)]
struct Destination {
    name: String,
    level: String,
    status: Option<Lane>,
    backlog: Option<Backlog>,
}

#[derive(Clone, Deserialize)]
struct Lane {
    in_flight: usize,
    failing_since: Option<Timestamp>,
    breaker: Option<serde::de::IgnoredAny>,
    paused: bool,
}

#[derive(Clone, Deserialize)]
struct Backlog {
    pending: u64,
    dead: u64,
    oldest_pending_at: Option<Timestamp>,
}

impl Sample {
    /// Reads the documents of one moment.
    ///
    /// # Errors
    /// When the status is not understood.
    pub(super) fn read(document: &str, page: Option<&str>) -> anyhow::Result<Self> {
        let status = serde_json::from_str(document).context("the bridge's status is not understood")?;
        Ok(Self { status, attempts: page.map(attempts) })
    }

    fn attempts(&self, destination: &str) -> Option<&Attempts> {
        self.attempts.as_ref()?.get(destination)
    }

    fn pending(&self, destination: &str) -> Option<u64> {
        let known = self.status.destinations.iter().find(|known| known.name == destination)?;
        known.backlog.as_ref().map(|backlog| backlog.pending)
    }

    fn events(&self, subscription: &str) -> Option<u64> {
        let known = self.status.subscriptions.iter().find(|known| known.name == subscription)?;
        known.status.as_ref().map(|socket| socket.events)
    }
}

/// Holds the moments of the last seconds.
#[derive(Default)]
pub(super) struct Window(VecDeque<Sample>);

impl Window {
    /// Takes a further moment. Counts of another run of the bridge are not comparable, and those before go.
    pub(super) fn push(&mut self, sample: Sample) {
        if self.0.back().is_some_and(|last| last.status.started_at != sample.status.started_at) {
            self.0.clear();
        }
        self.0.push_back(sample);
        // The oldest one that stays is as old as the span, or older by one step.
        while let (Some(second), Some(last)) = (self.0.get(1), self.0.back()) {
            if last.status.at.duration_since(second.status.at) < SPAN {
                return;
            }
            self.0.pop_front();
        }
    }

    /// Sets the last moment against the first.
    pub(super) fn picture(&self) -> Option<Picture> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let between = Between { first, last, seconds: last.status.at.duration_since(first.status.at).as_secs_f64() };
        let Status { level, summary, running, at, .. } = &last.status;
        let mut subscriptions: Vec<SubscriptionLine> =
            last.status.subscriptions.iter().map(|subscription| between.subscription(subscription)).collect();
        let mut destinations: Vec<DestinationLine> =
            last.status.destinations.iter().map(|destination| between.destination(destination)).collect();
        subscriptions.sort_by(|a, b| b.trouble().cmp(&a.trouble()).then_with(|| a.name.cmp(&b.name)));
        destinations.sort_by(|a, b| b.trouble().cmp(&a.trouble()).then_with(|| a.name.cmp(&b.name)));
        Some(Picture {
            at: *at,
            level: level.clone(),
            summary: summary.clone(),
            running: *running,
            over_seconds: between.seconds,
            subscriptions,
            destinations,
        })
    }
}

struct Between<'a> {
    first: &'a Sample,
    last: &'a Sample,
    seconds: f64,
}

impl Between<'_> {
    fn rate(&self, count: impl Fn(&Sample) -> Option<u64>) -> Option<f64> {
        let (before, now) = (count(self.first)?, count(self.last)?);
        (self.seconds > 0.0).then(|| (now as f64 - before as f64) / self.seconds)
    }

    fn subscription(&self, subscription: &Subscription) -> SubscriptionLine {
        let Subscription { name, level, status, last_event_at } = subscription;
        SubscriptionLine {
            name: name.clone(),
            level: level.clone(),
            state: status.as_ref().map_or("not live".to_owned(), |socket| socket.link.clone()),
            received_per_second: self.rate(|sample| sample.events(name)),
            events: status.as_ref().map(|socket| socket.events),
            last_event_at: *last_event_at,
            last_event_lag_ms: status.as_ref().and_then(|socket| socket.last_event_lag_ms),
        }
    }

    fn destination(&self, destination: &Destination) -> DestinationLine {
        let Destination { name, level, status, backlog } = destination;
        // A destination without an attempt is not on the page.
        let nothing = Attempts::default();
        let of = |sample: &Sample| {
            Some(sample.attempts(name).unwrap_or(&nothing)).filter(|_| sample.attempts.is_some()).cloned()
        };
        let quantile =
            |hundredths| of(self.last)?.quantile(&of(self.first)?, hundredths).filter(|_| self.seconds > 0.0);
        let lane = status.as_ref();
        DestinationLine {
            name: name.clone(),
            level: level.clone(),
            state: state(lane, self.last.status.running).to_owned(),
            delivered_per_second: self.rate(|sample| Some(of(sample)?.delivered)).filter(|_| lane.is_some()),
            failed_per_second: self.rate(|sample| Some(of(sample)?.failed)).filter(|_| lane.is_some()),
            in_flight: lane.map(|lane| lane.in_flight),
            waiting: backlog.as_ref().map(|backlog| backlog.pending),
            waiting_per_second: self.rate(|sample| sample.pending(name)),
            oldest_waiting_at: backlog.as_ref().and_then(|backlog| backlog.oldest_pending_at),
            p50_seconds: quantile(50),
            p99_seconds: quantile(99),
            dead: backlog.as_ref().map(|backlog| backlog.dead),
        }
    }
}

fn state(lane: Option<&Lane>, running: Option<bool>) -> &'static str {
    match lane {
        None if running == Some(true) => "not configured",
        None => "at rest",
        Some(lane) if lane.paused => "paused",
        Some(lane) if lane.breaker.is_some() => "held back",
        Some(lane) if lane.failing_since.is_some() => "failing",
        Some(_) => "taking",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn rates_are_what_changed_between_two_moments() {
        let mut window = Window::default();
        window.push(sample(0, 100, 40, 7, Some(page(60, 3))));
        window.push(sample(10, 150, 90, 5, Some(page(110, 4))));
        let picture = window.picture().expect("a picture");
        let (main, crm) = (&picture.subscriptions[0], &picture.destinations[0]);
        assert_eq!(picture.over_seconds, 10.0);
        assert_eq!(main.received_per_second, Some(5.0));
        assert_eq!((crm.delivered_per_second, crm.failed_per_second), (Some(5.0), Some(0.1)));
        assert_eq!((crm.waiting, crm.waiting_per_second, crm.in_flight), (Some(90), Some(5.0), Some(5)));
    }

    #[test]
    fn one_moment_has_no_rates_and_neither_has_one_after_a_restart() {
        let mut window = Window::default();
        window.push(sample(0, 100, 40, 0, Some(page(60, 3))));
        assert_eq!(window.picture().expect("a picture").subscriptions[0].received_per_second, None);
        let mut restarted = sample(5, 3, 40, 0, Some(page(1, 0)));
        restarted.status.started_at = Some(at(4));
        window.push(restarted);
        assert_eq!(window.picture().expect("a picture").destinations[0].delivered_per_second, None);
    }

    #[test]
    fn moments_beyond_the_span_are_forgotten() {
        let mut window = Window::default();
        (0..100).for_each(|second| window.push(sample(second, second as u64, 0, 0, None)));
        assert_eq!(window.0.len(), 11);
        assert_eq!(window.picture().expect("a picture").over_seconds, 10.0);
    }

    #[test]
    fn counts_that_could_not_be_had_are_not_nought() {
        let mut window = Window::default();
        window.push(sample(0, 100, 40, 0, None));
        window.push(sample(5, 100, 40, 0, None));
        let crm = &window.picture().expect("a picture").destinations[0];
        assert_eq!((crm.delivered_per_second, crm.p99_seconds, crm.waiting_per_second), (None, None, Some(0.0)));
    }

    #[test]
    fn trouble_stands_on_top() {
        let mut document = document(0, 1, 0, 0);
        let lane = |failing: Value, breaker: Value, paused: bool| json!({"in_flight": 0, "failing_since": failing, "breaker": breaker, "paused": paused});
        let of = |name: &str, level: &str, lane: Value, pending: u64| json!({"name": name, "level": level, "status": lane, "backlog": {"pending": pending, "dead": 0}});
        document["destinations"] = json!([
            of("well", "fine", lane(Value::Null, Value::Null, false), 9),
            of("paused", "degraded", lane(Value::Null, Value::Null, true), 1),
            of("failing", "degraded", lane(json!(at(0)), Value::Null, false), 2),
            of("held", "degraded", lane(json!(at(0)), json!({"since": at(0)}), false), 30),
            of("gone", "degraded", Value::Null, 5),
        ]);
        let mut window = Window::default();
        window.push(Sample::read(&document.to_string(), None).expect("a status"));
        let lines = window.picture().expect("a picture").destinations;
        let shown: Vec<(&str, &str)> = lines.iter().map(|line| (&*line.name, &*line.state)).collect();
        let expected = [
            ("held", "held back"),
            ("gone", "not configured"),
            ("failing", "failing"),
            ("paused", "paused"),
            ("well", "taking"),
        ];
        assert_eq!(shown, expected);
    }

    fn sample(second: i64, events: u64, pending: u64, in_flight: usize, page: Option<String>) -> Sample {
        Sample::read(&document(second, events, pending, in_flight).to_string(), page.as_deref()).expect("a status")
    }

    fn document(second: i64, events: u64, pending: u64, in_flight: usize) -> Value {
        json!({
            "level": "fine", "summary": "Nothing is being lost.", "running": true, "at": at(second), "started_at": at(0),
            "subscriptions": [{"name": "main", "level": "fine", "status": {"link": "live", "events": events}}],
            "destinations": [{
                "name": "crm", "level": "fine",
                "status": {"in_flight": in_flight, "paused": false},
                "backlog": {"pending": pending, "dead": 0},
            }],
        })
    }

    fn page(delivered: u64, failed: u64) -> String {
        let line = |outcome: &str, count: u64| {
            format!("zoomhook_attempts_total{{destination=\"crm\",outcome=\"{outcome}\"}} {count}\n")
        };
        line("delivered", delivered) + &line("retry", failed)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_785_369_357 + second).expect("a time")
    }
}
