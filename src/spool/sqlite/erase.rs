//! Deleting before retention would, a bounded step at a time; see [`Store::erase`](crate::spool::store::Store::erase).

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::causes::Counts;
use super::purge::{delete_events, destinations, is_settled, uncount};
use super::view::dead_where;
use super::{audit, causes};
use crate::event::EventId;
use crate::spool::SpoolError;
use crate::spool::erasure::{Erased, Erasure, Progress};
use crate::spool::record::{DeadQuery, DestinationId};

/// Rows that one step looks at: some milliseconds of work.
const STEP: usize = 500;
/// Rows that go at once for want of room: few, so that no more go than must.
const STEP_FOR_ROOM: usize = 100;

/// A dead letter, by its place in the index of dead letters.
type Place = (i64, i64);

pub(super) const DEAD: &str = "SELECT destination, event FROM deliveries INDEXED BY deliveries_dead
     WHERE state = 3 AND (event, destination) > (?1, ?2) ORDER BY event, destination LIMIT ?3";
pub(super) const OLDEST_DEAD: &str =
    "SELECT destination, event FROM deliveries INDEXED BY deliveries_dead WHERE state = 3
     ORDER BY event, destination LIMIT ?1";
pub(super) const PARKED: &str =
    "SELECT id, received_at FROM events WHERE parked IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2";
pub(super) const DELIVERIES_OF: &str =
    "SELECT event, state FROM deliveries WHERE destination = ?1 ORDER BY event LIMIT ?2";

pub(super) fn step(
    connection: &Connection,
    counts: Counts,
    mut progress: Progress,
    now: Timestamp,
) -> Result<Progress, SpoolError> {
    let erased = match &progress.what {
        Erasure::Dead(query) => {
            let query = DeadQuery { limit: query.limit.saturating_sub(count(progress.erased.dead)), ..query.clone() };
            let (erased, last) = dead(connection, counts, &query, progress.after)?;
            progress.complete = last.is_none() || count(erased.dead) >= query.limit;
            progress.after = last.unwrap_or(progress.after);
            erased
        }
        Erasure::Parked { until } => {
            let (erased, last) = parked(connection, *until, progress.after.1)?;
            progress.complete = last.is_none();
            progress.after.1 = last.unwrap_or(progress.after.1);
            erased
        }
        Erasure::Orphan { destination } => {
            let (erased, complete) = orphan(connection, counts, destination)?;
            progress.complete = complete;
            erased
        }
        Erasure::Oldest => {
            let erased = oldest(connection, counts)?;
            progress.complete = erased.total() == 0;
            erased
        }
    };
    progress.erased.dead += erased.dead;
    progress.erased.pending += erased.pending;
    progress.erased.parked += erased.parked;
    progress.erased.delivered += erased.delivered;
    tell(connection, &mut progress, now)?;
    Ok(progress)
}

/// Deletes those of the next dead letters that fit; returns the last that was looked at, if there may be more.
fn dead(
    connection: &Connection,
    counts: Counts,
    query: &DeadQuery,
    (destination, event): (DestinationId, EventId),
) -> Result<(Erased, Option<(DestinationId, EventId)>), SpoolError> {
    let seen: Vec<Place> = connection
        .prepare_cached(DEAD)?
        .query_map((event.0, destination.0, STEP), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return Ok((Erased::default(), None)) };
    let (condition, values) = dead_where(query);
    let range = [first.1, first.0, last.1, last.0].map(Value::from);
    let fitting: Vec<Place> = connection
        .prepare_cached(&fitting(&condition))?
        .query_map(params_from_iter(range.into_iter().chain(values)), |row| Ok((row.get(0)?, row.get(1)?)))?
        .take(query.limit)
        .collect::<Result<_, _>>()?;
    delete_dead(connection, counts, &fitting)?;
    let destinations = destinations(connection)?;
    let mut events: Vec<i64> = fitting.iter().map(|(_, event)| *event).collect();
    events.dedup();
    let mut gone = Vec::new();
    for event in events {
        if is_nobodys(connection, event, &destinations)? {
            gone.push(event);
        }
    }
    delete_events(connection, &gone, &destinations)?;
    uncount(connection, gone.len() as u64, 0)?;
    let erased = Erased { dead: fitting.len() as u64, ..Erased::default() };
    let last = (seen.len() == STEP).then(|| (DestinationId(last.0), EventId(last.1.unsigned_abs())));
    Ok((erased, last))
}

/// Asks for the dead letters of a range that fit a condition; `CROSS JOIN` keeps the range first.
pub(super) fn fitting(condition: &str) -> String {
    format!(
        "SELECT d.destination, d.event FROM deliveries d INDEXED BY deliveries_dead
         CROSS JOIN events e ON e.id = d.event CROSS JOIN destinations n ON n.id = d.destination
         WHERE (d.event, d.destination) >= (?, ?) AND (d.event, d.destination) <= (?, ?) AND {condition}
         ORDER BY d.event, d.destination"
    )
}

fn parked(connection: &Connection, until: Timestamp, after: EventId) -> Result<(Erased, Option<EventId>), SpoolError> {
    let seen = parked_after(connection, after, STEP)?;
    let fitting = seen.iter().filter(|(_, received_at)| *received_at < until.as_millisecond());
    let fitting: Vec<i64> = fitting.map(|(id, _)| *id).collect();
    delete_events(connection, &fitting, &[])?;
    let erased = Erased { parked: fitting.len() as u64, ..Erased::default() };
    uncount(connection, erased.parked, erased.parked)?;
    let last = seen.last().filter(|_| seen.len() == STEP);
    Ok((erased, last.map(|(id, _)| EventId(id.unsigned_abs()))))
}

fn parked_after(connection: &Connection, after: EventId, limit: usize) -> Result<Vec<(i64, i64)>, SpoolError> {
    let mut statement = connection.prepare_cached(PARKED)?;
    let rows = statement.query_map((after.0, limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Deletes deliveries of a destination, and the destination once it has none; tells whether that is so.
fn orphan(connection: &Connection, counts: Counts, name: &str) -> Result<(Erased, bool), SpoolError> {
    let mut erased = Erased::default();
    let found: Option<(i64, Option<i64>)> = connection
        .prepare_cached("SELECT id, orphaned_at FROM destinations WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, orphaned_at)) = found else { return Ok((erased, true)) };
    if orphaned_at.is_none() {
        return Err(SpoolError::Configured(name.to_owned()));
    }
    // What it has yet to be given would come after what is deleted.
    connection.prepare_cached("DELETE FROM fills WHERE destination = ?1")?.execute([id])?;
    let deliveries: Vec<(i64, i64)> = connection
        .prepare_cached(DELIVERIES_OF)?
        .query_map((id, STEP), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (event, state) in &deliveries {
        delete_delivery(connection, counts, (id, *event))?;
        match state {
            0 | 1 => erased.pending += 1,
            3 => erased.dead += 1,
            _ => erased.delivered += 1,
        }
    }
    if deliveries.len() < STEP {
        connection.prepare_cached("DELETE FROM destinations WHERE id = ?1")?.execute([id])?;
        return Ok((erased, true));
    }
    connection
        .prepare_cached("UPDATE destinations SET pending = pending - ?2, dead = dead - ?3 WHERE id = ?1")?
        .execute((id, erased.pending, erased.dead))?;
    Ok((erased, false))
}

/// Deletes the oldest of what nobody took, and the events that nobody needs without it.
fn oldest(connection: &Connection, counts: Counts) -> Result<Erased, SpoolError> {
    let destinations = destinations(connection)?;
    let mut found: Vec<(i64, Option<i64>)> = Vec::new();
    let mut statement = connection.prepare_cached(OLDEST_DEAD)?;
    let rows = statement.query_map([STEP_FOR_ROOM], |row| Ok((row.get(1)?, Some(row.get(0)?))))?;
    for letter in rows {
        found.push(letter?);
    }
    let parked = parked_after(connection, EventId(0), STEP_FOR_ROOM)?;
    found.extend(parked.into_iter().map(|(id, _)| (id, None)));
    found.sort_unstable();
    found.truncate(STEP_FOR_ROOM);
    let mut erased = Erased::default();
    let mut gone = Vec::new();
    for (event, destination) in found {
        match destination {
            Some(destination) => {
                delete_dead(connection, counts, &[(destination, event)])?;
                erased.dead += 1;
                if is_settled(connection, event, &destinations)? {
                    gone.push(event);
                }
            }
            None => {
                gone.push(event);
                erased.parked += 1;
            }
        }
    }
    delete_events(connection, &gone, &destinations)?;
    uncount(connection, gone.len() as u64, erased.parked)?;
    Ok(erased)
}

fn delete_dead(connection: &Connection, counts: Counts, letters: &[Place]) -> Result<(), SpoolError> {
    let mut gone: BTreeMap<i64, u64> = BTreeMap::new();
    for letter in letters {
        delete_delivery(connection, counts, *letter)?;
        *gone.entry(letter.0).or_default() += 1;
    }
    for (destination, count) in gone {
        connection
            .prepare_cached("UPDATE destinations SET dead = dead - ?2 WHERE id = ?1")?
            .execute((destination, count))?;
    }
    Ok(())
}

/// Tells whether no delivery of an event is left: nobody waits for it, and nobody has it.
fn is_nobodys(connection: &Connection, event: i64, destinations: &[i64]) -> Result<bool, SpoolError> {
    let mut delivery = connection.prepare_cached("SELECT 1 FROM deliveries WHERE destination = ?1 AND event = ?2")?;
    for destination in destinations {
        if delivery.exists((destination, event))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn delete_delivery(connection: &Connection, counts: Counts, place: Place) -> Result<(), SpoolError> {
    causes::leaves(connection, counts, DestinationId(place.0), EventId(place.1.unsigned_abs()))?;
    for sql in [
        "DELETE FROM deliveries WHERE destination = ?1 AND event = ?2",
        "DELETE FROM attempts WHERE destination = ?1 AND event = ?2",
    ] {
        connection.prepare_cached(sql)?.execute(place)?;
    }
    Ok(())
}

/// Tells what an erasure has come to.
fn tell(connection: &Connection, progress: &mut Progress, now: Timestamp) -> Result<(), SpoolError> {
    let Progress { what, who, erased, .. } = &*progress;
    let is_for_room = matches!(what, Erasure::Oldest);
    // What is done for want of room is looked for again and again, and often not found.
    if is_for_room && progress.audit.is_none() && erased.total() == 0 {
        return Ok(());
    }
    let asked = what.to_string();
    let step = audit::Step {
        who,
        action: what.action(),
        done: format!("{erased} purged: {asked}"),
        asked,
        // More may have to go for want of room, until somebody says that there is enough.
        is_last: progress.complete && !is_for_room,
    };
    let mut task = progress.audit;
    audit::tell(connection, &mut task, now, &step)?;
    progress.audit = task;
    Ok(())
}

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
