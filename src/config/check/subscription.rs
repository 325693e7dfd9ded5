//! The rules of `[[subscription]]`.

use std::sync::Arc;

use url::Url;

use super::proxy::{self, Usual};
use super::tls;
use crate::config::address::{self, Protocol};
use crate::config::cursor::Cursor;
use crate::config::entry::Entry;
use crate::config::tls::TlsDefaults;
use crate::config::{Grant, Subscription};

/// Is matched in any case: no spelling of it gets a token into the configuration.
const ACCESS_TOKEN: &str = "access_token";

/// Reads them all; `None` when there is none, or one is wrong.
pub(super) fn all(root: &mut Cursor<'_>, tls: &TlsDefaults) -> Option<Vec<Subscription>> {
    let missing = root.place_of("subscription");
    let sections = root.sections("subscription")?;
    if sections.is_empty() {
        return missing.fail("missing: add a [[subscription]] with id, client_id and client_secret");
    }
    let alone = sections.len() == 1;
    let mut seen = Seen::default();
    let read: Vec<_> = sections.into_iter().map(|section| one(section, alone, &mut seen, tls)).collect();
    read.into_iter().collect()
}

/// Is what no two subscriptions may share.
#[derive(Default)]
struct Seen {
    names: Vec<Arc<str>>,
    ids: Vec<Box<str>>,
}

fn one(mut cursor: Cursor<'_>, alone: bool, seen: &mut Seen, tls: &TlsDefaults) -> Option<Subscription> {
    let name = match cursor.take("name") {
        None if alone => Some(Subscription::NAME.into()),
        None => cursor.place_of("name").fail("missing: with more than one subscription each needs a name"),
        Some(entry) => entry.name(),
    };
    let socket = socket(&mut cursor);
    let token_url = match cursor.take("token_url") {
        None => Some(Url::parse(Subscription::TOKEN_URL).expect("the default is a URL")),
        Some(entry) => token_url(entry),
    };
    let grant = match cursor.take("grant") {
        None => Some(Grant::Auto),
        Some(entry) => entry.choice(Grant::WORDS),
    };
    let account_id = match cursor.take("account_id") {
        None if grant == Some(Grant::AccountCredentials) => {
            cursor.place_of("account_id").fail("missing: the account id, which account_credentials needs")
        }
        entry => entry.and_then(Entry::text),
    };
    let client_id = cursor.require("client_id", "the client id of the app").and_then(Entry::text);
    let client_secret = cursor.require("client_secret", "the client secret of the app").and_then(Entry::secret);
    let group = cursor.take("group").map(Entry::name);
    let ca_file = cursor.take("ca_file").and_then(Entry::certificates);
    let tls = tls::rules(&mut cursor, tls.min_version, tls.zoom_ca_file.as_ref(), None);
    let outbound = proxy::outbound(&mut cursor, Usual::Environment);
    if let Some(name) = &name {
        if seen.names.contains(name) {
            cursor.place_of("name").fail::<()>("another subscription has this name already");
        }
        seen.names.push(name.clone());
    }
    if let Some((id, _)) = &socket {
        if seen.ids.contains(id) {
            cursor.place().fail::<()>(
                "another subscription has the same id: Zoom keeps one connection for each, so they would close \
                 each other; make a second subscription in the app for a twin",
            );
        }
        seen.ids.push(id.clone());
    }
    cursor.finish();
    let name = name?;
    let (id, url) = socket?;
    Some(Subscription {
        url,
        id,
        token_url: token_url?,
        grant: grant?,
        account_id: account_id.map(Into::into),
        client_id: client_id?.into(),
        client_secret: client_secret?,
        group: match group {
            None => name.clone(),
            Some(group) => group?,
        },
        ca_file,
        tls,
        outbound: outbound?,
        name,
    })
}

fn token_url(entry: Entry<'_>) -> Option<Url> {
    let place = entry.place();
    let url = super::url(entry, Protocol::Http)?;
    if url.query().is_some() {
        return place.fail("the URL must end before the ?: grant and account_id are keys of their own");
    }
    Some(url)
}

/// Reads `id` or `url`, of which either takes a bare id or the whole URL.
fn socket(cursor: &mut Cursor<'_>) -> Option<(Box<str>, Url)> {
    const WHAT: &str = "the subscription id, or the whole URL as Zoom shows it";
    let entry = match (cursor.take("id"), cursor.take("url")) {
        (Some(entry), None) | (None, Some(entry)) => entry.meant_as(WHAT),
        (Some(_), Some(url)) => return url.place().fail("id and url say the same thing: keep one of them"),
        (None, None) => return cursor.place_of("id").fail(format!("missing: {WHAT}")),
    };
    let place = entry.place();
    let text = entry.text()?;
    if !text.contains("://") {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | '/' | '=');
        // A URL without its beginning is not taken for an id: it may hold a token.
        if !text.chars().all(legal) || text.contains("subscriptionId=") {
            return place.fail("expected a subscription id, or a whole URL that begins with wss://");
        }
        let mut url = Url::parse(Subscription::BASE_URL).expect("the default is a URL");
        url.query_pairs_mut().append_pair(Subscription::ID_PARAMETER, &text);
        return Some((text.into(), url));
    }
    let mut url = match address::parse(&text, Protocol::WebSocket) {
        Ok(url) => url,
        Err(message) => return place.fail(message),
    };
    let is_token = |name: &str| name.eq_ignore_ascii_case(ACCESS_TOKEN);
    if url.query_pairs().any(|(name, _)| is_token(&name)) {
        place.warn("the URL holds an access_token: it is not used, take it out");
        let kept: Vec<_> = url.query_pairs().into_owned().filter(|(name, _)| !is_token(name)).collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    let id = url.query_pairs().find(|(name, _)| name == Subscription::ID_PARAMETER).map(|(_, id)| id.into_owned());
    match id.filter(|id| !id.is_empty()) {
        Some(id) => Some((id.into(), url)),
        None => place.fail("the URL names no subscription: expected wss://ws.zoom.us/ws?subscriptionId=..."),
    }
}
