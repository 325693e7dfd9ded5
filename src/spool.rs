//! The spool: an event is real once it is in here, and this is the only road to a destination.
//!
//! ```text
//! sockets ──Appender──▶ ┌───────┐ ──batch──▶ Store (SQLite) ──▶ disk
//! lanes ────settle────▶ │writer │                               │
//! operator ──replay───▶ └───┬───┘ ──committed events, from memory──▶ Feed ──▶ lane
//!                           └ one bounded queue, one thread          └ pages from the disk when behind
//! ```
//!
//! What holds at all times:
//!
//! - **One writer.** A single thread owns the write connection. It takes whatever has arrived, commits
//!   it in one transaction with a sync, and only then hands the events on.
//! - **A batch is committed or it is not.** A failed commit changes nothing; the same batch is tried
//!   again until it succeeds, [`Health`] says so meanwhile, and nothing is forgotten.
//! - **A lost settlement is a repeat, never a loss.** What a lane reports rides on the next commit.
//! - **Memory is flat.** A [`Feed`] holds a bounded window; what does not fit is paged.
//! - **Nothing that waits for a destination is ever purged,** but at the operator's word. Retention is for what was
//!   delivered. Dead letters and parked frames stay, too, until the operator purges them, or the spool is full and
//!   was told to make room.
//! - **What operators change is told,** in a chain of rows that are never changed ([`audit`]).

pub mod audit;
#[cfg(any(test, fuzzing))]
mod damage;
pub mod erasure;
mod error;
pub mod feed;
mod queue;
mod readers;
pub mod record;
pub mod recovery;
pub mod rekey;
mod repeats;
pub mod replay;
mod seal;
pub mod settlement;
mod sqlite;
pub mod store;
mod turns;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;

#[cfg(any(test, fuzzing))]
pub(crate) use damage::open_damaged;
pub use error::SpoolError;
pub use queue::{Appender, Closed};
pub use store::View;
pub use writer::{Destined, Routes, Writer};

use self::erasure::{Erased, Erasure, Progress};
use self::feed::Feed;
pub(crate) use self::readers::Readers;
use self::record::{Acknowledgement, DestinationId, GapNote, Opened, Pause};
use self::seal::Keys;
use self::settlement::Settlement;
use self::store::{Change, Pages, Store};
use self::turns::Turns;
pub(crate) use self::writer::Command;
use crate::clock::Clock;
use crate::config;
use crate::event::EventId;
use crate::telemetry::metrics::Metrics;

/// Reads of operators at once, each of which takes a thread, file descriptors and the disk's time; lanes have their own.
const READS: usize = 4;
/// Those of them that may be searches: a status or a scrape never waits behind one.
const SEARCHES: usize = 2;

/// Tells whether the spool takes events.
#[derive(Clone, Debug, PartialEq)]
pub enum Health {
    /// It does.
    Writable,
    /// It does not, since then and for this reason; the writer goes on trying.
    Failing {
        /// Since when.
        since: Timestamp,
        /// Why, in words.
        reason: Box<str>,
    },
}

/// Opens a spool for reading only, whether or not a bridge works on it.
///
/// # Errors
/// When the file is missing, not a spool, or of a newer format.
pub fn open_view(path: &Path) -> Result<Box<dyn View>, SpoolError> {
    Ok(sqlite::open_view(path, Arc::default())?)
}

/// Does the same with the keys of a configuration, so that bodies that are encrypted can be read.
///
/// # Errors
/// When the file is missing, not a spool, or of a newer format.
pub fn open_unlocked(settings: &config::Spool) -> Result<Box<dyn View>, SpoolError> {
    Ok(sqlite::open_view(&settings.path, Arc::new(keys(settings)))?)
}

/// Pauses or resumes a destination of a spool that no bridge works on, and tells whether there is one of this name.
///
/// # Errors
/// When the spool is missing, in use, or cannot be written.
pub fn pause_at_rest(path: &Path, name: &str, pause: Pause, who: &str, now: Timestamp) -> Result<bool, SpoolError> {
    Ok(at_rest(path, now)?.pause(name, pause, who, now)?.is_some())
}

/// Notes that an operator has dealt with a gap, in a spool that no bridge works on.
///
/// # Errors
/// When the spool is missing, in use, or cannot be written.
pub fn acknowledge_at_rest(
    path: &Path,
    gap: i64,
    note: &GapNote,
    who: &str,
    now: Timestamp,
) -> Result<Acknowledgement, SpoolError> {
    at_rest(path, now)?.acknowledge(gap, note, who, now)
}

/// Deletes from a spool that no bridge works on, and tells how much, after each step, too; that `who` asked for it stands in
/// the audit table.
///
/// # Errors
/// When the spool is missing, in use, or cannot be written.
pub fn erase_at_rest(
    path: &Path,
    what: Erasure,
    who: &str,
    now: Timestamp,
    mut tell: impl FnMut(Erased),
) -> Result<Erased, SpoolError> {
    let mut store = at_rest(path, now)?;
    let mut progress = Progress::new(what, who);
    while !progress.complete {
        progress = store.erase(progress, now)?;
        tell(progress.erased);
    }
    Ok(progress.erased)
}

/// Tells whether a bridge works on a spool right now.
pub fn is_in_use(path: &Path) -> bool {
    path.is_file() && matches!(sqlite::lock(path), Err(SpoolError::InUse(_)))
}

/// Opens a spool that is there, for what does not look into payloads.
fn at_rest(path: &Path, now: Timestamp) -> Result<sqlite::Sqlite, SpoolError> {
    unlocked_at_rest(&config::Spool::new(path), now)
}

/// Opens a spool that is there.
fn unlocked_at_rest(settings: &config::Spool, now: Timestamp) -> Result<sqlite::Sqlite, SpoolError> {
    let path = &settings.path;
    if !path.exists() {
        return Err(SpoolError::Missing(path.to_owned()));
    }
    let mut store = sqlite::Sqlite::open(path, Arc::new(keys(settings)))?;
    store.end_tasks(now)?;
    Ok(store)
}

fn keys(settings: &config::Spool) -> Keys {
    Keys::new(settings.encryption_key.as_ref(), &settings.old_encryption_keys)
}

/// Is a running spool, as lanes and operators see it.
#[derive(Clone)]
pub struct Spool {
    appender: Appender,
    health: watch::Receiver<Health>,
    turns: Turns,
    readers: Readers,
    reads: Arc<Semaphore>,
    searches: Arc<Semaphore>,
}

impl Spool {
    /// Opens the spool, or makes it, and returns it with the writer, whose thread the caller starts.
    ///
    /// # Errors
    /// When it cannot be opened, is in use, or has a newer format.
    pub fn open(settings: &config::Spool, clock: Clock, metrics: Arc<Metrics>) -> Result<(Self, Writer), SpoolError> {
        let open = || {
            let keys = Arc::new(keys(settings));
            let store = sqlite::Sqlite::open(&settings.path, Arc::clone(&keys))?;
            store.tell_missing_keys()?;
            let readers = Readers::of(&settings.path, keys);
            Self::on(Box::new(store), readers, settings, clock, metrics)
        };
        open().map_err(|error| error.of_opening(&settings.path))
    }

    /// Starts on an engine that is open.
    fn on(
        store: Box<dyn store::Store>,
        readers: Readers,
        settings: &config::Spool,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Writer), SpoolError> {
        let (appender, commands) = Appender::channel();
        let (report, health) = watch::channel(Health::Writable);
        let turns = Turns::new(clock.clone());
        let writer = Writer::new(store, commands, settings, (report, turns.clone()), readers.clone(), clock, metrics)?;
        let places = |count| Arc::new(Semaphore::new(count));
        Ok((Self { appender, health, turns, readers, reads: places(READS), searches: places(SEARCHES) }, writer))
    }

    /// Returns the road for sources.
    pub fn appender(&self) -> Appender {
        self.appender.clone()
    }

    /// Returns the health of the spool as it is now: whether what it is given becomes durable.
    pub fn health(&self) -> Health {
        self.turns.judge(self.health.borrow().clone())
    }

    /// Returns what the writer says of its health, and every change of it. A write that hangs is no news.
    #[cfg(test)]
    pub(crate) fn news_of_health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Tells how many bytes are free, for this process, on the disk of the spool.
    ///
    /// # Errors
    /// When the system does not tell.
    pub async fn free_bytes(&self) -> io::Result<u64> {
        let path = Arc::clone(&self.readers.path);
        // A network file system can take its time.
        let disk =
            tokio::task::spawn_blocking(move || rustix::fs::statvfs(&*path)).await.map_err(io::Error::other)??;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Tells the writer who wants what from now on, and returns a feed for each destination that is new.
    ///
    /// # Errors
    /// When the spool has been closed.
    pub async fn route(&self, routes: Routes) -> Result<Vec<(Arc<str>, Feed)>, Closed> {
        let (reply, answer) = oneshot::channel();
        self.appender.send(Command::Route { routes, reply }).await?;
        answer.await.map_err(|_| Closed)
    }

    /// Reports what became of an attempt; the report is durable within the next commit.
    ///
    /// # Errors
    /// When the spool has been closed.
    pub async fn settle(&self, settlement: Settlement) -> Result<(), Closed> {
        self.appender.send(Command::Settle(settlement, None)).await
    }

    /// Reports what became of an attempt, and returns a receiver that ends when the report is durable.
    ///
    /// # Errors
    /// When the spool has been closed.
    pub async fn settle_acknowledged(&self, settlement: Settlement) -> Result<oneshot::Receiver<()>, Closed> {
        let (reply, answer) = oneshot::channel();
        self.appender.send(Command::Settle(settlement, Some(reply))).await?;
        Ok(answer)
    }

    /// Deletes step by step, so that no commit waits for it, for as long as `patience` lasts; tells how much, and
    /// whether that was all. That `who` asked for it stands in the audit table.
    ///
    /// # Errors
    /// When the spool has been closed, cannot be written, or something is to be deleted that is in use.
    pub async fn erase(&self, what: Erasure, who: &str, patience: Duration) -> Result<(Erased, bool), SpoolError> {
        let deadline = Instant::now() + patience;
        let mut progress = Progress::new(what, who);
        while !progress.complete && Instant::now() < deadline {
            let (reply, answer) = oneshot::channel();
            self.appender.send(Command::Erase { progress, reply }).await?;
            progress = answer.await.map_err(|_| Closed)??;
        }
        if !progress.complete {
            self.break_off(progress.audit, "it takes longer, ask again".to_owned()).await?;
        }
        Ok((progress.erased, progress.complete))
    }

    /// Tells in the audit table that a change broke off, if it was told that it began.
    async fn break_off(&self, begun: Option<i64>, reason: String) -> Result<(), SpoolError> {
        let Some(begun) = begun else { return Ok(()) };
        self.change(move |store, now| store.end_task(begun, Some(&reason), now)).await
    }

    /// Records how the breaker of a destination stands. Those of `revived` that are dead letters by what was reported
    /// before are due again from its opening on, as if nothing had been: no replay, and nobody's doing. It is one write,
    /// and waited for if there are any.
    ///
    /// # Errors
    /// When the spool has been closed.
    pub async fn breaker(
        &self,
        destination: DestinationId,
        opened: Option<Opened>,
        revived: Vec<EventId>,
    ) -> Result<(), Closed> {
        let is_awaited = !revived.is_empty();
        let (reply, durable) = oneshot::channel();
        self.appender.send(Command::Breaker { destination, opened, revived, reply }).await?;
        if is_awaited { durable.await.map_err(|_| Closed) } else { Ok(()) }
    }

    /// Pauses or resumes a destination, and tells whether there is one of this name; that `who` asked for it stands in
    /// the audit table.
    ///
    /// # Errors
    /// When the spool has been closed, or cannot be written.
    pub async fn pause(&self, name: &str, pause: Pause, who: &str) -> Result<bool, SpoolError> {
        let (reply, answer) = oneshot::channel();
        let (name, who) = (name.into(), who.into());
        self.appender.send(Command::Pause { name, pause, who, reply }).await?;
        answer.await.map_err(|_| Closed)?
    }

    /// Notes that an operator has dealt with a gap; that `who` did stands in the audit table.
    ///
    /// # Errors
    /// When the spool has been closed, or cannot be written.
    pub async fn acknowledge(&self, gap: i64, note: GapNote, who: &str) -> Result<Acknowledgement, SpoolError> {
        let who = who.to_owned();
        self.change(move |store, now| store.acknowledge(gap, &note, &who, now)).await
    }

    /// Adds to the audit table what `who` did to something else than the spool.
    ///
    /// # Errors
    /// When the spool has been closed, or cannot be written.
    pub async fn audit(&self, who: &str, action: &'static str, detail: &str) -> Result<(), SpoolError> {
        let (who, detail) = (who.to_owned(), detail.to_owned());
        self.change(move |store, now| store.audit(&who, action, &detail, now)).await
    }

    /// Has the writer make a change between two batches.
    async fn change<T, F>(&self, f: F) -> Result<T, SpoolError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Store, Timestamp) -> Result<T, SpoolError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let change: Change = Box::new(move |store, now| {
            // Whoever asked may have gone.
            let _ = reply.send(f(store, now));
        });
        self.appender.send(Command::Change(change)).await?;
        answer.await.map_err(|_| Closed)?
    }

    /// Waits until everything that was sent to the writer before is durable.
    ///
    /// # Errors
    /// When the spool has been closed.
    pub async fn flush(&self) -> Result<(), Closed> {
        let (reply, answer) = oneshot::channel();
        self.appender.send(Command::Flush { reply }).await?;
        answer.await.map_err(|_| Closed)
    }

    /// Waits until every report that was sent to the writer before is durable. Events that were sent before may wait
    /// still: a full spool takes reports all the same.
    ///
    /// # Errors
    /// When the spool has been closed.
    pub async fn reports_durable(&self) -> Result<(), Closed> {
        self.change(|_, _| Ok(())).await.map_err(|_| Closed)
    }

    /// Asks the writer to end once everything that was sent to it before is durable.
    ///
    /// # Errors
    /// When the spool has been closed already.
    pub async fn close(&self) -> Result<(), Closed> {
        self.appender.send(Command::Close).await
    }

    /// Runs a reading function of an operator on a thread that may block, once one is free.
    ///
    /// # Errors
    /// When the function fails.
    pub async fn read<T, F>(&self, f: F) -> Result<T, SpoolError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn View) -> Result<T, SpoolError> + Send + 'static,
    {
        let place = Arc::clone(&self.reads).acquire_owned().await.map_err(|_| Closed)?;
        // The place goes with the thread, which works on when nobody waits for it any more.
        let run = move |pages: &mut dyn Pages| {
            let _place = place;
            f(pages)
        };
        self.readers.run(run).await
    }

    /// Does the same for a function that may look at every event, so that others can still be read meanwhile.
    ///
    /// # Errors
    /// When the function fails.
    pub async fn search<T, F>(&self, f: F) -> Result<T, SpoolError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn View) -> Result<T, SpoolError> + Send + 'static,
    {
        let place = Arc::clone(&self.searches).acquire_owned().await.map_err(|_| Closed)?;
        let run = move |view: &mut dyn View| {
            let _place = place;
            f(view)
        };
        self.read(run).await
    }
}

#[cfg(test)]
mod tests;
