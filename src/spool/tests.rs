//! The spool as its users see it: a real file, a real writer thread.

mod replay;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::feed::{DuePage, Item, Room};
use super::record::{DeadQuery, DeliveryState, EventQuery, GapRow, Opened};
use super::settlement::{FailedAttempt, Outcome};
use super::*;
use crate::config::Start;
use crate::config::filter::EventFilter;
use crate::event::{EventId, Received};

mod audit;
mod damaged;
mod disk;
mod encryption;
mod erasure;
mod fake;
mod gaps;
mod model;
mod rare;
mod repeats;
mod room;
mod search;

use self::disk::FullDisk;
pub(super) use self::model::Pace;

#[tokio::test]
async fn event_is_handed_out_after_it_is_on_the_disk() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await;
    running.append("meeting.started", "{}").await;
    let event = fresh(&mut feed[0]).await;
    let stored = open_view(bench.path()).expect("a spool").event(event.id).expect("readable").expect("stored");
    assert_eq!((stored.body, &*stored.row.kind), (Bytes::from_static(b"{}"), "meeting.started"));
    assert_eq!(stored.row.deliveries[0].state, DeliveryState::Fresh);
    running.stop().await;
}

#[tokio::test]
async fn each_destination_gets_what_it_wants() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("all", "*"), ("recordings", "recording.*")]).await;
    for kind in ["meeting.started", "recording.completed", "user.created"] {
        running.append(kind, kind).await;
    }
    let kinds =
        [fresh(&mut feeds[0]).await, fresh(&mut feeds[0]).await, fresh(&mut feeds[0]).await].map(|e| e.kind.clone());
    assert_eq!(kinds.map(String::from), ["meeting.started", "recording.completed", "user.created"]);
    assert_eq!(&*fresh(&mut feeds[1]).await.kind, "recording.completed");
    running.spool.flush().await.expect("open");
    assert_eq!(bench.pending(), [3, 1]);
    running.stop().await;
}

#[tokio::test]
async fn slow_lane_pages_what_memory_did_not_hold_in_order_and_once() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("slow", "*")]).await;
    const COUNT: u64 = 5000;
    for n in 0..COUNT {
        running.append("e", &format!("{n:0500}")).await;
    }
    running.spool.flush().await.expect("open");
    for n in 1..=COUNT {
        assert_eq!(fresh(&mut feeds[0]).await.id, EventId(n));
        if n % 7 == 0 {
            running.append("e", &format!("late {n}")).await;
        }
    }
    for n in 1..=COUNT / 7 {
        assert_eq!(fresh(&mut feeds[0]).await.id, EventId(COUNT + n));
    }
    running.stop().await;
}

#[tokio::test]
async fn hundred_searches_take_two_threads_and_leave_room_for_a_read() {
    const SEARCHING: u32 = 100;
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (gate, entered) = (Arc::new(Mutex::new(gate)), Arc::new(AtomicU32::new(0)));
    let searches: Vec<_> = (0..SEARCHING)
        .map(|_| {
            let (spool, gate, entered) = (running.spool.clone(), Arc::clone(&gate), Arc::clone(&entered));
            tokio::spawn(async move {
                let search = move |view: &mut dyn View| {
                    entered.fetch_add(1, Ordering::SeqCst);
                    // It opens, for all of them, when the other end is dropped.
                    gate.lock().expect("no panic").recv().expect_err("nothing is sent");
                    view.destinations()
                };
                spool.search(search).await
            })
        })
        .collect();
    while entered.load(Ordering::SeqCst) < SEARCHES as u32 {
        tokio::task::yield_now().await;
    }
    let read = running.spool.read(|view| view.destinations()).await.expect("readable");
    assert_eq!((read.len(), entered.load(Ordering::SeqCst)), (1, SEARCHES as u32));
    // One whose asker has gone keeps its place, for its thread goes on.
    searches[0].abort();
    running.spool.read(|view| view.destinations()).await.expect("readable");
    assert_eq!(entered.load(Ordering::SeqCst), SEARCHES as u32);
    drop(open);
    for search in searches.into_iter().skip(1) {
        assert_eq!(search.await.expect("no panic").expect("readable").len(), 1);
    }
    running.stop().await;
}

#[tokio::test]
async fn unsettled_events_come_again_after_a_restart_and_settled_ones_do_not() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    for body in ["1", "2", "3"] {
        running.append("e", body).await;
    }
    let second = [fresh(&mut feeds[0]).await, fresh(&mut feeds[0]).await][1].id;
    running.settle(&feeds[0], second, Outcome::Delivered { status: 200 }).await;
    running.stop().await;

    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    let ids = [fresh(&mut feeds[0]).await.id, fresh(&mut feeds[0]).await.id];
    assert_eq!(ids, [EventId(1), EventId(3)]);
    running.append("e", "4").await;
    assert_eq!(fresh(&mut feeds[0]).await.id, EventId(4), "numbers go on after a restart");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn page_that_cannot_be_read_is_told_and_read_again() {
    let bench = Bench::new();
    let running = bench.start();
    drop(running.route(&[("crm", "*")]).await);
    running.append("e", "1").await;
    running.stop().await;
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    let aside = bench.path().with_extension("aside");
    std::fs::rename(bench.path(), &aside).expect("moved");
    for _ in 0..2 {
        assert!(matches!(feed.next(Room::ForEvents).await, Some(Item::Unreadable(_))));
    }
    std::fs::rename(&aside, bench.path()).expect("moved back");
    assert!(matches!(feed.next(Room::ForEvents).await, Some(Item::Readable)));
    assert_eq!(&fresh(&mut feed).await.body[..], b"1");
    running.stop().await;
}

#[tokio::test]
async fn retry_that_lies_further_ahead_than_any_can_is_due_now_and_comes_before_the_others() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    let (now, hour) = (Timestamp::now(), SignedDuration::from_hours(1));
    for (body, due) in [("due", now), ("soon", now + hour), ("misplaced", now + hour * 2)] {
        running.append("e", body).await;
        let event = fresh(&mut feed).await.id;
        running.settle(&feed, event, Outcome::Retry { due, cause: "timeout".into() }).await;
    }
    let (mut seen, mut busy) = (Vec::new(), Vec::new());
    loop {
        let DuePage { page, next } = feed.due((now, now + hour), 10, busy.clone(), 0).await.expect("readable");
        if page.is_empty() {
            assert_eq!(next.map(|at| at.as_millisecond()), Some((now + hour).as_millisecond()));
            break;
        }
        let is_misplaced = page.iter().any(|due| due.event.body == "misplaced");
        assert_eq!(next == Some(now), is_misplaced, "where there was one, there may be more");
        seen.extend(page.iter().map(|due| due.event.body.clone()));
        busy.extend(page.iter().map(|due| due.event.id));
    }
    assert_eq!(seen, ["misplaced", "due"]);
    running.stop().await;
}

#[tokio::test]
async fn retry_is_read_when_it_is_due_and_not_while_it_is_busy() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    running.append("e", "1").await;
    let event = fresh(&mut feeds[0]).await.id;
    let due = Timestamp::now() + SignedDuration::from_secs(60);
    running.settle(&feeds[0], event, Outcome::Retry { due, cause: "status 503".into() }).await;

    let early = feeds[0].due((due - SignedDuration::from_secs(1), due), 10, Vec::new(), 0).await.expect("readable");
    assert!(early.page.is_empty());
    assert_eq!(early.next.map(|at| at.as_millisecond()), Some(due.as_millisecond()));
    let busy = feeds[0].due((due, due), 10, vec![event], 0).await.expect("readable");
    assert!(busy.page.is_empty() && busy.next.is_none());
    let page = feeds[0].due((due, due), 10, Vec::new(), 0).await.expect("readable");
    assert_eq!((page.page[0].event.id, page.page[0].attempts), (event, 1));
    running.stop().await;
}

#[tokio::test]
async fn failed_attempts_of_one_delivery_are_bounded_and_the_newest_stay() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    running.append("e", "1").await;
    let event = fresh(&mut feeds[0]).await.id;
    for attempts in 1..=50 {
        let at = Timestamp::now();
        let failed = FailedAttempt { number: attempts, at, elapsed_ms: 1, cause: "timeout".into(), excerpt: "".into() };
        let outcome = Outcome::Retry { due: at, cause: "timeout".into() };
        let destination = feeds[0].destination();
        let settlement = Settlement { destination, event, attempts, at, outcome, failed: Some(failed) };
        running.spool.settle(settlement).await.expect("open");
    }
    running.stop().await;
    let detail = open_view(bench.path()).expect("a spool").event(event).expect("readable").expect("stored");
    let kept: Vec<u32> = detail.attempts.iter().map(|attempt| attempt.attempt).collect();
    assert_eq!(kept, (31..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn dead_letters_stay_and_are_revived_without_a_trace() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    running.append("e", "1").await;
    let event = fresh(&mut feeds[0]).await.id;
    running.settle(&feeds[0], event, Outcome::Dead { reason: "status 410".into() }).await;
    let query = DeadQuery { limit: 10, ..DeadQuery::default() };
    let listed = running.spool.read(move |view| view.dead(&query)).await.expect("readable");
    assert_eq!((listed.len(), &*listed[0].reason), (1, "status 410"));

    let since = Timestamp::from_second(4_000_000_000).expect("within range");
    let opened = Some(Opened { since, probe_at: since, probes: 0 });
    running.spool.breaker(feeds[0].destination(), opened, vec![event, EventId(99)]).await.expect("open");
    let due = feeds[0].due((since, Timestamp::MAX), 10, Vec::new(), 0).await.expect("readable");
    assert_eq!((due.page[0].event.id, due.page[0].attempts, due.page[0].replays), (event, 0, 0));
    assert_eq!(due.page[0].since, since, "its life begins anew");
    running.stop().await;
    assert_eq!(bench.pending(), [1]);
    assert_eq!(bench.audit(), Vec::<String>::new(), "nobody's doing");
}

#[tokio::test]
async fn parked_frames_are_kept_and_delivered_to_nobody() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    let parked = Received { parked: Some("the frame is not JSON"), ..received("main", "", "garbage") };
    running.spool.appender().append(parked).await.expect("open");
    running.stop().await;
    let row = bench.event(1);
    assert_eq!((row.parked.as_deref(), row.deliveries.len()), (Some("the frame is not JSON"), 0));
}

#[tokio::test]
async fn second_process_is_refused() {
    let bench = Bench::new();
    let running = bench.start();
    let error = bench.open().err().expect("in use");
    assert!(matches!(error, SpoolError::InUse(_)), "{error}");
    running.stop().await;
    assert!(bench.open().is_ok());
}

#[test]
fn second_process_is_refused_by_any_name_of_the_file() {
    let bench = Bench::new();
    let _running = bench.open().expect("opens");
    let other = bench.directory.path().join("other.db");
    std::os::unix::fs::symlink(bench.path(), &other).expect("a link");
    let settings = config::Spool { path: other, ..bench.settings() };
    assert!(matches!(Spool::open(&settings, Clock::system(), Arc::default()), Err(SpoolError::InUse(_))));
}

#[test]
fn newer_format_is_refused_in_words() {
    let bench = Bench::new();
    drop(bench.open().expect("a new spool"));
    let connection = rusqlite::Connection::open(bench.path()).expect("opens");
    connection.execute("UPDATE meta SET value = 99 WHERE key = 'format'", []).expect("a spool");
    let error = bench.open().err().expect("newer").to_string();
    assert!(error.contains("has format 99") && error.contains("run a newer zoomhook"), "{error}");
    let error = open_view(bench.path()).err().expect("newer").to_string();
    assert!(error.contains("has format 99"), "{error}");
}

#[test]
fn files_that_are_no_spool_are_refused_and_left_alone() {
    let bench = Bench::new();
    std::fs::write(bench.path(), "no database, but long enough to have a header of one, as it should be for this")
        .expect("written");
    assert!(matches!(bench.open(), Err(SpoolError::NotASpool { .. })));
    std::fs::remove_file(bench.path()).expect("there");
    let other = rusqlite::Connection::open(bench.path()).expect("opens");
    other.execute_batch("CREATE TABLE t (x)").expect("a table");
    assert!(matches!(bench.open(), Err(SpoolError::NotASpool { .. })));
    assert!(matches!(open_view(Path::new("/nonexistent/spool.db")), Err(SpoolError::Missing(_))));
    // An empty file is none as yet, and nobody else's.
    std::fs::write(bench.path(), "").expect("written");
    let error = open_view(bench.path()).err().expect("empty").to_string();
    assert!(error.ends_with("it is empty as yet: a bridge that starts on it makes it one"), "{error}");
    assert!(bench.open().is_ok() && open_view(bench.path()).is_ok());
}

#[cfg(unix)]
#[test]
fn payloads_are_private_to_the_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    let settings = config::Spool { path: bench.directory.path().join("made/here/spool.db"), ..bench.settings() };
    let (_spool, _writer) = Spool::open(&settings, Clock::system(), Arc::default()).expect("opens");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&settings.path), 0o600);
    assert_eq!(mode(settings.path.parent().expect("a directory")), 0o700);
    assert_eq!(mode(&settings.path.with_extension("db-wal")), 0o600);
}

#[tokio::test]
async fn purge_takes_what_is_delivered_and_old_and_nothing_else() {
    let bench = Bench { retention: Duration::ZERO, ..Bench::new() };
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    for n in 0..6 {
        running.append("e", &n.to_string()).await;
        fresh(&mut feeds[0]).await;
    }
    let due = Timestamp::now();
    let outcomes = [
        Outcome::Delivered { status: 200 },
        Outcome::Retry { due, cause: "timeout".into() },
        Outcome::Dead { reason: "status 410".into() },
        Outcome::Delivered { status: 204 },
    ];
    for (id, outcome) in (1..).zip(outcomes) {
        running.settle(&feeds[0], EventId(id), outcome).await;
    }
    running.stop().await;
    // The first thing a writer does when nothing comes is to purge.
    let running = bench.start();
    bench.until(|| bench.ids() == [6, 5, 3, 2]).await;
    running.append("e", "new").await;
    running.spool.flush().await.expect("open");
    assert!(bench.ids().contains(&7), "numbers are never used twice");
    running.stop().await;
}

#[tokio::test]
async fn rerouting_keeps_the_feeds_that_stay() {
    let bench = Bench::new();
    let running = bench.start();
    let mut stays = running.route(&[("stays", "*"), ("goes", "*")]).await;
    running.append("e", "1").await;
    let mut new = running.route(&[("new", "*"), ("stays", "other.*")]).await;
    assert_eq!(new.len(), 1, "a feed for the new destination alone");
    running.append("e", "2").await;
    running.append("other.e", "3").await;
    assert_eq!(fresh(&mut stays[0]).await.body, "1");
    assert_eq!(fresh(&mut stays[0]).await.body, "3", "the filter changed");
    assert_eq!(fresh(&mut new[0]).await.body, "2", "a new destination starts from now");
    assert_eq!(fresh(&mut stays[1]).await.body, "1");
    assert!(stays[1].next(Room::ForEvents).await.is_none(), "a feed that was taken out ends");
    running.stop().await;
    let waiting = open_view(bench.path()).expect("a spool").destinations().expect("readable");
    assert_eq!((&*waiting[1].name, waiting[1].pending), ("goes", 1), "what waited for it is kept");
}

struct Bench {
    directory: TempDir,
    retention: Duration,
    max_size: u64,
    when_full: config::WhenFull,
}

struct Running {
    spool: Spool,
    thread: std::thread::JoinHandle<()>,
}

impl Bench {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            retention: config::Spool::RETENTION,
            max_size: config::Spool::MAX_SIZE,
            when_full: config::Spool::WHEN_FULL,
        }
    }

    fn path(&self) -> &Path {
        Box::leak(self.directory.path().join("spool.db").into_boxed_path())
    }

    fn settings(&self) -> config::Spool {
        let Self { retention, max_size, when_full, .. } = *self;
        config::Spool { retention, max_size, when_full, ..config::Spool::new(self.path()) }
    }

    fn open(&self) -> Result<(Spool, Writer), SpoolError> {
        Spool::open(&self.settings(), Clock::system(), Arc::default())
    }

    fn start(&self) -> Running {
        let (spool, writer) = self.open().expect("opens");
        Self::run(spool, writer)
    }

    fn start_on(&self, store: Box<dyn store::Store>) -> Running {
        let (settings, readers) = (self.settings(), Readers::of(self.path(), Arc::default()));
        let (spool, writer) = Spool::on(store, readers, &settings, Clock::system(), Arc::default()).expect("readable");
        Self::run(spool, writer)
    }

    fn run(spool: Spool, writer: Writer) -> Running {
        let runtime = Handle::current();
        let thread = std::thread::spawn(move || writer.run(&runtime));
        Running { spool, thread }
    }

    fn ids(&self) -> Vec<u64> {
        let query = EventQuery { limit: usize::MAX, ..EventQuery::default() };
        let rows = open_view(self.path()).expect("a spool").events(&query).expect("readable");
        rows.iter().map(|row| row.id.0).collect()
    }

    fn event(&self, id: u64) -> record::EventRow {
        open_view(self.path()).expect("a spool").event(EventId(id)).expect("readable").expect("stored").row
    }

    /// Returns what the audit table says, oldest first.
    fn audit(&self) -> Vec<String> {
        let connection = rusqlite::Connection::open(self.path()).expect("opens");
        let mut statement = connection.prepare("SELECT who, action, detail FROM audit ORDER BY id").expect("a table");
        let rows = statement.query_map([], |row| {
            let text = |column| row.get::<_, String>(column);
            Ok(format!("{}: {}: {}", text(0)?, text(1)?, text(2)?))
        });
        rows.expect("rows").collect::<Result<_, _>>().expect("text")
    }

    fn pending(&self) -> Vec<u64> {
        let rows = open_view(self.path()).expect("a spool").destinations().expect("readable");
        rows.iter().map(|row| row.pending).collect()
    }

    /// Looks again and again until it is so; the test runner ends a test that never gets there.
    async fn until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Running {
    async fn route(&self, destinations: &[(&str, &str)]) -> Vec<Feed> {
        let destinations: Vec<_> = destinations.iter().map(|(name, choice)| (*name, *choice, Start::Now)).collect();
        self.route_from(&destinations).await
    }

    async fn route_from(&self, destinations: &[(&str, &str, Start)]) -> Vec<Feed> {
        let destined = |(name, choice, start): &(&str, &str, Start)| Destined {
            name: (*name).into(),
            filter: choice.parse().expect("a choice"),
            start: *start,
        };
        let routes = Routes {
            subscriptions: vec![("main".into(), "main".into())],
            destinations: destinations.iter().map(destined).collect(),
        };
        self.spool.route(routes).await.expect("open").into_iter().map(|(_, feed)| feed).collect()
    }

    async fn append(&self, kind: &str, body: &str) {
        self.spool.appender().append(received("main", kind, body)).await.expect("open");
    }

    async fn settle(&self, feed: &Feed, event: EventId, outcome: Outcome) {
        let destination = feed.destination();
        let settlement = Settlement { destination, event, attempts: 1, at: Timestamp::now(), outcome, failed: None };
        self.spool.settle_acknowledged(settlement).await.expect("open").await.expect("durable");
    }

    async fn stop(self) {
        self.spool.close().await.expect("open");
        tokio::task::spawn_blocking(|| self.thread.join()).await.expect("joined").expect("no panic");
    }
}

fn received(subscription: &str, kind: &str, body: &str) -> Received {
    Received {
        subscription: subscription.into(),
        kind: kind.into(),
        event_ts: None,
        received_at: Timestamp::now(),
        body: Bytes::from(body.to_owned()),
        parked: None,
    }
}

async fn fresh(feed: &mut Feed) -> Arc<crate::event::Event> {
    match feed.next(Room::ForEvents).await {
        Some(Item::Fresh(event)) => event,
        other => panic!("{other:?}"),
    }
}
