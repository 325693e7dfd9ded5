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
mod history;
mod input;
#[cfg(any(test, fuzzing))]
mod inputs;
mod limits;
mod listener;
pub mod liveness;
mod log;
mod metrics;
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
use axum::middleware;
use axum::routing::{get, post};
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
use self::problem::Problem;
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
        (None, Some(_)) => Guard::Nothing,
        (None, None) => Guard::LoopbackHost,
    };
    let gate = Gate::new(guard, Arc::clone(&metrics));
    let certificate = handles.certificate.clone();
    let limits = Limits::new(Arc::clone(&metrics), token.clone());
    let handles = Arc::new(handles);
    let live = Live::new(Arc::clone(&handles), token.clone());
    let pages = stream::routes(Arc::clone(&live)).merge(console::routes(Console::default()));
    let router = layered(routes(handles).merge(pages), gate, limits);
    let looked_after = certificate.clone();
    let looking_after = async {
        if let Some(certificate) = looked_after {
            certificate.watch(&token).await;
        }
    };
    let serving = listener::serve(door, certificate, router, metrics, token.clone());
    tokio::join!(serving, looking_after, live.sample());
}

fn routes(handles: Arc<Handles>) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::show))
        .route("/api/v1/status", get(status::show))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/{id}", get(events::show))
        .route("/api/v1/dead", get(dead::list))
        .route("/api/v1/events/replay", post(replay::events))
        .route("/api/v1/dead/groups", get(dead::groups))
        .route("/api/v1/dead/replay", post(replay::dead))
        .route("/api/v1/replays/{id}", get(replay::show))
        .route("/api/v1/subscriptions", get(status::subscriptions))
        .route("/api/v1/destinations", get(destinations::list))
        .route("/api/v1/destinations/{name}", get(destinations::show))
        .route("/api/v1/destinations/{name}/probe", post(destinations::probe))
        .route("/api/v1/dead/purge", post(purge::dead))
        .route("/api/v1/events/purge", post(purge::events))
        .route("/api/v1/orphans", get(purge::orphans))
        .route("/api/v1/orphans/{name}/purge", post(purge::orphan))
        .route("/api/v1/destinations/{name}/pause", post(destinations::pause))
        .route("/api/v1/destinations/{name}/resume", post(destinations::resume))
        .route("/api/v1/gaps", get(gaps::list))
        .route("/api/v1/gaps/{id}/acknowledge", post(gaps::acknowledge))
        .route("/api/v1/spool/rekey", post(rekey::rekey))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/v1/reload", post(reload::reload))
        .route("/api/v1/log", get(log::show).put(log::set))
        .route("/api/v1/whoami", get(caller::show))
        .with_state(handles)
}

/// Puts the layers around the routes; the last one is the first that a request meets.
fn layered(routes: Router, gate: Gate, limits: Limits) -> Router {
    routes
        .fallback(async || Problem::NotFound("no such path".to_owned()))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(limits, limits::bound))
        .layer(middleware::from_fn_with_state(gate, auth::admit))
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(middleware::map_response(headers::add))
}

#[cfg(test)]
mod tests;
