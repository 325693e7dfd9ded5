//! Reading the configuration again: all or nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::sync::oneshot;
use tracing::warn;

use super::Handles;
use super::caller::Caller;
use super::problem::Problem;
use crate::spool::Spool;

/// Asks for the configuration to be read again.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Takes the answer: a sentence that says what changed, or every problem of the new configuration.
    pub reply: oneshot::Sender<Result<String, Vec<String>>>,
}

/// Says what a reload changed.
#[derive(Debug, Serialize)]
pub(super) struct Reloaded {
    summary: String,
}

/// Reads the configuration again and puts it in force, unless it has problems.
pub(super) async fn reload(State(handles): State<Arc<Handles>>, caller: Caller) -> Result<Json<Reloaded>, Problem> {
    let (reply, answer) = oneshot::channel();
    handles.reload.send(ReloadRequest { reply }).await.map_err(|_| Problem::Stopping)?;
    let summary = answer.await.map_err(|_| Problem::Stopping)?.map_err(Problem::ConfigurationRefused)?;
    note(&handles.spool, caller, &summary);
    Ok(Json(Reloaded { summary }))
}

/// Adds the reload to the audit table, without waiting for a disk that may be what the reload is to mend.
fn note(spool: &Spool, caller: Caller, summary: &str) {
    let (spool, summary) = (spool.clone(), summary.to_owned());
    tokio::spawn(async move {
        if let Err(error) = spool.audit(&caller.to_string(), "reload", &summary).await {
            warn!(%error, "a reload is missing in the audit table");
        }
    });
}
