//! The real store on a disk that fails as planned, loses its power in the midst of a write, and is watched.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ffi};

use super::action::{Dice, Fault, Tear};
use super::world::{World, Wreck};
use crate::spool::SpoolError;
use crate::spool::seal::Keys;
use crate::spool::sqlite::Sqlite;
use crate::spool::store::Size;
use crate::spool::tests::fake::{Fake, Hook, Write};

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// Ends the writer as a loss of power does.
pub(super) struct PowerCut;

pub(super) struct Disk {
    path: PathBuf,
    world: World,
}

impl Hook for Disk {
    fn write<T>(
        &mut self,
        write: &Write<'_>,
        sqlite: &mut Sqlite,
        act: impl FnOnce(&mut Sqlite) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        self.fail(write)?;
        let is_armed = self.world.lock().power_cut.is_some();
        let log_before = if is_armed { read(&log_of(&self.path)) } else { Vec::new() };
        let rows_before = is_armed.then(|| self.world.lock().rows.clone());
        let done = act(sqlite);
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
        if matches!(write, Write::Configured) && done.is_ok() {
            world.rerouted();
        }
        done
    }

    fn measured(&mut self, size: Size) {
        self.world.lock().measured(size);
    }
}

impl Disk {
    pub(super) fn open(path: &Path, keys: Arc<Keys>, world: &World) -> Result<Fake<Self>, SpoolError> {
        let hook = Self { path: path.to_owned(), world: world.clone() };
        Ok(Fake { sqlite: Sqlite::open(path, keys)?, hook })
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
        world.breakers.forget();
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
