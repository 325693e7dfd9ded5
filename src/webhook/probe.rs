//! Asking a handler whether it is there and shares the secret: one URL validation, apart from all deliveries.

use tower::ServiceExt as _;

use super::client::{ClientError, client};
use super::signature::Signer;
use super::validation::{self, judge, question};
use super::verdict::SendError;
use crate::clock::Clock;
use crate::config::Destination;

/// Length of the token that Zoom makes up for a validation.
const PLAIN_TOKEN: usize = 22;

/// Says why a handler did not pass.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The request could not be prepared.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There was no answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The answer is not the one that it should be.
    #[error(transparent)]
    Answer(#[from] validation::Failure),
}

/// Asks the handler of a destination, over a connection of its own and within the destination's timeout.
///
/// # Errors
/// When it cannot be asked, or its answer is not right.
pub async fn probe(destination: &Destination, clock: &Clock) -> Result<(), ProbeError> {
    let signer = Signer::new(&destination.secret_token);
    let mut plain_token = clock.request_id().uuid().simple().to_string();
    plain_token.truncate(PLAIN_TOKEN);
    let outgoing = question(&plain_token, clock.request_id(), &signer, clock.now());
    let answer = client(destination)?.oneshot(outgoing).await?;
    Ok(judge(&answer, &plain_token, &signer)?)
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
        probe(&destination, &Clock::system()).await.expect("it passes");
    }

    #[tokio::test]
    async fn handler_with_another_secret_or_none_there_does_not_pass() {
        let clock = Clock::system();
        let error = probe(&destination(handler("another").await), &clock).await.expect_err("another secret");
        assert!(matches!(error, ProbeError::Answer(validation::Failure::EncryptedToken)), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        drop(listener);
        let error = probe(&destination(url), &clock).await.expect_err("nobody there");
        assert!(matches!(error, ProbeError::Send(SendError::Refused)), "{error}");
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
