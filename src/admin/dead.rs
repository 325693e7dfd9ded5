//! What was given up, one by one and in groups.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Handles;
use super::document::{self, Dead, DeadGroups, PAGE_MOST};
use super::input::{Params, before, interval, limit, parse};
use super::problem::Problem;
use crate::schema::{EVENT_PATTERN, MomentOrAge, ROW_MOST};
use crate::spool::record::{DeadQuery, GroupCursor};

/// Chooses dead letters, as the query says it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadParams {
    /// Only types that fit this pattern: a name, one that ends with a star, or `*`.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = EVENT_PATTERN))]
    kind: Option<String>,
    /// Only of this destination.
    destination: Option<String>,
    /// Only those given up for this reason.
    cause: Option<String>,
    /// Only events received at this time or later, or at most so long ago.
    #[schemars(with = "Option<MomentOrAge>")]
    since: Option<String>,
    /// Only events received before this time, or longer ago.
    #[schemars(with = "Option<MomentOrAge>")]
    until: Option<String>,
    /// Only what is older than this event: the cursor of a page, which the one before has as `next`.
    #[schemars(range(max = ROW_MOST))]
    before: Option<u64>,
    /// At most so many.
    #[schemars(range(min = 1, max = PAGE_MOST))]
    limit: Option<usize>,
}

/// Chooses groups of dead letters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupParams {
    /// Only types that fit this pattern: a name, one that ends with a star, or `*`.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = EVENT_PATTERN))]
    kind: Option<String>,
    /// Only of this destination.
    destination: Option<String>,
    /// Only those given up for this reason.
    cause: Option<String>,
    /// Only events received at this time or later, or at most so long ago.
    #[schemars(with = "Option<MomentOrAge>")]
    since: Option<String>,
    /// Only events received before this time, or longer ago.
    #[schemars(with = "Option<MomentOrAge>")]
    until: Option<String>,
    /// Only what comes after this place: the cursor of a part, which the one before has as `next`.
    after: Option<String>,
}

impl DeadParams {
    pub(super) fn query(self, now: Timestamp) -> Result<DeadQuery, Problem> {
        let (since, until) = interval(self.since.as_deref(), self.until.as_deref(), now)?;
        Ok(DeadQuery {
            events: Vec::new(),
            kind: parse("type", self.kind.as_deref())?,
            destination: self.destination,
            cause: self.cause,
            since,
            until,
            before: before(self.before)?,
            limit: limit(self.limit)?,
        })
    }
}

impl GroupParams {
    pub(super) fn after(&self) -> Result<Option<GroupCursor>, Problem> {
        parse("after", self.after.as_deref())
    }

    pub(super) fn query(self, now: Timestamp) -> Result<DeadQuery, Problem> {
        let Self { kind, destination, cause, since, until, after: _ } = self;
        DeadParams { kind, destination, cause, since, until, before: None, limit: None }.query(now)
    }
}

/// Lists dead letters, newest event first.
pub(super) async fn list(
    State(handles): State<Arc<Handles>>,
    Params(params): Params<DeadParams>,
) -> Result<Json<Dead>, Problem> {
    let query = params.query(handles.clock.now())?;
    let page = handles.spool.search(move |view| Ok(document::dead(view, &query))).await??;
    Ok(Json(page))
}

/// Groups dead letters by destination and cause, the largest group first.
pub(super) async fn groups(
    State(handles): State<Arc<Handles>>,
    Params(params): Params<GroupParams>,
) -> Result<Json<DeadGroups>, Problem> {
    let after = params.after()?;
    let query = params.query(handles.clock.now())?;
    let groups = handles.spool.search(move |view| Ok(document::dead_groups(view, &query, after.as_ref()))).await??;
    Ok(Json(groups))
}
