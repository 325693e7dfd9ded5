//! Bringing what the spool keeps to the key that is configured.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::Handles;
use super::caller::Caller;
use super::input::Body;
use super::problem::Problem;
use crate::event::EventId;
use crate::spool::rekey::Rekeyed;

/// How long a request works before it answers how far it has come: less than any answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks for events to be brought to the key that is configured.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RekeyRequest {
    /// Only those behind this one: where an earlier answer has come to.
    #[serde(default)]
    pub(crate) after: u64,
}

/// Works for a while, and answers how far it has come.
pub(super) async fn rekey(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Body(request): Body<RekeyRequest>,
) -> Result<Json<Rekeyed>, Problem> {
    Ok(Json(handles.spool.rekey(&caller.to_string(), EventId(request.after), PATIENCE).await?))
}
