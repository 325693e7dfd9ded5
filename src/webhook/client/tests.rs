//! The client against handlers that follow a script, byte by byte.

mod answer;
mod corpus;
mod hostile;
mod kept;
mod oauth;
mod proxied;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::*;
use crate::config::secret::Secret;
use crate::event::RequestId;
use crate::webhook::signature::Signer;
use crate::webhook::verdict::Cause;

const BODY: &[u8] =
    r#"{"event":"meeting.started","payload":{"object":{"topic":"Überblick — 週次 🚀 <br>"}}}"#.as_bytes();
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn request_on_the_wire_is_the_captured_one() {
    let mut handler = Handler::start([Act::Answer(OK.into())]).await;
    send(&handler.destination()).await.expect("an answer");

    let request = handler.requests.recv().await.expect("a request").bytes;
    let (head, body) = split(&request);
    let expected = [
        "POST /hook?key=canary HTTP/1.1",
        "content-type: application/json; charset=utf-8",
        "user-agent: Zoom Marketplace/1.0a",
        "x-zm-request-timestamp: 1785368934",
        "x-zm-signature: v0=07fccbf59a48a5e9a3a32d66b455358f528f5ce02253a0e7703a2f8aa2ca8dd7",
        "x-zm-request-id: 12345678_9abc_4def_8123_456789abcdef",
        "x-zm-trackingid: v=2.0;clid=us02;rid=WEB_123456789abc4def8123456789abcdef",
        &format!("host: {}", handler.addr),
        &format!("content-length: {}", BODY.len()),
    ];
    assert_eq!(head.split("\r\n").collect::<Vec<_>>(), expected);
    assert_eq!(body, BODY);
}

#[tokio::test]
async fn closed_port_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    drop(listener);
    assert_eq!(failure(&destination(&format!("http://{addr}/"))).await, SendError::Refused);
}

#[tokio::test]
async fn name_that_does_not_resolve_is_dns() {
    for scheme in ["http", "https"] {
        let error = failure(&destination(&format!("{scheme}://nothing.invalid/"))).await;
        assert_eq!(error.cause(), Cause::Dns, "{error}");
    }
}

#[tokio::test]
async fn address_without_a_way_to_it_is_connect() {
    // TCP has no broadcast: the system refuses before anything is sent.
    let error = failure(&destination("http://255.255.255.255:9/")).await;
    assert_eq!(error.cause(), Cause::Connect, "{error}");
}

#[test]
fn url_that_no_request_can_carry_is_an_error_of_the_client() {
    let endless = format!("https://localhost/?a={}", "b".repeat(1 << 16));
    let Err(error) = connected(&destination(&endless)) else { panic!("a client") };
    assert!(matches!(error, ClientError::Url), "{error}");
}

#[tokio::test]
async fn requests_beyond_the_concurrency_wait() {
    let handler = Handler::start([Act::Answer(OK.into()), Act::Answer(OK.into())]).await;
    let destination = Destination { concurrency: 1, ..handler.destination() };
    let mut first = connected(&destination).expect("a client");
    let mut second = first.clone();

    let in_flight = first.ready().await.expect("a free slot").call(outgoing());
    assert!(second.ready().now_or_never().is_none(), "a second request beside the first");
    in_flight.await.expect("an answer");
    second
        .ready()
        .now_or_never()
        .expect("a free slot")
        .expect("a free slot")
        .call(outgoing())
        .await
        .expect("an answer");
}

/// What a [`Handler`] does with a request once it has read it.
enum Act {
    Answer(Vec<u8>),
    AnswerAndClose(Vec<u8>),
    AnswerAndHang(Vec<u8>),
}

struct Received {
    /// On which connection, from 1.
    connection: usize,
    bytes: Vec<u8>,
}

/// Takes one connection after the other and does one act per request.
struct Handler {
    addr: SocketAddr,
    requests: mpsc::UnboundedReceiver<Received>,
}

impl Handler {
    async fn start(acts: impl Into<Vec<Act>>) -> Self {
        Self::spawn(acts.into(), None).await
    }

    async fn start_tls(acts: impl Into<Vec<Act>>, acceptor: TlsAcceptor) -> Self {
        Self::spawn(acts.into(), Some(acceptor)).await
    }

    async fn spawn(acts: Vec<Act>, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut acts = acts.into_iter();
            for connection in 1.. {
                let (socket, _) = listener.accept().await.expect("a connection");
                match &acceptor {
                    None => converse(socket, connection, &mut acts, &sender).await,
                    // A client that does not trust the certificate is the client's affair.
                    Some(acceptor) => match acceptor.accept(socket).await {
                        Ok(socket) => converse(socket, connection, &mut acts, &sender).await,
                        Err(_) => continue,
                    },
                }
            }
        });
        Self { addr, requests }
    }

    fn destination(&self) -> Destination {
        destination(&format!("http://{}/hook?key=canary", self.addr))
    }
}

async fn converse(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    acts: &mut impl Iterator<Item = Act>,
    sender: &mpsc::UnboundedSender<Received>,
) {
    while let Some(bytes) = read_request(&mut socket).await {
        let _ = sender.send(Received { connection, bytes });
        // Writing fails when the client has gone, which is what some tests are about.
        match acts.next().expect("an act for every request") {
            Act::Answer(answer) => {
                if socket.write_all(&answer).await.is_err() {
                    return;
                }
            }
            Act::AnswerAndClose(answer) => {
                let _ = socket.write_all(&answer).await;
                return;
            }
            Act::AnswerAndHang(answer) => {
                let _ = socket.write_all(&answer).await;
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Reads one request, or `None` at the end of the connection.
async fn read_request(socket: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
            && bytes.len() >= head + 4 + header(&bytes, "content-length").parse::<usize>().expect("a length")
        {
            return Some(bytes);
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn header<'a>(request: &'a [u8], name: &str) -> &'a str {
    let values = split(request).0.split("\r\n").filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let [value] = values.collect::<Vec<_>>()[..] else { panic!("not exactly one {name}") };
    value
}

fn split(request: &[u8]) -> (&str, &[u8]) {
    let head = request.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    (std::str::from_utf8(&request[..head]).expect("text"), &request[head + 4..])
}

fn connected(destination: &Destination) -> Result<Client, ClientError> {
    client(destination, &Roots::load(), &Clock::system())
}

async fn send(destination: &Destination) -> Result<Answer, SendError> {
    connected(destination).expect("a client").oneshot(outgoing()).await
}

/// Makes an attempt that must fail, and sees to it that the failure does not tell the URL.
async fn failure(destination: &Destination) -> SendError {
    let mut destination = destination.clone();
    destination.url.set_query(Some("key=canary"));
    let error = send(&destination).await.expect_err("a failure");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    error
}

fn outgoing() -> Outgoing {
    let id = RequestId::new(Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef));
    Outgoing::signed(Bytes::from_static(BODY), id, &signer(), now())
}

fn now() -> Timestamp {
    Timestamp::from_second(1_785_368_934).expect("a time")
}

fn signer() -> Signer {
    Signer::new(&Secret::new("bridge-test-secret"))
}

fn destination(url: &str) -> Destination {
    Destination::new("test", url.parse().expect("a URL"), Secret::new("bridge-test-secret"))
}
