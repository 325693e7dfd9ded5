//! How a subscription is reached: where its socket is opened, and who brings the tokens.
//!
//! A socket that is open needs none of it until its next connection, so that it can be changed under the socket.

use std::sync::Arc;

use tokio::time::timeout;

use super::SetupError;
use super::dial::Target;
use super::session::TOKEN_DEADLINE;
use super::token::{TokenCache, TokenError, TokenSource};
use crate::clock::Clock;
use crate::config::Subscription;
use crate::telemetry::metrics::{Certificate, Metrics};
use crate::tls::Roots;

/// Is what the connections of one subscription are made with.
pub struct Access {
    pub(super) target: Arc<Target>,
    pub(super) tokens: TokenSource,
}

impl Access {
    /// Puts together what a subscription's configuration says; nothing is connected to.
    ///
    /// # Errors
    /// When the certificates that the subscription names cannot be read.
    pub fn new(
        subscription: &Subscription,
        roots: &Roots,
        tokens: &TokenCache,
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<Self, SetupError> {
        let owner = Certificate::Socket(subscription.name.to_string());
        let watching = roots.watching(&subscription.url, metrics.certificate_expiry.get_or_create_owned(&owner));
        let tls = Arc::new(watching.client(subscription.ca_file.as_deref(), &subscription.tls)?);
        let target = Target::new(subscription.url.clone(), &subscription.outbound, tls, clock.clone());
        Ok(Self { target: Arc::new(target), tokens: tokens.source(subscription, roots)? })
    }

    /// Finds out whether there is a token: one that is cached, or else a new one, which the next connection then uses.
    ///
    /// # Errors
    /// When there is none, within the time that a socket gives it.
    pub async fn prove(&self) -> Result<(), TokenError> {
        let late = || TokenError::Hiccup { reason: format!("no token within {} s", TOKEN_DEADLINE.as_secs()).into() };
        timeout(TOKEN_DEADLINE, self.tokens.prove()).await.unwrap_or_else(|_| Err(late()))
    }
}
