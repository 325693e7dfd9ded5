//! URL validation: a signed question that only a handler with the same secret token can answer.
//!
//! Zoom asks it when an endpoint is saved and every 72 hours from then on, so every handler written
//! for Zoom answers it, and none does anything else upon it: a free test that a handler is reachable and
//! that both sides share the secret.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::request::Outgoing;
use super::signature::Signer;
use super::verdict::Answer;
use crate::event::RequestId;

/// Length of the token that Zoom makes up for a validation.
const PLAIN_TOKEN: usize = 22;

/// Says why a handler did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It answered with another status than 200.
    #[error("handler answered the url validation with status {0}, expected 200")]
    Status(u16),
    /// Its answer is something else.
    #[error(
        "handler's answer is not the JSON object of `plainToken` and `encryptedToken` that a url validation expects"
    )]
    NotTheObject,
    /// It repeated another token.
    #[error("handler answered with another `plainToken` than it was sent")]
    PlainToken,
    /// It computed another token.
    #[error("handler answered with a wrong `encryptedToken`: it has another secret token than `secret_token` here")]
    EncryptedToken,
}

impl Failure {
    /// Says it shortly, as it stands in the status of a destination.
    pub fn cause(&self) -> String {
        match self {
            Self::Status(status) => format!("url validation answered with status {status}"),
            Self::NotTheObject => "url validation answered with something else".to_owned(),
            Self::PlainToken => "url validation answered with another plainToken".to_owned(),
            Self::EncryptedToken => "url validation answered with a wrong encryptedToken".to_owned(),
        }
    }
}

// The key order is Zoom's.
#[derive(Serialize)]
struct Question<'a> {
    payload: Payload<'a>,
    event_ts: i64,
    event: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    plain_token: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    plain_token: String,
    encrypted_token: String,
}

/// Makes a `plainToken` out of a random number.
pub fn plain_token(random: Uuid) -> String {
    let mut token = random.simple().to_string();
    token.truncate(PLAIN_TOKEN);
    token
}

/// Makes the request `endpoint.url_validation`; Zoom's own tokens are 22 random characters.
pub fn question(plain_token: &str, request_id: RequestId, signer: &Signer, now: Timestamp) -> Outgoing {
    let question =
        Question { payload: Payload { plain_token }, event_ts: now.as_millisecond(), event: "endpoint.url_validation" };
    let body = serde_json::to_vec(&question).expect("texts and a number serialise");
    Outgoing::signed(Bytes::from(body), request_id, signer, now)
}

/// Judges the answer to a [`question`] with this `plain_token`.
///
/// A right answer has some 120 bytes, so the excerpt holds the whole of it.
///
/// # Errors
/// Says what is wrong with the answer, in words for the operator.
pub fn judge(answer: &Answer, plain_token: &str, signer: &Signer) -> Result<(), Failure> {
    if answer.status != 200 {
        return Err(Failure::Status(answer.status));
    }
    let reply: Reply = serde_json::from_str(&answer.excerpt).map_err(|_| Failure::NotTheObject)?;
    if reply.plain_token != plain_token {
        return Err(Failure::PlainToken);
    }
    let expected = signer.validation_token(plain_token);
    if bool::from(expected.as_bytes().ct_eq(reply.encrypted_token.as_bytes())) {
        Ok(())
    } else {
        Err(Failure::EncryptedToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;
    use crate::webhook::request::{SIGNATURE, TIMESTAMP};

    const PLAIN: &str = "qgg8vlvZRS6UYooatFL8Aw";
    const ENCRYPTED: &str = "b3fd36892be84c58477e2cef6c6fc0ec77c94b87f78361d082018c8974c1c656";

    #[test]
    fn question_is_written_and_signed_as_zoom_does() {
        let now = Timestamp::from_millisecond(1_785_368_934_250).expect("a time");
        let outgoing = question(PLAIN, RequestId::new(Uuid::nil()), &signer(), now);
        assert_eq!(
            std::str::from_utf8(&outgoing.body),
            Ok(
                r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1785368934250,"event":"endpoint.url_validation"}"#
            )
        );
        assert_eq!(outgoing.headers[TIMESTAMP], "1785368934");
        assert_eq!(outgoing.headers[SIGNATURE], signer().sign("1785368934", &outgoing.body));
    }

    #[test]
    fn token_is_as_long_as_those_of_zoom() {
        assert_eq!(plain_token(Uuid::from_u128(u128::MAX)), "f".repeat(PLAIN.len()));
    }

    #[test]
    fn right_answer_passes() {
        for text in [
            format!(r#"{{"plainToken":"{PLAIN}","encryptedToken":"{ENCRYPTED}"}}"#),
            format!("{{\n  \"encryptedToken\": \"{ENCRYPTED}\",\n  \"plainToken\": \"{PLAIN}\",\n  \"ok\": true\n}}\n"),
        ] {
            assert_eq!(judge(&answer(200, &text), PLAIN, &signer()), Ok(()), "{text}");
        }
    }

    #[test]
    fn every_wrong_answer_has_its_own_reason() {
        let wrong = "0".repeat(64);
        for (status, text, reason) in [
            (401, format!(r#"{{"plainToken":"{PLAIN}","encryptedToken":"{ENCRYPTED}"}}"#), Failure::Status(401)),
            (204, String::new(), Failure::Status(204)),
            (200, String::new(), Failure::NotTheObject),
            (200, "<html>OK</html>".to_owned(), Failure::NotTheObject),
            (200, format!(r#"{{"plainToken":"{PLAIN}"}}"#), Failure::NotTheObject),
            (200, format!(r#"{{"plainToken":"{PLAIN}","encryptedToken":null}}"#), Failure::NotTheObject),
            (200, format!(r#"{{"plainToken":"other","encryptedToken":"{ENCRYPTED}"}}"#), Failure::PlainToken),
            (200, format!(r#"{{"plainToken":"{PLAIN}","encryptedToken":"{wrong}"}}"#), Failure::EncryptedToken),
            (200, format!(r#"{{"plainToken":"{PLAIN}","encryptedToken":""}}"#), Failure::EncryptedToken),
        ] {
            assert!(reason.cause().starts_with("url validation answered with "));
            assert_eq!(judge(&answer(status, &text), PLAIN, &signer()), Err(reason), "{status} {text}");
        }
    }

    #[test]
    fn reasons_do_not_quote_the_answer() {
        let failure = judge(&answer(200, "canary"), PLAIN, &signer()).expect_err("not an object");
        assert!(!format!("{failure} {failure:?}").contains("canary"));
    }

    fn answer(status: u16, text: &str) -> Answer {
        Answer { status, retry_after: None, excerpt: text.to_owned() }
    }

    fn signer() -> Signer {
        Signer::new(&Secret::new("bridge-test-secret"))
    }
}
