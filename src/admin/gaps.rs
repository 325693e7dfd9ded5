//! When no socket was live.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Handles;
use super::document::Gaps;
use super::input::{Params, limit};
use super::problem::Problem;

/// Says how many gaps are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GapParams {
    limit: Option<usize>,
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
