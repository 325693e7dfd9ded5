//! Plays the handlers with as little work for each request as can be: finds its end, notes the time, answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::zoom::nanos;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const LATER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// Is printed when every event of the backlog has come once.
pub(crate) const ALL_REFUSED: &str = "all refused";
/// One of so many events of the backlog is taken, so that the handler does not count as down.
const TAKEN: u64 = 2;
/// How long the handler with a backlog takes for a request, once it has seen the first event after it.
const TURN: Duration = Duration::from_millis(5);
/// How long the slow handler takes: twice the time that a request is given.
const SLOW: Duration = Duration::from_secs(20);

/// Is what a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Handler {
    /// Answers 200 at once.
    Well,
    /// Reads, and never answers.
    Hangs,
    /// Answers 200 after 20 s.
    Slow,
    /// Reads a request, and closes.
    Closes,
    /// Its name resolves to nothing.
    Nowhere,
    /// Refuses half of the events that come before those that are counted, whenever they come.
    Backlog,
}

impl Handler {
    /// Tells whether it takes the events that are counted.
    pub(crate) fn takes(self) -> bool {
        matches!(self, Self::Well | Self::Backlog)
    }
}

/// Returns how many events leave a backlog of so many that are refused.
pub(crate) fn before(refused: u64) -> u64 {
    refused * TAKEN / (TAKEN - 1)
}

struct Tally {
    /// Events before those that are counted, and which of them have come.
    before: u64,
    seen: Mutex<Vec<bool>>,
    unseen: AtomicU64,
    /// Whether those that are counted have begun to come.
    begun: AtomicBool,
    expected: u64,
    came: AtomicU64,
    latencies: Mutex<Vec<u64>>,
    done: Notify,
}

/// Prints the URLs, answers, and when all has come prints the last arrival and two percentiles, in nanoseconds.
pub(crate) fn play(handlers: &[Handler], count: u64, before: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let expected = count * handlers.iter().filter(|handler| handler.takes()).count() as u64;
        let tally = Arc::new(Tally {
            before,
            seen: Mutex::new(vec![false; before as usize]),
            unseen: AtomicU64::new(before),
            begun: AtomicBool::new(false),
            expected,
            came: AtomicU64::new(0),
            latencies: Mutex::new(Vec::with_capacity(expected as usize)),
            done: Notify::new(),
        });
        let mut urls = Vec::new();
        for handler in handlers {
            if *handler == Handler::Nowhere {
                urls.push("https://nowhere.invalid/".to_owned());
                continue;
            }
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            urls.push(format!("http://127.0.0.1:{}/", listener.local_addr().expect("bound").port()));
            tokio::spawn(listen(listener, *handler, Arc::clone(&tally)));
        }
        println!("{}", urls.join(" "));
        tally.done.notified().await;
        let last = nanos();
        let mut latencies = tally.latencies.lock().expect("no panic").clone();
        latencies.sort_unstable();
        let percentile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        println!("{last} {} {}", percentile(0.5), percentile(0.99));
    });
}

async fn listen(listener: TcpListener, handler: Handler, tally: Arc<Tally>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a client");
        tokio::spawn(answer(stream, handler, Arc::clone(&tally)));
    }
}

async fn answer(mut stream: TcpStream, handler: Handler, tally: Arc<Tally>) {
    stream.set_nodelay(true).expect("tcp");
    let mut buffer = Vec::with_capacity(16 << 10);
    while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        while let Some(request) = Request::complete(&buffer) {
            buffer.drain(..request.length);
            let answer = match handler {
                Handler::Well => OK,
                Handler::Closes => return,
                Handler::Hangs | Handler::Nowhere => return std::future::pending().await,
                Handler::Slow => {
                    tokio::time::sleep(SLOW).await;
                    OK
                }
                Handler::Backlog => tally.backlog(&request).await,
            };
            if stream.write_all(answer).await.is_err() {
                return;
            }
            if handler.takes() && request.number >= tally.before {
                tally.count(request.latency);
            }
        }
    }
}

impl Tally {
    fn count(&self, latency: u64) {
        self.latencies.lock().expect("no panic").push(latency);
        if self.came.fetch_add(1, Ordering::Relaxed) + 1 == self.expected {
            self.done.notify_one();
        }
    }

    /// Answers as a handler does that has something against half of the earlier events.
    async fn backlog(&self, request: &Request) -> &'static [u8] {
        if request.number >= self.before {
            self.begun.store(true, Ordering::Relaxed);
        } else if !std::mem::replace(&mut self.seen.lock().expect("no panic")[request.number as usize], true)
            && self.unseen.fetch_sub(1, Ordering::Relaxed) == 1
        {
            println!("{ALL_REFUSED}");
        }
        if self.begun.load(Ordering::Relaxed) {
            tokio::time::sleep(TURN).await;
        }
        if request.number >= self.before || request.number.is_multiple_of(TAKEN) { OK } else { LATER }
    }
}

/// Is a request at the beginning of a buffer.
struct Request {
    length: usize,
    /// The number of its event.
    number: u64,
    /// The age of its event when it came, in nanoseconds.
    latency: u64,
}

impl Request {
    /// Returns the request at the beginning, once it is complete.
    fn complete(buffer: &[u8]) -> Option<Self> {
        let find = |needle: &[u8], from: usize| {
            buffer[from..].windows(needle.len()).position(|window| window == needle).map(|at| from + at + needle.len())
        };
        let body = find(b"\r\n\r\n", 0)?;
        let length = body + number(&buffer[find(b"content-length: ", 0)?..]) as usize;
        if buffer.len() < length {
            return None;
        }
        let sent = number(&buffer[find(b"\"sent\":\"", body)?..]);
        let number = number(&buffer[find(b"\"id\":\"", body)?..]) as u64;
        Some(Self { length, number, latency: (nanos() - sent) as u64 })
    }
}

fn number(text: &[u8]) -> u128 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'))
}
