//! What was given up, one by one and in groups.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;

use super::Handles;
use super::document::{self, Dead, DeadGroups};
use super::input::{Params, limit, moment, parse};
use super::problem::Problem;
use crate::event::EventId;
use crate::spool::record::{DeadQuery, GroupCursor};

/// Chooses dead letters, as the query says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadParams {
    #[serde(rename = "type")]
    kind: Option<String>,
    destination: Option<String>,
    cause: Option<String>,
    since: Option<String>,
    until: Option<String>,
    before: Option<u64>,
    limit: Option<usize>,
}

/// Chooses groups of dead letters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupParams {
    #[serde(rename = "type")]
    kind: Option<String>,
    destination: Option<String>,
    cause: Option<String>,
    since: Option<String>,
    until: Option<String>,
    after: Option<String>,
}

impl DeadParams {
    pub(super) fn query(self, now: Timestamp) -> Result<DeadQuery, Problem> {
        Ok(DeadQuery {
            events: Vec::new(),
            kind: parse("type", self.kind.as_deref())?,
            destination: self.destination,
            cause: self.cause,
            since: moment("since", self.since.as_deref(), now)?,
            until: moment("until", self.until.as_deref(), now)?,
            before: self.before.map(EventId),
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
