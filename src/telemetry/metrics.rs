//! Every metric of the program, declared in one place. Label sets are bounded: names from the
//! configuration, and enumerations.
//!
//! Whoever counts often looks its counters up once and keeps them. What belongs to a subscription or a destination is
//! shown while that is configured; should it come back after a reload, it is counted on.

mod certificate;
mod proxy;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use self::certificate::{Certificate, Expiry};
pub use self::proxy::{ByProxyFailure, ProxyUser};
use super::spans::Spans;
use crate::event::family as event;

/// Labels what belongs to a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySubscription {
    /// Name of the subscription.
    pub subscription: String,
}

/// Labels what belongs to a subscription and has an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySubscriptionOutcome {
    /// Name of the subscription.
    pub subscription: String,
    /// What it came to: one of a fixed set of words.
    pub outcome: &'static str,
}

/// Labels events of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByFamily {
    /// Name of the subscription.
    pub subscription: String,
    /// Family of their type.
    pub family: &'static str,
}

/// Labels what belongs to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByDestination {
    /// Name of the destination.
    pub destination: String,
}

/// Labels what belongs to a destination and has an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByDestinationOutcome {
    /// Name of the destination.
    pub destination: String,
    /// What it came to: one of a fixed set of words.
    pub outcome: &'static str,
}

/// Labels what has a reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByReason {
    /// One of a fixed set of words.
    pub reason: &'static str,
}

/// Labels what belongs to a destination and has a cause.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByDestinationCause {
    /// Name of the destination.
    pub destination: String,
    /// Why: one of a fixed set of words.
    pub cause: &'static str,
}

/// Labels what was kept in the spool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByWhat {
    /// `dead` or `parked`.
    pub what: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
/// Counts parts of a second, too.
type Seconds = Counter<f64, AtomicU64>;
/// Is a value that is no whole number.
type Real = Gauge<f64, AtomicU64>;

/// Holds every metric.
pub struct Metrics {
    registry: Registry,
    /// When the process started, in seconds since 1970.
    pub process_start_time: Real,
    /// Identifies what the configuration says, secrets left out.
    pub config_hash: Real,
    /// 1 unless the configuration was refused at the last reload, then 0.
    pub config_reload_success: Gauge,
    /// 1 while the socket is accepted and heard from, else 0.
    pub socket_live: Family<BySubscription, Gauge>,
    /// Time that the socket was live.
    pub socket_live_seconds: Family<BySubscription, Seconds>,
    /// 1 while somebody else takes the socket away again and again, else 0.
    pub socket_contended: Family<BySubscription, Gauge>,
    /// Time from the loss of a socket, or from the start, until one was live.
    pub reconnect_seconds: Histograms<BySubscription>,
    /// Gaps that stand in the ledger.
    pub gaps: Family<BySubscription, Counter>,
    /// How long they were, the one that is open now included.
    pub gap_seconds: Family<BySubscription, Seconds>,
    /// 1 while a gap is open, else 0.
    pub gap_open: Family<BySubscription, Gauge>,
    /// Connection attempts by outcome: `accepted`, `refused`, `failed`, `timeout`, `proxy`.
    pub connects: Family<BySubscriptionOutcome, Counter>,
    /// Token requests by outcome: `ok`, `refused`, `failed`, `proxy`.
    pub token_fetches: Family<BySubscriptionOutcome, Counter>,
    /// Connections that came to nothing at a proxy, by whose they are and what was wrong.
    pub proxy_failures: Family<ByProxyFailure, Counter>,
    /// Events read from the socket, by family of their type.
    pub events_received: Family<ByFamily, Counter>,
    /// How long after it happened an event was read.
    pub event_lag_seconds: Histograms<BySubscription>,
    /// Frames that were kept but could not be understood.
    pub frames_malformed: Family<BySubscription, Counter>,
    /// Frames of modules that the bridge does not know.
    pub frames_unknown: Family<BySubscription, Counter>,
    /// Sockets that were given up because the heartbeat went unanswered.
    pub heartbeats_missed: Family<BySubscription, Counter>,
    /// Events whose body was seen before within the repeat window.
    pub events_repeated: Counter,
    /// Events in the last commits, by their sum, and commits, by their count.
    pub spool_batch: Histogram,
    /// Time of a commit, sync included.
    pub spool_commit_seconds: Histogram,
    /// 1 while the spool takes events, else 0.
    pub spool_writable: Gauge,
    /// Bytes of the spool that are in use.
    pub spool_bytes: Gauge,
    /// Bytes that the spool may have.
    pub spool_max_bytes: Gauge,
    /// Bytes that are free on the disk of the spool.
    pub spool_disk_free_bytes: Gauge,
    /// Bytes of the write-ahead log.
    pub spool_wal_bytes: Gauge,
    /// What went before its time for want of room: `dead` letters and `parked` frames.
    pub spool_dropped: Family<ByWhat, Counter>,
    /// What could not be stored, for the file is damaged where it belongs: `report`, `revival`, `history`.
    pub spool_unwritten: Family<ByWhat, Counter>,
    /// Attempts by outcome: `delivered`, `retry`, `refused`.
    pub attempts: Family<ByDestinationOutcome, Counter>,
    /// Events whose body JavaScript would write differently, by what was posted: `canonical`, the form that it would
    /// write; `unsafe`, Zoom's bytes, because a number would change or JavaScript cannot read them.
    pub bodies_not_fixed_point: Family<ByDestinationOutcome, Counter>,
    /// Time of an attempt.
    pub attempt_seconds: Histograms<ByDestination>,
    /// Time from the frame to the answer that accepted its event.
    pub delivery_seconds: Histograms<ByDestination>,
    /// Events that wait for a destination, retries included.
    pub deliveries_pending: Family<ByDestination, Gauge>,
    /// Events that wait for destinations that are not configured any more.
    pub deliveries_orphaned: Gauge,
    /// Age of the oldest event that waits; 0 when none does.
    pub oldest_pending_seconds: Family<ByDestination, Real>,
    /// 1 while the operator holds deliveries back, else 0.
    pub destination_paused: Family<ByDestination, Gauge>,
    /// 1 while the breaker is open, else 0.
    pub breaker_open: Family<ByDestination, Gauge>,
    /// Deliveries that were given up, by cause: `refused`, `exhausted` (retries used up), `expired`.
    pub dead_letters: Family<ByDestinationCause, Counter>,
    /// Dead letters of a destination.
    pub deliveries_dead: Family<ByDestination, Gauge>,
    /// Requests in flight.
    pub deliveries_in_flight: Family<ByDestination, Gauge>,
    /// When certificates expire, as far as they have been seen.
    pub certificate_expiry: Family<Certificate, Expiry>,
    /// Connections to the admin port.
    pub admin_connections: Gauge,
    /// Requests that the admin port refused, by the code of the problem, and connections that it closed: `tls`, no agreement; `slow`, the peer
    /// took too long; `displaced`, a newcomer needed the place.
    pub admin_refusals: Family<ByReason, Counter>,
    /// Spans that no collector took.
    pub spans_dropped: Counter,
    /// Takes the spans of events, where somebody wants them.
    pub spans: Spans,
}

/// Upper bounds in seconds, from a loopback answer to a long timeout.
const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0];

/// Upper bounds in seconds, from an event that passes through to one that waited for days.
const DELIVERY: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 43_200.0, 259_200.0];
/// Upper bounds in seconds, from what networks take to events that Zoom held up for hours.
const LAG: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0];
/// Upper bounds in seconds, from a restart of Zoom's side to credentials that nobody mends.
const RECONNECT: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    /// Declares every metric.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            process_start_time: Gauge::default(),
            config_hash: Gauge::default(),
            config_reload_success: Gauge::default(),
            socket_live: Family::default(),
            socket_live_seconds: Family::default(),
            socket_contended: Family::default(),
            reconnect_seconds: Family::new_with_constructor(|| Histogram::new(RECONNECT)),
            gaps: Family::default(),
            gap_seconds: Family::default(),
            gap_open: Family::default(),
            connects: Family::default(),
            token_fetches: Family::default(),
            proxy_failures: Family::default(),
            events_received: Family::default(),
            event_lag_seconds: Family::new_with_constructor(|| Histogram::new(LAG)),
            frames_malformed: Family::default(),
            frames_unknown: Family::default(),
            heartbeats_missed: Family::default(),
            events_repeated: Counter::default(),
            spool_batch: Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0]),
            spool_commit_seconds: seconds(),
            spool_writable: Gauge::default(),
            spool_bytes: Gauge::default(),
            spool_max_bytes: Gauge::default(),
            spool_disk_free_bytes: Gauge::default(),
            spool_wal_bytes: Gauge::default(),
            spool_dropped: Family::default(),
            spool_unwritten: Family::default(),
            attempts: Family::default(),
            bodies_not_fixed_point: Family::default(),
            attempt_seconds: Family::new_with_constructor(seconds),
            delivery_seconds: Family::new_with_constructor(|| Histogram::new(DELIVERY)),
            deliveries_pending: Family::default(),
            deliveries_orphaned: Gauge::default(),
            oldest_pending_seconds: Family::default(),
            destination_paused: Family::default(),
            dead_letters: Family::default(),
            deliveries_dead: Family::default(),
            breaker_open: Family::default(),
            deliveries_in_flight: Family::default(),
            certificate_expiry: Family::default(),
            admin_connections: Gauge::default(),
            admin_refusals: Family::default(),
            spans_dropped: Counter::default(),
            spans: Spans::default(),
        };
        metrics.config_reload_success.set(1);
        // An alert on a counter that is not there yet would stay blind.
        for what in ["dead", "parked"] {
            metrics.spool_dropped.get_or_create_owned(&ByWhat { what });
        }
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        // The one name that is shared with every other program, and so carries no prefix.
        let start = self.process_start_time.clone();
        self.registry.register_with_unit("process_start_time", "When the process started", Unit::Seconds, start);
        let r = self.registry.sub_registry_with_prefix("zoomhook");
        r.register("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        r.register("config_hash", "Identifies what the configuration says", self.config_hash.clone());
        let success = self.config_reload_success.clone();
        r.register("config_reload_success", "0 once the configuration was refused at the last reload", success);
        r.register("socket_live", "1 while the socket is accepted and heard from", self.socket_live.clone());
        r.register("socket_live_seconds", "Time that the socket was live", self.socket_live_seconds.clone());
        r.register("socket_contended", "1 while somebody else takes the socket away", self.socket_contended.clone());
        r.register("reconnect_seconds", "Time until a socket was live", self.reconnect_seconds.clone());
        r.register("gaps", "Gaps in the ledger", self.gaps.clone());
        r.register("gap_seconds", "Time without a live socket, as the ledger has it", self.gap_seconds.clone());
        r.register("gap_open", "1 while a gap is open", self.gap_open.clone());
        r.register("connects", "Connection attempts by outcome", self.connects.clone());
        r.register("token_fetches", "Token requests by outcome", self.token_fetches.clone());
        r.register("proxy_failures", "Connections that came to nothing at a proxy", self.proxy_failures.clone());
        r.register("events_received", "Events read from the socket", self.events_received.clone());
        r.register("event_lag_seconds", "How long after it happened an event came", self.event_lag_seconds.clone());
        r.register("frames_malformed", "Frames kept but not understood", self.frames_malformed.clone());
        r.register("frames_unknown", "Frames of unknown modules", self.frames_unknown.clone());
        r.register("heartbeats_missed", "Sockets given up for silence", self.heartbeats_missed.clone());
        r.register("events_repeated", "Events whose body was seen before", self.events_repeated.clone());
        r.register("spool_batch", "Events in a commit", self.spool_batch.clone());
        r.register("spool_commit_seconds", "Time of a commit, sync included", self.spool_commit_seconds.clone());
        r.register("spool_writable", "1 while the spool takes events", self.spool_writable.clone());
        r.register("spool_bytes", "Bytes of the spool in use", self.spool_bytes.clone());
        r.register("spool_max_bytes", "Bytes that the spool may have", self.spool_max_bytes.clone());
        let free = self.spool_disk_free_bytes.clone();
        r.register("spool_disk_free_bytes", "Bytes free on the disk of the spool", free);
        r.register("spool_wal_bytes", "Bytes of the write-ahead log", self.spool_wal_bytes.clone());
        r.register("spool_dropped", "What went before its time for want of room", self.spool_dropped.clone());
        let unwritten = self.spool_unwritten.clone();
        r.register("spool_unwritten", "What could not be stored where the file is damaged", unwritten);
        r.register("attempts", "Delivery attempts by outcome", self.attempts.clone());
        let bodies = self.bodies_not_fixed_point.clone();
        r.register("bodies_not_fixed_point", "Events whose body JavaScript would write differently", bodies);
        r.register("attempt_seconds", "Time of a delivery attempt", self.attempt_seconds.clone());
        r.register("delivery_seconds", "Time from the frame to the accepting answer", self.delivery_seconds.clone());
        r.register("deliveries_pending", "Events that wait for a destination", self.deliveries_pending.clone());
        let orphaned = self.deliveries_orphaned.clone();
        r.register("deliveries_orphaned", "Events that wait for what is not configured any more", orphaned);
        r.register("oldest_pending_seconds", "Age of the oldest waiting event", self.oldest_pending_seconds.clone());
        r.register("destination_paused", "1 while deliveries are held back", self.destination_paused.clone());
        r.register("breaker_open", "1 while the breaker is open", self.breaker_open.clone());
        r.register("dead_letters", "Deliveries given up by cause", self.dead_letters.clone());
        r.register("deliveries_dead", "Dead letters of a destination", self.deliveries_dead.clone());
        r.register("deliveries_in_flight", "Requests in flight", self.deliveries_in_flight.clone());
        let expiry = self.certificate_expiry.clone();
        r.register("certificate_expiry_timestamp_seconds", "When a certificate expires", expiry);
        r.register("spans_dropped", "Spans that no collector took", self.spans_dropped.clone());
        r.register("admin_connections", "Connections to the admin port", self.admin_connections.clone());
        let refusals = self.admin_refusals.clone();
        r.register("admin_refusals", "Requests and connections that the admin port refused", refusals);
    }

    /// Returns how many events came by a subscription, of all families.
    pub fn received_by(&self, subscription: &str) -> u64 {
        let label = |family| ByFamily { subscription: subscription.to_owned(), family };
        let count = |(_, family)| self.events_received.get(&label(family)).map_or(0, |count| count.get());
        event::Family::WORDS.into_iter().map(count).sum()
    }

    /// Writes the metrics that describe the program and these subscriptions and destinations, in the OpenMetrics text
    /// format.
    ///
    /// # Errors
    /// As [`Metrics::render`].
    pub fn render_for(&self, subscriptions: &[Arc<str>], destinations: &[Arc<str>]) -> Result<String, fmt::Error> {
        let is_shown = |line: &&str| {
            let among = |name: &str, known: &[Arc<str>]| known.iter().any(|known| **known == *name);
            line.starts_with('#')
                || label(line, "subscription").is_none_or(|name| among(name, subscriptions))
                    && label(line, "destination").is_none_or(|name| among(name, destinations))
        };
        Ok(self.render()?.split_inclusive('\n').filter(is_shown).collect())
    }

    /// Writes every metric in the OpenMetrics text format.
    ///
    /// # Errors
    /// Only when a metric cannot be formatted, which none of these can fail to be.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Returns the value of a label of a sample; names of the configuration need no escaping.
fn label<'a>(sample: &'a str, name: &str) -> Option<&'a str> {
    let (_, labels) = sample.split_once('{')?;
    let mut labels = labels.split_once('}')?.0.split(',');
    labels.find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

/// Takes over what was counted elsewhere.
pub(crate) fn set_count(counter: &Counter, count: u64) {
    counter.inner().store(count, Ordering::Relaxed);
}

/// Takes over what was measured elsewhere.
pub(crate) fn set_seconds(counter: &Seconds, seconds: f64) {
    counter.inner().store(seconds.to_bits(), Ordering::Relaxed);
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn page_names_the_build_and_the_start() {
        let metrics = Metrics::new();
        metrics.process_start_time.set(1_785_369_357.0);
        let page = metrics.render().expect("a page");
        let build = concat!("zoomhook_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1");
        assert!(page.contains(build), "{page}");
        assert!(page.contains("\nprocess_start_time_seconds 1785369357.0"), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
    }

    #[test]
    fn page_is_about_what_is_configured_now() {
        let metrics = Metrics::new();
        for name in ["crm", "gone"] {
            let destination = || name.to_owned();
            metrics.deliveries_pending.get_or_create(&ByDestination { destination: destination() }).set(3);
            metrics.attempt_seconds.get_or_create(&ByDestination { destination: destination() }).observe(0.1);
            let labels = ByDestinationOutcome { destination: destination(), outcome: "retry" };
            metrics.attempts.get_or_create(&labels).inc();
            metrics.certificate_expiry.get_or_create(&Certificate::Handler(destination())).set(Timestamp::UNIX_EPOCH);
        }
        assert_eq!(metrics.certificate_expiry.get_or_create(&Certificate::Handler("plain".to_owned())).get(), None);
        metrics.socket_live.get_or_create(&BySubscription { subscription: "gone".to_owned() }).set(1);
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>();
        let page = metrics.render_for(&names(&["main"]), &names(&["crm", "plain"])).expect("a page");
        assert!(!page.contains("gone"), "{page}");
        for line in [
            "zoomhook_deliveries_pending{destination=\"crm\"} 3\n",
            "zoomhook_attempt_seconds_count{destination=\"crm\"} 1\n",
            "zoomhook_attempts_total{destination=\"crm\",outcome=\"retry\"} 1\n",
            "zoomhook_certificate_expiry_timestamp_seconds{side=\"handler\",destination=\"crm\"} 0\n",
            "zoomhook_spool_writable 0\n",
        ] {
            assert!(page.contains(line), "{line}{page}");
        }
        assert!(!page.contains("\"plain\""), "no certificate was seen: {page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
    }

    #[test]
    fn every_other_name_carries_the_prefix() {
        let page = Metrics::new().render().expect("a page");
        let foreign = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter(|line| !line.starts_with("zoomhook_") && !line.starts_with("process_start_time_seconds"));
        assert_eq!(foreign.collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(page.contains("# TYPE zoomhook_spool_writable gauge"), "{page}");
    }
}
