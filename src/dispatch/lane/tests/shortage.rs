//! A machine that has nothing left to make connections with.

use super::*;
use crate::config::Probe;
use crate::net::shortage::Shortage;

const SHORT: Result<Answer, SendError> = Err(SendError::Short(Shortage::Descriptors));

#[tokio::test(start_paused = true)]
async fn what_could_not_leave_this_machine_loses_no_attempt_and_is_held_against_nobody() {
    let (slots, events, short) = (4, 60, 200);
    let script = move |post: Post| async move { if post.nth <= short { SHORT } else { status(200) } };
    let bench = Bench::start(Retry::List(Vec::new()), slots, script).await;
    for n in 0..events {
        bench.append(&n.to_string()).await;
    }
    let mut watched = bench.status.clone();
    let failing = watched.wait_for(|status| status.failing_since.is_some()).await.expect("running").clone();
    assert_eq!(failing.last_failure.expect("told").cause, "this machine has no file descriptor left".into());
    bench.all_settled(events).await;
    assert!(bench.states().await.iter().all(|state| *state == DeliveryState::Delivered));
    let rows = bench.rows().await;
    assert!(rows.iter().all(|row| row.deliveries[0].attempts == 1), "one attempt each, under a list without retries");
    assert_eq!(bench.attempts(1).await, [""; 0], "and none that failed");
    bench.assert_dead("exhausted", 0);
    let status = bench.status.borrow().clone();
    assert!(status.breaker.is_none() && status.failing_since.is_none() && status.failures_in_a_row == 0, "{status:?}");
    // No loop: as many in a second as there are slots, and a little for the rest that begins with each.
    let posts = bench.seen();
    let took = posts[short].at.duration_since(posts[0].at).as_secs_f64();
    assert!(took >= (short / slots - 1) as f64, "{short} tries within {took} s");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn probe_that_could_not_leave_this_machine_leaves_the_next_one_its_turn() {
    for probe in [Probe::Event, Probe::Validation] {
        let script = |post: Post| async move {
            match post.nth {
                ..=20 => Err(SendError::Refused),
                21..=25 => SHORT,
                // The answer to a question that is no validation: the breaker stays open for another minute.
                _ => status(200),
            }
        };
        let change = |destination: &mut config::Destination| (destination.concurrency, destination.probe) = (1, probe);
        let bench = Bench::with(change, script).await;
        for n in 0..25 {
            bench.append(&n.to_string()).await;
        }
        bench.until(|_| bench.seen().len() > 26).await;
        let posts = bench.seen();
        let (first, last) = (posts[20].at, posts[25].at);
        let took = last.duration_since(first).as_secs();
        assert!((5..=8).contains(&took), "{probe:?}: {took} s, where delays that double would take 31");
        bench.stop().await;
    }
}
