//! Zoom's side: tokens, the socket, and the machine that keeps it alive.
//!
//! ```text
//!  token ──▶ dial ──▶ wire ──frames──▶ message ──▶ socket ──append──▶ spool
//!                                                  │  ▲
//!                                           inputs ▼  │ actions
//!                                                 session (pure)
//! ```
//!
//! - [`socket::Socket`] holds the one socket of a subscription. It carries out what the session decides.
//! - Sockets with the same credentials share one token: [`token::TokenCache`].
//! - What a socket is reached with ([`access::Access`]) can change under it: its next connection is made so.
//! - Zoom allows one socket for each subscription id; a second one evicts the first. The configuration
//!   refuses two subscriptions with one id, and the session recognises a stranger.
//! - Nothing that Zoom sends is dropped: what cannot be understood is stored and parked.
//! - The token stands in the URL of the socket, so that no error of a library is shown as it comes.

pub mod access;
pub mod message;
pub(crate) mod reconnect;
pub(crate) mod session;
pub mod socket;
pub mod status;
pub mod token;

mod dial;
mod outbox;
mod report;
mod wire;

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::{SignedDuration, Timestamp};

use crate::config::secret::Secret;
use crate::{retry_after, tls};

/// However long Zoom asks to be left alone, it is asked again after an hour.
const LONGEST_THROTTLE: SignedDuration = SignedDuration::from_hours(1);
/// Stands before the token in the URL of a socket.
const TOKEN: &str = "access_token=";
/// Zoom's words are shown up to this many characters.
const LONGEST_WORDS: usize = 200;

/// Says why a socket cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificates cannot be read.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The HTTP client cannot be built.
    #[error("the http client for tokens cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// Reads until when Zoom wants to be left alone, if it says so.
fn throttled_until(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let until = retry_after::parse(headers.get(RETRY_AFTER)?.to_str().ok()?, now)?;
    let latest = now.saturating_add(LONGEST_THROTTLE).unwrap_or(Timestamp::MAX);
    Some(until.clamp(now, latest))
}

/// Tells how long it is from `now` until then.
fn time_until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// Makes words of the other side fit for a log line: short, on one line, and without the secret, should they echo it, or
/// the query of a URL with a token, of which they may show a part.
fn plain(words: &str, secret: &Secret) -> String {
    let words = words.trim();
    let words = if secret.expose().is_empty() { words.to_owned() } else { words.replace(secret.expose(), "***") };
    let shown: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_WORDS).collect();
    without_token(&shown)
}

/// Blots out what follows each name of a token, up to where a query, a quotation or a word ends.
fn without_token(words: &str) -> String {
    let mut shown = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(at) = rest.to_ascii_lowercase().find(TOKEN) {
        let (before, token) = rest.split_at(at + TOKEN.len());
        shown.push_str(before);
        shown.push_str("***");
        let ends = |c: char| c.is_whitespace() || matches!(c, '&' | '"' | '\'' | '<' | '>' | ',' | ';' | ')');
        rest = token.find(ends).map_or("", |end| &token[end..]);
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_is_honoured_up_to_an_hour() {
        let now: Timestamp = "2026-07-29T12:00:00Z".parse().expect("an instant");
        let cases = [
            ("90", Some("2026-07-29T12:01:30Z")),
            ("2026-07-29T12:30:00Z", Some("2026-07-29T12:30:00Z")),
            ("2026-07-31T00:00:00Z", Some("2026-07-29T13:00:00Z")),
            ("2026-07-29T11:00:00Z", Some("2026-07-29T12:00:00Z")),
            ("99999999999999999999", Some("2026-07-29T13:00:00Z")),
            ("later", None),
        ];
        for (header, expected) in cases {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, header.parse().expect("a header"))]);
            let expected = expected.map(|text| text.parse().expect("an instant"));
            assert_eq!(throttled_until(&headers, now), expected, "{header}");
        }
        assert_eq!(throttled_until(&HeaderMap::new(), now), None);
    }

    #[test]
    fn words_of_others_become_one_short_line_without_the_secret() {
        let secret = Secret::new("canary");
        assert_eq!(plain(" bad\r\ntoken canary! ", &secret), "bad  token ***!");
        assert_eq!(plain(&"é".repeat(5000), &secret).chars().count(), LONGEST_WORDS);
        assert_eq!(plain("no secret", &Secret::new("")), "no secret");
        let echoed = "refused: wss://ws.zoom.us/ws?access_token=eyJhb&id=7, ACCESS_TOKEN=é";
        let shown = "refused: wss://ws.zoom.us/ws?access_token=***&id=7, ACCESS_TOKEN=***";
        assert_eq!(plain(echoed, &Secret::new("eyJhbGciOi")), shown);
    }
}
