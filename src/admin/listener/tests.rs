//! Whoever comes, and however many: what they can cost is bounded, and health is told meanwhile.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::advance;

use super::*;
use crate::admin::auth::{Gate, Guard};
use crate::admin::layered;
use crate::admin::limits::{BODY_BYTES, Limits};
use crate::admin::seats::PATIENCE;
use crate::config::Listen;

/// Several times as many as there are seats.
const FLOOD: usize = 100;

#[tokio::test(start_paused = true)]
async fn half_open_flood_takes_no_more_than_the_seats_and_health_is_told() {
    let port = Port::open().await;
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(port.say("GET /livez HTTP/1.1\r\nhost: localh").await);
    }
    let answer = port.ask("GET /livez HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(port.metrics.admin_connections.get() <= SEATS as i64);
    let displaced = port.refused("displaced");
    assert!(displaced >= (FLOOD + 1 - SEATS) as u64, "{displaced}");
    for mut half_open in flood {
        assert_eq!(rest(&mut half_open).await, "", "it is closed without a word");
    }
    assert_eq!(port.refused("displaced") + port.refused("slow"), FLOOD as u64);
}

#[tokio::test(start_paused = true)]
async fn head_that_comes_byte_by_byte_is_given_up() {
    let port = Port::open().await;
    let mut drip = port.say("GET /livez HTTP/1.1\r\nx: ").await;
    let began = Instant::now();
    while drip.write_all(b"a").await.is_ok() {
        sleep(Duration::from_secs(1)).await;
        assert!(began.elapsed() < 2 * PATIENCE, "it is never given up");
    }
    assert_eq!(port.refused("slow"), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_kept_for_a_while_and_serves_again() {
    let port = Port::open().await;
    let mut kept = port.say("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(head(&mut kept).await.starts_with("HTTP/1.1 200"));
    sleep(PATIENCE / 2).await;
    kept.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("open");
    assert!(head(&mut kept).await.ends_with("\r\n\r\nalive"), "served again");
    sleep(PATIENCE * 2).await;
    assert_eq!(rest(&mut kept).await, "");
    assert_eq!(port.metrics.admin_connections.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn head_without_end_is_refused_when_it_is_too_large() {
    let port = Port::open().await;
    let long = format!("GET /livez HTTP/1.1\r\nx: {}", "a".repeat(HEAD_BYTES + 1));
    let answer = rest(&mut port.say(&long).await).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = port.ask(&format!("GET /livez?{} HTTP/1.1", "a".repeat(HEAD_BYTES))).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many: String = (0..200).map(|n| format!("\r\nx{n}: a")).collect();
    let answer = port.ask(&format!("GET /livez HTTP/1.1{many}")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

/// Ways to have a request understood differently by two readers, or as one of another host.
const TRICKS: [(&str, &str); 26] = [
    ("400", "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ncontent-length: 30\r\n\r\n"),
    ("400", "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4, 4\r\n\r\n"),
    ("400", "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: +4\r\n\r\n"),
    (
        "400",
        "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "400",
        "POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
    ),
    ("400", "POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("400", "POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("400", "POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("400", "POST /echo HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("400", "GET http://evil.example/livez HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("400", "GET http://localhost/livez HTTP/1.1\r\nhost: evil.example\r\n\r\n"),
    ("400", "CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("400", "GET /echo HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n"),
    ("403", "GET /gate HTTP/1.1\r\nhost: localhost@evil.example\r\n\r\n"),
    ("403", "GET /gate HTTP/1.1\r\nhost: localhost.evil.example:8686\r\n\r\n"),
    ("403", "GET /gate HTTP/1.1\r\n\r\n"),
    ("403", "GET /gate HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: localhost\r\n\r\n"),
    ("400", "GET /livez HTTP/1.1\r\nhost: localhost\r\n folded: 1\r\n\r\n"),
    ("404", "GET //evil.example/livez HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("404", "GET /gate/../livez HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("404", "GET /%2e%2e/livez HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("404", "GET /gate%2f HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("404", "GET /livez/ HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("404", "OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("405", "TRACE /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("415", "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n"),
];

#[tokio::test(start_paused = true)]
async fn tricks_are_refused_and_hide_no_second_request() {
    let port = Port::open().await;
    for (status, trick) in TRICKS {
        let mut stream = port.say(trick).await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{trick}\n{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{trick}\n{answer}");
    }
    assert!(port.entered.try_acquire().is_err(), "no request got through");
}

#[tokio::test(start_paused = true)]
async fn body_is_refused_when_it_is_too_large_or_does_not_come() {
    let port = Port::open().await;
    let post =
        |length: usize| format!("POST /echo HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {length}");
    let answer = port.ask(&post(BODY_BYTES + 1)).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("\"too_large\""), "{answer}");
    let answer = port.ask(&post(5)).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"slow_body\""), "{answer}");
    assert_eq!((port.refused("too_large"), port.refused("slow_body")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_those_that_may_be_under_way_are_told_to_come_again() {
    let port = Port::open().await;
    let mut hung = Vec::new();
    for _ in 0..12 {
        hung.push(port.say("GET /gate HTTP/1.1\r\nhost: localhost\r\n\r\n").await);
    }
    port.entered.acquire_many(12).await.expect("open").forget();
    let answer = port.ask("GET /gate HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"busy\""), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(port.ask("GET /livez HTTP/1.1").await.starts_with("HTTP/1.1 200"), "health is told all the same");
    port.gate.add_permits(12);
    for mut connection in hung {
        assert!(head(&mut connection).await.starts_with("HTTP/1.1 200"));
    }
    assert!(port.ask_open("GET /gate HTTP/1.1").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn streams_outlast_the_deadline_and_leave_room_for_others() {
    let port = Port::open().await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = port.say("GET /stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
        streams.push(stream);
    }
    let answer = port.ask("GET /stream HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"too_many_streams\""), "{answer}");
    let began = Instant::now();
    while began.elapsed() < 3 * PATIENCE {
        for stream in &mut streams {
            assert!(stream.read(&mut [0; 64]).await.expect("open") > 0, "it goes on");
        }
    }
    // A flood of newcomers does not displace them.
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(port.say("GET").await);
    }
    assert!(port.ask("GET /livez HTTP/1.1").await.starts_with("HTTP/1.1 200"));
    for stream in &mut streams {
        assert!(stream.read(&mut [0; 64]).await.expect("open") > 0, "it goes on");
    }
    drop(streams.pop());
    loop {
        let mut stream = port.say("GET /stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        if head(&mut stream).await.starts_with("HTTP/1.1 200") {
            break;
        }
    }
    port.stop.cancel();
    for stream in &mut streams {
        assert!(rest(stream).await.ends_with("0\r\n\r\n"), "it is ended in order");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_takes_are_given_up() {
    let port = Port::open().await;
    let _large = port.say("GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let _stream = port.say("GET /firehose HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    while port.refused("slow") < 2 {
        advance(CHECK).await;
    }
}

#[tokio::test(start_paused = true)]
async fn peer_is_on_turn_again_however_its_answer_ended() {
    let port = Port::open().await;
    // The last one waits until its time is up.
    for (path, status) in [("/panic", "500"), ("/gate", "503")] {
        // Read to the end: the connection is given up like any other that says nothing more.
        let answer = rest(&mut port.say(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert_eq!((port.refused("slow"), port.refused("timeout")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn stop_lets_the_request_under_way_end() {
    let mut port = Port::open().await;
    let mut under_way = port.say("GET /gate HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut idle = port.say("").await;
    port.entered.acquire().await.expect("open").forget();
    port.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    port.gate.add_permits(1);
    assert!(rest(&mut under_way).await.starts_with("HTTP/1.1 200"));
    (&mut port.serving).await.expect("no panic");
    assert!(TcpStream::connect(port.address).await.is_err(), "nobody listens any more");
}

/// Is the accept loop with the real layers, and routes that misbehave.
struct Port {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    /// Gets a permit for each request that has reached `/gate`.
    entered: Arc<Semaphore>,
    /// Lets a request through `/gate` for each permit.
    gate: Arc<Semaphore>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Port {
    async fn open() -> Self {
        let door = Door::bind(&Listen::Tcp(([127, 0, 0, 1], 0).into())).await.expect("a port");
        let Ok(Listen::Tcp(address)) = door.address() else { panic!("an address") };
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        let (entered, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let routes = routes(Arc::clone(&entered), Arc::clone(&gate));
        let guard = Gate::new(Guard::LoopbackHost, Arc::clone(&metrics));
        let router = layered(routes, guard, Limits::new(Arc::clone(&metrics), stop.clone()));
        let serving = tokio::spawn(serve(door, None, router, Arc::clone(&metrics), stop.clone()));
        Self { address, metrics, entered, gate, stop, serving }
    }

    /// Opens a connection and says this.
    async fn say(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(text.as_bytes()).await.expect("it reads");
        stream
    }

    /// Asks once, and returns the whole answer.
    async fn ask(&self, head: &str) -> String {
        rest(&mut self.say(&format!("{head}\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await).await
    }

    async fn ask_open(&self, head: &str) -> String {
        self.gate.add_permits(1);
        self.ask(head).await
    }

    fn refused(&self, reason: &'static str) -> u64 {
        self.metrics.admin_refusals.get_or_create(&ByReason { reason }).get()
    }
}

fn routes(entered: Arc<Semaphore>, gate: Arc<Semaphore>) -> Router {
    let gated = async move || {
        entered.add_permits(1);
        gate.acquire().await.expect("open").forget();
        "passed"
    };
    let events = |every: Duration| {
        let ticks = stream::unfold((), move |()| async move {
            sleep(every).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(&[b'a'; 1024])), ()))
        });
        ([("content-type", "text/event-stream")], Body::from_stream(ticks))
    };
    Router::new()
        .route("/livez", get(async || "alive"))
        .route("/echo", post(async |body: Bytes| body))
        .route("/gate", get(gated))
        .route("/panic", get(async || if true { panic!("on purpose") } else { "" }))
        .route("/large", get(async || vec![b'a'; 64 << 20]))
        .route("/stream", get(async move || events(PATIENCE / 2)))
        .route("/firehose", get(async move || events(Duration::ZERO)))
}

/// Reads until the connection is closed or reset.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends it as well as a close; what came before it counts.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads what has come of an answer: its head at least.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") && stream.read_buf(&mut bytes).await.is_ok_and(|n| n > 0) {}
    String::from_utf8_lossy(&bytes).into_owned()
}
