//! What a lane says of itself: status, metrics and log.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::dispatch::breaker::Change;
use crate::dispatch::status::{Failure, Status};
use crate::event::EventId;
use crate::spool::record::{Opened, Pause};
use crate::spool::settlement::{FailedAttempt, Outcome};
use crate::telemetry::metrics::{ByDestination, ByDestinationOutcome, Metrics};

/// How often dead letters of one lane are announced in the log, beside the first of a run.
const ANNOUNCE: Duration = Duration::from_secs(10);

/// Speaks for one lane.
pub(super) struct Voice {
    name: Arc<str>,
    status: watch::Sender<Status>,
    delivered: Counter,
    retry: Counter,
    refused: Counter,
    seconds: Histogram,
    in_flight: Gauge,
    open: Gauge,
    announced_at: Option<Instant>,
    unannounced: u64,
}

impl Voice {
    /// Looks the metrics up once, and returns what watches the status.
    pub(super) fn new(name: Arc<str>, metrics: &Metrics) -> (Self, watch::Receiver<Status>) {
        let (status, watched) = watch::channel(Status::default());
        let outcome = |outcome| {
            let labels = ByDestinationOutcome { destination: name.to_string(), outcome };
            metrics.attempts.get_or_create(&labels).clone()
        };
        let by = ByDestination { destination: name.to_string() };
        let voice = Self {
            status,
            delivered: outcome("delivered"),
            retry: outcome("retry"),
            refused: outcome("refused"),
            seconds: metrics.attempt_seconds.get_or_create(&by).clone(),
            in_flight: metrics.deliveries_in_flight.get_or_create(&by).clone(),
            open: metrics.breaker_open.get_or_create(&by).clone(),
            announced_at: None,
            unannounced: 0,
            name,
        };
        (voice, watched)
    }

    /// Tells how many requests are in flight.
    pub(super) fn in_flight(&self, count: usize) {
        self.in_flight.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.status.send_if_modified(|status| {
            status.in_flight = count;
            false
        });
    }

    /// Tells when the next retry is due.
    pub(super) fn next_retry(&self, at: Option<Timestamp>) {
        self.status.send_if_modified(|status| {
            status.next_retry_at = at;
            false
        });
    }

    /// Tells of a pause.
    pub(super) fn pause(&self, pause: Pause) {
        self.status.send_modify(|status| status.paused = pause == Pause::On);
        match pause {
            Pause::On => tracing::warn!(destination.name = %self.name, "paused: events wait"),
            Pause::Off => tracing::info!(destination.name = %self.name, "resumed"),
        }
    }

    /// Tells how the breaker stands now, and what changed it.
    pub(super) fn breaker(&self, opened: Option<Opened>, change: &Change) {
        self.open.set(opened.is_some().into());
        self.status.send_modify(|status| status.breaker = opened);
        match change {
            Change::Opened(_) => tracing::warn!(
                destination.name = %self.name,
                "nearly every delivery fails: events wait, and single probes find out when the handler is back"
            ),
            Change::Closed => tracing::info!(destination.name = %self.name, "a probe was accepted: deliveries go on"),
            Change::None | Change::Postponed => {}
        }
    }

    /// Tells what became of an attempt.
    pub(super) fn attempt(
        &mut self,
        event: EventId,
        outcome: &Outcome,
        failed: Option<&FailedAttempt>,
        elapsed: Duration,
        now: Timestamp,
        instant: Instant,
    ) {
        self.seconds.observe(elapsed.as_secs_f64());
        match outcome {
            Outcome::Delivered { .. } => self.delivered.inc(),
            Outcome::Retry { .. } => self.retry.inc(),
            Outcome::Dead { .. } => self.refused.inc(),
        };
        match failed {
            None => self.success(now),
            Some(failed) => self.failure(event, failed, now),
        }
        if let Outcome::Dead { reason } = outcome {
            self.dead(event, reason, instant);
        }
    }

    fn failure(&self, event: EventId, failed: &FailedAttempt, now: Timestamp) {
        let FailedAttempt { cause, elapsed_ms, .. } = failed;
        tracing::debug!(destination.name = %self.name, event.id = event.0, %cause, elapsed_ms, "an attempt failed");
        let mut begins = false;
        self.status.send_modify(|status| {
            begins = status.failing_since.is_none();
            status.failing_since.get_or_insert(now);
            status.failures_in_a_row += 1;
            status.last_failure = Some(Failure { at: now, cause: cause.clone(), event: event.0 });
        });
        if begins {
            tracing::warn!(destination.name = %self.name, %cause, "deliveries fail");
        }
    }

    fn success(&self, now: Timestamp) {
        let mut ended = None;
        self.status.send_modify(|status| {
            status.last_success_at = Some(now);
            ended = status.failing_since.take().map(|since| (since, status.failures_in_a_row));
            status.failures_in_a_row = 0;
        });
        if let Some((since, failures)) = ended {
            tracing::info!(destination.name = %self.name, %since, failures, "deliveries succeed again");
        }
    }

    /// Announces dead letters, many in one line.
    pub(super) fn dead(&mut self, event: EventId, reason: &str, now: Instant) {
        self.unannounced += 1;
        if self.announced_at.is_some_and(|at| now.duration_since(at) < ANNOUNCE) {
            return;
        }
        let count = std::mem::take(&mut self.unannounced);
        self.announced_at = Some(now);
        tracing::warn!(
            destination.name = %self.name, event.id = event.0, reason, count,
            "given up and kept as dead letters; the last is named"
        );
    }
}
