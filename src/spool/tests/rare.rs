//! What happens seldom is right too: clocks that were ahead, far plans, frames without an envelope.

use std::num::NonZeroU32;

use super::*;
use crate::spool::replay::{Request, Scope, Selection};

#[tokio::test]
async fn delivered_events_of_a_clock_that_was_ahead_keep_no_others_from_being_purged() {
    let bench = Bench { retention: Duration::ZERO, ..Bench::new() };
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    // More than one step of the purge looks at.
    const AHEAD: u64 = 600;
    let later = Timestamp::now() + SignedDuration::from_hours(24 * 365);
    for n in 0..AHEAD + 5 {
        let received_at = if n < AHEAD { later } else { Timestamp::now() };
        let received = Received { received_at, ..received("main", "e", &n.to_string()) };
        running.spool.appender().append(received).await.expect("open");
        let event = fresh(&mut feed).await.id;
        running.settle(&feed, event, Outcome::Delivered { status: 200 }).await;
    }
    running.stop().await;
    let running = bench.start();
    bench.until(|| bench.ids().iter().all(|id| *id <= AHEAD)).await;
    assert_eq!(bench.ids().len() as u64, AHEAD, "those of the future wait until their time has come");
    running.stop().await;
}

#[tokio::test]
async fn step_of_the_purge_takes_every_old_event_that_is_delivered_and_no_other() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "meeting.*"), ("audit", "meeting.ended")]).await.remove(0);
    let (now, later) = (Timestamp::now(), Timestamp::now() + SignedDuration::from_hours(1));
    let parked = Some("the frame is not JSON");
    for (kind, received_at, parked) in [
        ("meeting.started", now, None),
        ("meeting.created", now, None),
        ("meeting.deleted", now, None),
        ("meeting.ended", now, None),
        ("", now, parked),
        ("nobody.wants", now, None),
        ("meeting.updated", later, None),
        ("meeting.alert", now, None),
    ] {
        let received = Received { received_at, parked, ..received("main", kind, &format!("{kind} {received_at}")) };
        running.spool.appender().append(received).await.expect("open");
    }
    for _ in 0..6 {
        let event = fresh(&mut feed).await;
        let outcome = match &*event.kind {
            // The first of all waits on.
            "meeting.started" => continue,
            "meeting.deleted" => Outcome::Dead { reason: "status 410".into() },
            _ => Outcome::Delivered { status: 200 },
        };
        running.settle(&feed, event.id, outcome).await;
    }
    running.stop().await;
    let mut engine = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("opens");
    let cutoff = now + SignedDuration::from_mins(1);
    assert_eq!(engine.purge(EventId(0), cutoff, cutoff, 100).expect("purged"), None);
    drop(engine);
    let mut left = bench.ids();
    left.reverse();
    assert_eq!(
        left,
        [1, 3, 4, 5, 7],
        "what waits for one of two, dead letters, parked frames, and what is not old stay"
    );
}

#[tokio::test]
async fn last_event_that_memory_did_not_hold_waits_for_no_other() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    for n in 0..2 {
        running.append("e", &format!("{n}{}", "x".repeat(3 << 20))).await;
    }
    running.spool.flush().await.expect("open");
    assert_eq!([fresh(&mut feed).await.id, fresh(&mut feed).await.id], [EventId(1), EventId(2)]);
    running.stop().await;
}

#[tokio::test]
async fn report_of_what_is_settled_already_changes_nothing() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    running.append("e", "1").await;
    let event = fresh(&mut feed).await.id;
    running.settle(&feed, event, Outcome::Delivered { status: 200 }).await;
    for late in [
        Outcome::Dead { reason: "status 410".into() },
        Outcome::Retry { due: Timestamp::now(), cause: "timeout".into() },
        Outcome::Delivered { status: 204 },
    ] {
        running.settle(&feed, event, late).await;
    }
    running.spool.flush().await.expect("open");
    let delivery = &bench.event(1).deliveries[0];
    assert_eq!((delivery.state, delivery.outcome.as_deref()), (DeliveryState::Delivered, Some("status 200")));
    let row = running.spool.read(|view| view.destinations()).await.expect("readable").remove(0);
    assert_eq!((row.pending, row.dead, row.delivered), (0, 0, 1));
    running.stop().await;
}

#[tokio::test]
async fn replay_that_plans_far_ahead_keeps_its_rate() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    for n in 0..5 {
        running.append("e", &n.to_string()).await;
        let event = fresh(&mut feed).await.id;
        running.settle(&feed, event, Outcome::Delivered { status: 200 }).await;
    }
    let (now, longest) = (Timestamp::now(), SignedDuration::from_secs(2));
    let selection = Selection::all(Scope::To("crm".into()));
    let request = Request { selection, rate: NonZeroU32::new(1), who: "test".into() };
    let mut replay = running.spool.replay(request).await.expect("open");
    replay.wait_for(|progress| progress.last_due.is_some()).await.expect("open");
    running.spool.flush().await.expect("open");
    let page = feed.due((now, now + longest), 10, Vec::new(), 0).await.expect("readable");
    assert!(page.page.len() <= 1, "the first at most: {:?}", page.page.len());
    assert!(page.next.is_none_or(|next| next != now), "what is planned so far ahead is no mistake");
    running.stop().await;
}

#[tokio::test]
async fn event_is_no_repeat_of_a_frame_that_was_parked() {
    for restart in [false, true] {
        let bench = Bench::new();
        let body = format!(r#"{{"event":"e","restart":{restart}}}"#);
        let mut running = bench.start();
        let mut feed = running.route(&[("crm", "*")]).await.remove(0);
        let parked = Received { parked: Some("the frame names no module"), ..received("main", "e", &body) };
        running.spool.appender().append(parked).await.expect("open");
        if restart {
            running.stop().await;
            running = bench.start();
            feed = running.route(&[("crm", "*")]).await.remove(0);
        }
        running.append("e", &body).await;
        assert_eq!(fresh(&mut feed).await.body, body);
        running.append("e", &body).await;
        running.spool.flush().await.expect("open");
        let newest = bench.ids()[0];
        assert_eq!(bench.event(newest).repeats, 1, "of the event, from then on");
        running.stop().await;
    }
}

#[tokio::test]
async fn last_event_of_a_gap_came_before_it_whatever_is_stored_with_it() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    let appender = running.spool.appender();
    let start: Timestamp = "2026-07-29T12:00:00Z".parse().expect("a time");
    let at = |second| start + SignedDuration::from_secs(second);
    appender.gap_closed("main".into(), at(0)).await.expect("open");
    // What waited for a spool that stalled comes as one batch.
    let event = |second: i64| Received { received_at: at(second), ..received("main", "e", &second.to_string()) };
    let (first, opened) = (appender.append(event(1)), appender.gap_opened("main".into(), at(2), "reset".into()));
    let (closed, second) = (appender.gap_closed("main".into(), at(3)), appender.append(event(4)));
    let (first, opened, closed, second) = tokio::join!(first, opened, closed, second);
    assert!([first, opened, closed, second].iter().all(Result::is_ok));
    running.stop().await;
    let gaps = open_view(bench.path()).expect("a spool").gaps(10).expect("readable");
    let gap = gaps.iter().find(|gap| &*gap.reason == "reset").expect("a gap");
    assert_eq!(gap.last_event_at, Some(at(1)));
}
