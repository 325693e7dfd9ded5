//! Retention: settled events are deleted in small steps, so that no step delays a commit for long.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use super::behind::behind;
use super::blocks;
use crate::event::EventId;
use crate::spool::SpoolError;

/// Deletes those of the next `limit` events after `after` that are older than `cutoff` and that nobody
/// waits for, has as a dead letter, or has yet to look at; see [`Store::purge`](crate::spool::store::Store::purge).
pub(super) fn step(
    connection: &Connection,
    after: EventId,
    cutoff: Timestamp,
    now: Timestamp,
    limit: usize,
) -> Result<Option<EventId>, SpoolError> {
    let destinations = destinations(connection)?;
    let seen: Vec<(i64, i64, bool)> = connection
        .prepare_cached("SELECT id, received_at, parked IS NULL FROM events WHERE id > ?1 ORDER BY id LIMIT ?2")?
        .query_map((after.0, limit), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let (cutoff, now) = (cutoff.as_millisecond(), now.as_millisecond());
    let mut purged = Vec::new();
    for (id, _, _) in seen.iter().filter(|(_, received_at, deliverable)| *received_at < cutoff && *deliverable) {
        if is_settled(connection, *id, &destinations)? {
            purged.push(*id);
        }
    }
    delete_events(connection, &purged, &destinations)?;
    uncount(connection, purged.len() as u64, 0)?;
    let goes_on = |received_at: i64| received_at < cutoff || received_at > now;
    let last = seen.last().filter(|(_, received_at, _)| goes_on(*received_at) && seen.len() == limit);
    Ok(last.map(|(id, _, _)| EventId(id.unsigned_abs())))
}

/// Returns behind which event to go on; see [`Store::pass_over`](crate::spool::store::Store::pass_over).
pub(super) fn pass_over(connection: &Connection, after: EventId) -> Result<Option<EventId>, SpoolError> {
    Ok(behind(after.0 + 1, |from| next(connection, from))?.map(EventId))
}

/// Returns the first event from a number on.
fn next(connection: &Connection, from: u64) -> Result<Option<u64>, SpoolError> {
    let mut next = connection.prepare_cached("SELECT id FROM events WHERE id >= ?1 ORDER BY id LIMIT 1")?;
    Ok(next.query_row([from], |row| row.get(0)).optional()?)
}

/// Returns every destination that the spool has.
pub(super) fn destinations(connection: &Connection) -> Result<Vec<i64>, SpoolError> {
    let mut statement = connection.prepare_cached("SELECT id FROM destinations")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Deletes events with all that belongs to them.
pub(super) fn delete_events(connection: &Connection, ids: &[i64], destinations: &[i64]) -> Result<(), SpoolError> {
    for id in ids {
        delete_event(connection, *id, destinations)?;
    }
    blocks::forget(connection, ids)
}

fn delete_event(connection: &Connection, id: i64, destinations: &[i64]) -> Result<(), SpoolError> {
    for destination in destinations {
        connection
            .prepare_cached("DELETE FROM deliveries WHERE destination = ?1 AND event = ?2")?
            .execute((destination, id))?;
    }
    for sql in [
        "DELETE FROM attempts WHERE event = ?1",
        "DELETE FROM repeats WHERE event = ?1",
        "DELETE FROM bodies WHERE event = ?1",
        "DELETE FROM events WHERE id = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([id])?;
    }
    Ok(())
}

/// Takes events, and parked frames among them, out of the counts.
pub(super) fn uncount(connection: &Connection, events: u64, parked: u64) -> Result<(), SpoolError> {
    for (key, count) in [("events", events), ("parked", parked)] {
        connection.prepare_cached("UPDATE meta SET value = value - ?2 WHERE key = ?1")?.execute((key, count))?;
    }
    Ok(())
}

/// Tells whether every delivery of an event is delivered, or gone.
pub(super) fn is_settled(connection: &Connection, id: i64, destinations: &[i64]) -> Result<bool, SpoolError> {
    let mut unsettled =
        connection.prepare_cached("SELECT 1 FROM deliveries WHERE destination = ?1 AND event = ?2 AND state <> 2")?;
    for destination in destinations {
        if unsettled.exists((destination, id))? {
            return Ok(false);
        }
    }
    Ok(true)
}
