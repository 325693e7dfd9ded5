//! When no socket was live, and what was done about it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Handles;
use super::caller::Caller;
use super::document::{AcknowledgeRequest, AcknowledgedGap, Gaps, PAGE_MOST, noted_before};
use super::input::{Body, Id, Params, limit};
use super::problem::Problem;
use crate::spool::record::Acknowledgement;

/// Says how many gaps are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GapParams {
    /// At most so many.
    #[schemars(range(min = 1, max = PAGE_MOST))]
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
    Id(gap): Id,
    Body(request): Body<AcknowledgeRequest>,
) -> Result<Json<AcknowledgedGap>, Problem> {
    let note = request.note().map_err(Problem::BadBody)?;
    match handles.spool.acknowledge(gap, note, &caller.to_string()).await? {
        Acknowledgement::Noted => Ok(Json(AcknowledgedGap { gap })),
        Acknowledgement::Known(known) => Err(Problem::GapAcknowledged(noted_before(gap, &known))),
        Acknowledgement::StillOpen => Err(Problem::GapOpen),
        Acknowledgement::NoSuchGap => Err(Problem::NotFound(format!("no gap {gap}"))),
    }
}
