//! The client against handlers that follow a script, byte by byte.

mod hostile;
mod oauth;
mod proxied;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::HeaderName;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::*;
use crate::config::secret::Secret;
use crate::event::{Event, EventId, RequestId};
use crate::webhook::request::{SIGNATURE, TIMESTAMP};
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
async fn every_event_body_arrives_byte_for_byte_and_signed() {
    let corpus = corpus();
    let acts: Vec<_> = corpus.iter().map(|_| Act::Answer(OK.into())).collect();
    let mut handler = Handler::start(acts).await;
    let client = connected(&handler.destination()).expect("a client");

    for (path, body) in corpus {
        let event = Event {
            id: EventId(1),
            request_id: RequestId::new(Uuid::nil()),
            subscription: "main".into(),
            kind: "".into(),
            event_ts: None,
            received_at: Timestamp::UNIX_EPOCH,
            body: body.clone().into(),
            unreadable: None,
        };
        client.clone().oneshot(Outgoing::new(&event, event.body.clone(), &signer(), now())).await.expect("an answer");
        let request = handler.requests.recv().await.expect("a request").bytes;
        assert!(split(&request).1 == body, "{}", path.display());
        let signature = header(&request, SIGNATURE);
        assert!(signer().verify(header(&request, TIMESTAMP), &body, signature), "{}", path.display());
    }
}

#[test]
fn corpus_is_json_without_padding_and_wide() {
    #[derive(Deserialize)]
    struct Named {
        event: String,
    }
    let corpus = corpus();
    let mut names = BTreeSet::new();
    for (path, body) in &corpus {
        let named: Named = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let family = path.parent().and_then(|folder| folder.file_name()).expect("a family");
        assert!(
            family == "traps" || file.split('-').next() == Some(&named.event),
            "{} tells another event",
            path.display()
        );
        assert!(body.starts_with(b"{") && body.ends_with(b"}"), "{} is padded", path.display());
        names.insert(named.event);
    }
    assert!(corpus.len() >= 120 && names.len() >= 120, "{} bodies of {} types", corpus.len(), names.len());
}

#[tokio::test]
async fn answer_is_read_whole_and_the_connection_kept() {
    let last =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 120\r\ncontent-length: 9\r\n\r\nbusy \xff\xfe..".to_vec();
    let empty = b"HTTP/1.1 204 No Content\r\n\r\n".to_vec();
    let mut handler = Handler::start([Act::Answer(OK.into()), Act::Answer(empty), Act::Answer(last)]).await;
    let client = connected(&handler.destination()).expect("a client");

    for (status, retry_after, excerpt) in
        [(200, None, "ok"), (204, None, ""), (503, Some("120"), "busy \u{fffd}\u{fffd}..")]
    {
        let answer = client.clone().oneshot(outgoing()).await.expect("an answer");
        let expected = Answer { status, retry_after: retry_after.map(str::to_owned), excerpt: excerpt.to_owned() };
        assert!(answer == expected, "{answer:?} {:?}", answer.excerpt);
        assert_eq!(handler.requests.recv().await.expect("a request").connection, 1);
    }
}

#[tokio::test]
async fn redirect_is_an_answer_and_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let redirect = format!("HTTP/1.1 {status} Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
        let mut handler = Handler::start([Act::Answer(redirect.into()), Act::Answer(OK.into())]).await;
        assert_eq!(send(&handler.destination()).await.expect("an answer").status, status);
        handler.requests.recv().await.expect("the request");
        assert!(handler.requests.try_recv().is_err(), "a second request after {status}");
    }
}

#[tokio::test]
async fn longer_answer_than_is_read_still_counts_and_costs_its_connection_only() {
    let mut long = b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n".to_vec();
    long.resize(long.len() + 1_048_576, b'x');
    let mut handler = Handler::start([Act::Answer(long), Act::Answer(OK.into())]).await;
    let client = connected(&handler.destination()).expect("a client");

    let answer = client.clone().oneshot(outgoing()).await.expect("an answer");
    assert_eq!((answer.status, answer.excerpt.len()), (200, EXCERPT_MAX));
    let answer = client.oneshot(outgoing()).await.expect("another answer");
    assert_eq!(answer.status, 200);
    handler.requests.recv().await.expect("the first request");
    assert_eq!(handler.requests.recv().await.expect("the second request").connection, 2);
}

#[tokio::test]
async fn hanging_handler_is_a_timeout() {
    for start in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no"] {
        let mut handler = Handler::start([Act::AnswerAndHang(start.into())]).await;
        let destination = handler.destination();
        let attempt = tokio::spawn(async move { failure(&destination).await });
        handler.requests.recv().await.expect("the request");
        tokio::time::pause();
        tokio::time::advance(Destination::STEADY_TIMEOUT).await;
        assert_eq!(attempt.await.expect("no panic"), SendError::Timeout, "{start:?}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn connection_closed_before_the_end_of_the_answer_is_cut() {
    for start in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        "220 mail.example ESMTP\r\n",
    ] {
        let mut handler = Handler::start([Act::AnswerAndClose(start.into())]).await;
        assert_eq!(failure(&handler.destination()).await.cause(), Cause::Cut, "{start}");
        handler.requests.recv().await.expect("the request");
        assert!(handler.requests.try_recv().is_err(), "sent again after {start:?}");
    }
}

#[tokio::test]
async fn answer_that_ends_with_its_connection_is_complete() {
    let handler = Handler::start([Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\n\r\nok".into())]).await;
    let answer = send(&handler.destination()).await.expect("an answer");
    assert_eq!((answer.status, answer.excerpt.as_str()), (200, "ok"));
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
async fn plain_port_behind_https_is_tls() {
    for answer in ["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            // All of the hello is read, so that closing sends an end of file and no reset.
            let mut hello = [0; 16 * 1024];
            let _ = socket.read(&mut hello).await;
            let _ = socket.write_all(answer.as_bytes()).await;
        });
        let error = failure(&destination(&format!("https://{addr}/"))).await;
        assert_eq!(error.cause(), Cause::Tls, "{error}");
    }
}

#[tokio::test]
async fn own_certificate_is_trusted_by_ca_file_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (acceptor, ca_file) = certificate(folder.path());
    let mut handler = Handler::start_tls([Act::Answer(OK.into())], acceptor).await;
    let untrusting = destination(&format!("https://localhost:{}/hook?key=canary", handler.addr.port()));

    let error = failure(&untrusting).await;
    assert!(matches!(&error, SendError::Tls(words) if words.contains("name its file in ca_file")), "{error}");

    let trusting = Destination { ca_file: Some(ca_file), ..untrusting };
    assert_eq!(send(&trusting).await.expect("an answer").status, 200);
    assert_eq!(split(&handler.requests.recv().await.expect("the request").bytes).1, BODY);
}

#[test]
fn missing_ca_file_is_an_error_of_the_client() {
    let destination = Destination { ca_file: Some("/nonexistent/ca.pem".into()), ..destination("https://localhost/") };
    let Err(error) = connected(&destination) else { panic!("a client without its certificates") };
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
}

/// Runs another test in a process that finds no CA store: its environment points to nothing.
#[test]
fn plain_http_works_without_a_ca_store() {
    let test = "webhook::client::tests::answer_is_read_whole_and_the_connection_kept";
    let output = Command::new(std::env::current_exe().expect("this test binary"))
        .args([test, "--exact"])
        .env("SSL_CERT_FILE", "/nonexistent/ca.pem")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .expect("a second process");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
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

#[tokio::test]
async fn kept_connection_that_ends_without_a_byte_of_an_answer_is_told_apart() {
    let acts = [Act::Answer(OK.into()), Act::AnswerAndClose(Vec::new()), Act::AnswerAndClose(Vec::new())];
    let mut handler = Handler::start(acts).await;
    let client = connected(&handler.destination()).expect("a client");
    client.clone().oneshot(outgoing()).await.expect("an answer");

    let kept = client.clone().oneshot(outgoing()).await.expect_err("closed");
    assert!(matches!(kept, SendError::Stale(_)) && kept.cause() == Cause::Cut, "{kept:?}");
    let new = client.oneshot(outgoing()).await.expect_err("closed");
    assert!(matches!(new, SendError::Cut(_)), "a handler that closes upon a request has failed: {new:?}");
    for connection in [1, 1, 2] {
        assert_eq!(handler.requests.recv().await.expect("a request").connection, connection);
    }
    assert!(handler.requests.try_recv().is_err(), "the client repeats nothing by itself");
}

#[tokio::test]
async fn kept_connection_that_is_reset_under_the_request_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let resetting = destination(&format!("http://{}/", listener.local_addr().expect("an address")));
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        read_request(&mut socket).await.expect("a request");
        socket.write_all(OK).await.expect("it reads");
        // A socket that is closed with something unread in it sends a reset.
        socket.readable().await.expect("a second request");
        drop(socket);
        std::future::pending::<()>().await;
    });
    let client = connected(&resetting).expect("a client");
    client.clone().oneshot(outgoing()).await.expect("an answer");
    let kept = client.oneshot(outgoing()).await.expect_err("reset");
    assert!(matches!(kept, SendError::Stale(_)), "{kept:?}");
}

#[tokio::test]
async fn kept_connection_that_ends_without_a_word_of_tls_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (acceptor, ca_file) = certificate(folder.path());
    let acts = [Act::Answer(OK.into()), Act::AnswerAndClose(Vec::new())];
    let handler = Handler::start_tls(acts, acceptor).await;
    let destination = destination(&format!("https://localhost:{}/hook", handler.addr.port()));
    let client = connected(&Destination { ca_file: Some(ca_file), ..destination }).expect("a client");
    client.clone().oneshot(outgoing()).await.expect("an answer");
    let kept = client.oneshot(outgoing()).await.expect_err("closed");
    assert!(matches!(kept, SendError::Stale(_)), "{kept:?}");
}

#[tokio::test]
async fn kept_connection_that_ends_within_an_answer_is_cut() {
    let acts = [Act::Answer(OK.into()), Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok".into())];
    let handler = Handler::start(acts).await;
    let client = connected(&handler.destination()).expect("a client");
    client.clone().oneshot(outgoing()).await.expect("an answer");
    assert!(matches!(client.oneshot(outgoing()).await, Err(SendError::Cut(_))));
}

#[tokio::test]
async fn answer_that_echoes_what_it_was_sent_is_kept_without_the_secrets() {
    let echo =
        |text: &str| format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{text}", text.len()).into_bytes();
    let ways = [
        (Auth::Bearer(Secret::new("canary")), "you sent Bearer canary"),
        (Auth::VerificationToken(Secret::new("canary")), "you sent canary"),
        (
            Auth::Basic { username: "a".into(), password: Secret::new("canary") },
            "you sent Basic YTpjYW5hcnk= (a:canary)",
        ),
        (Auth::Header { name: HeaderName::from_static("x-key"), value: Secret::new("canary") }, "x-key: canary"),
    ];
    for (auth, text) in ways {
        let handler = Handler::start([Act::Answer(echo(text))]).await;
        let excerpt = send(&Destination { auth, ..handler.destination() }).await.expect("an answer").excerpt;
        assert!(excerpt.contains("***") && !excerpt.contains("canary") && !excerpt.contains("YTpj"), "{excerpt}");
    }
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

/// Reads every body under `fixtures/events/<family>`.
fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let list = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let files = list(Path::new("fixtures/events")).into_iter().flat_map(|family| list(&family));
    files.map(|path| (path.clone(), std::fs::read(path).expect("a readable body"))).collect()
}

fn destination(url: &str) -> Destination {
    Destination::new("test", url.parse().expect("a URL"), Secret::new("bridge-test-secret"))
}

/// Makes a certificate for `localhost` that nobody signed but itself.
fn certificate(folder: &Path) -> (TlsAcceptor, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let ca_file = folder.join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).expect("a file");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a key that fits");
    (TlsAcceptor::from(Arc::new(config)), ca_file)
}
