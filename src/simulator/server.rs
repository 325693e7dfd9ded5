//! The accept loop of both servers of this chapter.
//!
//! axum's own loop would do but for one thing: a handler that misbehaves must be able to hang up without an answer.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Connections that are served at once, idle ones among them; further ones wait to be accepted. Above the usual limit
/// of file descriptors, so that a client without bounds meets that limit, which is told, and not a silent wait.
const CONNECTIONS: usize = 4096;
/// The largest body that is taken: several times the largest event that the bridge takes.
pub(super) const BODY: usize = 16 << 20;
/// How long the loop rests when nothing can be accepted, as without free file descriptors.
const REST: Duration = Duration::from_millis(100);

/// Is a connection, encrypted or not.
pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Marks a response that is never written: the connection is closed instead.
#[derive(Clone, Copy)]
pub(super) struct HangUp;

#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
struct HungUp;

impl IntoResponse for HangUp {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Hands every connection to `enter` until `stop`; then connections are cut.
pub(super) async fn serve<F>(listener: &TcpListener, enter: impl Fn(TcpStream) -> F, stop: &CancellationToken)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    // Without it a small frame waits for the acknowledgement of the one before.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(enter(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(REST).await;
                }
            },
        }
    }
}

/// Serves the requests of one connection to its end, which is also reached when it is upgraded.
pub(super) async fn http(stream: Stream, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let answered: Result<Response, Infallible> = router.oneshot(request.map(Body::new)).await;
            let response = answered.unwrap_or_else(|never| match never {});
            if response.extensions().get::<HangUp>().is_some() { Err(HungUp) } else { Ok(response) }
        }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        tracing::debug!(%error, "a connection ended early");
    }
}
