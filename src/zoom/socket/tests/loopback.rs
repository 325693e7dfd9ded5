//! The socket over TCP on loopback, token endpoint included. The clock runs: nothing here waits for a timer
//! but the first delay of one second.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;

use axum::Router;
use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[tokio::test]
async fn refused_token_is_replaced_once_and_at_once() {
    let mut zoom = Loopback::start().await;
    let (first, mut socket) = zoom.upgraded().await;
    socket.send(Frame::text(refusal("Invalid Token"))).await.expect("an open socket");
    let (second, mut socket) = zoom.upgraded().await;
    socket.send(Frame::text(ACCEPTED)).await.expect("an open socket");
    assert_eq!(first, "/ws?subscriptionId=sub&access_token=canary-token-1");
    assert_eq!(second, "/ws?subscriptionId=sub&access_token=canary-token-2");
    zoom.link(Link::Live).await;
}

#[tokio::test]
async fn open_socket_outlives_new_credentials_and_the_next_one_uses_the_token_that_proved_them() {
    let mut zoom = Loopback::start().await;
    let (_, mut socket) = zoom.upgraded().await;
    socket.send(Frame::text(ACCEPTED)).await.expect("an open socket");
    zoom.link(Link::Live).await;
    let access = zoom.changed(|subscription| subscription.client_secret = Secret::new("canary-rotated"));
    access.prove().await.expect("a token");
    zoom.access.send_replace(Arc::new(access));
    socket.send(Frame::text(message(STARTED))).await.expect("the socket is still open");
    assert_eq!(zoom.status.wait_for(|status| status.events == 1).await.expect("it goes on").connects, 1);
    socket.close(None).await.expect("an open socket");
    let (path, mut socket) = zoom.upgraded().await;
    assert_eq!(path, "/ws?subscriptionId=sub&access_token=canary-token-2", "there is no third token");
    socket.send(Frame::text(ACCEPTED)).await.expect("an open socket");
    zoom.status.wait_for(|status| status.connects == 2).await.expect("it counts on");
}

#[tokio::test]
async fn rejected_subscription_parks_the_link() {
    let mut zoom = Loopback::start().await;
    zoom.answer("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    let status = zoom.link(Link::Parked).await;
    assert!(status.reason.contains("404") && status.reason.contains("`main`"), "{}", status.reason);
    assert!(status.next_try_at.is_some());
}

#[tokio::test]
async fn throttled_upgrade_waits_as_long_as_it_was_told() {
    let mut zoom = Loopback::start().await;
    zoom.answer("HTTP/1.1 429 Too Many Requests\r\nretry-after: 600\r\ncontent-length: 0\r\n\r\n").await;
    let status = zoom.link(Link::Waiting).await;
    let wait = status.next_try_at.expect("a next try").duration_since(status.since).as_secs();
    assert!((590..=600).contains(&wait), "{wait}");
}

#[tokio::test]
async fn error_page_in_place_of_the_upgrade_is_a_hiccup() {
    let mut zoom = Loopback::start().await;
    zoom.answer("HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>").await;
    let status = zoom.link(Link::Waiting).await;
    assert_eq!(*status.reason, format!("{} answers 502 instead of opening the socket", zoom.address));
}

#[tokio::test]
async fn upgrade_by_way_of_a_proxy_that_has_its_own_forms_opens_the_socket() {
    let mut zoom = Loopback::start().await;
    let opening = |request: &str| {
        let key = request.split_once("Sec-WebSocket-Key: ").expect("a key").1.trim_end();
        let head = format!(
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nconnection: keep-alive, \
             Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        [head.into_bytes(), unmasked(ACCEPTED), unmasked(&message(STARTED))].concat()
    };
    let _open = zoom.answer_with(opening).await;
    let status = zoom.status.wait_for(|status| status.events == 1).await.expect("the socket goes on").clone();
    assert_eq!((status.link, status.connects), (Link::Live, 1));
    assert!(matches!(zoom.commands.recv().await, Some(Command::GapClosed { .. })));
    assert_eq!(Stored::of(zoom.commands.recv().await.expect("the socket goes on")), event(STARTED));
}

#[tokio::test]
async fn reset_connection_is_replaced() {
    let mut zoom = Loopback::start().await;
    let (_, mut socket) = zoom.upgraded().await;
    socket.send(Frame::text(ACCEPTED)).await.expect("an open socket");
    zoom.link(Link::Live).await;
    socket.get_ref().set_zero_linger().expect("a socket option");
    drop(socket);
    let status = zoom.link(Link::Waiting).await;
    assert!(status.reason.contains("reset"), "{}", status.reason);
    let (_, mut socket) = zoom.upgraded().await;
    socket.send(Frame::text(ACCEPTED)).await.expect("an open socket");
    zoom.link(Link::Live).await;
}

#[tokio::test]
async fn what_arrived_before_zoom_went_away_is_read_though_nothing_can_be_written() {
    let (stream, peer) = tokio::io::duplex(64 << 10);
    let peer = WebSocketStream::from_raw_socket(peer, Role::Server, None).await;
    let socket = WebSocketStream::from_raw_socket(Unwritable(stream), Role::Client, Some(limits())).await;
    let mut wire = Wire::open(socket);
    let mut peer = peer;
    for n in 0..3 {
        peer.send(Frame::text(format!("frame {n}"))).await.expect("room");
    }
    wire.send_heartbeat();
    let mut seen = Vec::new();
    let off = poll_fn(|cx| Poll::Ready(wire.poll(cx, Reading::Off).is_pending())).await;
    assert!(off, "nothing is read while the spool stalls, and that the line is broken is told after what lies unread");
    peer.close(None).await.expect("room");
    loop {
        match poll_fn(|cx| wire.poll(cx, Reading::On)).await {
            News::Frame(frame) => seen.push(String::from_utf8_lossy(&frame).into_owned()),
            News::Ended(_) => break,
            News::Token(_) | News::Failed(_) | News::Control => {}
        }
    }
    assert_eq!(seen, ["frame 0", "frame 1", "frame 2"]);
}

#[tokio::test]
async fn no_secret_and_no_token_is_shown_anywhere() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let mut zoom = Loopback::start().await;
    let mut reasons = Vec::new();
    // A refusal that echoes the token, twice, so that it ends up as a reason.
    for number in 1..=2 {
        let (_, mut socket) = zoom.upgraded().await;
        let words = format!("Invalid Token canary-token-{number}");
        socket.send(Frame::text(refusal(&words))).await.expect("an open socket");
    }
    reasons.push(zoom.link(Link::Waiting).await.reason);
    let (_, mut socket) = zoom.upgraded().await;
    socket.send(Frame::text(ACCEPTED)).await.expect("an open socket");
    socket.send(Frame::text(message(r#"{"event":"a","payload":"canary-payload"}"#))).await.expect("an open socket");
    socket.send(Frame::text("canary-garbage")).await.expect("an open socket");
    zoom.link(Link::Live).await;
    let words = CloseFrame { code: CloseCode::Policy, reason: "canary-token-2".into() };
    socket.close(Some(words)).await.expect("an open socket");
    reasons.push(zoom.link(Link::Waiting).await.reason);
    zoom.answer("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    reasons.push(zoom.link(Link::Parked).await.reason);
    zoom.stop.cancel();
    while let Some(stored) = zoom.commands.recv().await {
        if let Command::GapOpened { reason, .. } = stored {
            reasons.push(reason);
        }
    }
    drop(guard);
    let shown = format!("{}{reasons:?}", log.text());
    assert!(shown.contains("TRACE") && shown.contains("Invalid Token ***") && shown.contains("1008"), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
}

/// Plays Zoom on two ports: tokens `canary-token-1`, `-2` and so on, and sockets.
struct Loopback {
    listener: TcpListener,
    address: SocketAddr,
    commands: mpsc::Receiver<Command>,
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    access: watch::Sender<Arc<Access>>,
    cache: TokenCache,
    subscription: Subscription,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Loopback {
    async fn start() -> Self {
        let (tokens, tokens_address) = listen().await;
        let (listener, address) = listen().await;
        let issued = Arc::new(Mutex::new(0));
        let issue = move || {
            let mut issued = issued.lock().expect("no panic");
            *issued += 1;
            let token = format!("canary-token-{issued}");
            std::future::ready(json!({"access_token": token, "expires_in": 3600}).to_string())
        };
        let router = Router::new().route("/oauth/token", post(issue));
        tokio::spawn(async move { axum::serve(tokens, router).await });

        let clock = Clock::system();
        let (appender, commands) = Appender::channel();
        let metrics = Arc::new(Metrics::new());
        let cache = TokenCache::new(clock.clone(), Arc::clone(&metrics));
        let token_url = format!("http://{tokens_address}/oauth/token");
        let subscription = subscription(&token_url, &format!("ws://{address}/ws?subscriptionId=sub"));
        let access = Access::new(&subscription, &Roots::load(), &cache, &clock, &metrics).expect("an access");
        let access = watch::Sender::new(Arc::new(access));
        let (socket, status) = Socket::new("main".into(), access.subscribe(), appender, clock.clone(), &metrics);
        let stop = CancellationToken::new();
        tokio::spawn(socket.run(stop.clone()));
        Self { listener, address, commands, status, stop, access, cache, subscription, clock, metrics }
    }

    /// Makes what the socket is reached with after a change of the subscription.
    fn changed(&self, change: impl Fn(&mut Subscription)) -> Access {
        let mut subscription = self.subscription.clone();
        change(&mut subscription);
        Access::new(&subscription, &Roots::load(), &self.cache, &self.clock, &self.metrics).expect("an access")
    }

    /// Takes the next connection and upgrades it; returns the path that was asked for.
    async fn upgraded(&mut self) -> (String, WebSocketStream<TcpStream>) {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        let mut path = String::new();
        #[expect(clippy::result_large_err, reason = "the library asks for it")]
        let note = |request: &Request, response: Response| {
            path = request.uri().to_string();
            Ok(response)
        };
        let socket = accept_hdr_async(stream, note).await.expect("an upgrade");
        (path, socket)
    }

    /// Takes the next connection and gives it this answer.
    async fn answer(&mut self, answer: &str) {
        self.answer_with(|_| answer.into()).await;
    }

    /// Takes the next connection and gives it the answer that its request makes.
    async fn answer_with(&mut self, answer: impl FnOnce(&str) -> Vec<u8>) -> TcpStream {
        let (mut stream, _) = self.listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.expect("a request");
        }
        let request = String::from_utf8(request).expect("text");
        stream.write_all(&answer(&request)).await.expect("an open connection");
        stream
    }

    async fn link(&mut self, link: Link) -> Status {
        self.status.wait_for(|status| status.link == link).await.expect("the socket goes on").clone()
    }
}

/// Collects log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn refusal(words: &str) -> String {
    json!({"module": "build_connection", "success": false, "content": words, "header": {}}).to_string()
}

/// Is a stream whose peer takes nothing any more.
struct Unwritable(DuplexStream);

impl AsyncRead for Unwritable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Unwritable {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
