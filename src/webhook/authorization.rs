//! How a request proves to a handler who sends it, beside its signature, and what a token endpoint answers.
//!
//! The ways are those that Zoom offers for an endpoint. Values are marked as sensitive, so that no debug output shows
//! them.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::config::Destination;
use crate::config::authorization::{Auth, HeaderText};
use crate::config::secret::{Secret, basic_pair, header_value};

/// Life of a token where the answer names none: an hour, as Zoom's own.
const LIFE: u64 = 3600;
/// A token is not used in the last minute of its life, nor in the second half of a short one.
const MARGIN: u64 = 60;
/// The longest life that is believed; a refusal ends it earlier.
const LIFE_MAX: u64 = 30 * 24 * 3600;
/// The longest error code of a token endpoint that is shown; those of RFC 6749 have 25 letters at most.
const CODE_MAX: usize = 40;

/// Returns the header by which requests prove who sends them, if it is always the same.
pub(super) fn header(auth: &Auth) -> Option<(HeaderName, HeaderValue)> {
    match auth {
        Auth::None | Auth::OAuth(_) => None,
        Auth::VerificationToken(token) => Some((AUTHORIZATION, sensitive(token.expose()))),
        Auth::Basic { username, password } => Some((AUTHORIZATION, basic(username, password))),
        Auth::Bearer(token) => Some((AUTHORIZATION, bearer(token)?)),
        Auth::Header { name, value } => Some((name.clone(), sensitive(value.expose()))),
    }
}

/// Makes the value of Basic credentials.
pub(super) fn basic(username: &str, password: &Secret) -> HeaderValue {
    header_value(&["Basic ", basic_pair(username, password).as_str()]).expect("base64 fits into a header")
}

/// Makes the value for a token; `None` if the token does not fit into a header.
pub(super) fn bearer(token: &Secret) -> Option<HeaderValue> {
    header_value(&["Bearer ", token.expose()])
}

/// Makes the value of a header that the configuration holds.
pub(super) fn sensitive(text: &str) -> HeaderValue {
    header_value(&[text]).expect("the configuration takes header values only")
}

/// Returns every secret that requests to a destination carry: a handler that echoes what it was sent must not bring
/// one into the spool.
pub(super) fn secrets(destination: &Destination) -> Vec<Secret> {
    let auth = match &destination.auth {
        Auth::None => Vec::new(),
        Auth::VerificationToken(secret) | Auth::Bearer(secret) | Auth::Header { value: secret, .. } => {
            vec![secret.clone()]
        }
        Auth::Basic { username, password } => {
            vec![Secret::new(basic_pair(username, password).as_str()), password.clone()]
        }
        // Those that it gives are added when it does.
        Auth::OAuth(oauth) => vec![oauth.client_secret.clone()],
    };
    let headers = destination.headers.iter().filter_map(|header| match &header.value {
        HeaderText::Plain(_) => None,
        HeaderText::Secret(secret) => Some(secret.clone()),
    });
    auth.into_iter().chain(headers).collect()
}

/// Is a token that an endpoint gave.
#[derive(Debug, PartialEq)]
pub(super) struct Grant {
    pub(super) token: Secret,
    /// How long it is to be used.
    pub(super) used_for: Duration,
}

/// Is the shape of a token endpoint's answers, good and bad (RFC 6749, sections 5.1 and 5.2).
#[derive(Deserialize)]
struct Reply {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Seconds>,
    error: Option<String>,
}

/// Some endpoints write numbers as strings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

/// Reads the answer of a token endpoint.
///
/// # Errors
/// Says what it answered, without a word that may be a secret.
pub(super) fn grant(status: u16, body: &[u8]) -> Result<Grant, String> {
    let reply: Option<Reply> = serde_json::from_slice(body).ok();
    if !(200..300).contains(&status) {
        let is_code = |code: &String| {
            (1..=CODE_MAX).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        return Err(match reply.and_then(|reply| reply.error).filter(is_code) {
            Some(code) => format!("answers {status}: {code}"),
            None => format!("answers {status}"),
        });
    }
    let without = || format!("answers {status} without a token");
    let reply = reply.ok_or_else(without)?;
    let token = reply.access_token.filter(|token| !token.is_empty()).ok_or_else(without)?;
    if reply.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("gives a token of another type than bearer".to_owned());
    }
    let life = match reply.expires_in {
        Some(Seconds::Number(seconds)) if seconds >= 1.0 => seconds as u64,
        Some(Seconds::Text(text)) => text.parse().unwrap_or(LIFE),
        Some(Seconds::Number(_)) | None => LIFE,
    };
    let life = life.min(LIFE_MAX);
    Ok(Grant { token: Secret::new(token), used_for: Duration::from_secs(life - MARGIN.min(life / 2)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::authorization::OAuth;

    #[test]
    fn each_way_has_its_header() {
        let secret = || Secret::new("s3cret");
        let header = |auth| header(&auth).map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")));
        let basic = Auth::Basic { username: "Aladdin".into(), password: Secret::new("open sesame") };
        let named = Auth::Header { name: HeaderName::from_static("x-api-key"), value: secret() };
        assert_eq!(header(Auth::None), None);
        assert_eq!(header(Auth::VerificationToken(secret())).as_deref(), Some("authorization: s3cret"));
        // The vector of RFC 7617.
        assert_eq!(header(basic).as_deref(), Some("authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert_eq!(header(Auth::Bearer(secret())).as_deref(), Some("authorization: Bearer s3cret"));
        assert_eq!(header(named).as_deref(), Some("x-api-key: s3cret"));
        assert_eq!(header(Auth::OAuth(oauth())), None);
    }

    #[test]
    fn values_are_not_in_debug_output() {
        let (_, value) = header(&Auth::Bearer(Secret::new("canary"))).expect("a header");
        assert!(!format!("{value:?}").contains("canary"), "{value:?}");
    }

    #[test]
    fn token_is_used_until_shortly_before_its_end() {
        let used = |body: &str| grant(200, body.as_bytes()).expect(body).used_for.as_secs();
        assert_eq!(used(r#"{"access_token":"a","token_type":"bearer","expires_in":3600}"#), 3540);
        assert_eq!(used(r#"{"access_token":"a","token_type":"Bearer","expires_in":"600"}"#), 540);
        assert_eq!(used(r#"{"access_token":"a","expires_in":3599.5}"#), 3539);
        assert_eq!(used(r#"{"access_token":"a"}"#), 3540);
        assert_eq!(used(r#"{"access_token":"a","expires_in":10}"#), 5);
        assert_eq!(used(r#"{"access_token":"a","expires_in":0}"#), 3540);
        assert_eq!(used(r#"{"access_token":"a","expires_in":1e300}"#), LIFE_MAX - MARGIN);
    }

    #[test]
    fn answer_without_a_token_says_what_it_is() {
        let cases = [
            (401, r#"{"error":"invalid_client","error_description":"canary"}"#, "answers 401: invalid_client"),
            (400, r#"{"error":"Canary: your secret"}"#, "answers 400"),
            (503, "<html>canary</html>", "answers 503"),
            (302, "", "answers 302"),
            (200, "canary", "answers 200 without a token"),
            (200, r#"{"access_token":""}"#, "answers 200 without a token"),
            (200, r#"{"access_token":"canary","token_type":"mac"}"#, "gives a token of another type than bearer"),
        ];
        for (status, body, words) in cases {
            assert_eq!(grant(status, body.as_bytes()).expect_err(body), words);
        }
    }

    fn oauth() -> OAuth {
        let token_url = "https://login.internal/".parse().expect("a url");
        OAuth { token_url, client_id: "a".into(), client_secret: Secret::new("canary") }
    }
}
