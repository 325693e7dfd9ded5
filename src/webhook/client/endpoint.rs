//! One URL, and the connections to it: a request out, an answer in.

use std::error::Error;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use super::ClientError;
use super::connection::Connection;
use super::pool::Pool;
use crate::config::allow::AllowList;
use crate::config::proxy::Outbound;
use crate::net::ConnectError;
use crate::net::route::{DialError, Route};
use crate::tls::fault::{TlsFault, distrust, fault};
use crate::webhook::verdict::SendError;

/// Posts to one URL.
pub(super) struct Endpoint {
    route: Route,
    /// Path and query.
    target: Uri,
    host: HeaderValue,
    pool: Pool,
}

/// Is what came back.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// The beginning of the body.
    pub(super) body: Vec<u8>,
}

/// Says how much of a body is of use.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Bytes that are read; of a longer one the rest is dropped, with the connection.
    pub(super) read: usize,
    /// Bytes of them that are kept.
    pub(super) kept: usize,
}

impl Endpoint {
    /// Makes the endpoint of a URL to which up to `idle` connections are kept.
    pub(super) fn new(
        url: &Url,
        (outbound, allow): (&Outbound, &AllowList),
        tls: Arc<ClientConfig>,
        idle: usize,
    ) -> Result<Self, ClientError> {
        // Addresses that stand in a URL are not resolved: they are looked at here.
        allow.judge_url(url, outbound)?;
        let unfit = |_| ClientError::Url;
        Ok(Self {
            route: Route::new(url, outbound, Some(allow.clone()), tls),
            target: Uri::try_from(&url[Position::BeforePath..Position::AfterQuery]).map_err(unfit)?,
            host: HeaderValue::try_from(&url[Position::BeforeHost..Position::AfterPort])
                .map_err(|_| ClientError::Url)?,
            pool: Pool::new(idle),
        })
    }

    /// Posts, and reads the answer.
    ///
    /// # Errors
    /// When there is no complete answer before the deadline.
    pub(super) async fn post(
        &self,
        headers: HeaderMap,
        body: Bytes,
        limits: Limits,
        deadline: Instant,
    ) -> Result<Reply, SendError> {
        let (mut connection, is_kept) = match self.pool.take() {
            Some(connection) => (connection, true),
            None => (self.connect(deadline).await?, false),
        };
        let _lent = self.pool.lend();
        let exchange = exchange(&mut connection, self.request(headers, body), limits);
        match timeout_at(deadline, exchange).await {
            Ok(Ok(reply)) => {
                self.pool.put(connection);
                Ok(reply)
            }
            // What is cancelled was never begun.
            Ok(Err(error)) if is_kept && (error.is_canceled() || (connection.is_unanswered() && is_closed(&error))) => {
                // The others are as old: a handler that was started anew has closed them all.
                self.pool.clear();
                Err(SendError::Stale(innermost(&error)))
            }
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => Err(SendError::Timeout),
        }
    }

    fn request(&self, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.host.clone());
        request
    }

    async fn connect(&self, deadline: Instant) -> Result<Connection, SendError> {
        let stream = self.route.open(deadline).await.map_err(|error| match error {
            DialError::Connect(ConnectError::Name(error)) => SendError::Dns(error.to_string()),
            DialError::Connect(ConnectError::Forbidden(forbidden)) => SendError::Egress(forbidden),
            DialError::Connect(ConnectError::Refused) => SendError::Refused,
            DialError::Connect(ConnectError::Address(reason)) => SendError::Connect(reason),
            DialError::Connect(ConnectError::Late) | DialError::Late => SendError::Timeout,
            DialError::Connect(ConnectError::Short(shortage)) => {
                // Others may have none at all.
                self.pool.give_one_up();
                SendError::Short(shortage)
            }
            DialError::Proxy(error) => SendError::Proxy(error),
            DialError::Tls(error) => {
                let words = distrust(&error).map_or_else(|| error.to_string(), str::to_owned);
                SendError::Tls(TlsFault::of(&error), words)
            }
        })?;
        Connection::new(stream).await.map_err(|error| broken(&error))
    }
}

/// Sends a request and reads its answer to its end, or until it has more bytes than are read.
async fn exchange(
    connection: &mut Connection,
    request: Request<Full<Bytes>>,
    limits: Limits,
) -> Result<Reply, hyper::Error> {
    let (head, mut incoming) = connection.send(request).await?.into_parts();
    let (mut body, mut read) = (Vec::new(), 0);
    // A server whose answer has no length ends it with the connection. Many do so without a word of TLS, and what a longer
    // answer would have held is of no use here.
    let is_end = |error: &hyper::Error| io_kind(error) == Some(io::ErrorKind::UnexpectedEof);
    let has_length = [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name));
    while read <= limits.read
        && let Some(piece) = connection.piece(&mut incoming).await
    {
        let piece = match piece {
            Err(error) if !has_length && is_end(&error) => break,
            piece => piece?,
        };
        read += piece.len();
        let room = limits.kept - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
}

/// Tells whether an error is the end of a connection; without a word of TLS, too.
fn is_closed(error: &hyper::Error) -> bool {
    error.is_incomplete_message()
        || matches!(
            io_kind(error),
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof)
        )
}

fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    error.source().and_then(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// Says what ended an exchange. By TLS 1.3 a server refuses the certificate of its client only here.
fn broken(error: &hyper::Error) -> SendError {
    match fault(error) {
        Some(fault) => SendError::Tls(TlsFault::of(error), fault.to_string()),
        None => SendError::Cut(innermost(error)),
    }
}

/// Returns the text of the innermost error.
fn innermost(error: &hyper::Error) -> String {
    let mut innermost: &(dyn Error + 'static) = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}
