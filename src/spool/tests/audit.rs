//! What the audit table keeps, and how its chain holds.

use std::ops::ControlFlow;

use super::*;
use crate::spool::audit::{Link, check};
use crate::spool::erasure::Erased;
use crate::spool::replay::{Replay, Request, Scope, Selection};

#[tokio::test]
async fn replay_that_a_killed_process_left_is_told_by_the_next_as_far_as_it_came() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    for n in 0..5 {
        running.append("e", &n.to_string()).await;
    }
    running.route(&[("crm", "*"), ("new", "*")]).await;
    running.stop().await;

    let mut store = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("opens");
    let selection = Selection::all(Scope::To("new".into()));
    let request = Request { selection, rate: None, who: "test".into() };
    let mut replay = Replay::new(request, Timestamp::now(), EventId(5));
    store.replay(&mut replay, 2, Timestamp::now()).expect("a step");
    store.replay(&mut replay, 2, Timestamp::now()).expect("a step");
    drop(store);
    assert_eq!(bench.audit(), ["test: replay_begun: events, to new"], "begun, and nobody has ended it");

    bench.start().stop().await;
    let told = "test: replay_broken_off: 4 made due, 0 on their way left alone: events, to new (begun in row 1), then it \
                broke off: the process ended";
    assert_eq!(bench.audit(), ["test: replay_begun: events, to new", told]);
    bench.start().stop().await;
    assert_eq!(bench.audit().len(), 2, "told once");
    assert_eq!(bench.chain(), (0, 2));
}

#[tokio::test]
async fn erasure_that_nobody_waits_for_or_that_has_no_time_is_told_to_have_broken_off() {
    let bench = Bench::new();
    let running = bench.start();
    for n in 0..1200 {
        let parked = Received { parked: Some("not json"), ..received("main", "e", &n.to_string()) };
        running.spool.appender().append(parked).await.expect("open");
    }
    let all = || Erasure::Parked { until: Timestamp::MAX };
    let (reply, gone) = oneshot::channel();
    drop(gone);
    let progress = Progress::new(all(), "gone");
    running.spool.appender.send(Command::Erase { progress, reply }).await.expect("open");
    let none = running.spool.erase(all(), "hurried", Duration::ZERO).await.expect("open");
    assert_eq!(none, (Erased::default(), false));
    running.stop().await;
    let told = bench.audit();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("gone: purge_parked_begun: received before"), "{told:?}");
    assert!(told[1].starts_with("gone: purge_parked_broken_off: 500 parked frames purged"), "{told:?}");
    assert!(told[1].ends_with("(begun in row 1), then it broke off: nobody waited for it any more"), "{told:?}");
    assert_eq!(bench.chain(), (0, 2));
}

#[test]
fn rows_that_are_too_old_go_from_the_front_and_the_chain_holds() {
    let bench = Bench::new();
    let at = |day: i64| Timestamp::from_second(day * 86_400).expect("in range");
    let mut store = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("opens");
    // The clock was set back before the fourth.
    for day in [1, 2, 5, 3, 6] {
        store.audit("test", "pause", &format!("day {day}"), at(day)).expect("written");
    }
    assert_eq!(store.trim_audit(at(4), 1).expect("trimmed"), 1, "so many at once");
    assert_eq!(bench.chain(), (1, 5));
    assert_eq!(store.trim_audit(at(4), 500).expect("trimmed"), 1);
    assert_eq!(store.trim_audit(at(4), 500).expect("trimmed"), 0, "what stands behind a newer row stays");
    assert_eq!(bench.chain(), (2, 5));
    assert_eq!(store.trim_audit(at(9), 500).expect("trimmed"), 3);
    assert_eq!(bench.chain(), (5, 5), "its end is known when no row is left");
    store.audit("test", "pause", "day 10", at(10)).expect("written");
    assert_eq!(bench.chain(), (5, 6), "a number is never given again");
}

#[tokio::test]
async fn bridge_keeps_rows_as_long_as_it_is_told_and_for_good_if_it_is_told_nothing() {
    let bench = Bench::new();
    let ago = |hours| Timestamp::now() - SignedDuration::from_hours(hours);
    let mut store = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("opens");
    store.audit("test", "pause", "old", ago(24 * 365 * 9)).expect("written");
    store.audit("test", "pause", "new", ago(1)).expect("written");
    drop(store);
    let running = bench.start();
    running.append("e", "1").await;
    running.stop().await;
    assert_eq!(bench.chain(), (0, 2));

    let settings =
        config::Spool { audit_retention: Some(Duration::from_secs(86_400)), ..config::Spool::new(bench.path()) };
    let (spool, writer) = Spool::open(&settings, Clock::system(), Arc::default()).expect("opens");
    let running = Bench::run(spool, writer);
    bench.until(|| bench.audit().len() == 1).await;
    running.stop().await;
    assert_eq!(bench.audit(), ["test: pause: new"]);
    assert_eq!(bench.chain(), (1, 2));
}

impl Bench {
    /// Returns the numbers of the last row that went and the last that is there, of a chain that holds.
    fn chain(&self) -> (i64, i64) {
        let mut first = None;
        let mut view = open_view(self.path()).expect("a spool");
        let head = view.audit_chain(&mut |previous: &Link, row| {
            first.get_or_insert(previous.id);
            assert_eq!(check(previous, &row), Ok(()), "{row:?}");
            ControlFlow::Continue(())
        });
        let head = head.expect("readable").id;
        (first.unwrap_or(head), head)
    }
}
