//! Plays the handlers with as little work for each request as can be: finds its end, notes the time, answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::zoom::nanos;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const LATER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// Is printed, with the time, when every event before those that are counted has come.
pub(crate) const ALL_CAME: &str = "all came";
/// One of so many stored events is refused by the handler that refuses, so that it does not count as down.
const REFUSED: u64 = 2;
/// How long it takes for a request.
const TURN: Duration = Duration::from_millis(5);
/// How long the slow handler takes: twice the time that a request is given.
const SLOW: Duration = Duration::from_secs(20);

/// Is what a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Handler {
    /// Answers 200 at once.
    Well,
    /// Answers 200 at once, and has a backlog: what is counted waits behind it, so that its age says nothing.
    Behind,
    /// Takes 5 ms, and refuses half of the stored events.
    Refusing,
    /// Reads, and never answers.
    Hangs,
    /// Answers 200 after 20 s.
    Slow,
    /// Reads a request, and closes.
    Closes,
    /// Its name resolves to nothing.
    Nowhere,
}

impl Handler {
    /// Tells whether it takes the events that are counted.
    pub(crate) fn takes(self) -> bool {
        matches!(self, Self::Well | Self::Behind | Self::Refusing)
    }
}

struct Tally {
    /// Events before those that are counted.
    before: u64,
    /// Which events have come, by handler.
    seen: Vec<Mutex<Vec<bool>>>,
    /// Arrivals that are still awaited: of what comes before, and of what is counted.
    left_before: AtomicU64,
    left: AtomicU64,
    /// Arrivals of what had come before.
    repeats: AtomicU64,
    latencies: Mutex<Vec<u64>>,
    done: Notify,
}

/// Prints the URLs, answers, and when all has come prints the last arrival, two percentiles in nanoseconds, how many
/// came again, and how many were counted.
pub(crate) fn play(handlers: &[Handler], count: u64, before: u64, kinds: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let takers = handlers.iter().filter(|handler| handler.takes()).count() as u64 / kinds;
        let left_before = if handlers.contains(&Handler::Behind) { before } else { before * takers };
        let counted = count * takers;
        let tally = Arc::new(Tally {
            before,
            seen: handlers.iter().map(|_| Mutex::new(vec![false; (before + count) as usize])).collect(),
            left_before: AtomicU64::new(left_before),
            left: AtomicU64::new(counted),
            repeats: AtomicU64::new(0),
            latencies: Mutex::new(Vec::with_capacity(counted as usize)),
            done: Notify::new(),
        });
        let mut urls = Vec::new();
        for (number, handler) in handlers.iter().enumerate() {
            if *handler == Handler::Nowhere {
                urls.push("https://nowhere.invalid/".to_owned());
                continue;
            }
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            urls.push(format!("http://127.0.0.1:{}/", listener.local_addr().expect("bound").port()));
            tokio::spawn(listen(listener, number, *handler, Arc::clone(&tally)));
        }
        println!("{}", urls.join(" "));
        tally.done.notified().await;
        let last = nanos();
        let mut latencies = tally.latencies.lock().expect("no panic").clone();
        latencies.sort_unstable();
        let percentile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        let repeats = tally.repeats.load(Ordering::Relaxed);
        println!("{last} {} {} {repeats} {counted}", percentile(0.5), percentile(0.99));
    });
}

async fn listen(listener: TcpListener, number: usize, handler: Handler, tally: Arc<Tally>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a client");
        tokio::spawn(answer(stream, number, handler, Arc::clone(&tally)));
    }
}

async fn answer(mut stream: TcpStream, number: usize, handler: Handler, tally: Arc<Tally>) {
    stream.set_nodelay(true).expect("tcp");
    let mut buffer = Vec::with_capacity(16 << 10);
    while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        while let Some(request) = Request::complete(&buffer) {
            buffer.drain(..request.length);
            let answer = match handler {
                Handler::Well | Handler::Behind => OK,
                Handler::Closes => return,
                Handler::Hangs | Handler::Nowhere => return std::future::pending().await,
                Handler::Slow => {
                    tokio::time::sleep(SLOW).await;
                    OK
                }
                Handler::Refusing => {
                    tokio::time::sleep(TURN).await;
                    let is_refused = request.number < tally.before && request.number.is_multiple_of(REFUSED);
                    if is_refused { LATER } else { OK }
                }
            };
            if stream.write_all(answer).await.is_err() {
                return;
            }
            if handler.takes() {
                tally.count(number, handler, &request);
            }
        }
    }
}

impl Tally {
    fn count(&self, number: usize, handler: Handler, request: &Request) {
        let known = std::mem::replace(&mut self.seen[number].lock().expect("no panic")[request.number as usize], true);
        let stored = request.number < self.before;
        if known {
            self.repeats.fetch_add(u64::from(handler != Handler::Refusing || !stored), Ordering::Relaxed);
        } else if stored {
            if self.left_before.fetch_sub(1, Ordering::Relaxed) == 1 {
                println!("{ALL_CAME} {}", nanos());
            }
        } else {
            if handler != Handler::Behind {
                self.latencies.lock().expect("no panic").push(request.latency);
            }
            if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.done.notify_one();
            }
        }
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
        Some(Self { length, number, latency: nanos().saturating_sub(sent) as u64 })
    }
}

fn number(text: &[u8]) -> u128 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'))
}
