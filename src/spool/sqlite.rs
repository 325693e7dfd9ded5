//! The embedded engine: one SQLite file, in WAL mode, synced at every commit.
//!
//! The library is compiled in (never the system's: versions before 3.51.3 can lose a WAL that is
//! reset). The file is open to `sqlite3` and other readers at any time; a lock file beside it keeps a
//! second bridge out.

mod audit;
mod blocks;
mod causes;
mod erase;
#[cfg(test)]
mod growth;
mod page;
mod parts;
mod place;
mod purge;
mod rekey;
mod replay;
mod schema;
mod sealed;
mod search;
mod view;
mod write;

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use self::parts::{Failed, LeftOut};
use self::view::SqliteView;
use super::SpoolError;
use super::audit::Link;
use super::erasure::Progress;
use super::record::{Acknowledgement, DestinationId, GapNote, Pause};
use super::rekey::Rekey;
use super::replay::Replay;
use super::seal::{Keys, Sealer};
use super::store::{Batch, Contents, Filled, Identity, LOG_BYTES, Pages, Part, Registered, Size, Store};
use super::writer::Destined;
use crate::event::EventId;
use crate::telemetry::WITNESS;

/// Bytes of a page in a new file: five bodies of the usual size share one, where the engine's own 4 KiB hold two and leave
/// a quarter empty. What is written is fewer pages, each twice, to the log and back.
const PAGE_BYTES: u32 = 8 << 10;
/// Pages of the WAL after which it is copied back: 40 MB, so that a burst does not pay for it.
const CHECKPOINT_PAGES: u32 = 5000;
/// Page cache of the writer, in KiB: the ends of the tables and what one commit changes.
const WRITER_CACHE_KIB: i32 = 4 << 10;
/// Page cache of each reader, in KiB.
const READER_CACHE_KIB: i32 = 2 << 10;
/// Statements that stay compiled.
const STATEMENTS: usize = 64;
/// How long a statement waits for another process that holds the file, such as a backup.
const BUSY: Duration = Duration::from_secs(5);

/// Is the writing half.
pub(super) struct Sqlite {
    connection: Connection,
    path: PathBuf,
    /// The write-ahead log.
    log: PathBuf,
    /// Device and number of the file that is open.
    inode: (u64, u64),
    keys: Arc<Keys>,
    /// Seals what is written; `None` where it stays plain.
    sealer: Option<Sealer>,
    /// Whether the next commit summarises the blocks that it fills.
    summarises: bool,
    /// The last row of the audit table that the log tells of.
    told: i64,
    /// Keeps a second bridge out for as long as it is open.
    _lock: File,
}

impl Sqlite {
    /// Opens the file, or makes it with mode 0600 in a directory of mode 0700.
    pub(super) fn open(path: &Path, keys: Arc<Keys>) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::Open { path: path.to_owned(), source };
        place::check_kind(path)?;
        make_directory(path).map_err(|error| failed(place::cannot_make(path, &error)))?;
        let lock = lock(path).map_err(|error| place::in_the_way(path, error))?;
        private_file(path).map_err(failed)?;
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_CACHE_KIB)?;
        set_up(&connection).map_err(|error| explain(path, error))?;
        schema::migrate(&connection, path)?;
        let inode = inode(path).map_err(failed)?;
        // A file that is opened through a link has its log beside it, not beside the link.
        let log = beside(&path.canonicalize().map_err(failed)?, "-wal");
        let told = audit::told(&connection)?;
        let head = audit::head(&connection)?;
        let sealer = keys.sealer()?;
        let mut opened =
            Self { connection, path: path.to_owned(), log, inode, keys, sealer, told, summarises: true, _lock: lock };
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
    fn check_in_place(&self) -> Result<(), SpoolError> {
        match inode(&self.path) {
            Ok(inode) if inode == self.inode => Ok(()),
            Ok(_) | Err(_) => Err(SpoolError::Removed(self.path.clone())),
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
        let mut without = LeftOut::default();
        while let Err(failed) = self.write(batch, &without) {
            without.note(&self.connection, batch, failed)?;
        }
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
        let transaction = self.connection.transaction()?;
        let due = replay::step(&transaction, replay, limit, now)?;
        transaction.commit()?;
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
        let transaction = self.connection.transaction()?;
        let progress = erase::step(&transaction, progress, now)?;
        transaction.commit()?;
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
        let log = std::fs::metadata(&self.log).map_or(0, |metadata| metadata.len());
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

/// Returns the path of a file that stands beside the spool.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn make_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)
        }
        Some(_) | None => Ok(()),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Takes the lock of a spool; it is held for as long as the file is open.
pub(super) fn lock(path: &Path) -> Result<File, SpoolError> {
    // One file has one lock, by whatever name it is opened.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let lock_path = beside(path, ".lock");
    let failed = |source| SpoolError::Open { path: lock_path.clone(), source };
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Makes the file if it is missing, and takes other people's rights from it: it holds payloads.
/// SQLite gives its side files the same mode.
fn private_file(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

fn connect(path: &Path, flags: OpenFlags, cache_kib: i32) -> Result<Connection, SpoolError> {
    let open = || {
        // Of names that are not absolute, the engine takes some for memory, and some for a URI.
        let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "cache_size", -cache_kib)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    };
    open().map_err(|error| explain(path, error))
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    // Of a file that has pages already, they stay as they are.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES.cast_signed(), |_| Ok(()))?;
    // What is deleted is overwritten: payloads are personal data.
    connection.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// Tells a file that is not a database from an engine that fails.
fn explain(path: &Path, error: rusqlite::Error) -> SpoolError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => {
            SpoolError::NotASpool { path: path.to_owned(), reason: "it is not an SQLite file".to_owned() }
        }
        Some(_) | None => SpoolError::Engine(error),
    }
}

/// Returns the value of a key of the `meta` table.
fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([key], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests;
