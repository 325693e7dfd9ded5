//! A file of which some bytes are damaged: what belongs there is told and left alone, and all else goes on.

mod reading;
mod recovery;

use std::os::unix::fs::FileExt as _;

use rusqlite::Connection;

use super::fake::{Fake, Refuses, Write};
use super::*;
use crate::telemetry::metrics::{ByWhat, Metrics};

/// Some pages of rows: what comes is written far from the first.
const EVENTS: u64 = 2000;

#[tokio::test]
async fn dead_letter_that_cannot_be_read_stays_dead_and_holds_nobody_up() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    fill(&running).await;
    for _ in 0..EVENTS {
        let event = fresh(&mut feed).await.id;
        running.settle(&feed, event, Outcome::Dead { reason: "status 401".into() }).await;
    }
    running.stop().await;
    damage(&bench, "deliveries");
    let (running, metrics) = start(&bench);
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    let since = Timestamp::now();
    let opened = Opened { since, probe_at: since, probes: 0 };
    let refused = [1, 2, EVENTS].map(EventId);
    running.spool.breaker(feed.destination(), Some(opened), refused.to_vec()).await.expect("open");
    assert_eq!(unwritten(&metrics, "revival"), 2);
    goes_on(&running, &mut feed).await;
    let due = feed.due((since, Timestamp::MAX), 10, Vec::new(), 0).await.expect("readable");
    assert_eq!(due.page.iter().map(|due| due.event.id).collect::<Vec<_>>(), [EventId(EVENTS)]);
    let row = running.spool.read(|view| view.destinations()).await.expect("readable").remove(0);
    assert_eq!((row.pending, row.dead), (1, EVENTS - 1), "those that stay dead are counted so");
    running.stop().await;
}

#[tokio::test]
async fn report_that_cannot_be_stored_holds_nobody_up_and_is_not_taken_for_durable() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    fill(&running).await;
    running.stop().await;
    damage(&bench, "deliveries");
    let (running, metrics) = start(&bench);
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    let (destination, at) = (feed.destination(), Timestamp::now());
    let mut lost = 0;
    for n in 1..=EVENTS {
        let event = fresh(&mut feed).await.id;
        assert_eq!(event, EventId(n));
        let outcome = Outcome::Delivered { status: 200 };
        let settlement = Settlement { destination, event, attempts: 1, at, outcome, failed: None };
        lost += u64::from(running.spool.settle_acknowledged(settlement).await.expect("open").await.is_err());
    }
    assert!(lost > 0 && lost < EVENTS, "{lost}");
    assert_eq!(unwritten(&metrics, "report"), lost);
    goes_on(&running, &mut feed).await;
    let row = running.spool.read(|view| view.destinations()).await.expect("readable").remove(0);
    assert_eq!((row.pending, row.delivered), (lost, EVENTS - lost + 1), "what is not stored counts as waiting");
    running.stop().await;
}

#[tokio::test]
async fn history_that_cannot_be_stored_costs_no_report() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    running.append("e", "1").await;
    let event = fresh(&mut feed).await.id;
    running.stop().await;
    for table in ["attempts", "repeats"] {
        damage(&bench, table);
    }
    let (running, metrics) = start(&bench);
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    assert_eq!(fresh(&mut feed).await.id, event);
    let (destination, at) = (feed.destination(), Timestamp::now());
    let failed = Some(FailedAttempt { number: 1, at, elapsed_ms: 1, cause: "status 401".into(), excerpt: "".into() });
    let outcome = Outcome::Dead { reason: "status 401".into() };
    let settlement = Settlement { destination, event, attempts: 1, at, outcome, failed };
    running.spool.settle_acknowledged(settlement).await.expect("open").await.expect("the report itself is durable");
    running.append("e", "1").await;
    goes_on(&running, &mut feed).await;
    assert_eq!(unwritten(&metrics, "history"), 2);
    let row = running.spool.read(|view| view.destinations()).await.expect("readable").remove(0);
    assert_eq!((row.pending, row.dead), (0, 1));
    running.stop().await;
}

#[tokio::test]
async fn event_that_cannot_be_purged_keeps_no_other() {
    let mut bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    fill(&running).await;
    for _ in 0..EVENTS {
        let event = fresh(&mut feed).await.id;
        running.settle(&feed, event, Outcome::Delivered { status: 200 }).await;
    }
    running.stop().await;
    damage(&bench, "bodies");
    bench.retention = Duration::ZERO;
    let (running, _) = start(&bench);
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    // What is in the damaged page stays, and a rest of the one behind it, which can only be deleted by joining the two.
    let a_page = 8192 / 100;
    let goes = |id| id >= 2 * a_page || id == a_page + 1;
    bench.until(|| !bench.ids().into_iter().any(goes)).await;
    assert!(!bench.ids().is_empty(), "those whose bodies are damaged stay");
    goes_on(&running, &mut feed).await;
    running.stop().await;
}

#[tokio::test]
async fn first_of_all_that_cannot_be_purged_keeps_no_other_though_numbers_are_high() {
    const BEFORE: u64 = 500_000;
    let mut bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    running.stop().await;
    let connection = Connection::open(bench.path()).expect("opens");
    connection.execute("UPDATE meta SET value = ?1 WHERE key = 'last_event'", [BEFORE]).expect("written");
    drop(connection);
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    fill(&running).await;
    for _ in 0..EVENTS {
        let event = fresh(&mut feed).await.id;
        running.settle(&feed, event, Outcome::Delivered { status: 200 }).await;
    }
    running.stop().await;
    damage(&bench, "bodies");
    bench.retention = Duration::ZERO;
    let (running, _) = start(&bench);
    let is_there = |id: u64| {
        // One that cannot be read is there.
        let mut view = open_view(bench.path()).expect("a spool");
        !matches!(view.event(EventId(id)), Ok(None))
    };
    bench.until(|| !is_there(BEFORE + EVENTS / 2)).await;
    assert!(is_there(BEFORE + 1), "the first is one that stays");
    running.stop().await;
}

#[tokio::test]
async fn purge_goes_on_with_the_first_event_behind_those_that_cannot_be_read() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    fill(&running).await;
    running.stop().await;
    damage(&bench, "events");
    let mut engine = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("opens");
    let last = engine.pass_over(EventId(0)).expect("passed over").expect("more events");
    assert!(engine.identity(last).expect_err("damage").is_damage());
    let next = EventId(last.0 + 1);
    assert_eq!(engine.identity(next).expect("readable").map(|identity| identity.id), Some(next));
    assert_eq!(engine.pass_over(last).expect("passed over"), Some(next), "one that can be read is passed over alone");
    assert_eq!(engine.pass_over(EventId(EVENTS)).expect("readable"), None);
}

#[tokio::test]
async fn subscription_that_is_new_to_damaged_events_begins() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    fill(&running).await;
    running.stop().await;
    damage(&bench, "events");
    let (running, _) = start(&bench);
    let routes = Routes {
        subscriptions: vec![("second".into(), "second".into())],
        destinations: vec![Destined { name: "crm".into(), filter: EventFilter::all(), start: Start::Now }],
    };
    running.spool.route(routes).await.expect("open");
    running.stop().await;
    let gaps = open_view(bench.path()).expect("a spool").gaps(10).expect("readable");
    assert!(gaps.iter().any(|gap| &*gap.subscription == "second"), "{gaps:?}");
}

#[tokio::test]
async fn purge_that_fails_without_any_event_passes_over_none() {
    for code in [rusqlite::ffi::SQLITE_CORRUPT, rusqlite::ffi::SQLITE_IOERR_READ] {
        let mut bench = Bench::new();
        bench.retention = Duration::ZERO;
        let running = bench.start();
        running.route(&[("crm", "*")]).await;
        running.append("e", "1").await;
        running.stop().await;
        let sqlite = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("opens");
        let purges = Arc::new(AtomicU32::new(0));
        let running = bench.start_on(Box::new(Fake { sqlite, hook: purges_nothing(Arc::clone(&purges), code) }));
        // The steps are halved down to one event, and the last purge looks at none.
        bench.until(|| purges.load(Ordering::SeqCst) == 10).await;
        running.stop().await;
        assert_eq!(purges.load(Ordering::SeqCst), 10);
    }
}

/// Makes a file whose purge comes upon damage whatever it looks at. To pass over an event is a fault.
fn purges_nothing(
    purges: Arc<AtomicU32>,
    code: std::ffi::c_int,
) -> Refuses<impl FnMut(&Write<'_>) -> Option<SpoolError> + Send> {
    Refuses(move |write: &Write<'_>| match write {
        Write::Purge => {
            purges.fetch_add(1, Ordering::SeqCst);
            let damage = rusqlite::ffi::Error::new(code);
            Some(rusqlite::Error::SqliteFailure(damage, None).into())
        }
        Write::PassOver => panic!("it belongs to no event"),
        Write::Commit(_) | Write::Erase(_) | Write::Replay(_) | Write::Fill(_) | Write::Configured | Write::Other => {
            None
        }
    })
}

#[tokio::test]
async fn dead_letter_that_cannot_be_counted_is_stored_and_revived() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    running.append("e", "1").await;
    let event = fresh(&mut feed).await.id;
    running.stop().await;
    damage(&bench, "dead_causes");
    let (running, metrics) = start(&bench);
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    assert_eq!(fresh(&mut feed).await.id, event);
    running.settle(&feed, event, Outcome::Dead { reason: "status 401".into() }).await;
    let dead = |row: record::DestinationRow| (row.pending, row.dead);
    let row = running.spool.read(|view| view.destinations()).await.expect("readable").remove(0);
    assert_eq!((dead(row), unwritten(&metrics, "history")), ((0, 1), 1));
    let since = Timestamp::now();
    let opened = Opened { since, probe_at: since, probes: 0 };
    running.spool.breaker(feed.destination(), Some(opened), vec![event]).await.expect("open");
    let row = running.spool.read(|view| view.destinations()).await.expect("readable").remove(0);
    assert_eq!((dead(row), unwritten(&metrics, "history")), ((1, 0), 2));
    running.stop().await;
}

async fn fill(running: &Running) {
    for n in 0..EVENTS {
        running.append("e", &format!("{n:0100}")).await;
    }
    running.spool.flush().await.expect("open");
}

/// An event is taken, handed out, and delivered.
async fn goes_on(running: &Running, feed: &mut Feed) {
    running.append("e", "what comes after the damage").await;
    let event = fresh(feed).await;
    assert_eq!(event.body, "what comes after the damage");
    running.settle(feed, event.id, Outcome::Delivered { status: 200 }).await;
}

fn start(bench: &Bench) -> (Running, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let (spool, writer) = Spool::open(&bench.settings(), Clock::system(), Arc::clone(&metrics)).expect("opens");
    (Bench::run(spool, writer), metrics)
}

fn unwritten(metrics: &Metrics, what: &'static str) -> u64 {
    metrics.spool_unwritten.get_or_create(&ByWhat { what }).get()
}

/// Turns every bit of the head of the page that holds the first rows of a table.
fn damage(bench: &Bench, table: &str) {
    let root = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = ?1";
    let connection = Connection::open(bench.path()).expect("opens");
    let (mut page, size): (u64, u64) =
        connection.query_row(root, [table], |row| Ok((row.get(0)?, row.get(1)?))).expect("a table");
    drop(connection);
    let file = std::fs::File::options().read(true).write(true).open(bench.path()).expect("opens");
    let read = |page: u64, at: u64, bytes: &mut [u8]| {
        file.read_exact_at(bytes, (page - 1) * size + at).expect("a page");
    };
    let mut head = [0; 8];
    read(page, 0, &mut head);
    // Above the leaves are pages that begin with 2 or 5: the first of their cells begins with the number of a page.
    while let 2 | 5 = head[0] {
        let (mut cell, mut child) = ([0; 2], [0; 4]);
        read(page, 12, &mut cell);
        read(page, u16::from_be_bytes(cell).into(), &mut child);
        page = u32::from_be_bytes(child).into();
        read(page, 0, &mut head);
    }
    file.write_all_at(&head.map(|byte| !byte), (page - 1) * size).expect("written");
}
