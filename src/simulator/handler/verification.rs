//! How a handler knows that a request is Zoom's, as Zoom's documentation describes it.

use std::fmt;

use crate::webhook::signature::Signer;

/// A request that is older or newer than this is refused, as captured from Zoom's samples.
const WINDOW_SECONDS: u64 = 300;

/// Says why a request is not accepted as Zoom's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A header is missing.
    Unsigned,
    /// The timestamp is no number of seconds, or too far from now.
    Stale,
    /// The signature is not the one of this body, timestamp and secret.
    Forged,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "signature missing",
            Self::Stale => "timestamp out of its window",
            Self::Forged => "signature wrong",
        })
    }
}

/// Checks a request: the two headers, the raw body, and the time now in seconds since 1970.
///
/// # Errors
/// When the request is not to be accepted.
pub fn verify(signer: &Signer, timestamp: &str, signature: &str, body: &[u8], now: i64) -> Result<(), Rejection> {
    if timestamp.is_empty() || signature.is_empty() {
        return Err(Rejection::Unsigned);
    }
    let seconds: i64 = timestamp.parse().map_err(|_| Rejection::Stale)?;
    if seconds.abs_diff(now) > WINDOW_SECONDS {
        return Err(Rejection::Stale);
    }
    if signer.verify(timestamp, body, signature) { Ok(()) } else { Err(Rejection::Forged) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    const SECRET: &str = "bridge-test-secret";
    const TIMESTAMP: &str = "1785368934";
    const NOW: i64 = 1_785_368_934;
    const BODY: &str = r#"{"event":"meeting.started","payload":{"account_id":"AAAAAABBBBBBCCCCCC1234","object":{"id":"86084701483","uuid":"de+IDqR9/NA/J1==","topic":"Standup"}},"event_ts":1785369357392}"#;
    const SIGNATURE: &str = "v0=01c18e89ac9fa937c0c91dc69d2813cd9fc884d326628ce6a3d33ccac7e32e96";

    fn signer(secret: &str) -> Signer {
        Signer::new(&Secret::new(secret))
    }

    fn check(timestamp: &str, signature: &str, body: &str, now: i64) -> Result<(), Rejection> {
        verify(&signer(SECRET), timestamp, signature, body.as_bytes(), now)
    }

    #[test]
    fn vectors_are_accepted() {
        assert_eq!(check(TIMESTAMP, SIGNATURE, BODY, NOW), Ok(()));
        let body = r#"{"payload":{"account_id":"AAAAAABBBBBBCCCCCC1234","object":{"id":86084701483,"topic":"Überblick — 週次 🚀"}},"event_ts":1785369357392,"event":"meeting.updated"}"#;
        let signature = "v0=d67e2357fc0cdfb986c8fe41989863e12ad4728d806973f406a459db55bfc5e7";
        assert_eq!(check(TIMESTAMP, signature, body, NOW), Ok(()));
    }

    #[test]
    fn validation_vector_is_answered() {
        let encrypted = "b3fd36892be84c58477e2cef6c6fc0ec77c94b87f78361d082018c8974c1c656";
        assert_eq!(signer(SECRET).validation_token("qgg8vlvZRS6UYooatFL8Aw"), encrypted);
    }

    #[test]
    fn window_is_five_minutes_to_both_sides() {
        for (now, expected) in [
            (NOW + 300, Ok(())),
            (NOW - 300, Ok(())),
            (NOW + 301, Err(Rejection::Stale)),
            (NOW - 301, Err(Rejection::Stale)),
        ] {
            assert_eq!(check(TIMESTAMP, SIGNATURE, BODY, now), expected, "{now}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(check("", SIGNATURE, BODY, NOW), Err(Rejection::Unsigned));
        assert_eq!(check(TIMESTAMP, "", BODY, NOW), Err(Rejection::Unsigned));
        assert_eq!(check("now", SIGNATURE, BODY, NOW), Err(Rejection::Stale));
        assert_eq!(check("1785368935", SIGNATURE, BODY, NOW), Err(Rejection::Forged));
        assert_eq!(check(TIMESTAMP, SIGNATURE, &BODY.replace("Standup", "standup"), NOW), Err(Rejection::Forged));
        assert_eq!(check(TIMESTAMP, &SIGNATURE.replace("v0=", "v1="), BODY, NOW), Err(Rejection::Forged));
        let other = verify(&signer("other"), TIMESTAMP, SIGNATURE, BODY.as_bytes(), NOW);
        assert_eq!(other, Err(Rejection::Forged));
    }
}
