//! The retries of a lane: on the disk until they are due, and never in memory twice.

use std::collections::HashSet;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

use crate::dispatch::key::Key;
use crate::event::EventId;
use crate::spool::SpoolError;
use crate::spool::feed::{DuePage, Feed};
use crate::spool::store::Due;

/// Due retries that are read at once: a few turns of the default number of slots.
const PAGE: usize = 64;
/// Retries that a lane has at once, and no page is read beyond: half of what waits in its memory, as of the slots, so that
/// its past leaves room for what comes.
const MOST: usize = super::WINDOW_EVENTS / 2;
/// Events of unstored reports that are left alone beside what the lane has. Each read of the disk steps over them; further
/// ones count as had, and so end the reading of retries where the file stores next to nothing.
const LEFT_ALONE: usize = 1024;
/// Says that more reports than that could not be stored.
pub(super) const TOO_MANY_UNSTORED: &str =
    "the spool stored the reports of too many events no more, its file is damaged";
/// How long a lane waits after due retries could not be read.
pub(super) const READ_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// Is something that the lane waits for beside its attempts.
type Underway<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Knows when to look for due retries, and which of them the lane has already.
pub(super) struct Retries {
    /// In memory, in flight, or reported and not yet durable: not to be read again.
    busy: HashSet<EventId>,
    /// Those whose report was not stored: they are left alone until the next start.
    left_alone: HashSet<EventId>,
    /// Reports that must be durable before the disk is read for what they concern.
    unconfirmed: FuturesUnordered<Underway<Confirmed>>,
    /// Those of them that sent a delivery back unattempted: a page without it would let later ones overtake it.
    going_back: usize,
    reading: Option<Underway<Result<DuePage, SpoolError>>>,
    /// Reads in a row that failed.
    failures: u32,
    /// When to look next; `None` while none wait.
    look_at: Option<Timestamp>,
    /// The clock as it was last seen.
    seen: Timestamp,
    /// What lies far ahead may have been planned by a clock that was set back since: nothing was looked at since it was,
    /// or since the lane was told of what lies there.
    may_be_misplaced: bool,
}

/// Is what has happened beside the attempts.
pub(super) enum Step {
    /// A report has become durable.
    Confirmed,
    /// A report was not stored.
    Unstored {
        /// The event does not come back from the disk, where it was to wait.
        event: EventId,
        /// What it is about; `None` also where it was not to wait.
        key: Option<Key>,
        /// It is one of too many, and takes up room.
        is_beyond: bool,
    },
    /// Retries are due; none, when only the time of the next look was found out.
    Read(Vec<Due>),
    /// They could not be read, for this reason; it is tried again.
    Unreadable(Box<str>),
}

/// Is a report that has become durable, or never will.
struct Confirmed {
    event: EventId,
    key: Option<Key>,
    /// When the delivery is due again, if it is.
    due: Option<Timestamp>,
    goes_back: bool,
    /// False where the file is damaged: the disk tells what was before, and to believe it would repeat it without end.
    is_stored: bool,
}

impl Retries {
    /// Begins with a look, which finds out whether any wait.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            busy: HashSet::new(),
            left_alone: HashSet::new(),
            unconfirmed: FuturesUnordered::new(),
            going_back: 0,
            reading: None,
            failures: 0,
            look_at: Some(now),
            seen: now,
            may_be_misplaced: false,
        }
    }

    /// Returns when to look next, unless a look is under way, or what was sent back is not on the disk yet.
    pub(super) fn look_at(&self) -> Option<Timestamp> {
        self.look_at.filter(|_| self.reading.is_none() && self.going_back == 0)
    }

    /// Looks at this time at the latest.
    ///
    /// What was planned before the clock was set back can become durable after the look that followed.
    pub(super) fn look_no_later_than(&mut self, at: Timestamp) {
        self.may_be_misplaced = true;
        self.look_at = Some(self.look_at.map_or(at, |known| known.min(at)));
    }

    /// Tells whether the lane may have more of them.
    pub(super) fn has_room(&self) -> bool {
        self.busy.len() < MOST
    }

    /// Tells whether an event is left alone, for a report that was not stored.
    pub(super) fn leaves_alone(&self, event: EventId) -> bool {
        self.left_alone.contains(&event)
    }

    /// Tells whether it is time to look; `longest` is the longest time that a retry can lie ahead.
    ///
    /// One that lies further ahead was planned by a clock that has been set back since, or by the spool itself: a look
    /// tells which.
    pub(super) fn is_time(&mut self, now: Timestamp, longest: SignedDuration) -> bool {
        self.may_be_misplaced |= now < std::mem::replace(&mut self.seen, now);
        let may_be_misplaced = self.may_be_misplaced;
        self.look_at().is_some_and(|at| at <= now || may_be_misplaced && at.duration_since(now) > longest)
    }

    /// Begins to read what is due.
    pub(super) fn look(&mut self, feed: &Feed, now: Timestamp, longest: SignedDuration) {
        let except = self.busy.iter().chain(&self.left_alone).copied().collect();
        let latest = now.saturating_add(longest).unwrap_or(Timestamp::MAX);
        (self.look_at, self.may_be_misplaced) = (None, false);
        self.reading = Some(Box::pin(feed.due((now, latest), PAGE, except, self.failures)));
    }

    /// Waits until something has happened.
    pub(super) async fn next(&mut self, now: impl Fn() -> Timestamp) -> Step {
        tokio::select! {
            biased;
            Some(confirmed) = self.unconfirmed.next(), if !self.unconfirmed.is_empty() => {
                self.confirm(confirmed)
            }
            page = poll(&mut self.reading), if self.reading.is_some() => {
                self.reading = None;
                self.found(page, now())
            }
            else => std::future::pending().await,
        }
    }

    /// Takes note of a report whose durability matters: of a retry, which may go back unattempted, or of one that is due
    /// again.
    pub(super) fn reported(
        &mut self,
        (event, key): (EventId, Option<Key>),
        due: Option<Timestamp>,
        goes_back: bool,
        durable: oneshot::Receiver<()>,
    ) {
        self.busy.insert(event);
        self.going_back += usize::from(goes_back);
        let confirmed = move |is_stored| Confirmed { event, key, due, goes_back, is_stored };
        self.unconfirmed.push(Box::pin(durable.map(move |told| confirmed(told.is_ok()))));
    }

    /// Takes what is known of the reports so far, where nothing waits any more for what was not stored.
    pub(super) fn confirm_known(&mut self) {
        while let Some(Some(confirmed)) = self.unconfirmed.next().now_or_never() {
            self.confirm(confirmed);
        }
    }

    fn confirm(&mut self, confirmed: Confirmed) -> Step {
        let Confirmed { event, key, due, goes_back, is_stored } = confirmed;
        self.going_back -= usize::from(goes_back);
        if is_stored {
            self.busy.remove(&event);
            due.into_iter().for_each(|due| self.look_no_later_than(due));
            return Step::Confirmed;
        }
        let is_beyond = self.left_alone.len() >= LEFT_ALONE;
        if !is_beyond {
            self.busy.remove(&event);
            self.left_alone.insert(event);
        }
        Step::Unstored { event, key: key.filter(|_| due.is_some()), is_beyond }
    }

    fn found(&mut self, page: Result<DuePage, SpoolError>, now: Timestamp) -> Step {
        match page {
            Ok(DuePage { page, next }) => {
                self.busy.extend(page.iter().map(|due| due.event.id));
                // What was settled while the page was read may be due before what the page knew of.
                self.look_at = next.into_iter().chain(self.look_at).min();
                self.failures = 0;
                Step::Read(page)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.look_no_later_than(now.saturating_add(READ_AGAIN).unwrap_or(Timestamp::MAX));
                Step::Unreadable(error.to_string().into())
            }
        }
    }
}

/// Polls what may not be there; never ready when it is not.
async fn poll<F: Future + Unpin>(maybe: &mut Option<F>) -> F::Output {
    match maybe {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The longest sleep before the clock is looked at again: it may have been set, or the machine asleep.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Waits so long, or less, so that the clock is looked at now and then; for ever when there is no end.
pub(super) async fn wait(left: Option<Duration>) {
    let Some(left) = left else { return std::future::pending().await };
    tokio::time::sleep(left.min(LOOK_AGAIN)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::key::key;

    #[tokio::test]
    async fn what_lies_far_ahead_is_looked_at_once_after_the_clock_was_set_back() {
        let at = |second| Timestamp::from_second(second).expect("within range");
        let longest = SignedDuration::from_secs(60);
        let mut retries = Retries::new(at(10_000));
        let look =
            |retries: &mut Retries| retries.found(Ok(DuePage { page: Vec::new(), next: Some(at(10_100)) }), at(0));
        assert!(retries.is_time(at(10_000), longest));
        retries.look_at = None;
        look(&mut retries);
        assert!(!retries.is_time(at(10_001), longest), "the spool planned it, and time goes on");
        assert!(retries.is_time(at(500), longest), "perhaps it was planned by the clock that was");
        (retries.look_at, retries.may_be_misplaced) = (None, false);
        look(&mut retries);
        assert!(!retries.is_time(at(500), longest), "the look has told that it was not");
        assert!(retries.is_time(at(10_100), longest));
    }

    #[tokio::test]
    async fn what_is_told_far_ahead_after_the_look_that_followed_a_step_back_is_looked_at_once() {
        let at = |second| Timestamp::from_second(second).expect("within range");
        let longest = SignedDuration::from_secs(60);
        let mut retries = Retries::new(at(10_000));
        let (stored, durable) = oneshot::channel();
        retries.reported((EventId(1), None), Some(at(10_001)), false, durable);
        assert!(retries.is_time(at(500), longest));
        // The look that follows the step ends before the report is durable.
        (retries.look_at, retries.may_be_misplaced) = (None, false);
        retries.found(Ok(DuePage { page: Vec::new(), next: None }), at(500));
        assert!(!retries.is_time(at(501), longest));
        stored.send(()).expect("it waits");
        assert!(matches!(retries.next(|| at(501)).await, Step::Confirmed));
        assert!(retries.is_time(at(501), longest), "it was planned by the clock that was");
        (retries.look_at, retries.may_be_misplaced) = (None, false);
        retries.found(Ok(DuePage { page: Vec::new(), next: Some(at(10_001)) }), at(501));
        assert!(!retries.is_time(at(501), longest), "the look has told that it was not");
    }

    #[tokio::test]
    async fn no_page_is_read_before_what_was_sent_back_is_on_the_disk() {
        let now = Timestamp::UNIX_EPOCH;
        let mut retries = Retries::new(now);
        let (stored, durable) = oneshot::channel();
        retries.reported((EventId(1), None), Some(now), true, durable);
        assert_eq!(retries.look_at(), None);
        stored.send(()).expect("it waits");
        assert!(matches!(retries.next(|| now).await, Step::Confirmed));
        assert_eq!((retries.look_at(), retries.busy.len()), (Some(now), 0));
    }

    #[tokio::test]
    async fn event_whose_report_is_not_stored_is_not_read_again_and_takes_up_no_room_unless_there_are_too_many() {
        let now = Timestamp::UNIX_EPOCH;
        let mut retries = Retries::new(now);
        let about = key(br#"{"payload":{"object":{"uuid":"1"}}}"#);
        assert!(about.is_some());
        for id in 1..=(LEFT_ALONE + MOST) as u64 {
            assert!(retries.has_room(), "{id}");
            let (stored, durable) = oneshot::channel();
            // Every second one was to wait on the disk.
            retries.reported((EventId(id), about), Some(now).filter(|_| id % 2 == 0), true, durable);
            drop(stored);
            let Step::Unstored { event, key, is_beyond } = retries.next(|| now).await else {
                panic!("it is not stored")
            };
            assert_eq!((event, key), (EventId(id), about.filter(|_| id % 2 == 0)));
            assert_eq!(is_beyond, id > LEFT_ALONE as u64);
            assert!(retries.leaves_alone(event) != retries.busy.contains(&event));
        }
        assert!(!retries.has_room() && retries.going_back == 0);
    }

    #[tokio::test]
    async fn what_is_known_of_the_reports_is_taken_and_no_other_waited_for() {
        let now = Timestamp::UNIX_EPOCH;
        let mut retries = Retries::new(now);
        let mut report = |id| {
            let (stored, durable) = oneshot::channel();
            retries.reported((EventId(id), None), Some(now), true, durable);
            stored
        };
        let (first, second, _third) = (report(1), report(2), report(3));
        first.send(()).expect("it waits");
        drop(second);
        retries.confirm_known();
        assert!(retries.leaves_alone(EventId(2)) && !retries.leaves_alone(EventId(3)));
        assert_eq!((retries.busy.len(), retries.going_back), (1, 1));
    }
}
