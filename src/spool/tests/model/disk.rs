//! The real store on a disk that fails as planned, loses its power in the midst of a write, and is watched.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, ffi};

use super::action::{Dice, Fault, Tear};
use super::book::Write;
use super::world::{World, Wreck};
use crate::event::EventId;
use crate::spool::SpoolError;
use crate::spool::erasure::Progress;
use crate::spool::record::{Acknowledgement, DestinationId, Pause};
use crate::spool::rekey::Rekey;
use crate::spool::replay::Replay;
use crate::spool::sqlite::Sqlite;
use crate::spool::store::{Batch, Contents, Filled, Identity, Registered, Size, Store};
use crate::spool::writer::Destined;

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// Ends the writer as a loss of power does.
pub(super) struct PowerCut;

pub(super) struct Disk {
    sqlite: Sqlite,
    path: PathBuf,
    world: World,
}

impl Disk {
    pub(super) fn open(path: &Path, world: &World) -> Result<Self, SpoolError> {
        Ok(Self { sqlite: Sqlite::open(path, Arc::default())?, path: path.to_owned(), world: world.clone() })
    }

    fn write<T>(
        &mut self,
        write: &Write<'_>,
        act: impl FnOnce(&mut Sqlite) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        self.fail(write)?;
        let is_armed = self.world.lock().power_cut.is_some();
        let log_before = if is_armed { read(&log_of(&self.path)) } else { Vec::new() };
        let rows_before = is_armed.then(|| self.world.lock().rows.clone());
        let done = act(&mut self.sqlite);
        if let Err(error) = &done
            && !matches!(error, SpoolError::Configured(_))
        {
            self.world.lock().hold(Err(format!("the store failed by itself: {error}")));
        }
        let mut world = self.world.lock();
        let changed = world.wrote(write).expect("the file can be read");
        if let (Some((left, tear)), Some(before), true) = (world.power_cut, rows_before, changed) {
            world.power_cut = Some((left - 1, tear));
            if left == 1 {
                world.power_cut = None;
                let log_after = read(&log_of(&self.path));
                let (log, is_whole) = torn(&log_before, &log_after, tear, &mut world.dice);
                let may_hold = if is_whole { vec![world.rows.clone()] } else { vec![before, world.rows.clone()] };
                let path = wreck_path(&self.path, world.starts);
                std::fs::copy(&self.path, &path).expect("copied");
                std::fs::write(log_of(&path), log).expect("written");
                world.wreck = Some(Wreck { path, may_hold });
                world.count("power cuts");
                world.say(|| format!("power cut, {tear:?}"));
                drop(world);
                resume_unwind(Box::new(PowerCut));
            }
        }
        done
    }

    /// Fails as planned, before anything is written.
    fn fail(&self, write: &Write<'_>) -> Result<(), SpoolError> {
        let mut world = self.world.lock();
        let Some((fault, left)) = world.fault else { return Ok(()) };
        let brings_events = matches!(write, Write::Commit(batch) if !batch.events.is_empty());
        if fault == Fault::FullForEvents && !brings_events {
            return Ok(());
        }
        world.fault = (left > 1).then_some((fault, left - 1));
        world.disk_failed = true;
        world.count("failed writes");
        let (code, text) = match fault {
            Fault::FullForEvents | Fault::Full => (ffi::SQLITE_FULL, "database or disk is full"),
            Fault::ReadOnly => (ffi::SQLITE_READONLY, "attempt to write a readonly database"),
            Fault::Broken => (ffi::SQLITE_IOERR_FSYNC, "disk I/O error"),
        };
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(text.to_owned())).into())
    }
}

/// Leaves what a process leaves that dies between two writes, with so many bytes of chance behind its log.
pub(super) fn kill(path: &Path, world: &World, chance: u64) -> Wreck {
    let mut world = world.lock();
    let copy = wreck_path(path, world.starts);
    std::fs::copy(path, &copy).expect("copied");
    let mut log = read(&log_of(path));
    log.extend((0..chance).map(|_| world.dice.below(256) as u8).collect::<Vec<u8>>());
    std::fs::write(log_of(&copy), log).expect("written");
    world.count("kills");
    Wreck { path: copy, may_hold: vec![world.rows.clone()] }
}

/// Copies the log back into the file, as a backup's program may; `None` unless the power fails at that.
pub(super) fn checkpoint(path: &Path, world: &World, is_torn: bool) -> Option<Wreck> {
    let (before, log) = (read(path), read(&log_of(path)));
    let other = Connection::open(path).expect("opens");
    let mode = if is_torn { "PRAGMA wal_checkpoint(PASSIVE)" } else { "PRAGMA wal_checkpoint(RESTART)" };
    other.query_row(mode, [], |_| Ok(())).expect("copied");
    drop(other);
    let mut world = world.lock();
    world.count("checkpoints");
    if !is_torn {
        return None;
    }
    let mut file = read(path);
    for (number, page) in file.chunks_mut(PAGE).enumerate() {
        let old = before.get(number * PAGE..(number + 1) * PAGE);
        if let (Some(old), true) = (old, world.dice.once_in(2)) {
            page.copy_from_slice(old);
        }
    }
    let copy = wreck_path(path, world.starts);
    std::fs::write(&copy, file).expect("written");
    std::fs::write(log_of(&copy), log).expect("written");
    Some(Wreck { path: copy, may_hold: vec![world.rows.clone()] })
}

/// Returns what a loss of power leaves of a log, and whether that is all of it.
fn torn(before: &[u8], after: &[u8], tear: Tear, dice: &mut Dice) -> (Vec<u8>, bool) {
    let old = |at: usize| before.get(at).copied().unwrap_or(0);
    let differs = |at: &usize| before.get(*at) != after.get(*at);
    let (first, last) = ((0..after.len()).find(differs), (0..after.len()).rev().find(differs));
    let (Some(first), Some(last)) = (first, last) else { return (after.to_vec(), true) };
    let cut = first + dice.below((last + 1 - first) as u64) as usize;
    let mut log = after.to_vec();
    match tear {
        Tear::Whole => {}
        Tear::Truncated if cut >= before.len() => log.truncate(cut),
        Tear::Truncated | Tear::Short => (cut..=last).for_each(|at| log[at] = old(at)),
        Tear::Holes => {
            for sector in first / SECTOR..=last / SECTOR {
                if dice.once_in(3) {
                    let end = ((sector + 1) * SECTOR).min(last + 1);
                    ((sector * SECTOR).max(first)..end).for_each(|at| log[at] = old(at));
                }
            }
        }
        Tear::Garbage => (cut..=last).for_each(|at| log[at] = dice.below(256) as u8),
    }
    let is_whole = log == after;
    (log, is_whole)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

fn wreck_path(path: &Path, starts: u32) -> PathBuf {
    path.with_file_name(format!("spool{starts}.db"))
}

impl Store for Disk {
    fn last_event(&mut self) -> Result<EventId, SpoolError> {
        self.sqlite.last_event()
    }

    fn newest(&mut self, limit: usize) -> Result<Vec<Identity>, SpoolError> {
        self.sqlite.newest(limit)
    }

    fn identity(&mut self, id: EventId) -> Result<Option<Identity>, SpoolError> {
        self.sqlite.identity(id)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), SpoolError> {
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

    fn acknowledge(&mut self, gap: i64, note: &str, who: &str, now: Timestamp) -> Result<Acknowledgement, SpoolError> {
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

    fn revive(&mut self, destination: DestinationId, events: &[EventId], now: Timestamp) -> Result<(), SpoolError> {
        self.write(&Write::Revive(destination.0, events), |sqlite| sqlite.revive(destination, events, now))
    }

    fn purge(
        &mut self,
        after: EventId,
        cutoff: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<Option<EventId>, SpoolError> {
        let write = Write::Purge { cutoff_ms: self.world.lock().retained_from_ms() };
        self.write(&write, |sqlite| sqlite.purge(after, cutoff, now, limit))
    }

    fn erase(&mut self, progress: Progress, now: Timestamp) -> Result<Progress, SpoolError> {
        let write = Write::Erase(progress.what.clone());
        self.write(&write, |sqlite| sqlite.erase(progress, now))
    }

    fn rekey(&mut self, rekey: Rekey, now: Timestamp) -> Result<Rekey, SpoolError> {
        self.write(&Write::Other, |sqlite| sqlite.rekey(rekey, now))
    }

    fn configured(&mut self, names: &[Arc<str>], now: Timestamp) -> Result<(), SpoolError> {
        let done = self.write(&Write::Other, |sqlite| sqlite.configured(names, now));
        if done.is_ok() {
            self.world.lock().rerouted();
        }
        done
    }

    fn size(&mut self) -> Result<Size, SpoolError> {
        self.sqlite.size()
    }

    fn contents(&mut self) -> Result<Contents, SpoolError> {
        self.sqlite.contents()
    }
}
