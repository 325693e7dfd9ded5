//! Asking a handler whether it is there and shares the secret: one URL validation, which touches no event.

use tower::{Service, ServiceExt as _};

use super::client::{ClientError, client};
use super::request::Outgoing;
use super::signature::Signer;
use super::validation::{Failure, judge, plain_token, question};
use super::verdict::{Answer, SendError};
use crate::clock::Clock;
use crate::config::Destination;

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

impl ProbeError {
    /// Says it shortly, as it stands in the status of a destination.
    pub fn cause(&self) -> String {
        match self {
            Self::Unanswered(error) => error.cause().to_string(),
            Self::Wrong(failure) => failure.cause(),
        }
    }
}

/// Asks the handler of a destination over a connection of its own, apart from all deliveries.
///
/// # Errors
/// When no client can be made, or (within) when there is no answer, or a wrong one.
pub async fn probe(destination: &Destination, clock: &Clock) -> Result<Result<(), ProbeError>, ClientError> {
    let signer = Signer::new(&destination.secret_token);
    Ok(ask(client(destination)?, &signer, clock).await)
}

/// Asks over a client that there is, and judges the answer.
///
/// # Errors
/// When there is no answer, or a wrong one.
pub async fn ask<S>(client: S, signer: &Signer, clock: &Clock) -> Result<(), ProbeError>
where
    S: Service<Outgoing, Response = Answer, Error = SendError>,
{
    let plain_token = plain_token(clock.request_id().uuid());
    let outgoing = question(&plain_token, clock.request_id(), signer, clock.now());
    let answer = client.oneshot(outgoing).await?;
    Ok(judge(&answer, &plain_token, signer)?)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::post;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::secret::Secret;

    #[tokio::test]
    async fn handler_passes_that_shares_the_secret() {
        let destination = destination(handler("canary").await);
        probe(&destination, &Clock::system()).await.expect("a client").expect("it passes");
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
