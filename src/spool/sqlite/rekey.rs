//! Steps of a rekeying; see [`Store::rekey`](crate::spool::store::Store::rekey).

use jiff::Timestamp;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::sealed::{self, key_of};
use super::{audit, blocks};
use crate::event::{Digest, EventId, text};
use crate::spool::SpoolError;
use crate::spool::rekey::Rekey;
use crate::spool::seal::{KeyId, Keys, Sealer};

/// Events that one step looks at, and about the bytes of bodies that it writes: some milliseconds of work.
const STEP: usize = 200;
const STEP_BYTES: usize = 512 << 10;

pub(super) const NEXT: &str = "SELECT event, key FROM bodies WHERE event > ?1 ORDER BY event LIMIT ?2";

/// Is what became of an event.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Kept,
    Rewritten,
    Unreadable,
}

pub(super) fn step(
    connection: &Connection,
    mut rekey: Rekey,
    keys: &Keys,
    mut sealer: Option<&mut Sealer>,
    now: Timestamp,
) -> Result<Rekey, SpoolError> {
    let seen: Vec<(i64, Option<KeyId>)> = connection
        .prepare_cached(NEXT)?
        .query_map((rekey.done.after, STEP), |row| Ok((row.get(0)?, key_of(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    let before = EventId(rekey.done.after);
    let mut rewritten = Vec::new();
    let mut bytes = 0;
    let mut looked = 0;
    for (event, key) in &seen {
        let event = EventId(event.unsigned_abs());
        let body = if *key == keys.current() {
            text(connection, event, *key, &mut bytes)?
        } else {
            self::body(connection, event, keys, sealer.as_deref_mut(), &mut bytes)?
        };
        if body == Fate::Rewritten {
            rewritten.push(i64::try_from(event.0).unwrap_or(i64::MAX));
        }
        // Where the body stays closed, so do the answers.
        let answers = if body == Fate::Unreadable {
            Fate::Unreadable
        } else {
            self::answers(connection, event, keys, sealer.as_deref_mut())?
        };
        rekey.done.rewritten += u64::from(body == Fate::Rewritten || answers == Fate::Rewritten);
        rekey.done.unreadable += u64::from(answers == Fate::Unreadable);
        rekey.done.after = event.0;
        looked += 1;
        if bytes >= STEP_BYTES {
            break;
        }
    }
    blocks::forget(connection, &rewritten)?;
    // Those that were never summarised gain by it, too.
    blocks::summarise(connection, before, EventId(rekey.done.after))?;
    rekey.done.complete = looked == seen.len() && seen.len() < STEP;
    let to = keys.current().map_or("no key".to_owned(), |key| format!("key {key}"));
    let step = audit::Step {
        who: &rekey.who,
        action: "rekey",
        asked: format!("to {to}"),
        done: format!("{} events brought to {to}, {} could not be read", rekey.done.rewritten, rekey.done.unreadable),
        is_last: rekey.done.complete,
    };
    audit::tell(connection, &mut rekey.audit, now, &step)?;
    Ok(rekey)
}

fn body(
    connection: &Connection,
    event: EventId,
    keys: &Keys,
    sealer: Option<&mut Sealer>,
    bytes: &mut usize,
) -> Result<Fate, SpoolError> {
    let body = connection
        .prepare_cached(
            "SELECT b.body, b.key, e.digest FROM bodies b JOIN events e ON e.id = b.event WHERE b.event = ?1",
        )?
        .query_row([event.0], |row| Ok(sealed::body(row.get(0)?, key_of(row, 1)?, event, Digest(row.get(2)?), keys)))?;
    let Ok(body) = body else { return Ok(Fate::Unreadable) };
    *bytes += body.len();
    let digest = keys.digest(&body);
    let text = sealer.is_none().then(|| text::of(&body));
    let (key, body) = sealed::sealed_body(sealer, event, digest, &body);
    connection
        .prepare_cached("UPDATE bodies SET key = ?2, body = ?3 WHERE event = ?1")?
        .execute(params![event.0, key, body])?;
    connection
        .prepare_cached("UPDATE events SET digest = ?2, text = ?3 WHERE id = ?1")?
        .execute(params![event.0, digest.0, text])?;
    Ok(Fate::Rewritten)
}

/// Gives an event the text that it is found by, if its body is plain and it has none: an older version stored it.
fn text(connection: &Connection, event: EventId, key: Option<KeyId>, bytes: &mut usize) -> Result<Fate, SpoolError> {
    if key.is_some() {
        return Ok(Fate::Kept);
    }
    let body: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT b.body FROM events e CROSS JOIN bodies b ON b.event = e.id WHERE e.id = ?1 AND e.text IS NULL",
        )?
        .query_row([event.0], |row| row.get(0))
        .optional()?;
    let Some(body) = body else { return Ok(Fate::Kept) };
    *bytes += body.len();
    connection
        .prepare_cached("UPDATE events SET text = ?2 WHERE id = ?1")?
        .execute(params![event.0, text::of(&body)])?;
    Ok(Fate::Rewritten)
}

fn answers(
    connection: &Connection,
    event: EventId,
    keys: &Keys,
    mut sealer: Option<&mut Sealer>,
) -> Result<Fate, SpoolError> {
    let kept: Vec<(i64, i64, i64, Value)> = connection
        .prepare_cached("SELECT id, destination, at, excerpt FROM attempts WHERE event = ?1 AND length(excerpt) > 0")?
        .query_map([event.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    let mut fate = Fate::Kept;
    for (id, destination, at, excerpt) in kept {
        let excerpt = ValueRef::from(&excerpt);
        if sealed::key_of_excerpt(excerpt) == keys.current() {
            continue;
        }
        let Ok(text) = sealed::excerpt(excerpt, event, destination, at, keys) else { return Ok(Fate::Unreadable) };
        let written = sealed::sealed_excerpt(sealer.as_deref_mut(), event, destination, at, &text);
        connection.prepare_cached("UPDATE attempts SET excerpt = ?2 WHERE id = ?1")?.execute(params![id, written])?;
        fate = Fate::Rewritten;
    }
    Ok(fate)
}
