//! What is deleted at the operator's word.

use super::*;
use crate::config::filter::Pattern;
use crate::spool::erasure::Erased;

/// More than one step takes.
const MANY: u64 = 1200;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn dead_letters_that_fit_are_purged_in_steps_and_audited_when_they_begin_and_end() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*"), ("audit", "*")]).await;
    for n in 0..MANY {
        running.append(if n % 3 == 0 { "meeting.ended" } else { "user.created" }, &n.to_string()).await;
    }
    for _ in 0..MANY {
        let event = fresh(&mut feeds[0]).await.id;
        running.report(&feeds[0], event, Outcome::Dead { reason: "status 410".into() }).await;
    }
    running.spool.flush().await.expect("open");
    let query = DeadQuery {
        kind: Some(Pattern::Prefix("meeting.".into())),
        destination: Some("crm".to_owned()),
        limit: usize::MAX,
        ..DeadQuery::default()
    };
    let purged = running.spool.erase(Erasure::Dead(query.clone()), "test", PATIENCE).await.expect("purged");
    assert_eq!(purged, (Erased { dead: MANY / 3, ..Erased::default() }, true));
    running.stop().await;

    let mut view = open_view(bench.path()).expect("a spool");
    let left = view.dead(&DeadQuery { limit: usize::MAX, ..DeadQuery::default() }).expect("readable");
    assert_eq!(left.len() as u64, MANY - MANY / 3);
    assert!(left.iter().all(|row| &*row.kind == "user.created"));
    let rows = view.destinations().expect("readable");
    assert_eq!((rows[0].dead, rows[1].pending), (MANY - MANY / 3, MANY), "counts follow; others are left alone");
    let audited = bench.audited();
    assert_eq!(audited.len(), 2, "{audited:?}");
    assert!(audited[0].starts_with("test purge_dead_begun destination crm, type meeting.*"), "{audited:?}");
    let ended = "test purge_dead 400 dead letters purged: destination crm, type meeting.*";
    assert!(audited[1].starts_with(ended) && audited[1].ends_with("(begun in row 1)"), "{audited:?}");
    let ids = DeadQuery { events: vec![EventId(2)], limit: usize::MAX, ..DeadQuery::default() };
    let at = Timestamp::now();
    assert_eq!(erase_at_rest(bench.path(), Erasure::Dead(ids), "test", at, |_| ()).expect("purged").dead, 1);
}

#[tokio::test]
async fn event_whose_dead_letter_was_purged_goes_when_retention_ends_and_not_before_others_have_it() {
    let bench = Bench { retention: Duration::ZERO, ..Bench::new() };
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*"), ("audit", "*")]).await;
    for body in ["1", "2"] {
        running.append("e", body).await;
        let event = fresh(&mut feeds[0]).await.id;
        running.settle(&feeds[0], event, Outcome::Dead { reason: "status 410".into() }).await;
    }
    running.settle(&feeds[1], EventId(1), Outcome::Delivered { status: 200 }).await;
    assert_eq!(bench.ids(), [2, 1], "dead letters outlive retention");
    let all = Erasure::Dead(DeadQuery { limit: usize::MAX, ..DeadQuery::default() });
    assert_eq!(running.spool.erase(all, "test", PATIENCE).await.expect("purged").0.dead, 2);
    bench.until(|| bench.ids() == [2]).await;
    running.stop().await;
}

#[tokio::test]
async fn event_whose_dead_letter_was_purged_goes_though_the_purge_is_behind_it() {
    let mut bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*"), ("audit", "*")]).await;
    for n in 0..MANY {
        running.append("e", &n.to_string()).await;
    }
    for id in 1..=MANY {
        let event = fresh(&mut feeds[0]).await.id;
        let dead = Outcome::Dead { reason: "status 410".into() };
        let outcome = if id <= MANY / 2 { dead } else { Outcome::Delivered { status: 200 } };
        running.report(&feeds[0], event, outcome).await;
        running.report(&feeds[1], event, Outcome::Delivered { status: 200 }).await;
    }
    running.stop().await;
    bench.retention = Duration::ZERO;
    let running = bench.start();
    running.route(&[("crm", "*"), ("audit", "*")]).await;
    bench.until(|| bench.ids().len() as u64 == MANY / 2).await;
    let first = DeadQuery { events: vec![EventId(1)], limit: usize::MAX, ..DeadQuery::default() };
    assert_eq!(running.spool.erase(Erasure::Dead(first), "test", PATIENCE).await.expect("purged").0.dead, 1);
    bench.until(|| !bench.ids().contains(&1)).await;
    assert_eq!(bench.ids().len() as u64, MANY / 2 - 1);
    running.stop().await;
}

#[tokio::test]
async fn parked_frames_outlive_retention_until_they_are_purged() {
    let bench = Bench { retention: Duration::ZERO, ..Bench::new() };
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    for n in 0..3 {
        let parked =
            Received { parked: Some("the frame is not JSON"), ..received("main", "", &format!("garbage {n}")) };
        running.spool.appender().append(parked).await.expect("open");
    }
    running.append("e", "1").await;
    running.stop().await;
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    let early = Erasure::Parked { until: Timestamp::UNIX_EPOCH };
    assert_eq!(running.spool.erase(early, "test", PATIENCE).await.expect("purged").0, Erased::default());
    assert_eq!(bench.ids(), [4, 3, 2, 1]);
    let all = Erasure::Parked { until: Timestamp::now() + SignedDuration::from_secs(1) };
    assert_eq!(running.spool.erase(all, "test", PATIENCE).await.expect("purged").0.parked, 3);
    assert_eq!(bench.ids(), [4]);
    running.stop().await;
    assert!(bench.audited().last().is_some_and(|line| line.starts_with("test purge_parked 3 parked frames purged")));
}

#[tokio::test]
async fn destination_that_is_no_longer_configured_is_forgotten_with_all_that_waits_for_it() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("stays", "*"), ("goes", "*")]).await;
    for n in 0..MANY {
        running.append("e", &n.to_string()).await;
    }
    for n in 0..3 {
        let event = fresh(&mut feeds[1]).await.id;
        let outcome =
            if n == 0 { Outcome::Delivered { status: 200 } } else { Outcome::Dead { reason: "status 410".into() } };
        running.settle(&feeds[1], event, outcome).await;
    }
    let orphan = || Erasure::Orphan { destination: "goes".into() };
    let refused = running.spool.erase(orphan(), "test", PATIENCE).await.expect_err("in use").to_string();
    assert!(refused.contains("`goes` is configured"), "{refused}");

    running.route(&[("stays", "*")]).await;
    assert_eq!(bench.orphans(), ["goes"]);
    let purged = running.spool.erase(orphan(), "test", PATIENCE).await.expect("purged");
    assert_eq!(purged, (Erased { dead: 2, pending: MANY - 3, parked: 0, delivered: 1 }, true));
    // A request that was in flight reports to nobody.
    let at = Timestamp::now();
    let failed = FailedAttempt { number: 1, at, elapsed_ms: 1, cause: "timeout".into(), excerpt: "".into() };
    let outcome = Outcome::Retry { due: at, cause: "timeout".into() };
    let destination = feeds[1].destination();
    let late = Settlement { destination, event: EventId(9), attempts: 1, at, outcome, failed: Some(failed) };
    running.spool.settle(late).await.expect("open");

    let again = running.route(&[("stays", "*"), ("goes", "*")]).await;
    assert_ne!(again[0].destination(), destination, "a number is never given again");
    running.stop().await;
    let mut view = open_view(bench.path()).expect("a spool");
    let rows: Vec<_> =
        view.destinations().expect("readable").iter().map(|row| (row.name.to_string(), row.pending)).collect();
    assert_eq!(rows, [("stays".to_owned(), MANY), ("goes".to_owned(), 0)]);
    assert_eq!(view.event(EventId(9)).expect("readable").expect("stored").attempts, []);
    let told = format!(
        "test purge_orphan 2 dead letters, {} waiting events and 1 delivery record purged: destination goes, no longer configured (begun in row 1)",
        crate::wording::count(MANY - 3)
    );
    assert_eq!(bench.audited(), ["test purge_orphan_begun destination goes, no longer configured", &told]);
}

#[tokio::test]
async fn destination_that_returns_is_no_orphan_and_what_waited_for_it_is_kept() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    running.append("e", "1").await;
    running.route(&[]).await;
    running.append("e", "2").await;
    assert_eq!(bench.orphans(), ["crm"]);
    let mut feeds = running.route(&[("crm", "*")]).await;
    assert_eq!(bench.orphans(), Vec::<String>::new());
    running.append("e", "3").await;
    let ids = [fresh(&mut feeds[0]).await.id, fresh(&mut feeds[0]).await.id];
    assert_eq!(ids, [EventId(1), EventId(3)], "what came meanwhile is not for it");
    running.stop().await;
}

impl Bench {
    fn orphans(&self) -> Vec<String> {
        let rows = open_view(self.path()).expect("a spool").destinations().expect("readable");
        rows.iter().filter(|row| row.orphaned_at.is_some()).map(|row| row.name.to_string()).collect()
    }
}

impl Running {
    /// Reports without waiting until it is durable.
    async fn report(&self, feed: &Feed, event: EventId, outcome: Outcome) {
        let destination = feed.destination();
        let settlement = Settlement { destination, event, attempts: 1, at: Timestamp::now(), outcome, failed: None };
        self.spool.settle(settlement).await.expect("open");
    }
}
