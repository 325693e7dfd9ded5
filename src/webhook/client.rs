//! One POST to a handler, as a tower stack.
//!
//! ```text
//! Outgoing ──▶ concurrency limit ──▶ [token] ──▶ Post (timeout, reqwest) ──▶ Answer | SendError
//! ```
//!
//! Waiting for a slot or for a token is not part of the timeout; connecting, sending, and reading the answer to its
//! end are. Whether it was the proxy that took so long is found out after it. HTTP/1.1 with keep-alive, no redirects, no proxy but the one that is configured, no cookies, and nothing
//! repeated but what a handler refused for its token: whether to try again is decided elsewhere. `accept: */*` is the
//! one header that reqwest insists on and Zoom does not send.
//!
//! A handler that closes an idle connection just when a request is written to it has not failed: such an end is told
//! apart ([`SendError::Stale`]), so that it costs another request and no wait.

mod connecting;
mod excerpt;
mod oauth;

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, iter};

use http::header::RETRY_AFTER;
use reqwest::{Method, Request, Response, Url, redirect, retry};
use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, layer};

use self::connecting::{Connection, Connector, Sent, watch};
use self::excerpt::Excerpt;
use self::oauth::{Authorized, Tokens};
use super::authorization::secrets;
use super::request::Outgoing;
use super::verdict::{Answer, SendError};
use crate::clock::Clock;
use crate::config::Destination;
use crate::config::allow::{AllowList, Forbidden};
use crate::config::authorization::Auth;
use crate::config::proxy::Outbound;
use crate::config::secret::Secret;
use crate::net;
use crate::net::guard::Guard;
use crate::tls::{Roots, TlsError};

/// How long an idle connection is kept: shorter than the 5 s of Node's servers, so that a request rarely
/// meets a connection that the handler is just closing.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// How much of an answer is read to keep its connection. Handlers answer with nothing, a word, or an error
/// page; a longer answer costs a new connection instead.
const BODY_MAX: usize = 8 * 1024;
/// How much of an answer is kept for the operator: the first lines of an error page.
const EXCERPT_MAX: usize = 512;

/// Is how requests get out, and where to.
type Route = (Outbound, AllowList);

/// Sends attempts to one destination; clones share its connections and its concurrency limit.
pub type Client = BoxCloneSyncService<Outgoing, Answer, SendError>;

/// Says why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The trusted certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A URL holds an address that must not be connected to.
    #[error(transparent)]
    Egress(#[from] Forbidden),
    /// The HTTP client cannot be set up.
    #[error("http client cannot be set up")]
    Build(#[from] reqwest::Error),
}

/// Makes the client of a destination, which trusts `roots` and the certificates in its `ca_file`.
///
/// # Errors
/// When the certificates in `ca_file` cannot be used.
pub fn client(destination: &Destination, roots: &Roots, clock: &Clock) -> Result<Client, ClientError> {
    // Addresses that stand in a URL are not resolved, and so never looked at again.
    judge(destination)?;
    let http = reqwest::Client::builder()
        // Trusted roots are always given, so that a machine without a CA store can post to `http://` too.
        .tls_backend_preconfigured(roots.client(destination.ca_file.as_deref(), &destination.tls)?)
        .connector_layer(layer::layer_fn(Connector))
        .http1_only()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .dns_resolver(Guard::new(&destination.allow, &destination.outbound))
        .proxy(net::proxy::for_reqwest(destination.outbound.clone()))
        .tcp_nodelay(true)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(destination.concurrency)
        .build()?;
    let Destination { url, concurrency, timeout: patience, auth, outbound, allow, .. } = destination;
    let route = Arc::new((outbound.clone(), allow.clone()));
    let secrets = secrets(destination).into();
    let patience = *patience;
    let post = Post { http: http.clone(), url: url.clone(), patience, route: Arc::clone(&route), secrets };
    let stack = ServiceBuilder::new().concurrency_limit(*concurrency);
    Ok(match auth {
        Auth::None | Auth::VerificationToken(_) | Auth::Basic { .. } | Auth::Bearer(_) | Auth::Header { .. } => {
            BoxCloneSyncService::new(stack.service(post))
        }
        Auth::OAuth(oauth) => {
            let tokens = Tokens::new(http, oauth, route, patience, clock.clone());
            BoxCloneSyncService::new(stack.service(Authorized::new(post, tokens)))
        }
    })
}

/// Looks at the URLs, as far as that can be done before names are resolved.
fn judge(destination: &Destination) -> Result<(), Forbidden> {
    let Destination { url, auth, outbound, allow, .. } = destination;
    allow.judge_url(url, outbound)?;
    match auth {
        Auth::OAuth(oauth) => allow.judge_url(&oauth.token_url, outbound),
        Auth::None | Auth::VerificationToken(_) | Auth::Basic { .. } | Auth::Bearer(_) | Auth::Header { .. } => Ok(()),
    }
}

/// Posts to one URL and reads the answer.
#[derive(Clone)]
struct Post {
    http: reqwest::Client,
    url: Url,
    /// How long an exchange may take.
    patience: Duration,
    route: Arc<Route>,
    /// What requests carry and answers must not be kept with; tokens come with the request.
    secrets: Arc<[Secret]>,
}

impl Service<Outgoing> for Post {
    type Response = Answer;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, SendError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        let secrets = excerpt::secrets(&self.secrets, &outgoing.headers);
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = outgoing.headers;
        *request.body_mut() = Some(outgoing.body.into());
        let sent = self.http.execute(request);
        let (url, patience, route) = (self.url.clone(), self.patience, Arc::clone(&self.route));
        Box::pin(async move {
            let exchange = async { Ok(read(sent.await?, &secrets).await) };
            let Sent { outcome, connection } = watch(timeout(patience, exchange)).await;
            match outcome {
                Ok(Ok(read)) => read,
                Ok(Err(error)) if connection == Connection::Kept && is_closed(&error) => {
                    Err(SendError::Stale(innermost(&error)))
                }
                Ok(Err(error)) => Err(diagnose(&error, &route, &url).await),
                Err(_) => Err(late(connection, &route, &url).await),
            }
        })
    }
}

/// Reads an answer to its end, or to [`BODY_MAX`]; there the connection is dropped with the rest of it.
async fn read(mut response: Response, secrets: &[Secret]) -> Result<Answer, SendError> {
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let excerpt = Excerpt { size: EXCERPT_MAX, secrets };
    let body = read_body(&mut response, BODY_MAX, excerpt.needs()).await?;
    Ok(Answer { status: response.status().as_u16(), retry_after, excerpt: excerpt.of(&body) })
}

/// Reads a body to its end, or until it has more than `size` bytes; returns the first of them.
async fn read_body(response: &mut Response, size: usize, kept: usize) -> Result<Vec<u8>, SendError> {
    let mut body = Vec::new();
    let mut read = 0;
    while read <= size
        && let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))?
    {
        read += chunk.len();
        let room = kept - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    Ok(body)
}

/// Tells whether an error is the end of a connection before the head of an answer had come; without a word of TLS, too.
fn is_closed(error: &reqwest::Error) -> bool {
    chain(error).any(|error| {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof))
            || error.downcast_ref().is_some_and(hyper::Error::is_incomplete_message)
    })
}

/// Finds out what kind of failure an error is, and whether it is one of the proxy on the way.
async fn diagnose(error: &reqwest::Error, (outbound, allow): &Route, url: &Url) -> SendError {
    let classified = classify(error);
    match classified {
        SendError::Dns(_) | SendError::Refused | SendError::Connect(_) => {
            net::proxy::fault(outbound, url, allow, Some(error)).await.map_or(classified, SendError::Proxy)
        }
        SendError::Tls(_)
        | SendError::Timeout
        | SendError::Cut(_)
        | SendError::Stale(_)
        | SendError::Egress(_)
        | SendError::Proxy(_)
        | SendError::Token(_)
        | SendError::Own(_) => classified,
    }
}

/// Finds out for whom an exchange waited that was not done in time.
async fn late(connection: Connection, (outbound, allow): &Route, url: &Url) -> SendError {
    match connection {
        Connection::Begun => {
            net::proxy::fault(outbound, url, allow, None).await.map_or(SendError::Timeout, SendError::Proxy)
        }
        Connection::Kept | Connection::New => SendError::Timeout,
    }
}

/// Finds out what kind of failure an error is. Its own text names the URL, so only the innermost is kept.
fn classify(error: &reqwest::Error) -> SendError {
    let text = || innermost(error);
    let is_io =
        |kind| chain(error).filter_map(|error| error.downcast_ref::<io::Error>()).any(|error| error.kind() == kind);

    if let Some(forbidden) = chain(error).find_map(|error| error.downcast_ref::<Forbidden>()) {
        SendError::Egress(forbidden.clone())
    } else if error.is_builder() {
        SendError::Own(text())
    } else if error.is_dns() {
        SendError::Dns(text())
    } else if chain(error).any(|error| error.is::<rustls::Error>()) {
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

/// Returns the text of the innermost error, the one that names no URL.
fn innermost(error: &reqwest::Error) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// Returns an error and all that it comes from, the outermost first.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    iter::successors(Some(error as &(dyn Error + 'static)), |error| inner(*error))
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
