//! How much is logged: what is in force, and another level until the next start.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use tracing::warn;

use super::Handles;
use super::audit::audit_later;
use super::caller::Caller;
use super::document::LogLevel;
use super::input::Body;
use super::problem::Problem;
use crate::config::levels::Levels;
use crate::telemetry::LogLevels;

/// Asks for another level.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogRequest {
    level: String,
}

/// Shows how much is logged.
pub(super) async fn show(State(handles): State<Arc<Handles>>) -> Result<Json<LogLevel>, Problem> {
    Ok(Json(document(switch(&handles)?)))
}

/// Logs at other levels from now on.
pub(super) async fn set(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Body(request): Body<LogRequest>,
) -> Result<Json<LogLevel>, Problem> {
    let levels = switch(&handles)?;
    let wanted: Levels = request.level.parse().map_err(|error| Problem::BadBody(format!("level: {error}")))?;
    let detail = format!("{} to {wanted}", levels.current());
    // Under the levels that go: whoever reads on must know what is missing from here.
    warn!(who = %caller, "the log level changes from {detail}");
    levels.set(wanted).map_err(|_| Problem::Internal)?;
    audit_later(&handles.spool, caller.to_string().into(), "log_level", detail);
    Ok(Json(document(levels)))
}

fn switch(handles: &Handles) -> Result<&LogLevels, Problem> {
    handles.levels.as_ref().ok_or_else(|| Problem::NotFound("this bridge writes no log".to_owned()))
}

fn document(levels: &LogLevels) -> LogLevel {
    LogLevel { level: levels.current().to_string(), configured: levels.configured().to_string() }
}
