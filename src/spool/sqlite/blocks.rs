//! Summaries of blocks of events: by them a search passes over what cannot fit; see [`summary`](crate::event::text::summary).
//!
//! A block is summarised from its rows once its last event is written, in the same transaction. With the first event of
//! it that is deleted, and with the first text that is given or taken, its summary goes: it would tell of what is gone,
//! or nothing of what came. Where there is none, events are looked at one by one, as they are in the newest block and in
//! what an older version stored.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::event::EventId;
use crate::event::text::Facts;
use crate::event::text::summary::{BLOCK, Kept, Summary, block_of};
use crate::spool::SpoolError;
use crate::spool::record::{Text, Within};

/// Blocks that are passed over at a time: the way back to a list costs as much as some summaries, and a list may be short.
const LEAP: u32 = 16;

pub(super) const ROWS: &str = "SELECT id, kind, request_id, text FROM events WHERE id >= ?1 AND id < ?2";

/// Returns the first event that a block may have.
pub(super) fn first_of(block: u64) -> EventId {
    EventId(block * BLOCK)
}

/// Summarises the blocks whose last event comes after `after` and not after `until`, within a transaction.
pub(super) fn summarise(connection: &Connection, after: EventId, until: EventId) -> Result<(), SpoolError> {
    for block in block_of(after.0 + 1)..block_of(until.0 + 1) {
        match summary(connection, block) {
            Ok(summary) => {
                connection
                    .prepare_cached("INSERT OR REPLACE INTO summaries (block, facts, text) VALUES (?1, ?2, ?3)")?
                    .execute(params![block, summary.facts(), summary.text()])?;
            }
            // The engine has taken all of the transaction back: who tries again does it without.
            Err(error) if connection.is_autocommit() => return Err(error.into()),
            // What is received must be stored, whatever became of the rows before it.
            Err(error) => tracing::warn!(
                %error,
                first = %first_of(block),
                last = block * BLOCK + (BLOCK - 1),
                "events cannot be read to summarise them: searches look at them one by one"
            ),
        }
    }
    Ok(())
}

fn summary(connection: &Connection, block: u64) -> rusqlite::Result<Summary> {
    let mut summary = Summary::default();
    let mut statement = connection.prepare_cached(ROWS)?;
    let mut rows = statement.query((first_of(block).0, first_of(block + 1).0))?;
    while let Some(row) = rows.next()? {
        let facts = Facts { id: row.get(0)?, kind: row.get_ref(1)?.as_str()?, request_id: row.get_ref(2)?.as_str()? };
        summary.add(facts, row.get_ref(3)?.as_str_or_null()?.unwrap_or_default());
    }
    Ok(summary)
}

/// Takes the summaries of the blocks that events are in.
pub(super) fn forget(connection: &Connection, events: &[i64]) -> Result<(), SpoolError> {
    let mut blocks: Vec<u64> = events.iter().map(|event| block_of(event.unsigned_abs())).collect();
    blocks.dedup();
    for block in blocks {
        connection.prepare_cached("DELETE FROM summaries WHERE block = ?1")?.execute([block])?;
    }
    Ok(())
}

/// Returns how many blocks, from one downwards, a text cannot be found in: at most so many as are passed over at a time.
pub(super) fn unfit(connection: &Connection, block: u64, text: &Text) -> Result<u32, SpoolError> {
    let mut unfit = 0;
    while unfit < LEAP && u64::from(unfit) <= block && !may_fit(connection, block - u64::from(unfit), text)? {
        unfit += 1;
    }
    Ok(unfit)
}

/// Tells whether a text may be found in a block.
fn may_fit(connection: &Connection, block: u64, text: &Text) -> Result<bool, SpoolError> {
    let mut statement = connection.prepare_cached("SELECT facts, text FROM summaries WHERE block = ?1")?;
    let may_fit = statement.query_row([block], |row| {
        let texts = match text.within {
            Within::Body => Some(row.get_ref(1)?.as_blob()?),
            Within::Row => None,
        };
        Ok(Kept { block, facts: row.get_ref(0)?.as_blob()?, text: texts }.may_fit(&text.words))
    });
    Ok(may_fit.optional()?.unwrap_or(true))
}
