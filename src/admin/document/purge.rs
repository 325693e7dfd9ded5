//! The documents of what is deleted for good: dead letters, parked frames, and what waits for a destination that is
//! no longer configured.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ALL, ListError, PAGE_MOST, check_destination, dead, event_ids, events};
use crate::schema::{EVENT_PATTERN, MomentOrAge, ROW_MOST};
use crate::spool::erasure::{Erased, Erasure};
use crate::spool::record::{DeadQuery, DestinationRow, EventQuery};
use crate::spool::{SpoolError, View};
use crate::wording::parse_moment;

/// Asks for parked frames to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ParkedRequest {
    /// Says that parked frames are meant; nothing else of events can be deleted.
    pub(crate) parked: bool,
    /// Only those received before this time; an age such as `2h` will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MomentOrAge>")]
    pub(crate) until: Option<String>,
    /// Only count.
    pub(crate) dry_run: bool,
}

impl ParkedRequest {
    /// Turns the request into what the spool understands.
    ///
    /// # Errors
    /// When it does not say what is meant; in words.
    pub(crate) fn erasure(&self, now: Timestamp) -> Result<Erasure, String> {
        if !self.parked {
            return Err("say `\"parked\": true`: only parked frames can be purged".to_owned());
        }
        let until = self.until.as_deref().map(|text| parse_moment(text, now)).transpose();
        Ok(Erasure::Parked { until: until.map_err(|error| format!("until: {error}"))?.unwrap_or(now) })
    }
}

/// Asks for dead letters to be deleted; all that is named must fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DeadRequest {
    /// Only these events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(max = ROW_MOST)))]
    pub(crate) events: Vec<u64>,
    /// Only of this destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination: Option<String>,
    /// Only those given up for this reason, as the list of them shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// Only types that fit this pattern.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = EVENT_PATTERN))]
    pub(crate) kind: Option<String>,
    /// Every dead letter; needed when nothing else is named, and goes with nothing else.
    pub(crate) all: bool,
    /// Only count.
    pub(crate) dry_run: bool,
}

impl DeadRequest {
    /// Turns the request into the choice that the spool understands.
    ///
    /// # Errors
    /// When the choice is missing, contradicts itself, or holds no pattern; in words.
    pub(crate) fn query(&self) -> Result<DeadQuery, String> {
        let Self { events, destination, cause, kind, all, dry_run: _ } = self;
        let chosen = !events.is_empty() || destination.is_some() || cause.is_some() || kind.is_some();
        match (chosen, all) {
            (false, false) => return Err("choose events, a destination, a cause or a type, or ask for all".to_owned()),
            (true, true) => {
                return Err("ask for all, or choose events, a destination, a cause or a type, not both".to_owned());
            }
            (true, false) | (false, true) => {}
        }
        let kind = kind.as_deref().map(str::parse).transpose().map_err(|error| format!("type: {error}"))?;
        let (destination, cause) = (destination.clone(), cause.clone());
        Ok(DeadQuery { events: event_ids(events)?, destination, cause, kind, limit: ALL, ..DeadQuery::default() })
    }
}

/// Asks for everything to be deleted that is kept for a destination that is no longer configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OrphanRequest {
    /// Only count.
    pub(crate) dry_run: bool,
}

/// Says what was deleted, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Purged {
    /// How much of what.
    #[serde(flatten)]
    pub(crate) erased: Erased,
    /// False when the time of a request was not enough: asking again goes on.
    pub(crate) complete: bool,
    /// Nothing was changed.
    pub(crate) dry_run: bool,
}

/// Is a list of destinations that are no longer configured.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Orphans {
    /// The destinations, with what is kept for them.
    pub(crate) orphans: Vec<DestinationRow>,
}

/// Reads them.
///
/// # Errors
/// When the spool cannot be read.
pub(crate) fn orphans(view: &mut dyn View) -> Result<Orphans, SpoolError> {
    let orphans = view.destinations()?.into_iter().filter(|row| row.orphaned_at.is_some()).collect();
    Ok(Orphans { orphans })
}

/// Counts what would be deleted.
///
/// # Errors
/// When a destination is not known, or is configured, or the spool cannot be read.
pub(crate) fn count(view: &mut dyn View, what: &Erasure) -> Result<Erased, ListError> {
    match what {
        Erasure::Dead(query) => Ok(Erased { dead: count_dead(view, query)?, ..Erased::default() }),
        Erasure::Parked { until } => Ok(Erased { parked: count_parked(view, *until)?, ..Erased::default() }),
        Erasure::Orphan { destination } => {
            check_destination(view, Some(destination))?;
            let mut rows = view.destinations()?.into_iter();
            match rows.find(|row| row.name == *destination) {
                Some(row) if row.orphaned_at.is_none() => Err(SpoolError::Configured(destination.to_string()).into()),
                Some(DestinationRow { id, pending, dead, .. }) => {
                    Ok(Erased { dead, pending, parked: 0, delivered: view.delivered(id)? })
                }
                None => Ok(Erased::default()),
            }
        }
        // Nobody is asked before.
        Erasure::Oldest => Ok(Erased::default()),
    }
}

fn count_dead(view: &mut dyn View, query: &DeadQuery) -> Result<u64, ListError> {
    let mut query = DeadQuery { limit: PAGE_MOST, ..query.clone() };
    let mut count = 0;
    loop {
        let page = dead(view, &query)?;
        count += page.dead.len() as u64;
        let Some(next) = page.next else { return Ok(count) };
        query.before = Some(next);
    }
}

fn count_parked(view: &mut dyn View, until: Timestamp) -> Result<u64, ListError> {
    let mut query = EventQuery { parked: true, until: Some(until), limit: PAGE_MOST, ..EventQuery::default() };
    let mut count = 0;
    loop {
        let page = events(view, &query)?;
        count += page.events.len() as u64;
        let Some(next) = page.next else { return Ok(count) };
        query.before = Some(next);
    }
}

/// Refuses what names a destination that the spool never had.
///
/// # Errors
/// When the destination is not known, or the spool cannot be read.
pub(crate) fn check(view: &mut dyn View, what: &Erasure) -> Result<(), ListError> {
    match what {
        Erasure::Dead(query) => check_destination(view, query.destination.as_deref()),
        Erasure::Orphan { destination } => check_destination(view, Some(destination)),
        Erasure::Parked { .. } | Erasure::Oldest => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FakeView, dead_row, destination_row, event_row, now};
    use super::*;
    use crate::config::filter::Pattern;
    use crate::event::EventId;

    #[test]
    fn only_parked_frames_of_all_events_can_be_purged() {
        let read = |text: &str| serde_json::from_str::<ParkedRequest>(text).expect("a request").erasure(now());
        assert!(read("{}").is_err() && read(r#"{"parked":true,"until":"soon"}"#).is_err());
        let Ok(Erasure::Parked { until }) = read(r#"{"parked":true,"until":"1h"}"#) else { panic!("a choice") };
        assert_eq!(now().duration_since(until).as_hours(), 1);
        let Ok(Erasure::Parked { until }) = read(r#"{"parked":true}"#) else { panic!("a choice") };
        assert_eq!(until, now(), "what comes later is not meant");
    }

    #[test]
    fn dead_letters_are_purged_by_a_choice_that_does_not_contradict_itself() {
        let read = |text: &str| serde_json::from_str::<DeadRequest>(text).map(|request| request.query());
        let choice =
            read(r#"{"events":[1,2],"destination":"crm","type":"meeting.*"}"#).expect("a request").expect("a choice");
        assert_eq!(choice.events, [EventId(1), EventId(2)]);
        assert_eq!(choice.destination.as_deref(), Some("crm"));
        assert_eq!(choice.kind, Some(Pattern::Prefix("meeting.".into())));
        assert!(read(r#"{"all":true}"#).expect("a request").is_ok());
        for text in ["{}", r#"{"events":[]}"#, r#"{"all":true,"destination":"crm"}"#, r#"{"type":"a b"}"#] {
            assert!(read(text).expect("a request").is_err(), "{text}");
        }
        assert!(read(r#"{"destinatoin":"crm","all":true}"#).is_err());
    }

    #[test]
    fn count_covers_every_page() {
        let mut view = FakeView {
            destinations: vec![destination_row("crm")],
            dead: (1..=2500).rev().map(|id| dead_row(id, "crm")).collect(),
            ..FakeView::default()
        };
        let all = DeadRequest { all: true, ..DeadRequest::default() }.query().expect("a choice");
        assert_eq!(count_dead(&mut view, &all).expect("a count"), 2500);
        let some = DeadRequest { events: vec![3, 7, 9999], ..DeadRequest::default() }.query().expect("a choice");
        assert_eq!(count_dead(&mut view, &some).expect("a count"), 2);
    }

    #[test]
    fn dry_run_counts_what_would_go() {
        let orphan = DestinationRow { pending: 5, dead: 2, orphaned_at: Some(now()), ..destination_row("old") };
        let mut view = FakeView {
            destinations: vec![destination_row("crm"), orphan],
            dead: vec![dead_row(1, "crm")],
            events: vec![event_row(3)],
            ..FakeView::default()
        };
        let mut counted = |what| count(&mut view, &what).map_err(|error| error.to_string());
        let orphan = |name: &str| Erasure::Orphan { destination: name.into() };
        assert_eq!(counted(orphan("old")), Ok(Erased { dead: 2, pending: 5, parked: 0, delivered: 7 }));
        assert!(counted(orphan("crm")).expect_err("in use").contains("`crm` is configured"));
        assert!(counted(orphan("older")).expect_err("unknown").contains("no destination is called older"));
        assert_eq!(counted(Erasure::Dead(DeadQuery::default())).map(|erased| erased.dead), Ok(1));
        assert_eq!(counted(Erasure::Parked { until: now() }).map(|erased| erased.parked), Ok(1));
    }
}
