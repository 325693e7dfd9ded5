//! ◆ What `top` shows: two tables below the answer to the question.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cli::output::{BAD, FAIR, plain, wrapped};
use crate::cli::status::{mark, summary};
use crate::cli::table::{Cell, Table};
use crate::wording::{ago, count, span};

/// Is what is shown, and the document of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    /// When it was so.
    pub(super) at: Timestamp,
    pub(super) level: String,
    pub(super) summary: String,
    /// False when this was read from a spool at rest; `None` when nothing is known.
    pub(super) running: Option<bool>,
    /// The time over which rates were taken.
    pub(super) over_seconds: f64,
    pub(super) subscriptions: Vec<SubscriptionLine>,
    pub(super) destinations: Vec<DestinationLine>,
}

#[derive(Debug, Serialize)]
pub(super) struct SubscriptionLine {
    pub(super) name: String,
    pub(super) level: String,
    pub(super) state: String,
    pub(super) received_per_second: Option<f64>,
    /// Since the bridge started.
    pub(super) events: Option<u64>,
    pub(super) last_event_at: Option<Timestamp>,
    pub(super) last_event_lag_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(super) struct DestinationLine {
    pub(super) name: String,
    pub(super) level: String,
    pub(super) state: String,
    pub(super) delivered_per_second: Option<f64>,
    pub(super) failed_per_second: Option<f64>,
    pub(super) in_flight: Option<usize>,
    pub(super) waiting: Option<u64>,
    /// How the backlog grows; below nought it shrinks.
    pub(super) waiting_per_second: Option<f64>,
    pub(super) oldest_waiting_at: Option<Timestamp>,
    pub(super) p50_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
    pub(super) dead: Option<u64>,
}

impl SubscriptionLine {
    /// Ranks what wants a look; the greatest comes first.
    pub(super) fn trouble(&self) -> u8 {
        rank(&self.level)
    }
}

impl DestinationLine {
    /// Ranks what wants a look: how bad it is, then how much waits.
    pub(super) fn trouble(&self) -> (u8, u64) {
        (rank(&self.level), self.waiting.unwrap_or(u64::MAX))
    }
}

fn rank(level: &str) -> u8 {
    match level {
        "fine" => 0,
        "degraded" => 1,
        _ => 2,
    }
}

impl Picture {
    /// Writes it for people.
    pub(super) fn render(&self, footer: Option<&str>, width: Option<usize>) -> String {
        let mut out = summary(&self.level, &self.summary, width);
        if !self.subscriptions.is_empty() {
            out.push_str(&format!("\n{}", self.subscriptions(width)));
        }
        if !self.destinations.is_empty() {
            out.push_str(&format!("\n{}", self.destinations(width)));
        }
        let rates = (self.over_seconds > 0.0).then(|| {
            let over = SignedDuration::try_from_secs_f64(self.over_seconds).unwrap_or_default();
            format!("rates over the last {}", span(over))
        });
        let foot: Vec<&str> = rates.as_deref().into_iter().chain(footer).collect();
        if !foot.is_empty() {
            out.push_str(&format!("\n{}\n", wrapped(&foot.join(", "), 0, width)));
        }
        out
    }

    fn subscriptions(&self, width: Option<usize>) -> String {
        let heading = ["SUBSCRIPTION", "STATE", "EVENTS/S", "LAST EVENT", "LATE", "EVENTS"];
        let mut table = Table::new(heading).may_go(&[5, 4, 3]);
        for line in &self.subscriptions {
            let late = line.last_event_lag_ms.map(|ms| time(ms.max(0) as f64 / 1000.0));
            table.push([
                Cell::text(&marked(&line.level, &line.name)).styled(mark(&line.level).0),
                Cell::fact(plain(&line.state).into_owned()),
                number(line.received_per_second.map(rate)),
                Cell::fact(line.last_event_at.map_or("none".to_owned(), |at| ago(at, self.at))),
                number(late),
                number(line.events.map(count)),
            ]);
        }
        table.render(width)
    }

    fn destinations(&self, width: Option<usize>) -> String {
        let heading = [
            "DESTINATION",
            "STATE",
            "OK/S",
            "FAILED/S",
            "IN FLIGHT",
            "WAITING",
            "TREND",
            "OLDEST",
            "P50",
            "P99",
            "DEAD",
        ];
        let mut table = Table::new(heading).may_go(&[8, 4, 9, 7, 6, 1, 10]);
        for line in &self.destinations {
            let failed = number(line.failed_per_second.map(rate));
            let dead = number(line.dead.map(count));
            table.push([
                Cell::text(&marked(&line.level, &line.name)).styled(mark(&line.level).0),
                Cell::fact(plain(&line.state).into_owned()),
                number(line.delivered_per_second.map(rate)),
                if line.failed_per_second.unwrap_or(0.0) > 0.0 { failed.styled(FAIR) } else { failed },
                number(line.in_flight.map(|requests| count(requests as u64))),
                number(line.waiting.map(count)),
                number(line.waiting_per_second.map(trend)),
                number(line.oldest_waiting_at.map(|at| span(self.at.duration_since(at)))),
                number(line.p50_seconds.map(time)),
                number(line.p99_seconds.map(time)),
                if line.dead.unwrap_or(0) > 0 { dead.styled(BAD) } else { dead },
            ]);
        }
        table.render(width)
    }
}

fn marked(level: &str, name: &str) -> String {
    format!("{} {name}", mark(level).1)
}

/// Makes a cell of what may not be known.
fn number(text: Option<String>) -> Cell {
    Cell::number(text.unwrap_or_else(|| "-".to_owned()))
}

/// Writes so many a second: `0`, `0.3`, `12`, `1,234`.
fn rate(per_second: f64) -> String {
    match per_second {
        none if none < 0.05 => "0".to_owned(),
        few if few < 9.95 => format!("{few:.1}"),
        many => count(many.round() as u64),
    }
}

/// Writes how a backlog changes: `+12/s`, `-0.4/s`, `steady`.
fn trend(per_second: f64) -> String {
    match rate(per_second.abs()).as_str() {
        "0" => "steady".to_owned(),
        rate => format!("{}{rate}/s", if per_second > 0.0 { '+' } else { '-' }),
    }
}

/// Writes how long something took: `0.4 ms`, `12 ms`, `3 s`.
fn time(seconds: f64) -> String {
    if seconds < 0.00995 {
        return format!("{:.1} ms", seconds * 1000.0);
    }
    span(SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX))
}

#[cfg(test)]
mod tests;
