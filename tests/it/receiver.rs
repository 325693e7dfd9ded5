//! A handler that checks signatures, remembers everything, and answers as it is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use zoomhook::config::secret::Secret;
use zoomhook::webhook::signature::Signer;

/// Says how a handler answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// With this status.
    Status(u16),
    /// With 200, after this time.
    Slow(Duration),
    /// Never.
    Hang,
    /// By ending the connection in the middle of an answer.
    Cut,
}

/// Is one handler; clones are the same one.
#[derive(Clone)]
pub(crate) struct Receiver(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    signer: Signer,
    answer: Mutex<Answer>,
    /// Bodies that were answered with 200, and how often.
    taken: Mutex<HashMap<Bytes, u32>>,
    /// Request ids by body.
    request_ids: Mutex<HashMap<Bytes, String>>,
    /// What requests said of replays, by body.
    replays: Mutex<HashMap<Bytes, Vec<Option<String>>>>,
    /// Of the last request.
    headers: Mutex<HeaderMap>,
    /// The timestamp that was signed last, in Unix seconds.
    timestamp: AtomicI64,
    count: watch::Sender<usize>,
    requests: watch::Sender<usize>,
    /// URL validations, whatever they were answered; they are no requests.
    validations: watch::Sender<usize>,
}

impl Receiver {
    pub(crate) async fn start(secret: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let receiver = Self(Arc::new(Inner {
            address: listener.local_addr().expect("bound"),
            signer: Signer::new(&Secret::new(secret)),
            answer: Mutex::new(Answer::Status(200)),
            taken: Mutex::default(),
            request_ids: Mutex::default(),
            replays: Mutex::default(),
            headers: Mutex::default(),
            timestamp: AtomicI64::default(),
            count: watch::Sender::new(0),
            requests: watch::Sender::new(0),
            validations: watch::Sender::new(0),
        }));
        let router = Router::new().fallback(take).layer(DefaultBodyLimit::disable()).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/webhook", self.0.address)
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.0.answer.lock().expect("no panic") = answer;
    }

    /// Waits until so many different bodies were taken.
    pub(crate) async fn has_taken(&self, bodies: usize) {
        self.0.count.subscribe().wait_for(|count| *count >= bodies).await.expect("alive");
    }

    /// Waits until this body was taken.
    pub(crate) async fn has_taken_body(&self, body: &[u8]) {
        self.0.count.subscribe().wait_for(|_| self.has(body)).await.expect("alive");
    }

    /// Waits until so many requests have come, whatever they were answered.
    pub(crate) async fn has_seen(&self, requests: usize) {
        self.0.requests.subscribe().wait_for(|count| *count >= requests).await.expect("alive");
    }

    /// Waits until so many URL validations have come, whatever they were answered.
    pub(crate) async fn has_been_asked(&self, validations: usize) {
        self.0.validations.subscribe().wait_for(|count| *count >= validations).await.expect("alive");
    }

    pub(crate) fn validations(&self) -> usize {
        *self.0.validations.borrow()
    }

    pub(crate) fn requests(&self) -> usize {
        *self.0.requests.borrow()
    }

    /// Returns the timestamp that was signed last, in Unix seconds.
    pub(crate) fn last_timestamp(&self) -> i64 {
        self.0.timestamp.load(Ordering::Relaxed)
    }

    pub(crate) fn has(&self, body: &[u8]) -> bool {
        self.0.taken.lock().expect("no panic").contains_key(body)
    }

    /// Returns what each request with this body said of replays, in the order in which they came.
    pub(crate) fn replays(&self, body: &str) -> Vec<Option<String>> {
        self.0.replays.lock().expect("no panic").get(body.as_bytes()).cloned().unwrap_or_default()
    }

    /// Returns a header of the last request.
    pub(crate) fn header(&self, name: &str) -> String {
        let headers = self.0.headers.lock().expect("no panic");
        headers.get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
    }

    pub(crate) fn taken(&self) -> HashMap<Bytes, u32> {
        self.0.taken.lock().expect("no panic").clone()
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let inner = &receiver.0;
    inner.headers.lock().expect("no panic").clone_from(&headers);
    let genuine = inner.signer.verify(&header("x-zm-request-timestamp"), &body, &header("x-zm-signature"));
    assert!(genuine, "a signature that a handler would refuse");
    assert_eq!(header("content-type"), "application/json; charset=utf-8");
    let timestamp = header("x-zm-request-timestamp").parse().expect("a number");
    inner.timestamp.store(timestamp, Ordering::Relaxed);
    let id = header("x-zm-request-id");
    let first = inner.request_ids.lock().expect("no panic").entry(body.clone()).or_insert_with(|| id.clone()).clone();
    assert_eq!(first, id, "one event, two request ids");
    let replay = headers.get("x-zoomhook-replay").map(|number| number.to_str().expect("digits").to_owned());
    inner.replays.lock().expect("no panic").entry(body.clone()).or_default().push(replay);
    let validation = validation_token(&body);
    let asked = if validation.is_some() { &inner.validations } else { &inner.requests };
    asked.send_modify(|count| *count += 1);
    let answer = *inner.answer.lock().expect("no panic");
    match answer {
        Answer::Status(200) => {}
        Answer::Status(status) => return StatusCode::from_u16(status).expect("a status").into_response(),
        Answer::Slow(time) => tokio::time::sleep(time).await,
        Answer::Hang => std::future::pending().await,
        Answer::Cut => {
            let head = [("content-length", "1000")];
            let broken = futures_util::stream::iter([Ok("half"), Err(std::io::Error::other("cut"))]);
            return (head, axum::body::Body::from_stream(broken)).into_response();
        }
    }
    if let Some(plain) = validation {
        let encrypted = inner.signer.validation_token(&plain);
        return axum::Json(serde_json::json!({ "plainToken": plain, "encryptedToken": encrypted })).into_response();
    }
    let mut taken = inner.taken.lock().expect("no panic");
    *taken.entry(body).or_default() += 1;
    inner.count.send_replace(taken.len());
    StatusCode::OK.into_response()
}

/// Returns the `plainToken` of a URL validation that the bridge asks; one that came over the socket is an event.
fn validation_token(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let token = body["payload"]["plainToken"].as_str().filter(|_| body["event"] == "endpoint.url_validation")?;
    // The bridge makes its tokens of hexadecimal digits, the sample of Zoom's has others.
    token.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| token.to_owned())
}
