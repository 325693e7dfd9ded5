//! Rate, time to live, probes by URL validation, and what a lane does when the clock or the disk fails it.
//!
//! The paused clock runs on while the writer's thread works, by up to the half minute of its purge: times to live are
//! long enough that they end where the test means it.

use serde_json::{Value, json};

use super::*;
use crate::webhook::signature::Signer;

#[tokio::test(start_paused = true)]
async fn attempts_start_at_the_rate_and_retries_count() {
    let bench = Bench::with(
        |destination| {
            destination.rate = Some("10/s burst 3".parse().expect("a rate"));
            destination.retry = Retry::List(vec![Duration::from_millis(1); 10]);
        },
        |post: Post| async move { if post.nth <= 10 { status(503) } else { status(200) } },
    )
    .await;
    for n in 0..10 {
        bench.append(&n.to_string()).await;
    }
    bench.all_settled(10).await;
    let at: Vec<Instant> = bench.seen().iter().map(|post| post.at).collect();
    assert_eq!(at.len(), 20);
    for (first, from) in at.iter().enumerate() {
        for (count, until) in (1..).zip(&at[first..]) {
            let allowed = 3 + until.duration_since(*from).as_millis() / 100;
            assert!(count <= allowed, "{count} attempts, {allowed} allowed");
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn lane_that_has_no_token_sleeps_until_the_next_and_not_longer() {
    let bench = Bench::with(
        |destination| destination.rate = Some("4/m burst 1".parse().expect("a rate")),
        |_| async { status(200) },
    )
    .await;
    for n in 0..4 {
        bench.append(&n.to_string()).await;
    }
    bench.all_settled(4).await;
    let at: Vec<Instant> = bench.seen().iter().map(|post| post.at).collect();
    let waits: Vec<u64> = at.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    assert_eq!(waits, [15, 15, 15]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn new_rate_holds_at_once_and_gives_no_new_burst() {
    let bench = Bench::with(
        |destination| destination.rate = Some("1/h burst 1".parse().expect("a rate")),
        |_| async { status(200) },
    )
    .await;
    bench.append("1").await;
    bench.append("2").await;
    bench.until(|rows| rows.iter().any(|row| row.deliveries[0].state == DeliveryState::Delivered)).await;
    let until = async |is_held: bool| {
        while bench.status.borrow().rate_until.is_some() != is_held {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bench.status.borrow().rate_until
    };
    let held = until(true).await.expect("told").duration_since(bench.clock.now());
    assert!((3590..=3600).contains(&held.as_secs()), "{held}");
    let faster = Instant::now();
    bench.set(|destination| destination.rate = Some("1/m burst 1".parse().expect("a rate")), |_| async { status(200) });
    bench.all_settled(2).await;
    assert_eq!(bench.seen()[1].at.duration_since(faster).as_secs(), 60);
    assert_eq!(until(false).await, None, "nothing waits");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn event_that_waited_too_long_in_memory_is_dead_without_a_request() {
    let bench = Bench::with(
        |destination| {
            destination.concurrency = 1;
            destination.ttl = ttl(&[("meeting.*", 1800)]);
        },
        |_| async {
            tokio::time::sleep(Duration::from_secs(2000)).await;
            status(200)
        },
    )
    .await;
    bench.append("1").await;
    bench.append("2").await;
    bench.append_kind("recording.completed", "3").await;
    bench.all_settled(3).await;
    assert_eq!(bench.outcomes().await, ["status 200", "expired", "status 200"]);
    assert_eq!(bench.seen().len(), 2);
    let expired = bench.status.borrow().expired.expect("one");
    assert_eq!(expired.count, 1);
    bench.assert_dead("expired", 1);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn retry_that_would_come_too_late_is_given_up_at_once_and_keeps_its_failures() {
    let bench = Bench::with(
        |destination| {
            destination.retry = Retry::List([5, 36_000].map(Duration::from_secs).into());
            destination.ttl = ttl(&[("*", 1800)]);
        },
        |_| async { status(503) },
    )
    .await;
    bench.append("1").await;
    bench.all_settled(1).await;
    let detail = bench.spool.read(|view| view.event(EventId(1))).await.expect("readable").expect("stored");
    let last = detail.attempts.iter().map(|attempt| attempt.at).max().expect("two of them");
    let settled_at = detail.row.deliveries[0].settled_at.expect("dead");
    assert!(settled_at < last + jiff::SignedDuration::from_hours(1), "long before its retry would be due");
    assert_eq!(bench.outcomes().await, ["expired"]);
    assert_eq!(bench.attempts(1).await, ["status 503"; 2]);
    bench.assert_dead("expired", 1);
    bench.assert_dead("exhausted", 0);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn paused_events_expire_and_a_replay_begins_their_time_anew() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let bench = Bench::with(
        |destination| destination.ttl = ttl(&[("*", 1800)]),
        move |post: Post| {
            let gate = Arc::clone(&gate);
            async move {
                if post.nth > 1 {
                    return status(200);
                }
                gate.notified().await;
                status(503)
            }
        },
    )
    .await;
    bench.append("retry").await;
    while bench.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.spool.pause("crm", Pause::On, "test").await.expect("open");
    bench.status.clone().wait_for(|status| status.paused).await.expect("running");
    opened.notify_one();
    bench.until(waits_for_its_retry).await;
    bench.append("fresh").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(bench.states().await.iter().all(|state| *state != DeliveryState::Dead), "noticed at their turn");
    bench.spool.pause("crm", Pause::Off, "test").await.expect("open");
    bench.all_settled(2).await;
    assert_eq!(bench.outcomes().await, ["expired", "expired"]);
    assert_eq!(bench.seen().len(), 1);
    bench.replay(Scope::Dead { destination: None, cause: None }).await;
    bench.until(|rows| rows.iter().all(|row| row.deliveries[0].state == DeliveryState::Delivered)).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_behind_an_open_breaker_expire_without_a_request_each() {
    let code = Arc::new(AtomicUsize::new(401));
    let answer = Arc::clone(&code);
    let bench = Bench::with(
        |destination| destination.ttl = ttl(&[("old", 120)]),
        move |_| {
            let code = answer.load(Relaxed);
            async move { status(u16::try_from(code).expect("a status")) }
        },
    )
    .await;
    // On a slow disk the clock would run past the time to live before there are enough refusals.
    let held = hold_clock();
    for n in 0..99 {
        bench.append_kind("old", &n.to_string()).await;
    }
    bench.status.clone().wait_for(|status| status.breaker.is_some()).await.expect("runs");
    drop(held);
    bench.all_settled(99).await;
    assert!(bench.outcomes().await.iter().all(|outcome| outcome == "expired"));
    assert!(bench.seen().len() < 50, "{} requests", bench.seen().len());
    // Nothing that expired has told the breaker anything: it still waits for a probe.
    assert!(bench.status.borrow().breaker.is_some());
    code.store(200, Relaxed);
    bench.append_kind("new", "new").await;
    bench.all_settled(100).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn expired_head_sets_its_followers_free_in_strict_order() {
    let bench = Bench::with(
        |destination| {
            destination.ordering = Ordering::Strict;
            destination.retry = Retry::List([1, 3000, 1].map(Duration::from_secs).into());
            destination.ttl = ttl(&[("short", 1800)]);
        },
        |post: Post| async move { if post.body.ends_with(b"1000}") { status(503) } else { status(200) } },
    )
    .await;
    bench.append_kind("short", &about(0, 1000)).await;
    bench.append_kind("long", &about(0, 1001)).await;
    bench.append_kind("short", &about(0, 1002)).await;
    bench.all_settled(3).await;
    assert_eq!(bench.outcomes().await, ["expired", "status 200", "status 200"]);
    assert_eq!(bench.seen().len(), 4);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn storm_of_expired_events_goes_through_without_a_request() {
    const STORM: usize = 3000;
    let bench = Bench::with(|destination| destination.ttl = ttl(&[("*", 1)]), |_| async { status(200) }).await;
    bench.spool.pause("crm", Pause::On, "test").await.expect("open");
    bench.status.clone().wait_for(|status| status.paused).await.expect("running");
    for n in 0..STORM {
        bench.append(&n.to_string()).await;
    }
    bench.spool.flush().await.expect("open");
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.spool.pause("crm", Pause::Off, "test").await.expect("open");
    loop {
        let row = bench.spool.read(|view| view.destinations()).await.expect("readable").remove(0);
        if row.dead == STORM as u64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(bench.seen().len(), 0);
    bench.assert_dead("expired", STORM);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn destination_is_resumed_however_many_events_wait() {
    const EVENTS: usize = WINDOW_EVENTS + 100;
    let bench = Bench::start(Retry::Steady, 4, |_| async { status(200) }).await;
    bench.spool.pause("crm", Pause::On, "test").await.expect("open");
    bench.status.clone().wait_for(|status| status.paused).await.expect("running");
    for n in 0..EVENTS {
        bench.append(&n.to_string()).await;
    }
    bench.spool.flush().await.expect("open");
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.spool.pause("crm", Pause::Off, "test").await.expect("open");
    bench.status.clone().wait_for(|status| !status.paused).await.expect("running");
    while bench.seen().len() < EVENTS {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn most_attempts_and_greatest_age_end_a_delivery_before_its_preset_does() {
    let bench = Bench::with(|destination| destination.max_attempts = Some(3), |_| async { status(503) }).await;
    bench.append("1").await;
    bench.all_settled(1).await;
    assert_eq!(bench.outcomes().await, ["status 503 after 3 attempts"]);
    bench.set(|destination| destination.max_age = Some(Duration::from_secs(3600)), |_| async { status(503) });
    bench.replay(Scope::Dead { destination: None, cause: None }).await;
    bench
        .until(|rows| rows[0].deliveries[0].outcome.as_deref() == Some("status 503 after 7 attempts within 1 h"))
        .await;
    bench.assert_dead("exhausted", 2);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn greatest_age_ends_deliveries_behind_an_open_breaker_too() {
    const EVENTS: usize = 30;
    let age = Some(Duration::from_secs(60));
    let bench = Bench::with(|destination| destination.max_age = age, |_| async { status(503) }).await;
    for n in 0..EVENTS {
        bench.append(&n.to_string()).await;
    }
    let too_many = 10 * EVENTS;
    let dead = |states: Vec<DeliveryState>| states.into_iter().filter(|state| *state == DeliveryState::Dead).count();
    while dead(bench.states().await) < EVENTS && bench.seen().len() <= too_many {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert!(bench.seen().len() <= too_many, "there is no end to it");
    assert!(bench.outcomes().await.iter().all(|outcome| outcome.ends_with("within 1 min")));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn validation_closes_the_breaker_and_touches_no_event_before() {
    let (well, right) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (events_well, validation_right) = (Arc::clone(&well), Arc::clone(&right));
    let bench = Bench::with(
        |destination| destination.probe = Probe::Validation,
        move |post: Post| {
            let answer = match question(&post) {
                Some(token) if validation_right.load(Relaxed) == 1 => answer_to(&token, "bridge-test-secret"),
                Some(token) => answer_to(&token, "another-secret"),
                None if events_well.load(Relaxed) == 1 => status(200),
                None => status(401),
            };
            async move { answer }
        },
    )
    .await;
    for n in 0..100 {
        bench.append(&n.to_string()).await;
    }
    let mut watched = bench.status.clone();
    watched.wait_for(|status| status.breaker.is_some_and(|opened| opened.probes >= 3)).await.expect("running");
    let failure = bench.status.borrow().last_failure.clone().expect("a failure");
    assert_eq!((&*failure.cause, failure.event), ("url validation answered with a wrong encryptedToken", None));
    let events = || bench.seen().iter().filter(|post| question(post).is_none()).count();
    let touched = events();
    assert!(touched < 40, "{touched} events for 100");
    // A handler that takes events again closes nothing while its answer is wrong.
    well.store(1, Relaxed);
    watched.wait_for(|status| status.breaker.is_some_and(|opened| opened.probes >= 6)).await.expect("running");
    assert_eq!(events(), touched);
    right.store(1, Relaxed);
    watched.wait_for(|status| status.breaker.is_none()).await.expect("running");
    assert!(watched.borrow().failing_since.is_none());
    bench.all_settled(100).await;
    assert!(bench.states().await.iter().all(|state| *state == DeliveryState::Delivered));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn handler_that_answers_the_validation_and_fails_at_events_is_probed_by_an_event_from_then_on() {
    let well = Arc::new(AtomicUsize::new(0));
    let events_well = Arc::clone(&well);
    let bench = Bench::with(
        |destination| destination.probe = Probe::Validation,
        move |post: Post| {
            let answer = match question(&post) {
                Some(token) => answer_to(&token, "bridge-test-secret"),
                None => status(if events_well.load(Relaxed) == 1 { 200 } else { 503 }),
            };
            async move { answer }
        },
    )
    .await;
    for n in 0..100 {
        bench.append(&n.to_string()).await;
    }
    let mut watched = bench.status.clone();
    watched.wait_for(|status| status.breaker.is_some_and(|opened| opened.probes >= 5)).await.expect("running");
    let questions = || bench.seen().iter().filter(|post| question(post).is_some()).count();
    let events = bench.seen().len() - questions();
    assert_eq!(questions(), 1, "one answer that says nothing is enough");
    assert!(events < 80, "{events} requests for 100 events: two storms and single probes");
    well.store(1, Relaxed);
    bench.all_settled(100).await;
    assert!(bench.states().await.iter().all(|state| *state == DeliveryState::Delivered));
    assert_eq!(questions(), 1);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_probe_is_a_failed_probe() {
    let bench = Bench::with(
        |destination| destination.probe = Probe::Validation,
        |post: Post| async move {
            assert!(question(&post).is_none(), "the handler's client breaks");
            status(500)
        },
    )
    .await;
    for n in 0..30 {
        bench.append(&n.to_string()).await;
    }
    let mut watched = bench.status.clone();
    watched.wait_for(|status| status.breaker.is_some_and(|opened| opened.probes >= 2)).await.expect("running");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn clock_that_is_set_back_does_not_put_off_a_retry() {
    let answer = |post: Post| async move { if post.nth == 1 { status(503) } else { status(200) } };
    let bench = Bench::start(Retry::Steady, 4, answer).await;
    bench.append("1").await;
    bench.until(waits_for_its_retry).await;
    bench.clock.set_back(30 * 24 * 3_600_000);
    bench.all_settled(1).await;
    let seen = bench.seen();
    let waited = seen[1].at.duration_since(seen[0].at);
    // The clock is looked at every half a minute.
    assert!(waited <= Duration::from_secs(60), "{waited:?}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn change_of_order_waits_for_what_is_in_flight() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let bench = Bench::start(Retry::Steady, 4, move |post: Post| {
        let gate = Arc::clone(&gate);
        async move {
            if post.body.starts_with(prefix(1).as_bytes()) {
                return status(503);
            }
            gate.notified().await;
            status(200)
        }
    })
    .await;
    bench.append(&about(0, 1000)).await;
    bench.append(&about(1, 1000)).await;
    while bench.seen().len() < 2 {
        tokio::task::yield_now().await;
    }
    for (n, ordering) in (1001..).zip([Ordering::Strict, Ordering::None, Ordering::Object]) {
        bench.set(|destination| destination.ordering = ordering, |_| async { status(200) });
        bench.append(&about(0, n)).await;
        bench.spool.flush().await.expect("open");
        // The retry that comes due meanwhile must not keep the lane turning: the clock would never go on.
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    // Back in the first order nothing is held any more but by its thing.
    bench.until(|rows| rows.iter().any(|row| row.deliveries[0].state == DeliveryState::Delivered)).await;
    let of_thing = |bench: &Bench| {
        let posts = bench.seen().into_iter().map(|post| post.body);
        posts.filter(|body| body.starts_with(prefix(0).as_bytes())).collect::<Vec<_>>()
    };
    assert_eq!(of_thing(&bench).len(), 1, "two of one thing in flight");
    opened.notify_one();
    bench.all_settled(5).await;
    let bodies = of_thing(&bench);
    assert!(bodies.len() == 4 && bodies.is_sorted(), "{bodies:?}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn order_that_becomes_strict_knows_what_was_reported_a_moment_ago() {
    let script = |post: Post| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if post.nth == 1 { status(503) } else { status(200) }
    };
    let retry = || Retry::List(vec![Duration::from_secs(100)]);
    let bench = Bench::start(retry(), 4, script).await;
    bench.append(&about(0, 1000)).await;
    while bench.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It goes over when the attempt in flight ends, which is reported to the disk in that moment.
    bench.set(|destination| (destination.ordering, destination.retry) = (Ordering::Strict, retry()), script);
    bench.append(&about(0, 1001)).await;
    bench.all_settled(2).await;
    let bodies: Vec<_> = bench.seen().into_iter().map(|post| post.body).collect();
    assert_eq!(bodies, [about(0, 1000), about(0, 1000), about(0, 1001)]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn order_that_becomes_strict_knows_what_waits_on_the_disk() {
    let script = |post: Post| async move { if post.nth == 1 { status(503) } else { status(200) } };
    let bench = Bench::start(Retry::List(vec![Duration::from_secs(100)]), 4, script).await;
    bench.append(&about(0, 1000)).await;
    bench.until(waits_for_its_retry).await;
    bench.set(
        |destination| {
            destination.ordering = Ordering::Strict;
            destination.retry = Retry::List(vec![Duration::from_secs(100)]);
        },
        script,
    );
    bench.append(&about(0, 1001)).await;
    bench.all_settled(2).await;
    let bodies: Vec<Bytes> = bench.seen().into_iter().map(|post| post.body).collect();
    assert_eq!(bodies, [about(0, 1000), about(0, 1000), about(0, 1001)]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn spool_that_cannot_be_read_is_told_until_it_can() {
    let aside = |file: &Path| std::fs::rename(file, file.with_extension("aside")).expect("moved");
    let bench = Bench::after(aside, |_| {}, |_| async { status(200) }).await;
    let mut watched = bench.status.clone();
    let began = watched.wait_for(|status| status.unreadable.is_some()).await.expect("running").unreadable.clone();
    assert!(began.clone().expect("told").reason.contains("there is no spool"), "{began:?}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(watched.borrow().unreadable, began, "since the first time");
    let file = bench._directory.path().join("spool.db");
    std::fs::rename(file.with_extension("aside"), &file).expect("moved back");
    watched.wait_for(|status| status.unreadable.is_none()).await.expect("running");
    bench.append("1").await;
    bench.all_settled(1).await;
    bench.stop().await;
}

impl Bench {
    /// Returns what became of each event, oldest first.
    async fn outcomes(&self) -> Vec<String> {
        let rows = self.rows().await;
        let outcome = |row: &EventRow| row.deliveries[0].outcome.as_deref().unwrap_or_default().to_owned();
        rows.iter().rev().map(outcome).collect()
    }

    pub(super) fn assert_dead(&self, cause: &str, count: usize) {
        let page = self.metrics.render().expect("a page");
        let line = format!("zoomhook_dead_letters_total{{destination=\"crm\",cause=\"{cause}\"}} {count}\n");
        assert!(page.contains(&line), "{line}{page}");
    }
}

fn waits_for_its_retry(rows: &[EventRow]) -> bool {
    rows.first().is_some_and(|row| row.deliveries[0].state == DeliveryState::Retry)
}

/// Keeps the paused clock from running on by itself until the guard is dropped: it stands while a thread is at work.
fn hold_clock() -> std::sync::mpsc::Sender<()> {
    let (guard, dropped) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || dropped.recv());
    guard
}

fn ttl(rules: &[(&str, u64)]) -> Ttl {
    let rule = |(pattern, seconds): &(&str, u64)| (pattern.parse().expect("a pattern"), Duration::from_secs(*seconds));
    Ttl::new(rules.iter().map(rule).collect())
}

/// Returns the token of a URL validation; an event is none.
fn question(post: &Post) -> Option<String> {
    let body: Value = serde_json::from_slice(&post.body).ok()?;
    (body["event"] == "endpoint.url_validation").then(|| body["payload"]["plainToken"].as_str().map(str::to_owned))?
}

fn answer_to(token: &str, secret: &str) -> Result<Answer, SendError> {
    let encrypted = Signer::new(&Secret::new(secret)).validation_token(token);
    let excerpt = json!({ "plainToken": token, "encryptedToken": encrypted }).to_string();
    Ok(Answer { status: 200, retry_after: None, excerpt })
}
