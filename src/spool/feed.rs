//! The road out: committed events, from memory while a lane keeps up, from the disk when it is behind.
//!
//! Each hand-over names the event before it *for this destination*, so that the lane sees by itself
//! whether something is missing. What is missing is on the disk, between the two numbers. No mode is
//! switched and nothing is agreed: a lane that is slow finds holes, pages them in, and finds fewer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::record::{DestinationId, Opened, Pause};
use super::store::{Due, Most, Pages, Reading, Registered, Waiting};
use super::{Readers, SpoolError};
use crate::event::{Event, EventId};

/// Events that wait in memory for one lane; some hundred cover the pauses between two turns of it.
const WINDOW_EVENTS: usize = 1024;
/// Bytes of bodies that wait in memory for one lane.
const WINDOW_BYTES: usize = 4 << 20;
/// Events in one page from the disk.
const PAGE_EVENTS: usize = 512;
/// Bytes of bodies in one page from the disk.
const PAGE_BYTES: usize = 2 << 20;
/// How long a lane waits after a page could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Reads in a row that the disk may fail before a page is read event by event: what comes back by itself does so within.
pub(super) const HICCUPS: u32 = 30;
/// Says that no replayed delivery waits to be noticed.
const NOTHING_DUE: i64 = i64::MAX;

/// Is one committed event on its way to a lane.
struct Handed {
    event: Arc<Event>,
    /// The event that this destination was handed, or should have been, before this one.
    previous: EventId,
}

/// What both ends see.
struct Shared {
    /// The last event that was left on the disk for want of room.
    left: AtomicU64,
    /// Bytes of bodies in the channel.
    bytes: AtomicUsize,
    /// When something became due that the lane does not know of, in milliseconds.
    due: AtomicI64,
    paused: AtomicBool,
    wake: Notify,
}

/// Is the writer's end for one destination.
pub(super) struct Outlet {
    sender: mpsc::Sender<Handed>,
    shared: Arc<Shared>,
    last: EventId,
}

impl Outlet {
    /// Makes both ends; events up to `last` may wait on the disk.
    pub(super) fn open(registered: Registered, last: EventId, readers: Readers) -> (Self, Feed) {
        let Registered { id: destination, pause, breaker, is_filling: _ } = registered;
        let (sender, receiver) = mpsc::channel(WINDOW_EVENTS);
        let shared = Arc::new(Shared {
            left: AtomicU64::new(last.0),
            bytes: AtomicUsize::new(0),
            due: AtomicI64::new(NOTHING_DUE),
            paused: AtomicBool::new(pause == Pause::On),
            wake: Notify::new(),
        });
        let feed = Feed {
            destination,
            pause,
            breaker,
            receiver,
            shared: Arc::clone(&shared),
            readers,
            cursor: EventId(0),
            page: VecDeque::new(),
            complete_until: EventId(0),
            next: None,
            loading: None,
            failures: 0,
        };
        (Self { sender, shared, last }, feed)
    }

    /// Hands an event over, or leaves it on the disk when the lane has enough to do.
    pub(super) fn hand(&mut self, event: &Arc<Event>) {
        let previous = std::mem::replace(&mut self.last, event.id);
        let size = event.body.len();
        let waiting = self.shared.bytes.load(Ordering::Relaxed);
        if waiting == 0 || waiting + size <= WINDOW_BYTES {
            self.shared.bytes.fetch_add(size, Ordering::Relaxed);
            if self.sender.try_send(Handed { event: Arc::clone(event), previous }).is_ok() {
                return;
            }
            self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        self.shared.left.store(event.id.0, Ordering::Release);
        self.shared.wake.notify_one();
    }

    /// Says that the destination is paused, or is no more.
    pub(super) fn pause(&self, pause: Pause) {
        self.shared.paused.store(pause == Pause::On, Ordering::Release);
        self.shared.wake.notify_one();
    }

    /// Says that deliveries became due that the lane did not schedule itself.
    pub(super) fn became_due(&self, at: Timestamp) {
        self.shared.due.fetch_min(at.as_millisecond(), Ordering::AcqRel);
        self.shared.wake.notify_one();
    }
}

/// Is what a feed has to say.
#[derive(Debug)]
pub enum Item {
    /// An event that was never attempted, as far as the spool knows.
    Fresh(Arc<Event>),
    /// Deliveries became due at this time that the lane did not schedule itself.
    Due(Timestamp),
    /// The operator pauses the destination, or resumes it.
    Pause(Pause),
    /// Events on the disk could not be read, for this reason; it is tried again.
    Unreadable(Box<str>),
    /// They can be read again.
    Readable,
}

/// Says what a lane can take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Events, and whatever else there is to say.
    ForEvents,
    /// No events: they stay where they are, and the rest is said all the same.
    Full,
}

/// Is a lane's end: every event for its destination, in order, each once.
pub struct Feed {
    destination: DestinationId,
    /// The last that the lane was told.
    pause: Pause,
    /// How the breaker stood at the beginning.
    breaker: Option<Opened>,
    receiver: mpsc::Receiver<Handed>,
    shared: Arc<Shared>,
    readers: Readers,
    /// The last event that was given to the lane.
    cursor: EventId,
    page: VecDeque<Arc<Event>>,
    /// Up to where the page holds all there is.
    complete_until: EventId,
    next: Option<Handed>,
    loading: Option<Loading>,
    /// Reads in a row that failed.
    failures: u32,
}

/// Is a page on its way from the disk.
struct Loading {
    until: EventId,
    /// `None` after a pause in which nothing was read.
    page: JoinHandle<Result<Option<Vec<Arc<Event>>>, SpoolError>>,
}

impl Feed {
    /// Returns the number of the destination.
    pub fn destination(&self) -> DestinationId {
        self.destination
    }

    /// Returns whether the destination is paused, as far as the lane was told.
    pub fn pause(&self) -> Pause {
        self.pause
    }

    /// Returns how the breaker stood when the feed was made.
    pub fn opened(&self) -> Option<Opened> {
        self.breaker
    }

    /// Reads the next deliveries that wait for their retry after this place, the soonest due first; so many reads before
    /// it failed.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub async fn waiting(&self, after: (Timestamp, EventId), failures: u32) -> Result<Vec<Waiting>, SpoolError> {
        let destination = self.destination;
        let read = move |view: &mut dyn Pages, how| view.waiting(destination, after, PAGE_EVENTS, how);
        self.readers.run(move |view| with_care(view, failures, read)).await
    }

    /// Waits for what comes next; `None` when the destination was taken out of the routes and all is said.
    ///
    /// A call that is dropped half-way loses nothing.
    pub async fn next(&mut self, room: Room) -> Option<Item> {
        loop {
            let pause = if self.shared.paused.load(Ordering::Acquire) { Pause::On } else { Pause::Off };
            if self.pause != pause {
                self.pause = pause;
                return Some(Item::Pause(pause));
            }
            if self.shared.due.load(Ordering::Relaxed) != NOTHING_DUE {
                let due = self.shared.due.swap(NOTHING_DUE, Ordering::AcqRel);
                return Some(Item::Due(Timestamp::from_millisecond(due).unwrap_or(Timestamp::UNIX_EPOCH)));
            }
            if room == Room::Full {
                self.shared.wake.notified().await;
                continue;
            }
            if let Some(event) = self.page.pop_front() {
                return Some(self.give(event));
            }
            self.cursor = self.cursor.max(self.complete_until);
            if self.loading.is_some() {
                match self.finish_loading().await {
                    Some(item) => return Some(item),
                    None => continue,
                }
            }
            if self.next.is_none() {
                self.next = self.receiver.try_recv().ok();
            }
            match self.next.take() {
                Some(handed) if handed.event.id <= self.cursor => self.forget(&handed),
                Some(handed) if handed.previous <= self.cursor => {
                    self.forget(&handed);
                    return Some(self.give(handed.event));
                }
                Some(handed) => {
                    self.load(handed.previous);
                    self.next = Some(handed);
                }
                None => {
                    let left = EventId(self.shared.left.load(Ordering::Acquire));
                    if left > self.cursor {
                        self.load(left);
                    } else {
                        self.wait().await?;
                    }
                }
            }
        }
    }

    /// Reads deliveries whose next attempt is due at `now`, the longest due first, skipping those in `except`.
    ///
    /// What is due after `latest` counts as due now: nobody plans so far ahead, so the clock was set back since. So many
    /// reads before this one failed.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub fn due(
        &self,
        (now, latest): (Timestamp, Timestamp),
        limit: usize,
        except: Vec<EventId>,
        failures: u32,
    ) -> impl Future<Output = Result<DuePage, SpoolError>> + Send + 'static {
        let (readers, destination) = (self.readers.clone(), self.destination);
        let most = Most { events: limit, bytes: PAGE_BYTES };
        let read = move |view: &mut dyn Pages, how| {
            // A replay plans as far ahead as its rate asks for.
            let latest = view.planned_until(destination, how)?.map_or(latest, |planned| latest.max(planned));
            let mut page = view.due(destination, (latest, Timestamp::MAX), most, &except, how)?;
            let misplaced = !page.is_empty();
            if !misplaced {
                page = view.due(destination, (Timestamp::MIN, now), most, &except, how)?;
            }
            let known: Vec<EventId> = except.iter().copied().chain(page.iter().map(|due| due.event.id)).collect();
            let next = view.next_due(destination, &known, how)?;
            // Behind misplaced ones there may be more of them.
            Ok(DuePage { next: if misplaced { Some(now) } else { next }, page })
        };
        async move { readers.run(move |view| with_care(view, failures, read)).await }
    }

    fn give(&mut self, event: Arc<Event>) -> Item {
        self.cursor = event.id;
        Item::Fresh(event)
    }

    fn forget(&self, handed: &Handed) {
        self.shared.bytes.fetch_sub(handed.event.body.len(), Ordering::Relaxed);
    }

    fn load(&mut self, until: EventId) {
        let (readers, destination, after) = (self.readers.clone(), self.destination, self.cursor);
        let (failures, most) = (self.failures, Most { events: PAGE_EVENTS, bytes: PAGE_BYTES });
        let read = move |view: &mut dyn Pages, how| view.fresh(destination, (after, until), most, how).map(Some);
        let page = async move { readers.run(move |view| with_care(view, failures, read)).await };
        self.loading = Some(Loading { until, page: tokio::spawn(page) });
    }

    /// Takes the page that was on its way; returns what is to be said of it.
    async fn finish_loading(&mut self) -> Option<Item> {
        let loading = self.loading.as_mut()?;
        match (&mut loading.page).await.map_err(|_| SpoolError::Interrupted).flatten() {
            Ok(Some(page)) => {
                let bytes: usize = page.iter().map(|event| event.body.len()).sum();
                if page.len() < PAGE_EVENTS && bytes < PAGE_BYTES {
                    self.complete_until = loading.until;
                }
                self.page.extend(page);
                self.loading = None;
                (std::mem::take(&mut self.failures) > 0).then_some(Item::Readable)
            }
            // The pause after a failure is over: the range is loaded anew.
            Ok(None) => {
                self.loading = None;
                None
            }
            Err(error) => {
                loading.page = tokio::spawn(async {
                    tokio::time::sleep(READ_AGAIN).await;
                    Ok(None)
                });
                self.failures = self.failures.saturating_add(1);
                Some(Item::Unreadable(error.to_string().into()))
            }
        }
    }

    /// Waits for a hand-over or a wake-up; `None` when the writer has dropped its end and nothing is left.
    async fn wait(&mut self) -> Option<()> {
        tokio::select! {
            biased;
            handed = self.receiver.recv() => self.next = Some(handed?),
            () = self.shared.wake.notified() => {}
        }
        Some(())
    }
}

/// Reads a page at once, and event by event where the file is damaged, or the disk has failed for so long that it is not
/// the whole of it that does.
pub(super) fn with_care<T>(
    view: &mut dyn Pages,
    failures: u32,
    mut read: impl FnMut(&mut dyn Pages, Reading) -> Result<T, SpoolError>,
) -> Result<T, SpoolError> {
    match read(view, Reading::AsOne) {
        Err(error) if error.is_damage() || error.is_unread() && failures >= HICCUPS => read(view, Reading::Singly),
        read => read,
    }
}

/// Is what is due, and when more will be.
#[derive(Debug)]
pub struct DuePage {
    /// Deliveries to attempt now.
    pub page: Vec<Due>,
    /// When the next one after them is due, which can be in the past.
    pub next: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::config::Start;
    use crate::config::filter::EventFilter;
    use crate::spool::damage::batch;
    use crate::spool::sqlite::Sqlite;
    use crate::spool::store::Store as _;
    use crate::spool::writer::Destined;

    #[tokio::test]
    async fn event_that_is_on_a_page_and_in_memory_is_given_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("spool.db");
        let mut store = Sqlite::open(&path, Arc::default()).expect("a new spool");
        store
            .register(&[Destined { name: "crm".into(), filter: EventFilter::all(), start: Start::Now }])
            .expect("written");
        let batches = [1, 2, 3].map(batch);
        for batch in &batches {
            store.commit(batch).expect("written");
        }
        let registered = Registered { id: DestinationId(1), pause: Pause::Off, breaker: None, is_filling: false };
        let (mut outlet, mut feed) = Outlet::open(registered, EventId(3), Readers::of(&path, Arc::default()));
        assert!(feed.next(Room::ForEvents).now_or_never().is_none(), "the page is on its way");
        // The last of it is handed over after the lane has seen nothing in memory, and before it sees how far the disk goes.
        outlet.last = EventId(2);
        outlet.hand(&batches[2].events[0].event);
        drop(outlet);
        let mut given = Vec::new();
        while let Some(item) = feed.next(Room::ForEvents).await {
            if let Item::Fresh(event) = item {
                given.push(event.id.0);
            }
        }
        assert_eq!(given, [1, 2, 3]);
        assert_eq!(feed.shared.bytes.load(Ordering::Relaxed), 0, "what it took in memory is given back");
    }
}
