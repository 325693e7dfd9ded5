//! What requests carry beside Zoom's own headers, as it may be shown.

use serde::Serialize;

use super::{mask, word};
use crate::config::address::masked;
use crate::config::authorization::{Auth, Header, HeaderText, NextSecretToken, OAuth, Takeover};
use crate::config::secret::Base64Secret;

#[derive(Serialize)]
pub(super) struct ShownTakeover {
    next_secret_token: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    switch_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_refused: Option<&'static str>,
}

impl ShownTakeover {
    pub(super) fn of(next: &NextSecretToken) -> Self {
        let (switch_at, on_refused) = match next.takeover {
            Takeover::At(moment) => (Some(moment.to_string()), None),
            Takeover::WhenRefused => (None, Some(word(Takeover::WORDS, next.takeover))),
        };
        Self { next_secret_token: mask(&next.token), switch_at, on_refused }
    }
}

/// Is written as in the file: `"none"`, or a table of one key.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ShownAuth<'a> {
    None,
    VerificationToken(&'static str),
    Basic { username: &'a str, password: &'static str },
    Bearer(&'static str),
    Oauth { token_url: String, client_id: &'a str, client_secret: &'static str },
    Header { name: &'a str, value: &'static str },
}

impl<'a> ShownAuth<'a> {
    pub(super) fn of(auth: &'a Auth) -> Self {
        match auth {
            Auth::None => Self::None,
            Auth::VerificationToken(token) => Self::VerificationToken(mask(token)),
            Auth::Basic { username, password } => Self::Basic { username, password: mask(password) },
            Auth::Bearer(token) => Self::Bearer(mask(token)),
            Auth::OAuth(OAuth { token_url, client_id, client_secret }) => {
                Self::Oauth { token_url: masked(token_url), client_id, client_secret: mask(client_secret) }
            }
            Auth::Header { name, value } => Self::Header { name: name.as_str(), value: mask(value) },
        }
    }
}

pub(super) fn header(header: &Header) -> (&str, &str) {
    let value = match &header.value {
        HeaderText::Plain(text) => text,
        HeaderText::Secret(secret) => mask(secret),
    };
    (header.name.as_str(), value)
}

/// Writes base64 again, so that what is shown loads.
pub(super) fn masked_key(_key: &Base64Secret) -> String {
    format!("{}masked", Base64Secret::PREFIX)
}
