//! The levels of the log, which can change while it is written.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::reload::{self, Handle, Layer};

use crate::config::levels::Levels;

/// The targets that are written: those of this crate.
const OWN_TARGETS: &str = "zoomhook";
/// Where the log bears witness of the audit table: no level takes that away.
pub(crate) const WITNESS: &str = "zoomhook::audit";

/// Sets how much is logged; clones share it.
#[derive(Clone, Debug)]
pub struct LogLevels {
    handle: Handle<Targets, Registry>,
    configured: Levels,
    current: Arc<Mutex<Levels>>,
}

impl LogLevels {
    /// Makes a filter at these levels, and what changes it.
    pub(super) fn filter(levels: &Levels) -> (Layer<Targets, Registry>, Self) {
        let (filter, handle) = Layer::new(targets(levels));
        let current = Arc::new(Mutex::new(levels.clone()));
        (filter, Self { handle, configured: levels.clone(), current })
    }

    /// Returns the levels in force.
    pub fn current(&self) -> Levels {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the levels that the program started with.
    pub fn configured(&self) -> &Levels {
        &self.configured
    }

    /// Logs at these levels from now on.
    ///
    /// # Errors
    /// When nobody logs any more.
    pub fn set(&self, levels: Levels) -> Result<(), reload::Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(targets(&levels))?;
        *current = levels;
        Ok(())
    }
}

/// Lets through what this program says at these levels, and nothing of its libraries.
fn targets(levels: &Levels) -> Targets {
    let own = Targets::new().with_default(LevelFilter::OFF).with_target(OWN_TARGETS, levels.general());
    own.with_targets(levels.targets()).with_target(WITNESS, LevelFilter::INFO)
}
