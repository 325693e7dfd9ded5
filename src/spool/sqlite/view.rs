//! What operators read.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::sealed::{self, key_of};
use super::search::{BUDGET, Letter, Search};
use super::singly::Singly;
use super::{audit, meta, page, replay, schema};
use crate::config::filter::Pattern;
use crate::event::{Digest, Event, EventId, RequestId};
use crate::spool::SpoolError;
use crate::spool::audit::Link;
use crate::spool::record::{
    Acknowledged, AttemptRow, AuditRow, DeadQuery, DeadRow, DeliveryRow, DeliveryState, DestinationId, DestinationRow,
    EventDetail, EventQuery, EventRow, GapRow, GroupCursor, Groups, Opened, Page, SubscriptionRow,
};
use crate::spool::replay::{Counts, Selection};
use crate::spool::seal::{KeyId, Keys, Unreadable};
use crate::spool::store::{Due, Most, Pages, Reading, View, Waiting};

/// Is the reading half: one connection that cannot write.
pub(super) struct SqliteView {
    connection: Connection,
    keys: Arc<Keys>,
    has_texts: bool,
    has_summaries: bool,
}

impl SqliteView {
    pub(super) fn new(connection: Connection, keys: Arc<Keys>) -> Result<Self, SpoolError> {
        let has_texts = schema::has_texts(&connection)?;
        let has_summaries = schema::has_summaries(&connection)?;
        Ok(Self { connection, keys, has_texts, has_summaries })
    }

    fn look(&self) -> Search<'_> {
        let Self { connection, keys: _, has_texts, has_summaries } = self;
        Search { connection, budget: BUDGET, has_texts: *has_texts, has_summaries: *has_summaries }
    }
}

impl View for SqliteView {
    fn search(&mut self, query: &EventQuery) -> Result<Page<EventRow>, SpoolError> {
        let Page { rows: found, next } = self.look().events(query)?;
        let mut rows = Vec::with_capacity(found.len());
        for event in found {
            rows.extend(row(&self.connection, event)?);
        }
        Ok(Page { rows, next })
    }

    fn search_dead(&mut self, query: &DeadQuery) -> Result<Page<DeadRow>, SpoolError> {
        let Page { rows: found, next } = self.look().dead(query)?;
        let mut rows = Vec::with_capacity(found.len());
        for letter in found {
            rows.extend(dead_row(&self.connection, letter)?);
        }
        Ok(Page { rows, next })
    }

    fn search_groups(&mut self, query: &DeadQuery, after: Option<&GroupCursor>) -> Result<Groups, SpoolError> {
        self.look().groups(query, after)
    }

    fn destination_names(&mut self) -> Result<Vec<Box<str>>, SpoolError> {
        let mut statement = self.connection.prepare_cached("SELECT name FROM destinations ORDER BY id")?;
        let names = statement.query_map([], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    fn event(&mut self, id: EventId) -> Result<Option<EventDetail>, SpoolError> {
        let sql =
            format!("SELECT {EVENT_ROW}, b.body, b.key FROM events e JOIN bodies b ON b.event = e.id WHERE e.id = ?1");
        let found = self
            .connection
            .prepare_cached(&sql)?
            .query_row([id.0], |row| {
                let digest = Digest(row.get(4)?);
                Ok((event_row(row)?, digest, row.get::<_, Vec<u8>>(10)?, key_of(row, 11)?))
            })
            .optional()?;
        let Some((mut row, digest, body, key)) = found else { return Ok(None) };
        let body = sealed::body(body, key, id, digest, &self.keys)
            .map_err(|unreadable| SpoolError::Sealed { event: id, reason: why(unreadable, key) })?;
        row.deliveries = deliveries(&self.connection, id)?;
        let attempts = attempts(&self.connection, id, &self.keys)?;
        Ok(Some(EventDetail { row, attempts, body: Bytes::from(body) }))
    }

    fn survey(&mut self, selection: &Selection, most: u64) -> Result<Counts, SpoolError> {
        replay::survey(&self.connection, selection, most)
    }

    fn gaps(&mut self, most: usize) -> Result<Vec<GapRow>, SpoolError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, subscription, opened_at, closed_at, reason, last_event_at,
               acknowledged_at, acknowledged_by, note FROM gaps ORDER BY id DESC LIMIT ?1",
        )?;
        let rows = statement.query_map([i64::try_from(most).unwrap_or(i64::MAX)], |row| {
            Ok(GapRow {
                id: row.get(0)?,
                subscription: row.get(1)?,
                opened_at: timestamp(row.get(2)?),
                closed_at: row.get::<_, Option<i64>>(3)?.map(timestamp),
                reason: row.get(4)?,
                last_event_at: row.get::<_, Option<i64>>(5)?.map(timestamp),
                acknowledged: acknowledged(row, 6)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn audit(&mut self, before: Option<i64>, most: usize) -> Result<Vec<AuditRow>, SpoolError> {
        audit::page(&self.connection, before, i64::try_from(most).unwrap_or(i64::MAX))
    }

    fn audit_chain(&mut self, each: &mut dyn FnMut(&Link, AuditRow) -> ControlFlow<()>) -> Result<Link, SpoolError> {
        audit::chain(&self.connection, each)
    }

    fn destinations(&mut self) -> Result<Vec<DestinationRow>, SpoolError> {
        let mut statement = self.connection.prepare_cached(DESTINATIONS)?;
        let rows = statement.query_map([], |row| {
            Ok(DestinationRow {
                id: DestinationId(row.get(0)?),
                name: row.get(1)?,
                pending: row.get(2)?,
                dead: row.get(3)?,
                delivered: row.get(4)?,
                oldest_pending_at: row.get::<_, Option<i64>>(5)?.map(timestamp),
                paused_at: row.get::<_, Option<i64>>(6)?.map(timestamp),
                breaker: opened(row, 7)?,
                orphaned_at: row.get::<_, Option<i64>>(10)?.map(timestamp),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn subscriptions(&mut self) -> Result<Vec<SubscriptionRow>, SpoolError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT s.name, s.alive_at, s.last_event_at, s.gaps, s.gap_ms, g.opened_at FROM subscriptions s
             LEFT JOIN gaps g ON g.subscription = s.name AND g.closed_at IS NULL ORDER BY s.name",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(SubscriptionRow {
                name: row.get(0)?,
                alive_at: row.get::<_, Option<i64>>(1)?.map(timestamp),
                last_event_at: row.get::<_, Option<i64>>(2)?.map(timestamp),
                gaps: row.get(3)?,
                gap_ms: row.get(4)?,
                gap_opened_at: row.get::<_, Option<i64>>(5)?.map(timestamp),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn parked(&mut self) -> Result<u64, SpoolError> {
        Ok(meta(&self.connection, "parked")?.unwrap_or(0).unsigned_abs())
    }

    fn delivered(&mut self, destination: DestinationId) -> Result<u64, SpoolError> {
        let mut statement =
            self.connection.prepare_cached("SELECT count(*) FROM deliveries WHERE destination = ?1 AND state = 2")?;
        Ok(statement.query_row([destination.0], |row| row.get(0))?)
    }
}

impl Pages for SqliteView {
    fn fresh(
        &mut self,
        destination: DestinationId,
        range: (EventId, EventId),
        most: Most,
        how: Reading,
    ) -> Result<Vec<Arc<Event>>, SpoolError> {
        match how {
            Reading::AsOne => page::fresh(&self.connection, &self.keys, destination, range, most),
            Reading::Singly => Singly::new(&self.connection, &self.keys, destination).fresh(range, most),
        }
    }

    fn due(
        &mut self,
        destination: DestinationId,
        range: (Timestamp, Timestamp),
        most: Most,
        except: &[EventId],
        how: Reading,
    ) -> Result<Vec<Due>, SpoolError> {
        match how {
            Reading::AsOne => page::due(&self.connection, &self.keys, destination, range, most, except),
            Reading::Singly => Singly::new(&self.connection, &self.keys, destination).due(range, most, except),
        }
    }

    fn waiting(
        &mut self,
        destination: DestinationId,
        after: (Timestamp, EventId),
        limit: usize,
        how: Reading,
    ) -> Result<Vec<Waiting>, SpoolError> {
        match how {
            Reading::AsOne => page::waiting(&self.connection, &self.keys, destination, after, limit),
            Reading::Singly => Singly::new(&self.connection, &self.keys, destination).waiting(after, limit),
        }
    }

    fn planned_until(&mut self, destination: DestinationId, how: Reading) -> Result<Option<Timestamp>, SpoolError> {
        match how {
            Reading::AsOne => page::planned_until(&self.connection, destination),
            Reading::Singly => Singly::new(&self.connection, &self.keys, destination).planned_until(),
        }
    }

    fn next_due(
        &mut self,
        destination: DestinationId,
        except: &[EventId],
        how: Reading,
    ) -> Result<Option<Timestamp>, SpoolError> {
        match how {
            Reading::AsOne => page::next_due(&self.connection, destination, except),
            Reading::Singly => Singly::new(&self.connection, &self.keys, destination).next_due(except),
        }
    }
}

/// The oldest waiting event of each destination is looked up in the open index alone: delivered rows are the great
/// majority, and this is asked at every scrape.
pub(super) const DESTINATIONS: &str = "SELECT n.id, n.name, n.pending, n.dead, n.delivered,
       (SELECT e.received_at FROM events e WHERE e.id = min(
         coalesce((SELECT min(event) FROM deliveries INDEXED BY deliveries_open
           WHERE destination = n.id AND state < 2 AND state = 0 AND due = 0), 1 << 62),
         coalesce((SELECT min(event) FROM deliveries
           WHERE destination = n.id AND state = 1), 1 << 62))),
       n.paused_at, n.breaker_since, n.breaker_probe_at, n.breaker_probes, n.orphaned_at
     FROM destinations n ORDER BY n.id";

/// `CROSS JOIN` keeps the order: without it every delivery of every event is read to find those of one.
pub(super) const DELIVERIES: &str = "SELECT n.name, d.state, d.attempts, d.due, d.settled_at, d.outcome, d.replays
     FROM destinations n CROSS JOIN deliveries d ON d.destination = n.id AND d.event = ?1 ORDER BY n.id";

pub(super) const DEAD_ROW: &str = "SELECT d.event, e.kind, n.name, d.attempts, e.received_at, d.settled_at, d.outcome
     FROM deliveries d CROSS JOIN events e ON e.id = d.event CROSS JOIN destinations n ON n.id = d.destination
     WHERE d.destination = ?1 AND d.event = ?2 AND d.state = 3";

/// Reads who has dealt with a gap, from three columns of which this is the first.
pub(super) fn acknowledged(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Acknowledged>> {
    let Some(at) = row.get::<_, Option<i64>>(first)? else { return Ok(None) };
    Ok(Some(Acknowledged { at: timestamp(at), by: row.get(first + 1)?, note: row.get(first + 2)? }))
}

/// Columns of [`event_row`].
const EVENT_ROW: &str = "e.id, e.kind, e.subscription, e.request_id, e.digest, e.event_ts, e.received_at, e.size,
    (SELECT count(*) FROM repeats r WHERE r.event = e.id), e.parked";

fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: EventId(row.get(0)?),
        kind: row.get(1)?,
        subscription: row.get(2)?,
        request_id: request_id(row, 3)?,
        digest: Some(Digest(row.get(4)?)),
        event_ts: row.get(5)?,
        received_at: timestamp(row.get(6)?),
        size: row.get(7)?,
        repeats: row.get(8)?,
        parked: row.get(9)?,
        deliveries: Vec::new(),
    })
}

/// Reads an event with its deliveries, if it is still there.
fn row(connection: &Connection, id: EventId) -> Result<Option<EventRow>, SpoolError> {
    let sql = format!("SELECT {EVENT_ROW} FROM events e WHERE e.id = ?1");
    let Some(mut row) = connection.prepare_cached(&sql)?.query_row([id.0], event_row).optional()? else {
        return Ok(None);
    };
    row.deliveries = deliveries(connection, id)?;
    Ok(Some(row))
}

/// Reads a dead letter, if it is still one.
fn dead_row(connection: &Connection, (destination, event): Letter) -> Result<Option<DeadRow>, SpoolError> {
    let mut statement = connection.prepare_cached(DEAD_ROW)?;
    let row = statement.query_row((destination, event), |row| {
        Ok(DeadRow {
            event: EventId(row.get(0)?),
            kind: row.get(1)?,
            destination: row.get(2)?,
            attempts: row.get(3)?,
            received_at: timestamp(row.get(4)?),
            dead_at: timestamp(row.get(5)?),
            reason: row.get(6)?,
        })
    });
    Ok(row.optional()?)
}

fn deliveries(connection: &Connection, id: EventId) -> Result<Vec<DeliveryRow>, SpoolError> {
    let mut statement = connection.prepare_cached(DELIVERIES)?;
    let rows = statement.query_map([id.0], |row| {
        Ok(DeliveryRow {
            destination: row.get(0)?,
            state: state(row.get(1)?)?,
            attempts: row.get(2)?,
            due: Some(row.get(3)?).filter(|due| *due > 0).map(timestamp),
            settled_at: row.get::<_, Option<i64>>(4)?.map(timestamp),
            outcome: row.get(5)?,
            replays: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Says why a body does not open, and what would mend it.
fn why(unreadable: Unreadable, key: Option<KeyId>) -> String {
    match (unreadable, key) {
        (Unreadable::KeyGone, Some(key)) => {
            format!("its key {key} is neither spool.encryption_key nor one of spool.old_encryption_keys")
        }
        (Unreadable::KeyGone | Unreadable::Damaged, _) => "it is not what was written, or not in its place".to_owned(),
    }
}

fn attempts(connection: &Connection, id: EventId, keys: &Keys) -> Result<Vec<AttemptRow>, SpoolError> {
    let mut statement = connection.prepare_cached(
        "SELECT n.name, a.attempt, a.at, a.elapsed_ms, a.cause, a.excerpt, a.destination FROM attempts a
         JOIN destinations n ON n.id = a.destination WHERE a.event = ?1 ORDER BY a.id",
    )?;
    let rows = statement.query_map([id.0], |row| {
        Ok(AttemptRow {
            destination: row.get(0)?,
            attempt: row.get(1)?,
            at: timestamp(row.get(2)?),
            elapsed_ms: row.get(3)?,
            cause: row.get(4)?,
            // An answer that cannot be read is no reason to hide the attempt.
            excerpt: sealed::excerpt(row.get_ref(5)?, id, row.get(6)?, row.get(2)?, keys)
                .unwrap_or_else(|unreadable| format!("({})", unreadable.reason()))
                .into(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Is a condition under construction, with the values of its question marks.
#[derive(Default)]
struct Where {
    terms: Vec<String>,
    values: Vec<Value>,
}

impl Where {
    fn and(&mut self, term: &str, value: impl Into<Value>) {
        self.terms.push(term.to_owned());
        self.values.push(value.into());
    }

    /// Compares a prefix by its bytes: `GLOB` and `LIKE` would give some characters a meaning.
    fn and_kind(&mut self, pattern: Option<&Pattern>) {
        match pattern {
            None | Some(Pattern::All) => {}
            Some(Pattern::Exact(kind)) => self.and("e.kind = ?", kind.to_string()),
            Some(Pattern::Prefix(prefix)) => {
                self.and("substr(e.kind, 1, length(?)) = ?", prefix.to_string());
                self.values.push(prefix.to_string().into());
            }
        }
    }

    fn finish(mut self) -> (String, Vec<Value>) {
        if self.terms.is_empty() {
            self.terms.push("true".to_owned());
        }
        (self.terms.join(" AND "), self.values)
    }
}

/// Returns the condition that chooses dead letters, over `deliveries d`, `events e` and `destinations n`.
pub(super) fn dead_where(query: &DeadQuery) -> (String, Vec<Value>) {
    let mut condition = Where::default();
    condition.terms.push("d.state = 3".to_owned());
    condition.and_kind(query.kind.as_ref());
    if let Some(before) = query.before {
        condition.and("d.event < ?", id(before));
    }
    if let Some(name) = &query.destination {
        condition.and("d.destination = (SELECT id FROM destinations WHERE name = ?)", name.clone());
    }
    if let Some(cause) = &query.cause {
        condition.and("d.outcome = ?", cause.clone());
    }
    if let Some(since) = query.since {
        condition.and("e.received_at >= ?", since.as_millisecond());
    }
    if let Some(until) = query.until {
        condition.and("e.received_at < ?", until.as_millisecond());
    }
    if !query.events.is_empty() {
        condition.terms.push(format!("d.event IN ({})", vec!["?"; query.events.len()].join(", ")));
        condition.values.extend(query.events.iter().map(|event| Value::from(id(*event))));
    }
    condition.finish()
}

pub(super) fn id(id: EventId) -> i64 {
    i64::try_from(id.0).unwrap_or(i64::MAX)
}

pub(super) fn code(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Fresh => 0,
        DeliveryState::Retry => 1,
        DeliveryState::Delivered => 2,
        DeliveryState::Dead => 3,
    }
}

pub(super) fn state(code: i64) -> rusqlite::Result<DeliveryState> {
    match code {
        0 => Ok(DeliveryState::Fresh),
        1 => Ok(DeliveryState::Retry),
        2 => Ok(DeliveryState::Delivered),
        3 => Ok(DeliveryState::Dead),
        _ => Err(rusqlite::Error::IntegralValueOutOfRange(1, code)),
    }
}

/// Reads the three columns of a breaker.
pub(super) fn opened(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Opened>> {
    let since: Option<i64> = row.get(first)?;
    let (probe_at, probes): (Option<i64>, Option<u32>) = (row.get(first + 1)?, row.get(first + 2)?);
    Ok(since.map(|since| Opened {
        since: timestamp(since),
        probe_at: timestamp(probe_at.unwrap_or(since)),
        probes: probes.unwrap_or(0),
    }))
}

/// Reads a time that this program wrote; one out of range was written by somebody else and shows as 1970.
pub(super) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) fn request_id(row: &Row<'_>, column: usize) -> rusqlite::Result<RequestId> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
