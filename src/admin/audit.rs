//! Who changed what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use tracing::warn;

use super::Handles;
use super::document::{self, Audit, PAGE_MOST};
use super::input::{Params, before, limit};
use super::problem::Problem;
use crate::schema::ROW_MOST;
use crate::spool::Spool;

/// Chooses a page, as the query says it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditParams {
    /// Only changes older than this one: the cursor of a page.
    #[schemars(range(max = ROW_MOST))]
    before: Option<u64>,
    /// At most so many.
    #[schemars(range(min = 1, max = PAGE_MOST))]
    pub(super) limit: Option<usize>,
}

/// Lists changes that operators made, newest first.
pub(super) async fn list(
    State(handles): State<Arc<Handles>>,
    Params(params): Params<AuditParams>,
) -> Result<Json<Audit>, Problem> {
    let (before, limit) = (before(params.before)?, limit(params.limit)?);
    let before = before.map(|id| id.0.cast_signed());
    let page = handles.spool.read(move |view| document::audit(view, before, limit)).await?;
    Ok(Json(page))
}

/// Adds a change to the table, without waiting for a disk that may be what the change is to mend.
pub(crate) fn audit_later(spool: &Spool, who: Box<str>, action: &'static str, detail: String) {
    let spool = spool.clone();
    tokio::spawn(async move {
        if let Err(error) = spool.audit(&who, action, &detail).await {
            warn!(%error, action, "a change is missing in the audit table");
        }
    });
}
