//! One POST to a handler, as a tower stack.
//!
//! ```text
//! Outgoing ──▶ concurrency limit ──▶ timeout ──▶ Post (reqwest) ──▶ Answer | SendError
//! ```
//!
//! Waiting for a slot is not part of the timeout; connecting, sending, and reading the answer to its end
//! are. HTTP/1.1 with keep-alive, no redirects, no proxy, no cookies, nothing repeated: whether to try again
//! is decided elsewhere. `accept: */*` is the one header that reqwest insists on and Zoom does not send.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, iter};

use http::header::RETRY_AFTER;
use reqwest::{Method, Request, Response, Url, redirect, retry};
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder};

use super::request::Outgoing;
use super::verdict::{Answer, SendError};
use crate::config::Destination;
use crate::tls::{self, TlsError};

/// How long an idle connection is kept: shorter than the 5 s of Node's servers, so that a request rarely
/// meets a connection that the handler is just closing.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// How much of an answer is read to keep its connection. Handlers answer with nothing, a word, or an error
/// page; a longer answer costs a new connection instead.
const BODY_MAX: usize = 8 * 1024;
/// How much of an answer is kept for the operator: the first lines of an error page.
const EXCERPT_MAX: usize = 512;

/// Sends attempts to one destination; clones share its connections and its concurrency limit.
pub type Client = BoxCloneSyncService<Outgoing, Answer, SendError>;

/// Says why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The trusted certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client cannot be set up.
    #[error("http client cannot be set up")]
    Build(#[from] reqwest::Error),
}

/// Makes the client of a destination.
///
/// # Errors
/// When the certificates in `ca_file` cannot be used.
pub fn client(destination: &Destination) -> Result<Client, ClientError> {
    let http = reqwest::Client::builder()
        // Trusted roots are always given, so that a machine without a CA store can post to `http://` too.
        .tls_backend_preconfigured(tls::client_config(destination.ca_file.as_deref())?)
        .http1_only()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .tcp_nodelay(true)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(destination.concurrency)
        .build()?;
    let stack = ServiceBuilder::new()
        .map_err(outermost)
        .concurrency_limit(destination.concurrency)
        .timeout(destination.timeout)
        .service(Post { http, url: destination.url.clone() });
    Ok(BoxCloneSyncService::new(stack))
}

fn outermost(error: BoxError) -> SendError {
    match error.downcast::<SendError>() {
        Ok(error) => *error,
        Err(other) if other.is::<Elapsed>() => SendError::Timeout,
        Err(other) => SendError::Own(other.to_string()),
    }
}

/// Posts to one URL and reads the answer.
#[derive(Clone)]
struct Post {
    http: reqwest::Client,
    url: Url,
}

impl Service<Outgoing> for Post {
    type Response = Answer;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, SendError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = outgoing.headers;
        *request.body_mut() = Some(outgoing.body.into());
        let sent = self.http.execute(request);
        Box::pin(async move { read(sent.await.map_err(|error| classify(&error))?).await })
    }
}

/// Reads an answer to its end, or to [`BODY_MAX`]; there the connection is dropped with the rest of it.
async fn read(mut response: Response) -> Result<Answer, SendError> {
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut excerpt = Vec::new();
    let mut size = 0;
    while size <= BODY_MAX
        && let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))?
    {
        size += chunk.len();
        let room = EXCERPT_MAX - excerpt.len();
        excerpt.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    let excerpt = String::from_utf8_lossy(&excerpt).into_owned();
    Ok(Answer { status: response.status().as_u16(), retry_after, excerpt })
}

/// Finds out what kind of failure an error is. Its own text names the URL, so only the innermost is kept.
fn classify(error: &reqwest::Error) -> SendError {
    let chain = || iter::successors(Some(error as &(dyn Error + 'static)), |error| inner(*error));
    let text = || chain().last().map(ToString::to_string).unwrap_or_default();
    let is_io = |kind| chain().filter_map(|error| error.downcast_ref::<io::Error>()).any(|error| error.kind() == kind);

    if error.is_builder() {
        SendError::Own(text())
    } else if error.is_dns() {
        SendError::Dns(text())
    } else if chain().any(|error| error.is::<rustls::Error>()) {
        SendError::Tls(text())
    } else if error.is_timeout() {
        SendError::Timeout
    } else if !error.is_connect() {
        SendError::Cut(text())
    } else if is_io(io::ErrorKind::ConnectionRefused) {
        SendError::Refused
    } else if is_io(io::ErrorKind::UnexpectedEof) {
        // TCP has no end of file before it is connected: the handshake of TLS was cut off.
        SendError::Tls(text())
    } else {
        SendError::Connect(text())
    }
}

/// Returns the error inside another; what an IO error wraps is not among its sources.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests;
