//! Who asks: what they may do, and how they are named in the audit table.

use std::fmt;

use axum::Json;
use axum::extract::FromRequestParts;
use http::request::Parts;
use schemars::JsonSchema;
use serde::Serialize;

use super::door::Peer;
use super::problem::Problem;

/// Says what a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// Look at everything but payloads: bodies of events, and answers of handlers.
    Viewer,
    /// Look at everything, and change it.
    Operator,
}

/// Is who sent a request; handlers take it as an argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) role: Role,
    /// Where the request came from; not known where there is no connection.
    pub(super) peer: Option<Peer>,
}

/// Tells callers what they may do.
#[derive(Serialize, JsonSchema)]
pub(super) struct Identity {
    role: Role,
}

/// Answers who asks, so that a page offers nothing that would be refused.
pub(super) async fn show(caller: Caller) -> Json<Identity> {
    Json(Identity { role: caller.role })
}

/// Names the caller as the audit table does.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.role {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
        })?;
        self.peer.map_or(Ok(()), |peer| write!(f, " {peer}"))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Nobody gets past the gate without being told apart.
        parts.extensions.get().copied().ok_or(Problem::Internal)
    }
}
