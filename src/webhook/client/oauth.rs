//! Tokens from a handler's own token endpoint, as Zoom gets them: asked for with Basic credentials and a form, kept
//! until shortly before their end, and asked for anew once when the handler refuses one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::{Service, ServiceExt as _};
use url::Position;
use zeroize::Zeroizing;

use super::endpoint::{Endpoint, Limits};
use super::excerpt::conceal;
use crate::clock::Clock;
use crate::config::authorization::OAuth;
use crate::config::secret::Secret;
use crate::net::shortage::Shortage;
use crate::tls::fault::TlsFault;
use crate::webhook::authorization::{basic, bearer, grant};
use crate::webhook::request::Outgoing;
use crate::webhook::verdict::{Answer, SendError};

/// How much of an answer is read. A token takes some kB; an error page may be endless.
const ANSWER_MAX: usize = 64 * 1024;

/// Adds a token to each request, before `inner` sends it.
#[derive(Clone)]
pub(super) struct Authorized<S> {
    inner: S,
    tokens: Arc<Tokens>,
}

impl<S> Authorized<S> {
    pub(super) fn new(inner: S, tokens: Tokens) -> Self {
        Self { inner, tokens: Arc::new(tokens) }
    }
}

impl<S> Service<Outgoing> for Authorized<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answer;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, SendError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        let Self { inner, tokens } = self.clone();
        Box::pin(async move {
            let token = tokens.token(None).await?;
            let answer = token.send(inner.clone(), outgoing.clone()).await?;
            if answer.status != 401 {
                return Ok(answer);
            }
            let fresh = tokens.token(Some(&token)).await?;
            // An endpoint that gives the same one again says that it is good.
            if fresh.value == token.value { Ok(answer) } else { fresh.send(inner, outgoing).await }
        })
    }
}

/// Is a token that was fetched.
#[derive(Clone)]
struct Token {
    value: Secret,
    header: HeaderValue,
    good_until: Instant,
}

impl Token {
    async fn send<S>(&self, inner: S, mut outgoing: Outgoing) -> Result<Answer, SendError>
    where
        S: Service<Outgoing, Response = Answer, Error = SendError>,
    {
        outgoing.headers.insert(AUTHORIZATION, self.header.clone());
        inner.oneshot(outgoing).await
    }
}

/// Says why there is no token.
struct Refusal {
    tls: Option<TlsFault>,
    /// The endpoint was not even asked, for want of this.
    shortage: Option<Shortage>,
    words: String,
}

impl From<String> for Refusal {
    fn from(words: String) -> Self {
        Self { tls: None, shortage: None, words }
    }
}

/// Holds the token of one destination.
pub(super) struct Tokens {
    endpoint: Endpoint,
    oauth: OAuth,
    credentials: HeaderValue,
    patience: Duration,
    clock: Clock,
    /// Requests that came to an end, one way or the other.
    requests: AtomicU64,
    /// What the last request came to; locked for the time of a request, so that there is one at a time.
    last: Mutex<Option<Result<Token, SendError>>>,
}

impl Tokens {
    /// Makes a source of tokens that asks an endpoint, and waits for an answer as long as `patience`.
    pub(super) fn new(endpoint: Endpoint, oauth: &OAuth, patience: Duration, clock: Clock) -> Self {
        let credentials = basic(&oauth.client_id, &oauth.client_secret);
        Self {
            endpoint,
            oauth: oauth.clone(),
            credentials,
            patience,
            clock,
            requests: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// Returns a token that has not expired, and is not the one that was refused.
    ///
    /// Whoever waits for a request of another shares what comes of it.
    async fn token(&self, refused: Option<&Token>) -> Result<Token, SendError> {
        let asked = self.requests.load(Ordering::Relaxed);
        let mut last = self.last.lock().await;
        let waited_for_another = self.requests.load(Ordering::Relaxed) != asked;
        match &*last {
            Some(Ok(token))
                if self.clock.instant() < token.good_until
                    && refused.is_none_or(|refused| waited_for_another || refused.value != token.value) =>
            {
                return Ok(token.clone());
            }
            Some(Err(error)) if waited_for_another => return Err(error.clone()),
            Some(Ok(_) | Err(_)) | None => {}
        }
        let outcome = self.ask().await;
        let outcome = outcome.map_err(|reason| self.failed(reason));
        self.requests.fetch_add(1, Ordering::Relaxed);
        *last = Some(outcome.clone());
        outcome
    }

    async fn ask(&self) -> Result<Token, Refusal> {
        let asked_at = self.clock.instant();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.credentials.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = Bytes::from_static(b"grant_type=client_credentials");
        let limits = Limits { read: ANSWER_MAX, kept: ANSWER_MAX };
        let sent = self.endpoint.post(headers, body, limits, Instant::now() + self.patience).await;
        let reply = sent.map_err(|error| {
            let shortage = if let SendError::Short(shortage) = error { Some(shortage) } else { None };
            Refusal { tls: error.tls(), shortage, words: error.to_string() }
        })?;
        let body = Zeroizing::new(reply.body);
        let grant = grant(reply.status, &body)?;
        let header = bearer(&grant.token).ok_or_else(|| "gives a token that does not fit into a header".to_owned())?;
        Ok(Token { value: grant.token, header, good_until: asked_at + grant.used_for })
    }

    /// Names the endpoint, by its host: its path and query may hold a key.
    fn failed(&self, Refusal { tls, shortage, words }: Refusal) -> SendError {
        if let Some(shortage) = shortage {
            return SendError::Short(shortage);
        }
        let host = &self.oauth.token_url[Position::BeforeHost..Position::AfterPort];
        let mut words = format!("{host}: {words}");
        conceal(&mut words, std::slice::from_ref(&self.oauth.client_secret));
        SendError::Token { tls, words }
    }
}
