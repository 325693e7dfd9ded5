//! The real store behind a hook, which may fail a write, watch it, or end the process in its midst.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::event::EventId;
use crate::spool::SpoolError;
use crate::spool::erasure::{Erasure, Progress};
use crate::spool::record::{Acknowledgement, DestinationId, GapNote, Pause};
use crate::spool::rekey::Rekey;
use crate::spool::replay::{Replay, Scope};
use crate::spool::sqlite::Sqlite;
use crate::spool::store::{Batch, Contents, Filled, Identity, Part, Registered, Size, Store};
use crate::spool::writer::Destined;

/// Is one write that the store is asked for.
pub(in crate::spool) enum Write<'a> {
    Commit(&'a Batch),
    Purge,
    PassOver,
    Erase(Erasure),
    Replay(Scope),
    Fill(i64),
    Configured,
    /// Nothing that the deliveries are concerned with.
    Other,
}

/// Stands between the writer and the store.
pub(in crate::spool) trait Hook: Send {
    /// Makes a write, or does not.
    fn write<T>(
        &mut self,
        write: &Write<'_>,
        sqlite: &mut Sqlite,
        act: impl FnOnce(&mut Sqlite) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError>;

    /// Takes note of what was measured.
    fn measured(&mut self, _size: Size) {}
}

/// Fails with what it is told of a write, and makes all others.
pub(super) struct Refuses<F>(pub(super) F);

impl<F> Hook for Refuses<F>
where
    F: FnMut(&Write<'_>) -> Option<SpoolError> + Send,
{
    fn write<T>(
        &mut self,
        write: &Write<'_>,
        sqlite: &mut Sqlite,
        act: impl FnOnce(&mut Sqlite) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        (self.0)(write).map_or_else(|| act(sqlite), Err)
    }
}

/// Is the real store behind a hook.
pub(in crate::spool) struct Fake<H> {
    pub(in crate::spool) sqlite: Sqlite,
    pub(in crate::spool) hook: H,
}

impl<H: Hook> Fake<H> {
    fn write<T>(
        &mut self,
        write: &Write<'_>,
        act: impl FnOnce(&mut Sqlite) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        self.hook.write(write, &mut self.sqlite, act)
    }
}

impl<H: Hook> Store for Fake<H> {
    fn last_event(&mut self) -> Result<EventId, SpoolError> {
        self.sqlite.last_event()
    }

    fn newest(&mut self, limit: usize, since: Timestamp) -> Result<Vec<Identity>, SpoolError> {
        self.sqlite.newest(limit, since)
    }

    fn identity(&mut self, id: EventId) -> Result<Option<Identity>, SpoolError> {
        self.sqlite.identity(id)
    }

    fn commit(&mut self, batch: &Batch) -> Result<BTreeSet<Part>, SpoolError> {
        self.write(&Write::Commit(batch), |sqlite| sqlite.commit(batch))
    }

    fn register(&mut self, destinations: &[Destined]) -> Result<Vec<Registered>, SpoolError> {
        self.write(&Write::Other, |sqlite| sqlite.register(destinations))
    }

    fn pause(
        &mut self,
        name: &str,
        pause: Pause,
        who: &str,
        now: Timestamp,
    ) -> Result<Option<DestinationId>, SpoolError> {
        self.write(&Write::Other, |sqlite| sqlite.pause(name, pause, who, now))
    }

    fn acknowledge(
        &mut self,
        gap: i64,
        note: &GapNote,
        who: &str,
        now: Timestamp,
    ) -> Result<Acknowledgement, SpoolError> {
        self.write(&Write::Other, |sqlite| sqlite.acknowledge(gap, note, who, now))
    }

    fn audit(&mut self, who: &str, action: &str, detail: &str, now: Timestamp) -> Result<(), SpoolError> {
        self.write(&Write::Other, |sqlite| sqlite.audit(who, action, detail, now))
    }

    fn begin(&mut self, subscriptions: &[Arc<str>], now: Timestamp) -> Result<(), SpoolError> {
        self.write(&Write::Other, |sqlite| sqlite.begin(subscriptions, now))
    }

    fn end_task(&mut self, begun: i64, broken_off: Option<&str>, now: Timestamp) -> Result<(), SpoolError> {
        self.write(&Write::Other, |sqlite| sqlite.end_task(begun, broken_off, now))
    }

    fn end_tasks(&mut self, now: Timestamp) -> Result<(), SpoolError> {
        self.write(&Write::Other, |sqlite| sqlite.end_tasks(now))
    }

    fn trim_audit(&mut self, cutoff: Timestamp, limit: usize) -> Result<usize, SpoolError> {
        self.write(&Write::Other, |sqlite| sqlite.trim_audit(cutoff, limit))
    }

    fn replay(
        &mut self,
        replay: &mut Replay,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(DestinationId, Timestamp)>, SpoolError> {
        let write = Write::Replay(replay.request.selection.scope.clone());
        self.write(&write, |sqlite| sqlite.replay(replay, limit, now))
    }

    fn fill(&mut self, destination: DestinationId, limit: usize, now: Timestamp) -> Result<Filled, SpoolError> {
        self.write(&Write::Fill(destination.0), |sqlite| sqlite.fill(destination, limit, now))
    }

    fn purge(
        &mut self,
        after: EventId,
        cutoff: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<Option<EventId>, SpoolError> {
        self.write(&Write::Purge, |sqlite| sqlite.purge(after, cutoff, now, limit))
    }

    fn pass_over(&mut self, after: EventId) -> Result<Option<EventId>, SpoolError> {
        self.write(&Write::PassOver, |sqlite| sqlite.pass_over(after))
    }

    fn erase(&mut self, progress: Progress, now: Timestamp) -> Result<Progress, SpoolError> {
        self.write(&Write::Erase(progress.what.clone()), |sqlite| sqlite.erase(progress, now))
    }

    fn rekey(&mut self, rekey: Rekey, now: Timestamp) -> Result<Rekey, SpoolError> {
        self.write(&Write::Other, |sqlite| sqlite.rekey(rekey, now))
    }

    fn configured(&mut self, names: &[Arc<str>], now: Timestamp) -> Result<(), SpoolError> {
        self.write(&Write::Configured, |sqlite| sqlite.configured(names, now))
    }

    fn size(&mut self) -> Result<Size, SpoolError> {
        let size = self.sqlite.size()?;
        self.hook.measured(size);
        Ok(size)
    }

    fn contents(&mut self) -> Result<Contents, SpoolError> {
        self.sqlite.contents()
    }
}
