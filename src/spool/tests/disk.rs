//! A disk that is full.

use super::fake::{Fake, Refuses, Write};
use super::*;

#[tokio::test]
async fn full_disk_is_a_state_and_costs_no_event() {
    let bench = Bench::new();
    let full = Arc::new(AtomicBool::new(true));
    let running = bench.start_on(FullDisk::under(&bench, &full));
    let mut health = running.spool.news_of_health();
    let mut feed = running.route(&[("crm", "*")]).await;
    for body in ["1", "2", "3"] {
        running.append("e", body).await;
    }
    health
        .wait_for(|health| matches!(health, Health::Failing { reason, .. } if reason.contains("full")))
        .await
        .expect("open");
    full.store(false, Ordering::Relaxed);
    health.wait_for(|health| *health == Health::Writable).await.expect("open");
    for id in 1..=3 {
        assert_eq!(fresh(&mut feed[0]).await.id, EventId(id));
    }
    running.stop().await;
    assert_eq!(bench.ids(), [3, 2, 1]);
}

#[tokio::test]
async fn repeats_are_recognised_of_what_waited_for_its_disk() {
    let bench = Bench::new();
    let full = Arc::new(AtomicBool::new(true));
    let running = bench.start_on(FullDisk::under(&bench, &full));
    let mut health = running.spool.news_of_health();
    running.route(&[("crm", "*")]).await;
    running.append("e", "was under way").await;
    health.wait_for(|health| *health != Health::Writable).await.expect("open");
    for body in ["came meanwhile", "was under way", "came meanwhile"] {
        running.append("e", body).await;
    }
    full.store(false, Ordering::Relaxed);
    running.spool.flush().await.expect("open");
    for body in ["was under way", "came meanwhile"] {
        running.append("e", body).await;
    }
    running.stop().await;
    assert_eq!(bench.ids(), [2, 1]);
    assert_eq!([1, 2].map(|id| bench.event(id).repeats), [2, 2]);
}

#[tokio::test]
async fn full_disk_makes_sources_wait_with_bounded_memory() {
    let bench = Bench::new();
    let full = Arc::new(AtomicBool::new(true));
    let running = bench.start_on(FullDisk::under(&bench, &full));
    running.route(&[]).await;
    let appender = running.spool.appender();
    let body = "x".repeat(4 << 20);
    let mut taken = 0;
    while let Some(appended) = appender.append(received("main", "e", &format!("{taken}{body}"))).now_or_never() {
        appended.expect("open");
        taken += 1;
        assert!(taken < 100, "the queue has no end");
    }
    full.store(false, Ordering::Relaxed);
    running.spool.flush().await.expect("open");
    assert_eq!(bench.ids().len(), taken);
    running.stop().await;
}

#[tokio::test]
async fn refused_events_have_their_other_chance_though_the_disk_fails_as_the_breaker_opens() {
    let bench = Bench::new();
    let sqlite = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("opens");
    let failures = Arc::new(AtomicU32::new(2));
    let running = bench.start_on(Box::new(Fake { sqlite, hook: fails_at_breakers(Arc::clone(&failures)) }));
    let mut feeds = running.route(&[("crm", "*")]).await;
    running.append("e", "1").await;
    let event = fresh(&mut feeds[0]).await.id;
    running.settle(&feeds[0], event, Outcome::Dead { reason: "status 401".into() }).await;
    let since = Timestamp::now();
    let opened = Opened { since, probe_at: since, probes: 0 };
    running.spool.breaker(feeds[0].destination(), Some(opened), vec![event]).await.expect("open");
    assert_eq!(failures.load(Ordering::Relaxed), 0, "it failed, and was tried again");
    let due = feeds[0].due((since, Timestamp::MAX), 10, Vec::new(), 0).await.expect("readable");
    assert_eq!(due.page.iter().map(|due| due.event.id).collect::<Vec<_>>(), [event]);
    running.stop().await;
}

/// Makes a disk that fails so many times at what a breaker has to say.
fn fails_at_breakers(failures: Arc<AtomicU32>) -> Refuses<impl FnMut(&Write<'_>) -> Option<SpoolError> + Send> {
    let is_of_breaker = |entry: &store::LedgerEntry| matches!(entry, store::LedgerEntry::Breaker { .. });
    Refuses(move |write: &Write<'_>| {
        let is_meant = matches!(write, Write::Commit(batch) if batch.ledger.iter().any(is_of_breaker));
        let left = |left: u32| left.checked_sub(1);
        let fails = is_meant && failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok();
        fails.then_some(SpoolError::Interrupted)
    })
}

/// Is a disk that can be full: commits of events and replays fail then as SQLite says it.
pub(super) struct FullDisk;

impl FullDisk {
    pub(super) fn under(bench: &Bench, full: &Arc<AtomicBool>) -> Box<dyn store::Store> {
        let sqlite = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("opens");
        let full = Arc::clone(full);
        let hook = Refuses(move |write: &Write<'_>| {
            let needs_room =
                matches!(write, Write::Replay(_)) || matches!(write, Write::Commit(batch) if !batch.events.is_empty());
            (needs_room && full.load(Ordering::Relaxed)).then(|| {
                let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
                rusqlite::Error::SqliteFailure(full, Some("database or disk is full".to_owned())).into()
            })
        });
        Box::new(Fake { sqlite, hook })
    }
}
