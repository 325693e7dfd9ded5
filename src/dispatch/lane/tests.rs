//! The lane with a real spool, a paused clock and a handler that follows a script.

mod breaker;
mod limits;
mod order;
mod secrets;
mod shortage;
mod unreadable;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;

use super::*;
use crate::config::filter::EventFilter;
use crate::config::secret::Secret;
use crate::event::Received;
use crate::spool::record::{DeliveryState, EventQuery, EventRow};
use crate::spool::replay::{Request, Scope, Selection, Stage};
use crate::spool::{Destined, Routes};

type Client = BoxCloneSyncService<Outgoing, Answer, SendError>;

#[tokio::test(start_paused = true)]
async fn event_is_posted_and_settled() {
    let bench = Bench::start(Retry::Steady, 4, |_| async { status(200) }).await;
    bench.append("1").await;
    bench.all_settled(1).await;
    assert_eq!(bench.states().await, [DeliveryState::Delivered]);
    assert_eq!(bench.seen().len(), 1);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failed_event_comes_again_with_the_same_body_and_request_id_when_it_is_due() {
    let answers = Arc::new(AtomicUsize::new(0));
    let bench = Bench::start(Retry::Steady, 4, move |_| {
        let nth = answers.fetch_add(1, Relaxed);
        async move { if nth < 3 { status(503) } else { status(200) } }
    })
    .await;
    bench.append("body").await;
    bench.all_settled(1).await;
    let seen = bench.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|post| post.body == "body" && post.request_id == seen[0].request_id));
    let least = [800, 4000, 12_000];
    for (pair, least) in seen.windows(2).zip(least) {
        let waited = pair[1].at.duration_since(pair[0].at).as_millis();
        assert!(waited >= least, "{waited} ms, at least {least}");
    }
    assert_ne!(seen[0].signature, seen[3].signature, "each attempt is signed anew");
    let failures = bench.attempts(1).await;
    assert_eq!(failures, ["status 503"; 3]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_attempt_carries_the_same_form_of_the_body() {
    let answer = |post: Post| async move { if post.nth < 3 { status(503) } else { status(200) } };
    let bench = Bench::start(Retry::Steady, 4, answer).await;
    bench.append("{\"a\": 5.0}").await;
    bench.all_settled(1).await;
    let bodies: Vec<_> = bench.seen().into_iter().map(|post| post.body).collect();
    assert_eq!(bodies, ["{\"a\":5}"; 3]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refused_event_becomes_a_dead_letter_with_its_cause_and_can_be_replayed() {
    let mended = Arc::new(AtomicUsize::new(404));
    let answer = Arc::clone(&mended);
    let bench = Bench::start(Retry::Steady, 4, move |_| {
        let code = answer.load(Relaxed);
        async move { status(u16::try_from(code).expect("a status")) }
    })
    .await;
    bench.append("1").await;
    bench.all_settled(1).await;
    let dead = bench.rows().await;
    assert_eq!(dead[0].deliveries[0].outcome.as_deref(), Some("status 404"));
    bench.assert_dead("refused", 1);
    bench.assert_dead("exhausted", 0);

    mended.store(200, Relaxed);
    bench.replay(Scope::Dead { destination: None, cause: None }).await;
    bench.until(|rows| rows[0].deliveries[0].state == DeliveryState::Delivered).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn replays_are_numbered_on_every_attempt_and_first_deliveries_are_not() {
    let answer = |post: Post| async move { if post.nth % 2 == 1 { status(503) } else { status(200) } };
    let bench = Bench::start(Retry::Steady, 4, answer).await;
    bench.append("1").await;
    bench.all_settled(1).await;
    for _ in 0..2 {
        bench.replay(Scope::Had { destination: None }).await;
        bench.all_settled(1).await;
    }
    let seen = bench.seen();
    let numbers: Vec<_> = seen.iter().map(|post| post.replay.as_deref()).collect();
    assert_eq!(numbers, [None, None, Some("1"), Some("1"), Some("2"), Some("2")]);
    assert!(seen.iter().all(|post| post.request_id == seen[0].request_id && post.body == "1"));
    let row = bench.rows().await.remove(0).deliveries.remove(0);
    assert_eq!((row.attempts, row.replays), (2, 2), "attempts begin anew");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn replays_about_one_thing_go_out_in_the_order_of_the_events() {
    let bench = Bench::start(Retry::Steady, 8, |_| async { status(200) }).await;
    for n in 0..60 {
        bench.append(&about(n % 3, n)).await;
    }
    bench.all_settled(60).await;
    bench.replay(Scope::Had { destination: None }).await;
    bench.until(|rows| rows.iter().all(|row| row.deliveries[0].state == DeliveryState::Delivered)).await;
    let seen = bench.seen();
    assert_eq!(seen.len(), 120);
    for thing in 0..3 {
        let again = seen[60..].iter().filter(|post| post.body.starts_with(prefix(thing).as_bytes()));
        let again: Vec<_> = again.map(|post| post.body.clone()).collect();
        assert!(again.len() == 20 && again.is_sorted(), "{again:?}");
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn explicit_list_is_given_up_at_its_end() {
    let list = Retry::List(vec![Duration::from_millis(1), Duration::from_millis(1)]);
    let bench = Bench::start(list, 4, |_| async { Err(SendError::Timeout) }).await;
    bench.append("1").await;
    bench.all_settled(1).await;
    assert_eq!(bench.seen().len(), 3);
    assert_eq!(bench.rows().await[0].deliveries[0].outcome.as_deref(), Some("timeout after 3 attempts"));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_are_in_flight_than_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let highest = Arc::clone(&most);
    let bench = Bench::start(Retry::Steady, 3, move |_| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Relaxed);
            status(200)
        }
    })
    .await;
    for n in 0..30 {
        bench.append(&n.to_string()).await;
    }
    bench.all_settled(30).await;
    assert_eq!(highest.load(Relaxed), 3);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn panic_of_one_attempt_is_a_failed_attempt() {
    let bench = Bench::start(Retry::Steady, 2, |post: Post| async move {
        assert!(post.body != "bad", "the handler's client breaks");
        status(200)
    })
    .await;
    bench.append("bad").await;
    bench.append("good").await;
    bench.all_settled(2).await;
    let rows = bench.rows().await;
    let outcomes: Vec<_> = rows.iter().map(|row| row.deliveries[0].outcome.as_deref()).collect();
    assert_eq!(outcomes, [Some("status 200"), Some("request cannot be sent")]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn first_attempts_go_on_while_many_retries_hang() {
    let bench = Bench::start(Retry::List(vec![Duration::from_millis(1); 3]), 4, |post: Post| async move {
        if post.body == "new" {
            return status(200);
        }
        if post.nth > 8 {
            std::future::pending::<()>().await;
        }
        status(503)
    })
    .await;
    for n in 0..8 {
        bench.append(&n.to_string()).await;
    }
    bench.until(|rows| rows.len() == 8 && rows.iter().all(|row| row.deliveries[0].state == DeliveryState::Retry)).await;
    bench.append("new").await;
    bench.until(|rows| rows[0].deliveries[0].state == DeliveryState::Delivered).await;
    bench.cut().await;
}

#[tokio::test(start_paused = true)]
async fn backlog_that_is_due_leaves_room_in_memory_for_new_events() {
    const BACKLOG: usize = WINDOW_EVENTS + 200;
    let bench = Bench::start(Retry::Steady, 4, |post: Post| async move {
        if post.nth > BACKLOG && post.body != "new" {
            std::future::pending::<()>().await;
        }
        status(200)
    })
    .await;
    for n in 0..BACKLOG {
        bench.append(&n.to_string()).await;
    }
    let is_delivered = |row: &EventRow| row.deliveries[0].state == DeliveryState::Delivered;
    bench
        .until(|rows| rows.first().is_some_and(|row| row.id.0 == BACKLOG as u64) && rows.iter().all(is_delivered))
        .await;
    bench.replay(Scope::Had { destination: None }).await;
    // As much of it as the lane takes is in memory then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(bench.seen().len() > BACKLOG);
    bench.append("new").await;
    bench.until(|rows| is_delivered(&rows[0])).await;
    bench.cut().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_attempts_in_flight_end_and_starts_no_more() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let bench = Bench::start(Retry::Steady, 1, move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            status(200)
        }
    })
    .await;
    bench.append("in flight").await;
    bench.append("waits").await;
    while bench.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.stop.cancel();
    opened.notify_one();
    let states = bench.stop().await;
    assert_eq!(states, [DeliveryState::Fresh, DeliveryState::Delivered]);
}

#[tokio::test(start_paused = true)]
async fn new_settings_hold_for_the_next_attempt() {
    let bench = Bench::start(Retry::List(vec![]), 1, |_| async { status(503) }).await;
    bench.append("1").await;
    bench.all_settled(1).await;
    bench.set(|destination| destination.retry = Retry::List(vec![]), |_| async { status(200) });
    bench.append("2").await;
    bench.all_settled(2).await;
    assert_eq!(bench.states().await, [DeliveryState::Delivered, DeliveryState::Dead]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn status_tells_of_a_run_of_failures_and_of_its_end() {
    let answers = Arc::new(AtomicUsize::new(0));
    let mut bench = Bench::start(Retry::Steady, 1, move |_| {
        let nth = answers.fetch_add(1, Relaxed);
        async move { if nth < 2 { Err(SendError::Refused) } else { status(200) } }
    })
    .await;
    bench.append("1").await;
    let failing = bench.status.wait_for(|status| status.failures_in_a_row == 2).await.expect("running").clone();
    assert_eq!(failing.last_failure.expect("failed").cause, "connection refused".into());
    assert!(failing.failing_since.is_some() && failing.last_success_at.is_none());
    let well = bench.status.wait_for(|status| status.last_success_at.is_some()).await.expect("running").clone();
    assert_eq!((well.failing_since, well.failures_in_a_row), (None, 0));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn paused_destination_keeps_its_events_until_it_is_resumed() {
    let bench = Bench::start(Retry::Steady, 4, |_| async { status(200) }).await;
    let mut watched = bench.status.clone();
    assert!(bench.spool.pause("crm", Pause::On, "test").await.expect("open"));
    watched.wait_for(|status| status.paused).await.expect("running");
    bench.append("1").await;
    bench.spool.flush().await.expect("open");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((bench.seen().len(), bench.states().await), (0, vec![DeliveryState::Fresh]));
    assert!(bench.spool.pause("crm", Pause::Off, "test").await.expect("open"));
    bench.all_settled(1).await;
    assert!(!bench.spool.pause("nobody", Pause::On, "test").await.expect("open"));
    bench.stop().await;
}

fn prefix(thing: usize) -> String {
    format!(r#"{{"payload":{{"object":{{"uuid":"thing {thing}"}}}}"#)
}

/// Makes the body of an event about a thing; later ones sort after earlier ones.
fn about(thing: usize, n: usize) -> String {
    format!(r#"{},"n":{n:04}}}"#, prefix(thing)).replace(r#""n":0"#, r#""n":1"#)
}

use crate::config::Retry;

/// Is one request as the scripted handler saw it.
#[derive(Clone)]
struct Post {
    body: Bytes,
    request_id: String,
    signature: String,
    replay: Option<String>,
    timestamp: String,
    at: Instant,
    nth: usize,
}

struct Bench {
    _directory: TempDir,
    spool: Spool,
    writer: std::thread::JoinHandle<()>,
    lane: tokio::task::JoinHandle<()>,
    settings: watch::Sender<Arc<Settings<Client>>>,
    status: watch::Receiver<Status>,
    posts: Arc<Mutex<Vec<Post>>>,
    clock: Clock,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl Bench {
    async fn start<F, R>(retry: Retry, concurrency: usize, script: F) -> Self
    where
        F: Fn(Post) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Answer, SendError>> + Send + 'static,
    {
        Self::with(|destination| (destination.retry, destination.concurrency) = (retry, concurrency), script).await
    }

    /// Starts with a destination that is changed in this way.
    async fn with<F, R>(change: impl FnOnce(&mut config::Destination), script: F) -> Self
    where
        F: Fn(Post) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Answer, SendError>> + Send + 'static,
    {
        Self::after(|_| {}, change, script).await
    }

    /// Does something to the file of the open spool before the lane starts.
    async fn after<F, R>(before: impl FnOnce(&Path), change: impl FnOnce(&mut config::Destination), script: F) -> Self
    where
        F: Fn(Post) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Answer, SendError>> + Send + 'static,
    {
        // A paused clock runs on while the writer waits for a disk.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.expect("a directory");
        let stored = config::Spool::new(directory.path().join("spool.db"));
        let clock = Clock::anchored(Timestamp::from_second(1_800_000_000).expect("within range"));
        let metrics = Arc::new(Metrics::new());
        let (spool, writer) = Spool::open(&stored, clock.clone(), Arc::clone(&metrics)).expect("opens");
        let runtime = Handle::current();
        let writer = std::thread::spawn(move || writer.run(&runtime));
        let routes = Routes {
            subscriptions: vec![("main".into(), "main".into())],
            destinations: vec![Destined { name: "crm".into(), filter: EventFilter::all(), start: config::Start::Now }],
        };
        let (name, feed) = spool.route(routes).await.expect("open").remove(0);
        before(&stored.path);
        let posts = Arc::default();
        let settings = watch::Sender::new(Arc::new(settings(change, script, Arc::clone(&posts))));
        let (lane, status) = Lane::new(name, feed, spool.clone(), clock.clone(), settings.subscribe(), &metrics);
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let lane = tokio::spawn(lane.run(stop.clone(), cut.clone()));
        Self { _directory: directory, spool, writer, lane, settings, status, posts, clock, metrics, stop, cut }
    }

    /// Goes over to a destination that is changed in this way from the default.
    fn set<F, R>(&self, change: impl FnOnce(&mut config::Destination), script: F)
    where
        F: Fn(Post) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Answer, SendError>> + Send + 'static,
    {
        self.settings.send_replace(Arc::new(settings(change, script, Arc::clone(&self.posts))));
    }

    async fn append(&self, body: &str) {
        self.append_kind("meeting.started", body).await;
    }

    async fn append_kind(&self, kind: &str, body: &str) {
        let received = Received {
            subscription: "main".into(),
            kind: kind.into(),
            event_ts: None,
            received_at: Timestamp::from_second(1_800_000_000).expect("within range"),
            body: Bytes::from(body.to_owned()),
            parked: None,
        };
        self.spool.appender().append(received).await.expect("open");
    }

    /// Replays, and waits until all of it is due.
    async fn replay(&self, scope: Scope) {
        let request = Request { selection: Selection::all(scope), rate: None, who: "test".into() };
        let mut watched = self.spool.replay(request).await.expect("open");
        watched.wait_for(|progress| progress.stage == Stage::Done).await.expect("open");
    }

    fn seen(&self) -> Vec<Post> {
        self.posts.lock().expect("no panic").clone()
    }

    async fn rows(&self) -> Vec<EventRow> {
        let query = EventQuery { limit: 100, ..EventQuery::default() };
        self.spool.read(move |view| view.events(&query)).await.expect("readable")
    }

    async fn states(&self) -> Vec<DeliveryState> {
        self.rows().await.iter().map(|row| row.deliveries[0].state).collect()
    }

    async fn attempts(&self, id: u64) -> Vec<String> {
        let detail = self.spool.read(move |view| view.event(EventId(id))).await.expect("readable").expect("stored");
        detail.attempts.iter().map(|attempt| attempt.cause.to_string()).collect()
    }

    /// Looks again and again until it is so, ever more seldom; the clock runs on meanwhile by itself.
    async fn until(&self, condition: impl Fn(&[EventRow]) -> bool) {
        let mut pause = Duration::from_millis(100);
        loop {
            let rows = self.rows().await;
            if condition(&rows) {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 5 / 4).min(Duration::from_secs(5));
        }
    }

    async fn all_settled(&self, count: usize) {
        let settled =
            |row: &EventRow| matches!(row.deliveries[0].state, DeliveryState::Delivered | DeliveryState::Dead);
        self.until(|rows| rows.len() == count && rows.iter().all(settled)).await;
    }

    /// Stops in order, and returns how the deliveries stand then, newest first.
    async fn stop(self) -> Vec<DeliveryState> {
        self.stop.cancel();
        self.lane.await.expect("no panic");
        self.spool.flush().await.expect("open");
        let query = EventQuery { limit: 100, ..EventQuery::default() };
        let rows = self.spool.read(move |view| view.events(&query)).await.expect("readable");
        self.spool.close().await.expect("open");
        tokio::task::spawn_blocking(|| self.writer.join()).await.expect("joined").expect("no panic");
        rows.iter().map(|row| row.deliveries[0].state).collect()
    }

    async fn cut(self) {
        self.stop.cancel();
        self.cut.cancel();
        self.stop().await;
    }
}

fn settings<F, R>(
    change: impl FnOnce(&mut config::Destination),
    script: F,
    posts: Arc<Mutex<Vec<Post>>>,
) -> Settings<Client>
where
    F: Fn(Post) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Answer, SendError>> + Send + 'static,
{
    let handler = tower::service_fn(move |outgoing: Outgoing| {
        let header = |name| outgoing.headers[name].to_str().expect("text").to_owned();
        let mut seen = posts.lock().expect("no panic");
        let post = Post {
            body: outgoing.body.clone(),
            request_id: header("x-zm-request-id"),
            signature: header("x-zm-signature"),
            replay: outgoing.headers.get("x-zoomhook-replay").map(|n| n.to_str().expect("digits").to_owned()),
            timestamp: header("x-zm-request-timestamp"),
            at: Instant::now(),
            nth: seen.len() + 1,
        };
        seen.push(post.clone());
        script(post)
    });
    let url = "http://127.0.0.1:1/".parse().expect("a url");
    let mut destination = config::Destination::new("crm", url, Secret::new("bridge-test-secret"));
    destination.concurrency = 4;
    change(&mut destination);
    Settings::new(&destination, BoxCloneSyncService::new(handler))
}

fn status(status: u16) -> Result<Answer, SendError> {
    Ok(Answer { status, retry_after: None, excerpt: String::new() })
}
