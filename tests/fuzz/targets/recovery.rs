//! See `zoomhook::fuzzing`.

#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // In memory, where there is such a directory.
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    zoomhook::fuzzing::recovery(bytes, directory.expect("a directory").path());
});
