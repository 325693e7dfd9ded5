//! The file itself: its directory, its lock, its side files, and how it is opened.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::spool::SpoolError;
use crate::spool::store::LOG_BYTES;

/// Bytes of a page in a new file: five bodies of the usual size share one, where the engine's own 4 KiB hold two and leave
/// a quarter empty. What is written is fewer pages, each twice, to the log and back.
const PAGE_BYTES: u32 = 8 << 10;
/// Pages of the WAL after which it is copied back: 40 MB, so that a burst does not pay for it.
const CHECKPOINT_PAGES: u32 = 5000;
/// Statements that stay compiled.
const STATEMENTS: usize = 64;
/// How long a statement waits for another process that holds the file, such as a backup.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// Says that nothing of a file can be read, and what is left to do.
const NO_HEAD: &str = "the page that names its tables is damaged, without which nothing of it can be read here: bring back \
                       a backup, or try the .recover of an sqlite3 that has it, for not every one does";

/// Returns the path of a file that stands beside the spool.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Returns this name, or the first that is made of it and that no file has: what was kept before stays.
pub(super) fn spare(path: &Path) -> PathBuf {
    let names = (1_u32..).map(|nth| beside(path, &format!("-{nth}")));
    std::iter::once(path.to_owned()).chain(names).find(|name| !name.exists()).unwrap_or_else(|| path.to_owned())
}

pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)
        }
        Some(_) | None => Ok(()),
    }
}

/// Device and number of a file.
type Inode = (u64, u64);

fn inode(path: &Path) -> io::Result<Inode> {
    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Knows which files are open, and so whether others stand in their place, or none.
pub(super) struct Place {
    path: PathBuf,
    file: Inode,
    /// The write-ahead log.
    pub(super) log: PathBuf,
    /// `None` until it is first seen: it is made with the first write.
    log_file: Option<Inode>,
}

impl Place {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        // A file that is opened through a link has its log beside it, not beside the link.
        let log = beside(&path.canonicalize()?, "-wal");
        Ok(Self { path: path.to_owned(), file: inode(path)?, log, log_file: None })
    }

    /// Refuses to write where nobody can open it any more: what is taken would be gone with the process. Returns what is
    /// missing.
    pub(super) fn check(&mut self) -> Result<(), Missing> {
        if inode(&self.path).ok() != Some(self.file) {
            return Err(Missing::File(SpoolError::Removed(self.path.clone())));
        }
        let log = inode(&self.log).ok();
        if self.log_file.is_some() && self.log_file != log {
            return Err(Missing::Log(SpoolError::Removed(self.log.clone())));
        }
        self.log_file = log;
        Ok(())
    }
}

/// Is what was removed or replaced.
pub(super) enum Missing {
    File(SpoolError),
    Log(SpoolError),
}

/// Takes the lock of a spool; it is held for as long as the file is open.
pub(in crate::spool) fn lock(path: &Path) -> Result<File, SpoolError> {
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
/// SQLite gives its side files the same mode. Returns it locked: the lock beside it can be removed, and has another name
/// beside another name of the file.
pub(super) fn private_file(path: &Path) -> Result<File, SpoolError> {
    let failed = |source| SpoolError::Open { path: path.to_owned(), source };
    let file = make_private(path).map_err(failed)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse(path.to_owned())),
        // Some file systems have no such locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn make_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(file)
}

pub(super) fn connect(path: &Path, flags: OpenFlags, cache_kib: i32) -> Result<Connection, SpoolError> {
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

pub(super) fn set_up(connection: &Connection) -> rusqlite::Result<()> {
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

/// Tells a file that is not a database, or none any more, from an engine that fails.
pub(super) fn explain(path: &Path, error: rusqlite::Error) -> SpoolError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => {
            let reason = "it is not an SQLite file, or its first page is damaged".to_owned();
            SpoolError::NotASpool { path: path.to_owned(), reason }
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            SpoolError::NotASpool { path: path.to_owned(), reason: NO_HEAD.to_owned() }
        }
        Some(_) | None => SpoolError::Engine(error),
    }
}
