//! Replays and fills: what a selection comes to, and how it is made due, a step at a time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::causes::Counts as Causes;
use super::view::{state, timestamp};
use super::write::{Changes, count};
use super::{audit, causes};
use crate::config::filter::EventFilter;
use crate::event::EventId;
use crate::spool::SpoolError;
use crate::spool::record::{DeliveryState, DestinationId};
use crate::spool::replay::{Counts, Place, Replay, Scope, Selection, Stage};
use crate::spool::store::Filled;

/// Rows that one step looks at, wanted or not: some milliseconds of reading.
const LOOK: usize = 2000;
/// Who asks for a fill, in the audit table.
const CONFIGURATION: &str = "the configuration";

pub(super) const DEAD: &str = "SELECT event, destination, outcome FROM deliveries INDEXED BY deliveries_dead
     WHERE state = 3 AND (event, destination) > (?1, ?2) AND event <= ?3 ORDER BY event, destination LIMIT ?4";
pub(super) const DEAD_OF_CAUSE: &str =
    "SELECT event, destination, outcome FROM deliveries INDEXED BY deliveries_dead_causes
     WHERE state = 3 AND destination = ?1 AND outcome = ?2 AND event > ?3 AND event <= ?4 ORDER BY event LIMIT ?5";
pub(super) const EVENTS: &str = "SELECT id, kind, received_at, parked IS NULL FROM events
     WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3";
pub(super) const EVENT: &str = "SELECT id, kind, received_at, parked IS NULL FROM events WHERE id = ?1";
pub(super) const DELIVERY: &str = "SELECT state, outcome FROM deliveries WHERE destination = ?1 AND event = ?2";

/// Is what one look came to.
pub(super) struct Picked {
    targets: Vec<Target>,
    pub(super) counts: Counts,
    /// Where to look next; `None` at the end.
    pub(super) next: Option<Place>,
}

/// Is a delivery that is to be made again, or for the first time.
struct Target {
    place: Place,
    /// How it stands; `None` when the destination never had the event.
    state: Option<DeliveryState>,
}

/// Is an event, as far as a choice goes.
struct Candidate {
    id: EventId,
    kind: Box<str>,
    received_at: Timestamp,
    is_deliverable: bool,
}

/// Is a destination that a choice may be about.
struct Destination {
    id: DestinationId,
    filter: EventFilter,
}

/// Takes one step of a replay; see [`Store::replay`](crate::spool::store::Store::replay).
pub(super) fn step(
    connection: &Connection,
    counts: Causes,
    replay: &mut Replay,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<(DestinationId, Timestamp)>, SpoolError> {
    let picked = pick(connection, &replay.request.selection, replay.after, replay.until, limit)?;
    // The outcome of the past goes: without one a delivery was not attempted since.
    let mut write = connection.prepare_cached(
        "INSERT INTO deliveries (destination, event, state, attempts, due, since, replays)
         VALUES (?1, ?2, 1, 0, ?3, ?3, 1)
         ON CONFLICT DO UPDATE SET state = 1, attempts = 0, due = ?3, since = ?3, settled_at = NULL, outcome = NULL,
           replays = replays + 1",
    )?;
    let mut changes = Changes::new();
    let mut wake = BTreeMap::new();
    for Target { place, state } in &picked.targets {
        let due = replay.next_due(place.destination);
        causes::leaves(connection, counts, place.destination, place.event)?;
        write.execute(params![place.destination.0, place.event.0, due.as_millisecond()])?;
        let change = changes.entry(place.destination).or_default();
        change.pending += 1;
        change.dead -= i64::from(*state == Some(DeliveryState::Dead));
        wake.entry(place.destination).or_insert(due);
        replay.progress.last_due = replay.progress.last_due.max(Some(due));
    }
    count(connection, &changes)?;
    replay.progress.counts.add(picked.counts);
    match picked.next {
        Some(next) => replay.after = next,
        None => replay.progress.stage = Stage::Done,
    }
    let Counts { replayed, skipped, unwanted: _ } = replay.progress.counts;
    let asked = replay.request.selection.to_string();
    let step = audit::Step {
        who: &replay.request.who,
        action: "replay",
        done: format!("{replayed} made due, {skipped} on their way left alone: {asked}"),
        asked,
        is_last: replay.progress.stage == Stage::Done,
    };
    audit::tell(connection, &mut replay.audit, now, &step)?;
    Ok(wake.into_iter().collect())
}

/// Begins to give a new destination what was received before it.
pub(super) fn begin_fill(
    connection: &Connection,
    destination: DestinationId,
    since: Option<Timestamp>,
    until: EventId,
) -> Result<(), SpoolError> {
    connection
        .prepare_cached("INSERT INTO fills (destination, since, after, until, filled) VALUES (?1, ?2, 0, ?3, 0)")?
        .execute(params![destination.0, since.map(Timestamp::as_millisecond), until.0])?;
    Ok(())
}

/// Tells whether a destination has yet to get what was received before it.
pub(super) fn is_filling(connection: &Connection, destination: DestinationId) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM fills WHERE destination = ?1")?.exists([destination.0])
}

/// Takes one step of a fill; see [`Store::fill`](crate::spool::store::Store::fill).
pub(super) fn fill(
    connection: &Connection,
    destination: DestinationId,
    limit: usize,
    now: Timestamp,
) -> Result<Filled, SpoolError> {
    let begun = connection
        .prepare_cached(
            "SELECT n.name, f.since, f.after, f.until, f.filled FROM fills f JOIN destinations n ON n.id = f.destination
             WHERE f.destination = ?1",
        )?
        .query_row([destination.0], |row| {
            let since = row.get::<_, Option<i64>>(1)?.map(timestamp);
            Ok((row.get::<_, Box<str>>(0)?, since, EventId(row.get(2)?), EventId(row.get(3)?), row.get::<_, u64>(4)?))
        })
        .optional()?;
    let Some((name, since, after, until, filled)) = begun else { return Ok(Filled::Complete { events: 0 }) };
    let selection = Selection { since, ..Selection::all(Scope::To(name)) };
    let picked = pick(connection, &selection, Place::behind(after), until, limit)?;
    let mut write = connection.prepare_cached(
        "INSERT INTO deliveries (destination, event, state, attempts, due, since) VALUES (?1, ?2, 1, 0, ?3, ?3)",
    )?;
    let mut added = 0_i64;
    // What it has already came by a replay meanwhile.
    for Target { place, .. } in picked.targets.iter().filter(|target| target.state.is_none()) {
        write.execute(params![destination.0, place.event.0, now.as_millisecond()])?;
        added += 1;
    }
    let mut changes = Changes::new();
    changes.entry(destination).or_default().pending += added;
    count(connection, &changes)?;
    let filled = filled + added.unsigned_abs();
    match picked.next {
        Some(next) => {
            connection
                .prepare_cached("UPDATE fills SET after = ?2, filled = ?3 WHERE destination = ?1")?
                .execute(params![destination.0, next.event.0, filled])?;
            Ok(Filled::Partly)
        }
        None => {
            connection.prepare_cached("DELETE FROM fills WHERE destination = ?1")?.execute([destination.0])?;
            let detail = format!("{filled} first deliveries made due: {selection}, up to event {until}");
            audit::append(connection, now, CONFIGURATION, "fill", &detail)?;
            Ok(Filled::Complete { events: filled })
        }
    }
}

/// Counts what a selection comes to now; once it is more than `most`, that is all it tells.
pub(super) fn survey(connection: &Connection, selection: &Selection, most: u64) -> Result<Counts, SpoolError> {
    let mut counts = Counts::default();
    let mut after = Some(Place::START);
    while let Some(place) = after.filter(|_| counts.replayed <= most) {
        let picked = pick(connection, selection, place, EventId(i64::MAX as u64), LOOK)?;
        counts.add(picked.counts);
        after = picked.next;
    }
    Ok(counts)
}

/// Looks on from a place, in the order of events, until it has `limit` deliveries or has seen enough for one step.
fn pick(
    connection: &Connection,
    selection: &Selection,
    after: Place,
    until: EventId,
    limit: usize,
) -> Result<Picked, SpoolError> {
    let destinations = destinations(connection, selection.scope.destination())?;
    let picked = Picked { targets: Vec::new(), counts: Counts::default(), next: None };
    let mut look = Look { connection, selection, destinations, limit, looked: 0, picked };
    match &selection.scope {
        Scope::Dead { cause, .. } if selection.events.is_empty() => look.dead(after, until, cause.as_deref())?,
        Scope::Dead { .. } | Scope::Had { .. } | Scope::To(_) if selection.events.is_empty() => {
            look.events(after, until)?;
        }
        Scope::Dead { .. } | Scope::Had { .. } | Scope::To(_) => look.named(after, until)?,
    }
    Ok(look.picked)
}

/// Reads the destination of this name, or all of them.
fn destinations(connection: &Connection, name: Option<&str>) -> Result<Vec<Destination>, SpoolError> {
    let mut statement =
        connection.prepare_cached("SELECT id, wants FROM destinations WHERE ?1 IS NULL OR name = ?1 ORDER BY id")?;
    let rows = statement.query_map([name], |row| {
        let filter = row.get_ref(1)?.as_str()?.parse();
        let filter =
            filter.map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error)))?;
        Ok(Destination { id: DestinationId(row.get(0)?), filter })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Is one look under way.
struct Look<'a> {
    connection: &'a Connection,
    selection: &'a Selection,
    destinations: Vec<Destination>,
    limit: usize,
    looked: usize,
    picked: Picked,
}

impl Look<'_> {
    /// Goes through the dead letters alone: there are few of them, as a rule, among many events.
    fn dead(&mut self, after: Place, until: EventId, cause: Option<&str>) -> Result<(), SpoolError> {
        let named = self.selection.scope.destination().and(self.destinations.first()).map(|named| named.id);
        let connection = self.connection;
        let mut statement;
        let mut rows = if let (Some(id), Some(cause)) = (named, cause) {
            statement = connection.prepare_cached(DEAD_OF_CAUSE)?;
            statement.query(params![id.0, cause, after.event.0, until.0, LOOK])?
        } else {
            statement = connection.prepare_cached(DEAD)?;
            statement.query(params![after.event.0, after.destination.0, until.0, LOOK])?
        };
        while let Some(row) = rows.next()? {
            let place = Place { event: EventId(row.get(0)?), destination: DestinationId(row.get(1)?) };
            self.looked += 1;
            let is_meant = self.destinations.iter().any(|destination| destination.id == place.destination)
                && cause.is_none_or(|cause| row.get_ref(2).is_ok_and(|outcome| outcome.as_str() == Ok(cause)));
            if is_meant && self.takes(place.event)? {
                self.pick(place, Some(DeliveryState::Dead));
            }
            if self.is_enough() {
                self.picked.next = Some(place);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Goes through every event.
    fn events(&mut self, after: Place, until: EventId) -> Result<(), SpoolError> {
        let mut statement = self.connection.prepare_cached(EVENTS)?;
        let mut rows = statement.query(params![after.event.0, until.0, LOOK])?;
        while let Some(row) = rows.next()? {
            let event = candidate(row)?;
            self.event(&event)?;
            if self.is_enough() {
                self.picked.next = Some(Place::behind(event.id));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Goes through the events that are named.
    fn named(&mut self, after: Place, until: EventId) -> Result<(), SpoolError> {
        let events = self.selection.events.iter().copied();
        let mut events: Vec<EventId> = events.filter(|event| *event > after.event && *event <= until).collect();
        events.sort_unstable();
        events.dedup();
        for event in events {
            let found = self.connection.prepare_cached(EVENT)?.query_row([event.0], candidate).optional()?;
            match found {
                Some(event) => self.event(&event)?,
                None => self.looked += 1,
            }
            if self.is_enough() {
                self.picked.next = Some(Place::behind(event));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Decides for each destination what the selection means for an event.
    fn event(&mut self, event: &Candidate) -> Result<(), SpoolError> {
        self.looked += 1;
        if !self.selection.takes(&event.kind, event.received_at) {
            return Ok(());
        }
        for position in 0..self.destinations.len() {
            self.looked += 1;
            let place = Place { event: event.id, destination: self.destinations[position].id };
            let standing = self
                .connection
                .prepare_cached(DELIVERY)?
                .query_row(params![place.destination.0, place.event.0], |row| {
                    Ok((state(row.get(0)?)?, row.get::<_, Option<Box<str>>>(1)?))
                })
                .optional()?;
            match (&self.selection.scope, standing) {
                (Scope::Dead { cause, .. }, Some((DeliveryState::Dead, outcome))) => {
                    if cause.is_none() || *cause == outcome {
                        self.pick(place, Some(DeliveryState::Dead));
                    }
                }
                (Scope::Dead { .. } | Scope::Had { .. }, None) | (Scope::Dead { .. }, Some(_)) => {}
                (Scope::Had { .. } | Scope::To(_), Some((DeliveryState::Fresh | DeliveryState::Retry, _))) => {
                    self.picked.counts.skipped += 1;
                }
                (
                    Scope::Had { .. } | Scope::To(_),
                    Some((state @ (DeliveryState::Delivered | DeliveryState::Dead), _)),
                ) => {
                    self.pick(place, Some(state));
                }
                (Scope::To(_), None) => {
                    if event.is_deliverable && self.destinations[position].filter.wants(&event.kind) {
                        self.pick(place, None);
                    } else {
                        self.picked.counts.unwanted += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells whether the event of a dead letter fits; it is read only where that matters.
    fn takes(&self, event: EventId) -> Result<bool, SpoolError> {
        let Selection { kind, since, until, .. } = self.selection;
        if kind.is_none() && since.is_none() && until.is_none() {
            return Ok(true);
        }
        let event = self.connection.prepare_cached(EVENT)?.query_row([event.0], candidate)?;
        Ok(self.selection.takes(&event.kind, event.received_at))
    }

    fn pick(&mut self, place: Place, state: Option<DeliveryState>) {
        self.picked.targets.push(Target { place, state });
        self.picked.counts.replayed += 1;
    }

    fn is_enough(&self) -> bool {
        self.picked.targets.len() >= self.limit || self.looked >= LOOK
    }
}

fn candidate(row: &rusqlite::Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate {
        id: EventId(row.get(0)?),
        kind: row.get(1)?,
        received_at: timestamp(row.get(2)?),
        is_deliverable: row.get(3)?,
    })
}
