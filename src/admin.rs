//! The operator's port: health, metrics and the API, all routes and layers on this page.
//!
//! The person on call has one question: is anything being lost, and what do I do? `/readyz`, the
//! status document and the command line answer it with the same sentences (`sentence`). Handlers
//! parse, call one handle and render; what they read of a spool (`document`) the command line reads
//! too, and both print the same documents.
//!
//! ```text
//! GET  /livez                  the loops turn
//! GET  /readyz                 the spool is writable and every subscription live
//! GET  /metrics                OpenMetrics
//! GET  /api/v1/status          one sentence over all, one for each subscription and destination
//! GET  /api/v1/subscriptions   those of the subscriptions alone
//! GET  /api/v1/destinations[/{name}]        those of the destinations alone
//! GET  /api/v1/events[/{id}]   what was received, and where it stands
//! POST /api/v1/events/replay   delivers it again, or to somebody new
//! GET  /api/v1/dead[/groups]   what was given up, one by one or by destination and cause
//! POST /api/v1/dead/replay     makes it due again
//! GET  /api/v1/replays/{id}    how far a replay has come that takes longer
//! POST /api/v1/dead/purge      deletes it for good
//! POST /api/v1/events/purge    deletes parked frames for good
//! GET  /api/v1/orphans         destinations that are no longer configured
//! POST /api/v1/orphans/{name}/purge         deletes what is kept for one
//! POST /api/v1/destinations/{name}/pause    holds deliveries back
//! POST /api/v1/destinations/{name}/resume   lets them go on
//! POST /api/v1/destinations/{name}/probe    asks the handler
//! GET  /api/v1/gaps            when no socket was live
//! POST /api/v1/gaps/{id}/acknowledge        notes what was done about it
//! POST /api/v1/spool/rekey     brings what is kept to the key of the configuration
//! GET  /api/v1/audit           who changed what
//! GET  /api/v1/whoami          what the one who asks may do
//! GET  /api/v1/stream          the status about every second, as server-sent events
//! GET  /api/v1/history         the last day, minute by minute, since the process started
//! POST /api/v1/reload          reads the configuration again
//! GET  /api/v1/log             how much is logged
//! PUT  /api/v1/log             changes it until the next start
//! GET  /api/v1/openapi.json     all of this for programs, as OpenAPI has it
//! GET  /                       the console, one page that shows all of this
//! ```
//!
//! Refusals are problem documents (RFC 9457) with a stable `code`. With a token, everything but the
//! two health paths and the empty page of the console asks for it, or for that of a viewer, who changes
//! nothing and sees no payloads; without one the port is on loopback, and requests that a browser was lured
//! into are refused by their `Host` and their content type, or it is a Unix socket, whose file mode says who
//! may do everything.

mod audit;
mod auth;
pub mod board;
mod caller;
mod certificate;
mod console;
mod dead;
mod destinations;
pub(crate) mod document;
mod door;
mod events;
mod gaps;
mod headers;
mod health;
pub(crate) mod held;
mod history;
mod input;
#[cfg(any(test, fuzzing))]
mod inputs;
mod limits;
mod listener;
pub mod liveness;
mod log;
mod metrics;
mod openapi;
mod problem;
mod purge;
mod rarely;
pub(crate) mod rekey;
mod reload;
pub(crate) mod replay;
mod seats;
pub(crate) mod sentence;
pub(crate) mod status;
mod stream;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::FromRef;
use axum::middleware;
use http::Method;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use self::audit::audit_later;
use self::auth::{Gate, Guard};
use self::board::Board;
pub use self::certificate::Certificate;
use self::console::Console;
pub use self::destinations::{Probe, ProbeRequest};
pub use self::door::Door;
#[cfg(any(test, fuzzing))]
pub(crate) use self::inputs::read_every_query;
use self::limits::Limits;
use self::liveness::Liveness;
use self::openapi::{Operation, ask};
use self::problem::{Code, Problem};
pub use self::reload::ReloadRequest;
use self::replay::Replays;
use self::stream::Live;
use crate::clock::Clock;
use crate::config::secret::Secret;
use crate::spool::Spool;
use crate::telemetry::LogLevels;
use crate::telemetry::metrics::Metrics;

/// Holds what the port shows and moves.
pub struct Handles {
    /// Tells the time.
    pub clock: Clock,
    /// The running spool.
    pub spool: Spool,
    /// What the sockets and lanes say of themselves; replaced as a whole by a reload.
    pub board: Arc<ArcSwap<Board>>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Whether the loops turn.
    pub liveness: Liveness,
    /// The replays that are under way.
    pub(crate) replays: Replays,
    /// Where a request to read the configuration again goes.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// Where a request to ask a handler goes.
    pub probes: mpsc::Sender<ProbeRequest>,
    /// When the process started.
    pub started_at: Timestamp,
    /// The bearer token that requests must show; `None` only on loopback.
    pub token: Option<Secret>,
    /// The bearer token of those who may only look.
    pub viewer_token: Option<Secret>,
    /// What the port shows of itself when it speaks TLS.
    pub certificate: Option<Arc<Certificate>>,
    /// How much is logged; `None` where nothing is.
    pub levels: Option<LogLevels>,
}

/// Answers requests until the token is cancelled, then lets those under way end.
pub async fn serve(door: Door, handles: Handles, token: CancellationToken) {
    let metrics = Arc::clone(&handles.metrics);
    metrics.process_start_time.set(handles.started_at.as_millisecond() as f64 / 1000.0);
    let guard = match (handles.token.clone(), &handles.certificate) {
        _ if door.is_guarded_by_file_mode() => Guard::Nothing,
        (Some(token), _) => Guard::Token(token, handles.viewer_token.clone()),
        (None, Some(certificate)) => Guard::CertifiedHost(Arc::clone(certificate)),
        (None, None) => Guard::LoopbackHost,
    };
    let gate = Gate::new(guard.clone(), Arc::clone(&metrics));
    let certificate = handles.certificate.clone();
    let limits = Limits::new(Arc::clone(&metrics), token.clone());
    let handles = Arc::new(handles);
    let live = Live::new(Arc::clone(&handles), token.clone());
    let port = Port { handles, live: Arc::clone(&live), guard };
    let routes = openapi::router(operations()).with_state(port).merge(console::routes(Console::default()));
    let router = layered(routes, gate, limits);
    let looked_after = certificate.clone();
    let looking_after = async {
        if let Some(certificate) = looked_after {
            certificate.watch(&token).await;
        }
    };
    let serving = listener::serve(door, certificate, router, metrics, token.clone());
    tokio::join!(serving, looking_after, live.sample());
}

/// Is what handlers are made of: each takes the part that it needs.
#[derive(Clone)]
struct Port {
    handles: Arc<Handles>,
    live: Arc<Live>,
    guard: Guard,
}

impl FromRef<Port> for Arc<Handles> {
    fn from_ref(port: &Port) -> Self {
        Arc::clone(&port.handles)
    }
}

impl FromRef<Port> for Arc<Live> {
    fn from_ref(port: &Port) -> Self {
        Arc::clone(&port.live)
    }
}

impl FromRef<Port> for Guard {
    fn from_ref(port: &Port) -> Self {
        port.guard.clone()
    }
}

/// Returns all that can be asked but the console: both the router and the OpenAPI document are made of it. What a
/// handler's arguments are refused for goes without saying, and so does what the layers refuse.
fn operations() -> Vec<Operation> {
    use Code::{
        ConfigurationRefused, DestinationConfigured, GapAcknowledged, GapOpen, NotConfirmed, NotFound, OtherKey,
        SpoolUnavailable, Stopping, TooManyStreams, UnknownDestination,
    };
    vec![
        ask(Method::GET, "/livez", health::livez, "livez", "Whether the loops turn"),
        ask(Method::GET, "/readyz", health::readyz, "readyz", "Whether events can arrive and be stored"),
        ask(Method::GET, "/metrics", metrics::show, "metrics", "Every metric, in the OpenMetrics format"),
        ask(Method::GET, "/api/v1/status", status::show, "status", "Is anything being lost, and what do I do?"),
        ask(
            Method::GET,
            "/api/v1/subscriptions",
            status::subscriptions,
            "subscriptions",
            "How each subscription is doing",
        ),
        ask(Method::GET, "/api/v1/destinations", destinations::list, "destinations", "How each destination is doing"),
        ask(
            Method::GET,
            "/api/v1/destinations/{name}",
            destinations::show,
            "destination",
            "How one destination is doing",
        )
        .refuses(&[UnknownDestination]),
        ask(Method::GET, "/api/v1/events", events::list, "events", "What was received, newest first")
            .refuses(&[UnknownDestination, SpoolUnavailable]),
        ask(
            Method::GET,
            "/api/v1/events/{id}",
            events::show,
            "event",
            "One event with deliveries, failed attempts and its body",
        )
        .refuses(&[NotFound, SpoolUnavailable]),
        ask(
            Method::POST,
            "/api/v1/events/replay",
            replay::events,
            "replay_events",
            "Delivers events again, or to somebody new",
        )
        .refuses(&[UnknownDestination, NotConfirmed, SpoolUnavailable, Stopping]),
        ask(Method::GET, "/api/v1/dead", dead::list, "dead", "What was given up, newest event first")
            .refuses(&[UnknownDestination, SpoolUnavailable]),
        ask(
            Method::GET,
            "/api/v1/dead/groups",
            dead::groups,
            "dead_groups",
            "What was given up, by destination and cause",
        )
        .refuses(&[UnknownDestination, SpoolUnavailable]),
        ask(Method::POST, "/api/v1/dead/replay", replay::dead, "replay_dead", "Makes dead letters due again")
            .refuses(&[UnknownDestination, NotConfirmed, SpoolUnavailable, Stopping]),
        ask(Method::GET, "/api/v1/replays/{id}", replay::show, "replay", "How far a replay has come that takes longer")
            .refuses(&[NotFound, SpoolUnavailable, Stopping]),
        ask(
            Method::POST,
            "/api/v1/dead/purge",
            purge::dead,
            "purge_dead",
            "Deletes dead letters for good, or counts them",
        )
        .refuses(&[UnknownDestination, SpoolUnavailable]),
        ask(
            Method::POST,
            "/api/v1/events/purge",
            purge::events,
            "purge_parked",
            "Deletes parked frames for good, or counts them",
        )
        .refuses(&[SpoolUnavailable]),
        ask(Method::GET, "/api/v1/orphans", purge::orphans, "orphans", "Destinations that are no longer configured")
            .refuses(&[SpoolUnavailable]),
        ask(
            Method::POST,
            "/api/v1/orphans/{name}/purge",
            purge::orphan,
            "purge_orphan",
            "Deletes what is kept for one, or counts it",
        )
        .refuses(&[UnknownDestination, DestinationConfigured, SpoolUnavailable]),
        ask(Method::POST, "/api/v1/destinations/{name}/pause", destinations::pause, "pause", "Holds deliveries back")
            .refuses(&[UnknownDestination, SpoolUnavailable]),
        ask(
            Method::POST,
            "/api/v1/destinations/{name}/resume",
            destinations::resume,
            "resume",
            "Lets deliveries go on",
        )
        .refuses(&[UnknownDestination, SpoolUnavailable]),
        ask(
            Method::POST,
            "/api/v1/destinations/{name}/probe",
            destinations::probe,
            "probe",
            "Sends the handler a URL validation",
        )
        .refuses(&[UnknownDestination, Stopping]),
        ask(Method::GET, "/api/v1/gaps", gaps::list, "gaps", "When no socket was live, newest first")
            .refuses(&[SpoolUnavailable]),
        ask(
            Method::POST,
            "/api/v1/gaps/{id}/acknowledge",
            gaps::acknowledge,
            "acknowledge_gap",
            "Notes what was done about a gap",
        )
        .refuses(&[NotFound, GapOpen, GapAcknowledged, SpoolUnavailable]),
        ask(
            Method::POST,
            "/api/v1/spool/rekey",
            rekey::rekey,
            "rekey",
            "Brings what is kept to the key of the configuration",
        )
        .refuses(&[OtherKey, SpoolUnavailable]),
        ask(Method::GET, "/api/v1/audit", audit::list, "audit", "Who changed what, newest first")
            .refuses(&[SpoolUnavailable]),
        ask(Method::GET, "/api/v1/whoami", caller::show, "whoami", "What the one who asks may do"),
        ask(Method::GET, "/api/v1/stream", stream::listen, "stream", "The status about every second")
            .refuses(&[TooManyStreams]),
        ask(Method::GET, "/api/v1/history", stream::history, "history", "The last day, minute by minute"),
        ask(Method::POST, "/api/v1/reload", reload::reload, "reload", "Reads the configuration again")
            .refuses(&[ConfigurationRefused, Stopping]),
        ask(Method::GET, "/api/v1/log", log::show, "log_level", "How much is logged").refuses(&[NotFound]),
        ask(Method::PUT, "/api/v1/log", log::set, "set_log_level", "Changes how much is logged until the next start")
            .refuses(&[NotFound]),
        ask(Method::GET, "/api/v1/openapi.json", openapi::show, "openapi", "This document"),
    ]
}

/// Puts the layers around the routes; the last one is the first that a request meets.
fn layered(routes: Router, gate: Gate, limits: Limits) -> Router {
    routes
        .route_layer(middleware::from_fn_with_state(gate.clone(), auth::only_json))
        .fallback(async || Problem::NotFound("no such path".to_owned()))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(limits, limits::bound))
        .layer(middleware::from_fn_with_state(gate, auth::admit))
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(middleware::map_response(headers::add))
}

#[cfg(test)]
mod tests;
