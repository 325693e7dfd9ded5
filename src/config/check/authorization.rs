//! The rules on a destination's next secret token, its authorization and its further headers.

use http::HeaderName;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use crate::config::address::Protocol;
use crate::config::authorization::{Auth, Header, HeaderText, NextSecretToken, OAuth, Takeover};
use crate::config::cursor::Cursor;
use crate::config::entry::Entry;
use crate::config::file::{Node, Value};
use crate::config::review::Place;
use crate::config::secret::{Base64Secret, Secret};

/// Shows the two ways in which a secret token takes over.
const TAKEOVERS: &str = "switch_at = \"2026-12-01T03:00:00Z\", or on_refused = \"try_next\"";

/// Says what `auth` may be.
const AUTH: &str = "\"none\", or a table with one of verification_token, basic, bearer, oauth and header, such as \
                    { bearer = { env = \"NAME\" } }";

/// Says what `headers` may be.
const HEADERS: &str = "a table such as { x-tenant = \"7\", x-api-key = { env = \"NAME\" } }";

/// Says what the value of a header may be.
const TEXT: &str = "the value of a header is visible ASCII characters, with spaces between them only";

/// The most headers that a configuration may add: servers take a hundred, and some are Zoom's.
const MOST_HEADERS: usize = 50;

/// Belong to one connection, or tell where a request ends (RFC 9110, sections 7.6.1, 8.4, 8.6 and 10.1.1).
const FRAMING: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads `next_secret_token` with the way in which it takes over; `Some(None)` is none.
pub(super) fn next_secret_token(cursor: &mut Cursor<'_>, current: Option<&Secret>) -> Option<Option<NextSecretToken>> {
    let next = cursor.take("next_secret_token");
    let (at, refused) = (cursor.take("switch_at"), cursor.take("on_refused"));
    let Some(next) = next else {
        let Some(alone) = at.or(refused) else { return Some(None) };
        return alone.place().fail("there is no next_secret_token to take over: add it, or take this out");
    };
    let place = next.place();
    let token = next.meant_as("the secret token that takes over").secret();
    let takeover = match (at, refused) {
        (Some(at), None) => at.moment().map(Takeover::At),
        (None, Some(refused)) => refused.choice(Takeover::WORDS),
        (Some(_), Some(refused)) => {
            refused.place().fail("switch_at and on_refused are two ways to the same end: keep one of them")
        }
        (None, None) => place.fail(format!("it needs a word on when it takes over: {TAKEOVERS}")),
    };
    if token.is_some() && token.as_ref() == current {
        place.warn("it is the same as secret_token: there is nothing to take over");
    }
    Some(Some(NextSecretToken { token: token?, takeover: takeover? }))
}

/// Reads the secret of Standard Webhooks.
pub(super) fn standard_webhooks_secret(entry: Entry<'_>) -> Option<Base64Secret> {
    let place = entry.place();
    match Base64Secret::new(&entry.secret()?) {
        Some(key) => Some(key),
        None => place.fail("the secret is not base64, with or without whsec_ before it"),
    }
}

/// Reads the `headers` of a destination.
pub(super) fn headers(entry: Entry<'_>) -> Option<Vec<Header>> {
    named_headers(entry, |key, place| match name(key, place) {
        Some(name) if name == AUTHORIZATION => place.fail("use the key auth for it"),
        name => name,
    })
}

/// Reads the `headers` of a collector of traces.
pub(super) fn collector_headers(entry: Entry<'_>) -> Option<Vec<Header>> {
    named_headers(entry, |key, place| match HeaderName::try_from(key) {
        Err(_) => place.fail("expected the name of a header, such as x-tenant"),
        Ok(name) if FRAMING.contains(&name.as_str()) => {
            place.fail("it belongs to the connection, which zoomhook keeps")
        }
        Ok(name) if name == CONTENT_TYPE => place.fail("it follows from what is sent"),
        Ok(name) => Some(name),
    })
}

fn named_headers(entry: Entry<'_>, name: impl Fn(&str, &Place<'_>) -> Option<HeaderName>) -> Option<Vec<Header>> {
    let Entry { place, value } = entry;
    let Value::Table(table) = value else {
        // What stands there may be a secret.
        return place.fail(format!("expected {HEADERS}, found {}", value.shape()));
    };
    if table.len() > MOST_HEADERS {
        return place.fail(format!("expected at most {MOST_HEADERS} headers, found {}", table.len()));
    }
    let mut names = Vec::new();
    let header = |(key, Node { value, origin }): (String, Node)| {
        let path = format!("{}.{}", place.path, key.escape_debug());
        let place = Place { path, line: origin.line(), ..place.clone() };
        let name = match name(&key, &place) {
            Some(name) if names.contains(&name) => {
                place.fail("another header has this name: upper and lower case are the same")
            }
            name => name,
        };
        names.extend(name.clone());
        let value = text(Entry { place, value });
        Some(Header { name: name?, value: value? })
    };
    let read: Vec<_> = table.into_iter().map(header).collect();
    read.into_iter().collect()
}

/// Reads one way of authorization.
type Way = fn(Entry<'_>) -> Option<Auth>;

/// Reads `auth`.
pub(super) fn auth(entry: Entry<'_>) -> Option<Auth> {
    if entry.as_word() == Some("none") {
        return Some(Auth::None);
    }
    let ways: [(&'static str, Way); 5] = [
        ("verification_token", |entry| header_secret(entry).map(Auth::VerificationToken)),
        ("basic", basic),
        ("bearer", |entry| header_secret(entry).map(Auth::Bearer)),
        ("oauth", oauth),
        ("header", one_header),
    ];
    let place = entry.place();
    let mut cursor = Cursor::inside(entry, AUTH)?;
    let given: Vec<_> = ways.into_iter().filter_map(|(key, read)| Some((read, cursor.take(key)?))).collect();
    let found = given.len();
    let read: Vec<_> = given.into_iter().map(|(read, entry)| read(entry)).collect();
    cursor.finish();
    match found {
        1 => read.into_iter().next()?,
        _ => place.fail(format!("expected {AUTH}; found {found} of them")),
    }
}

fn basic(entry: Entry<'_>) -> Option<Auth> {
    let mut cursor = Cursor::inside(entry, "a table such as { username = \"zoom\", password = { env = \"NAME\" } }")?;
    let username = cursor.require("username", "the user name").and_then(user_name);
    let password = cursor.require("password", "the password").and_then(Entry::secret);
    cursor.finish();
    Some(Auth::Basic { username: username?, password: password? })
}

fn oauth(entry: Entry<'_>) -> Option<Auth> {
    let what = "a table with token_url, client_id and client_secret";
    let mut cursor = Cursor::inside(entry, what)?;
    let token_url = cursor.require("token_url", "the URL of the token endpoint");
    let token_url = token_url.and_then(|entry| super::url(entry, Protocol::Http));
    let client_id = cursor.require("client_id", "the client id for the token endpoint").and_then(user_name);
    let client_secret = cursor.require("client_secret", "the client secret for the token endpoint");
    let client_secret = client_secret.and_then(Entry::secret);
    cursor.finish();
    Some(Auth::OAuth(OAuth { token_url: token_url?, client_id: client_id?, client_secret: client_secret? }))
}

fn one_header(entry: Entry<'_>) -> Option<Auth> {
    let mut cursor = Cursor::inside(entry, "a table such as { name = \"x-api-key\", value = { env = \"NAME\" } }")?;
    let named = cursor.require("name", "the name of the header").and_then(|entry| {
        let place = entry.place();
        name(&entry.text()?, &place)
    });
    let value = cursor.require("value", "the value of the header").and_then(header_secret);
    cursor.finish();
    Some(Auth::Header { name: named?, value: value? })
}

/// Reads what stands before the colon of Basic credentials.
fn user_name(entry: Entry<'_>) -> Option<Box<str>> {
    let place = entry.place();
    let text = entry.text()?;
    if text.contains(|c: char| c == ':' || c.is_control()) {
        return place.fail("it must not hold a colon or a control character: a colon ends it in the header");
    }
    Some(text.into())
}

/// Reads the value of a header: shown if it stands there itself, else not.
fn text(entry: Entry<'_>) -> Option<HeaderText> {
    if entry.as_word().is_none() {
        return header_secret(entry).map(HeaderText::Secret);
    }
    let place = entry.place();
    let text = entry.plain()?;
    if is_header_text(&text) { Some(HeaderText::Plain(text)) } else { place.fail(TEXT) }
}

fn header_secret(entry: Entry<'_>) -> Option<Secret> {
    let place = entry.place();
    let secret = entry.secret()?;
    if is_header_text(secret.expose()) { Some(secret) } else { place.fail(TEXT) }
}

fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && text.trim() == text
}

/// Reads the name of a header that is neither Zoom's, nor the connection's, nor made by another key.
fn name(text: &str, place: &Place<'_>) -> Option<HeaderName> {
    let Ok(name) = HeaderName::try_from(text) else {
        return place.fail("expected the name of a header, such as x-tenant");
    };
    let reason = match name.as_str() {
        framing if FRAMING.contains(&framing) => "it belongs to the connection, which zoomhook keeps",
        "content-type" | "user-agent" => "it is one of Zoom's own, which every request carries",
        zoom if zoom.starts_with("x-zm-") => "it is one of Zoom's own, which every request carries",
        own if own.starts_with("x-zoomhook-") => "names that begin with x-zoomhook- are zoomhook's own",
        "traceparent" => "use the key traceparent for it",
        "webhook-id" | "webhook-timestamp" | "webhook-signature" => "use the key standard_webhooks_secret for it",
        _ => return Some(name),
    };
    place.fail(reason)
}
