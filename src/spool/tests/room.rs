//! What happens when the spool, or its disk, is full.

use super::*;
use crate::config::WhenFull;
use crate::spool::replay::{Request, Scope, Selection, Stage};

/// Small enough to fill at once.
const MAX_SIZE: u64 = 1 << 20;

#[tokio::test]
async fn full_spool_refuses_and_takes_all_that_waited_in_its_order_once_there_is_room() {
    let bench = Bench { retention: Duration::ZERO, ..full_bench(WhenFull::Refuse) };
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    let mut sent = fill(&running).await;
    let kept = bench.ids().len();
    for _ in 0..20 {
        running.append("e", &body(sent)).await;
        sent += 1;
    }
    // Reports are durable while nothing else is taken, and it is they that make room.
    let handed: Vec<EventId> = take(&mut feeds[0], kept).await;
    running.spool.reports_durable().await.expect("open");
    let Health::Failing { reason, .. } = running.spool.news_of_health().borrow().clone() else { panic!("not full") };
    assert!(reason.contains(&format!("{kept} wait for a destination")), "{reason}");
    running.settle(&feeds[0], handed[0], Outcome::Delivered { status: 200 }).await;
    assert_eq!(bench.event_state(handed[0]), Some(DeliveryState::Delivered));
    for id in &handed[1..] {
        running.settle(&feeds[0], *id, Outcome::Delivered { status: 200 }).await;
    }
    let late = take(&mut feeds[0], sent - kept).await;
    assert_eq!(late, (kept as u64 + 1..=sent as u64).map(EventId).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test]
async fn commit_that_fills_the_spool_goes_beyond_its_size_by_one_event_at_most() {
    let bench = full_bench(WhenFull::Refuse);
    let (spool, writer) = bench.open().expect("opens");
    // All of them wait before the writer looks.
    for n in 0..500 {
        spool.appender().append(received("main", "e", &body(n))).await.expect("open");
    }
    let running = Bench::run(spool, writer);
    running.spool.news_of_health().wait_for(|health| matches!(health, Health::Failing { .. })).await.expect("open");
    let look = rusqlite::Connection::open(bench.path()).expect("opens");
    let pages: u64 = look.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a count");
    let kept = bench.ids().len();
    assert!(pages * 4096 < MAX_SIZE + 2 * BODY as u64, "{pages} pages for {kept} events");
    assert!(kept as u64 > MAX_SIZE / BODY as u64 / 2, "{kept} events leave room");
    running.stop().await;
    assert_eq!(bench.ids().len(), 500, "a stop stores all that waits");
}

#[tokio::test]
async fn purged_dead_letters_are_room_at_once_where_the_policy_is_to_refuse() {
    let bench = full_bench(WhenFull::Refuse);
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*"), ("audit", "*")]).await;
    let sent = fill(&running).await;
    running.append("e", &body(sent)).await;
    let kept = bench.ids();
    for id in take(&mut feeds[0], kept.len()).await {
        running.settle(&feeds[0], id, Outcome::Dead { reason: "status 410".into() }).await;
    }
    // What the other destination has stays as long as retention says, and what it waits for stays.
    for (id, outcome) in [(1, Outcome::Delivered { status: 200 }), (3, Outcome::Dead { reason: "status 410".into() })] {
        running.settle(&feeds[1], EventId(id), outcome).await;
    }
    for id in 4..=kept.len() as u64 {
        running.settle(&feeds[1], EventId(id), Outcome::Dead { reason: "status 410".into() }).await;
    }
    let all = Erasure::Dead(DeadQuery { limit: usize::MAX, ..DeadQuery::default() });
    let (erased, complete) = running.spool.erase(all, "test", Duration::from_secs(60)).await.expect("purged");
    assert_eq!((erased.dead, complete), (2 * kept.len() as u64 - 2, true));
    running.spool.flush().await.expect("what waited is taken");
    assert_eq!(*running.spool.news_of_health().borrow(), Health::Writable);
    let mut left = bench.ids();
    left.sort_unstable();
    assert_eq!(left[..2], [1, 2]);
    assert!(left[2] > kept.len() as u64, "{left:?}");
    running.stop().await;
}

#[tokio::test]
async fn delivered_events_go_early_so_that_new_ones_are_taken() {
    let bench = full_bench(WhenFull::DropDeliveredFirst);
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    for n in 0..400 {
        running.append("e", &body(n)).await;
        let id = fresh(&mut feeds[0]).await.id;
        running.settle(&feeds[0], id, Outcome::Delivered { status: 200 }).await;
    }
    running.stop().await;
    let ids = bench.ids();
    assert!(ids.contains(&400) && !ids.contains(&1), "{ids:?}");
    assert_eq!(bench.audited(), Vec::<String>::new(), "nothing that was not delivered had to go");
}

#[tokio::test]
async fn delivered_events_are_kept_for_retention_where_the_policy_is_to_refuse() {
    let bench = full_bench(WhenFull::Refuse);
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    let _ = fill(&running).await;
    let kept = bench.ids();
    for id in take(&mut feeds[0], kept.len()).await {
        running.settle(&feeds[0], id, Outcome::Delivered { status: 200 }).await;
    }
    assert_eq!(bench.ids(), kept);
    assert!(matches!(*running.spool.news_of_health().borrow(), Health::Failing { .. }));
    running.stop().await;
}

#[tokio::test]
async fn oldest_dead_letters_and_parked_frames_go_for_room_and_waiting_events_never() {
    let bench = full_bench(WhenFull::DropDeliveredFirst);
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    // One parked, ten dead, ten waiting, and so on until nothing but what waits is left.
    let parked = Received { parked: Some("the frame is not JSON"), ..received("main", "", &body(9999)) };
    running.spool.appender().append(parked).await.expect("open");
    let mut waiting = Vec::new();
    let mut dead = 0;
    for n in 0..60 {
        running.append("e", &body(n)).await;
        let id = fresh(&mut feeds[0]).await.id;
        if n % 20 < 10 {
            running.settle(&feeds[0], id, Outcome::Dead { reason: "status 410".into() }).await;
            dead += 1;
        } else {
            waiting.push(id.0);
        }
    }
    let _ = fill(&running).await;
    let mut health = running.spool.news_of_health();
    // It may have been full for a moment before the dead letters were gone.
    bench.until(|| bench.dead() == 0).await;
    let _ = fill(&running).await;
    health.wait_for(|health| matches!(health, Health::Failing { .. })).await.expect("open");
    let ids = bench.ids();
    assert!(waiting.iter().all(|id| ids.contains(id)), "{waiting:?} {ids:?}");
    assert!(!ids.contains(&1), "the parked frame was the oldest");
    let told = format!("{dead} dead letters and 1 parked frame purged: the oldest, to make room");
    running.stop().await;
    let told = format!("zoomhook drop_oldest {told} (begun in row ");
    assert!(bench.audited().iter().any(|line| line.starts_with(&told)), "{:?}", bench.audited());
}

#[tokio::test]
async fn delivered_event_that_the_purge_had_passed_over_goes_before_any_dead_letter() {
    const MANY: u64 = 700;
    let bench = Bench { retention: Duration::ZERO, max_size: 4 * MAX_SIZE, ..full_bench(WhenFull::DropDeliveredFirst) };
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    for n in 0..MANY {
        running.append("e", &format!("{n:02000}")).await;
    }
    take(&mut feeds[0], MANY as usize).await;
    running.stop().await;
    // A start looks through them at once: all wait, and most of them are behind it then.
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    take(&mut feeds[0], MANY as usize).await;
    for id in 1..=MANY {
        let outcome = match id {
            10..400 => Outcome::Delivered { status: 200 },
            _ => Outcome::Dead { reason: "status 410".into() },
        };
        running.settle(&feeds[0], EventId(id), outcome).await;
    }
    assert!(bench.ids().contains(&10), "nothing looks at it for an hour, as long as there is room");
    let mut sent = 0;
    while bench.ids().contains(&399) {
        running.append("e", &body(sent)).await;
        running.spool.flush().await.expect("open");
        sent += 1;
        assert!(sent < 500, "none of them goes");
    }
    assert_eq!(bench.dead(), MANY - 390, "{:?}", bench.audited());
    running.stop().await;
}

#[tokio::test]
async fn sign_of_life_does_not_hide_events_that_wait_for_room() {
    let bench = full_bench(WhenFull::Refuse);
    let running = bench.start();
    let feeds = running.route(&[("crm", "*")]).await;
    let _ = fill(&running).await;
    running.append("e", "the spool has no room for this").await;
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    running.spool.appender().alive("main".into(), later).await.expect("open");
    running.settle(&feeds[0], EventId(1), Outcome::Delivered { status: 200 }).await;
    let known = open_view(bench.path()).expect("a spool").subscriptions().expect("readable");
    assert!(
        known[0].alive_at.is_some_and(|at| at.as_millisecond() < later.as_millisecond()),
        "a crash now would lose the event without a gap"
    );
    running.stop().await;
}

#[tokio::test]
async fn what_was_read_is_stored_at_the_end_even_if_there_is_no_room() {
    let bench = full_bench(WhenFull::Refuse);
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    let sent = fill(&running).await;
    for n in 0..50 {
        running.append("e", &body(sent + n)).await;
    }
    running.stop().await;
    assert_eq!(bench.ids().len(), sent + 50);
    let running = bench.start();
    running
        .spool
        .news_of_health()
        .wait_for(|health| matches!(health, Health::Failing { .. }))
        .await
        .expect("full from the start");
    running.stop().await;
}

#[tokio::test]
async fn destinations_can_change_while_there_is_no_room() {
    let bench = full_bench(WhenFull::Refuse);
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    let sent = fill(&running).await;
    running.append("e", &body(sent)).await;
    assert_eq!(running.route(&[("crm", "*"), ("audit", "*")]).await.len(), 1);
    assert!(running.spool.pause("crm", Pause::On, "test").await.expect("writable"));
    running.stop().await;
}

#[tokio::test]
async fn full_disk_holds_up_no_report_and_no_command() {
    let bench = Bench::new();
    let full = Arc::new(AtomicBool::new(false));
    let running = bench.start_on(FullDisk::under(&bench, &full));
    let mut feeds = running.route(&[("crm", "*")]).await;
    running.append("e", "1").await;
    let first = fresh(&mut feeds[0]).await.id;
    full.store(true, Ordering::Relaxed);
    for body in ["2", "3", "4"] {
        running.append("e", body).await;
    }
    let mut health = running.spool.news_of_health();
    health.wait_for(|health| matches!(health, Health::Failing { .. })).await.expect("open");
    running.settle(&feeds[0], first, Outcome::Delivered { status: 200 }).await;
    assert_eq!(bench.event_state(first), Some(DeliveryState::Delivered));
    assert!(running.spool.pause("crm", Pause::On, "test").await.expect("writable"));
    assert!(
        matches!(&*health.borrow(), Health::Failing { reason, .. } if reason.contains("free or repair the disk of /"))
    );
    assert!(matches!(feeds[0].next(Room::ForEvents).await, Some(Item::Pause(Pause::On))));
    full.store(false, Ordering::Relaxed);
    for id in 2..=4 {
        assert_eq!(fresh(&mut feeds[0]).await.id, EventId(id));
    }
    health.wait_for(|health| *health == Health::Writable).await.expect("open");
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_added_for_a_late_destination_until_there_is_room() {
    let bench = full_bench(WhenFull::Refuse);
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    let sent = fill(&running).await;
    running.route_from(&[("crm", "*", Start::Now), ("late", "*", Start::Beginning)]).await;
    let selection = Selection::all(Scope::To("late".into()));
    let request = Request { selection, rate: None, who: "test".into() };
    let mut watched = running.spool.replay(request).await.expect("open");
    let over = watched.wait_for(|progress| progress.stage != Stage::Running).await.expect("open").stage.clone();
    assert_eq!(over, Stage::Failed("the spool is full".into()));
    running.stop().await;
    assert_eq!(bench.pending(), [sent as u64, 0]);

    let bench = Bench { max_size: 10 * MAX_SIZE, ..bench };
    let running = bench.start();
    running.route_from(&[("crm", "*", Start::Now), ("late", "*", Start::Beginning)]).await;
    bench.until(|| bench.pending()[1] > 0).await;
    running.stop().await;
}

#[tokio::test]
async fn purged_pages_are_room_at_once() {
    let bench = Bench::new();
    let mut engine = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("a spool");
    let empty = store::Store::size(&mut engine).expect("measured").pages;
    drop(engine);
    let running = bench.start();
    running.route(&[]).await;
    for n in 0..100 {
        running.append("e", &body(n)).await;
    }
    running.stop().await;
    let mut engine = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("a spool");
    let filled = store::Store::size(&mut engine).expect("measured").pages;
    assert!(filled > empty + 100 * BODY as u64, "{filled}");
    let now = Timestamp::now() + SignedDuration::from_hours(1);
    assert_eq!(store::Store::purge(&mut engine, EventId(0), now, now, 1000).expect("purged"), None);
    let size = store::Store::size(&mut engine).expect("measured");
    assert!(size.pages < empty + 64 * 1024 && size.log > 0, "{size:?}");
    assert_eq!(store::Store::contents(&mut engine).expect("counted").events, 0);
}

const BODY: usize = 10_000;

fn body(n: usize) -> String {
    format!("{n:0BODY$}")
}

fn full_bench(when_full: WhenFull) -> Bench {
    Bench { max_size: MAX_SIZE, when_full, ..Bench::new() }
}

/// Appends events until the spool says that it is full; returns how many were appended.
async fn fill(running: &Running) -> usize {
    let health = running.spool.news_of_health();
    for n in 1.. {
        running.append("e", &body(100_000 + n)).await;
        // Whatever came before has been looked at when a command is answered.
        let _ = running.spool.pause("nobody", Pause::Off, "test").await.expect("writable");
        if matches!(&*health.borrow(), Health::Failing { .. }) {
            return n;
        }
    }
    unreachable!("it has an end")
}

async fn take(feed: &mut Feed, count: usize) -> Vec<EventId> {
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.push(fresh(feed).await.id);
    }
    ids
}

impl Bench {
    fn event_state(&self, id: EventId) -> Option<DeliveryState> {
        let detail = open_view(self.path()).expect("a spool").event(id).expect("readable");
        detail.and_then(|detail| detail.row.deliveries.first().map(|delivery| delivery.state))
    }

    pub(super) fn dead(&self) -> u64 {
        let rows = open_view(self.path()).expect("a spool").destinations().expect("readable");
        rows.iter().map(|row| row.dead).sum()
    }

    /// Returns who did what, oldest first.
    pub(super) fn audited(&self) -> Vec<String> {
        let connection = rusqlite::Connection::open(self.path()).expect("a spool");
        let mut statement =
            connection.prepare("SELECT who || ' ' || action || ' ' || detail FROM audit ORDER BY id").expect("a query");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("text")
    }
}
