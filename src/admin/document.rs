//! The documents of the API, and how they are read from a spool.
//!
//! The command line reads and prints the same ones, so that a script need not know whom it asked.
//! Lists come with a cursor: `next` is what to pass as `before` for the page that follows. A page may be short, or even
//! empty, while there is a `next`: only so much is looked at for one answer, and the list ends where there is none.

pub(crate) mod purge;
pub(crate) mod replay;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::held::{self, Held, Running};
use crate::event::EventId;
use crate::schema::ROW_MOST;
use crate::spool::record::{
    Acknowledged, AttemptRow, AuditRow, DeadGroup, DeadQuery, DeadRow, DestinationRow, Earlier, EventDetail,
    EventQuery, EventRow, GapNote, GapRow, GroupCursor, Groups, Page, Pause,
};
use crate::spool::{SpoolError, View};
use crate::wording::{list, meant};

/// Rows of a page that does not say how many it wants.
pub(crate) const PAGE: usize = 100;
/// The most rows of a page.
pub(crate) const PAGE_MOST: usize = 1000;
/// The longest note about a gap, in characters: a sentence or two, and the number of a ticket.
const NOTE: usize = 500;
/// One line that says something.
const ONE_LINE: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$";
/// Every row that there is: more than fit into a spool.
pub(crate) const ALL: usize = u32::MAX as usize;

/// Says why a list could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    /// The spool never had a destination of this name.
    #[error("no destination is called {name}: {hint}")]
    UnknownDestination {
        /// The name that was asked for.
        name: String,
        /// The one that was meant, or those that there are.
        hint: String,
    },
    /// The spool cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Is a page of events, newest first.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Events {
    /// The events.
    pub(crate) events: Vec<EventRow>,
    /// The cursor of the page that follows, if one does.
    pub(crate) next: Option<EventId>,
}

/// Is one event with all that is known of it.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EventDocument {
    /// The event and its deliveries.
    #[serde(flatten)]
    pub(crate) row: EventRow,
    /// The failed attempts that are kept, oldest first.
    pub(crate) attempts: Vec<AttemptRow>,
    /// What holds back those of the deliveries that wait for something else than their time.
    #[serde(default)]
    pub(crate) held: Vec<Held>,
    /// The body, when it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    /// The body in base 64, when it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_base64: Option<String>,
    /// True when body, digest and answers are left out, because whoever asks is a viewer.
    pub(crate) payload_hidden: bool,
}

impl Events {
    /// Leaves out what would prove a guess of a body.
    pub(crate) fn without_payload(self) -> Self {
        Self { events: self.events.into_iter().map(without_digest).collect(), ..self }
    }
}

impl EventDocument {
    /// Leaves out what came from Zoom and from handlers: the body with its digest, and the excerpts of answers.
    pub(crate) fn without_payload(self) -> Self {
        let hidden = |attempt: AttemptRow| AttemptRow { excerpt: Box::default(), ..attempt };
        let attempts = self.attempts.into_iter().map(hidden).collect();
        let row = without_digest(self.row);
        Self { row, attempts, body: None, body_base64: None, payload_hidden: true, ..self }
    }
}

fn without_digest(row: EventRow) -> EventRow {
    EventRow { digest: None, ..row }
}

/// Is a page of dead letters, newest event first.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Dead {
    /// The dead letters; those of one event are all on one page.
    pub(crate) dead: Vec<DeadRow>,
    /// The cursor of the page that follows, if one does.
    pub(crate) next: Option<EventId>,
}

/// Is the dead letters by destination and cause, the largest group first.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DeadGroups {
    /// The groups.
    pub(crate) groups: Vec<DeadGroup>,
    /// Where to go on, as `after`, if only a part was counted: a group may go on in the next one.
    pub(crate) next: Option<String>,
}

/// Is a list of gaps, newest first.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Gaps {
    /// The gaps.
    pub(crate) gaps: Vec<GapRow>,
}

/// Asks for a gap to be noted as dealt with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcknowledgeRequest {
    /// What was done about it: one line of text.
    #[schemars(length(min = 1, max = NOTE), regex(pattern = ONE_LINE))]
    pub(crate) note: String,
    /// Put it in the place of a note that is there already; without this, that one stays and the request is refused.
    #[serde(default)]
    pub(crate) replace: bool,
}

impl AcknowledgeRequest {
    /// Returns what is to be noted, without the space around it.
    ///
    /// # Errors
    /// When it is empty, too long, or not one line; in words.
    pub(crate) fn note(&self) -> Result<GapNote, String> {
        let note = self.note.trim();
        if note.is_empty() || note.chars().count() > NOTE || note.contains(char::is_control) {
            return Err(format!("note: expected one line of 1 to {NOTE} characters"));
        }
        Ok(GapNote { text: note.into(), earlier: if self.replace { Earlier::Goes } else { Earlier::Stays } })
    }
}

/// Says that a gap was noted as dealt with before, by whom and how, and what puts another note in its place.
pub(crate) fn noted_before(gap: i64, known: &Acknowledged) -> String {
    let Acknowledged { at, by, note } = known;
    format!(
        "gap {gap} is noted as dealt with already, at {at} by {by}: {note}; say replace (--replace, or \"replace\": true) to put \
         another note in its place, and the audit has both"
    )
}

/// Says that a gap was noted as dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AcknowledgedGap {
    /// Its number.
    pub(crate) gap: i64,
}

/// Is a page of changes that operators made, newest first.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Audit {
    /// The changes.
    pub(crate) audit: Vec<AuditRow>,
    /// The cursor of the page that follows, if one does.
    pub(crate) next: Option<i64>,
}

/// Says how a destination stands after a pause or a resume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Paused {
    /// Its name.
    pub(crate) destination: String,
    /// Whether its deliveries are held back.
    pub(crate) paused: bool,
    /// Events that wait for it.
    #[serde(default)]
    pub(crate) waiting: u64,
    /// What holds them back now, if anything does.
    #[serde(default)]
    pub(crate) held: Option<Held>,
}

impl Paused {
    /// Tells how one of these destinations stands.
    pub(crate) fn of(
        destination: String,
        pause: Pause,
        rows: &[DestinationRow],
        running: Running<'_>,
        now: Timestamp,
    ) -> Self {
        let row = rows.iter().find(|row| *row.name == *destination);
        let held = row.and_then(|row| held::destination(row, running, now));
        Self { waiting: row.map_or(0, |row| row.pending), paused: pause == Pause::On, held, destination }
    }
}

/// Says how much a bridge logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LogLevel {
    /// The levels in force.
    pub(crate) level: String,
    /// Those of the configuration, which the next start begins with.
    pub(crate) configured: String,
}

/// Checks the number of a row.
///
/// # Errors
/// When no row can have it; in words.
pub(crate) fn row_number(name: &str, number: u64) -> Result<u64, String> {
    if number > ROW_MOST {
        return Err(format!("{name}: expected a number from 0 to {ROW_MOST}"));
    }
    Ok(number)
}

/// Reads the ids of events.
///
/// # Errors
/// When no event can have one of them; in words.
pub(crate) fn event_ids(ids: &[u64]) -> Result<Vec<EventId>, String> {
    ids.iter().map(|id| row_number("events", *id).map(EventId)).collect()
}

/// Reads a page of events.
///
/// # Errors
/// When the destination is not known, or the spool cannot be read.
pub(crate) fn events(view: &mut dyn View, query: &EventQuery) -> Result<Events, ListError> {
    check_destination(view, query.destination.as_deref())?;
    let Page { rows: events, next } = view.search(query)?;
    Ok(Events { events, next })
}

/// Makes the document of one event.
pub(crate) fn event(detail: EventDetail, held: Vec<Held>) -> EventDocument {
    let EventDetail { row, attempts, body } = detail;
    let (body, body_base64) = match std::str::from_utf8(&body) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(&body))),
    };
    EventDocument { row, attempts, held, body, body_base64, payload_hidden: false }
}

/// Reads a page of dead letters.
///
/// # Errors
/// When the destination is not known, or the spool cannot be read.
pub(crate) fn dead(view: &mut dyn View, query: &DeadQuery) -> Result<Dead, ListError> {
    check_destination(view, query.destination.as_deref())?;
    let Page { rows: dead, next } = view.search_dead(query)?;
    Ok(Dead { dead, next })
}

/// Reads the groups of dead letters, the largest first.
///
/// # Errors
/// When the destination is not known, or the spool cannot be read.
pub(crate) fn dead_groups(
    view: &mut dyn View,
    query: &DeadQuery,
    after: Option<&GroupCursor>,
) -> Result<DeadGroups, ListError> {
    check_destination(view, query.destination.as_deref())?;
    let Groups { groups, next } = view.search_groups(query, after)?;
    Ok(DeadGroups { groups, next: next.map(|next| next.to_string()) })
}

/// Reads a page of the audit table.
///
/// # Errors
/// When the spool cannot be read.
pub(crate) fn audit(view: &mut dyn View, before: Option<i64>, limit: usize) -> Result<Audit, SpoolError> {
    let mut audit = view.audit(before, limit.saturating_add(1))?;
    let more = audit.len() > limit;
    audit.truncate(limit);
    let next = audit.last().filter(|_| more).map(|row| row.id);
    Ok(Audit { audit, next })
}

/// Refuses a destination that the spool never had: a slip of the pen must not look like good news.
///
/// # Errors
/// When the destination is not known, or the spool cannot be read.
pub(crate) fn check_destination(view: &mut dyn View, name: Option<&str>) -> Result<(), ListError> {
    let Some(name) = name else { return Ok(()) };
    let known = view.destination_names()?;
    if known.iter().any(|known| **known == *name) {
        return Ok(());
    }
    let hint = match meant(name, &known) {
        Some(meant) => format!("did you mean {meant}?"),
        None if known.is_empty() => "the spool knows none yet".to_owned(),
        None => format!("the spool knows {}", list(&known)),
    };
    Err(ListError::UnknownDestination { name: name.to_owned(), hint })
}

#[cfg(test)]
pub(crate) mod tests;
