//! The token endpoint: Basic authentication, both grants, Zoom's words for every refusal.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::dice::Dice;
use super::fault::{RetryForm, TokenFault};
use super::log::Happening;
use super::{Options, Simulator};

/// Tokens that are remembered: an hour of a client that asks for one every second.
const REMEMBERED: usize = 3600;
/// Characters of a token, as captured from Zoom: half a kilobyte to one and a half.
const TOKEN_LENGTH: usize = 700;
/// Characters of a grant that are kept in the log: more than the longest real one.
const GRANT_SHOWN: usize = 40;

/// Holds the tokens that were given out.
pub(super) struct Tokens {
    dice: Dice,
    given: VecDeque<(String, Instant)>,
}

impl Tokens {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), given: VecDeque::new() }
    }

    /// Cancels every token that was given out.
    fn cancel(&mut self) {
        self.given.clear();
    }

    fn give(&mut self, expires: Instant) -> String {
        if self.given.len() == REMEMBERED {
            self.given.pop_front();
        }
        let token =
            format!("eyJ{}.eyJ{}.{}", self.dice.text(90), self.dice.text(500), self.dice.text(TOKEN_LENGTH - 598));
        self.given.push_back((token.clone(), expires));
        token
    }

    /// Tells when a token expires, if it is one that has not expired yet.
    pub(super) fn expiry(&self, token: &str, now: Instant) -> Option<Instant> {
        let known = self.given.iter().rev().find(|(given, _)| given == token);
        known.map(|(_, expires)| *expires).filter(|expires| *expires > now)
    }
}

/// Is what a client asked for.
struct Asked {
    parameters: &'static str,
    grant: String,
    account_id: Option<String>,
}

/// Answers `POST /oauth/token`.
pub(super) async fn answer(
    State(zoom): State<Simulator>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = Asked::read(query.as_deref().unwrap_or_default(), &headers, &body);
    let fault = zoom.faults().token;
    if fault == Some(TokenFault::Hang) {
        zoom.0.log.write(asked.happening(0));
        return pending().await;
    }
    if let Some(TokenFault::Slow(late)) = fault {
        let mut waiting = Waiting { zoom: &zoom, given_up: Some(asked.happening(0)) };
        sleep(late).await;
        waiting.given_up = None;
    }
    let response = match refusal(&asked, &headers, &zoom.0.options, fault.as_ref()) {
        Some(refusal) => refusal,
        None => zoom.give(fault),
    };
    zoom.0.log.write(asked.happening(response.status().as_u16()));
    response
}

/// Writes down a request whose client did not wait for the answer.
struct Waiting<'a> {
    zoom: &'a Simulator,
    given_up: Option<Happening>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(given_up) = self.given_up.take() {
            self.zoom.0.log.write(given_up);
        }
    }
}

impl Asked {
    /// Reads the parameters from the form, else from the query; real clients use either.
    fn read(query: &str, headers: &HeaderMap, body: &[u8]) -> Self {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_form = content_type.starts_with("application/x-www-form-urlencoded");
        let form = if is_form { body } else { b"" };
        let candidates = [("form", form), ("query", query.as_bytes())];
        let found = candidates.into_iter().find_map(|(parameters, text)| {
            let grant = parameter(text, "grant_type")?;
            Some(Self { parameters, grant, account_id: parameter(text, "account_id") })
        });
        found.unwrap_or(Self { parameters: "neither", grant: String::new(), account_id: None })
    }

    fn happening(&self, status: u16) -> Happening {
        let grant = self.grant.chars().take(GRANT_SHOWN).collect::<String>().into();
        Happening::Token { parameters: self.parameters, grant, status }
    }
}

fn parameter(text: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(text).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Says why a request deserves no token, if so.
fn refusal(asked: &Asked, headers: &HeaderMap, options: &Options, fault: Option<&TokenFault>) -> Option<Response> {
    let basic = format!("{}:{}", options.client_id, options.client_secret.expose());
    let expected = format!("Basic {}", STANDARD.encode(basic));
    let shown = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    if shown != expected.as_bytes() {
        return Some(refuse(StatusCode::BAD_REQUEST, "Invalid client_id or client_secret", "invalid_client"));
    }
    let unsupported = || Some(refuse(StatusCode::BAD_REQUEST, "unsupported grant type", "unsupported_grant_type"));
    if let Some(TokenFault::Refused(wording)) = fault {
        return Some(refuse(StatusCode::BAD_REQUEST, wording, "invalid_request"));
    }
    if fault.is_some_and(|fault| *fault == TokenFault::RefuseGrant(asked.grant.clone())) {
        return unsupported();
    }
    match asked.grant.as_str() {
        "client_credentials" => None,
        "account_credentials" => match asked.account_id.as_deref() {
            Some(id) if id == options.account_id => None,
            Some("") | None => Some(refuse(StatusCode::BAD_REQUEST, "Bad Request", "invalid_request")),
            Some(_) => Some(refuse(StatusCode::BAD_REQUEST, "Account does not exist", "invalid_request")),
        },
        _ => unsupported(),
    }
}

fn refuse(status: StatusCode, reason: &str, error: &str) -> Response {
    (status, axum::Json(json!({"reason": reason, "error": error}))).into_response()
}

impl Simulator {
    /// Answers a request that deserves a token: with one, or as the fault says.
    fn give(&self, fault: Option<TokenFault>) -> Response {
        match fault {
            // The refusals and the silence were decided before.
            None
            | Some(TokenFault::Slow(_) | TokenFault::Hang | TokenFault::Refused(_) | TokenFault::RefuseGrant(_)) => {
                let mut answer = self.token();
                answer["expires_in"] = json!(self.0.options.token_life.as_secs());
                answer["scope"] = json!("marketplace:write:websocket_connection");
                answer["api_url"] = json!("https://api.zoom.us");
                axum::Json(answer).into_response()
            }
            Some(TokenFault::Bare) => axum::Json(self.token()).into_response(),
            Some(TokenFault::Status(status)) => failure(status),
            Some(TokenFault::RetryAfter(form, after)) => {
                let after = retry_after(form, after, self.0.clock.now());
                ([(RETRY_AFTER, after)], failure(429)).into_response()
            }
            Some(TokenFault::Html) => {
                Html("<!doctype html><title>Zoom</title><h1>We are updating</h1>").into_response()
            }
            Some(TokenFault::Empty) => StatusCode::OK.into_response(),
        }
    }

    fn token(&self) -> Value {
        let expires = self.0.clock.instant() + self.0.options.token_life;
        let single = self.0.faults.borrow().token_single;
        let mut tokens = self.tokens();
        if single {
            tokens.cancel();
        }
        let token = tokens.give(expires);
        json!({"access_token": token, "token_type": "bearer"})
    }
}

/// Answers with a status in the words that were captured with it.
fn failure(status: u16) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match status {
        400 | 401 => refuse(code, "Invalid client_id or client_secret", "invalid_client"),
        429 => {
            let message = "You have reached the maximum per-second rate limit for this API. Try again later.";
            (code, axum::Json(json!({"code": 429, "message": message}))).into_response()
        }
        _ => (code, axum::Json(json!({"reason": "Internal Server Error", "error": "server_error"}))).into_response(),
    }
}

fn retry_after(form: RetryForm, after: Duration, now: Timestamp) -> String {
    let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
    let at = now.saturating_add(after).unwrap_or(Timestamp::MAX);
    match form {
        RetryForm::Seconds => after.as_secs().to_string(),
        RetryForm::Date => DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap_or_default(),
        RetryForm::Iso => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_as_long_as_a_real_one_and_ends_with_its_life() {
        let mut tokens = Tokens::new(1);
        let now = Instant::now();
        let expires = now + Duration::from_secs(60);
        let token = tokens.give(expires);
        assert_eq!((token.len(), token.split('.').count()), (TOKEN_LENGTH, 3));
        assert_eq!(tokens.expiry(&token, now), Some(expires));
        assert_eq!(tokens.expiry(&token, expires), None);
        assert_eq!(tokens.expiry("other", now), None);
    }

    #[test]
    fn old_tokens_are_forgotten_first() {
        let mut tokens = Tokens::new(1);
        let now = Instant::now();
        let all: Vec<String> = (0..=REMEMBERED).map(|_| tokens.give(now + Duration::from_secs(60))).collect();
        assert_eq!(tokens.expiry(&all[0], now), None);
        assert!(tokens.expiry(&all[1], now).is_some() && tokens.given.len() == REMEMBERED);
    }

    #[test]
    fn retry_after_has_three_spellings() {
        let now: Timestamp = "2026-07-30T00:00:00Z".parse().unwrap();
        let spell = |form| retry_after(form, Duration::from_secs(90), now);
        assert_eq!(spell(RetryForm::Seconds), "90");
        assert_eq!(spell(RetryForm::Date), "Thu, 30 Jul 2026 00:01:30 GMT");
        assert_eq!(spell(RetryForm::Iso), "2026-07-30T00:01:30Z");
    }
}
