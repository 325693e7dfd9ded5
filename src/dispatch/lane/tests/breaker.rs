//! When everything fails, and when one thing does.

use super::*;

#[tokio::test(start_paused = true)]
async fn storm_of_refusals_burns_no_event_and_ends_when_the_handler_is_mended() {
    let code = Arc::new(AtomicUsize::new(401));
    let answer = Arc::clone(&code);
    let bench = Bench::start(Retry::Steady, 4, move |_| {
        let code = answer.load(Relaxed);
        async move { status(u16::try_from(code).expect("a status")) }
    })
    .await;
    for n in 0..100 {
        bench.append(&n.to_string()).await;
    }
    let mut watched = bench.status.clone();
    watched.wait_for(|status| status.breaker.is_some_and(|opened| opened.probes >= 3)).await.expect("running");
    bench.until(|rows| rows.iter().all(|row| row.deliveries[0].state != DeliveryState::Dead)).await;
    assert!(bench.seen().len() < 40, "{} requests for 100 events", bench.seen().len());
    code.store(200, Relaxed);
    bench.all_settled(100).await;
    assert!(bench.states().await.iter().all(|state| *state == DeliveryState::Delivered));
    bench.spool.flush().await.expect("open");
    let row = bench.spool.read(|view| view.destinations()).await.expect("readable").remove(0);
    assert_eq!(row.breaker, None, "the next process begins with a closed one");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refused_events_are_looked_for_again_though_nothing_else_waits() {
    let code = Arc::new(AtomicUsize::new(401));
    let answer = Arc::clone(&code);
    let bench = Bench::with(
        |destination| (destination.concurrency, destination.max_age) = (1, Some(Duration::from_mins(10))),
        move |_| {
            let code = answer.load(Relaxed);
            async move { status(u16::try_from(code).expect("a status")) }
        },
    )
    .await;
    // None of them has time left for a retry: the one that opens the breaker becomes a dead letter like those before it.
    let received_at = bench.clock.now() - SignedDuration::from_hours(1);
    for n in 0..20 {
        let received = Received {
            subscription: "main".into(),
            kind: "e".into(),
            event_ts: None,
            received_at,
            body: Bytes::from(n.to_string()),
            parked: None,
        };
        bench.spool.appender().append(received).await.expect("open");
    }
    let mut watched = bench.status.clone();
    watched.wait_for(|status| status.breaker.is_some()).await.expect("running");
    code.store(200, Relaxed);
    tokio::time::timeout(Duration::from_hours(1), bench.all_settled(20)).await.expect("they are looked for");
    assert_eq!(bench.states().await, [DeliveryState::Delivered; 20]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failures_behind_an_open_breaker_cost_no_attempt() {
    let delays = vec![Duration::from_hours(1); 50];
    let bench = Bench::start(Retry::List(delays), 4, |_| async { status(503) }).await;
    for n in 0..30 {
        bench.append(&n.to_string()).await;
    }
    let attempts = async || -> u32 {
        bench.spool.flush().await.expect("open");
        bench.rows().await.iter().map(|row| row.deliveries[0].attempts).sum()
    };
    let mut watched = bench.status.clone();
    watched.wait_for(|status| status.breaker.is_some()).await.expect("running");
    let before = attempts().await;
    // Time passes by itself while the spool works: a retry may have come between the first attempts.
    assert!((19..30).contains(&before), "{before} before the one that opened it");
    while bench.seen().len() < 60 {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(attempts().await, before);
    let numbers = async |id| -> Vec<u32> {
        let detail = bench.spool.read(move |view| view.event(EventId(id))).await.expect("readable").expect("kept");
        detail.attempts.iter().map(|attempt| attempt.attempt).collect()
    };
    let mut uncounted = 0;
    for id in 1..=30 {
        let numbers = numbers(id).await;
        uncounted += numbers.iter().filter(|number| **number == 0).count();
        assert!(numbers.iter().filter(|number| **number > 0).is_sorted_by(|one, next| one < next), "{numbers:?}");
    }
    assert!(uncounted > 20, "{uncounted} of them looked like one before");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_odd_refusal_is_a_dead_letter_and_stops_nobody() {
    let bench = Bench::start(Retry::Steady, 4, |post: Post| async move {
        if post.body == "13" { status(404) } else { status(200) }
    })
    .await;
    for n in 0..50 {
        bench.append(&n.to_string()).await;
    }
    bench.all_settled(50).await;
    let dead = bench.states().await.into_iter().filter(|state| *state == DeliveryState::Dead).count();
    assert_eq!((dead, bench.seen().len()), (1, 50));
    assert!(bench.status.borrow().breaker.is_none());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn open_breaker_outlives_its_lane() {
    let bench = Bench::start(Retry::Steady, 4, |_| async { Err(SendError::Refused) }).await;
    for n in 0..30 {
        bench.append(&n.to_string()).await;
    }
    let mut watched = bench.status.clone();
    let opened = watched.wait_for(|status| status.breaker.is_some()).await.expect("running").breaker;
    bench.spool.flush().await.expect("open");
    let row = bench.spool.read(|view| view.destinations()).await.expect("readable").remove(0);
    assert_eq!(row.breaker.map(|stored| stored.since), opened.map(|opened| opened.since));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn handler_that_takes_everything_with_202_is_not_held_back_under_the_rules_of_zoom() {
    let bench = Bench::start(Retry::Zoom, 4, |_| async { status(202) }).await;
    for n in 0..100 {
        bench.append(&n.to_string()).await;
    }
    bench.all_settled(100).await;
    assert!(bench.states().await.iter().all(|state| *state == DeliveryState::Delivered));
    assert_eq!(bench.seen().len(), 200, "each once more after five minutes, as Zoom does it");
    assert!(bench.status.borrow().breaker.is_none());
    bench.stop().await;
}
