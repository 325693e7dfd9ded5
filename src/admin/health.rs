//! Health for service managers, metrics for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use jiff::Timestamp;
use tracing::warn;

use super::Handles;
use super::problem::Problem;
use super::sentence;
use crate::spool::Health;
use crate::spool::record::DestinationRow;
use crate::telemetry::metrics::{ByDestination, Metrics};
use crate::wording::counted;
use crate::zoom::status::{Link, Status};

/// The content type of OpenMetrics, which Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers 200 while the loops turn.
pub(super) async fn livez(State(handles): State<Arc<Handles>>) -> (StatusCode, String) {
    match handles.liveness.stale(handles.clock.instant()) {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(age) => {
            let age = counted(age.as_secs(), "second");
            (StatusCode::SERVICE_UNAVAILABLE, format!("the loops stand still for {age}; restart the bridge\n"))
        }
    }
}

/// Answers 200 while events can arrive and be stored; else it says, line by line, what is missing.
pub(super) async fn readyz(State(handles): State<Arc<Handles>>) -> (StatusCode, String) {
    let health = handles.spool.health().borrow().clone();
    let board = handles.board.load();
    let subscriptions = board.started.then(|| board.subscriptions());
    let missing = missing(&health, subscriptions.as_deref(), handles.clock.now());
    match missing.as_slice() {
        [] => (StatusCode::OK, "ready\n".to_owned()),
        lines => (StatusCode::SERVICE_UNAVAILABLE, lines.iter().map(|line| format!("{line}\n")).collect()),
    }
}

/// Says what is missing; subscriptions are not known while the bridge starts.
fn missing(health: &Health, subscriptions: Option<&[(Arc<str>, Status)]>, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    match health {
        Health::Writable => {}
        Health::Failing { .. } => lines.push(sentence::spool(health, None, now).sentence),
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

/// Answers every metric in the OpenMetrics format.
pub(super) async fn metrics(State(handles): State<Arc<Handles>>) -> Result<Response, Problem> {
    // The page is worth the more when the spool cannot be read: it goes out without the counts.
    match handles.spool.read(|view| view.destinations()).await {
        Ok(rows) => set_backlogs(&handles.metrics, &rows),
        Err(error) => warn!(error = %error, "metrics go out without the counts of the spool, which cannot be read"),
    }
    handles.metrics.spool_writable.set(match *handles.spool.health().borrow() {
        Health::Writable => 1,
        Health::Failing { .. } => 0,
    });
    let page = handles.metrics.render().map_err(|_| Problem::Internal)?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response())
}

fn set_backlogs(metrics: &Metrics, rows: &[DestinationRow]) {
    let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for row in rows {
        let label = ByDestination { destination: row.name.to_string() };
        metrics.deliveries_pending.get_or_create(&label).set(gauge(row.pending));
        metrics.deliveries_dead.get_or_create(&label).set(gauge(row.dead));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::record::DestinationId;

    #[test]
    fn ready_means_writable_and_every_subscription_live() {
        assert_eq!(missing(&Health::Writable, Some(&[live("main"), live("twin")]), now()), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_is_missing_has_its_line() {
        let failing = Health::Failing { since: now(), reason: "disk full".into() };
        let (name, status) = live("twin");
        let stalled = (Arc::clone(&name), Status { stalled: true, ..status.clone() });
        let waiting = (name, Status { link: Link::Waiting, reason: "reset".into(), ..status });
        let cases = [
            (failing.clone(), vec![live("main")], vec!["spool: takes no events"]),
            (Health::Writable, Vec::new(), vec!["no subscription is configured"]),
            (Health::Writable, vec![live("main"), stalled], vec!["twin: socket open"]),
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
        let failing = Health::Failing { since: now(), reason: "disk full".into() };
        let lines = missing(&failing, None, now());
        assert!(
            lines[0].contains("disk full") && lines[1].contains("is starting, and waits for its spool"),
            "{lines:?}"
        );
    }

    #[test]
    fn backlogs_reach_the_metrics_page() {
        let metrics = Metrics::new();
        let row = DestinationRow {
            id: DestinationId(1),
            name: "crm".into(),
            pending: 213,
            dead: 2,
            delivered: 0,
            oldest_pending_at: None,
            paused_at: None,
            breaker: None,
            orphaned_at: None,
        };
        set_backlogs(&metrics, &[row]);
        let page = metrics.render().expect("a page");
        assert!(page.contains("zoomhook_deliveries_pending{destination=\"crm\"} 213\n"), "{page}");
        assert!(page.contains("zoomhook_deliveries_dead{destination=\"crm\"} 2\n"), "{page}");
    }

    fn live(name: &str) -> (Arc<str>, Status) {
        let status = Status { connects: 1, ..Status::new(Link::Live, now()) };
        (name.into(), status)
    }

    fn now() -> Timestamp {
        "2026-07-30T10:06:11Z".parse().expect("a time")
    }
}
