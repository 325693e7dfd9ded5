//! The audit table: rows are added at its end, never changed, and taken from its front alone.
//!
//! A change that takes many steps is told when it begins and when it ends. What it has come to meanwhile stands in
//! `audit_tasks`, in the transaction of each step: where the process was killed, the next one finds it there.

use std::ops::ControlFlow;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::view::timestamp;
use crate::spool::SpoolError;
use crate::spool::audit::{Hash, Link};
use crate::spool::record::AuditRow;

/// Is one step of a change, as the audit tells it.
pub(super) struct Step<'a> {
    pub(super) who: &'a str,
    pub(super) action: &'a str,
    /// What was asked for.
    pub(super) asked: String,
    /// What was done so far.
    pub(super) done: String,
    pub(super) is_last: bool,
}

/// Adds a row, and returns its number.
pub(super) fn append(
    connection: &Connection,
    at: Timestamp,
    who: &str,
    action: &str,
    detail: &str,
) -> rusqlite::Result<i64> {
    // What is sealed is what is stored: milliseconds.
    let at = timestamp(at.as_millisecond());
    let Link { id, hash } = head(connection)?.next(at, who, action, detail);
    connection
        .prepare_cached("INSERT INTO audit (id, at, who, action, detail, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![id, at.as_millisecond(), who, action, detail, hash.0])?;
    Ok(id)
}

/// Returns the end of the chain.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<Link> {
    let last = connection
        .prepare_cached("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1")?
        .query_row([], link)
        .optional()?;
    last.map_or_else(|| anchor(connection), Ok)
}

/// Returns the last row that was taken from the front.
fn anchor(connection: &Connection) -> rusqlite::Result<Link> {
    connection.prepare_cached("SELECT id, hash FROM audit_anchor")?.query_row([], link)
}

/// Tells of a step: one row if it is the first and the last, else one at the beginning and one at the end.
pub(super) fn tell(
    connection: &Connection,
    task: &mut Option<i64>,
    at: Timestamp,
    step: &Step<'_>,
) -> rusqlite::Result<()> {
    let Step { who, action, asked, done, is_last } = step;
    match *task {
        None if *is_last => {
            append(connection, at, who, action, done)?;
        }
        None => {
            let begun = append(connection, at, who, &format!("{action}_begun"), asked)?;
            connection
                .prepare_cached("INSERT INTO audit_tasks (begun, who, action, done) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![begun, who, action, done])?;
            *task = Some(begun);
        }
        Some(begun) => {
            connection
                .prepare_cached("UPDATE audit_tasks SET done = ?2 WHERE begun = ?1")?
                .execute(params![begun, done])?;
            if *is_last {
                end(connection, begun, None, at)?;
            }
        }
    }
    Ok(())
}

/// Tells what a change came to that is over, and why it broke off if it did.
pub(super) fn end(
    connection: &Connection,
    begun: i64,
    broken_off: Option<&str>,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let task = connection
        .prepare_cached("DELETE FROM audit_tasks WHERE begun = ?1 RETURNING who, action, done")?
        .query_row([begun], |row| {
            Ok((row.get::<_, Box<str>>(0)?, row.get::<_, Box<str>>(1)?, row.get::<_, Box<str>>(2)?))
        })
        .optional()?;
    let Some((who, action, done)) = task else { return Ok(()) };
    match broken_off {
        None => append(connection, at, &who, &action, &format!("{done} (begun in row {begun})"))?,
        Some(reason) => {
            let detail = format!("{done} (begun in row {begun}), then it broke off: {reason}");
            append(connection, at, &who, &format!("{action}_broken_off"), &detail)?
        }
    };
    Ok(())
}

/// Returns the changes that no end is told of.
pub(super) fn unended(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached("SELECT begun FROM audit_tasks ORDER BY begun")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Takes at most `limit` rows from the front that are older than `cutoff`, and remembers the last; returns how many.
pub(super) fn trim(connection: &Connection, cutoff: Timestamp, limit: usize) -> rusqlite::Result<usize> {
    let front: Vec<(Link, i64)> = connection
        .prepare_cached("SELECT id, hash, at FROM audit ORDER BY id LIMIT ?1")?
        .query_map([limit], |row| Ok((link(row)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    // Where a clock was set back, an old row behind a newer one stays as long as that.
    let last = front.into_iter().take_while(|(_, at)| *at < cutoff.as_millisecond()).last();
    let Some((Link { id, hash }, _)) = last else { return Ok(0) };
    connection.prepare_cached("UPDATE audit_anchor SET id = ?1, hash = ?2")?.execute(params![id, hash.0])?;
    connection.prepare_cached("DELETE FROM audit WHERE id <= ?1")?.execute([id])
}

/// Goes through the chain with one look at the table, oldest first, each row with the link before it, as long as it is
/// asked to; returns the last link.
pub(super) fn chain(
    connection: &Connection,
    each: &mut dyn FnMut(&Link, AuditRow) -> ControlFlow<()>,
) -> Result<Link, SpoolError> {
    // Both queries see the same state: retention may work meanwhile.
    let transaction = connection.unchecked_transaction()?;
    let mut previous = anchor(&transaction)?;
    let mut statement =
        transaction.prepare_cached("SELECT id, at, who, action, detail, hash FROM audit ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let row = audit_row(row)?;
        let link = Link { id: row.id, hash: row.hash };
        if each(&previous, row).is_break() {
            break;
        }
        previous = link;
    }
    Ok(previous)
}

pub(super) fn page(connection: &Connection, before: Option<i64>, most: i64) -> Result<Vec<AuditRow>, SpoolError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, at, who, action, detail, hash FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let rows = statement.query_map((before.unwrap_or(i64::MAX), most), audit_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the last row that a log tells of; where none is known, the last one that there is.
pub(super) fn told(connection: &Connection) -> rusqlite::Result<i64> {
    let told = connection
        .prepare_cached("SELECT value FROM meta WHERE key = 'audit_told'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    told.map_or_else(|| Ok(head(connection)?.id), Ok)
}

/// Keeps which row the log told of last.
pub(super) fn remember_told(connection: &Connection, id: i64) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("INSERT INTO meta VALUES ('audit_told', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1")?
        .execute([id])
}

/// Returns the rows that came after one, oldest first.
pub(super) fn links_after(connection: &Connection, id: i64) -> rusqlite::Result<Vec<(Link, Box<str>)>> {
    let mut statement = connection.prepare_cached("SELECT id, hash, action FROM audit WHERE id > ?1 ORDER BY id")?;
    statement.query_map([id], |row| Ok((link(row)?, row.get(2)?)))?.collect()
}

fn link(row: &Row<'_>) -> rusqlite::Result<Link> {
    Ok(Link { id: row.get(0)?, hash: Hash(row.get(1)?) })
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        id: row.get(0)?,
        at: timestamp(row.get(1)?),
        who: row.get(2)?,
        action: row.get(3)?,
        detail: row.get(4)?,
        hash: Hash(row.get(5)?),
    })
}
