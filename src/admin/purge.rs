//! Deleting for good: dead letters, parked frames, and what waits for destinations that are no longer configured.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tracing::warn;

use super::Handles;
use super::caller::Caller;
use super::document::purge::{self, DeadRequest, OrphanRequest, Orphans, ParkedRequest, Purged};
use super::input::{Body, Named};
use super::problem::Problem;
use crate::spool::erasure::Erasure;

/// How long a request deletes before it answers how far it has come: less than any answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lists destinations that are no longer configured.
pub(super) async fn orphans(State(handles): State<Arc<Handles>>) -> Result<Json<Orphans>, Problem> {
    Ok(Json(handles.spool.read(purge::orphans).await?))
}

/// Deletes dead letters, or counts those that it would.
pub(super) async fn dead(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Body(request): Body<DeadRequest>,
) -> Result<Json<Purged>, Problem> {
    let query = request.query().map_err(Problem::BadBody)?;
    purge(&handles, caller, Erasure::Dead(query), request.dry_run).await
}

/// Deletes parked frames, or counts those that it would.
pub(super) async fn events(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Body(request): Body<ParkedRequest>,
) -> Result<Json<Purged>, Problem> {
    let what = request.erasure(handles.clock.now()).map_err(Problem::BadBody)?;
    purge(&handles, caller, what, request.dry_run).await
}

/// Deletes what is kept for a destination that is no longer configured, or counts it.
pub(super) async fn orphan(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Named(name): Named,
    Body(request): Body<OrphanRequest>,
) -> Result<Json<Purged>, Problem> {
    let what = Erasure::Orphan { destination: name.as_str().into() };
    purge(&handles, caller, what, request.dry_run).await
}

async fn purge(handles: &Handles, caller: Caller, what: Erasure, dry_run: bool) -> Result<Json<Purged>, Problem> {
    if dry_run {
        let erased = handles.spool.read(move |view| Ok(purge::count(view, &what))).await??;
        return Ok(Json(Purged { erased, complete: true, dry_run }));
    }
    let what = handles.spool.read(move |view| Ok(purge::check(view, &what).map(|()| what))).await??;
    let told = what.to_string();
    let (erased, complete) = handles.spool.erase(what, &caller.to_string(), PATIENCE).await?;
    warn!(dead = erased.dead, pending = erased.pending, parked = erased.parked, "{erased} purged: {told}");
    Ok(Json(Purged { erased, complete, dry_run }))
}
