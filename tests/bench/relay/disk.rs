//! A disk whose syncs take longer: the library of the proofs, loaded before the system's.

use std::path::Path;
use std::process::Command;

use crate::process::Problem;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/proof/slow_sync.c");

/// Makes each sync of a program take so much longer; the library is put into `folder`.
///
/// # Errors
/// When it cannot be compiled.
pub(crate) fn slow_down(command: &mut Command, sync_ms: u64, folder: &Path) -> Result<(), Problem> {
    if sync_ms == 0 {
        return Ok(());
    }
    let library = folder.join("slow_sync.so");
    match Command::new("cc").args(["-shared", "-fPIC", SOURCE, "-ldl", "-o"]).arg(&library).status() {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("{SOURCE} does not compile: {status}")),
        Err(error) => return Err(format!("there is no C compiler (cc): {error}")),
    }
    command.env("LD_PRELOAD", library).env("SLOW_SYNC_MS", sync_ms.to_string());
    Ok(())
}
