//! The ledger of gaps.

use super::*;
use crate::spool::store::{Batch, LedgerEntry};

#[tokio::test]
async fn gap_is_open_from_the_last_sign_of_life_until_a_socket_is_live() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[]).await;
    let (appender, name) = (running.spool.appender(), Arc::<str>::from("main"));
    let hour_ago = Timestamp::now().as_second() - 3600;
    let at = |second: i64| Timestamp::from_second(hour_ago + second).expect("within range");
    appender.gap_closed(Arc::clone(&name), at(5)).await.expect("open");
    appender.gap_opened(Arc::clone(&name), at(10), "closed by zoom: 1000 Bye".into()).await.expect("open");
    appender.gap_opened(Arc::clone(&name), at(11), "still down".into()).await.expect("open");
    appender.gap_closed(Arc::clone(&name), at(12)).await.expect("open");
    appender.alive(Arc::clone(&name), at(17)).await.expect("open");
    running.stop().await;
    // The process ends here without a word, and starts again.
    let running = bench.start();
    running.route(&[]).await;
    running.stop().await;

    let gaps = open_view(bench.path()).expect("a spool").gaps(10).expect("readable");
    let seen: Vec<_> = gaps.iter().rev().map(|gap| (&*gap.reason, gap.closed_at.is_some())).collect();
    assert_eq!(seen, [("first start", true), ("closed by zoom: 1000 Bye", true), ("zoomhook was not running", false)]);
    assert_eq!((gaps[1].opened_at, gaps[1].closed_at), (at(10), Some(at(12))));

    let row = &open_view(bench.path()).expect("a spool").subscriptions().expect("readable")[0];
    assert_eq!((row.gaps, row.gap_opened_at), (2, Some(gaps[0].opened_at)));
    let lasted = |gap: &GapRow| gap.closed_at.map(|at| at.duration_since(gap.opened_at).as_millis());
    assert_eq!(Some(i128::from(row.gap_ms)), lasted(&gaps[1]).zip(lasted(&gaps[2])).map(|(a, b)| a + b));
}

/// Nothing that a slow disk gathers into one commit may lose its order.
#[test]
fn event_is_a_later_sign_of_life_than_what_it_is_committed_with() {
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).expect("within range");
    let name = || Arc::<str>::from("main");
    let entries: [fn(Arc<str>, Timestamp) -> LedgerEntry; 2] = [
        |subscription, at| LedgerEntry::Alive { subscription, at },
        |subscription, at| LedgerEntry::GapClosed { subscription, at, since: at },
    ];
    for entry in entries {
        let mut batch = Batch { ledger: vec![entry(name(), at(1))], ..Batch::default() };
        batch.heard("other", at(2));
        batch.heard("main", at(3));
        batch.heard("main", at(4));
        let alive = batch.ledger.iter().rev().find_map(|entry| match entry {
            LedgerEntry::Alive { subscription, at } => (**subscription == *"main").then_some(*at),
            LedgerEntry::GapOpened { .. } | LedgerEntry::GapClosed { .. } | LedgerEntry::Breaker { .. } => None,
        });
        assert_eq!(alive, Some(at(4)));
        assert!(batch.ledger.len() <= 2, "{} entries", batch.ledger.len());
    }
}

#[tokio::test(start_paused = true)]
async fn gap_in_which_the_clock_is_set_back_is_as_long_as_it_lasted() {
    let bench = Bench::new();
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).expect("within range");
    let clock = Clock::anchored(at(0));
    let (spool, writer) = Spool::open(&bench.settings(), clock.clone(), Arc::default()).expect("opens");
    let running = Bench::run(spool, writer);
    running.route(&[]).await;
    let (appender, name) = (running.spool.appender(), Arc::<str>::from("main"));
    tokio::time::advance(Duration::from_secs(100)).await;
    appender.gap_closed(Arc::clone(&name), clock.now()).await.expect("open");
    appender.gap_opened(Arc::clone(&name), clock.now(), "closed by zoom: 1000 Bye".into()).await.expect("open");
    running.spool.flush().await.expect("open");
    clock.set_back(60_000);
    tokio::time::advance(Duration::from_secs(7)).await;
    let closed_at = clock.now();
    appender.gap_closed(Arc::clone(&name), closed_at).await.expect("open");
    running.stop().await;
    let gaps = open_view(bench.path()).expect("a spool").gaps(10).expect("readable");
    assert!(gaps[0].opened_at <= at(41) && gaps[0].closed_at == Some(closed_at), "{:?}", gaps[0]);
    let row = &open_view(bench.path()).expect("a spool").subscriptions().expect("readable")[0];
    let lasted = |gap: &GapRow| gap.closed_at.map_or(0, |at| at.duration_since(gap.opened_at).as_millis());
    assert_eq!(i128::from(row.gap_ms), lasted(&gaps[0]) + lasted(&gaps[1]));
}
