//! What was given up, and how it is tried again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tracing::info;

use super::Handles;
use super::caller::Caller;
use super::document::{self, Dead, ReplayRequest, Replayed};
use super::input::{Body, Params, limit, parse};
use super::problem::Problem;
use crate::event::EventId;
use crate::spool::record::DeadQuery;

/// Chooses dead letters, as the query says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadParams {
    #[serde(rename = "type")]
    kind: Option<String>,
    destination: Option<String>,
    before: Option<u64>,
    limit: Option<usize>,
}

/// Lists dead letters, newest event first.
pub(super) async fn list(
    State(handles): State<Arc<Handles>>,
    Params(params): Params<DeadParams>,
) -> Result<Json<Dead>, Problem> {
    let query = DeadQuery {
        events: Vec::new(),
        kind: parse("type", params.kind.as_deref())?,
        destination: params.destination,
        before: params.before.map(EventId),
        limit: limit(params.limit)?,
    };
    let page = handles.spool.search(move |view| Ok(document::dead(view, &query))).await??;
    Ok(Json(page))
}

/// Makes dead letters due again, or counts those that it would.
pub(super) async fn replay(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Body(request): Body<ReplayRequest>,
) -> Result<Json<Replayed>, Problem> {
    let query = request.query().map_err(Problem::BadBody)?;
    if request.dry_run {
        let count = handles.spool.search(move |view| Ok(document::count_dead(view, &query))).await??;
        return Ok(Json(Replayed { count, dry_run: true }));
    }
    let destination = query.destination.clone();
    handles.spool.read(move |view| Ok(document::check_destination(view, destination.as_deref()))).await??;
    let count = handles.spool.replay_dead(query, &caller.to_string()).await?;
    info!(count, "dead letters were made due again");
    Ok(Json(Replayed { count, dry_run: false }))
}
