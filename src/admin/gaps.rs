//! When no socket was live, and what was done about it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::Handles;
use super::caller::Caller;
use super::document::{AcknowledgeRequest, AcknowledgedGap, Gaps};
use super::input::{Body, Params, limit};
use super::problem::Problem;
use crate::spool::record::Acknowledgement;

/// Says how many gaps are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GapParams {
    pub(super) limit: Option<usize>,
}

/// Lists gaps, newest first.
pub(super) async fn list(
    State(handles): State<Arc<Handles>>,
    Params(params): Params<GapParams>,
) -> Result<Json<Gaps>, Problem> {
    let limit = limit(params.limit)?;
    let gaps = handles.spool.read(move |view| view.gaps(limit)).await?;
    Ok(Json(Gaps { gaps }))
}

/// Notes that somebody has dealt with a gap; the status speaks of it no more.
pub(super) async fn acknowledge(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<AcknowledgeRequest>,
) -> Result<Json<AcknowledgedGap>, Problem> {
    let gap = id.parse().map_err(|_| Problem::BadQuery("the id of a gap is a number".to_owned()))?;
    let note = request.note().map_err(Problem::BadBody)?;
    match handles.spool.acknowledge(gap, note, &caller.to_string()).await? {
        Acknowledgement::Noted => Ok(Json(AcknowledgedGap { gap })),
        Acknowledgement::StillOpen => Err(Problem::GapOpen),
        Acknowledgement::NoSuchGap => Err(Problem::NotFound(format!("no gap {gap}"))),
    }
}
