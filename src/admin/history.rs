//! ◆ The last day, minute by minute, for the console's timeline; and what flows just now.
//!
//! It is made of counters that only grow, read every second or so. It lives in memory and begins with the process:
//! what must outlive a restart is in the spool.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// Minutes that are kept: a day, at some 50 bytes for each destination and minute.
const MINUTES: usize = 24 * 60;
/// A rate is taken over this time: long enough to be read, short enough to be news.
const WINDOW: SignedDuration = SignedDuration::from_secs(10);
/// Readings within the window, should they come more often than every second.
const RECENT: usize = 32;

/// Is what the counters say at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Events read from the sockets of each subscription.
    pub(super) subscriptions: Vec<(Arc<str>, u64)>,
    /// What each destination did.
    pub(super) destinations: Vec<Counters>,
}

/// Is what one destination's counters say.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    /// Its name.
    pub(super) name: Arc<str>,
    /// Attempts that a handler accepted.
    pub(super) delivered: u64,
    /// Attempts that failed.
    pub(super) failed: u64,
    /// Events that wait for it, where that is known.
    pub(super) backlog: Option<u64>,
}

/// Holds the minutes, and the readings that the next one is compared with.
#[derive(Debug, Default)]
pub(super) struct History {
    minutes: VecDeque<Minute>,
    received: HashMap<Arc<str>, u64>,
    attempts: HashMap<Arc<str>, (u64, u64)>,
    recent: VecDeque<(Timestamp, Reading)>,
}

#[derive(Debug)]
struct Minute {
    /// Minutes since 1970.
    number: i64,
    received: u64,
    destinations: Vec<Counters>,
}

/// Is a stretch of minutes, oldest first; a list for each thing that is counted.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Stretch {
    /// Seconds from one time to the next.
    step_seconds: u32,
    /// When each minute began, in seconds since 1970. The last one is not over.
    times: Vec<i64>,
    /// Events read from the sockets.
    received: Vec<u64>,
    /// What each destination did.
    destinations: Vec<Series>,
}

/// Is what one destination did; `null` while it was not configured.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Series {
    name: Arc<str>,
    /// Attempts that a handler accepted.
    delivered: Vec<Option<u64>>,
    /// Attempts that failed.
    failed: Vec<Option<u64>>,
    /// Events that waited at the end of the minute.
    backlog: Vec<Option<u64>>,
}

/// Is what flows just now, in events per second.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(super) struct Rates {
    subscriptions: Vec<Flow>,
    destinations: Vec<Outflow>,
}

/// Is what comes in by one subscription, in events per second.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Flow {
    name: Arc<str>,
    received: f64,
}

/// Is what goes out to one destination, in attempts per second.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Outflow {
    name: Arc<str>,
    delivered: f64,
    failed: f64,
}

impl History {
    /// Takes what the counters say at `now` into the minute of `now`.
    pub(super) fn record(&mut self, now: Timestamp, reading: Reading) {
        let number = now.as_second().div_euclid(60);
        // A clock that is set back does not change the past: its minutes are added to the last one.
        if self.minutes.back().is_none_or(|last| last.number < number) {
            self.minutes.push_back(Minute { number, received: 0, destinations: Vec::new() });
        }
        if self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
        let Some(minute) = self.minutes.back_mut() else { return };
        for (name, total) in &reading.subscriptions {
            let before = self.received.insert(Arc::clone(name), *total).unwrap_or(0);
            minute.received += total.saturating_sub(before);
        }
        for counters in &reading.destinations {
            let totals = (counters.delivered, counters.failed);
            let before = self.attempts.insert(Arc::clone(&counters.name), totals).unwrap_or_default();
            minute.add(Counters {
                delivered: counters.delivered.saturating_sub(before.0),
                failed: counters.failed.saturating_sub(before.1),
                ..counters.clone()
            });
        }
        self.recent.push_back((now, reading));
        // The oldest that stays is the first one that is a whole window ago.
        while self.recent.len() > RECENT || self.recent.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
        {
            self.recent.pop_front();
        }
    }

    /// Returns the last minutes, `most` of them or all that there are.
    pub(super) fn last(&self, most: usize) -> Stretch {
        let minutes: Vec<&Minute> = self.minutes.iter().skip(self.minutes.len().saturating_sub(most)).collect();
        let mut names: Vec<&Arc<str>> = Vec::new();
        for counters in minutes.iter().flat_map(|minute| &minute.destinations) {
            if !names.contains(&&counters.name) {
                names.push(&counters.name);
            }
        }
        let series = |name: &Arc<str>| {
            let of = |minute: &&Minute| minute.destinations.iter().find(|counters| counters.name == *name).cloned();
            let rows: Vec<Option<Counters>> = minutes.iter().map(of).collect();
            let column = |f: fn(&Counters) -> Option<u64>| rows.iter().map(|row| row.as_ref().and_then(f)).collect();
            Series {
                name: Arc::clone(name),
                delivered: column(|counters| Some(counters.delivered)),
                failed: column(|counters| Some(counters.failed)),
                backlog: column(|counters| counters.backlog),
            }
        };
        Stretch {
            step_seconds: 60,
            times: minutes.iter().map(|minute| minute.number * 60).collect(),
            received: minutes.iter().map(|minute| minute.received).collect(),
            destinations: names.into_iter().map(series).collect(),
        }
    }

    /// Returns all minutes that are kept.
    pub(super) fn all(&self) -> Stretch {
        self.last(MINUTES)
    }

    /// Says what flows just now; nothing before there are two readings.
    pub(super) fn rates(&self) -> Rates {
        let Some((to, new)) = self.recent.back() else { return Rates::default() };
        let per_second = |new: u64, (from, old): (Timestamp, u64)| {
            let seconds = to.duration_since(from).as_secs_f64();
            if seconds > 0.0 { new.saturating_sub(old) as f64 / seconds } else { 0.0 }
        };
        let flow = |(name, total): &(Arc<str>, u64)| {
            let total_in =
                |reading: &Reading| reading.subscriptions.iter().find(|(known, _)| known == name).map(|(_, n)| *n);
            Flow { name: Arc::clone(name), received: per_second(*total, self.first(total_in, (*to, *total))) }
        };
        let outflow = |counters: &Counters| {
            let of = |reading: &Reading| reading.destinations.iter().find(|known| known.name == counters.name).cloned();
            let (delivered, failed) = (counters.delivered, counters.failed);
            Outflow {
                name: Arc::clone(&counters.name),
                delivered: per_second(delivered, self.first(|r| Some(of(r)?.delivered), (*to, delivered))),
                failed: per_second(failed, self.first(|r| Some(of(r)?.failed), (*to, failed))),
            }
        };
        Rates {
            subscriptions: new.subscriptions.iter().map(flow).collect(),
            destinations: new.destinations.iter().map(outflow).collect(),
        }
    }

    /// Returns the oldest recent reading that knows of a thing, and when it was: what a thing did before it was
    /// known is no news.
    fn first(&self, value: impl Fn(&Reading) -> Option<u64>, or: (Timestamp, u64)) -> (Timestamp, u64) {
        self.recent.iter().find_map(|(at, reading)| Some((*at, value(reading)?))).unwrap_or(or)
    }
}

impl Minute {
    fn add(&mut self, new: Counters) {
        match self.destinations.iter_mut().find(|known| known.name == new.name) {
            Some(known) => {
                known.delivered += new.delivered;
                known.failed += new.failed;
                known.backlog = new.backlog.or(known.backlog);
            }
            None => self.destinations.push(new),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn minutes_hold_what_the_counters_grew_by() {
        let mut history = History::default();
        history.record(at(0), reading(5, 3, 1));
        history.record(at(59), reading(9, 4, 1));
        history.record(at(60), reading(12, 8, 3));
        assert_eq!(
            document(&history.all()),
            json!({
                "step_seconds": 60,
                "times": [600, 660],
                "received": [9, 3],
                "destinations": [{ "name": "crm", "delivered": [4, 4], "failed": [1, 2], "backlog": [7, 7] }],
            })
        );
        assert_eq!(document(&history.last(1))["times"], json!([660]));
    }

    #[test]
    fn destination_that_comes_back_does_not_bring_its_past_along() {
        let mut history = History::default();
        history.record(at(0), reading(0, 100, 0));
        history.record(at(60), Reading::default());
        history.record(at(120), reading(0, 101, 0));
        let series = &document(&history.all())["destinations"][0];
        assert_eq!(series["delivered"], json!([100, null, 1]));
    }

    #[test]
    fn a_day_is_kept_and_no_more() {
        let mut history = History::default();
        for minute in 0..2000 {
            history.record(at(minute * 60), reading(minute.unsigned_abs(), 0, 0));
        }
        let all = history.all();
        assert_eq!(all.times.len(), MINUTES);
        assert_eq!(all.times.last(), Some(&(600 + 1999 * 60)));
        assert!(history.recent.len() <= RECENT && history.minutes.len() == MINUTES);
    }

    #[test]
    fn clock_that_is_set_back_adds_to_the_last_minute() {
        let mut history = History::default();
        history.record(at(300), reading(1, 0, 0));
        history.record(at(0), reading(3, 0, 0));
        let all = history.all();
        assert_eq!((all.times, all.received), (vec![900], vec![3]));
        assert_eq!(serde_json::to_value(history.rates()).expect("a document")["subscriptions"][0]["received"], 0.0);
    }

    #[test]
    fn rate_is_taken_over_the_last_seconds_alone() {
        let mut history = History::default();
        assert_eq!(history.rates(), Rates::default());
        for second in 0..30 {
            // Nothing, then four a second for the last ten.
            let total = 4 * u64::try_from(second - 19).unwrap_or(0);
            history.record(at(second), reading(total, 2 * total, total));
        }
        let rates = serde_json::to_value(history.rates()).expect("a document");
        assert_eq!(
            rates,
            json!({
                "subscriptions": [{ "name": "main", "received": 4.0 }],
                "destinations": [{ "name": "crm", "delivered": 8.0, "failed": 4.0 }],
            })
        );
    }

    #[test]
    fn counters_of_a_destination_that_is_new_are_no_rate() {
        let mut history = History::default();
        history.record(at(0), Reading::default());
        history.record(at(1), reading(0, 1000, 0));
        let delivered = |history: &History| {
            serde_json::to_value(history.rates()).expect("a document")["destinations"][0]["delivered"].clone()
        };
        assert_eq!(delivered(&history), 0.0);
        history.record(at(3), reading(0, 1006, 0));
        assert_eq!(delivered(&history), 3.0);
    }

    fn reading(received: u64, delivered: u64, failed: u64) -> Reading {
        Reading {
            subscriptions: vec![("main".into(), received)],
            destinations: vec![Counters { name: "crm".into(), delivered, failed, backlog: Some(7) }],
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(600 + second).expect("a time")
    }

    fn document(stretch: &Stretch) -> Value {
        serde_json::to_value(stretch).expect("a document")
    }
}
