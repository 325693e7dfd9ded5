//! Holding a destination's deliveries back, and letting them go on.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use super::Handles;
use super::caller::Caller;
use super::document::{self, Paused};
use super::problem::Problem;
use crate::spool::record::Pause;

/// Holds deliveries back: events wait, the socket stays up.
pub(super) async fn pause(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Paused>, Problem> {
    set(&handles, caller, name, Pause::On).await
}

/// Lets deliveries go on.
pub(super) async fn resume(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Paused>, Problem> {
    set(&handles, caller, name, Pause::Off).await
}

async fn set(handles: &Handles, caller: Caller, name: String, pause: Pause) -> Result<Json<Paused>, Problem> {
    let known = name.clone();
    handles.spool.read(move |view| Ok(document::check_destination(view, Some(&known)))).await??;
    handles.spool.pause(&name, pause, &caller.to_string()).await?;
    Ok(Json(Paused { destination: name, paused: pause == Pause::On }))
}
