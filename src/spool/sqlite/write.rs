//! The writing statements.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::parts::{Failed, LeftOut};
use super::replay::{begin_fill, is_filling};
use super::sealed::sealed_excerpt;
use super::view::{acknowledged, opened};
use super::{audit, causes, meta};
use crate::config::Start;
use crate::event::{EventId, text};
use crate::spool::SpoolError;
use crate::spool::record::{Acknowledgement, DestinationId, Earlier, GapNote, Pause};
use crate::spool::seal::{Sealer, body_context};
use crate::spool::settlement::{Outcome, Settlement};
use crate::spool::store::{Batch, LedgerEntry, NewEvent, Part, Registered, Repeat};
use crate::spool::writer::Destined;

/// Failed attempts that are kept of one delivery, the newest: what an operator reads, however long a handler is down.
const ATTEMPTS_KEPT: usize = 20;

/// How the counters of a destination change with a batch.
#[derive(Default)]
pub(super) struct Change {
    pub(super) pending: i64,
    pub(super) dead: i64,
    delivered: i64,
}

pub(super) type Changes = BTreeMap<DestinationId, Change>;

pub(super) fn last_event(connection: &Connection) -> Result<EventId, SpoolError> {
    Ok(EventId(meta(connection, "last_event")?.unwrap_or(0).unsigned_abs()))
}

/// Writes a batch.
pub(super) fn batch(
    connection: &Connection,
    batch: &Batch,
    mut sealer: Option<&mut Sealer>,
    without: &LeftOut,
) -> Result<(), Failed> {
    let mut changes = Changes::new();
    insert_events(connection, &batch.events, &mut changes, sealer.as_deref_mut())?;
    for (nth, again) in batch.repeats.iter().enumerate() {
        without.unless(Part::Repeat(nth), || repeat(connection, again))?;
    }
    for (nth, settlement) in batch.settlements.iter().enumerate() {
        let change = changes.entry(settlement.destination).or_default();
        let Some(changed) = without.unless(Part::Report(nth), || settle(connection, settlement, change))? else {
            continue;
        };
        let Settlement { destination, event, outcome, .. } = settlement;
        if let (true, Outcome::Dead { reason }) = (changed, outcome) {
            without
                .unless(Part::Count(*destination, *event), || Ok(causes::died(connection, *destination, reason)?))?;
        }
        without.unless(Part::Attempt(nth), || attempt(connection, settlement, sealer.as_deref_mut()))?;
    }
    for (nth, entry) in batch.ledger.iter().enumerate() {
        ledger(connection, (nth, entry), &mut changes, without)?;
    }
    Ok(count(connection, &changes)?)
}

fn repeat(connection: &Connection, repeat: &Repeat) -> Result<(), SpoolError> {
    connection
        .prepare_cached("INSERT INTO repeats (event, at, subscription) VALUES (?1, ?2, ?3)")?
        .execute(params![repeat.of.0, repeat.at.as_millisecond(), repeat.subscription])?;
    Ok(())
}

fn insert_events(
    connection: &Connection,
    events: &[NewEvent],
    changes: &mut Changes,
    mut sealer: Option<&mut Sealer>,
) -> Result<(), SpoolError> {
    let Some(last) = events.last() else { return Ok(()) };
    let mut event = connection.prepare_cached(
        "INSERT INTO events (id, kind, subscription, request_id, digest, event_ts, received_at, size, parked, text)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let mut body = connection.prepare_cached("INSERT INTO bodies (event, key, body) VALUES (?1, ?2, ?3)")?;
    let mut delivery = connection.prepare_cached(
        "INSERT INTO deliveries (destination, event, state, attempts, due, since) VALUES (?1, ?2, 0, 0, 0, ?3)",
    )?;
    let mut heard: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for new in events {
        let NewEvent { event: e, digest, parked, destinations } = new;
        let received_at = e.received_at.as_millisecond();
        event.execute(params![
            e.id.0,
            e.kind,
            e.subscription,
            e.request_id.to_string(),
            digest.0,
            e.event_ts,
            received_at,
            e.body.len(),
            parked,
            sealer.is_none().then(|| text::of(&e.body))
        ])?;
        match sealer.as_deref_mut() {
            None => body.execute(params![e.id.0, None::<[u8; 8]>, &e.body[..]])?,
            Some(sealer) => {
                let sealed = sealer.seal(&body_context(e.id, *digest), &e.body);
                body.execute(params![e.id.0, sealer.id().0, sealed])?
            }
        };
        for id in destinations.iter() {
            delivery.execute(params![id.0, e.id.0, received_at])?;
            changes.entry(*id).or_default().pending += 1;
        }
        heard.insert(&e.subscription, e.received_at);
    }
    for (subscription, at) in heard {
        connection
            .prepare_cached(
                "INSERT INTO subscriptions (name, alive_at, last_event_at) VALUES (?1, ?2, ?2)
                 ON CONFLICT DO UPDATE SET alive_at = ?2, last_event_at = ?2",
            )?
            .execute(params![subscription, at.as_millisecond()])?;
    }
    connection.prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'last_event'")?.execute([last.event.id.0])?;
    let parked = events.iter().filter(|new| new.parked.is_some()).count();
    for (key, count) in [("events", events.len()), ("parked", parked)] {
        connection.prepare_cached("UPDATE meta SET value = value + ?2 WHERE key = ?1")?.execute((key, count))?;
    }
    Ok(())
}

/// Writes a report, unless the delivery is settled already: then it was replayed or reported before. Tells whether it
/// was written.
fn settle(connection: &Connection, settlement: &Settlement, change: &mut Change) -> Result<bool, SpoolError> {
    let Settlement { destination, event, attempts, at, outcome, failed: _ } = settlement;
    let at = at.as_millisecond();
    let (state, due, settled_at, text) = match outcome {
        Outcome::Delivered { status } => (2, 0, Some(at), format!("status {status}").into_boxed_str()),
        Outcome::Retry { due, cause } => (1, due.as_millisecond(), None, cause.clone()),
        Outcome::Dead { reason } => (3, 0, Some(at), reason.clone()),
    };
    let changed = connection
        .prepare_cached(
            "UPDATE deliveries SET state = ?3, attempts = ?4, due = ?5, settled_at = ?6, outcome = ?7
             WHERE destination = ?1 AND event = ?2 AND state < 2",
        )?
        .execute(params![destination.0, event.0, state, attempts, due, settled_at, text])?;
    if changed == 1 {
        match outcome {
            Outcome::Delivered { .. } => {
                change.pending -= 1;
                change.delivered += 1;
            }
            Outcome::Dead { .. } => {
                change.pending -= 1;
                change.dead += 1;
            }
            Outcome::Retry { .. } => {}
        }
    }
    Ok(changed == 1)
}

/// Keeps how an attempt failed.
fn attempt(connection: &Connection, settlement: &Settlement, sealer: Option<&mut Sealer>) -> Result<(), SpoolError> {
    let Settlement { destination, event, failed, .. } = settlement;
    let Some(failed) = failed else { return Ok(()) };
    connection
        .prepare_cached(
            "INSERT INTO attempts (event, destination, attempt, at, elapsed_ms, cause, excerpt)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
             WHERE EXISTS (SELECT 1 FROM deliveries WHERE destination = ?2 AND event = ?1)",
        )?
        .execute(params![
            event.0,
            destination.0,
            failed.number,
            failed.at.as_millisecond(),
            failed.elapsed_ms,
            failed.cause,
            sealed_excerpt(sealer, *event, destination.0, failed.at.as_millisecond(), &failed.excerpt)
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM attempts WHERE event = ?1 AND destination = ?2 AND id <= (
               SELECT id FROM attempts WHERE event = ?1 AND destination = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
        )?
        .execute(params![event.0, destination.0, ATTEMPTS_KEPT])?;
    Ok(())
}

fn ledger(
    connection: &Connection,
    (nth, entry): (usize, &LedgerEntry),
    changes: &mut Changes,
    without: &LeftOut,
) -> Result<(), Failed> {
    match entry {
        LedgerEntry::Alive { subscription, at } => alive(connection, subscription, *at)?,
        LedgerEntry::GapOpened { subscription, at, reason } => {
            open_gap(connection, without, nth, (subscription, *at, reason))?;
        }
        LedgerEntry::GapClosed { subscription, at, since } => close_gap(connection, subscription, *at, *since)?,
        LedgerEntry::Breaker { destination, opened, revived } => {
            connection
                .prepare_cached(
                    "UPDATE destinations SET breaker_since = ?2, breaker_probe_at = ?3, breaker_probes = ?4
                     WHERE id = ?1",
                )?
                .execute(params![
                    destination.0,
                    opened.map(|opened| opened.since.as_millisecond()),
                    opened.map(|opened| opened.probe_at.as_millisecond()),
                    opened.map(|opened| opened.probes)
                ])?;
            if let Some(opened) = opened {
                let change = changes.entry(*destination).or_default();
                for event in revived {
                    let cause = without.unless(Part::Revival(*destination, *event), || {
                        revive(connection, *destination, *event, opened.since, change)
                    })?;
                    if let Some(Some(cause)) = cause {
                        without.unless(Part::Count(*destination, *event), || {
                            Ok(causes::lives(connection, *destination, &cause)?)
                        })?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Makes an event due if it is a dead letter, as if nothing had been; returns what it had died of.
fn revive(
    connection: &Connection,
    destination: DestinationId,
    event: EventId,
    due: Timestamp,
    change: &mut Change,
) -> Result<Option<Box<str>>, SpoolError> {
    let cause = connection
        .prepare_cached("SELECT outcome FROM deliveries WHERE destination = ?1 AND event = ?2 AND state = 3")?
        .query_row(params![destination.0, event.0], |row| row.get(0))
        .optional()?;
    let revived = connection
        .prepare_cached(
            "UPDATE deliveries SET state = 1, attempts = 0, due = ?3, since = ?3, settled_at = NULL, outcome = NULL
             WHERE destination = ?1 AND event = ?2 AND state = 3",
        )?
        .execute(params![destination.0, event.0, due.as_millisecond()])?;
    if revived == 1 {
        change.pending += 1;
        change.dead -= 1;
    }
    Ok(cause)
}

fn alive(connection: &Connection, subscription: &str, at: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO subscriptions (name, alive_at) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET alive_at = ?2",
        )?
        .execute(params![subscription, at.as_millisecond()])?;
    Ok(())
}

fn close_gap(connection: &Connection, subscription: &str, at: Timestamp, since: Timestamp) -> rusqlite::Result<()> {
    // Where the clock was set back since it opened, it would end before it began.
    let lasted_ms: Option<i64> = connection
        .prepare_cached(
            "UPDATE gaps SET opened_at = min(opened_at, ?3), closed_at = ?2 WHERE subscription = ?1 AND closed_at IS NULL
             RETURNING closed_at - opened_at",
        )?
        .query_row(params![subscription, at.as_millisecond(), since.as_millisecond()], |row| row.get(0))
        .optional()?;
    alive(connection, subscription, at)?;
    if let Some(lasted_ms) = lasted_ms {
        connection
            .prepare_cached("UPDATE subscriptions SET gaps = gaps + 1, gap_ms = gap_ms + ?2 WHERE name = ?1")?
            .execute(params![subscription, lasted_ms])?;
    }
    Ok(())
}

/// Says whether the newest events are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Yes,
    No,
}

/// Opens a gap; one that is open already stays as it is. Where the newest events are damaged, it does not say which of
/// them came last before it.
fn open_gap(
    connection: &Connection,
    without: &LeftOut,
    nth: usize,
    (subscription, at, reason): (&str, Timestamp, &str),
) -> Result<(), Failed> {
    let write = |look| Ok(insert_gap(connection, subscription, at, reason, look)?);
    match without.unless(Part::LastBefore(nth), || write(Look::Yes))? {
        Some(()) => Ok(()),
        None => Ok(write(Look::No)?),
    }
}

/// Events of the same batch may have come after the gap: the last one before it is among the newest then.
fn insert_gap(
    connection: &Connection,
    subscription: &str,
    at: Timestamp,
    reason: &str,
    look: Look,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO gaps (subscription, opened_at, reason, last_event_at)
             SELECT ?1, ?2, ?3, iif(last_event_at <= ?2, last_event_at, (
               SELECT received_at FROM events
               WHERE ?4 AND id > (SELECT value - 10000 FROM meta WHERE key = 'last_event')
                 AND subscription = ?1 AND received_at <= ?2 ORDER BY id DESC LIMIT 1))
             FROM subscriptions WHERE name = ?1
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![subscription, at.as_millisecond(), reason, look == Look::Yes])?;
    Ok(())
}

/// The last sign of life opens the gap of a process that ended without a word; a first start opens one at `now`.
pub(super) fn begin(
    connection: &Connection,
    subscriptions: &[Arc<str>],
    now: Timestamp,
    without: &LeftOut,
) -> Result<(), Failed> {
    for (nth, name) in subscriptions.iter().enumerate() {
        connection
            .prepare_cached("INSERT INTO subscriptions (name) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([name])?;
        let alive_at: Option<i64> = connection
            .prepare_cached("SELECT max(alive_at) FROM subscriptions WHERE name = ?1")?
            .query_row([name], |row| row.get(0))?;
        let (at, reason) = match alive_at.and_then(|at| Timestamp::from_millisecond(at).ok()) {
            Some(at) => (at.min(now), "zoomhook was not running"),
            None => (now, "first start"),
        };
        open_gap(connection, without, nth, (name, at, reason))?;
    }
    Ok(())
}

pub(super) fn register(connection: &Connection, destinations: &[Destined]) -> Result<Vec<Registered>, SpoolError> {
    let mut registered = Vec::with_capacity(destinations.len());
    for Destined { name, filter, start } in destinations {
        let is_known = connection.prepare_cached("SELECT 1 FROM destinations WHERE name = ?1")?.exists([name])?;
        connection
            .prepare_cached(
                "INSERT INTO destinations (name, wants) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET wants = ?2",
            )?
            .execute(params![name, filter.to_string()])?;
        let found = connection
            .prepare_cached(
                "SELECT id, paused_at, breaker_since, breaker_probe_at, breaker_probes FROM destinations WHERE name = ?1",
            )?
            .query_row([name], |row| {
                let paused_at: Option<i64> = row.get(1)?;
                Ok(Registered {
                    id: DestinationId(row.get(0)?),
                    pause: if paused_at.is_some() { Pause::On } else { Pause::Off },
                    breaker: opened(row, 2)?,
                    is_filling: false,
                })
            })?;
        let until = last_event(connection)?;
        match start {
            Start::Beginning if !is_known => begin_fill(connection, found.id, None, until)?,
            Start::At(since) if !is_known => begin_fill(connection, found.id, Some(*since), until)?,
            Start::Beginning | Start::At(_) | Start::Now => {}
        }
        let found = Registered { is_filling: is_filling(connection, found.id)?, ..found };
        registered.push(found);
    }
    Ok(registered)
}

/// Notes which destinations are configured, and since when the others no longer are.
pub(super) fn configured(connection: &Connection, names: &[Arc<str>], now: Timestamp) -> Result<(), SpoolError> {
    let known: Vec<(i64, Box<str>)> = connection
        .prepare_cached("SELECT id, name FROM destinations")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (id, name) in known {
        let gone = !names.iter().any(|configured| **configured == *name);
        connection
            .prepare_cached(
                "UPDATE destinations SET orphaned_at = CASE WHEN ?2 THEN coalesce(orphaned_at, ?3) END WHERE id = ?1",
            )?
            .execute((id, gone, now.as_millisecond()))?;
    }
    Ok(())
}

pub(super) fn pause(
    connection: &Connection,
    name: &str,
    pause: Pause,
    who: &str,
    now: Timestamp,
) -> Result<Option<DestinationId>, SpoolError> {
    let (paused_at, action) = match pause {
        Pause::On => (Some(now.as_millisecond()), "pause"),
        Pause::Off => (None, "resume"),
    };
    // A second pause keeps the time of the first.
    let id = connection
        .prepare_cached(
            "UPDATE destinations SET paused_at = CASE WHEN ?2 IS NULL THEN NULL ELSE coalesce(paused_at, ?2) END
             WHERE name = ?1 RETURNING id",
        )?
        .query_row(params![name, paused_at], |row| row.get(0))
        .optional()?;
    if id.is_some() {
        audit::append(connection, now, who, action, &format!("destination {name}"))?;
    }
    Ok(id.map(DestinationId))
}

/// Notes that a gap was dealt with, unless that is noted already; a note whose place another takes stays in the audit
/// table.
pub(super) fn acknowledge(
    connection: &Connection,
    gap: i64,
    note: &GapNote,
    who: &str,
    now: Timestamp,
) -> Result<Acknowledgement, SpoolError> {
    let GapNote { text, earlier } = note;
    let found = connection
        .prepare_cached("SELECT closed_at, acknowledged_at, acknowledged_by, note FROM gaps WHERE id = ?1")?
        .query_row([gap], |row| Ok((row.get::<_, Option<i64>>(0)?, acknowledged(row, 1)?)))
        .optional()?;
    let detail = match (found, earlier) {
        (None, _) => return Ok(Acknowledgement::NoSuchGap),
        (Some((None, _)), _) => return Ok(Acknowledgement::StillOpen),
        (Some((Some(_), Some(known))), Earlier::Stays) => return Ok(Acknowledgement::Known(known)),
        (Some((Some(_), Some(known))), Earlier::Goes) => {
            format!("gap {gap}: {text}, in place of the note of {}: {}", known.by, known.note)
        }
        (Some((Some(_), None)), _) => format!("gap {gap}: {text}"),
    };
    connection
        .prepare_cached("UPDATE gaps SET acknowledged_at = ?2, acknowledged_by = ?3, note = ?4 WHERE id = ?1")?
        .execute(params![gap, now.as_millisecond(), who, text])?;
    audit::append(connection, now, who, "acknowledge_gap", &detail)?;
    Ok(Acknowledgement::Noted)
}

pub(super) fn count(connection: &Connection, changes: &Changes) -> Result<(), SpoolError> {
    for (id, change) in changes {
        connection
            .prepare_cached(
                "UPDATE destinations SET pending = pending + ?2, dead = dead + ?3, delivered = delivered + ?4
                 WHERE id = ?1",
            )?
            .execute(params![id.0, change.pending, change.dead, change.delivered])?;
    }
    Ok(())
}
