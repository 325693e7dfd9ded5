//! The reading connections: as many as read at once, kept while they are idle.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::seal::Keys;
use super::store::Pages;
#[cfg(test)]
use super::tests::Pace;
use super::{SpoolError, sqlite};

/// Reading connections that are kept; each holds some page cache.
const IDLE_READERS: usize = 4;

/// Keeps the reading connections that are idle, for those who need one.
#[derive(Clone)]
pub(crate) struct Readers {
    pub(super) path: Arc<Path>,
    pub(super) keys: Arc<Keys>,
    idle: Arc<Mutex<Vec<Box<dyn Pages>>>>,
    /// Where a run must be repeatable, reads happen in their turn, and take this long before and after.
    #[cfg(test)]
    pub(super) pace: Option<Pace>,
}

impl Readers {
    pub(super) fn of(path: &Path, keys: Arc<Keys>) -> Self {
        Self {
            path: path.into(),
            keys,
            idle: Arc::default(),
            #[cfg(test)]
            pace: None,
        }
    }

    pub(crate) async fn run<T, F>(&self, f: F) -> Result<T, SpoolError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Pages) -> Result<T, SpoolError> + Send + 'static,
    {
        let readers = self.clone();
        #[cfg(test)]
        if let Some(pace) = &self.pace {
            return pace.around(|| readers.run_here(f)).await;
        }
        tokio::task::spawn_blocking(move || readers.run_here(f)).await.map_err(|_| SpoolError::Interrupted)?
    }

    fn run_here<T>(&self, f: impl FnOnce(&mut dyn Pages) -> Result<T, SpoolError>) -> Result<T, SpoolError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let mut view = match kept {
            Some(view) => view,
            None => sqlite::open_view(&self.path, Arc::clone(&self.keys))?,
        };
        let result = f(view.as_mut());
        let mut idle = idle();
        if result.is_ok() && idle.len() < IDLE_READERS {
            idle.push(view);
        }
        result
    }
}
