//! How a batch becomes durable, and what waits aside while it cannot.
//!
//! What lanes report is always committed, or tried until it is: it is what makes room. What sources bring waits, in
//! its order, while the spool is full or its disk is. It is bounded by the shares of the queue that it holds.

use std::collections::{BTreeSet, VecDeque};
use std::path::{self, Path};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::room::{News, Pressure};
use super::{BATCH, Command, Promises, Writer};
use crate::spool::settlement::Outcome;
use crate::spool::store::{Batch, Part, Store};
use crate::spool::{Health, SpoolError};
use crate::telemetry::metrics::ByWhat;

/// How long the writer waits after a failed commit, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Is what waits until the spool takes it.
#[derive(Default)]
pub(super) struct Aside {
    /// A batch that could not be committed: its events have their numbers, so that it goes first.
    stuck: Option<Stuck>,
    /// What came after it, or while the spool was full.
    held: VecDeque<Command>,
}

struct Stuck {
    batch: Batch,
    promises: Promises,
    disk_is_full: bool,
    pause: Duration,
    retry_at: Instant,
}

impl Writer {
    /// Returns a command that may be carried out now, and keeps one that has to wait.
    pub(super) fn admit(&mut self, command: Command) -> Option<Command> {
        if self.aside.stuck.is_none() && self.aside.held.is_empty() && !self.room.is_full() {
            return Some(command);
        }
        match command {
            // Stored before the events that wait, it would hide their loss in a crash.
            Command::Alive { .. } => None,
            Command::Append(..) | Command::GapOpened { .. } | Command::GapClosed { .. } | Command::Flush { .. } => {
                self.aside.held.push_back(command);
                None
            }
            Command::Settle(..)
            | Command::Route { .. }
            | Command::Replay { .. }
            | Command::Erase { .. }
            | Command::Breaker { .. }
            | Command::Pause { .. }
            | Command::Change(_)
            | Command::Close => Some(command),
        }
    }

    /// Returns when there is something to do that no command asks for.
    pub(super) fn wake_at(&self) -> Instant {
        match &self.aside.stuck {
            Some(Stuck { disk_is_full: true, retry_at, .. }) => self.purge.next_at().min(*retry_at),
            Some(Stuck { disk_is_full: false, retry_at, .. }) => *retry_at,
            None if self.aside.held.is_empty() || self.room.is_full() => {
                let backlog = self.backlog.next_at(self.clock.instant());
                backlog.map_or(self.purge.next_at(), |at| at.min(self.purge.next_at()))
            }
            None => self.clock.instant(),
        }
    }

    /// Tells whether a batch waits for its disk.
    pub(super) fn is_stuck(&self) -> bool {
        self.aside.stuck.is_some()
    }

    /// Makes room, and takes what waits as far as there is some.
    pub(super) fn look_after_room(&mut self) {
        let instant = self.clock.instant();
        // A disk that is broken is left alone; one that is full can have room made on it.
        if instant >= self.purge.next_at() && self.aside.stuck.as_ref().is_none_or(|stuck| stuck.disk_is_full) {
            self.measure();
            let pressure = self.pressure();
            self.purge.step(self.store.as_mut(), &self.metrics, (pressure, self.last), self.clock.now(), instant);
            if self.room.is_full() {
                self.measure();
            }
        }
        if self.aside.stuck.as_ref().is_some_and(|stuck| instant >= stuck.retry_at) {
            self.retry();
        }
        if self.aside.stuck.is_none() && !self.room.is_full() {
            self.release();
        }
    }

    /// Makes a batch durable and keeps its promises; if that fails, what sources brought waits.
    pub(super) fn conclude(&mut self, mut batch: Batch, mut promises: Promises) {
        if batch.is_empty() {
            promises.keep();
            return;
        }
        let (began, started) = (self.clock.now(), self.clock.instant());
        let committed = self.store.commit(&batch);
        self.metrics.spool_commit_seconds.observe(started.elapsed().as_secs_f64());
        match committed {
            Ok(without) => self.committed(&batch, promises, began, &without),
            Err(error) => {
                self.failed(&error);
                let reports = batch.split_reports();
                let mut owed = Promises { reported: std::mem::take(&mut promises.reported), ..Promises::default() };
                if batch.is_empty() {
                    owed.flushed = promises.flushed;
                } else {
                    let (pause, disk_is_full) = (RETRY.0, is_full(&error));
                    let retry_at = self.clock.instant() + pause;
                    self.aside.stuck = Some(Stuck { batch, promises, disk_is_full, pause, retry_at });
                }
                if !reports.is_empty() {
                    let without = self.persist(|store| store.commit(&reports));
                    self.committed(&reports, owed, began, &without);
                }
            }
        }
    }

    fn committed(&mut self, batch: &Batch, mut promises: Promises, began: Timestamp, without: &BTreeSet<Part>) {
        for part in without {
            self.metrics.spool_unwritten.get_or_create_owned(&ByWhat { what: part.kind() }).inc();
        }
        promises.break_those(without);
        self.metrics.spool_batch.observe(batch.events.len() as f64);
        self.hand_out(batch, &promises);
        promises.keep();
        self.metrics.spans.stored(batch.events.iter().map(|new| &*new.event), began, &self.clock);
        self.purge.settled(&batch.settlements);
        let delivers = batch.settlements.iter().any(|one| matches!(one.outcome, Outcome::Delivered { .. }));
        if delivers && (self.room.is_full() || self.pressure() > Pressure::Nothing) {
            self.purge.hurry(self.clock.instant());
        }
        if self.room.took(batch) {
            self.measure();
        } else if !self.room.is_full() {
            self.show_health();
        }
    }

    /// Tries again to commit what could not be.
    fn retry(&mut self) {
        let Some(mut stuck) = self.aside.stuck.take() else { return };
        let began = self.clock.now();
        match self.store.commit(&stuck.batch) {
            Ok(without) => self.committed(&stuck.batch, stuck.promises, began, &without),
            Err(error) => {
                self.failed(&error);
                stuck.disk_is_full = is_full(&error);
                stuck.pause = RETRY.1.min(stuck.pause * 2);
                stuck.retry_at = self.clock.instant() + stuck.pause;
                self.aside.stuck = Some(stuck);
            }
        }
    }

    /// Commits what waits, a batch of it.
    fn release(&mut self) {
        if self.aside.held.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut self.aside.held);
        let (mut batch, mut promises) = (Batch::default(), Promises::default());
        // What does not fit into the batch stays.
        let mut first = std::iter::from_fn(|| held.pop_front()).take(BATCH);
        self.take(&mut first, &mut batch, &mut promises);
        self.aside.held = held;
        self.conclude(batch, promises);
    }

    /// Commits what could not be, before anything is done that needs it behind; tries until it can.
    pub(super) fn unstick(&mut self) {
        if let Some(Stuck { batch, promises, .. }) = self.aside.stuck.take() {
            let began = self.clock.now();
            let without = self.persist(|store| store.commit(&batch));
            self.committed(&batch, promises, began, &without);
        }
    }

    /// Commits all that waits, whatever it comes to: nothing is read any more, and it would be lost.
    pub(super) fn finish(&mut self) {
        self.unstick();
        while !self.aside.held.is_empty() {
            self.room.lift();
            self.release();
            self.unstick();
        }
        self.purge.end_dropping(self.store.as_mut(), self.clock.now());
    }

    /// Measures what the spool takes, and tells what follows.
    pub(super) fn measure(&mut self) {
        let size = match self.store.size() {
            Ok(size) => size,
            Err(error) => {
                tracing::warn!(%error, "the spool could not be measured");
                return;
            }
        };
        self.metrics.spool_bytes.set(size.pages.cast_signed());
        self.metrics.spool_wal_bytes.set(size.log.cast_signed());
        let (before, was_full) = (self.pressure(), self.room.is_full());
        let news = self.room.measured(size);
        if self.pressure() > before || self.room.is_full() && !was_full {
            self.purge.hurry(self.clock.instant());
        }
        match news {
            News::Nothing => {}
            News::Narrow => tracing::warn!("the spool will soon take no events: {}", self.room_in_words()),
            News::LongLog => tracing::warn!("{}", self.room.log_words()),
        }
        self.show_health();
    }

    fn pressure(&self) -> Pressure {
        match &self.aside.stuck {
            Some(Stuck { disk_is_full: true, .. }) => self.room.pressure_on_full_disk(),
            Some(Stuck { disk_is_full: false, .. }) | None => self.room.pressure(),
        }
    }

    /// Does this until it succeeds: what has been accepted is not given up for a disk that is full.
    pub(super) fn persist<T>(&mut self, mut write: impl FnMut(&mut dyn Store) -> Result<T, SpoolError>) -> T {
        let (mut pause, most) = RETRY;
        loop {
            match write(self.store.as_mut()) {
                Ok(value) => {
                    self.show_health();
                    return value;
                }
                Err(error) => {
                    self.failed(&error);
                    // Not a timer of the runtime, which ends before this thread where the disk never recovers.
                    self.clock.block(pause);
                    pause = most.min(pause * 2);
                }
            }
        }
    }

    fn failed(&self, error: &SpoolError) {
        let reason = reason(error, &self.readers.path);
        tracing::error!(error = %reason, "the spool does not take events, trying again");
        self.set_health(Health::Failing { since: self.clock.now(), reason: reason.into() });
    }

    /// Tells whether events are taken; where a commit fails, that is told already.
    fn show_health(&mut self) {
        if self.aside.stuck.is_some() {
            return;
        }
        if !self.room.is_full() {
            self.set_health(Health::Writable);
            return;
        }
        let reason = self.room_in_words();
        if *self.report.borrow() == Health::Writable {
            tracing::error!("the spool takes no events: {reason}");
        }
        self.set_health(Health::Failing { since: self.clock.now(), reason: reason.into() });
    }

    fn room_in_words(&mut self) -> String {
        // Where the counts cannot be read, the sizes are worth telling all the same.
        let contents = self.store.contents().unwrap_or_default();
        self.room.words(contents)
    }

    /// Tells those who watch; a failure that goes on keeps its beginning.
    fn set_health(&self, now: Health) {
        self.report.send_if_modified(|known| match (&mut *known, now) {
            (Health::Writable, Health::Writable) => false,
            (Health::Failing { reason, .. }, Health::Failing { reason: new, .. }) => {
                let changed = *reason != new;
                *reason = new;
                changed
            }
            (known, now) => {
                let writable = now == Health::Writable;
                self.metrics.spool_writable.set(writable.into());
                if writable {
                    tracing::info!("the spool takes events again");
                }
                *known = now;
                true
            }
        });
    }
}

fn is_full(error: &SpoolError) -> bool {
    matches!(error, SpoolError::Engine(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
}

/// Says why, and what to do.
fn reason(error: &SpoolError, path: &Path) -> String {
    match error {
        SpoolError::Engine(_) => {
            let file = path::absolute(path).unwrap_or_else(|_| path.to_owned());
            format!("{error}; free or repair the disk of {}", file.display())
        }
        SpoolError::InUse(_)
        | SpoolError::Newer { .. }
        | SpoolError::Missing(_)
        | SpoolError::Open { .. }
        | SpoolError::NotASpool { .. }
        | SpoolError::Damaged { .. }
        | SpoolError::Removed(_)
        | SpoolError::Configured(_)
        | SpoolError::Closed(_)
        | SpoolError::Busy
        | SpoolError::Sealed { .. }
        | SpoolError::NoRandomness
        | SpoolError::Interrupted => error.to_string(),
    }
}
