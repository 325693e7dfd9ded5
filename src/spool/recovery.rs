//! Recovering a spool whose file is damaged.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{SpoolError, sqlite};
use crate::clock::Clock;
use crate::wording::counted;

/// Is what a recovery came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recovered {
    /// Events that the new file has.
    pub events: u64,
    /// Those of them of which the bodies alone were left: they have new request ids.
    pub made_anew: u64,
    /// Those of them whose bodies are lost.
    pub without_body: u64,
    /// Deliveries that wait.
    pub waiting: u64,
    /// Tables and indices that were damaged, in so many places each.
    pub damaged: Vec<Box<str>>,
    /// Where the damaged file is kept.
    pub kept: PathBuf,
}

/// Shows it as the audit table keeps it.
impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, made_anew, without_body, waiting, damaged, kept: _ } = self;
        let (events, waits) =
            (counted(*events, "event"), if *waiting == 1 { "delivery waits" } else { "deliveries wait" });
        write!(f, "{events} recovered, {made_anew} made anew, {without_body} without a body, {waiting} {waits}")?;
        match &damaged[..] {
            [] => f.write_str("; nothing was damaged"),
            damaged => write!(f, "; damaged: {}", damaged.join(", ")),
        }
    }
}

/// Makes a new file of what can be read of a spool that no bridge works on, and keeps the damaged one beside it; that `who`
/// asked for it stands in the audit table.
///
/// # Errors
/// When the spool is missing, in use, or cannot be read at all, or the new file cannot be written.
pub fn recover_at_rest(path: &Path, who: &str, clock: &Clock) -> Result<Recovered, SpoolError> {
    if !path.exists() {
        return Err(SpoolError::Missing(path.to_owned()));
    }
    sqlite::recover(path, who, clock)
}
