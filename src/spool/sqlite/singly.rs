//! Pages that are read event by event, where the file is damaged: what can be read goes out, and what cannot is known by
//! its number.
//!
//! Which events wait is told by the open index alone or, where that is damaged, by the table alone. Of each the rows are
//! then read one by one. One that cannot be read comes without its body, so that its lane gives it up and says so.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use uuid::Uuid;

use super::sealed::{self, key_of};
use super::view::{request_id, timestamp};
use crate::event::{Digest, Event, EventId, RequestId};
use crate::spool::SpoolError;
use crate::spool::record::DestinationId;
use crate::spool::seal::Keys;
use crate::spool::store::{Due, Most, Waiting};

/// Is the reason of the dead letter that comes of an event whose rows are damaged or missing.
pub(super) const DAMAGED: &str = "damaged in the spool";

/// Each in two ways: by the open index alone, and by the table alone, which `+` keeps it to.
type Ways = [&'static str; 2];

pub(super) const FRESH: Ways = [
    "SELECT event, 0 FROM deliveries INDEXED BY deliveries_open
     WHERE destination = ?1 AND state < 2 AND state = 0 AND due = 0 AND event > ?2 AND event <= ?3
     ORDER BY event LIMIT ?4",
    "SELECT event, 0 FROM deliveries WHERE destination = ?1 AND +state = 0 AND event > ?2 AND event <= ?3
     ORDER BY event LIMIT ?4",
];
pub(super) const DUE: Ways = [
    "SELECT event, due FROM deliveries INDEXED BY deliveries_open
     WHERE destination = ?1 AND state < 2 AND state = 1 AND due > ?2 AND due <= ?3 ORDER BY due, event LIMIT ?4",
    "SELECT event, due FROM deliveries WHERE destination = ?1 AND +state = 1 AND due > ?2 AND due <= ?3
     ORDER BY due, event LIMIT ?4",
];
pub(super) const WAITING: Ways = [
    "SELECT event, due FROM deliveries INDEXED BY deliveries_open
     WHERE destination = ?1 AND state < 2 AND state = 1 AND (due, event) > (?2, ?3) ORDER BY due, event LIMIT ?4",
    "SELECT event, due FROM deliveries WHERE destination = ?1 AND +state = 1 AND (due, event) > (?2, ?3)
     ORDER BY due, event LIMIT ?4",
];
pub(super) const LAST_DUE: Ways = [
    "SELECT event, due FROM deliveries INDEXED BY deliveries_open
     WHERE destination = ?1 AND state < 2 AND state = 1 ORDER BY due DESC, event DESC LIMIT 1",
    "SELECT event, due FROM deliveries WHERE destination = ?1 AND +state = 1 ORDER BY due DESC, event DESC LIMIT 1",
];
const EVENT: &str = "SELECT request_id, subscription, kind, event_ts, received_at, digest FROM events WHERE id = ?1";
const BODY: &str = "SELECT body, key FROM bodies WHERE event = ?1";
const DELIVERY: &str =
    "SELECT attempts, since, replays, outcome IS NULL FROM deliveries WHERE destination = ?1 AND event = ?2";

/// Reads for one destination.
pub(super) struct Singly<'a> {
    connection: &'a Connection,
    keys: &'a Keys,
    destination: DestinationId,
    /// Events that were read, and those that could not be, with what the engine said of the last.
    read: usize,
    unread: Vec<EventId>,
    error: Option<SpoolError>,
}

/// Is what the table says of a delivery.
struct Standing {
    attempts: u32,
    since: Timestamp,
    replays: u32,
    is_planned: bool,
}

impl<'a> Singly<'a> {
    pub(super) fn new(connection: &'a Connection, keys: &'a Keys, destination: DestinationId) -> Self {
        Self { connection, keys, destination, read: 0, unread: Vec::new(), error: None }
    }

    pub(super) fn fresh(
        mut self,
        (after, until): (EventId, EventId),
        most: Most,
    ) -> Result<Vec<Arc<Event>>, SpoolError> {
        let found = self.places(FRESH, params![self.destination.0, after.0, until.0, most.events])?;
        let (mut page, mut weight) = (Vec::new(), 0);
        for (id, _) in found {
            // What was never attempted is as old as its delivery.
            let since = self.standing(id)?.map(|standing| standing.since);
            let event = self.event(id, since)?;
            weight += event.body.len();
            page.push(event);
            if weight >= most.bytes {
                break;
            }
        }
        self.tell().map(|()| page)
    }

    pub(super) fn due(
        mut self,
        (after, until): (Timestamp, Timestamp),
        most: Most,
        except: &[EventId],
    ) -> Result<Vec<Due>, SpoolError> {
        let (after, until) = (after.as_millisecond(), until.as_millisecond());
        let found = self.places(DUE, params![self.destination.0, after, until, most.events + except.len()])?;
        let (mut page, mut weight) = (Vec::new(), 0);
        for (id, due) in found.into_iter().filter(|(id, _)| !except.contains(id)) {
            let standing = self.standing(id)?;
            let event = self.event(id, standing.as_ref().map(|standing| standing.since))?;
            // Where its row cannot be read, it is as if nothing had been: rather once too often than not at all.
            let Standing { attempts, since, replays, is_planned } =
                standing.unwrap_or(Standing { attempts: 0, since: event.received_at, replays: 0, is_planned: false });
            weight += event.body.len();
            page.push(Due { event, attempts, since, due, replays, is_planned });
            if weight >= most.bytes || page.len() >= most.events {
                break;
            }
        }
        self.tell().map(|()| page)
    }

    pub(super) fn waiting(mut self, mut after: (Timestamp, EventId), limit: usize) -> Result<Vec<Waiting>, SpoolError> {
        let mut page = Vec::new();
        loop {
            let found =
                self.places(WAITING, params![self.destination.0, after.0.as_millisecond(), after.1.0, limit])?;
            let Some((last, due)) = found.last().copied() else { break };
            after = (due, last);
            for (id, due) in found {
                let standing = self.standing(id)?;
                if standing.as_ref().is_none_or(|standing| !standing.is_planned) {
                    let event = self.event(id, standing.map(|standing| standing.since))?;
                    page.push(Waiting { event, due });
                }
            }
            // An empty page says that there is no more.
            if !page.is_empty() {
                break;
            }
        }
        self.tell().map(|()| page)
    }

    pub(super) fn planned_until(mut self) -> Result<Option<Timestamp>, SpoolError> {
        let last = self.places(LAST_DUE, [self.destination.0])?;
        let Some((id, due)) = last.first().copied() else { return Ok(None) };
        Ok(self.standing(id)?.filter(|standing| standing.is_planned).map(|_| due))
    }

    pub(super) fn next_due(self, except: &[EventId]) -> Result<Option<Timestamp>, SpoolError> {
        let (least, most) = (i64::MIN, i64::MAX);
        let found = self.places(DUE, params![self.destination.0, least, most, except.len() + 1])?;
        Ok(found.into_iter().find(|(id, _)| !except.contains(id)).map(|(_, due)| due))
    }

    /// Returns what waits, and when it is due, as the open index has it, or the table.
    fn places(
        &self,
        [by_index, by_table]: Ways,
        params: impl Params + Copy,
    ) -> Result<Vec<(EventId, Timestamp)>, SpoolError> {
        let read = |sql: &str| -> Result<Vec<_>, SpoolError> {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map(params, |row| Ok((EventId(row.get(0)?), timestamp(row.get(1)?))))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        match read(by_index) {
            Err(error) if error.is_damage() || error.is_unread() => read(by_table),
            read => read,
        }
    }

    /// Reads how a delivery stands; `None` where its row cannot be read.
    fn standing(&mut self, event: EventId) -> Result<Option<Standing>, SpoolError> {
        self.row(DELIVERY, (self.destination.0, event.0), |row| {
            let (attempts, since) = (row.get(0)?, timestamp(row.get(1)?));
            Ok(Standing { attempts, since, replays: row.get(2)?, is_planned: row.get(3)? })
        })
    }

    /// Reads an event with its body, or makes one that says that they cannot be read.
    fn event(&mut self, id: EventId, since: Option<Timestamp>) -> Result<Arc<Event>, SpoolError> {
        let nothing = Event {
            id,
            request_id: RequestId::new(Uuid::nil()),
            subscription: "".into(),
            kind: "".into(),
            event_ts: None,
            received_at: since.unwrap_or(Timestamp::UNIX_EPOCH),
            body: Bytes::new(),
            unreadable: Some(DAMAGED),
        };
        let event = self.row(EVENT, [id.0], |row| {
            let event = Event {
                request_id: request_id(row, 0)?,
                subscription: row.get::<_, Arc<str>>(1)?,
                kind: row.get(2)?,
                event_ts: row.get(3)?,
                received_at: timestamp(row.get(4)?),
                ..nothing.clone()
            };
            Ok((event, Digest(row.get(5)?)))
        })?;
        let body = self.row(BODY, [id.0], |row| Ok((row.get::<_, Vec<u8>>(0)?, key_of(row, 1)?)))?;
        let (Some((event, digest)), Some((body, key))) = (event, body) else {
            self.unread.push(id);
            return Ok(Arc::new(nothing));
        };
        self.read += 1;
        let body = sealed::body(body, key, id, digest, self.keys);
        let unreadable = body.as_ref().err().map(|unreadable| unreadable.reason());
        Ok(Arc::new(Event { body: Bytes::from(body.unwrap_or_default()), unreadable, ..event }))
    }

    /// Reads a row; `None` where it is not there, or cannot be read.
    fn row<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, SpoolError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        match statement.query_row(params, read).optional().map_err(SpoolError::from) {
            Err(error) if error.is_damage() || error.is_unread() => {
                self.error = Some(error);
                Ok(None)
            }
            read => read,
        }
    }

    /// Tells what could not be read. A disk that gives back nothing at all says nothing of single events.
    fn tell(self) -> Result<(), SpoolError> {
        let Self { destination, read, unread, error, .. } = self;
        match error {
            Some(error) if read == 0 && error.is_unread() => return Err(error),
            Some(error) if !unread.is_empty() => {
                let (events, count) = (ranges(&unread), unread.len());
                tracing::error!(
                    %error, count, destination = destination.0,
                    "the spool is damaged: events {events} cannot be read, and are given up"
                );
            }
            None if !unread.is_empty() => {
                let (events, count) = (ranges(&unread), unread.len());
                tracing::error!(
                    count,
                    destination = destination.0,
                    "the spool is damaged: events {events} are missing from it, and are given up"
                );
            }
            Some(_) | None => {}
        }
        Ok(())
    }
}

/// Names events by their numbers, those that follow each other by the first and the last.
fn ranges(events: &[EventId]) -> String {
    let mut events: Vec<u64> = events.iter().map(|event| event.0).collect();
    events.sort_unstable();
    let named = events.chunk_by(|one, next| next - one == 1).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    });
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_a_row_are_named_by_their_ends() {
        let ids = [7, 1, 2, 3, 9, 10].map(EventId);
        assert_eq!(ranges(&ids), "1-3, 7, 9-10");
    }
}
