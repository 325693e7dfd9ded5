//! The place of a spool: what may be there, its directory, and the lock that keeps a second bridge out.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::beside;
use crate::spool::SpoolError;

/// Refuses what can be no spool, before anything is made beside it or its mode is changed.
pub(super) fn check_kind(path: &Path) -> Result<(), SpoolError> {
    let reason = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => "it is a directory: name a file in it, such as zoomhook.db",
        Ok(found) if !found.is_file() => "it is no regular file: name one, such as zoomhook.db",
        Ok(_) | Err(_) => return Ok(()),
    };
    Err(SpoolError::NotASpool { path: path.to_owned(), reason: reason.to_owned() })
}

/// Says of a directory that is not there, and cannot be made, what to do about it.
fn cannot_make(folder: &Path, error: &io::Error) -> io::Error {
    let words = format!(
        "its directory {} cannot be made ({error}): make it, give it to the user of the bridge, or name another place \
         with spool.path or --spool",
        folder.display()
    );
    io::Error::new(error.kind(), words)
}

/// Says of a lock file that cannot be opened what stands in the way; `None` where it is neither mode nor mount.
fn in_the_way(path: &Path, lock: &Path, error: &io::Error) -> Option<io::Error> {
    if !matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
        return None;
    }
    let words = if lock.exists() {
        format!("{} beside it is not for this user ({error}): be the user of the bridge", lock.display())
    } else {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        format!(
            "its directory {} cannot be written to ({error}), and a bridge keeps files beside its spool: give the directory \
             to the user of the bridge, or name another place with spool.path or --spool",
            folder.display()
        )
    };
    Some(io::Error::new(error.kind(), words))
}

/// Makes the directory of a spool where there is none, with mode 0700.
///
/// # Errors
/// In words that say what to do.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
            made.map_err(|error| cannot_make(parent, &error))
        }
        Some(_) | None => Ok(()),
    }
}

/// Takes the lock of a spool; it is held for as long as the file is open.
pub(in crate::spool) fn lock(path: &Path) -> Result<File, SpoolError> {
    check_kind(path)?;
    // One file has one lock, by whatever name it is opened.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let lock_path = beside(path, ".lock");
    let failed = |source| match in_the_way(path, &lock_path, &source) {
        Some(source) => SpoolError::Open { path: path.to_owned(), source },
        None => SpoolError::Open { path: lock_path.clone(), source },
    };
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
pub(super) fn private_file(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_as_what_it_is_and_left_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        let mode = || std::fs::metadata(&pipe).expect("there").permissions().mode();
        let before = mode();
        for (path, words) in [(folder.path(), "it is a directory"), (&pipe, "it is no regular file")] {
            let refused = lock(path).expect_err("no spool").to_string();
            assert!(refused.contains(words), "{refused}");
            let unread = super::super::open_view(path, std::sync::Arc::default()).err().expect("no spool").to_string();
            assert_eq!(unread, refused);
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing is made beside it");
        assert_eq!(mode(), before);
        assert!(!beside(folder.path(), ".lock").exists());
    }

    #[test]
    fn directory_that_cannot_be_written_to_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, lock) = (folder.path().join("z.db"), folder.path().join("z.db.lock"));
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let said = in_the_way(&path, &lock, &kind.into()).expect("it is in the way").to_string();
            let start = format!("its directory {} cannot be written to (", folder.path().display());
            assert!(said.starts_with(&start) && said.contains("spool.path") && !said.contains(".lock"), "{said}");
        }
        std::fs::write(&lock, "").expect("written");
        let said = in_the_way(&path, &lock, &io::ErrorKind::PermissionDenied.into()).expect("it is").to_string();
        assert!(said.contains("z.db.lock beside it is not for this user"), "{said}");
        assert!(in_the_way(&path, &lock, &io::ErrorKind::StorageFull.into()).is_none());
    }

    #[test]
    fn directory_that_cannot_be_made_is_named_with_what_to_do() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let said = make_directory(&file.path().join("sub/z.db")).expect_err("a file is no directory").to_string();
        let folder = format!("its directory {}/sub cannot be made (", file.path().display());
        assert!(said.starts_with(&folder) && said.contains("--spool"), "{said}");
    }
}
