//! Reading the configuration again: all or nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::oneshot;

use super::Handles;
use super::caller::Caller;
use super::input::Nothing;
use super::problem::Problem;

/// Asks for the configuration to be read again.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Who asks, for the audit table.
    pub who: Box<str>,
    /// Takes the answer: a sentence that says what changed, or every problem of the new configuration.
    pub reply: oneshot::Sender<Result<String, Vec<String>>>,
}

/// Says what a reload changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Reloaded {
    summary: String,
}

/// Reads the configuration again and puts it in force, unless it has problems.
pub(super) async fn reload(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    _: Nothing,
) -> Result<Json<Reloaded>, Problem> {
    let (reply, answer) = oneshot::channel();
    handles
        .reload
        .send(ReloadRequest { who: caller.to_string().into(), reply })
        .await
        .map_err(|_| Problem::Stopping)?;
    let summary = answer.await.map_err(|_| Problem::Stopping)?.map_err(Problem::ConfigurationRefused)?;
    Ok(Json(Reloaded { summary }))
}
