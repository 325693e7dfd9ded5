//! Events that the spool has and cannot give.

use rusqlite::Connection;

use super::*;

#[tokio::test(start_paused = true)]
async fn event_that_cannot_be_read_is_given_up_unattempted_and_holds_no_other_up() {
    for ordering in [Ordering::Object, Ordering::Strict] {
        let stored = |file: &Path| {
            let connection = Connection::open(file).expect("opens");
            for id in 1..=3 {
                let event = "INSERT INTO events (id, kind, subscription, request_id, digest, received_at, size)
                     VALUES (?1, 'e', 'main', 'cbd57246_c09d_4d5f_8a5a_02a23c6d5f21', zeroblob(32), 1800000000000, 1)";
                connection.execute(event, [id]).expect("written");
                let delivery = "INSERT INTO deliveries (destination, event, state, attempts, due, since, outcome)
                     VALUES (1, ?1, 1, 1, 1, 1, 'status 503')";
                connection.execute(delivery, [id]).expect("written");
            }
            connection.execute("INSERT INTO bodies (event, body) VALUES (1, x'31'), (3, x'33')", []).expect("written");
        };
        let script = |_| async { status(200) };
        let bench = Bench::after(stored, |destination| destination.ordering = ordering, script).await;
        bench.all_settled(3).await;
        let bodies: Vec<Bytes> = bench.seen().into_iter().map(|post| post.body).collect();
        assert_eq!(bodies, ["1", "3"]);
        let rows = bench.rows().await;
        let outcomes: Vec<_> = rows.iter().map(|row| row.deliveries[0].outcome.as_deref()).collect();
        assert_eq!(outcomes, [Some("status 200"), Some("damaged in the spool"), Some("status 200")]);
        bench.assert_dead("unreadable", 1);
        bench.stop().await;
    }
}
