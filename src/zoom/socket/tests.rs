//! The socket against a Zoom in memory, on a paused clock; `loopback.rs` has those over TCP.

mod frames;
mod hostile;
mod ledger;
mod loopback;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame as RawFrame};
use url::Url;

use super::*;
use crate::config::proxy::Outbound;
use crate::config::tls::TlsRules;
use crate::config::{Grant, Subscription};
use crate::spool::Command;
use crate::tls::Roots;
use crate::zoom::dial::limits;
use crate::zoom::token::TokenCache;

const ACCEPTED: &str = r#"{"module":"build_connection","success":true,"content":"ok","header":{}}"#;
const ALIVE: &str = r#"{"module":"heartbeat","success":true,"content":"live","header":{}}"#;
const STARTED: &str = r#"{"event":"meeting.started","payload":{"topic":"a \"b\""},"event_ts":1785326400000}"#;

#[tokio::test(start_paused = true)]
async fn accepted_socket_is_live_and_its_events_are_stored_byte_for_byte() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    zoom.event(STARTED).await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    assert_eq!(scene.stored().await, event(STARTED));
    let status = scene.status(|status| status.events == 1).await;
    assert_eq!((status.link, &*status.reason, status.connects), (Link::Live, "", 1));
    // The clock began at 12:00:00, and the event is of that time.
    assert_eq!(status.last_event_lag_ms, Some(0));
    assert_eq!(status.last_event_at, Some(START.parse().expect("an instant")));
}

#[tokio::test(start_paused = true)]
async fn event_before_build_connection_makes_the_link_live() {
    let mut scene = Scene::start();
    let mut zoom = scene.dialed().await;
    zoom.event(STARTED).await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    assert_eq!(scene.stored().await, event(STARTED));
    scene.link(Link::Live).await;
}

#[tokio::test(start_paused = true)]
async fn silence_after_the_upgrade_is_given_up_after_15_s() {
    let mut scene = Scene::start();
    let _silent = scene.dialed().await;
    let status = scene.link(Link::Waiting).await;
    assert_eq!(&*status.reason, "zoom did not accept the socket within 15 s");
    assert_eq!(scene.seconds(), 15);
    let _zoom = scene.accept().await;
    scene.link(Link::Live).await;
}

#[tokio::test(start_paused = true)]
async fn silence_after_an_hour_of_life_is_noticed() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    while scene.seconds() < 3600 {
        zoom.heartbeat().await;
        zoom.send(ALIVE).await;
    }
    let heard = scene.seconds();
    scene.drain();
    let status = scene.link(Link::Waiting).await;
    assert_eq!(&*status.reason, "no answer to heartbeats for 60 s");
    assert_eq!(scene.seconds() - heard, 60);
    let gap = Stored::GapOpened { at_s: heard, reason: "no answer to heartbeats for 60 s".into() };
    assert_eq!(scene.stored_but_alive().await, gap, "it began when zoom was last heard");
}

#[tokio::test(start_paused = true)]
async fn close_1000_in_a_loop_is_called_contended_and_tried_on() {
    let mut scene = Scene::start();
    for link in [Link::Waiting, Link::Waiting, Link::Contended, Link::Contended] {
        let mut zoom = scene.accept().await;
        scene.link(Link::Live).await;
        zoom.close(CloseCode::Normal).await;
        scene.link(link).await;
    }
    let reason = scene.status.borrow().reason.clone();
    assert!(reason.contains("something else is connected to subscription `main`"), "{reason}");
    let _zoom = scene.accept().await;
    scene.link(Link::Live).await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_on_while_events_pour_in() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    zoom.heartbeat().await;
    let stop = CancellationToken::new();
    let (mut sink, mut stream) = zoom.0.split();
    let pour = tokio::spawn({
        let stop = stop.clone();
        async move {
            while !stop.is_cancelled() {
                sink.send(Frame::text(message(STARTED))).await.expect("an open socket");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let drain = tokio::spawn(async move { while scene.commands.recv().await.is_some() {} });
    for _ in 0..3 {
        assert_eq!(stream.next().await.expect("a frame").expect("a frame"), Frame::text(r#"{"module":"heartbeat"}"#));
    }
    stop.cancel();
    pour.await.expect("no panic");
    drain.abort();
}

#[tokio::test(start_paused = true)]
async fn stalled_spool_stops_the_reading_but_not_the_heartbeats() {
    let mut scene = Scene::start();
    let zoom = scene.accept().await;
    scene.link(Link::Live).await;
    // Six of these do not fit into the queue of the spool.
    let body = format!(r#"{{"event":"big","payload":"{}"}}"#, "x".repeat(3 << 20));
    let (mut sink, mut stream) = zoom.0.split();
    let frame = message(&body);
    let sending = tokio::spawn(async move {
        for _ in 0..10 {
            sink.send(Frame::text(frame.clone())).await.expect("an open socket");
        }
        sink
    });
    let status = scene.status(|status| status.stalled).await;
    assert_eq!(status.link, Link::Live);
    while scene.seconds() < 600 {
        assert_eq!(stream.next().await.expect("a frame").expect("a frame"), Frame::text(r#"{"module":"heartbeat"}"#));
    }
    assert_eq!(scene.status.borrow().link, Link::Live, "silence is no evidence while nobody reads");
    assert!(scene.status.borrow().events < 10);
    assert_eq!(scene.stored().await, Stored::GapClosed);
    for _ in 0..10 {
        assert!(scene.stored_but_alive().await == event(&body));
    }
    let _sink = sending.await.expect("no panic");
    let status = scene.status(|status| !status.stalled && status.events == 10).await;
    assert_eq!((status.link, status.connects), (Link::Live, 1));
}

#[tokio::test(start_paused = true)]
async fn stop_closes_the_socket_and_keeps_what_zoom_sends_last() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    zoom.heartbeat().await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    scene.stop.cancel();
    assert!(matches!(zoom.next().await, Frame::Close(Some(CloseFrame { code: CloseCode::Normal, .. }))));
    // The library would not send an event in answer to a close; Zoom's frame was on its way before.
    let mut raw = zoom.0.into_inner();
    let text = message(STARTED);
    tokio::io::AsyncWriteExt::write_all(&mut raw, &unmasked(&text)).await.expect("an open socket");
    drop(raw);
    assert_eq!(scene.stored().await, event(STARTED));
    assert_eq!(scene.stored().await, Stored::GapOpened { at_s: 0, reason: "zoomhook stopped".into() });
    scene.link(Link::Stopped).await;
    scene.task.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn stop_does_not_wait_long_for_a_zoom_that_hangs() {
    let mut scene = Scene::start();
    let _zoom = scene.accept().await;
    scene.link(Link::Live).await;
    scene.stop.cancel();
    (&mut scene.task).await.expect("no panic");
    assert!(scene.started.elapsed() <= Duration::from_secs(2));
    assert_eq!(scene.status.borrow().link, Link::Stopped);
}

#[tokio::test(start_paused = true)]
async fn closed_spool_ends_the_socket() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    scene.link(Link::Live).await;
    scene.commands.close();
    zoom.event(STARTED).await;
    (&mut scene.task).await.expect("no panic");
    let status = scene.status.borrow().clone();
    assert_eq!((status.link, &*status.reason), (Link::Stopped, "the spool is closed"));
}

const START: &str = "2026-07-29T12:00:00Z";

/// Plays everything around a socket: the one who dials, the spool, and those who watch.
struct Scene {
    dialed: mpsc::UnboundedReceiver<DuplexStream>,
    appender: Appender,
    commands: mpsc::Receiver<Command>,
    status: watch::Receiver<Status>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<Option<Unsent>>,
    clock: Clock,
    started: Instant,
}

impl Scene {
    fn start() -> Self {
        let clock = Clock::anchored(START.parse().expect("an instant"));
        let (appender, commands) = Appender::channel();
        Self::after(None, clock, appender, commands)
    }

    /// Starts a socket that inherits from another one.
    fn after(unsent: Option<Unsent>, clock: Clock, appender: Appender, commands: mpsc::Receiver<Command>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let cache = TokenCache::new(clock.clone(), Arc::clone(&metrics));
        let subscription = subscription("http://127.0.0.1:9/", "ws://127.0.0.1:9/ws?subscriptionId=sub");
        let access = Access::new(&subscription, &Roots::load(), &cache, &clock, &metrics).expect("an access");
        let access = watch::Sender::new(Arc::new(access));
        let (mut socket, status) =
            Socket::new("main".into(), access.subscribe(), appender.clone(), clock.clone(), &metrics);
        if let Some(unsent) = unsent {
            socket.inherit(unsent);
        }
        let (dial, dialed) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move {
                let tokens = access.borrow().tokens.clone();
                tokens.preset("t0ken").await;
                let dial = move |_| {
                    let (near, far) = tokio::io::duplex(64 << 10);
                    dial.send(far).expect("the scene goes on");
                    async move { Ok(WebSocketStream::from_raw_socket(near, Role::Client, Some(limits())).await) }
                };
                socket.run_over(stop, dial).await
            }
        });
        Self { dialed, appender, commands, status, metrics, stop, task, clock, started: Instant::now() }
    }

    /// Waits for the next socket.
    async fn dialed(&mut self) -> Zoom {
        let stream = self.dialed.recv().await.expect("the socket dials");
        Zoom(WebSocketStream::from_raw_socket(stream, Role::Server, None).await)
    }

    async fn accept(&mut self) -> Zoom {
        let mut zoom = self.dialed().await;
        zoom.send(ACCEPTED).await;
        zoom
    }

    async fn status(&mut self, wanted: impl FnMut(&Status) -> bool) -> Status {
        // On the paused clock a day is over at once, where otherwise a failure would never end.
        let status = timeout(Duration::from_secs(86_400), self.status.wait_for(wanted)).await;
        status.expect("it happens within a day").expect("the socket goes on").clone()
    }

    async fn link(&mut self, link: Link) -> Status {
        self.status(|status| status.link == link).await
    }

    async fn stored(&mut self) -> Stored {
        Stored::of(self.commands.recv().await.expect("the socket goes on"))
    }

    async fn stored_but_alive(&mut self) -> Stored {
        loop {
            let stored = self.stored().await;
            if !matches!(stored, Stored::Alive { .. }) {
                return stored;
            }
        }
    }

    /// Sends one event more than the queue of the spool takes, and waits until it is noticed.
    async fn stall(&mut self, zoom: &mut Zoom) {
        let body = format!(r#"{{"event":"big","payload":"{}"}}"#, "x".repeat(3 << 20));
        for _ in 0..6 {
            zoom.event(&body).await;
        }
        self.status(|status| status.stalled).await;
    }

    /// Takes the events, and returns the first word to the ledger after them.
    async fn stored_after_the_stall(&mut self) -> Stored {
        loop {
            match self.stored_but_alive().await {
                Stored::Event { .. } | Stored::GapClosed => {}
                other @ (Stored::Alive { .. } | Stored::GapOpened { .. }) => return other,
            }
        }
    }

    fn stored_already(&mut self) -> Option<Stored> {
        self.commands.try_recv().ok().map(Stored::of)
    }

    fn drain(&mut self) {
        while self.stored_already().is_some() {}
    }

    fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    fn malformed(&self) -> u64 {
        let labels = crate::telemetry::metrics::BySubscription { subscription: "main".to_owned() };
        self.metrics.frames_malformed.get_or_create(&labels).get()
    }
}

/// Is the other end of a socket.
struct Zoom(WebSocketStream<DuplexStream>);

impl Zoom {
    async fn frame(&mut self, frame: Frame) {
        self.0.send(frame).await.expect("an open socket");
    }

    async fn send(&mut self, text: &str) {
        self.frame(Frame::text(text)).await;
    }

    async fn event(&mut self, body: &str) {
        self.send(&message(body)).await;
    }

    async fn close(&mut self, code: CloseCode) {
        self.0.close(Some(CloseFrame { code, reason: "Bye".into() })).await.expect("an open socket");
    }

    async fn next(&mut self) -> Frame {
        self.0.next().await.expect("an open socket").expect("a frame")
    }

    async fn heartbeat(&mut self) {
        assert_eq!(self.next().await, Frame::text(r#"{"module":"heartbeat"}"#));
    }
}

/// Is what the spool is asked to store; times are in seconds since the start.
#[derive(Debug, PartialEq)]
enum Stored {
    Event { kind: String, body: Vec<u8>, parked: Option<&'static str> },
    Alive { at_s: u64 },
    GapOpened { at_s: u64, reason: String },
    GapClosed,
}

impl Stored {
    fn of(command: Command) -> Self {
        let start: Timestamp = START.parse().expect("an instant");
        let seconds = |at: Timestamp| at.duration_since(start).as_secs() as u64;
        match command {
            Command::Append(received, _) => {
                Self::Event { kind: received.kind.into_string(), body: received.body.to_vec(), parked: received.parked }
            }
            Command::Alive { at, .. } => Self::Alive { at_s: seconds(at) },
            Command::GapOpened { at, reason, .. } => {
                Self::GapOpened { at_s: seconds(at), reason: reason.into_string() }
            }
            Command::GapClosed { .. } => Self::GapClosed,
            Command::Settle(..)
            | Command::Route { .. }
            | Command::Replay { .. }
            | Command::Erase { .. }
            | Command::Breaker { .. }
            | Command::Pause { .. }
            | Command::Change(_)
            | Command::Flush { .. }
            | Command::Close => panic!("a socket asks for no such thing"),
        }
    }
}

fn event(body: &str) -> Stored {
    let kind =
        serde_json::from_str::<serde_json::Value>(body).expect("json")["event"].as_str().expect("a name").to_owned();
    Stored::Event { kind, body: body.as_bytes().to_vec(), parked: None }
}

fn message(body: &str) -> String {
    json!({"module": "message", "content": body, "header": {}}).to_string()
}

/// Writes a short text frame as a server does.
fn unmasked(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text");
    let mut bytes = vec![0x81, 126];
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

fn subscription(token_url: &str, url: &str) -> Subscription {
    Subscription {
        name: "main".into(),
        url: Url::parse(url).expect("a url"),
        id: "sub".into(),
        token_url: Url::parse(token_url).expect("a url"),
        grant: Grant::Auto,
        account_id: Some("acc".into()),
        client_id: "id".into(),
        client_secret: Secret::new("canary-secret"),
        group: "main".into(),
        ca_file: None,
        tls: TlsRules::DEFAULT,
        outbound: Outbound::DIRECT,
    }
}
