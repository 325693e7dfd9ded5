//! What was received, and where it stands.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Handles;
use super::caller::{Caller, Role};
use super::document::{self, EventDocument, Events, PAGE_MOST};
use super::held::{self, Running};
use super::input::{Id, Params, before, interval, limit, parse};
use super::problem::Problem;
use crate::event::EventId;
use crate::schema::{EVENT_PATTERN, MomentOrAge, ROW_MOST};
use crate::spool::record::{DeliveryState, EventQuery, Text, Within};

/// Chooses events, as the query says it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventParams {
    /// Only types that fit this pattern: a name, one that ends with a star, or `*`.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = EVENT_PATTERN))]
    kind: Option<String>,
    /// Only events that this destination wants.
    destination: Option<String>,
    /// Only events that stand so with some destination, or with `destination` if that is given.
    #[schemars(with = "Option<DeliveryState>")]
    state: Option<String>,
    /// Only events received at this time or later, or at most so long ago.
    #[schemars(with = "Option<MomentOrAge>")]
    since: Option<String>,
    /// Only events received before this time, or longer ago.
    #[schemars(with = "Option<MomentOrAge>")]
    until: Option<String>,
    /// Only frames that are kept but cannot be delivered.
    #[serde(default)]
    parked: bool,
    /// Only events in whose topic and ids every one of these words is found; a viewer's are looked for in type and numbers.
    q: Option<String>,
    /// Only what is older than this event: the cursor of a page, which the one before has as `next`.
    #[schemars(range(max = ROW_MOST))]
    before: Option<u64>,
    /// At most so many.
    #[schemars(range(min = 1, max = PAGE_MOST))]
    limit: Option<usize>,
}

impl EventParams {
    pub(super) fn query(self, now: Timestamp, role: Role) -> Result<EventQuery, Problem> {
        let (since, until) = interval(self.since.as_deref(), self.until.as_deref(), now)?;
        // What a viewer must not see, a viewer must not guess word by word.
        let within = match role {
            Role::Operator => Within::Body,
            Role::Viewer => Within::Row,
        };
        let words = parse("q", self.q.as_deref())?;
        Ok(EventQuery {
            kind: parse("type", self.kind.as_deref())?,
            state: parse("state", self.state.as_deref())?,
            destination: self.destination,
            since,
            until,
            parked: self.parked,
            text: words.map(|words| Text { words, within }),
            before: before(self.before)?,
            limit: limit(self.limit)?,
        })
    }
}

/// Lists events, newest first.
pub(super) async fn list(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Params(params): Params<EventParams>,
) -> Result<Json<Events>, Problem> {
    let query = params.query(handles.clock.now(), caller.role)?;
    let page = handles.spool.search(move |view| Ok(document::events(view, &query))).await??;
    Ok(Json(match caller.role {
        Role::Operator => page,
        Role::Viewer => page.without_payload(),
    }))
}

/// Shows one event, with its payload to those who may see it.
pub(super) async fn show(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<EventDocument>, Problem> {
    let id = EventId(id.unsigned_abs());
    let (detail, destinations) = handles.spool.read(move |view| Ok((view.event(id)?, view.destinations()?))).await?;
    let detail =
        detail.ok_or_else(|| Problem::NotFound(format!("no event {id}: none had this id, or it was purged")))?;
    let lanes = handles.board.load().destinations();
    let held = held::deliveries(&detail.row.deliveries, &destinations, Running::Here(&lanes), handles.clock.now());
    let document = document::event(detail, held);
    Ok(Json(match caller.role {
        Role::Operator => document,
        Role::Viewer => document.without_payload(),
    }))
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;

    use super::*;
    use crate::config::filter::Pattern;

    #[test]
    fn every_parameter_reaches_the_query() {
        let query = read("type=meeting.*&destination=crm&state=dead&since=2h&until=2026-07-30T09:00:00Z&parked=true&q=Stand%20%C3%9C1&before=9&limit=5")
            .expect("a query");
        assert_eq!(query.kind, Some(Pattern::Prefix("meeting.".into())));
        assert_eq!(query.destination.as_deref(), Some("crm"));
        assert_eq!(query.state, Some(DeliveryState::Dead));
        assert_eq!(query.since, Some("2026-07-30T08:00:00Z".parse().expect("a time")));
        assert_eq!(query.until, Some("2026-07-30T09:00:00Z".parse().expect("a time")));
        assert!(query.parked);
        let text = query.text.expect("a text");
        assert_eq!((text.words.to_string().as_str(), text.within), ("Stand Ü1", Within::Body));
        assert_eq!(query.before, Some(EventId(9)));
        assert_eq!(query.limit, 5);
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        let cases = [
            ("type=a*b", "type: expected an event name"),
            ("state=lost", "state: expected `waiting`"),
            ("since=yesterday", "since: expected a time"),
            ("until=", "until: expected a time"),
            ("since=2026-07-30T12:00:00Z", "since: 12:00:00 UTC is still to come"),
            ("since=1h&until=2h", "until: 08:00:00 UTC is not after 09:00:00 UTC"),
            ("q=%20", "q: expected 1 to 200 characters"),
            ("limit=0", "limit: expected a number from 1 to 1000"),
            ("limit=1001", "limit: expected a number from 1 to 1000"),
        ];
        for (text, expected) in cases {
            let Err(Problem::BadQuery(detail)) = read(text) else { panic!("{text} was taken") };
            assert!(detail.starts_with(expected), "{text}: {detail}");
        }
    }

    #[test]
    fn viewer_searches_in_what_a_viewer_sees() {
        let query = read_as("q=budget", Role::Viewer).expect("a query");
        assert_eq!(query.text.expect("a text").within, Within::Row);
    }

    fn read(text: &str) -> Result<EventQuery, Problem> {
        read_as(text, Role::Operator)
    }

    fn read_as(text: &str, role: Role) -> Result<EventQuery, Problem> {
        let uri = format!("http://localhost/?{text}").parse().expect("a uri");
        let Query(params) = Query::<EventParams>::try_from_uri(&uri).expect("known parameters");
        params.query("2026-07-30T10:00:00Z".parse().expect("a time"), role)
    }
}
