//! Who changed what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use tracing::warn;

use super::Handles;
use super::document::{self, Audit};
use super::input::{Params, limit};
use super::problem::Problem;
use crate::spool::Spool;

/// Chooses a page, as the query says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditParams {
    before: Option<i64>,
    pub(super) limit: Option<usize>,
}

/// Lists changes that operators made, newest first.
pub(super) async fn list(
    State(handles): State<Arc<Handles>>,
    Params(params): Params<AuditParams>,
) -> Result<Json<Audit>, Problem> {
    let (before, limit) = (params.before, limit(params.limit)?);
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
