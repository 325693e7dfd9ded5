//! One socket, from the upgrade request to its end.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::either::Either;

use super::Simulator;
use super::fault::{ConnectFault, Cut, Faults, HeartbeatFault, OpeningFault};
use super::frame;
use super::hub::{Batch, Seat};
use super::log::{Happening, Reason};
use super::server::Stream;

/// Closes of Zoom say this, as captured.
const BYE: &str = "Bye";
/// What a refusal says, in turn: the wordings that were captured from Zoom, and an invented one.
const WORDINGS: [&str; 4] = ["Invalid Token", "Token is invalid", "token is empty", "The moon is in the wrong house"];
/// How long a closing handshake may take.
const CLOSING: Duration = Duration::from_secs(2);
/// Characters of a subscription id that are kept in the log: more than a real one has.
const SUBSCRIPTION_SHOWN: usize = 64;
/// Sockets that are open at once, held ones among them; further ones are refused. Far above what a drill opens.
const SOCKETS: usize = 1024;
/// The event that comes before the first frame when the fault says so.
const EARLY_EVENT: &str =
    r#"{"event":"meeting.started","payload":{"account_id":"EARLY","object":{"id":"1"}},"event_ts":1}"#;

type WebSocket = WebSocketStream<Stream>;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default, rename = "subscriptionId")]
    subscription: String,
    #[serde(default)]
    access_token: String,
}

/// Answers `GET /ws`. As at Zoom the upgrade says nothing about acceptance: the first frame does.
pub(super) async fn upgrade(
    State(zoom): State<Simulator>,
    Query(asked): Query<Asked>,
    mut request: Request<Body>,
) -> Response {
    match zoom.faults().connect {
        // It was decided about before the request came here.
        None | Some(ConnectFault::Silent) => {}
        Some(ConnectFault::Hang) => {
            zoom.0.log.write(Happening::Held { subscription: shown(&asked.subscription) });
            return pending().await;
        }
        Some(ConnectFault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            zoom.refuse(&asked.subscription, &format!("status {}", status.as_u16()));
            return status.into_response();
        }
    }
    if zoom.0.tasks.len() >= SOCKETS {
        zoom.refuse(&asked.subscription, "too many sockets");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let response = match create_response(&request.map(|_| ())) {
        Ok(response) => response.map(|()| Body::empty()),
        Err(_) => return (StatusCode::BAD_REQUEST, "not a websocket upgrade\n").into_response(),
    };
    let tasks = zoom.0.tasks.clone();
    tasks.spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let parts = upgraded.downcast::<TokioIo<Stream>>().expect("every connection is served as this type");
        let (stream, read) = (parts.io.into_inner(), parts.read_buf.to_vec());
        let socket = WebSocket::from_partially_read(stream, read, Role::Server, None).await;
        zoom.open(asked, socket).await;
    });
    response
}

fn shown(subscription: &str) -> Box<str> {
    subscription.chars().take(SUBSCRIPTION_SHOWN).collect::<String>().into()
}

impl Simulator {
    fn refuse(&self, subscription: &str, answer: &str) {
        self.0.log.write(Happening::Refused { subscription: shown(subscription), answer: answer.into() });
    }

    /// Decides about a socket that was upgraded.
    async fn open(&self, asked: Asked, mut socket: WebSocket) {
        let mut first = frame::accepted();
        let early = match self.faults().opening {
            None => Ok(()),
            Some(OpeningFault::Bare) => {
                first = frame::accepted_barely();
                Ok(())
            }
            Some(OpeningFault::Silent) => {
                self.0.log.write(Happening::Held { subscription: shown(&asked.subscription) });
                return self.hold(socket).await;
            }
            Some(OpeningFault::Late(late)) => {
                tokio::select! {
                    () = sleep(late) => {}
                    () = self.0.stop.cancelled() => return,
                }
                Ok(())
            }
            Some(OpeningFault::Refused(wording)) => return self.close_refused(&asked, socket, &wording).await,
            Some(OpeningFault::RefusedInTurn) => {
                let turn = self.0.refusals.fetch_add(1, Ordering::Relaxed);
                return self.close_refused(&asked, socket, WORDINGS[turn % WORDINGS.len()]).await;
            }
            Some(OpeningFault::EventFirst) => {
                let mut messages = Vec::new();
                frame::event(EARLY_EVENT, &self.faults().frames, &mut messages);
                write(&mut socket, messages).await
            }
        };
        if early.is_err() {
            return;
        }
        match self.judge(&asked) {
            Ok((subscription, expires)) => self.live(subscription, expires, first, socket).await,
            Err(wording) => self.close_refused(&asked, socket, wording).await,
        }
    }

    /// Says to which subscription a socket belongs and when its token expires, or why it is refused.
    fn judge(&self, asked: &Asked) -> Result<(Arc<str>, Instant), &'static str> {
        if asked.access_token.is_empty() {
            return Err("token is empty");
        }
        let expires = self.tokens().expiry(&asked.access_token, self.0.clock.instant()).ok_or("Invalid Token")?;
        let known = self.0.options.subscriptions.iter().find(|known| ***known == *asked.subscription);
        Ok((Arc::clone(known.ok_or("Invalid subscriptionId")?), expires))
    }

    async fn close_refused(&self, asked: &Asked, mut socket: WebSocket, wording: &str) {
        self.refuse(&asked.subscription, wording);
        if write(&mut socket, vec![frame::refused(wording)]).await.is_ok() {
            close(&mut socket, 1000).await;
        }
    }

    /// Reads and says nothing until the client leaves.
    async fn hold(&self, mut socket: WebSocket) {
        tokio::select! {
            () = async { while let Some(Ok(_)) = socket.next().await {} } => {}
            () = self.0.stop.cancelled() => {}
        }
    }

    /// Lives with an accepted socket to its end.
    async fn live(&self, subscription: Arc<str>, expires: Instant, first: Message, mut socket: WebSocket) {
        let Faults { evict, evict_as, .. } = self.faults();
        // Seated before the first frame is out, so that whoever has read it can be sent events.
        let mut seat = self.0.hub.enter(subscription, evict, evict_as);
        let (number, subscription) = (seat.number, Arc::clone(&seat.subscription));
        self.0.log.write(Happening::Accepted { socket: number, subscription: Arc::clone(&subscription) });
        let mut talk = Talk::new(self, number, expires);
        let (cut, reason) = match write(&mut socket, vec![first]).await {
            Ok(()) => talk.run(&mut socket, &mut seat).await,
            Err(_) => (None, Reason::Lost),
        };
        let events = talk.sent;
        self.0.hub.leave(number);
        // What was taken and not written is missed: no event is counted neither way.
        seat.batches.close();
        let waiting: u64 = std::iter::from_fn(|| seat.batches.try_recv().ok()).map(|batch| batch.events).sum();
        self.0.log.missed(talk.writing + waiting);
        self.0.log.write(Happening::Closed { socket: number, subscription, reason, events });
        match cut {
            None => {}
            Some(Cut::Close(code)) => close(&mut socket, code).await,
            Some(Cut::Fin) => end(socket.get_mut()).await,
            Some(Cut::Reset) => drop(tcp(socket.get_ref()).set_zero_linger()),
            Some(Cut::Silent) => self.0.stop.cancelled().await,
        }
    }
}

/// Is the conversation with one accepted socket.
struct Talk<'a> {
    zoom: &'a Simulator,
    number: u64,
    faults: watch::Receiver<Faults>,
    expires: Instant,
    opened: Instant,
    heard: Instant,
    heartbeat: Instant,
    pinged: Instant,
    owed: Option<Instant>,
    sent: u64,
    /// Events of the batch that is being written.
    writing: u64,
}

/// Is how a socket is ended, unless the client has ended it, and why.
type End = (Option<Cut>, Reason);

/// Is what a deadline asks for.
enum Due {
    Ping,
    Answer,
    End(Reason),
}

impl<'a> Talk<'a> {
    fn new(zoom: &'a Simulator, number: u64, expires: Instant) -> Self {
        let now = zoom.0.clock.instant();
        let faults = zoom.0.faults.subscribe();
        let (opened, heard, heartbeat, pinged) = (now, now, now, now);
        Self { zoom, number, faults, expires, opened, heard, heartbeat, pinged, owed: None, sent: 0, writing: 0 }
    }

    async fn run(&mut self, socket: &mut WebSocket, seat: &mut Seat) -> End {
        loop {
            let (deadline, due) = self.deadline();
            let wait = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            let written = tokio::select! {
                biased;
                () = self.zoom.0.stop.cancelled() => return (Some(Cut::Close(1001)), Reason::Stopped),
                end = ended(&mut seat.end) => return (Some(end.0), end.1),
                // New faults mean new deadlines.
                Ok(()) = self.faults.changed() => Ok(()),
                () = wait => match due {
                    Due::Ping => self.ping(socket).await,
                    Due::Answer => self.answer(socket).await,
                    Due::End(Reason::Evicted) => return (Some(self.faults.borrow().evict_as), Reason::Evicted),
                    Due::End(reason) => return (Some(self.faults.borrow().drop_as), reason),
                },
                message = socket.next() => match message {
                    Some(Ok(message)) => match self.hear(socket, message).await {
                        Ok(None) => Ok(()),
                        Ok(Some(end)) => return end,
                        Err(error) => Err(error),
                    },
                    Some(Err(_)) | None => return (None, Reason::Lost),
                },
                Some(batch) = seat.batches.recv() => tokio::select! {
                    biased;
                    // A client that reads nothing must not keep a socket from being ended.
                    end = ended(&mut seat.end) => return (Some(end.0), end.1),
                    () = self.zoom.0.stop.cancelled() => return (None, Reason::Stopped),
                    written = self.send(socket, batch) => written,
                },
            };
            if written.is_err() {
                return (None, Reason::Lost);
            }
        }
    }

    /// Finds the next thing that is due by the clock.
    fn deadline(&self) -> (Option<Instant>, Due) {
        let faults = self.faults.borrow();
        let deadlines = [
            (self.owed, Due::Answer),
            (faults.ping.map(|every| self.pinged + every), Due::Ping),
            (faults.drop_every.map(|life| self.opened + life), Due::End(Reason::Dropped)),
            (faults.rival.map(|life| self.opened + life), Due::End(Reason::Evicted)),
            (faults.idle_close.map(|idle| self.heard + idle), Due::End(Reason::Idle)),
            (faults.close_at_expiry.then_some(self.expires), Due::End(Reason::TokenExpired)),
        ];
        let timed = deadlines.into_iter().filter_map(|(at, due)| Some((at?, due)));
        match timed.min_by_key(|(at, _)| *at) {
            Some((at, due)) => (Some(at), due),
            None => (None, Due::Ping),
        }
    }

    async fn ping(&mut self, socket: &mut WebSocket) -> Result<(), Error> {
        self.pinged = self.zoom.0.clock.instant();
        write(socket, vec![Message::Ping("zoom".into())]).await
    }

    async fn answer(&mut self, socket: &mut WebSocket) -> Result<(), Error> {
        self.owed = None;
        write(socket, vec![frame::heartbeat()]).await
    }

    async fn send(&mut self, socket: &mut WebSocket, batch: Batch) -> Result<(), Error> {
        self.writing = batch.events;
        write(socket, batch.messages).await?;
        self.writing = 0;
        self.sent += batch.events;
        self.zoom.0.log.sent(batch.events);
        Ok(())
    }

    async fn hear(&mut self, socket: &mut WebSocket, message: Message) -> Result<Option<End>, Error> {
        let now = self.zoom.0.clock.instant();
        self.heard = now;
        match message {
            Message::Text(text) if frame::is_heartbeat(&text) => {
                let after_ms = (now - self.heartbeat).as_millis() as u64;
                self.heartbeat = now;
                self.zoom.0.log.write(Happening::Heartbeat { socket: self.number, after_ms });
                let fault = self.faults.borrow().heartbeat.clone();
                match fault {
                    None => self.answer(socket).await?,
                    Some(HeartbeatFault::Ignored) => {}
                    // One answer is owed at most, however many heartbeats come meanwhile.
                    Some(HeartbeatFault::Late(late)) => self.owed = self.owed.or(Some(now + late)),
                    Some(HeartbeatFault::Refused) => write(socket, vec![frame::heartbeat_refused()]).await?,
                }
            }
            Message::Text(_) | Message::Binary(_) => {
                self.zoom.0.log.write(Happening::Unexpected { socket: self.number, bytes: message.len() });
            }
            // The library has put the answer to a ping and to a close into its buffer.
            Message::Ping(_) => socket.flush().await?,
            Message::Close(_) => {
                socket.flush().await?;
                return Ok(Some((None, Reason::ClosedByClient)));
            }
            Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(None)
    }
}

/// Waits until the hub ends the socket.
async fn ended(end: &mut watch::Receiver<Option<(Cut, Reason)>>) -> (Cut, Reason) {
    match end.wait_for(Option::is_some).await.map(|end| *end) {
        Ok(Some(end)) => end,
        // Given up by the hub without a word, which it does only after having said one.
        Ok(None) | Err(_) => (Cut::Close(1000), Reason::Dropped),
    }
}

async fn write(socket: &mut WebSocket, messages: Vec<Message>) -> Result<(), Error> {
    for message in messages {
        socket.feed(message).await?;
    }
    socket.flush().await
}

/// Ends the stream without a close frame, and waits for the client to do the same.
async fn end(stream: &mut Stream) {
    let ending = async {
        if stream.shutdown().await.is_ok() {
            let _ = tokio::io::copy(stream, &mut tokio::io::sink()).await;
        }
    };
    let _ = timeout(CLOSING, ending).await;
}

fn tcp(stream: &Stream) -> &TcpStream {
    match stream {
        Either::Left(tcp) => tcp,
        Either::Right(tls) => tls.get_ref().0,
    }
}

/// Closes in good form: the client's close frame is awaited, so that what was sent before is not lost to a reset.
async fn close(socket: &mut WebSocket, code: u16) {
    let closing = async {
        if socket.close(Some(CloseFrame { code: code.into(), reason: BYE.into() })).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(CLOSING, closing).await;
}
