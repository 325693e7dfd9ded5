//! How many dead letters there are by destination and cause: counted as they die and go, so that a million of them are
//! told at once.
//!
//! Triggers would do it, too; but with one on a table each of its changes keeps pages aside for its undoing, which took a
//! tenth of all the writer's time, for events that never die.

use rusqlite::{Connection, params};

use crate::event::EventId;
use crate::spool::SpoolError;
use crate::spool::record::DestinationId;

/// Says whether dead letters are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// They are.
    Kept,
    /// They are no more, for the table is damaged.
    Damaged,
}

/// Tells whether the counts cannot be read.
pub(super) fn are_damaged(connection: &Connection) -> bool {
    let read = connection.query_row("SELECT sum(count) FROM dead_causes", [], |_| Ok(()));
    read.is_err_and(|error| SpoolError::from(error).is_damage())
}

/// Counts a delivery that has just died.
pub(super) fn died(connection: &Connection, destination: DestinationId, cause: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO dead_causes VALUES (?1, ?2, 1) ON CONFLICT DO UPDATE SET count = count + 1")?
        .execute(params![destination.0, cause])?;
    Ok(())
}

/// Takes a delivery out of the counts that has just been made due again, and had died of this.
pub(super) fn lives(connection: &Connection, destination: DestinationId, cause: &str) -> rusqlite::Result<()> {
    let counted = connection
        .prepare_cached("UPDATE dead_causes SET count = count - 1 WHERE destination = ?1 AND outcome = ?2")?
        .execute(params![destination.0, cause])?;
    forget_none(connection, destination, counted)
}

/// Takes a delivery out of the counts, if it is dead, before it is made due again or deleted.
pub(super) fn leaves(
    connection: &Connection,
    counts: Counts,
    destination: DestinationId,
    event: EventId,
) -> rusqlite::Result<()> {
    if counts == Counts::Damaged {
        return Ok(());
    }
    let counted = connection
        .prepare_cached(
            "UPDATE dead_causes SET count = count - 1 WHERE (destination, outcome) =
               (SELECT destination, outcome FROM deliveries WHERE destination = ?1 AND event = ?2 AND state = 3)",
        )?
        .execute(params![destination.0, event.0])?;
    forget_none(connection, destination, counted)
}

/// Deletes the counts that have come to nothing, where some were changed.
fn forget_none(connection: &Connection, destination: DestinationId, counted: usize) -> rusqlite::Result<()> {
    if counted > 0 {
        connection
            .prepare_cached("DELETE FROM dead_causes WHERE destination = ?1 AND count = 0")?
            .execute([destination.0])?;
    }
    Ok(())
}
