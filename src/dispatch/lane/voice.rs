//! What a lane says of itself: status, metrics and log.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::dispatch::breaker::Change;
use crate::dispatch::expiry::EXPIRED;
use crate::dispatch::status::{Expired, Failure, Status, Unreadable};
use crate::event::{Event, EventId};
use crate::net::proxy::ProxyFault;
use crate::net::shortage::Shortage;
use crate::spool::record::{Opened, Pause};
use crate::spool::settlement::{FailedAttempt, Outcome};
use crate::telemetry::metrics::{
    ByDestination, ByDestinationCause, ByDestinationOutcome, ByProxyFailure, Metrics, ProxyUser,
};
use crate::webhook::keyring::Which;
use crate::webhook::verdict::Verdict;

/// How often dead letters of one lane are announced in the log, beside the first of a run.
const ANNOUNCE: Duration = Duration::from_secs(10);

/// How often what this machine has not enough of is told in the log, should it come and go.
const SHORTAGE: Duration = Duration::from_mins(10);

/// Says what a lane reads from the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Events that were never attempted.
    Fresh,
    /// Events that wait for their retry.
    Retries,
}

/// Counts dead letters by why they are dead.
struct Deaths {
    refused: Counter,
    exhausted: Counter,
    expired: Counter,
    unreadable: Counter,
}

/// Speaks for one lane.
pub(super) struct Voice {
    name: Arc<str>,
    proxy_failures: Family<ByProxyFailure, Counter>,
    status: watch::Sender<Status>,
    delivered: Counter,
    retry: Counter,
    refused: Counter,
    seconds: Histogram,
    delivery_seconds: Histogram,
    in_flight: Gauge,
    open: Gauge,
    secret: Which,
    deaths: Deaths,
    /// What cannot be read now: fresh events, retries.
    unreadable: [Option<Unreadable>; 2],
    announced_at: Option<Instant>,
    unannounced: u64,
    not_sent: Counter,
    /// When a shortage was last told of.
    short_at: Option<Instant>,
}

impl Voice {
    /// Looks the metrics up once, and returns what watches the status.
    pub(super) fn new(name: Arc<str>, metrics: &Metrics) -> (Self, watch::Receiver<Status>) {
        let (status, watched) = watch::channel(Status::default());
        let outcome = |outcome| {
            let labels = ByDestinationOutcome { destination: name.to_string(), outcome };
            metrics.attempts.get_or_create(&labels).clone()
        };
        let cause = |cause| {
            let labels = ByDestinationCause { destination: name.to_string(), cause };
            metrics.dead_letters.get_or_create(&labels).clone()
        };
        let by = ByDestination { destination: name.to_string() };
        let voice = Self {
            status,
            delivered: outcome("delivered"),
            retry: outcome("retry"),
            refused: outcome("refused"),
            not_sent: outcome("not_sent"),
            short_at: None,
            seconds: metrics.attempt_seconds.get_or_create(&by).clone(),
            delivery_seconds: metrics.delivery_seconds.get_or_create(&by).clone(),
            in_flight: metrics.deliveries_in_flight.get_or_create(&by).clone(),
            open: metrics.breaker_open.get_or_create(&by).clone(),
            secret: Which::Current,
            deaths: Deaths {
                refused: cause("refused"),
                exhausted: cause("exhausted"),
                expired: cause(EXPIRED),
                unreadable: cause("unreadable"),
            },
            unreadable: [None, None],
            announced_at: None,
            unannounced: 0,
            proxy_failures: metrics.proxy_failures.clone(),
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

    /// Tells when the rate allows the next attempt, while it holds events back.
    pub(super) fn rate_until(&self, at: Option<Timestamp>) {
        self.status.send_if_modified(|status| {
            status.rate_until = at;
            false
        });
    }

    /// Tells which secret token signs from now on, or since the moment that was set for it.
    pub(super) fn signs_with(&mut self, secret: Which, switch_at: Option<Timestamp>, now: Timestamp) {
        if secret == self.secret {
            return;
        }
        self.secret = secret;
        let since = match secret {
            Which::Current => None,
            Which::Next => Some(switch_at.unwrap_or(now)),
        };
        self.status.send_modify(|status| status.next_secret_since = since);
        if let (Which::Next, Some(switch_at)) = (secret, switch_at) {
            tracing::info!(
                destination.name = %self.name, %switch_at,
                "next_secret_token signs: make it the secret_token, and take next_secret_token and switch_at out"
            );
        }
    }

    /// Tells that the handler has another secret token than the one configured first.
    pub(super) fn next_secret_accepted(&self) {
        tracing::warn!(
            destination.name = %self.name,
            "the handler refuses secret_token and takes next_secret_token, which signs from now on: make it the \
             secret_token, and take next_secret_token and on_refused out of the configuration"
        );
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
        event: &Event,
        outcome: &Outcome,
        failed: Option<&FailedAttempt>,
        elapsed: Duration,
        now: Timestamp,
    ) {
        self.seconds.observe(elapsed.as_secs_f64());
        match outcome {
            Outcome::Delivered { .. } => {
                self.delivered.inc();
                // A clock that was set back makes nothing faster than it can be.
                self.delivery_seconds.observe(now.duration_since(event.received_at).as_secs_f64().max(0.0));
            }
            Outcome::Retry { .. } => _ = self.retry.inc(),
            Outcome::Dead { .. } => _ = self.refused.inc(),
        }
        match failed {
            None => self.success(now),
            Some(failed) => {
                let FailedAttempt { cause, elapsed_ms, .. } = failed;
                tracing::debug!(destination.name = %self.name, event.id = event.id.0, %cause, elapsed_ms, "an attempt failed");
                self.failure(Some(event.id.0), cause, now);
            }
        }
    }

    /// Tells that an event, or the question of a probe, could not leave this machine.
    pub(super) fn short(&mut self, shortage: Shortage, event: Option<u64>, now: Timestamp, instant: Instant) {
        self.not_sent.inc();
        self.status.send_modify(|status| {
            status.failing_since.get_or_insert(now);
            status.last_failure = Some(Failure { at: now, cause: shortage.to_string().into(), event });
        });
        if self.short_at.is_none_or(|at| instant.duration_since(at) >= SHORTAGE) {
            self.short_at = Some(instant);
            tracing::warn!(
                destination.name = %self.name,
                "{shortage}: events wait for it, and lose no attempt; {}", shortage.advice()
            );
        }
    }

    /// Counts what failed at the proxy on the way.
    pub(super) fn proxy_failed(&self, fault: ProxyFault) {
        let labels = ByProxyFailure { owner: ProxyUser::Destination(self.name.to_string()), fault };
        self.proxy_failures.get_or_create(&labels).inc();
    }

    /// Tells that an attempt was the last.
    pub(super) fn given_up(
        &mut self,
        event: EventId,
        verdict: Verdict,
        reason: &str,
        now: Timestamp,
        instant: Instant,
    ) {
        match verdict {
            Verdict::Refused(_) => _ = self.deaths.refused.inc(),
            Verdict::Retry(_) | Verdict::RetryAfter(..) if reason == EXPIRED => self.expired(now),
            Verdict::Retry(_) | Verdict::RetryAfter(..) | Verdict::NotTried(_) | Verdict::Delivered { .. } => {
                _ = self.deaths.exhausted.inc();
            }
        }
        self.dead(event, reason, instant);
    }

    /// Tells that an event was too old to be attempted.
    pub(super) fn too_old(&mut self, event: EventId, now: Timestamp, instant: Instant) {
        self.expired(now);
        self.dead(event, EXPIRED, instant);
    }

    /// Tells that the body of an event does not open, or is damaged, so that there is nothing to send.
    pub(super) fn unreadable_body(&mut self, event: EventId, reason: &'static str, instant: Instant) {
        self.deaths.unreadable.inc();
        self.dead(event, reason, instant);
    }

    /// Tells that events wait again that were given up on the way to an open breaker.
    pub(super) fn revived(&self, count: usize) {
        tracing::info!(
            destination.name = %self.name, count,
            "what the handler refused before its breaker opened is no dead letter: it waits with the others"
        );
    }

    fn expired(&self, now: Timestamp) {
        self.deaths.expired.inc();
        self.status.send_if_modified(|status| {
            let count = status.expired.map_or(1, |expired| expired.count + 1);
            status.expired = Some(Expired { count, last_at: now });
            false
        });
    }

    /// Tells what a probe by URL validation came to: right, or wrong for this cause.
    pub(super) fn probe(&self, outcome: Result<(), String>, now: Timestamp) {
        match outcome {
            Ok(()) => {
                let mut ended = None;
                self.status.send_modify(|status| ended = end_failures(status));
                self.failures_ended(ended);
            }
            Err(cause) => {
                tracing::debug!(destination.name = %self.name, %cause, "a probe failed");
                self.failure(None, &cause, now);
            }
        }
    }

    /// Tells that events on the disk could not be read.
    pub(super) fn unreadable(&mut self, what: Reading, reason: Box<str>, now: Timestamp) {
        let known = self.unreadable[index(what)].take();
        if known.is_none() {
            tracing::error!(
                destination.name = %self.name, %reason, "cannot read waiting events from the spool, trying again"
            );
        }
        let since = known.map_or(now, |known| known.since);
        self.unreadable[index(what)] = Some(Unreadable { since, reason });
        self.tell_unreadable();
    }

    /// Tells that events on the disk could be read.
    pub(super) fn readable(&mut self, what: Reading) {
        if self.unreadable[index(what)].take().is_some() {
            tracing::info!(destination.name = %self.name, "waiting events can be read from the spool again");
            self.tell_unreadable();
        }
    }

    fn tell_unreadable(&self) {
        let longest = self.unreadable.iter().flatten().min_by_key(|unreadable| unreadable.since).cloned();
        self.status.send_modify(|status| status.unreadable = longest);
    }

    fn failure(&self, event: Option<u64>, cause: &str, now: Timestamp) {
        let mut begins = false;
        self.status.send_modify(|status| {
            begins = status.failures_in_a_row == 0;
            status.failing_since.get_or_insert(now);
            status.failures_in_a_row += 1;
            status.last_failure = Some(Failure { at: now, cause: cause.into(), event });
        });
        if begins {
            tracing::warn!(destination.name = %self.name, cause, "deliveries fail");
        }
    }

    fn success(&self, now: Timestamp) {
        let mut ended = None;
        self.status.send_modify(|status| {
            status.last_success_at = Some(now);
            ended = end_failures(status);
        });
        self.failures_ended(ended);
    }

    fn failures_ended(&self, ended: Option<(Timestamp, u64)>) {
        // What only this machine was short of was no failure.
        if let Some((since, failures)) = ended.filter(|(_, failures)| *failures > 0) {
            tracing::info!(destination.name = %self.name, %since, failures, "deliveries succeed again");
        }
    }

    /// Announces dead letters, many in one line.
    fn dead(&mut self, event: EventId, reason: &str, now: Instant) {
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

/// Ends the present run of failures, and returns since when it lasted and how many they were.
fn end_failures(status: &mut Status) -> Option<(Timestamp, u64)> {
    let failures = std::mem::take(&mut status.failures_in_a_row);
    status.failing_since.take().map(|since| (since, failures))
}

fn index(what: Reading) -> usize {
    match what {
        Reading::Fresh => 0,
        Reading::Retries => 1,
    }
}
