//! What is encrypted in the file, what opens it again, and what happens where nothing does.

use super::*;
use crate::config::encryption::EncryptionKey;
use crate::config::secret::Secret;
use crate::spool::rekey::{Rekeyed, rekey_at_rest};

const CANARY: &str = "canary of a patient";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn payloads_are_nowhere_in_the_files_of_the_spool_and_arrive_all_the_same() {
    let bench = Bench::new();
    let running = bench.start_with(&settings(&bench, Some(1), &[]));
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    let body = format!("{{\"topic\":\"{CANARY}\"}}");
    running.append("meeting.started", &body).await;
    let parked = Received { parked: Some("not json"), ..received("main", "", CANARY) };
    running.spool.appender().append(parked).await.expect("open");
    assert_eq!(fresh(&mut feed).await.body, body, "from memory");
    running.fail(&feed, EventId(1)).await;
    assert_eq!(bench.traces(), 0, "neither in the file nor in its log");
    running.stop().await;
    assert_eq!(bench.traces(), 0);

    let running = bench.start_with(&settings(&bench, Some(1), &[]));
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    let due = due(&mut feed).await;
    assert_eq!((due.event.body.as_ref(), due.event.unreadable), (body.as_bytes(), None), "from the disk");
    let detail = running.spool.read(|view| view.event(EventId(1))).await.expect("readable").expect("stored");
    assert!(detail.attempts[0].excerpt.contains(CANARY));
    assert_ne!(
        detail.row.digest,
        Some(crate::event::Digest::of(body.as_bytes())),
        "a plain digest would prove a guess"
    );
    running.stop().await;
    let locked = open_view(bench.path()).expect("a spool").event(EventId(1)).expect_err("no key").to_string();
    assert!(locked.starts_with("event 1 cannot be read: its key ") && !locked.contains(CANARY), "{locked}");
    assert_eq!(bench.ids(), [2, 1], "lists need no key");
}

#[tokio::test]
async fn event_whose_key_is_gone_dies_of_that_and_lives_again_when_it_is_back() {
    let bench = Bench::new();
    let running = bench.start_with(&settings(&bench, Some(1), &[]));
    running.route(&[("crm", "*")]).await;
    running.append("e", "old").await;
    running.stop().await;

    let running = bench.start_with(&settings(&bench, Some(2), &[]));
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    running.append("e", "new").await;
    let gone = fresh(&mut feed).await;
    assert_eq!((gone.id, gone.unreadable, gone.body.len()), (EventId(1), Some("key gone"), 0));
    let new = fresh(&mut feed).await;
    assert_eq!((new.unreadable, new.body.as_ref()), (None, &b"new"[..]), "what comes is received and delivered");
    running.stop().await;

    let running = bench.start_with(&settings(&bench, Some(2), &[1]));
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    let back = fresh(&mut feed).await;
    assert_eq!((back.unreadable, back.body.as_ref()), (None, &b"old"[..]));
    running.stop().await;
}

#[tokio::test]
async fn body_that_was_moved_to_another_event_does_not_open() {
    let bench = Bench::new();
    let running = bench.start_with(&settings(&bench, Some(1), &[]));
    running.route(&[("crm", "*")]).await;
    running.append("e", "one").await;
    running.append("e", "two").await;
    running.stop().await;
    let forger = rusqlite::Connection::open(bench.path()).expect("opens");
    let swap =
        "UPDATE bodies SET body = (SELECT b.body FROM bodies b WHERE b.event = 3 - bodies.event) WHERE event = 1";
    assert_eq!(forger.execute(swap, []).expect("forged"), 1);
    drop(forger);
    let running = bench.start_with(&settings(&bench, Some(1), &[]));
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    assert_eq!(fresh(&mut feed).await.unreadable, Some("cannot be decrypted"));
    assert_eq!(fresh(&mut feed).await.body.as_ref(), b"two");
    running.stop().await;
}

#[tokio::test]
async fn rekey_encrypts_what_was_plain_beside_live_events_and_at_rest_leaves_no_trace_of_it() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    for n in 0..500 {
        running.append("e", &format!("{CANARY} {n}")).await;
    }
    let first = fresh(&mut feed).await.id;
    running.fail(&feed, first).await;
    running.stop().await;
    assert!(bench.traces() > 400);

    let encrypted = settings(&bench, Some(1), &[]);
    let running = bench.start_with(&encrypted);
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    let spool = running.spool.clone();
    let rekeying = tokio::spawn(async move { spool.rekey("test", EventId(0), PATIENCE).await });
    for n in 0..20 {
        running.append("e", &format!("live {n}")).await;
    }
    let done = rekeying.await.expect("no panic").expect("done");
    assert_eq!((done.rewritten, done.unreadable, done.complete), (500, 0, true));
    let again = running.spool.rekey("test", EventId(0), PATIENCE).await.expect("done");
    assert_eq!((again.rewritten, again.complete), (0, true), "what is done is passed over");
    let bodies: Vec<String> = bodies(&mut feed, 519).await;
    assert_eq!(bodies[0], format!("{CANARY} 1"));
    running.stop().await;
    assert!(bench.audit()[0].starts_with("test: rekey_begun: to key "), "{:?}", bench.audit());
    assert!(bench.audit()[1].starts_with("test: rekey: 500 events brought to key "), "{:?}", bench.audit());

    let rekeyed = |settings: &config::Spool| rekey_at_rest(settings, "test", Timestamp::now()).expect("at rest");
    assert_eq!(rekeyed(&encrypted).rewritten, 0, "all of it was done");
    assert_eq!(bench.traces(), 0, "not even in parts of the file that are unused");
    // To another key, and back to none.
    let wrong = rekeyed(&settings(&bench, Some(2), &[]));
    assert_eq!((wrong.rewritten, wrong.unreadable), (0, 520), "without its key it stays as it is");
    assert_eq!(rekeyed(&settings(&bench, Some(2), &[1])).rewritten, 520);
    assert_eq!(
        rekeyed(&settings(&bench, None, &[2])),
        Rekeyed { rewritten: 520, after: 520, complete: true, unreadable: 0 }
    );
    let detail = open_view(bench.path()).expect("a spool").event(first).expect("plain").expect("stored");
    assert_eq!(detail.row.digest, Some(crate::event::Digest::of(&detail.body)));
    assert!(detail.attempts[0].excerpt.contains(CANARY));
}

#[tokio::test]
async fn large_bodies_are_brought_to_a_key_to_the_last_one() {
    const EVENTS: u64 = 7;
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    for n in 0..EVENTS {
        running.append("e", &format!("{CANARY} {n} {}", "x".repeat(200 << 10))).await;
    }
    running.stop().await;
    let running = bench.start_with(&settings(&bench, Some(1), &[]));
    running.route(&[("crm", "*")]).await;
    let done = running.spool.rekey("test", EventId(0), PATIENCE).await.expect("done");
    assert_eq!((done.rewritten, done.after, done.complete), (EVENTS, EVENTS, true));
    running.stop().await;
}

#[tokio::test]
async fn repeats_are_recognised_under_a_key_and_across_a_restart() {
    let bench = Bench::new();
    let settings = settings(&bench, Some(1), &[]);
    for stored in [vec![1], vec![1]] {
        let running = bench.start_with(&settings);
        running.route(&[]).await;
        running.append("e", "the same").await;
        running.append("e", "the same").await;
        running.spool.flush().await.expect("open");
        assert_eq!(bench.ids(), stored);
        running.stop().await;
    }
}

fn settings(bench: &Bench, current: Option<u8>, old: &[u8]) -> config::Spool {
    let key = |seed: u8| {
        let mut bytes = [seed; 32];
        bytes[0] = !seed;
        EncryptionKey::new(&Secret::new(hex::encode(bytes))).expect("a key")
    };
    let old_encryption_keys = old.iter().map(|seed| key(*seed)).collect();
    config::Spool { encryption_key: current.map(key), old_encryption_keys, ..bench.settings() }
}

async fn due(feed: &mut Feed) -> store::Due {
    let far = Timestamp::MAX;
    feed.due((Timestamp::now() + SignedDuration::from_hours(1), far), 10, Vec::new(), 0)
        .await
        .expect("readable")
        .page
        .remove(0)
}

async fn bodies(feed: &mut Feed, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let event = fresh(feed).await;
        assert_eq!(event.unreadable, None);
        bodies.push(String::from_utf8(event.body.to_vec()).expect("text"));
    }
    bodies
}

impl Bench {
    fn start_with(&self, settings: &config::Spool) -> Running {
        let (spool, writer) = Spool::open(settings, Clock::system(), Arc::default()).expect("opens");
        Self::run(spool, writer)
    }

    /// Counts the payloads that somebody finds who has the files.
    fn traces(&self) -> usize {
        let files = std::fs::read_dir(self.directory.path()).expect("a directory");
        let read = files.map(|file| std::fs::read(file.expect("a file").path()).expect("readable"));
        let found = |bytes: Vec<u8>| bytes.windows(CANARY.len()).filter(|window| *window == CANARY.as_bytes()).count();
        read.map(found).sum()
    }
}

impl Running {
    /// Reports a failed attempt, the handler having repeated what it was told.
    async fn fail(&self, feed: &Feed, event: EventId) {
        let at = Timestamp::now();
        let failed = FailedAttempt {
            number: 1,
            at,
            elapsed_ms: 1,
            cause: "status 500".into(),
            excerpt: format!("no {CANARY}").into(),
        };
        let outcome = Outcome::Retry { due: at, cause: "status 500".into() };
        let destination = feed.destination();
        let settlement = Settlement { destination, event, attempts: 1, at, outcome, failed: Some(failed) };
        self.spool.settle(settlement).await.expect("open");
        self.spool.flush().await.expect("open");
    }
}
