//! Keeps the memory of the process, where secrets are, out of core dumps and out of the hands of other processes.

use std::io;

/// Switches dumps on again, for whoever looks for a fault with a debugger.
const CORE_DUMPS: &str = "ZOOMHOOK_CORE_DUMPS";

/// Forbids core dumps of this process, and debuggers of its own user, unless `ZOOMHOOK_CORE_DUMPS` is set.
///
/// # Errors
/// When the system does not do so.
#[cfg(target_os = "linux")]
pub fn guard_memory() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    if std::env::var_os(CORE_DUMPS).is_some_and(|value| !value.is_empty()) {
        return Ok(());
    }
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Forbids core dumps of this process, unless `ZOOMHOOK_CORE_DUMPS` is set.
///
/// # Errors
/// When the system does not do so.
#[cfg(not(target_os = "linux"))]
pub fn guard_memory() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};

    if std::env::var_os(CORE_DUMPS).is_some_and(|value| !value.is_empty()) {
        return Ok(());
    }
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}
