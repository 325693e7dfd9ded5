//! OAuth tokens: fetched with the app's credentials, shared by the sockets that use the same ones.
//!
//! Whether a new token cancels the previous one is not published, so that tokens are made sparingly:
//!
//! - one cache entry for each app and account, and one request at a time for each entry, across reloads too: whoever
//!   asks meanwhile waits, and shares the token that comes of it; an error only with those who ask in the same way, by
//!   the same proxy and with the same trust;
//! - a token that Zoom refused is replaced only if nobody has replaced it yet, and its successor not at once: what is
//!   refused then is not refused for its age;
//! - a `Retry-After` holds for all who share the entry.

mod endpoint;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::info;

use self::endpoint::{Answer, Ask, Credentials, Endpoint, Fetched};
use super::{LONGEST_THROTTLE, SetupError};
use crate::clock::Clock;
use crate::config::Subscription;
use crate::config::secret::Secret;
use crate::net::proxy::ProxyFault;
use crate::telemetry::metrics::{BySubscriptionOutcome, Certificate, Expiry, Metrics};
use crate::tls::Roots;

/// How long a token is used that has replaced a refused one, even if it is refused too.
const REPLACED_FOR: Duration = Duration::from_secs(30);

/// Says why there is no token. Messages hold no secret and no URL but the host's name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// The endpoint does not take these credentials: only the operator can help.
    #[error("{reason}")]
    Credentials {
        /// Zoom's words.
        reason: Box<str>,
    },
    /// The endpoint wants to be left alone.
    #[error("{reason}")]
    Throttled {
        /// Until then.
        until: Timestamp,
        /// What it said.
        reason: Box<str>,
    },
    /// The proxy on the way gives no connection.
    #[error("{reason}")]
    Proxy {
        /// What is wrong with it.
        fault: ProxyFault,
        /// The same in words.
        reason: Box<str>,
    },
    /// It may be better in a moment.
    #[error("{reason}")]
    Hiccup {
        /// What went wrong.
        reason: Box<str>,
    },
}

/// Holds the tokens of all subscriptions.
pub struct TokenCache {
    clock: Clock,
    metrics: Arc<Metrics>,
    ways: std::sync::Mutex<Vec<Weak<Way>>>,
}

impl TokenCache {
    /// Makes an empty cache.
    pub fn new(clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { clock, metrics, ways: std::sync::Mutex::default() }
    }

    /// Returns the source of tokens for a subscription, shared with others of the same app and account.
    ///
    /// # Errors
    /// When its certificates cannot be read.
    pub fn source(&self, subscription: &Subscription, roots: &Roots) -> Result<TokenSource, SetupError> {
        let way = self.way(Credentials::of(subscription), roots)?;
        let (clock, metrics) = (self.clock.clone(), Arc::clone(&self.metrics));
        let expiry =
            metrics.certificate_expiry.get_or_create_owned(&Certificate::SocketToken(subscription.name.to_string()));
        Ok(TokenSource { subscription: Arc::clone(&subscription.name), clock, metrics, expiry, way })
    }

    fn way(&self, credentials: Credentials, roots: &Roots) -> Result<Arc<Way>, SetupError> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.retain(|way| way.strong_count() > 0);
        let known: Vec<Arc<Way>> = ways.iter().filter_map(Weak::upgrade).collect();
        if let Some(same) = known.iter().find(|way| *way.endpoint.credentials() == credentials) {
            return Ok(Arc::clone(same));
        }
        let kin = known.iter().find(|way| way.endpoint.credentials().are_for_the_tokens_of(&credentials));
        let entry = kin.map(|way| Arc::clone(&way.entry)).unwrap_or_default();
        let way = Arc::new(Way { endpoint: Endpoint::new(credentials, roots)?, requests: AtomicU64::new(0), entry });
        ways.push(Arc::downgrade(&way));
        Ok(way)
    }
}

/// Brings the tokens of one subscription.
#[derive(Clone)]
pub struct TokenSource {
    subscription: Arc<str>,
    clock: Clock,
    metrics: Arc<Metrics>,
    expiry: Expiry,
    way: Arc<Way>,
}

/// Is one way to the tokens of an entry.
struct Way {
    endpoint: Endpoint,
    /// Requests that came to an end, one way or the other.
    requests: AtomicU64,
    entry: Arc<Entry>,
}

/// Locked for the time of a request, so that there is one at a time.
type Entry = tokio::sync::Mutex<Cached>;

#[derive(Default)]
struct Cached {
    /// The token that was fetched last.
    token: Option<Fetched>,
    /// The grant that brought it; with `auto`, the one to begin with.
    ask: Option<Ask>,
    /// Why the last request brought none, if so.
    failure: Option<TokenError>,
    /// When the token replaced one that was refused, if it did.
    replaced_at: Option<Instant>,
}

impl TokenSource {
    /// Returns a token that has not expired, and is not the one that was refused, unless that has just replaced another.
    ///
    /// # Errors
    /// When the endpoint gives none.
    pub async fn token(&self, refused: Option<&Secret>) -> Result<Secret, TokenError> {
        // Whoever else uses the entry may be the one that makes the connection.
        self.expiry.follow(self.way.endpoint.expiry());
        self.obtain(refused).await
    }

    /// Finds out whether there is a token, for a socket that may come: it will be given this one.
    ///
    /// # Errors
    /// When the endpoint gives none.
    pub(super) async fn prove(&self) -> Result<(), TokenError> {
        self.obtain(None).await.map(drop)
    }

    async fn obtain(&self, refused: Option<&Secret>) -> Result<Secret, TokenError> {
        let asked = self.way.requests.load(Ordering::Relaxed);
        let mut cached = self.way.entry.lock().await;
        let waited_for_another = self.way.requests.load(Ordering::Relaxed) != asked;
        let (now, instant) = (self.clock.now(), self.clock.instant());
        let is_new = cached.replaced_at.is_some_and(|at| instant.saturating_duration_since(at) < REPLACED_FOR);
        if let Some(token) = &cached.token
            && now < token.good_until
            && (is_new || Some(&token.value) != refused)
            && cached.ask.is_none_or(|ask| self.way.endpoint.credentials().may_ask(ask))
        {
            return Ok(token.value.clone());
        }
        match &cached.failure {
            // One that lies further ahead than any is granted was told before the clock was set back.
            Some(error @ TokenError::Throttled { until, .. })
                if now < *until && until.duration_since(now) <= LONGEST_THROTTLE =>
            {
                return Err(error.clone());
            }
            Some(error) if waited_for_another => return Err(error.clone()),
            Some(_) | None => {}
        }
        let outcome = self.fetch(cached.ask).await;
        self.count(&outcome);
        self.way.requests.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok((token, ask)) => {
                let value = token.value.clone();
                *cached =
                    Cached { token: Some(token), ask: Some(ask), failure: None, replaced_at: refused.map(|_| instant) };
                Ok(value)
            }
            Err(error) => {
                // Others may use the token, unless it is the one that was refused.
                cached.token.take_if(|token| Some(&token.value) == refused);
                cached.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Asks by the grant that worked last, if it may be used, and by the other one where there is a choice.
    async fn fetch(&self, worked: Option<Ask>) -> Result<(Fetched, Ask), TokenError> {
        let endpoint = &self.way.endpoint;
        let credentials = endpoint.credentials();
        let ask = worked.filter(|ask| credentials.may_ask(*ask)).unwrap_or_else(|| credentials.first_ask());
        match endpoint.request(ask, &self.clock).await {
            Answer::Token(token) => Ok((token, ask)),
            Answer::Failed(error) => Err(error),
            Answer::WrongGrant(error) => {
                let Some(other) = credentials.other_ask(ask) else { return Err(error) };
                // When that fails too, the first answer is the one about what the operator has configured.
                let Answer::Token(token) = endpoint.request(other, &self.clock).await else { return Err(error) };
                info!(
                    subscription.name = &*self.subscription,
                    "the token endpoint refuses the grant {} ({error}) and takes {}",
                    ask.name(),
                    other.name(),
                );
                Ok((token, other))
            }
        }
    }

    fn count(&self, outcome: &Result<(Fetched, Ask), TokenError>) {
        let outcome = match outcome {
            Ok(_) => "ok",
            Err(TokenError::Credentials { .. }) => "refused",
            Err(TokenError::Throttled { .. } | TokenError::Hiccup { .. }) => "failed",
            Err(TokenError::Proxy { .. }) => "proxy",
        };
        let labels = BySubscriptionOutcome { subscription: self.subscription.to_string(), outcome };
        self.metrics.token_fetches.get_or_create(&labels).inc();
    }

    /// Puts a token into the cache that was never fetched.
    #[cfg(test)]
    pub(super) async fn preset(&self, token: &str) {
        let fetched = Fetched { value: Secret::new(token), good_until: Timestamp::MAX };
        self.way.entry.lock().await.token = Some(fetched);
    }
}

#[cfg(test)]
mod tests;
