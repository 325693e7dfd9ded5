//! What a destination's requests carry beside Zoom's own headers, and how its secret token is replaced.

use std::fmt;

use http::HeaderName;
use jiff::Timestamp;
use url::Url;

use super::problem::Problem;
use super::secret::Secret;
use super::{Config, Destination, address};

/// Is the secret token that takes over from `secret_token`.
#[derive(Clone, Debug, PartialEq)]
pub struct NextSecretToken {
    /// The secret token.
    pub token: Secret,
    /// When it takes over.
    pub takeover: Takeover,
}

impl Destination {
    /// Returns the secret tokens that may sign at `now`: the one in force and, where a refusal decides, the other one.
    pub fn secret_tokens(&self, now: Timestamp) -> Vec<&Secret> {
        match &self.next_secret_token {
            None => vec![&self.secret_token],
            Some(next) => match next.takeover {
                Takeover::At(at) if at <= now => vec![&next.token],
                Takeover::At(_) => vec![&self.secret_token],
                Takeover::WhenRefused => vec![&self.secret_token, &next.token],
            },
        }
    }
}

/// Returns a warning for each secret token that another one has replaced and that can be taken out.
pub fn replaced(config: &Config, now: Timestamp) -> Vec<Problem> {
    let replaced = config.destinations.iter().filter_map(|destination| {
        let Takeover::At(at) = destination.next_secret_token.as_ref()?.takeover else { return None };
        (at <= now).then(|| {
            let path = format!("destination {:?}: secret_token", destination.name);
            Problem::new(
                path,
                format!(
                    "next_secret_token signs since {at}: make it the secret_token, and take next_secret_token and \
                     switch_at out"
                ),
            )
        })
    });
    replaced.collect()
}

/// Says when the next secret token takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// At this moment (`switch_at`).
    At(Timestamp),
    /// When the handler refuses the one and takes the other (`on_refused = "try_next"`).
    WhenRefused,
}

impl Takeover {
    /// Is how a configuration writes the second kind.
    pub const WORDS: &[(&str, Self)] = &[("try_next", Self::WhenRefused)];
}

/// Is one header that every request to a destination carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Its name, in lower case.
    pub name: HeaderName,
    /// Its value: visible ASCII characters, with spaces between them.
    pub value: HeaderText,
}

/// Is the value of a header.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderText {
    /// Stands in the configuration itself, and may be shown.
    Plain(String),
    /// Came from a variable or a file, and is not shown.
    Secret(Secret),
}

/// Says how requests prove to a handler, or to a gateway before it, who sends them.
#[derive(Clone, Debug, PartialEq)]
pub enum Auth {
    /// By their signature alone.
    None,
    /// By Zoom's scheme of before 2022: the bare verification token in `authorization`.
    VerificationToken(Secret),
    /// By a name and a password (RFC 7617).
    Basic {
        /// The name; it holds no colon.
        username: Box<str>,
        /// The password.
        password: Secret,
    },
    /// By a token that does not change.
    Bearer(Secret),
    /// By a token that the handler's own token endpoint gives.
    OAuth(OAuth),
    /// By one header of any name.
    Header {
        /// Its name, in lower case.
        name: HeaderName,
        /// Its value.
        value: Secret,
    },
}

/// Is where a handler's tokens come from; `Debug` masks the query of the URL.
#[derive(Clone, PartialEq)]
pub struct OAuth {
    /// The token endpoint.
    pub token_url: Url,
    /// The client id; it holds no colon.
    pub client_id: Box<str>,
    /// The client secret.
    pub client_secret: Secret,
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth")
            .field("token_url", &address::masked(&self.token_url))
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_tokens_are_those_that_may_sign_now() {
        let at = Timestamp::UNIX_EPOCH;
        let before = Timestamp::from_second(-1).expect("a time");
        let cases = [
            (None, at, vec!["old"]),
            (Some(Takeover::At(at)), before, vec!["old"]),
            (Some(Takeover::At(at)), at, vec!["new"]),
            (Some(Takeover::WhenRefused), at, vec!["old", "new"]),
        ];
        for (takeover, now, expected) in cases {
            let destination = rotating(takeover);
            let found: Vec<&str> = destination.secret_tokens(now).into_iter().map(Secret::expose).collect();
            assert_eq!(found, expected, "{takeover:?}");
        }
    }

    fn rotating(takeover: Option<Takeover>) -> Destination {
        let next = takeover.map(|takeover| NextSecretToken { token: Secret::new("new"), takeover });
        let url = "https://crm.internal/".parse().expect("a url");
        Destination { next_secret_token: next, ..Destination::new("crm", url, Secret::new("old")) }
    }
}
