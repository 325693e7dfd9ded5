//! What can be wrong with a spool.

use std::path::{Path, PathBuf};

use super::queue::Closed;
use crate::event::EventId;

/// Says what is wrong with a spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process works on it: stop that one, or give this one a spool of its own.
    #[error("the spool {} is in use by another process: end that one, or give this one a spool of its own", .0.display())]
    InUse(PathBuf),
    /// A newer version of the program wrote it: run that version.
    #[error("the spool {} has format {found}, this version reads up to format {known}: run a newer zoomhook", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this version knows.
        known: i64,
    },
    /// The file is missing, where it was only to be read.
    #[error("there is no spool at {}", .0.display())]
    Missing(PathBuf),
    /// The file or its directory cannot be opened: mend permissions or the path.
    #[error("cannot open the spool {}: {source}", path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is there and is not a spool.
    #[error("{} is not a spool: {reason}", path.display())]
    NotASpool {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is damaged in some place without which nothing begins: recover what can be read.
    #[error("the spool {} is damaged: {source}; make a new file of what can be read: zoomhook spool recover", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        source: rusqlite::Error,
    },
    /// The engine failed: the disk is full or broken, or the file is damaged.
    #[error("the spool failed: {0}")]
    Engine(#[from] rusqlite::Error),
    /// The file was taken away under the running process, which still holds it open: put it back, or save it.
    #[error("the spool {} was removed or replaced while in use; move it back, and all goes on; if it is deleted, process {pid} \
             alone still holds it: as root, copy it and its -wal from /proc/{pid}/fd before a restart", .0.display(), pid = std::process::id())]
    Removed(PathBuf),
    /// A destination is in use whose backlog was to be purged: take it out of the configuration first.
    #[error("destination `{0}` is configured, as far as its spool knows: take it out of the configuration, and reload")]
    Configured(String),
    /// The writer has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// Too many replays are under way: ask again later.
    #[error("too many replays are under way: ask again when one of them is done")]
    Busy,
    /// A body does not open: its key is not configured, or it is damaged.
    #[error("event {event} cannot be read: {reason}")]
    Sealed {
        /// The event.
        event: EventId,
        /// Why.
        reason: String,
    },
    /// The system gives no random numbers, without which nothing is encrypted.
    #[error("the system gives no random numbers, without which nothing can be encrypted")]
    NoRandomness,
    /// A reading thread ended early.
    #[error("reading the spool was interrupted")]
    Interrupted,
}

impl SpoolError {
    /// Says that the file is damaged, if that is what is wrong with it, and what to do.
    pub(super) fn of_opening(self, path: &Path) -> Self {
        match self {
            Self::Engine(source) if is_damage(&source) => Self::Damaged { path: path.to_owned(), source },
            Self::Engine(_)
            | Self::InUse(_)
            | Self::Newer { .. }
            | Self::Missing(_)
            | Self::Open { .. }
            | Self::NotASpool { .. }
            | Self::Damaged { .. }
            | Self::Removed(_)
            | Self::Configured(_)
            | Self::Closed(_)
            | Self::Busy
            | Self::Sealed { .. }
            | Self::NoRandomness
            | Self::Interrupted => self,
        }
    }

    /// Tells whether the file is damaged in some place: by its structure, or by a value that cannot be there.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Engine(error) if is_damage(error)) || matches!(self, Self::Damaged { .. })
    }

    /// Tells whether the disk does not give back what was written in some place, for good or for a while.
    pub(crate) fn is_unread(&self) -> bool {
        matches!(self, Self::Engine(rusqlite::Error::SqliteFailure(error, _))
            if [rusqlite::ffi::SQLITE_IOERR_READ, rusqlite::ffi::SQLITE_IOERR_CORRUPTFS].contains(&error.extended_code))
    }

    /// Tells whether the file or its directory may not be written to, which SQLite does for a reader, too.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Self::Engine(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ReadOnly))
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    let is_no_value = matches!(
        error,
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
    );
    is_no_value || error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt)
}
