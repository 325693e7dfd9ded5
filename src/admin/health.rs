//! Health for service managers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;

use super::Handles;
use super::openapi::shape::{self, Output, Shape, TEXT};
use super::sentence;
use crate::spool;
use crate::wording::counted;
use crate::zoom::status::{Link, Status};

/// Is how it is, in words, one line for each thing.
pub(super) enum Health {
    /// Well.
    Well(&'static str),
    /// Not well, and why.
    Unwell(String),
}

impl IntoResponse for Health {
    fn into_response(self) -> Response {
        match self {
            Self::Well(said) => said.into_response(),
            Self::Unwell(said) => (StatusCode::SERVICE_UNAVAILABLE, said).into_response(),
        }
    }
}

impl Output for Health {
    fn describe(shape: &mut Shape<'_>) {
        shape.answers(StatusCode::OK, "All is well.", TEXT, shape::text());
        shape.answers(StatusCode::SERVICE_UNAVAILABLE, "What is missing, line by line.", TEXT, shape::text());
    }
}

/// Answers 200 while the loops turn.
pub(super) async fn livez(State(handles): State<Arc<Handles>>) -> Health {
    match handles.liveness.stale(handles.clock.instant()) {
        None => Health::Well("alive\n"),
        Some(age) => {
            let age = counted(age.as_secs(), "second");
            Health::Unwell(format!("the loops stand still for {age}; restart the bridge\n"))
        }
    }
}

/// Answers 200 while events can arrive and be stored; else it says, line by line, what is missing.
pub(super) async fn readyz(State(handles): State<Arc<Handles>>) -> Health {
    let health = handles.spool.health();
    let board = handles.board.load();
    let subscriptions = board.started.then(|| board.subscriptions());
    let missing = missing(&health, subscriptions.as_deref(), handles.clock.now());
    match missing.as_slice() {
        [] => Health::Well("ready\n"),
        lines => Health::Unwell(lines.iter().map(|line| format!("{line}\n")).collect()),
    }
}

/// Says what is missing; subscriptions are not known while the bridge starts.
fn missing(health: &spool::Health, subscriptions: Option<&[(Arc<str>, Status)]>, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    match health {
        spool::Health::Writable => {}
        spool::Health::Failing { .. } => lines.push(sentence::spool(health, None, 0, 0, now).sentence),
    }
    let Some(subscriptions) = subscriptions else {
        lines.push("the bridge is starting, and waits for its spool".to_owned());
        return lines;
    };
    if subscriptions.is_empty() {
        lines.push("no subscription is configured; add one and reload".to_owned());
    }
    let down = subscriptions.iter().filter(|(_, status)| status.link != Link::Live || status.stalled);
    lines.extend(down.map(|(name, status)| sentence::subscription(name, status, None, now).sentence));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_writable_and_every_subscription_live() {
        assert_eq!(missing(&spool::Health::Writable, Some(&[live("main"), live("twin")]), now()), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_is_missing_has_its_line() {
        let failing = spool::Health::Failing { since: now(), reason: "disk full".into() };
        let (name, status) = live("twin");
        let stalled = (Arc::clone(&name), Status { stalled: true, ..status.clone() });
        let waiting = (name, Status { link: Link::Waiting, reason: "reset".into(), ..status });
        let cases = [
            (failing.clone(), vec![live("main")], vec!["spool: takes no events"]),
            (spool::Health::Writable, Vec::new(), vec!["no subscription is configured"]),
            (spool::Health::Writable, vec![live("main"), stalled], vec!["twin: socket open"]),
            (failing, vec![waiting], vec!["spool: takes no events", "twin: no socket since"]),
        ];
        for (health, subscriptions, expected) in cases {
            let lines = missing(&health, Some(&subscriptions), now());
            assert_eq!(lines.len(), expected.len(), "{lines:?}");
            assert!(lines.iter().zip(&expected).all(|(line, start)| line.starts_with(start)), "{lines:?}");
        }
    }

    #[test]
    fn bridge_that_starts_is_not_said_to_have_no_subscription() {
        let failing = spool::Health::Failing { since: now(), reason: "disk full".into() };
        let lines = missing(&failing, None, now());
        assert!(
            lines[0].contains("disk full") && lines[1].contains("is starting, and waits for its spool"),
            "{lines:?}"
        );
    }

    fn live(name: &str) -> (Arc<str>, Status) {
        let status = Status { connects: 1, ..Status::new(Link::Live, now()) };
        (name.into(), status)
    }

    fn now() -> Timestamp {
        "2026-07-30T10:06:11Z".parse().expect("a time")
    }
}
