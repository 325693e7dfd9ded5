//! The documents of replays: what is asked for, and what came of it.

use std::num::NonZeroU32;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ListError, check_destination, event_ids};
use crate::schema::{EVENT_PATTERN, Moment, MomentOrAge, ROW_MOST};
use crate::spool::View;
use crate::spool::replay::{Counts, Progress, Request, Scope, Selection, Stage};
use crate::wording::{check_interval, parse_moment};

/// More deliveries than this are replayed only on confirmation: a slip of the pen must not flood a handler.
pub(crate) const UNCONFIRMED_MOST: u64 = 100;

/// Says what is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Dead letters.
    Dead,
    /// Events, whatever became of them.
    Events,
}

impl Of {
    /// Returns the path that takes the request.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Dead => "/api/v1/dead/replay",
            Self::Events => "/api/v1/events/replay",
        }
    }

    /// Names one of what is made due again.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Dead => "dead letter",
            Self::Events => "delivery",
        }
    }
}

/// Asks for a replay; all that is named must fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ReplayRequest {
    /// Only these events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(max = ROW_MOST)))]
    pub(crate) events: Vec<u64>,
    /// Only deliveries to this destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination: Option<String>,
    /// To this destination, even what it never had; events alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// Only types that fit this pattern.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = EVENT_PATTERN))]
    pub(crate) kind: Option<String>,
    /// Only events received at this time or later, or at most so long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MomentOrAge>")]
    pub(crate) since: Option<String>,
    /// Only events received before this time, or longer ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MomentOrAge>")]
    pub(crate) until: Option<String>,
    /// Only what was given up for this reason; dead letters alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// Everything; needed when nothing else is named, and goes with nothing else but `to`.
    pub(crate) all: bool,
    /// How many deliveries a second to each destination; as fast as it goes when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u32::MAX))]
    pub(crate) rate: Option<NonZeroU32>,
    /// Only count.
    pub(crate) dry_run: bool,
    /// Replay even if that is more than a hundred deliveries.
    pub(crate) confirmed: bool,
}

/// Says what a replay did so far, or would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Replayed {
    /// Its number while it is not complete, to ask how far it has come.
    pub(crate) id: Option<u64>,
    /// Deliveries that were made due again, or would be.
    pub(crate) count: u64,
    /// Deliveries that fit and are still on their way: they stay as they are.
    pub(crate) skipped: u64,
    /// Events that the destination never had and does not want, or that cannot be delivered.
    pub(crate) unwanted: u64,
    /// When the last of them is due.
    #[schemars(with = "Option<Moment>")]
    pub(crate) last_due_at: Option<Timestamp>,
    /// Whether it is complete.
    pub(crate) done: bool,
    /// Nothing was changed.
    pub(crate) dry_run: bool,
}

impl ReplayRequest {
    /// Turns the request into one that the spool understands.
    ///
    /// # Errors
    /// When the choice is missing, contradicts itself, or holds a wrong value; in words.
    pub(crate) fn read(&self, of: Of, who: &str, now: Timestamp) -> Result<Request, String> {
        let Self { events, destination, to, kind, since, until, cause, all, rate, dry_run: _, confirmed: _ } = self;
        let texts = [destination, kind, since, until, cause];
        let is_chosen = !events.is_empty() || texts.iter().any(|text| text.is_some());
        match (is_chosen, all) {
            (false, false) => return Err("choose what to replay, or ask for all".to_owned()),
            (true, true) => return Err("ask for all, or choose what to replay, not both".to_owned()),
            (true, false) | (false, true) => {}
        }
        let boxed = |text: &Option<String>| text.as_deref().map(Box::from);
        let scope = match (of, to, cause) {
            (Of::Dead, Some(_), _) => return Err("to: dead letters go to their own destination".to_owned()),
            (Of::Events, _, Some(_)) => return Err("cause: only dead letters have one".to_owned()),
            (Of::Events, Some(_), None) if destination.is_some() => {
                return Err("name a destination, or say to which one, not both".to_owned());
            }
            (Of::Dead, None, cause) => Scope::Dead { destination: boxed(destination), cause: boxed(cause) },
            (Of::Events, None, None) => Scope::Had { destination: boxed(destination) },
            (Of::Events, Some(to), None) => Scope::To(to.as_str().into()),
        };
        let moment = |name: &str, text: &Option<String>| {
            let read = text.as_deref().map(|text| parse_moment(text, now)).transpose();
            read.map_err(|error| format!("{name}: {error}"))
        };
        let selection = Selection {
            scope,
            events: event_ids(events)?,
            kind: kind.as_deref().map(str::parse).transpose().map_err(|error| format!("type: {error}"))?,
            since: moment("since", since)?,
            until: moment("until", until)?,
        };
        check_interval(selection.since, selection.until, now)?;
        Ok(Request { selection, rate: *rate, who: who.into() })
    }
}

impl Replayed {
    /// Tells what would be done.
    pub(crate) fn survey(counts: Counts) -> Self {
        Self { done: true, dry_run: true, ..Self::so_far(&Progress { counts, ..Progress::default() }) }
    }

    /// Tells how far a replay has come.
    pub(crate) fn so_far(progress: &Progress) -> Self {
        let Progress { counts, last_due, stage } = progress;
        let Counts { replayed, skipped, unwanted } = *counts;
        let done = *stage == Stage::Done;
        Self { id: None, count: replayed, skipped, unwanted, last_due_at: *last_due, done, dry_run: false }
    }
}

/// Counts what a selection comes to; once it is more than `most`, that is all it tells.
///
/// # Errors
/// When the destination is not known, or the spool cannot be read.
pub(crate) fn survey(view: &mut dyn View, selection: &Selection, most: u64) -> Result<Counts, ListError> {
    check_destination(view, selection.scope.destination())?;
    Ok(view.survey(selection, most)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::document::tests::now;
    use crate::config::filter::Pattern;
    use crate::event::EventId;

    #[test]
    fn every_member_reaches_the_selection() {
        let text = r#"{"events":[1,2],"destination":"crm","type":"meeting.*","since":"2h","until":"2026-07-30T10:00:00Z","cause":"status 404","rate":50}"#;
        let request = read(Of::Dead, text).expect("a choice");
        assert_eq!(request.rate, NonZeroU32::new(50));
        let Selection { scope, events, kind, since, until } = request.selection;
        assert_eq!(scope, Scope::Dead { destination: Some("crm".into()), cause: Some("status 404".into()) });
        assert_eq!(events, [EventId(1), EventId(2)]);
        assert_eq!(kind, Some(Pattern::Prefix("meeting.".into())));
        assert_eq!(since.map(|at| at.to_string()).as_deref(), Some("2026-07-30T08:06:11Z"));
        assert_eq!(until.map(|at| at.to_string()).as_deref(), Some("2026-07-30T10:00:00Z"));
        let to = read(Of::Events, r#"{"to":"audit","all":true}"#).expect("a choice");
        assert_eq!(to.selection, Selection::all(Scope::To("audit".into())));
    }

    #[test]
    fn replay_needs_a_choice_that_does_not_contradict_itself() {
        let refused = [
            (Of::Dead, "{}"),
            (Of::Dead, r#"{"events":[]}"#),
            (Of::Dead, r#"{"events":[9223372036854775808]}"#),
            (Of::Dead, r#"{"all":true,"destination":"crm"}"#),
            (Of::Dead, r#"{"all":true,"to":"crm"}"#),
            (Of::Dead, r#"{"type":"a b"}"#),
            (Of::Events, r#"{"to":"crm"}"#),
            (Of::Events, r#"{"to":"crm","destination":"crm"}"#),
            (Of::Events, r#"{"cause":"timeout"}"#),
            (Of::Events, r#"{"since":"yesterday"}"#),
        ];
        for (of, text) in refused {
            assert!(read(of, text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<ReplayRequest>(r#"{"destinatoin":"crm","all":true}"#).is_err());
        assert!(serde_json::from_str::<ReplayRequest>(r#"{"all":true,"rate":0}"#).is_err());
    }

    fn read(of: Of, text: &str) -> Result<Request, String> {
        serde_json::from_str::<ReplayRequest>(text).expect("a request").read(of, "test", now())
    }
}
