//! Another clock for one process, by libfaketime.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;

use super::missing;

/// Finds the library. Where there is none, the test is skipped with a word, and fails where `CI` is set.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let found = folders
        .chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")])
        .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists());
    if found.is_none() {
        missing("there is no libfaketime (Debian's package faketime)");
    }
    found
}

/// Returns variables for a process whose clocks go so many times as fast: its deadlines of a minute take seconds.
pub(super) fn fast(times: i32) -> Option<Vec<(&'static str, OsString)>> {
    let rate = format!("+0 x{times}");
    Some(vec![("LD_PRELOAD", library()?.into()), ("FAKETIME", rate.into()), ("NO_FAKE_STAT", "1".into())])
}

/// Is a wall clock that can be set while the process runs; its monotonic time goes on.
pub(super) struct Wall {
    library: PathBuf,
    file: PathBuf,
}

impl Wall {
    pub(super) fn new(folder: &Path) -> Option<Self> {
        let wall = Self { library: library()?, file: folder.join("faketime") };
        wall.set(SignedDuration::ZERO);
        Some(wall)
    }

    /// Sets it so far ahead of the real one.
    pub(super) fn set(&self, ahead: SignedDuration) {
        // Renamed, so that no reader finds half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{:+}", ahead.as_secs())).expect("written");
        fs::rename(new, &self.file).expect("renamed");
    }

    pub(super) fn variables(&self) -> [(&'static str, &OsStr); 5] {
        [
            ("LD_PRELOAD", self.library.as_os_str()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.as_os_str()),
            ("FAKETIME_NO_CACHE", OsStr::new("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", OsStr::new("1")),
            ("NO_FAKE_STAT", OsStr::new("1")),
        ]
    }
}
