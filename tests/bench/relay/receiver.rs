//! Plays the handlers with as little work for each request as can be: finds its end, notes the time, answers 200.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::zoom::nanos;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

struct Tally {
    expected: u64,
    came: AtomicU64,
    latencies: Mutex<Vec<u64>>,
    done: Notify,
}

/// Prints the ports, answers, and when all has come prints the last arrival and two percentiles, in nanoseconds.
pub(crate) fn play(handlers: usize, count: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let expected = count * handlers as u64;
        let tally = Arc::new(Tally {
            expected,
            came: AtomicU64::new(0),
            latencies: Mutex::new(Vec::with_capacity(expected as usize)),
            done: Notify::new(),
        });
        let mut ports = Vec::new();
        for _ in 0..handlers {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            ports.push(listener.local_addr().expect("bound").port().to_string());
            tokio::spawn(listen(listener, Arc::clone(&tally)));
        }
        println!("{}", ports.join(" "));
        tally.done.notified().await;
        let last = nanos();
        let mut latencies = tally.latencies.lock().expect("no panic").clone();
        latencies.sort_unstable();
        let percentile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        println!("{last} {} {}", percentile(0.5), percentile(0.99));
    });
}

async fn listen(listener: TcpListener, tally: Arc<Tally>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a client");
        tokio::spawn(answer(stream, Arc::clone(&tally)));
    }
}

async fn answer(mut stream: TcpStream, tally: Arc<Tally>) {
    stream.set_nodelay(true).expect("tcp");
    let mut buffer = Vec::with_capacity(16 << 10);
    while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        while let Some((length, latency)) = complete(&buffer) {
            buffer.drain(..length);
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
            tally.latencies.lock().expect("no panic").push(latency);
            if tally.came.fetch_add(1, Ordering::Relaxed) + 1 == tally.expected {
                tally.done.notify_one();
            }
        }
    }
}

/// Returns the length of the request at the beginning, once it is complete, and the age of its event.
fn complete(buffer: &[u8]) -> Option<(usize, u64)> {
    let find = |needle: &[u8], from: usize| {
        buffer[from..].windows(needle.len()).position(|window| window == needle).map(|at| from + at + needle.len())
    };
    let body = find(b"\r\n\r\n", 0)?;
    let length = number(&buffer[find(b"content-length: ", 0)?..]) as usize;
    if buffer.len() < body + length {
        return None;
    }
    let sent = number(&buffer[find(b"\"sent\":\"", body)?..]);
    Some((body + length, (nanos() - sent) as u64))
}

fn number(text: &[u8]) -> u128 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'))
}
