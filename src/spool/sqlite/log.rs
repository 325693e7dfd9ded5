//! The write-ahead log that an earlier process left: whether all of it can be read.
//!
//! The engine reads it up to the first frame that does not fit, and takes no notice of what lies behind. Of a power cut
//! that is right: behind is at most the one commit that was under way. Where more commits lie behind, they were durable,
//! and the log is damaged in the midst. The layout is that of <https://www.sqlite.org/fileformat2.html#walformat>.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::file::{beside, spare};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Commits that may lie behind what can be read without anything being lost: the one that a power cut tore.
const TORN: u64 = 1;

/// Tells of commits that cannot be read any more, and keeps the log beside, before anything is written over it.
pub(super) fn tell_damage(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let frames: i64 = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))?;
    let page_bytes = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let commits = match commits_behind(path, u64::try_from(frames).unwrap_or_default(), page_bytes) {
        Ok(commits) => commits,
        Err(error) => {
            tracing::warn!(%error, "whether the write-ahead log of the spool is whole could not be found out");
            return Ok(());
        }
    };
    if commits == 0 {
        return Ok(());
    }
    match keep(path) {
        Ok(kept) => tracing::error!(
            commits, kept = %kept.display(),
            "the write-ahead log of the spool is damaged: commits lie behind the damage that cannot be read any more, and \
             what they stored is lost, unless it came from a write that had failed; a copy of the log is kept"
        ),
        Err(error) => tracing::error!(
            commits, %error,
            "the write-ahead log of the spool is damaged: commits lie behind the damage that cannot be read any more, and \
             what they stored is lost, unless it came from a write that had failed; it could not be copied either"
        ),
    }
    Ok(())
}

/// Counts the commits of a log that lie behind so many frames that can be read, beyond what a power cut leaves.
fn commits_behind(path: &Path, frames: u64, page_bytes: u64) -> io::Result<u64> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let at = |frame: u64| HEADER as u64 + frame * (FRAME_HEADER as u64 + page_bytes);
    let (Some(header), Some(first)) = (read::<HEADER>(&file, 0)?, read::<FRAME_HEADER>(&file, at(0))?) else {
        return Ok(0);
    };
    // What lies behind the end of the log is of an earlier one, by its salts. Where its head is damaged, its frames tell.
    let salts: &[u8] = if frames > 0 || is_whole(&header) { &header[16..24] } else { &first[8..16] };
    let (mut commits, mut frame) = (0, frames);
    while let Some(header) = read::<FRAME_HEADER>(&file, at(frame))? {
        let is_commit = header[4..8] != [0; 4];
        commits += u64::from(is_commit && &header[8..16] == salts);
        frame += 1;
    }
    Ok(if commits > TORN { commits } else { 0 })
}

/// Tells whether the head of a log fits its checksum.
fn is_whole(header: &[u8; HEADER]) -> bool {
    let word = |at: usize| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        // The last bit of the first word tells how the words of a checksum are stored.
        if header[3] & 1 == 1 { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    let (mut one, mut other) = (0_u32, 0_u32);
    for at in (0..HEADER - 8).step_by(8) {
        one = one.wrapping_add(word(at)).wrapping_add(other);
        other = other.wrapping_add(word(at + 4)).wrapping_add(one);
    }
    header[HEADER - 8..] == [one.to_be_bytes(), other.to_be_bytes()].concat()
}

/// Reads so many bytes at a place; `None` where the file ends before.
fn read<const BYTES: usize>(file: &File, at: u64) -> io::Result<Option<[u8; BYTES]>> {
    let mut bytes = [0; BYTES];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies the log beside; returns where.
fn keep(path: &Path) -> io::Result<PathBuf> {
    let kept = spare(&beside(path, ".damaged"));
    // The mode is copied, too.
    std::fs::copy(path, &kept)?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves a log of some commits behind, as a process does that is killed.
    fn left(commits: u64) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.db");
        let connection = Connection::open(directory.path().join("b.db")).expect("opens");
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).expect("a log");
        connection.execute_batch("CREATE TABLE t (a)").expect("written");
        for n in 1..commits {
            connection.execute("INSERT INTO t VALUES (zeroblob(20000 + ?1))", [n]).expect("written");
        }
        for end in ["", "-wal"] {
            std::fs::copy(beside(&directory.path().join("b.db"), end), beside(&path, end)).expect("copied");
        }
        (directory, path)
    }

    fn found(path: &Path) -> bool {
        let connection = Connection::open(path).expect("opens");
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).expect("readable");
        tell_damage(&connection, &beside(path, "-wal")).expect("told");
        let kept = beside(path, "-wal.damaged");
        let is_kept = kept.exists();
        assert!(!is_kept || std::fs::metadata(&kept).expect("kept").len() > 0);
        is_kept
    }

    #[test]
    fn log_that_is_damaged_in_its_midst_or_head_is_told_and_kept() {
        for at in [0, 20, 40, 2000, 20_000] {
            let (_directory, path) = left(6);
            let mut log = std::fs::read(beside(&path, "-wal")).expect("a log");
            log[at] ^= 1;
            std::fs::write(beside(&path, "-wal"), log).expect("written");
            assert!(found(&path), "a bit of byte {at}");
        }
    }

    #[test]
    fn log_that_is_whole_or_torn_at_its_end_is_not() {
        let (_directory, path) = left(6);
        assert!(!found(&path));
        for cut in [1, 100, 5000, 20_000] {
            let (_directory, path) = left(6);
            let mut log = std::fs::read(beside(&path, "-wal")).expect("a log");
            let at = log.len() - cut;
            log[at] ^= 1;
            std::fs::write(beside(&path, "-wal"), &log).expect("written");
            assert!(!found(&path), "the last commit is torn {cut} bytes before its end");
            let (_directory, path) = left(6);
            std::fs::write(beside(&path, "-wal"), &log[..at]).expect("written");
            assert!(!found(&path), "it ends {cut} bytes too soon");
        }
        let (_directory, path) = left(1);
        std::fs::write(beside(&path, "-wal"), b"short").expect("written");
        assert!(!found(&path));
    }
}
