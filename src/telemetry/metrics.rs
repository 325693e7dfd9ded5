//! Every metric of the program, declared in one place. Label sets are bounded: names from the
//! configuration, and enumerations.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

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

/// Labels what one side of the program has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySide {
    /// One of a fixed set of words.
    pub side: &'static str,
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

type Seconds = Family<ByDestination, Histogram, fn() -> Histogram>;

/// Holds every metric.
pub struct Metrics {
    registry: Registry,
    /// When the process started, in seconds since 1970.
    pub process_start_time: Gauge<f64, AtomicU64>,
    /// 1 while the socket is accepted and heard from, else 0.
    pub socket_live: Family<BySubscription, Gauge>,
    /// Connection attempts by outcome: `accepted`, `refused`, `failed`, `timeout`.
    pub connects: Family<BySubscriptionOutcome, Counter>,
    /// Token requests by outcome: `ok`, `refused`, `failed`.
    pub token_fetches: Family<BySubscriptionOutcome, Counter>,
    /// Events read from the socket.
    pub events_received: Family<BySubscription, Counter>,
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
    /// Bytes of the write-ahead log.
    pub spool_wal_bytes: Gauge,
    /// What went before its time for want of room: `dead` letters and `parked` frames.
    pub spool_dropped: Family<ByWhat, Counter>,
    /// Attempts by outcome: `delivered`, `retry`, `refused`.
    pub attempts: Family<ByDestinationOutcome, Counter>,
    /// Events whose body JavaScript would write differently, by what was posted: `canonical`, the form that it would
    /// write; `unsafe`, Zoom's bytes, because a number would change or JavaScript cannot read them.
    pub bodies_not_fixed_point: Family<ByDestinationOutcome, Counter>,
    /// Time of an attempt.
    pub attempt_seconds: Seconds,
    /// Events that wait for a destination, retries included.
    pub deliveries_pending: Family<ByDestination, Gauge>,
    /// 1 while the breaker is open, else 0.
    pub breaker_open: Family<ByDestination, Gauge>,
    /// Deliveries that were given up, by cause: `refused`, `exhausted` (retries used up), `expired`.
    pub dead_letters: Family<ByDestinationCause, Counter>,
    /// Dead letters of a destination.
    pub deliveries_dead: Family<ByDestination, Gauge>,
    /// Requests in flight.
    pub deliveries_in_flight: Family<ByDestination, Gauge>,
    /// When a certificate expires, in seconds since 1970, by whose it is: `admin`, what the admin port shows.
    pub certificate_expiry: Family<BySide, Gauge>,
    /// Connections to the admin port.
    pub admin_connections: Gauge,
    /// Requests that the admin port refused, by the code of the problem, and connections that it closed: `tls`, no agreement; `slow`, the peer
    /// took too long; `displaced`, a newcomer needed the place.
    pub admin_refusals: Family<ByReason, Counter>,
}

/// Upper bounds in seconds, from a loopback answer to a long timeout.
const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    /// Declares every metric.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            process_start_time: Gauge::default(),
            socket_live: Family::default(),
            connects: Family::default(),
            token_fetches: Family::default(),
            events_received: Family::default(),
            frames_malformed: Family::default(),
            frames_unknown: Family::default(),
            heartbeats_missed: Family::default(),
            events_repeated: Counter::default(),
            spool_batch: Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0]),
            spool_commit_seconds: seconds(),
            spool_writable: Gauge::default(),
            spool_bytes: Gauge::default(),
            spool_wal_bytes: Gauge::default(),
            spool_dropped: Family::default(),
            attempts: Family::default(),
            bodies_not_fixed_point: Family::default(),
            attempt_seconds: Family::new_with_constructor(seconds),
            deliveries_pending: Family::default(),
            dead_letters: Family::default(),
            deliveries_dead: Family::default(),
            breaker_open: Family::default(),
            deliveries_in_flight: Family::default(),
            certificate_expiry: Family::default(),
            admin_connections: Gauge::default(),
            admin_refusals: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        // The one name that is shared with every other program, and so carries no prefix.
        let start = self.process_start_time.clone();
        self.registry.register_with_unit("process_start_time", "When the process started", Unit::Seconds, start);
        let r = self.registry.sub_registry_with_prefix("zoomhook");
        r.register("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        r.register("socket_live", "1 while the socket is accepted and heard from", self.socket_live.clone());
        r.register("connects", "Connection attempts by outcome", self.connects.clone());
        r.register("token_fetches", "Token requests by outcome", self.token_fetches.clone());
        r.register("events_received", "Events read from the socket", self.events_received.clone());
        r.register("frames_malformed", "Frames kept but not understood", self.frames_malformed.clone());
        r.register("frames_unknown", "Frames of unknown modules", self.frames_unknown.clone());
        r.register("heartbeats_missed", "Sockets given up for silence", self.heartbeats_missed.clone());
        r.register("events_repeated", "Events whose body was seen before", self.events_repeated.clone());
        r.register("spool_batch", "Events in a commit", self.spool_batch.clone());
        r.register("spool_commit_seconds", "Time of a commit, sync included", self.spool_commit_seconds.clone());
        r.register("spool_writable", "1 while the spool takes events", self.spool_writable.clone());
        r.register("spool_bytes", "Bytes of the spool in use", self.spool_bytes.clone());
        r.register("spool_wal_bytes", "Bytes of the write-ahead log", self.spool_wal_bytes.clone());
        r.register("spool_dropped", "What went before its time for want of room", self.spool_dropped.clone());
        r.register("attempts", "Delivery attempts by outcome", self.attempts.clone());
        let bodies = self.bodies_not_fixed_point.clone();
        r.register("bodies_not_fixed_point", "Events whose body JavaScript would write differently", bodies);
        r.register("attempt_seconds", "Time of a delivery attempt", self.attempt_seconds.clone());
        r.register("deliveries_pending", "Events that wait for a destination", self.deliveries_pending.clone());
        r.register("breaker_open", "1 while the breaker is open", self.breaker_open.clone());
        r.register("dead_letters", "Deliveries given up by cause", self.dead_letters.clone());
        r.register("deliveries_dead", "Dead letters of a destination", self.deliveries_dead.clone());
        r.register("deliveries_in_flight", "Requests in flight", self.deliveries_in_flight.clone());
        let expiry = self.certificate_expiry.clone();
        r.register("certificate_expiry_timestamp_seconds", "When a certificate expires", expiry);
        r.register("admin_connections", "Connections to the admin port", self.admin_connections.clone());
        let refusals = self.admin_refusals.clone();
        r.register("admin_refusals", "Requests and connections that the admin port refused", refusals);
    }

    /// Takes a destination off the page that is no more.
    pub fn forget_destination(&self, name: &str) {
        let labels = ByDestination { destination: name.to_owned() };
        self.attempt_seconds.remove(&labels);
        for gauge in [&self.deliveries_pending, &self.deliveries_dead, &self.breaker_open, &self.deliveries_in_flight] {
            gauge.remove(&labels);
        }
        for cause in ["refused", "exhausted", "expired"] {
            self.dead_letters.remove(&ByDestinationCause { destination: name.to_owned(), cause });
        }
        for outcome in ["delivered", "retry", "refused", "canonical", "unsafe"] {
            let labels = ByDestinationOutcome { destination: name.to_owned(), outcome };
            self.attempts.remove(&labels);
            self.bodies_not_fixed_point.remove(&labels);
        }
    }

    /// Writes every metric in the OpenMetrics text format.
    ///
    /// # Errors
    /// Only when a metric cannot be formatted, which none of these can fail to be.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
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
