//! OAuth tokens: fetched with the app's credentials, shared by the sockets that use the same ones.
//!
//! Whether a new token cancels the previous one is not published, so that tokens are made sparingly:
//!
//! - one cache entry for each set of credentials, and one request at a time for each entry: whoever
//!   asks meanwhile waits, and shares what comes of it, be it a token or an error;
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
    entries: std::sync::Mutex<Vec<Weak<Entry>>>,
}

impl TokenCache {
    /// Makes an empty cache.
    pub fn new(clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { clock, metrics, entries: std::sync::Mutex::default() }
    }

    /// Returns the source of tokens for a subscription, shared with others that have the same credentials.
    ///
    /// # Errors
    /// When its certificates cannot be read.
    pub fn source(&self, subscription: &Subscription, roots: &Roots) -> Result<TokenSource, SetupError> {
        let credentials = Credentials::of(subscription);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.strong_count() > 0);
        let known = entries.iter().filter_map(Weak::upgrade).find(|entry| *entry.endpoint.credentials() == credentials);
        let entry = match known {
            Some(entry) => entry,
            None => {
                let entry = Arc::new(Entry::new(credentials, roots)?);
                entries.push(Arc::downgrade(&entry));
                entry
            }
        };
        let (clock, metrics) = (self.clock.clone(), Arc::clone(&self.metrics));
        let expiry =
            metrics.certificate_expiry.get_or_create_owned(&Certificate::SocketToken(subscription.name.to_string()));
        Ok(TokenSource { subscription: Arc::clone(&subscription.name), clock, metrics, expiry, entry })
    }
}

/// Brings the tokens of one subscription.
#[derive(Clone)]
pub struct TokenSource {
    subscription: Arc<str>,
    clock: Clock,
    metrics: Arc<Metrics>,
    expiry: Expiry,
    entry: Arc<Entry>,
}

struct Entry {
    endpoint: Endpoint,
    /// Requests that came to an end, one way or the other.
    requests: AtomicU64,
    /// Locked for the time of a request, so that there is one at a time.
    cached: tokio::sync::Mutex<Cached>,
}

struct Cached {
    /// What the last request came to.
    outcome: Option<Result<Fetched, TokenError>>,
    /// The grant that is asked for; with `auto`, the one that worked.
    ask: Ask,
    /// When a token was last replaced because it was refused.
    replaced_at: Option<Instant>,
}

impl Entry {
    fn new(credentials: Credentials, roots: &Roots) -> Result<Self, SetupError> {
        let ask = credentials.first_ask();
        let endpoint = Endpoint::new(credentials, roots)?;
        let cached = tokio::sync::Mutex::new(Cached { outcome: None, ask, replaced_at: None });
        Ok(Self { endpoint, requests: AtomicU64::new(0), cached })
    }
}

impl TokenSource {
    /// Returns a token that has not expired, and is not the one that was refused, unless that has just replaced another.
    ///
    /// # Errors
    /// When the endpoint gives none.
    pub async fn token(&self, refused: Option<&Secret>) -> Result<Secret, TokenError> {
        // Whoever else uses the entry may be the one that makes the connection.
        self.expiry.follow(self.entry.endpoint.expiry());
        let asked = self.entry.requests.load(Ordering::Relaxed);
        let mut cached = self.entry.cached.lock().await;
        let waited_for_another = self.entry.requests.load(Ordering::Relaxed) != asked;
        let (now, instant) = (self.clock.now(), self.clock.instant());
        let is_new = cached.replaced_at.is_some_and(|at| instant.saturating_duration_since(at) < REPLACED_FOR);
        match &cached.outcome {
            Some(Ok(token)) if now < token.good_until && (is_new || Some(&token.value) != refused) => {
                return Ok(token.value.clone());
            }
            // One that lies further ahead than any is granted was told before the clock was set back.
            Some(Err(error @ TokenError::Throttled { until, .. }))
                if now < *until && until.duration_since(now) <= LONGEST_THROTTLE =>
            {
                return Err(error.clone());
            }
            Some(Err(error)) if waited_for_another => return Err(error.clone()),
            Some(Ok(_) | Err(_)) | None => {}
        }
        let outcome = self.fetch(&mut cached.ask).await;
        self.count(&outcome);
        self.entry.requests.fetch_add(1, Ordering::Relaxed);
        if outcome.is_ok() && refused.is_some() {
            cached.replaced_at = Some(instant);
        }
        cached.outcome = Some(outcome.clone());
        outcome.map(|token| token.value)
    }

    async fn fetch(&self, ask: &mut Ask) -> Result<Fetched, TokenError> {
        let endpoint = &self.entry.endpoint;
        match endpoint.request(*ask, &self.clock).await {
            Answer::Token(token) => Ok(token),
            Answer::Failed(error) => Err(error),
            Answer::WrongGrant(error) => {
                let Some(other) = endpoint.credentials().other_ask(*ask) else { return Err(error) };
                // When that fails too, the first answer is the one about what the operator has configured.
                let Answer::Token(token) = endpoint.request(other, &self.clock).await else { return Err(error) };
                info!(
                    subscription.name = &*self.subscription,
                    "the token endpoint refuses the grant {} ({error}) and takes {}",
                    ask.name(),
                    other.name(),
                );
                *ask = other;
                Ok(token)
            }
        }
    }

    fn count(&self, outcome: &Result<Fetched, TokenError>) {
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
        self.entry.cached.lock().await.outcome = Some(Ok(fetched));
    }
}

#[cfg(test)]
mod tests;
