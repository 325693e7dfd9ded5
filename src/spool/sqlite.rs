//! The embedded engine: one SQLite file, in WAL mode, synced at every commit.
//!
//! The library is compiled in (never the system's: versions before 3.51.3 can lose a WAL that is
//! reset). The file is open to `sqlite3` and other readers at any time; a lock file beside it keeps a
//! second bridge out.

mod audit;
mod behind;
mod blocks;
mod causes;
mod erase;
mod file;
#[cfg(test)]
mod growth;
mod log;
mod page;
mod parts;
mod place;
mod purge;
mod recover;
mod rekey;
mod replay;
mod schema;
mod sealed;
mod search;
mod singly;
mod view;
mod write;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use self::causes::Counts;
pub(super) use self::file::lock;
use self::file::{BUSY, Missing, Place, connect, explain, make_directory, private_file, set_up};
use self::parts::{Failed, LeftOut};
pub(super) use self::recover::recover;
use self::view::SqliteView;
use super::SpoolError;
use super::audit::Link;
use super::erasure::Progress;
use super::record::{Acknowledgement, DestinationId, GapNote, Pause};
use super::rekey::Rekey;
use super::replay::Replay;
use super::seal::{Keys, Sealer};
use super::store::{Batch, Contents, Filled, Identity, Pages, Part, Registered, Size, Store};
use super::writer::Destined;
use crate::event::EventId;
use crate::telemetry::WITNESS;

/// Page cache of the writer, in KiB: the ends of the tables and what one commit changes.
const WRITER_CACHE_KIB: i32 = 4 << 10;
/// Page cache of each reader, in KiB.
const READER_CACHE_KIB: i32 = 2 << 10;

/// Is the writing half.
pub(super) struct Sqlite {
    connection: Connection,
    place: Place,
    keys: Arc<Keys>,
    /// Seals what is written; `None` where it stays plain.
    sealer: Option<Sealer>,
    /// Commits in a row that failed, for the disk did not give back what was written.
    hiccups: u32,
    /// Whether dead letters are counted by their causes.
    counts: Counts,
    /// Whether the next commit summarises the blocks that it fills.
    summarises: bool,
    /// The last row of the audit table that the log tells of.
    told: i64,
    /// Keeps a second bridge out for as long as it is open.
    _locks: [File; 2],
}

impl Sqlite {
    /// Opens the file, or makes it with mode 0600 in a directory of mode 0700.
    pub(super) fn open(path: &Path, keys: Arc<Keys>) -> Result<Self, SpoolError> {
        Self::open_file(path, keys).map_err(|error| error.of_opening(path))
    }

    fn open_file(path: &Path, keys: Arc<Keys>) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::Open { path: path.to_owned(), source };
        place::check_kind(path)?;
        make_directory(path).map_err(|error| failed(place::cannot_make(path, &error)))?;
        let lock = lock(path).map_err(|error| place::in_the_way(path, error))?;
        let locks = [lock, private_file(path)?];
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_CACHE_KIB)?;
        set_up(&connection).map_err(|error| explain(path, error))?;
        let place = Place::of(path).map_err(failed)?;
        log::tell_damage(&connection, &place.log)?;
        schema::migrate(&connection, path)?;
        let told = audit::told(&connection)?;
        let head = audit::head(&connection)?;
        let (sealer, counts) = (keys.sealer()?, Counts::Kept);
        let mut opened =
            Self { connection, place, keys, sealer, hiccups: 0, counts, told, summarises: true, _locks: locks };
        // What was changed while no bridge ran had no log.
        opened.tell_audit();
        tracing::info!(target: WITNESS, { audit.id = head.id, audit.hash = %head.hash }, "the audit table ends with this row");
        Ok(opened)
    }

    /// Says which keys are missing that bodies are sealed with: their events come to nothing until one is back.
    pub(super) fn tell_missing_keys(&self) -> Result<(), SpoolError> {
        for key in sealed::missing_keys(&self.connection, &self.keys)? {
            tracing::error!(
                %key,
                "events are encrypted with key {key}, which is not configured: they are given up as dead letters when they \
                 are due; put it into spool.old_encryption_keys, and then: zoomhook dead replay --cause 'key gone'"
            );
        }
        Ok(())
    }

    /// Writes the whole file anew, without what is left in its unused parts.
    pub(super) fn write_anew(&self) -> Result<(), SpoolError> {
        // It takes as much room as the file, which memory may not have.
        self.connection.pragma_update(None, "temp_store", "FILE")?;
        self.connection.execute_batch("VACUUM")?;
        Ok(self.connection.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?)
    }

    fn rekey_step(&mut self, rekey: Rekey, now: Timestamp) -> Result<Rekey, SpoolError> {
        let transaction = self.connection.transaction()?;
        let rekey = rekey::step(&transaction, rekey, &self.keys, self.sealer.as_mut(), now)?;
        transaction.commit()?;
        Ok(rekey)
    }

    fn write(&mut self, batch: &Batch, without: &LeftOut) -> Result<(), Failed> {
        // A row that cannot be read may take the transaction with it: what is tried again goes without.
        let summarises = std::mem::take(&mut self.summarises);
        let transaction = self.connection.transaction()?;
        write::batch(&transaction, batch, self.sealer.as_mut(), without)?;
        if let (true, [first, .., last] | [first @ last]) = (summarises, &batch.events[..]) {
            blocks::summarise(&transaction, EventId(first.event.id.0.saturating_sub(1)), last.event.id)?;
        }
        transaction.commit()?;
        self.summarises = true;
        Ok(())
    }

    /// Says in the log what was added to the audit table: a log that is kept elsewhere bears witness of its chain.
    fn tell_audit(&mut self) {
        let added = match audit::links_after(&self.connection, self.told) {
            Ok(added) => added,
            Err(error) => {
                tracing::warn!(%error, "what was added to the audit table could not be read");
                return;
            }
        };
        let Some((Link { id: last, .. }, _)) = added.last() else { return };
        let last = *last;
        for (Link { id, hash }, action) in &added {
            tracing::info!(target: WITNESS, { audit.id = id, audit.hash = %hash }, "audited: {action}");
        }
        self.told = last;
        if let Err(error) = audit::remember_told(&self.connection, last) {
            tracing::warn!(%error, "the next start tells of rows of the audit table that the log has already");
        }
    }

    /// Refuses to write into a file that nobody can open any more: what it takes would be gone with the process.
    fn check_in_place(&mut self) -> Result<(), SpoolError> {
        match self.place.check() {
            Ok(()) => Ok(()),
            Err(Missing::File(error)) => Err(error),
            Err(Missing::Log(error)) => {
                // What it holds, and this process alone can still read, goes where it stays.
                let _ = self.connection.pragma_update_and_check(None, "wal_checkpoint", "PASSIVE", |_| Ok(()));
                Err(error)
            }
        }
    }

    /// Does something in one transaction that takes dead letters out of the counts. Where those are damaged, it is done
    /// without: they can be made anew, and what was asked for must not wait for that.
    fn counting<T>(
        &mut self,
        mut act: impl FnMut(&Connection, Counts) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        let mut once = |connection: &mut Connection, counts| -> Result<T, SpoolError> {
            let transaction = connection.transaction()?;
            let done = act(&transaction, counts)?;
            transaction.commit()?;
            Ok(done)
        };
        match once(&mut self.connection, self.counts) {
            Err(error) if error.is_damage() && causes::are_damaged(&self.connection) => {
                tracing::error!(
                    %error,
                    "the spool is damaged: how many dead letters there are of each cause is counted no more; zoomhook \
                     spool recover counts them anew"
                );
                self.counts = Counts::Damaged;
                once(&mut self.connection, self.counts)
            }
            done => done,
        }
    }
}

/// Opens the file for reading only.
pub(super) fn open_view(path: &Path, keys: Arc<Keys>) -> Result<Box<dyn Pages>, SpoolError> {
    place::check_kind(path)?;
    // The engine would not say that it is another user's. To open and close the file here would take the locks of this
    // process off it.
    match rustix::fs::access(path, rustix::fs::Access::READ_OK) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT) => return Err(SpoolError::Missing(path.to_owned())),
        Err(error) => return Err(SpoolError::Open { path: path.to_owned(), source: error.into() }),
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE_KIB)?;
    schema::check(&connection, path)?;
    Ok(Box::new(SqliteView::new(connection, keys)?))
}

/// Leaves one file behind that a copy of it is complete with, as far as readers allow.
impl Drop for Sqlite {
    fn drop(&mut self) {
        // What stays in the WAL is as durable there.
        let _ = self.connection.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()));
    }
}

impl Store for Sqlite {
    fn last_event(&mut self) -> Result<EventId, SpoolError> {
        write::last_event(&self.connection)
    }

    fn newest(&mut self, limit: usize, since: Timestamp) -> Result<Vec<Identity>, SpoolError> {
        page::newest(&self.connection, limit, since)
    }

    fn identity(&mut self, id: EventId) -> Result<Option<Identity>, SpoolError> {
        page::identity(&self.connection, id)
    }

    fn commit(&mut self, batch: &Batch) -> Result<BTreeSet<Part>, SpoolError> {
        self.check_in_place()?;
        let mut without = LeftOut::after(self.hiccups);
        while let Err(failed) = self.write(batch, &without) {
            let noted = without.note(&self.connection, batch, failed);
            self.hiccups += u32::from(noted.as_ref().is_err_and(SpoolError::is_unread));
            noted?;
        }
        self.hiccups = 0;
        Ok(without.tell(batch))
    }

    fn pause(
        &mut self,
        name: &str,
        pause: Pause,
        who: &str,
        now: Timestamp,
    ) -> Result<Option<DestinationId>, SpoolError> {
        let transaction = self.connection.transaction()?;
        let id = write::pause(&transaction, name, pause, who, now)?;
        transaction.commit()?;
        self.tell_audit();
        Ok(id)
    }

    fn acknowledge(
        &mut self,
        gap: i64,
        note: &GapNote,
        who: &str,
        now: Timestamp,
    ) -> Result<Acknowledgement, SpoolError> {
        let transaction = self.connection.transaction()?;
        let acknowledgement = write::acknowledge(&transaction, gap, note, who, now)?;
        transaction.commit()?;
        self.tell_audit();
        Ok(acknowledgement)
    }

    fn audit(&mut self, who: &str, action: &str, detail: &str, now: Timestamp) -> Result<(), SpoolError> {
        let transaction = self.connection.transaction()?;
        audit::append(&transaction, now, who, action, detail)?;
        transaction.commit()?;
        self.tell_audit();
        Ok(())
    }

    fn end_task(&mut self, begun: i64, broken_off: Option<&str>, now: Timestamp) -> Result<(), SpoolError> {
        let transaction = self.connection.transaction()?;
        audit::end(&transaction, begun, broken_off, now)?;
        transaction.commit()?;
        self.tell_audit();
        Ok(())
    }

    fn end_tasks(&mut self, now: Timestamp) -> Result<(), SpoolError> {
        for begun in audit::unended(&self.connection)? {
            self.end_task(begun, Some("the process ended"), now)?;
        }
        Ok(())
    }

    fn trim_audit(&mut self, cutoff: Timestamp, limit: usize) -> Result<usize, SpoolError> {
        let transaction = self.connection.transaction()?;
        let trimmed = audit::trim(&transaction, cutoff, limit)?;
        transaction.commit()?;
        Ok(trimmed)
    }

    fn register(&mut self, destinations: &[Destined]) -> Result<Vec<Registered>, SpoolError> {
        let transaction = self.connection.transaction()?;
        let ids = write::register(&transaction, destinations)?;
        transaction.commit()?;
        Ok(ids)
    }

    fn begin(&mut self, subscriptions: &[Arc<str>], now: Timestamp) -> Result<(), SpoolError> {
        let (nothing, mut without) = (Batch::default(), LeftOut::default());
        loop {
            let transaction = self.connection.transaction()?;
            match write::begin(&transaction, subscriptions, now, &without) {
                Ok(()) => {
                    transaction.commit()?;
                    without.tell(&nothing);
                    return Ok(());
                }
                Err(failed) => {
                    drop(transaction);
                    without.note(&self.connection, &nothing, failed)?;
                }
            }
        }
    }

    fn replay(
        &mut self,
        replay: &mut Replay,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(DestinationId, Timestamp)>, SpoolError> {
        self.check_in_place()?;
        let begun = replay.clone();
        let due = self.counting(|connection, counts| {
            *replay = begun.clone();
            replay::step(connection, counts, replay, limit, now)
        })?;
        self.tell_audit();
        Ok(due)
    }

    fn fill(&mut self, destination: DestinationId, limit: usize, now: Timestamp) -> Result<Filled, SpoolError> {
        self.check_in_place()?;
        let transaction = self.connection.transaction()?;
        let filled = replay::fill(&transaction, destination, limit, now)?;
        transaction.commit()?;
        self.tell_audit();
        Ok(filled)
    }

    fn purge(
        &mut self,
        after: EventId,
        cutoff: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<Option<EventId>, SpoolError> {
        let transaction = self.connection.transaction()?;
        let stopped = purge::step(&transaction, after, cutoff, now, limit)?;
        transaction.commit()?;
        Ok(stopped)
    }

    fn pass_over(&mut self, after: EventId) -> Result<Option<EventId>, SpoolError> {
        purge::pass_over(&self.connection, after)
    }

    fn erase(&mut self, progress: Progress, now: Timestamp) -> Result<Progress, SpoolError> {
        let progress = self.counting(|connection, counts| erase::step(connection, counts, progress.clone(), now))?;
        self.tell_audit();
        Ok(progress)
    }

    fn rekey(&mut self, rekey: Rekey, now: Timestamp) -> Result<Rekey, SpoolError> {
        self.check_in_place()?;
        let rekey = self.rekey_step(rekey, now)?;
        self.tell_audit();
        if rekey.done.complete {
            // Nor in the log. Where a reader is in the way, nobody waits for it: it goes with a later checkpoint.
            self.connection.busy_timeout(Duration::ZERO)?;
            let truncated = self.connection.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()));
            self.connection.busy_timeout(BUSY)?;
            truncated?;
        }
        Ok(rekey)
    }

    fn configured(&mut self, names: &[Arc<str>], now: Timestamp) -> Result<(), SpoolError> {
        let transaction = self.connection.transaction()?;
        write::configured(&transaction, names, now)?;
        Ok(transaction.commit()?)
    }

    fn size(&mut self) -> Result<Size, SpoolError> {
        // There is none before the first write, nor where the file was taken away, which the next commit tells.
        let log = std::fs::metadata(&self.place.log).map_or(0, |metadata| metadata.len());
        Ok(Size { pages: page_bytes(&self.connection)?, log })
    }

    fn contents(&mut self) -> Result<Contents, SpoolError> {
        let count = |key| Ok::<_, SpoolError>(meta(&self.connection, key)?.unwrap_or(0).unsigned_abs());
        let (events, parked) = (count("events")?, count("parked")?);
        let (pending, dead) = self
            .connection
            .prepare_cached("SELECT coalesce(sum(pending), 0), coalesce(sum(dead), 0) FROM destinations")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Contents { events, parked, pending, dead })
    }
}

/// Returns the bytes of the pages that hold something. Those that a purge empties are free at once.
fn page_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok((pages * pragma("page_size")?).unsigned_abs())
}

/// Returns the value of a key of the `meta` table.
fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([key], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests;
