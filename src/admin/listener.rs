//! The accept loop of the port: a bounded number of connections, each of which must go on.
//!
//! axum's own loop takes as many connections as come and lets each stay for ever; a few dozen that say nothing would
//! use up the file descriptors that deliveries need.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::certificate::Certificate;
use super::door::{Door, Peer};
use super::rarely::Rarely;
use super::seats::{SEATS, Seat, Seats};
use crate::telemetry::metrics::{ByReason, Metrics};

/// The largest head of a request, and the memory that a connection has for it.
const HEAD_BYTES: usize = 16 << 10;
/// How often seats are looked after while there are connections.
const CHECK: Duration = Duration::from_millis(250);
/// How long the loop rests when nothing can be accepted, as without free file descriptors.
const REST: Duration = Duration::from_millis(100);
/// How long a stop waits for answers that are under way; the port is the last thing to go.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Answers requests until `stop`, then lets those under way end.
pub(super) async fn serve(
    door: Door,
    certificate: Option<Arc<Certificate>>,
    router: Router,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let seats = Seats::default();
    let mut connections = JoinSet::new();
    let warnings = Rarely::default();
    let mut checks = interval(CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        metrics.admin_connections.set(i64::try_from(seats.taken()).unwrap_or(i64::MAX));
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            Some(_) = connections.join_next() => {}
            _ = checks.tick(), if !connections.is_empty() => refused(&metrics, "slow", seats.sweep(Instant::now())),
            accepted = door.accept(), if seats.has_room(Instant::now()) => match accepted {
                Ok((stream, peer)) => {
                    if seats.make_room(Instant::now()) {
                        refused(&metrics, "displaced", 1);
                    }
                    // What lost its seat is closed before more is opened.
                    while connections.len() >= SEATS && connections.join_next().await.is_some() {}
                    let seat = seats.take(peer.address(), Instant::now());
                    let acceptor = certificate.as_ref().map(|certificate| certificate.acceptor());
                    let (router, metrics, stop) = (router.clone(), Arc::clone(&metrics), stop.clone());
                    connections.spawn(async move {
                        let Some(acceptor) = acceptor else { return connection(stream, peer, seat, router, stop).await };
                        let encrypted = tokio::select! {
                            encrypted = acceptor.accept(stream) => encrypted,
                            () = seat.lost() => return,
                            () = stop.cancelled() => return,
                        };
                        match encrypted {
                            Ok(stream) => connection(stream, peer, seat, router, stop).await,
                            Err(error) => {
                                refused(&metrics, "tls", 1);
                                tracing::debug!(%error, %peer, "no tls with a client of the admin port");
                            }
                        }
                    });
                }
                Err(error) => {
                    if let Some(unsaid) = warnings.now(Instant::now()) {
                        tracing::warn!(%error, unsaid, "the admin port cannot accept a connection");
                    }
                    sleep(REST).await;
                }
            },
        }
    }
    drop(door);
    // Those that have not ended by then are cut with the set.
    let _ = timeout(SHUTDOWN, async { while connections.join_next().await.is_some() {} }).await;
}

fn refused(metrics: &Metrics, reason: &'static str, count: u64) {
    if count > 0 {
        metrics.admin_refusals.get_or_create(&ByReason { reason }).inc_by(count);
    }
}

/// Serves the requests of one connection, one after the other, until it ends or its seat is lost.
async fn connection<S>(stream: S, peer: Peer, seat: Seat, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let of_request = seat.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(of_request.clone());
        router.clone().oneshot(request)
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES).max_header_size(HEAD_BYTES);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = seat.lost() => return,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut serving => ended,
                () = seat.lost() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection to the admin port ended early");
    }
}

#[cfg(test)]
mod tests;
