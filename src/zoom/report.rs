//! What a socket says of itself: status, metrics and log lines.
//!
//! Counts are kept here and told once a second, so that an event costs no lock that others wait for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::message::Content;
use super::session::{EVICTED_WITHIN, Tally};
use super::status::{Link, Status};
use crate::clock::Moment;
use crate::event::family::Family;
use crate::telemetry::metrics::{ByFamily, ByProxyFailure, BySubscription, BySubscriptionOutcome, Metrics, ProxyUser};

/// Tells those who watch.
pub(super) struct Report {
    name: Arc<str>,
    metrics: Arc<Metrics>,
    /// By family, in the order of their declaration.
    events: [Counter; Family::WORDS.len()],
    lag: Histogram,
    malformed: Counter,
    unknown: Counter,
    life: Life,
    /// What was wrong with the frames that were parked since the last look.
    parked: Option<(u64, &'static str)>,
    status: Status,
    /// When anything was last read.
    heard: Option<Moment>,
    shown: watch::Sender<Status>,
}

/// Measures how long the socket is live, and how long it is not.
struct Life {
    live: Gauge,
    contended: Gauge,
    lived: Counter<f64, AtomicU64>,
    reconnects: Histogram,
    /// Since when it is live, and up to when that has been counted; `None` while it is not.
    since: Option<(Instant, Instant)>,
    /// Since when it is not.
    lost_at: Instant,
}

impl Report {
    pub(super) fn new(
        name: Arc<str>,
        metrics: Arc<Metrics>,
        now: Timestamp,
        instant: Instant,
    ) -> (Self, watch::Receiver<Status>) {
        let status = Status::new(Link::Connecting, now);
        let (shown, receiver) = watch::channel(status.clone());
        let subscription = || name.to_string();
        let labels = BySubscription { subscription: subscription() };
        // An alert on a counter that is not there yet would stay blind.
        metrics.heartbeats_missed.get_or_create_owned(&labels);
        for outcome in ["ok", "refused", "failed"] {
            let labels = BySubscriptionOutcome { subscription: subscription(), outcome };
            metrics.token_fetches.get_or_create_owned(&labels);
        }
        let report = Self {
            events: Family::WORDS.map(|(_, family)| {
                metrics.events_received.get_or_create_owned(&ByFamily { subscription: subscription(), family })
            }),
            lag: metrics.event_lag_seconds.get_or_create_owned(&labels),
            malformed: metrics.frames_malformed.get_or_create_owned(&labels),
            unknown: metrics.frames_unknown.get_or_create_owned(&labels),
            life: Life {
                live: metrics.socket_live.get_or_create_owned(&labels),
                contended: metrics.socket_contended.get_or_create_owned(&labels),
                lived: metrics.socket_live_seconds.get_or_create_owned(&labels),
                reconnects: metrics.reconnect_seconds.get_or_create_owned(&labels),
                since: None,
                lost_at: instant,
            },
            parked: None,
            name,
            metrics,
            status,
            heard: None,
            shown,
        };
        (report, receiver)
    }

    /// Returns when anything was last read.
    pub(super) fn last_heard(&self) -> Option<Moment> {
        self.heard
    }

    /// Returns when the link was last known to be live, while it is.
    pub(super) fn live_at(&self) -> Option<Timestamp> {
        self.status.last_heard_at.filter(|_| self.status.link == Link::Live)
    }

    pub(super) fn heard(&mut self, now: Moment) {
        self.heard = Some(now);
        self.status.last_heard_at = Some(now.wall());
    }

    pub(super) fn event(&mut self, content: &Content, received_at: Timestamp) {
        let Some(why) = content.parked else {
            self.events[Family::of(&content.kind) as usize].inc();
            self.status.events += 1;
            self.status.last_event_at = Some(received_at);
            self.status.last_event_lag_ms = content.event_ts.map(|ts| received_at.as_millisecond().saturating_sub(ts));
            if let Some(lag) = self.status.last_event_lag_ms {
                // Clocks differ: what comes before it happened came at once.
                self.lag.observe(lag.max(0) as f64 / 1000.0);
            }
            return;
        };
        self.malformed.inc();
        self.status.malformed += 1;
        let (before, _) = self.parked.unwrap_or_default();
        self.parked = Some((before + 1, why));
    }

    /// Tells what has been counted since the last time; a flood of garbage is one line.
    pub(super) fn tick(&mut self, now: Instant) {
        self.life.tick(now);
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
            Tally::Proxy(fault) => {
                let labels = ByProxyFailure { owner: ProxyUser::Subscription(self.name.to_string()), fault };
                self.metrics.proxy_failures.get_or_create(&labels).inc();
                "proxy"
            }
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
    pub(super) fn show(
        &mut self,
        link: Link,
        reason: Box<str>,
        next_try: Option<Duration>,
        now: Timestamp,
        instant: Instant,
    ) {
        self.log(link, &reason, next_try);
        self.life.show(link, instant);
        let next_try = next_try.and_then(|delay| SignedDuration::try_from(delay).ok());
        let status = &mut self.status;
        if status.link != link {
            status.since = now;
        }
        match link {
            Link::Live => {
                status.connects += 1;
                status.down_since = None;
            }
            Link::Connecting | Link::Waiting | Link::Parked | Link::Contended | Link::Stopped => {
                status.down_since.get_or_insert(now);
            }
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

impl Life {
    fn tick(&mut self, now: Instant) {
        if let Some((since, counted)) = &mut self.since {
            self.lived.inc_by(now.duration_since(*counted).as_secs_f64());
            *counted = now;
            // A link that lasts was not taken away.
            if now.duration_since(*since) >= EVICTED_WITHIN {
                self.contended.set(0);
            }
        }
    }

    fn show(&mut self, link: Link, now: Instant) {
        match link {
            Link::Live if self.since.is_none() => {
                self.since = Some((now, now));
                self.reconnects.observe(now.duration_since(self.lost_at).as_secs_f64());
            }
            Link::Live => {}
            Link::Connecting | Link::Waiting | Link::Parked | Link::Contended | Link::Stopped => {
                self.tick(now);
                if self.since.take().is_some() {
                    self.lost_at = now;
                }
            }
        }
        self.live.set(i64::from(link == Link::Live));
        match link {
            Link::Contended => _ = self.contended.set(1),
            Link::Waiting | Link::Parked | Link::Stopped => _ = self.contended.set(0),
            // The next try tells.
            Link::Connecting | Link::Live => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_is_counted_while_the_socket_is_live_and_what_it_took_to_be() {
        let (mut report, metrics) = report();
        wait(3).await;
        show(&mut report, Link::Live);
        for _ in 0..10 {
            wait(1).await;
            report.tick(Instant::now());
        }
        wait(2).await;
        show(&mut report, Link::Waiting);
        wait(30).await;
        show(&mut report, Link::Connecting);
        wait(10).await;
        show(&mut report, Link::Live);
        let page = metrics.render().expect("a page");
        for line in [
            "zoomhook_socket_live_seconds_total{subscription=\"main\"} 12.0",
            "zoomhook_reconnect_seconds_sum{subscription=\"main\"} 43.0",
            "zoomhook_reconnect_seconds_count{subscription=\"main\"} 2",
            "zoomhook_token_fetches_total{subscription=\"main\",outcome=\"refused\"} 0",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn contention_ends_when_a_link_lasts_or_fails_for_another_reason() {
        let (mut report, metrics) = report();
        let contended = metrics.socket_contended.get_or_create_owned(&BySubscription { subscription: "main".into() });
        for link in [Link::Contended, Link::Connecting, Link::Live] {
            show(&mut report, link);
            assert_eq!(contended.get(), 1, "{link:?}");
        }
        wait(59).await;
        report.tick(Instant::now());
        assert_eq!(contended.get(), 1, "it may be taken away still");
        wait(1).await;
        report.tick(Instant::now());
        assert_eq!(contended.get(), 0);
        show(&mut report, Link::Contended);
        show(&mut report, Link::Waiting);
        assert_eq!(contended.get(), 0);
    }

    #[test]
    fn outage_lasts_from_the_lost_socket_to_the_next_live_one_whatever_is_tried_between() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let (mut report, _) = report();
        let mut down = |link, second| {
            report.show(link, Box::default(), None, at(second), Instant::now());
            report.status.down_since
        };
        assert_eq!(down(Link::Live, 10), None);
        for (link, second) in [(Link::Waiting, 20), (Link::Connecting, 30), (Link::Parked, 40), (Link::Waiting, 50)] {
            assert_eq!(down(link, second), Some(at(20)), "{link:?}");
        }
        assert_eq!(down(Link::Live, 60), None);
        assert_eq!(down(Link::Connecting, 70), Some(at(70)));
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_counted_by_family_with_their_lag() {
        let (mut report, metrics) = report();
        let mut event = |kind: &str, event_ts| {
            let content = Content { kind: kind.into(), event_ts, body: Default::default(), parked: None };
            report.event(&content, Timestamp::from_second(100).expect("a time"));
        };
        event("meeting.started", Some(98_000));
        event("meeting.participant_joined", Some(99_500));
        event("phone.callee_ringing", Some(101_000));
        event("hologram.projected", None);
        let page = metrics.render().expect("a page");
        for line in [
            "zoomhook_events_received_total{subscription=\"main\",family=\"meeting\"} 1",
            "zoomhook_events_received_total{subscription=\"main\",family=\"participant\"} 1",
            "zoomhook_events_received_total{subscription=\"main\",family=\"phone\"} 1",
            "zoomhook_events_received_total{subscription=\"main\",family=\"other\"} 1",
            "zoomhook_event_lag_seconds_sum{subscription=\"main\"} 2.5",
            "zoomhook_event_lag_seconds_count{subscription=\"main\"} 3",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    fn report() -> (Report, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        let (report, _) = Report::new("main".into(), Arc::clone(&metrics), Timestamp::UNIX_EPOCH, Instant::now());
        (report, metrics)
    }

    fn show(report: &mut Report, link: Link) {
        report.show(link, Box::default(), None, Timestamp::UNIX_EPOCH, Instant::now());
    }

    async fn wait(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }
}
