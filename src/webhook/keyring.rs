//! Which of a destination's secret tokens signs a request: never both, since handlers accept one signature only.

use jiff::Timestamp;

use super::signature::Signer;
use super::verdict::{Answer, SendError};
use crate::config::Destination;
use crate::config::authorization::Takeover;

/// Says which of a destination's secret tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `secret_token`.
    Current,
    /// `next_secret_token`.
    Next,
}

/// Holds a destination's secret tokens, ready to sign.
pub struct Keyring {
    current: Signer,
    next: Option<(Signer, Takeover)>,
}

impl Keyring {
    /// Prepares the keys.
    pub fn new(destination: &Destination) -> Self {
        let next = destination.next_secret_token.as_ref();
        Self {
            current: Signer::new(&destination.secret_token),
            next: next.map(|next| (Signer::new(&next.token), next.takeover)),
        }
    }

    /// Returns the one that is in force; `accepted` is the one that the handler took after it had refused the other.
    pub fn in_force(&self, accepted: Option<Which>, now: Timestamp) -> Which {
        match &self.next {
            None => Which::Current,
            Some((_, Takeover::At(at))) => {
                if now < *at {
                    Which::Current
                } else {
                    Which::Next
                }
            }
            Some((_, Takeover::WhenRefused)) => accepted.unwrap_or(Which::Current),
        }
    }

    /// Returns the one to try now that the handler has answered a request signed with `used`, if any.
    pub fn other(&self, used: Which, result: &Result<Answer, SendError>) -> Option<Which> {
        match result {
            Ok(Answer { status: 401 | 403, .. }) => self.alternative(used),
            Ok(_) | Err(_) => None,
        }
    }

    /// Returns the one to try when the handler does not take `used`, if any.
    ///
    /// It goes both ways: while a handler is replaced node by node, some know the one secret and some the other.
    pub fn alternative(&self, used: Which) -> Option<Which> {
        match &self.next {
            Some((_, Takeover::WhenRefused)) => Some(match used {
                Which::Current => Which::Next,
                Which::Next => Which::Current,
            }),
            Some((_, Takeover::At(_))) | None => None,
        }
    }

    /// Returns the moment at which the next one takes over, if it does so by the clock.
    pub fn switch_at(&self) -> Option<Timestamp> {
        match &self.next {
            Some((_, Takeover::At(at))) => Some(*at),
            Some((_, Takeover::WhenRefused)) | None => None,
        }
    }

    /// Returns what signs with one of them.
    pub fn signer(&self, which: Which) -> &Signer {
        match (which, &self.next) {
            (Which::Next, Some((signer, _))) => signer,
            (Which::Current, _) | (Which::Next, None) => &self.current,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::authorization::NextSecretToken;
    use crate::config::secret::Secret;

    #[test]
    fn secret_alone_is_always_in_force() {
        let keyring = keyring(None);
        assert_eq!(keyring.in_force(None, at(0)), Which::Current);
        assert_eq!(keyring.in_force(Some(Which::Next), at(0)), Which::Current);
        assert_eq!(keyring.other(Which::Current, &status(401)), None);
        assert_eq!(keyring.signer(Which::Next).sign("1", b""), keyring.signer(Which::Current).sign("1", b""));
    }

    #[test]
    fn next_secret_takes_over_at_its_moment_and_by_nothing_else() {
        let keyring = keyring(Some(Takeover::At(at(100))));
        for (now, expected) in [(99, Which::Current), (100, Which::Next), (101, Which::Next)] {
            assert_eq!(keyring.in_force(None, at(now)), expected, "{now}");
        }
        assert_eq!(keyring.other(Which::Current, &status(401)), None);
        assert_eq!(keyring.switch_at(), Some(at(100)));
    }

    #[test]
    fn other_secret_is_tried_after_a_refusal_and_after_nothing_else() {
        let keyring = keyring(Some(Takeover::WhenRefused));
        for refused in [401, 403] {
            assert_eq!(keyring.other(Which::Current, &status(refused)), Some(Which::Next));
            assert_eq!(keyring.other(Which::Next, &status(refused)), Some(Which::Current));
        }
        for result in [status(200), status(400), status(404), status(503), Err(SendError::Timeout)] {
            assert_eq!(keyring.other(Which::Current, &result), None, "{result:?}");
        }
        assert_eq!(keyring.in_force(None, at(0)), Which::Current);
        assert_eq!(keyring.in_force(Some(Which::Next), at(0)), Which::Next);
        assert_eq!(keyring.switch_at(), None);
    }

    #[test]
    fn each_signs_with_its_own_secret() {
        let keyring = keyring(Some(Takeover::WhenRefused));
        for (which, secret) in [(Which::Current, "old"), (Which::Next, "new")] {
            assert_eq!(keyring.signer(which).sign("1", b"{}"), Signer::new(&Secret::new(secret)).sign("1", b"{}"));
        }
    }

    fn keyring(takeover: Option<Takeover>) -> Keyring {
        let url = "https://crm.internal/".parse().expect("a url");
        let next = takeover.map(|takeover| NextSecretToken { token: Secret::new("new"), takeover });
        Keyring::new(&Destination { next_secret_token: next, ..Destination::new("crm", url, Secret::new("old")) })
    }

    fn status(status: u16) -> Result<Answer, SendError> {
        Ok(Answer { status, retry_after: None, excerpt: String::new() })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }
}
