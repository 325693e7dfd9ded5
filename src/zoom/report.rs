//! What a socket says of itself: status, metrics and log lines.
//!
//! Counts are kept here and told once a second, so that an event costs no lock that others wait for.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::message::Content;
use super::session::Tally;
use super::status::{Link, Status};
use crate::telemetry::metrics::{BySubscription, BySubscriptionOutcome, Metrics};

/// Tells those who watch.
pub(super) struct Report {
    name: Arc<str>,
    metrics: Arc<Metrics>,
    events: Counter,
    malformed: Counter,
    unknown: Counter,
    live: Gauge,
    /// What was wrong with the frames that were parked since the last look.
    parked: Option<(u64, &'static str)>,
    status: Status,
    shown: watch::Sender<Status>,
}

impl Report {
    pub(super) fn new(name: Arc<str>, metrics: Arc<Metrics>, now: Timestamp) -> (Self, watch::Receiver<Status>) {
        let status = Status::new(Link::Connecting, now);
        let (shown, receiver) = watch::channel(status.clone());
        let labels = BySubscription { subscription: name.to_string() };
        // An alert on a counter that is not there yet would stay blind.
        metrics.heartbeats_missed.get_or_create_owned(&labels);
        let report = Self {
            events: metrics.events_received.get_or_create_owned(&labels),
            malformed: metrics.frames_malformed.get_or_create_owned(&labels),
            unknown: metrics.frames_unknown.get_or_create_owned(&labels),
            live: metrics.socket_live.get_or_create_owned(&labels),
            parked: None,
            name,
            metrics,
            status,
            shown,
        };
        (report, receiver)
    }

    /// Returns when anything was last read.
    pub(super) fn last_heard_at(&self) -> Option<Timestamp> {
        self.status.last_heard_at
    }

    /// Returns when the link was last known to be live, while it is.
    pub(super) fn live_at(&self) -> Option<Timestamp> {
        self.status.last_heard_at.filter(|_| self.status.link == Link::Live)
    }

    pub(super) fn heard(&mut self, now: Timestamp) {
        self.status.last_heard_at = Some(now);
    }

    pub(super) fn event(&mut self, content: &Content, received_at: Timestamp) {
        let Some(why) = content.parked else {
            self.events.inc();
            self.status.events += 1;
            self.status.last_event_at = Some(received_at);
            self.status.last_event_lag_ms = content.event_ts.map(|ts| received_at.as_millisecond().saturating_sub(ts));
            return;
        };
        self.malformed.inc();
        self.status.malformed += 1;
        let (before, _) = self.parked.unwrap_or_default();
        self.parked = Some((before + 1, why));
    }

    /// Tells what has been counted since the last time; a flood of garbage is one line.
    pub(super) fn tick(&mut self) {
        if let Some((count, why)) = self.parked.take() {
            warn!(
                subscription.name = &*self.name,
                count,
                "zoom sent {count} frames that cannot be delivered, the last because {why}; they are kept as parked events"
            );
        }
        self.publish();
    }

    /// Takes note of something that could not even be read, and is lost with its socket.
    pub(super) fn broken(&mut self, reason: &str) {
        self.malformed.inc();
        self.status.malformed += 1;
        error!(
            subscription.name = &*self.name,
            "zoom sent something that cannot be read, and an event may be lost with it: {reason}"
        );
    }

    pub(super) fn unknown(&self) {
        self.unknown.inc();
    }

    /// Takes note whether the spool takes events.
    pub(super) fn stalled(&mut self, stalled: bool) {
        if stalled && !self.status.stalled {
            warn!(
                subscription.name = &*self.name,
                "the spool takes no events: the socket of subscription `{}` is not read meanwhile", self.name
            );
        }
        self.status.stalled = stalled;
    }

    pub(super) fn count(&self, tally: Tally) {
        let outcome = match tally {
            Tally::Accepted => "accepted",
            Tally::Refused => "refused",
            Tally::Failed => "failed",
            Tally::TimedOut => "timeout",
            Tally::HeartbeatMissed => {
                let labels = BySubscription { subscription: self.name.to_string() };
                self.metrics.heartbeats_missed.get_or_create(&labels).inc();
                return;
            }
        };
        let labels = BySubscriptionOutcome { subscription: self.name.to_string(), outcome };
        self.metrics.connects.get_or_create(&labels).inc();
    }

    /// Shows a change of the link at once.
    pub(super) fn show(&mut self, link: Link, reason: Box<str>, next_try: Option<Duration>, now: Timestamp) {
        self.log(link, &reason, next_try);
        self.live.set(i64::from(link == Link::Live));
        let next_try = next_try.and_then(|delay| SignedDuration::try_from(delay).ok());
        let status = &mut self.status;
        if status.link != link {
            status.since = now;
        }
        if link == Link::Live {
            status.connects += 1;
        }
        status.link = link;
        status.reason = reason;
        status.next_try_at = next_try.and_then(|delay| now.saturating_add(delay).ok());
        self.publish();
    }

    fn publish(&self) {
        self.shown.send_if_modified(|shown| {
            let changed = *shown != self.status;
            if changed {
                shown.clone_from(&self.status);
            }
            changed
        });
    }

    fn log(&self, link: Link, reason: &str, next_try: Option<Duration>) {
        let subscription = &*self.name;
        let next_try_ms = next_try.unwrap_or_default().as_millis() as u64;
        let seconds = next_try.unwrap_or_default().as_secs_f64();
        match link {
            Link::Connecting => debug!(subscription.name = subscription, "connecting subscription `{subscription}`"),
            Link::Live => info!(subscription.name = subscription, "subscription `{subscription}` is live"),
            Link::Waiting => warn!(
                subscription.name = subscription,
                next_try_ms, "subscription `{subscription}` has no socket: {reason}; next try in {seconds:.1} s"
            ),
            Link::Parked => error!(
                subscription.name = subscription,
                next_try_ms, "subscription `{subscription}` is parked: {reason}; next try in {seconds:.0} s"
            ),
            Link::Contended => error!(
                subscription.name = subscription,
                next_try_ms, "subscription `{subscription}` is contended: {reason}; next try in {seconds:.0} s"
            ),
            Link::Stopped => {
                info!(
                    subscription.name = subscription,
                    "the socket of subscription `{subscription}` has ended: {reason}"
                );
            }
        }
    }
}
