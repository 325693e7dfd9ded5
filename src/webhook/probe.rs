//! Asking a handler whether it is there and shares the secret: one URL validation, which touches no event.

use tower::{Service, ServiceExt as _};

use super::client::{ClientError, client};
use super::extras::Extras;
use super::keyring::{Keyring, Which};
use super::request::Outgoing;
use super::signature::Signer;
use super::stale::{MaybeStale, anew_if_stale};
use super::validation::{Failure, judge, plain_token, question};
use super::verdict::{Answer, SendError};
use crate::clock::Clock;
use crate::config::Destination;
use crate::telemetry::spans::Sampled;
use crate::tls::Roots;

/// Says why a handler did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// It gave no answer.
    #[error(transparent)]
    Unanswered(#[from] SendError),
    /// It gave a wrong one.
    #[error(transparent)]
    Wrong(#[from] Failure),
}

impl MaybeStale for ProbeError {
    fn is_stale(&self) -> bool {
        match self {
            Self::Unanswered(error) => error.is_stale(),
            Self::Wrong(_) => false,
        }
    }
}

impl ProbeError {
    /// Says it shortly, as it stands in the status of a destination.
    pub fn cause(&self) -> String {
        match self {
            Self::Unanswered(error) => error.cause().to_string(),
            Self::Wrong(failure) => failure.cause(),
        }
    }
}

/// Asks the handler of a destination over a connection of its own, apart from all deliveries; answers which secret token
/// it has.
///
/// # Errors
/// When no client can be made, or (within) when there is no answer, or a wrong one.
pub async fn probe(destination: &Destination, clock: &Clock) -> Result<Result<Which, ProbeError>, ClientError> {
    let (keyring, extras) = (Keyring::new(destination), Extras::of(destination));
    let client = client(destination, &Roots::load(), clock)?;
    let secret = keyring.in_force(None, clock.now());
    Ok(ask(client, &keyring, extras.as_ref(), secret, clock).await)
}

/// Asks over a client that there is, and judges the answer. Where the handler does not have the secret token in force,
/// and there is another to try, it is asked once more; so it is when a kept connection had ended.
///
/// # Errors
/// When there is no answer, or a wrong one.
pub async fn ask<S>(
    client: S,
    keyring: &Keyring,
    extras: Option<&Extras>,
    secret: Which,
    clock: &Clock,
) -> Result<Which, ProbeError>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone,
{
    let first = anew_if_stale(|| ask_with(client.clone(), keyring.signer(secret), extras, clock)).await;
    let other = match first {
        Err(ProbeError::Wrong(Failure::Status(401 | 403) | Failure::EncryptedToken)) => keyring.alternative(secret),
        Ok(()) | Err(ProbeError::Wrong(_) | ProbeError::Unanswered(_)) => None,
    };
    match other {
        Some(other) => ask_with(client, keyring.signer(other), extras, clock).await.map(|()| other),
        None => first.map(|()| secret),
    }
}

async fn ask_with<S>(client: S, signer: &Signer, extras: Option<&Extras>, clock: &Clock) -> Result<(), ProbeError>
where
    S: Service<Outgoing, Response = Answer, Error = SendError>,
{
    let (plain_token, request_id) = (plain_token(clock.request_id().uuid()), clock.request_id());
    let mut outgoing = question(&plain_token, request_id, signer, clock.now());
    if let Some(extras) = extras {
        extras.add(&mut outgoing, request_id, clock.span_id(), Sampled::Yes);
    }
    let answer = client.oneshot(outgoing).await?;
    Ok(judge(&answer, &plain_token, signer)?)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::post;
    use http::HeaderName;
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::authorization::{Auth, Header, HeaderText, NextSecretToken, Takeover};
    use crate::config::secret::Secret;

    #[tokio::test]
    async fn handler_passes_that_shares_the_secret() {
        let destination = destination(handler("canary").await);
        let secret = probe(&destination, &Clock::system()).await.expect("a client").expect("it passes");
        assert_eq!(secret, Which::Current);
    }

    #[tokio::test]
    async fn handler_that_has_the_next_secret_passes_where_both_are_tried() {
        let clock = Clock::system();
        let url = handler("next").await;
        let takeovers = [
            (Takeover::WhenRefused, true),
            (Takeover::At(Timestamp::UNIX_EPOCH), true),
            (Takeover::At(Timestamp::MAX), false),
        ];
        for (takeover, passes) in takeovers {
            let next = Some(NextSecretToken { token: Secret::new("next"), takeover });
            let destination = Destination { next_secret_token: next, ..destination(url.clone()) };
            let outcome = probe(&destination, &clock).await.expect("a client");
            assert_eq!(outcome.ok(), passes.then_some(Which::Next), "{takeover:?}");
        }
    }

    #[tokio::test]
    async fn kept_connection_that_had_ended_costs_one_more_question() {
        let asked = AtomicUsize::new(0);
        let client = tower::service_fn(|_| {
            asked.fetch_add(1, Ordering::Relaxed);
            async { Err::<Answer, _>(SendError::Stale("closed".to_owned())) }
        });
        let keyring = Keyring::new(&destination("https://crm.internal/".to_owned()));
        let outcome = ask(client, &keyring, None, Which::Current, &Clock::system()).await;
        assert!(outcome.is_err() && asked.load(Ordering::Relaxed) == 2, "{outcome:?}");
    }

    #[tokio::test]
    async fn question_carries_what_a_destination_asks_for() {
        let auth = Auth::Bearer(Secret::new("s3cret"));
        let headers =
            vec![Header { name: HeaderName::from_static("x-tenant"), value: HeaderText::Plain("7".to_owned()) }];
        let client = tower::service_fn(|outgoing: Outgoing| async move {
            assert_eq!(outgoing.headers["authorization"], "Bearer s3cret");
            assert_eq!(outgoing.headers["x-tenant"], "7");
            Err::<Answer, _>(SendError::Refused)
        });
        let destination = Destination { auth, headers, ..destination("https://crm.internal/".to_owned()) };
        let (keyring, extras) = (Keyring::new(&destination), Extras::of(&destination));
        let outcome = ask(client, &keyring, extras.as_ref(), Which::Current, &Clock::system()).await;
        assert_eq!(outcome, Err(ProbeError::Unanswered(SendError::Refused)));
    }

    #[tokio::test]
    async fn handler_with_another_secret_or_none_there_does_not_pass() {
        let clock = Clock::system();
        let error =
            probe(&destination(handler("another").await), &clock).await.expect("a client").expect_err("another secret");
        assert!(matches!(error, ProbeError::Wrong(Failure::EncryptedToken)), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        drop(listener);
        let error = probe(&destination(url), &clock).await.expect("a client").expect_err("nobody there");
        assert!(matches!(error, ProbeError::Unanswered(SendError::Refused)), "{error}");
    }

    fn destination(url: String) -> Destination {
        Destination::new("crm", url.parse().expect("a URL"), Secret::new("canary"))
    }

    /// Starts a handler with this secret token.
    async fn handler(secret: &'static str) -> String {
        let answer = async move |body: Bytes| {
            let question: Value = serde_json::from_slice(&body).expect("JSON");
            let plain = question["payload"]["plainToken"].as_str().expect("a token").to_owned();
            let encrypted = Signer::new(&Secret::new(secret)).validation_token(&plain);
            json!({ "plainToken": plain, "encryptedToken": encrypted }).to_string()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });
        format!("http://{address}/")
    }
}
