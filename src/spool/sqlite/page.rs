//! What lanes and the writer read: pages of deliveries, and identities.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::sealed::{self, key_of};
use super::view::{request_id, timestamp};
use crate::event::{Digest, Event, EventId};
use crate::spool::SpoolError;
use crate::spool::record::DestinationId;
use crate::spool::seal::Keys;
use crate::spool::store::{Due, Identity, Most, Waiting};

/// Columns of an event with its body, for [`event`].
macro_rules! event_columns {
    () => {
        "d.event, e.request_id, e.subscription, e.kind, e.event_ts, e.received_at, b.body, b.key, e.digest"
    };
}

/// Finds the event of a delivery; one that is not there is noticed by what is null, and not passed over in silence.
macro_rules! with_event {
    () => {
        " FROM deliveries d LEFT JOIN events e ON e.id = d.event LEFT JOIN bodies b ON b.event = d.event
     WHERE d.destination = ?1 AND d.state < 2"
    };
}

// `state < 2` says nothing new, but the open index is considered only where its own condition stands in the query.
pub(super) const FRESH: &str = concat!(
    "SELECT ",
    event_columns!(),
    with_event!(),
    " AND d.state = 0 AND d.due = 0 AND d.event > ?2 AND d.event <= ?3
     ORDER BY d.event LIMIT ?4"
);
pub(super) const DUE: &str = concat!(
    "SELECT ",
    event_columns!(),
    ", d.attempts, d.since, d.replays, d.due, d.outcome IS NULL",
    with_event!(),
    " AND d.state = 1 AND d.due > ?2 AND d.due <= ?3
     ORDER BY d.due, d.event LIMIT ?4"
);
/// What was not attempted yet, or not since it was replayed, holds nothing back.
pub(super) const WAITING: &str = concat!(
    "SELECT ",
    event_columns!(),
    ", d.due",
    with_event!(),
    " AND d.state = 1 AND (d.due, d.event) > (?2, ?3)
       AND d.outcome IS NOT NULL
     ORDER BY d.due, d.event LIMIT ?4"
);
/// The row that is due last, and whether it was attempted since it was planned: one that was not is a replay's.
pub(super) const LAST_DUE: &str = "SELECT due, outcome IS NULL FROM deliveries
     WHERE destination = ?1 AND state < 2 AND state = 1 ORDER BY due DESC, event DESC LIMIT 1";
pub(super) const NEXT_DUE: &str = "SELECT event, due FROM deliveries
     WHERE destination = ?1 AND state < 2 AND state = 1 ORDER BY due, event LIMIT ?2";

pub(super) fn fresh(
    connection: &Connection,
    keys: &Keys,
    destination: DestinationId,
    (after, until): (EventId, EventId),
    most: Most,
) -> Result<Vec<Arc<Event>>, SpoolError> {
    let mut statement = connection.prepare_cached(FRESH)?;
    let mut rows = statement.query((destination.0, after.0, until.0, most.events))?;
    let mut page = Vec::new();
    let mut weight = 0;
    while let Some(row) = rows.next()? {
        let event = event(row, keys)?;
        weight += event.body.len();
        page.push(Arc::new(event));
        if weight >= most.bytes {
            break;
        }
    }
    Ok(page)
}

pub(super) fn due(
    connection: &Connection,
    keys: &Keys,
    destination: DestinationId,
    (after, until): (Timestamp, Timestamp),
    most: Most,
    except: &[EventId],
) -> Result<Vec<Due>, SpoolError> {
    let mut statement = connection.prepare_cached(DUE)?;
    let (after, until) = (after.as_millisecond(), until.as_millisecond());
    let mut rows = statement.query((destination.0, after, until, most.events + except.len()))?;
    let mut page = Vec::new();
    let mut weight = 0;
    while let Some(row) = rows.next()? {
        if except.contains(&EventId(row.get(0)?)) {
            continue;
        }
        let (attempts, since, replays) = (row.get(9)?, timestamp(row.get(10)?), row.get(11)?);
        let (due, is_planned) = (timestamp(row.get(12)?), row.get(13)?);
        let due = Due { event: Arc::new(event(row, keys)?), attempts, since, due, replays, is_planned };
        weight += due.event.body.len();
        page.push(due);
        if weight >= most.bytes || page.len() >= most.events {
            break;
        }
    }
    Ok(page)
}

pub(super) fn waiting(
    connection: &Connection,
    keys: &Keys,
    destination: DestinationId,
    (due, event_id): (Timestamp, EventId),
    limit: usize,
) -> Result<Vec<Waiting>, SpoolError> {
    let mut statement = connection.prepare_cached(WAITING)?;
    let rows = statement.query_map((destination.0, due.as_millisecond(), event_id.0, limit), |row| {
        Ok(Waiting { event: Arc::new(event(row, keys)?), due: timestamp(row.get(9)?) })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn next_due(
    connection: &Connection,
    destination: DestinationId,
    except: &[EventId],
) -> Result<Option<Timestamp>, SpoolError> {
    let mut statement = connection.prepare_cached(NEXT_DUE)?;
    let mut rows = statement.query((destination.0, except.len() + 1))?;
    while let Some(row) = rows.next()? {
        if !except.contains(&EventId(row.get(0)?)) {
            return Ok(Some(timestamp(row.get(1)?)));
        }
    }
    Ok(None)
}

/// Events in a row that are read on past for being received before a window, since a wrong clock may have dated them.
const MISDATED: usize = 1000;

pub(super) fn newest(connection: &Connection, limit: usize, since: Timestamp) -> Result<Vec<Identity>, SpoolError> {
    let mut before = 0;
    let identities = connection
        .prepare_cached(
            "SELECT id, digest, subscription, received_at, parked IS NOT NULL FROM events ORDER BY id DESC LIMIT ?1",
        )?
        .query_map([limit], identity_of)?
        // No index tells the times: what lies below is read for nothing, but for a few that a wrong clock may have dated.
        .take_while(|identity| {
            let is_before = identity.as_ref().is_ok_and(|identity| identity.received_at < since);
            before = if is_before { before + 1 } else { 0 };
            before <= MISDATED
        })
        .collect::<Result<_, _>>()?;
    Ok(identities)
}

pub(super) fn planned_until(
    connection: &Connection,
    destination: DestinationId,
) -> Result<Option<Timestamp>, SpoolError> {
    let last: Option<(i64, bool)> = connection
        .prepare_cached(LAST_DUE)?
        .query_row([destination.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(last.and_then(|(due, planned)| planned.then(|| timestamp(due))))
}

pub(super) fn identity(connection: &Connection, id: EventId) -> Result<Option<Identity>, SpoolError> {
    let identity = connection
        .prepare_cached("SELECT id, digest, subscription, received_at, parked IS NOT NULL FROM events WHERE id = ?1")?
        .query_row([id.0], identity_of)
        .optional()?;
    Ok(identity)
}

fn identity_of(row: &Row<'_>) -> rusqlite::Result<Identity> {
    Ok(Identity {
        id: EventId(row.get(0)?),
        digest: Digest(row.get(1)?),
        subscription: row.get(2)?,
        received_at: timestamp(row.get(3)?),
        parked: row.get(4)?,
    })
}

/// Reads an event; one whose body does not open comes without it, and says why.
fn event(row: &Row<'_>, keys: &Keys) -> rusqlite::Result<Event> {
    let id = EventId(row.get(0)?);
    let body = sealed::body(row.get(6)?, key_of(row, 7)?, id, Digest(row.get(8)?), keys);
    let unreadable = body.as_ref().err().map(|unreadable| unreadable.reason());
    Ok(Event {
        id,
        request_id: request_id(row, 1)?,
        subscription: row.get::<_, Arc<str>>(2)?,
        kind: row.get(3)?,
        event_ts: row.get(4)?,
        received_at: timestamp(row.get(5)?),
        body: Bytes::from(body.unwrap_or_default()),
        unreadable,
    })
}
