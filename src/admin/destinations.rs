//! How destinations are doing; holding their deliveries back, letting them go on, and asking their handlers.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::oneshot;

use super::Handles;
use super::caller::Caller;
use super::document::{self, Paused};
use super::held::Running;
use super::input::{Named, Nothing};
use super::problem::Problem;
use super::status::{DestinationReport, current};
use crate::spool::record::Pause;

/// Asks for a handler to be asked.
#[derive(Debug)]
pub struct ProbeRequest {
    /// The destination's name.
    pub destination: String,
    /// Takes the answer; `None` when no such destination is configured.
    pub reply: oneshot::Sender<Option<Probe>>,
}

/// Is what became of asking a handler.
#[derive(Debug)]
pub struct Probe {
    /// How long it took.
    pub elapsed: Duration,
    /// What was wrong, in words, if anything was.
    pub outcome: Result<(), String>,
}

/// Is how every destination is doing.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Destinations {
    destinations: Vec<DestinationReport>,
}

/// Says what became of asking a handler.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Probed {
    destination: String,
    /// True when it is reachable and shares the secret token.
    ok: bool,
    /// The same in words.
    detail: String,
    elapsed_ms: u64,
}

/// Lists destinations: those that are configured, then those that left something behind.
pub(super) async fn list(State(handles): State<Arc<Handles>>) -> Json<Destinations> {
    Json(Destinations { destinations: current(&handles).await.destinations })
}

/// Shows one destination.
pub(super) async fn show(
    State(handles): State<Arc<Handles>>,
    Named(name): Named,
) -> Result<Json<DestinationReport>, Problem> {
    let destinations = current(&handles).await.destinations;
    let found = destinations.into_iter().find(|destination| *destination.name == *name);
    found.map(Json).ok_or_else(|| Problem::UnknownDestination(format!("no destination is called {name}")))
}

/// Sends the handler a URL validation: is it reachable, and does it share the secret token?
pub(super) async fn probe(
    State(handles): State<Arc<Handles>>,
    Named(name): Named,
    _: Nothing,
) -> Result<Json<Probed>, Problem> {
    let (reply, answer) = oneshot::channel();
    let request = ProbeRequest { destination: name.clone(), reply };
    handles.probes.send(request).await.map_err(|_| Problem::Stopping)?;
    let Some(Probe { elapsed, outcome }) = answer.await.map_err(|_| Problem::Stopping)? else {
        return Err(Problem::UnknownDestination(format!("no destination called {name} is configured")));
    };
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let ok = outcome.is_ok();
    let detail = outcome.err().unwrap_or_else(|| "the handler answered its url validation".to_owned());
    Ok(Json(Probed { destination: name, ok, detail, elapsed_ms }))
}

/// Holds deliveries back: events wait, the socket stays up.
pub(super) async fn pause(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Named(name): Named,
    _: Nothing,
) -> Result<Json<Paused>, Problem> {
    set(&handles, caller, name, Pause::On).await
}

/// Lets deliveries go on.
pub(super) async fn resume(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Named(name): Named,
    _: Nothing,
) -> Result<Json<Paused>, Problem> {
    set(&handles, caller, name, Pause::Off).await
}

async fn set(handles: &Handles, caller: Caller, name: String, pause: Pause) -> Result<Json<Paused>, Problem> {
    let known = name.clone();
    handles.spool.read(move |view| Ok(document::check_destination(view, Some(&known)))).await??;
    handles.spool.pause(&name, pause, &caller.to_string()).await?;
    let destinations = handles.spool.read(|view| view.destinations()).await?;
    let lanes = handles.board.load().destinations();
    Ok(Json(Paused::of(name, pause, &destinations, Running::Here(&lanes), handles.clock.now())))
}
