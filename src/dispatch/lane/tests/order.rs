//! In what order events about one thing go out.

use super::*;

#[tokio::test(start_paused = true)]
async fn events_about_one_thing_are_in_flight_one_at_a_time_and_others_flow() {
    let bench = Bench::start(Retry::Steady, 8, |_| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        status(200)
    })
    .await;
    for n in 0..40 {
        bench.append(&about(n % 4, n)).await;
    }
    bench.all_settled(40).await;
    let seen = bench.seen();
    for thing in 0..4 {
        let of_thing: Vec<&Post> = seen.iter().filter(|post| post.body.starts_with(prefix(thing).as_bytes())).collect();
        assert_eq!(of_thing.len(), 10);
        for pair in of_thing.windows(2) {
            assert!(pair[1].at >= pair[0].at + Duration::from_millis(10), "two at once about thing {thing}");
            assert!(pair[1].body > pair[0].body, "out of order");
        }
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn strict_order_is_never_inverted_whatever_fails() {
    let bench = Bench::with(
        |destination| destination.ordering = Ordering::Strict,
        // Every third request fails, whatever it carries.
        |post: Post| async move { if post.nth.is_multiple_of(3) { status(503) } else { status(200) } },
    )
    .await;
    for n in 0..30 {
        bench.append(&about(n % 3, n)).await;
    }
    bench.all_settled(30).await;
    let mut delivered: [Vec<Bytes>; 3] = Default::default();
    for post in bench.seen().into_iter().filter(|post| !post.nth.is_multiple_of(3)) {
        let thing = (0..3).find(|thing| post.body.starts_with(prefix(*thing).as_bytes())).expect("a thing");
        delivered[thing].push(post.body);
    }
    for bodies in delivered {
        assert_eq!(bodies.len(), 10);
        assert!(bodies.is_sorted(), "{bodies:?}");
    }
    bench.stop().await;
}
