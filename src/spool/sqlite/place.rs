//! What may be where a spool is to be, and what to do about a place that will not do.

use std::io;
use std::path::Path;

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
pub(super) fn cannot_make(path: &Path, error: &io::Error) -> io::Error {
    let words = format!(
        "its directory {} cannot be made ({error}): make it, give it to the user of the bridge, or name another place \
         with spool.path or --spool",
        folder(path).display()
    );
    io::Error::new(error.kind(), words)
}

/// Says of a lock that cannot be taken what stands in the way, where that is a mode or a mount.
pub(super) fn in_the_way(path: &Path, error: SpoolError) -> SpoolError {
    let SpoolError::Open { path: lock, source } = error else { return error };
    if !matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
        return SpoolError::Open { path: lock, source };
    }
    let words = if lock.exists() {
        format!("{} beside it is not for this user ({source}): be the user of the bridge", lock.display())
    } else {
        format!(
            "its directory {} cannot be written to ({source}), and a bridge keeps files beside its spool: give the directory \
             to the user of the bridge, or name another place with spool.path or --spool",
            folder(path).display()
        )
    };
    SpoolError::Open { path: path.to_owned(), source: io::Error::new(source.kind(), words) }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::super::{Sqlite, open_view};
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
            let refused = Sqlite::open(path, Arc::default()).err().expect("no spool").to_string();
            assert!(refused.contains(words), "{refused}");
            assert_eq!(open_view(path, Arc::default()).err().expect("no spool").to_string(), refused);
            assert!(!crate::spool::is_in_use(path));
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing is made beside it");
        assert_eq!(mode(), before);
        let beside = format!("{}.lock", folder.path().display());
        assert!(!Path::new(&beside).exists());
    }

    #[test]
    fn directory_that_cannot_be_written_to_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, lock) = (folder.path().join("z.db"), folder.path().join("z.db.lock"));
        let said = |kind: io::ErrorKind| {
            in_the_way(&path, SpoolError::Open { path: lock.clone(), source: kind.into() }).to_string()
        };
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let said = said(kind);
            let words = format!("z.db: its directory {} cannot be written to (", folder.path().display());
            assert!(said.contains(&words) && said.contains("spool.path") && !said.contains(".lock"), "{said}");
        }
        std::fs::write(&lock, "").expect("written");
        let denied = said(io::ErrorKind::PermissionDenied);
        assert!(denied.contains("z.db.lock beside it is not for this user"), "{denied}");
        assert!(said(io::ErrorKind::StorageFull).starts_with(&format!("cannot open the spool {}: ", lock.display())));
    }

    #[test]
    fn directory_that_cannot_be_made_is_named_with_what_to_do() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = Sqlite::open(&file.path().join("sub/z.db"), Arc::default()).err().expect("a file is no directory");
        let folder = format!("its directory {}/sub cannot be made (", file.path().display());
        assert!(error.to_string().contains(&folder) && error.to_string().contains("--spool"), "{error}");
    }
}
