//! What one request may cost: its body must come in time, its answer must be made in time, and few are under way at
//! once.
//!
//! An answer that is a stream of events may last; there are places of their own for these, and each gives up its
//! connection when the peer takes nothing more.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::auth;
use super::problem::Problem;
use super::seats::{SEATS, Seat, Streaming};
use crate::telemetry::metrics::{ByReason, Metrics};

/// The largest body of a request: some thousand event ids to replay.
pub(super) const BODY_BYTES: usize = 64 << 10;
/// How long a body may take: it fits into a few packets.
const BODY: Duration = Duration::from_secs(10);
/// No answer takes longer, a reload that probes nothing included.
const DEADLINE: Duration = Duration::from_secs(30);
/// Requests under way at once; a console sends a few, a scraper one.
const UNDER_WAY: usize = 12;
/// Streams that are open at once: so many people look at a console that is live.
const STREAMS: usize = 8;
/// A health check finds a seat whatever else goes on.
const _: () = assert!(UNDER_WAY + STREAMS < SEATS, "some seats must be those of peers on turn, who can be displaced");

/// Holds the places that there are; clones share them.
#[derive(Clone)]
pub(super) struct Limits {
    under_way: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    /// Ends streams, which would go on for ever.
    stop: CancellationToken,
}

impl Limits {
    pub(super) fn new(metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { under_way: places(UNDER_WAY), streams: places(STREAMS), metrics, stop }
    }

    fn refuse(&self, problem: Problem) -> Problem {
        self.metrics.admin_refusals.get_or_create(&ByReason { reason: problem.code() }).inc();
        problem
    }

    fn place(&self, places: &Arc<Semaphore>, or: Problem) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(places).try_acquire_owned().map_err(|_| self.refuse(or))
    }
}

/// Lets a request go on once its body is there and a place is free, and ends it when its time is up.
pub(super) async fn bound(State(limits): State<Limits>, request: Request, next: Next) -> Result<Response, Problem> {
    let seat = request.extensions().get::<Seat>().cloned();
    let (parts, body) = request.into_parts();
    let body = whole(body).await.map_err(|problem| limits.refuse(problem))?;
    // Health is told however busy the port is: it costs nothing.
    let _place =
        if auth::is_open(parts.uri.path()) { None } else { Some(limits.place(&limits.under_way, Problem::Busy)?) };
    let answering = seat.as_ref().map(Seat::answering);
    let late = if parts.method.is_safe() { Problem::Timeout } else { Problem::Unconfirmed };
    let answered = timeout(DEADLINE, next.run(Request::from_parts(parts, Body::from(body)))).await;
    let response = answered.map_err(|_| limits.refuse(late))?;
    if is_stream(&response) {
        let place = limits.place(&limits.streams, Problem::TooManyStreams)?;
        drop(answering);
        let streaming = seat.as_ref().map(Seat::streaming);
        return Ok(response.map(|body| streamed(body, streaming, place, &limits.stop)));
    }
    Ok(response)
}

/// Reads a body to its end, so that nothing is begun for one that does not come.
async fn whole(body: Body) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Err(Problem::TooLarge);
    }
    let read = async {
        let mut chunks = body.into_data_stream();
        let mut bytes = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Problem::BadBody("the body ended before it was complete".to_owned()))?;
            if bytes.len() + chunk.len() > BODY_BYTES {
                return Err(Problem::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    };
    timeout(BODY, read).await.unwrap_or(Err(Problem::SlowBody))
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    response.status() == StatusCode::OK && kind.starts_with("text/event-stream")
}

/// A part is only asked for when the peer has taken those before: what it does not take, ends it.
fn streamed(body: Body, streaming: Option<Streaming>, place: OwnedSemaphorePermit, stop: &CancellationToken) -> Body {
    let held = (streaming, place);
    let parts = body.into_data_stream().take_until(stop.clone().cancelled_owned());
    Body::from_stream(parts.inspect(move |_| {
        let (streaming, _place) = &held;
        if let Some(streaming) = streaming {
            streaming.goes_on();
        }
    }))
}
