//! The parts of a batch that are left out where the file is damaged: all else in the batch must not wait for them.
//!
//! The engine takes no more writes in a transaction that came upon damage, so that the batch is written again without
//! the part that failed. Lest it be written as often as parts fail, those that would fail next are left out with it.

use std::collections::BTreeSet;
use std::mem::discriminant;

use rusqlite::{Connection, params};

use crate::event::EventId;
use crate::spool::SpoolError;
use crate::spool::record::DestinationId;
use crate::spool::settlement::Outcome;
use crate::spool::store::{Batch, LedgerEntry, Part};

/// Commits in a row that the disk may fail by not giving back what was written before that counts as damage: what comes
/// back by itself does so within.
const HICCUPS: u32 = 4;

/// Is why a batch could not be written, and the part at which it failed, where that is one that can be left out.
pub(super) struct Failed {
    pub(super) part: Option<Part>,
    pub(super) error: SpoolError,
}

impl<E: Into<SpoolError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { part: None, error: error.into() }
    }
}

/// Is what is left out of a transaction, and at what the last part failed.
#[derive(Default)]
pub(super) struct LeftOut {
    parts: BTreeSet<Part>,
    error: Option<SpoolError>,
    /// Commits in a row that the disk has failed so.
    hiccups: u32,
}

impl LeftOut {
    /// Leaves out nothing as yet, after so many commits that the disk has failed.
    pub(super) fn after(hiccups: u32) -> Self {
        Self { hiccups, ..Self::default() }
    }

    /// Writes a part; returns `None` where it is left out.
    pub(super) fn unless<T>(
        &self,
        part: Part,
        write: impl FnOnce() -> Result<T, SpoolError>,
    ) -> Result<Option<T>, Failed> {
        if self.parts.contains(&part) {
            return Ok(None);
        }
        write().map(Some).map_err(|error| Failed { part: Some(part), error })
    }

    /// Takes note of the part at which a transaction failed, and of those that would fail next; returns the error where
    /// it is none that can be gone on without.
    pub(super) fn note(&mut self, connection: &Connection, batch: &Batch, failed: Failed) -> Result<(), SpoolError> {
        let Failed { part: Some(part), error } = failed else { return Err(failed.error) };
        let is_damage = error.is_damage() || error.is_unread() && self.hiccups >= HICCUPS;
        if !is_damage || !self.parts.insert(part) {
            return Err(error);
        }
        self.error = Some(error);
        match part {
            // Of history and counts, the batch goes without all of the kind.
            Part::Repeat(_) => self.parts.extend((0..batch.repeats.len()).map(Part::Repeat)),
            Part::Attempt(_) => {
                let failed = batch.settlements.iter().enumerate().filter(|(_, one)| one.failed.is_some());
                self.parts.extend(failed.map(|(nth, _)| Part::Attempt(nth)));
            }
            Part::Count(..) => {
                let dead = batch.settlements.iter().filter(|one| matches!(one.outcome, Outcome::Dead { .. }));
                self.parts.extend(dead.map(|one| Part::Count(one.destination, one.event)));
                self.parts.extend(revivals(batch).map(|(destination, event)| Part::Count(destination, event)));
            }
            Part::Report(_) | Part::Revival(..) => self.note_unreadable(connection, batch),
            Part::LastBefore(_) => {}
        }
        Ok(())
    }

    /// Takes note of every report whose delivery cannot be read, and of every dead letter that has another chance.
    fn note_unreadable(&mut self, connection: &Connection, batch: &Batch) {
        for (nth, one) in batch.settlements.iter().enumerate() {
            if is_unreadable(connection, one.destination, one.event) {
                self.parts.insert(Part::Report(nth));
            }
        }
        for (destination, event) in revivals(batch) {
            if is_unreadable(connection, destination, event) {
                self.parts.insert(Part::Revival(destination, event));
            }
        }
    }

    /// Tells what was left out, of each kind once, and returns it.
    pub(super) fn tell(self, batch: &Batch) -> BTreeSet<Part> {
        let Self { parts, error: Some(error), hiccups: _ } = self else { return BTreeSet::new() };
        let left_out: Vec<Part> = parts.iter().copied().collect();
        for alike in left_out.chunk_by(|one, other| discriminant(one) == discriminant(other)) {
            let [first, others @ ..] = alike else { continue };
            let words = first.words(batch);
            match others.len() {
                0 => tracing::error!(%error, "the spool is damaged: {words}"),
                others => tracing::error!(%error, "the spool is damaged: {words}; and so with {others} more"),
            }
        }
        parts
    }
}

fn revivals(batch: &Batch) -> impl Iterator<Item = (DestinationId, EventId)> {
    batch.ledger.iter().flat_map(|entry| match entry {
        LedgerEntry::Breaker { destination, opened: Some(_), revived } => {
            revived.iter().map(|event| (*destination, *event)).collect()
        }
        LedgerEntry::Breaker { opened: None, .. }
        | LedgerEntry::Alive { .. }
        | LedgerEntry::GapOpened { .. }
        | LedgerEntry::GapClosed { .. } => Vec::new(),
    })
}

fn is_unreadable(connection: &Connection, destination: DestinationId, event: EventId) -> bool {
    let read = connection
        .prepare_cached("SELECT state FROM deliveries WHERE destination = ?1 AND event = ?2")
        .and_then(|mut row| row.exists(params![destination.0, event.0]));
    read.map_err(SpoolError::from).is_err_and(|error| error.is_damage() || error.is_unread())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_that_the_disk_does_not_give_back_is_left_out_once_it_has_failed_for_a_while() {
        let connection = Connection::open_in_memory().expect("opens");
        let note = |hiccups, part, code| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None).into();
            LeftOut::after(hiccups).note(&connection, &Batch::default(), Failed { part, error })
        };
        use rusqlite::ffi::{SQLITE_CORRUPT, SQLITE_IOERR_FSYNC, SQLITE_IOERR_READ};
        let part = Some(Part::Report(0));
        assert!(note(HICCUPS - 1, part, SQLITE_IOERR_READ).is_err_and(|error| error.is_unread()));
        note(HICCUPS, part, SQLITE_IOERR_READ).expect("left out");
        note(0, part, SQLITE_CORRUPT).expect("left out at once");
        assert!(note(HICCUPS, part, SQLITE_IOERR_FSYNC).is_err() && note(HICCUPS, None, SQLITE_IOERR_READ).is_err());
    }
}
