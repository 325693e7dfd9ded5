//! Bringing what the spool keeps to the key that is configured.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Handles;
use super::caller::Caller;
use super::document::row_number;
use super::input::Body;
use super::problem::Problem;
use crate::event::EventId;
use crate::schema::ROW_MOST;
use crate::spool::rekey::Rekeyed;

/// How long a request works before it answers how far it has come: less than any answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks for events to be brought to the key that is configured.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RekeyRequest {
    /// Only those behind this one: where an earlier answer has come to.
    #[serde(default)]
    #[schemars(range(max = ROW_MOST))]
    pub(crate) after: u64,
    /// Only if this key is in force, by its id in hexadecimal digits, or `none`: a bridge keeps the one that it was started
    /// with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
}

/// Works for a while, and answers how far it has come.
pub(super) async fn rekey(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Body(request): Body<RekeyRequest>,
) -> Result<Json<Rekeyed>, Problem> {
    let in_force = handles.spool.key_in_force();
    if request.to.is_some_and(|to| to != in_force) {
        return Err(Problem::OtherKey(other_key(&in_force)));
    }
    let after = row_number("after", request.after).map(EventId).map_err(Problem::BadBody)?;
    Ok(Json(handles.spool.rekey(&caller.to_string(), after, PATIENCE).await?))
}

fn other_key(in_force: &str) -> String {
    let key = if in_force == "none" { "no key".to_owned() } else { format!("key {in_force}") };
    format!(
        "nothing was done: the bridge has {key} in force, and the configuration another, for one takes effect at a start; \
         restart the bridge, and ask again before any key goes"
    )
}
