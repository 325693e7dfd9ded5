//! One POST to a handler, as a tower stack.
//!
//! ```text
//! Outgoing ──▶ concurrency limit ──▶ [token] ──▶ Post (deadline, endpoint) ──▶ Answer | SendError
//! ```
//!
//! Waiting for a slot or for a token is not part of the timeout; connecting, sending, and reading the answer to its
//! end are. HTTP/1.1 with keep-alive, no redirects, no proxy but the one that is configured, no cookies, and nothing
//! repeated but what a handler refused for its token: whether to try again is decided elsewhere.
//!
//! A handler that closes an idle connection just when a request is written to it has not failed: such an end is told
//! apart ([`SendError::Stale`]), so that it costs another request and no wait.

mod connection;
mod endpoint;
mod excerpt;
mod oauth;
mod pool;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::RETRY_AFTER;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder};

use self::endpoint::{Endpoint, Limits};
use self::excerpt::Excerpt;
use self::oauth::{Authorized, Tokens};
use super::authorization::secrets;
use super::request::Outgoing;
use super::verdict::{Answer, SendError};
use crate::clock::Clock;
use crate::config::Destination;
use crate::config::allow::Forbidden;
use crate::config::authorization::Auth;
use crate::config::secret::Secret;
use crate::tls::{Roots, TlsError};

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
    /// A URL holds an address that must not be connected to.
    #[error(transparent)]
    Egress(#[from] Forbidden),
    /// A URL cannot be posted to.
    #[error("a URL is longer than 64 kB, or holds what no request can carry")]
    Url,
}

/// Makes the client of a destination, which trusts `roots` and the certificates in its `ca_file`.
///
/// # Errors
/// When the certificates in `ca_file`, or a URL, cannot be used.
pub fn client(destination: &Destination, roots: &Roots, clock: &Clock) -> Result<Client, ClientError> {
    let Destination { url, concurrency, timeout: patience, auth, outbound, allow, ca_file, tls, .. } = destination;
    let endpoint = |url, idle| {
        let tls = roots.towards(url).client(ca_file.as_deref(), tls)?;
        Endpoint::new(url, (outbound, allow), Arc::new(tls), idle)
    };
    let post = Post {
        endpoint: Arc::new(endpoint(url, *concurrency)?),
        patience: *patience,
        secrets: secrets(destination).into(),
    };
    let stack = ServiceBuilder::new().concurrency_limit(*concurrency);
    Ok(match auth {
        Auth::None | Auth::VerificationToken(_) | Auth::Basic { .. } | Auth::Bearer(_) | Auth::Header { .. } => {
            BoxCloneSyncService::new(stack.service(post))
        }
        Auth::OAuth(oauth) => {
            // The next request comes in an hour, by which time a connection is gone.
            let tokens = Tokens::new(endpoint(&oauth.token_url, 0)?, oauth, *patience, clock.clone());
            BoxCloneSyncService::new(stack.service(Authorized::new(post, tokens)))
        }
    })
}

/// Posts to one URL and reads the answer.
#[derive(Clone)]
struct Post {
    endpoint: Arc<Endpoint>,
    /// How long an exchange may take.
    patience: Duration,
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
        let (endpoint, deadline) = (Arc::clone(&self.endpoint), Instant::now() + self.patience);
        let secrets = excerpt::secrets(&self.secrets, &outgoing.headers);
        Box::pin(async move {
            let excerpt = Excerpt { size: EXCERPT_MAX, secrets: &secrets };
            let limits = Limits { read: BODY_MAX, kept: excerpt.needs() };
            let reply = endpoint.post(outgoing.headers, outgoing.body, limits, deadline).await?;
            let retry_after = reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
            Ok(Answer { status: reply.status, retry_after, excerpt: excerpt.of(&reply.body) })
        })
    }
}

#[cfg(test)]
mod tests;
