//! What operators ask for that is neither a replay nor a reload: to delete, and to hold back.

use super::Writer;
use crate::spool::SpoolError;
use crate::spool::erasure::Progress;
use crate::spool::record::Pause;

impl Writer {
    /// Takes one step of an erasure.
    pub(super) fn erase(&mut self, progress: Progress) -> Result<Progress, SpoolError> {
        let begun = progress.audit;
        let progress = match self.store.erase(progress, self.clock.now()) {
            Ok(progress) => progress,
            Err(error) => {
                self.break_off(begun, &error.to_string());
                return Err(error);
            }
        };
        if progress.complete {
            self.purge.begin_anew(self.clock.instant());
        }
        self.measure();
        Ok(progress)
    }

    /// Pauses or resumes a destination.
    pub(super) fn pause(&mut self, name: &str, pause: Pause, who: &str) -> Result<bool, SpoolError> {
        let Some(id) = self.store.pause(name, pause, who, self.clock.now())? else { return Ok(false) };
        if let Some(route) = self.routes.iter().find(|route| route.id == id) {
            route.outlet.pause(pause);
        }
        Ok(true)
    }
}
