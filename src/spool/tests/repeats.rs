//! A body that comes again within its window.

use super::*;

#[tokio::test]
async fn repeats_are_recorded_and_not_delivered_again() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    for body in ["a", "a", "b"] {
        running.append("e", body).await;
    }
    let bodies = [fresh(&mut feeds[0]).await, fresh(&mut feeds[0]).await].map(|event| event.body.clone());
    assert_eq!(bodies, ["a", "b"]);
    running.append("e", "a").await;
    running.spool.flush().await.expect("open");
    let row = bench.event(1);
    assert_eq!(row.repeats, 2);
    running.stop().await;

    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    running.append("e", "b").await;
    running.stop().await;
    assert_eq!(bench.event(2).repeats, 1, "recognised across a restart");
}

#[tokio::test]
async fn event_of_a_clock_that_was_behind_hides_no_repeat_of_those_before_it() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    running.append("e", "a").await;
    let behind = Received { received_at: Timestamp::UNIX_EPOCH, ..received("main", "e", "b") };
    running.spool.appender().append(behind).await.expect("open");
    running.stop().await;
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    running.append("e", "a").await;
    running.stop().await;
    assert_eq!(bench.event(1).repeats, 1);
    assert_eq!(bench.ids(), [2, 1]);
}

#[tokio::test]
async fn twins_of_one_group_are_repeats_and_strangers_are_not() {
    let bench = Bench::new();
    let running = bench.start();
    let groups = [("a", "twins"), ("b", "twins"), ("c", "c")];
    let routes = Routes {
        subscriptions: groups.map(|(name, group)| (name.into(), group.into())).into(),
        destinations: vec![Destined { name: "crm".into(), filter: EventFilter::all(), start: Start::Now }],
    };
    let mut feeds = running.spool.route(routes).await.expect("open");
    for (subscription, _) in groups {
        running.spool.appender().append(received(subscription, "e", "same")).await.expect("open");
    }
    let came_by = [fresh(&mut feeds[0].1).await, fresh(&mut feeds[0].1).await].map(|event| event.subscription.clone());
    assert_eq!(came_by.map(|name| name.to_string()), ["a", "c"]);
    running.stop().await;
}

#[tokio::test]
async fn body_is_no_repeat_of_one_whose_subscription_has_left_the_group() {
    let bench = Bench::new();
    let running = bench.start();
    let routes = |groups: [(&str, &str); 2]| Routes {
        subscriptions: groups.map(|(name, group)| (name.into(), group.into())).into(),
        destinations: vec![Destined { name: "crm".into(), filter: EventFilter::all(), start: Start::Now }],
    };
    let mut feeds = running.spool.route(routes([("a", "twins"), ("b", "twins")])).await.expect("open");
    running.spool.appender().append(received("a", "e", "same")).await.expect("open");
    running.spool.route(routes([("a", "alone"), ("b", "twins")])).await.expect("open");
    running.spool.appender().append(received("b", "e", "same")).await.expect("open");
    running.spool.flush().await.expect("open");
    assert_eq!(bench.ids(), [2, 1]);
    assert_eq!([fresh(&mut feeds[0].1).await.id, fresh(&mut feeds[0].1).await.id], [EventId(1), EventId(2)]);
    running.stop().await;
}
