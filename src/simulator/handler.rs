//! The sample handler: receives webhooks as Zoom's documentation says a handler should, and misbehaves on request.
//!
//! It verifies every signature over the raw body, answers the URL validation, and keeps a record of every delivery that
//! tests and the demo can wait for.

pub mod verification;

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::{Stream, StreamExt as _, stream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::verification::{Rejection, verify};
use super::journal::Journal;
use super::server::{self, BODY, HangUp};
use super::{BindError, listen};
use crate::clock::Clock;
use crate::config::secret::Secret;
use crate::event::Digest;
use crate::webhook::signature::Signer;

/// Deliveries that are kept: enough for a test of a long burst, at about 200 bytes each.
const KEPT: usize = 1 << 16;
/// Request ids whose attempts are counted; older ones begin again at one.
const REMEMBERED: usize = 1 << 16;
/// Scripted answers that may wait.
const SCRIPT: usize = 1024;
/// What a cut answer promises and does not hold.
const PROMISED: u64 = 1000;

/// Says where the sample handler listens and what it knows.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens: a loopback address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The secret token of the app.
    pub secret: Secret,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), secret: Secret::new("demo-secret-token") }
    }
}

/// Is what the handler does with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status after a time.
    Late(Duration, u16),
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    Close,
    /// Closes the connection in the middle of the answer.
    Cut,
}

/// Is one attempt as the handler saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// When it was read.
    pub at: Timestamp,
    /// The `event` of the body; empty when there is none.
    pub event: Box<str>,
    /// The `event_ts` of the body.
    pub event_ts: Option<i64>,
    /// The `x-zm-request-id` header; empty when there is none.
    pub request_id: Box<str>,
    /// SHA-256 of the body.
    pub digest: Digest,
    /// Whether it was signed as it should be.
    pub verified: Result<(), Rejection>,
    /// How often this request id was seen, this time included.
    pub attempt: u32,
    /// What the handler does with it. One that is not verified is answered 401 whatever the script says.
    pub answer: Answer,
}

/// Is a handle on one sample handler; clones are handles on the same one.
#[derive(Clone)]
pub struct Handler(Arc<Inner>);

struct Inner {
    listener: TcpListener,
    addr: SocketAddr,
    secret: Secret,
    signer: Signer,
    clock: Clock,
    script: Mutex<Script>,
    seen: Mutex<Seen>,
    deliveries: Journal<Delivery>,
}

struct Script {
    next: VecDeque<Answer>,
    always: Answer,
}

#[derive(Default)]
struct Seen {
    attempts: HashMap<Box<str>, u32>,
    order: VecDeque<Box<str>>,
}

impl Handler {
    /// Opens the port. Connections wait until [`Handler::run`] accepts them.
    ///
    /// # Errors
    /// When the address is not loopback or cannot be listened on.
    pub async fn bind(options: Options) -> Result<Self, BindError> {
        let (listener, addr) = listen(options.listen).await?;
        Ok(Self(Arc::new(Inner {
            listener,
            addr,
            signer: Signer::new(&options.secret),
            secret: options.secret,
            clock: Clock::system(),
            script: Mutex::new(Script { next: VecDeque::new(), always: Answer::Status(200) }),
            seen: Mutex::default(),
            deliveries: Journal::new(KEPT),
        })))
    }

    /// Serves until `token` is cancelled; then connections are cut.
    pub async fn run(&self, token: CancellationToken) {
        let router = Router::new().route("/webhook", post(receive));
        let router = router.layer(DefaultBodyLimit::max(BODY)).with_state(self.clone());
        let enter = |tcp| server::http(Either::Left(tcp), router.clone());
        server::serve(&self.0.listener, enter, &token).await;
    }

    /// Returns the URL that takes deliveries.
    pub fn url(&self) -> Url {
        format!("http://{}/webhook", self.0.addr).parse().expect("a socket address is a host and a port")
    }

    /// Returns the secret token that it verifies with.
    pub fn secret(&self) -> &Secret {
        &self.0.secret
    }

    /// Scripts the answers to the next deliveries, one each, after those that are scripted already.
    ///
    /// # Panics
    /// When more than 1024 would wait.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut script = self.0.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.next.extend(answers);
        assert!(script.next.len() <= SCRIPT, "a script of more than {SCRIPT} answers");
    }

    /// Says how deliveries are answered that nothing is scripted for; at first 200.
    pub fn answer_always(&self, answer: Answer) {
        self.0.script.lock().unwrap_or_else(PoisonError::into_inner).always = answer;
    }

    /// Returns the deliveries from number `from` on, as far as they are kept, and the number of the next one.
    pub fn deliveries(&self, from: u64) -> (Vec<Delivery>, u64) {
        self.0.deliveries.since(from)
    }

    /// Waits until more than `seen` deliveries came.
    pub async fn beyond(&self, seen: u64) {
        self.0.deliveries.beyond(seen).await;
    }

    fn answer(&self) -> Answer {
        let mut script = self.0.script.lock().unwrap_or_else(PoisonError::into_inner);
        let always = script.always;
        script.next.pop_front().unwrap_or(always)
    }

    fn record(&self, headers: &HeaderMap, body: &[u8], known: &Known<'_>) -> Delivery {
        let request_id: Box<str> = header(headers, "x-zm-request-id").into();
        let at = self.0.clock.now();
        let (timestamp, signature) = (header(headers, "x-zm-request-timestamp"), header(headers, "x-zm-signature"));
        let verified = verify(&self.0.signer, timestamp, signature, body, at.as_second());
        let delivery = Delivery {
            at,
            event: known.event.as_ref().into(),
            event_ts: known.event_ts,
            digest: Digest::of(body),
            verified,
            attempt: self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).count(&request_id),
            request_id,
            answer: if verified.is_ok() { self.answer() } else { Answer::Status(401) },
        };
        self.0.deliveries.write(delivery.clone());
        delivery
    }
}

impl Seen {
    fn count(&mut self, request_id: &str) -> u32 {
        if let Some(attempts) = self.attempts.get_mut(request_id) {
            *attempts += 1;
            return *attempts;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.attempts.remove(&oldest);
        }
        self.attempts.insert(request_id.into(), 1);
        self.order.push_back(request_id.into());
        1
    }
}

/// Is what the handler reads of a body.
#[derive(Default, Deserialize)]
struct Known<'a> {
    #[serde(borrow, default)]
    event: std::borrow::Cow<'a, str>,
    #[serde(default)]
    event_ts: Option<i64>,
}

#[derive(Deserialize)]
struct Validation {
    payload: PlainToken,
}

#[derive(Deserialize)]
struct PlainToken {
    #[serde(rename = "plainToken")]
    plain_token: String,
}

/// Answers one delivery.
async fn receive(State(handler): State<Handler>, headers: HeaderMap, body: Bytes) -> Response {
    let known: Known<'_> = serde_json::from_slice(&body).unwrap_or_default();
    let delivery = handler.record(&headers, &body, &known);
    if delivery.verified.is_ok()
        && known.event == "endpoint.url_validation"
        && let Ok(validation) = serde_json::from_slice::<Validation>(&body)
    {
        let plain = validation.payload.plain_token;
        let encrypted = handler.0.signer.validation_token(&plain);
        return axum::Json(serde_json::json!({"plainToken": plain, "encryptedToken": encrypted})).into_response();
    }
    match delivery.answer {
        Answer::Status(status) => respond(status),
        Answer::Late(late, status) => {
            sleep(late).await;
            respond(status)
        }
        Answer::Hang => pending().await,
        Answer::Close => HangUp.into_response(),
        Answer::Cut => ([(CONTENT_LENGTH, PROMISED)], Body::from_stream(broken())).into_response(),
    }
}

/// Begins a body and breaks off once the beginning is out.
fn broken() -> impl Stream<Item = Result<&'static str, io::Error>> {
    let begin = stream::iter([Ok("half of an an")]);
    begin.chain(stream::once(async {
        // The server writes what it has before it asks again.
        yield_now().await;
        Err(io::Error::other("cut on purpose"))
    }))
}

fn respond(status: u16) -> Response {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
