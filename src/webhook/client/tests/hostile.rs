//! Handlers that mean harm: an attempt ends in time, and reads and keeps no more than it may.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;

/// What the system may hold of an answer between a handler that writes and a client that reads no more.
const BUFFERS: u64 = 16 << 20;

#[tokio::test]
async fn answer_without_end_is_read_no_further_than_is_kept_of_it() {
    let heads = ["transfer-encoding: chunked\r\n\r\n", "content-length: 9223372036854775807\r\n\r\n", "\r\n"];
    for head in heads {
        let piece = if head.contains("chunked") { b"1000\r\n".to_vec() } else { Vec::new() };
        let end: &[u8] = if head.contains("chunked") { b"\r\n" } else { b"" };
        let piece = [&piece[..], &[b'x'; 0x1000], end].concat();
        let flood = Flood::start(format!("HTTP/1.1 200 OK\r\n{head}"), piece).await;
        let answer = flood.attempt(Destination::STEADY_TIMEOUT).await.expect("an answer");
        assert_eq!((answer.status, answer.excerpt.len()), (200, EXCERPT_MAX), "{head:?}");
        flood.ends_within_the_buffers().await;
    }
}

#[tokio::test]
async fn head_without_end_is_given_up_long_before_its_time() {
    for piece in [&b"x-more: and more of it\r\n"[..], b"x"] {
        let flood = Flood::start("HTTP/1.1 200 OK\r\nx-first: ".to_owned(), piece.repeat(256)).await;
        // In ten minutes it could write more than any memory holds.
        let error = flood.attempt(Duration::from_secs(600)).await.expect_err("no answer");
        assert_eq!(error.cause(), Cause::Cut, "{error}");
        flood.ends_within_the_buffers().await;
    }
}

#[tokio::test]
async fn interim_answers_without_end_are_given_up_long_before_their_time() {
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"] {
        let flood = Flood::start(String::new(), interim.repeat(64).into_bytes()).await;
        let error = flood.attempt(Duration::from_secs(600)).await.expect_err("no answer");
        assert!(matches!(&error, SendError::Cut(reason) if reason.contains("more than 64 kB")), "{error}");
        flood.ends_within_the_buffers().await;
    }
}

#[tokio::test]
async fn interim_answers_before_an_answer_are_passed_over_and_each_request_may_have_its_own() {
    // Together they are more than may come before one head.
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1500);
    let acts = || Act::Answer([interim.as_bytes(), OK].concat());
    let mut handler = Handler::start([acts(), acts()]).await;
    let client = connected(&handler.destination()).expect("a client");
    for _ in 0..2 {
        assert_eq!(client.clone().oneshot(outgoing()).await.expect("an answer").status, 200);
        assert_eq!(handler.requests.recv().await.expect("a request").connection, 1);
    }
}

#[tokio::test]
async fn head_that_comes_byte_by_byte_is_a_timeout_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let destination = destination(&format!("http://{}/", listener.local_addr().expect("an address")));
    let (begun, mut ready) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        read_request(&mut socket).await.expect("a request");
        begun.send(()).expect("somebody waits");
        for byte in b"HTTP/1.1 200 OK\r\nx-slow: ".iter().chain(std::iter::repeat(&b'.')) {
            if socket.write_all(&[*byte]).await.is_err() || begun.send(()).is_err() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    let attempt = tokio::spawn(async move { send(&destination).await });
    ready.recv().await.expect("a request");
    tokio::time::pause();
    let begun = Instant::now();
    assert_eq!(attempt.await.expect("no panic"), Err(SendError::Timeout));
    let taken = begun.elapsed();
    assert!(taken < Destination::STEADY_TIMEOUT + Duration::from_secs(1), "no byte gives it more time: {taken:?}");
    assert!(ready.len() > 5, "{} bytes came meanwhile", ready.len());
}

#[tokio::test]
async fn compressed_answer_stays_as_it_is() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; 8 << 20]).expect("memory");
    let bomb = encoder.finish().expect("memory");
    let head = format!("HTTP/1.1 500 Bomb\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
    assert!(bomb.len() < (16 << 10), "{} bytes", bomb.len());
    let kept = String::from_utf8_lossy(&bomb[..EXCERPT_MAX]).into_owned();
    let handler = Handler::start([Act::Answer([head.as_bytes(), &bomb].concat())]).await;
    let answer = send(&handler.destination()).await.expect("an answer");
    assert!((answer.status, &answer.excerpt) == (500, &kept), "{:?}", answer.excerpt);
}

#[tokio::test]
async fn redirect_elsewhere_contacts_nobody() {
    // Stands for a metadata service, or whatever else only this machine can reach.
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = elsewhere.local_addr().expect("an address");
    let redirect = format!(
        "HTTP/1.1 307 Moved\r\nlocation: http://{address}/latest/meta-data/\r\nrefresh: 0; url=http://{address}/\r\n\
         alt-svc: http/1.1=\"{address}\"\r\ncontent-length: 0\r\n\r\n"
    );
    let handler = Handler::start([Act::Answer(redirect.into()), Act::Answer(OK.into())]).await;
    let client = connected(&handler.destination()).expect("a client");
    for status in [307, 200] {
        assert_eq!(client.clone().oneshot(outgoing()).await.expect("an answer").status, status);
    }
    assert!(elsewhere.accept().now_or_never().is_none(), "somebody came");
}

/// Answers the first request with a head, and then one piece after the other until the connection is gone.
struct Flood {
    destination: Destination,
    written: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Flood {
    async fn start(head: String, piece: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let destination = destination(&format!("http://{}/", listener.local_addr().expect("an address")));
        let written = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&written);
        let task = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            read_request(&mut socket).await.expect("a request");
            let mut next = head.as_bytes();
            while socket.write_all(next).await.is_ok() {
                counted.fetch_add(next.len() as u64, Ordering::Relaxed);
                next = &piece;
            }
        });
        Self { destination, written, task }
    }

    async fn attempt(&self, timeout: Duration) -> Result<Answer, SendError> {
        send(&Destination { timeout, ..self.destination.clone() }).await
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Waits until the connection is gone: a client that kept it would keep on reading.
    async fn ends(&self) {
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the connection is gone, which must be soon.
    async fn ends_within_the_buffers(&self) {
        self.ends().await;
        assert!(self.written() < BUFFERS, "{} bytes were taken", self.written());
    }
}
