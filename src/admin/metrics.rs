//! Metrics for Prometheus: those that are counted where things happen, and those that are looked up for each page.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use jiff::Timestamp;
use tracing::warn;

use super::Handles;
use super::openapi::shape::{self, Output, Shape};
use super::problem::Problem;
use crate::spool::record::{DestinationRow, SubscriptionRow};
use crate::spool::{Health, View};
use crate::telemetry::metrics::{ByDestination, BySubscription, Metrics, set_count, set_seconds};

/// The content type of OpenMetrics, which Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Is every metric, in the OpenMetrics format.
pub(super) struct Page(String);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, OPEN_METRICS)], self.0).into_response()
    }
}

impl Output for Page {
    fn describe(shape: &mut Shape<'_>) {
        shape.answers(StatusCode::OK, "The metrics.", "application/openmetrics-text", shape::text());
    }
}

/// Answers every metric of what is configured now, in the OpenMetrics format.
pub(super) async fn show(State(handles): State<Arc<Handles>>) -> Result<Page, Problem> {
    let metrics = &handles.metrics;
    let (subscriptions, configured) = {
        let board = handles.board.load();
        (board.subscription_names(), board.destination_names())
    };
    // The page is worth the more when the spool cannot be read: it goes out with what was known last.
    let rows = handles.spool.read(|view: &mut dyn View| Ok((view.destinations()?, view.subscriptions()?)));
    match rows.await {
        Ok((destinations, subscriptions)) => {
            let now = handles.clock.now();
            set_backlogs(metrics, &destinations, now);
            let orphans = destinations.iter().filter(|row| !configured.iter().any(|name| **name == *row.name));
            metrics.deliveries_orphaned.set(whole(orphans.map(|row| row.pending).sum()));
            set_gaps(metrics, &subscriptions, now);
        }
        Err(error) => warn!(%error, "metrics go out without the counts of the spool, which cannot be read"),
    }
    match handles.spool.free_bytes().await {
        Ok(bytes) => _ = metrics.spool_disk_free_bytes.set(whole(bytes)),
        Err(error) => warn!(%error, "metrics go out without the free space of the spool's disk"),
    }
    metrics.spool_writable.set(match handles.spool.health() {
        Health::Writable => 1,
        Health::Failing { .. } => 0,
    });
    let page = metrics.render_for(&subscriptions, &configured).map_err(|_| Problem::Internal)?;
    Ok(Page(page))
}

fn set_backlogs(metrics: &Metrics, rows: &[DestinationRow], now: Timestamp) {
    for row in rows {
        let label = ByDestination { destination: row.name.to_string() };
        metrics.deliveries_pending.get_or_create(&label).set(whole(row.pending));
        metrics.deliveries_dead.get_or_create(&label).set(whole(row.dead));
        let age = row.oldest_pending_at.map_or(0.0, |at| seconds_since(at, now));
        metrics.oldest_pending_seconds.get_or_create(&label).set(age);
        metrics.destination_paused.get_or_create(&label).set(row.paused_at.is_some().into());
    }
}

fn set_gaps(metrics: &Metrics, rows: &[SubscriptionRow], now: Timestamp) {
    for row in rows {
        let label = BySubscription { subscription: row.name.to_string() };
        let open = row.gap_opened_at.map(|at| seconds_since(at, now));
        set_count(&metrics.gaps.get_or_create(&label), row.gaps + u64::from(open.is_some()));
        set_seconds(&metrics.gap_seconds.get_or_create(&label), row.gap_ms as f64 / 1000.0 + open.unwrap_or_default());
        metrics.gap_open.get_or_create(&label).set(open.is_some().into());
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A clock that was set back makes nothing younger than it is.
fn seconds_since(at: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(at).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::record::DestinationId;

    #[test]
    fn backlogs_reach_the_page() {
        let metrics = Metrics::new();
        let row = |name: &str, oldest_pending_at, paused_at| DestinationRow {
            id: DestinationId(1),
            name: name.into(),
            pending: 213,
            dead: 2,
            delivered: 0,
            oldest_pending_at,
            paused_at,
            breaker: None,
            orphaned_at: None,
        };
        set_backlogs(&metrics, &[row("crm", Some(at(58)), None), row("audit", None, Some(at(0)))], at(60));
        has(
            &metrics,
            &[
                "zoomhook_deliveries_pending{destination=\"crm\"} 213",
                "zoomhook_deliveries_dead{destination=\"crm\"} 2",
                "zoomhook_oldest_pending_seconds{destination=\"crm\"} 2.0",
                "zoomhook_oldest_pending_seconds{destination=\"audit\"} 0.0",
                "zoomhook_destination_paused{destination=\"crm\"} 0",
                "zoomhook_destination_paused{destination=\"audit\"} 1",
            ],
        );
    }

    #[test]
    fn gap_counts_from_its_first_moment_and_grows_while_it_is_open() {
        let metrics = Metrics::new();
        let row = |gaps, gap_ms, gap_opened_at| SubscriptionRow {
            name: "main".into(),
            alive_at: None,
            last_event_at: None,
            gaps,
            gap_ms,
            gap_opened_at,
        };
        set_gaps(&metrics, &[row(3, 1500, Some(at(0)))], at(60));
        has(
            &metrics,
            &[
                "zoomhook_gaps_total{subscription=\"main\"} 4",
                "zoomhook_gap_seconds_total{subscription=\"main\"} 61.5",
                "zoomhook_gap_open{subscription=\"main\"} 1",
            ],
        );
        set_gaps(&metrics, &[row(4, 62_500, None)], at(70));
        has(
            &metrics,
            &[
                "zoomhook_gaps_total{subscription=\"main\"} 4",
                "zoomhook_gap_seconds_total{subscription=\"main\"} 62.5",
                "zoomhook_gap_open{subscription=\"main\"} 0",
            ],
        );
    }

    fn has(metrics: &Metrics, lines: &[&str]) {
        let page = metrics.render().expect("a page");
        for line in lines {
            assert!(page.contains(&format!("\n{line}\n")), "{line}\n{page}");
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("within range")
    }
}
