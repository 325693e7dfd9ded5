//! The rules of `[[destination]]`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::proxy::{self, Usual};
use super::{DAY, MINUTE, authorization, tls};
use crate::config::address::Protocol;
use crate::config::allow::AllowList;
use crate::config::authorization::Auth;
use crate::config::cursor::Cursor;
use crate::config::entry::Entry;
use crate::config::filter::{EventFilter, Pattern};
use crate::config::limits::{Rate, Ttl};
use crate::config::tls::TlsDefaults;
use crate::config::{BodyForm, Destination, Ordering, Probe, Retry, Start};
use crate::wording::counted;

/// The shortest time in which a handler can be expected to answer, and to be asked again.
const SHORTEST: Duration = Duration::from_millis(100);

/// More is a mistake: Zoom itself gives up after three.
const MOST_RETRIES: usize = 100;

/// More is a mistake: a lane walks over them for each attempt.
const MOST_TTLS: usize = 100;

/// Ages are told by the second, and beyond a year nothing is an event any more.
const AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY.saturating_mul(366);

/// Reads them all; `None` when there is none, or one is wrong.
pub(super) fn all(root: &mut Cursor<'_>, tls: &TlsDefaults, allow: Option<&AllowList>) -> Option<Vec<Destination>> {
    let missing = root.place_of("destination");
    let sections = root.sections("destination")?;
    if sections.is_empty() {
        return missing.fail("missing: give --to URL, or a [[destination]] with name, url and secret_token in a file");
    }
    let mut names = Vec::new();
    let read: Vec<_> = sections.into_iter().map(|section| one(section, &mut names, tls, allow)).collect();
    read.into_iter().collect()
}

fn one(
    mut cursor: Cursor<'_>,
    names: &mut Vec<Arc<str>>,
    tls: &TlsDefaults,
    allow: Option<&AllowList>,
) -> Option<Destination> {
    let name = cursor.require("name", "the name of the destination in logs and metrics").and_then(Entry::name);
    let url = cursor.require("url", "the URL of the handler").and_then(|entry| super::url(entry, Protocol::Http));
    let secret_token = cursor.require("secret_token", "the secret token that signs requests").and_then(Entry::secret);
    let next_secret_token = authorization::next_secret_token(&mut cursor, secret_token.as_ref());
    let filter = filter(&mut cursor);
    let body = cursor.take("body").and_then(|entry| entry.choice(BodyForm::WORDS));
    let retry = cursor.take("retry").map_or(Some(Retry::Steady), retry);
    let timeout = cursor.take("timeout").and_then(|entry| entry.duration(SHORTEST..=10 * MINUTE));
    let concurrency = cursor.take("concurrency").and_then(|entry| entry.count(1..=1024));
    let ordering = cursor.take("ordering").map_or(Some(Ordering::Object), |entry| entry.choice(Ordering::WORDS));
    let start = cursor.take("start").map_or(Some(Start::Now), start);
    let auth = cursor.take("auth").map_or(Some(Auth::None), authorization::auth);
    let headers = cursor.take("headers").map_or(Some(Vec::new()), authorization::headers);
    if let (Some(Auth::Header { name, .. }), Some(headers)) = (&auth, &headers)
        && headers.iter().any(|header| header.name == *name)
    {
        cursor.place_of("auth").fail::<()>(format!("{name} is one of the headers, too: keep one of them"));
    }
    let standard_webhooks_secret = cursor.take("standard_webhooks_secret").map(authorization::standard_webhooks_secret);
    let traceparent = cursor.take("traceparent").and_then(Entry::flag);
    let rate = cursor.take("rate").map_or(Some(None), |entry| rate(entry).map(Some));
    let ttl = cursor.take("ttl").map_or(Some(Ttl::default()), ttl);
    let max_attempts = max_attempts(&mut cursor, retry.as_ref());
    let max_age = cursor.take("max_age").and_then(|entry| entry.duration(AGES));
    let probe = cursor.take("probe").map_or(Some(Probe::Event), |entry| entry.choice(Probe::WORDS));
    let ca_file = cursor.take("ca_file").and_then(Entry::certificates);
    let identity = tls::identity(&mut cursor);
    let tls = tls::rules(&mut cursor, tls.min_version, tls.destinations_ca_file.as_ref(), identity);
    let outbound = proxy::outbound(&mut cursor, Usual::Direct);
    if let (Some(allow), Some(outbound)) = (allow, &outbound) {
        super::egress::judge(&cursor, allow, outbound, url.as_ref(), auth.as_ref());
    }
    if let Some(name) = &name {
        if names.contains(name) {
            cursor.place_of("name").fail::<()>("another destination has this name already");
        }
        names.push(name.clone());
    }
    cursor.finish();
    let retry = retry?;
    let default_timeout = match retry {
        Retry::Steady | Retry::List(_) => Destination::STEADY_TIMEOUT,
        Retry::Zoom => Destination::ZOOM_TIMEOUT,
    };
    let default = Destination::new(name?, url?, secret_token?);
    Some(Destination {
        next_secret_token: next_secret_token?,
        filter: filter?,
        body: body.unwrap_or(default.body),
        retry,
        timeout: timeout.unwrap_or(default_timeout),
        concurrency: concurrency.unwrap_or(default.concurrency),
        ordering: ordering?,
        start: start?,
        auth: auth?,
        headers: headers?,
        standard_webhooks_secret: match standard_webhooks_secret {
            None => None,
            Some(secret) => Some(secret?),
        },
        traceparent: traceparent.unwrap_or(default.traceparent),
        rate: rate?,
        ttl: ttl?,
        max_attempts,
        max_age,
        probe: probe?,
        ca_file,
        tls,
        allow: allow?.clone(),
        outbound: outbound?,
        ..default
    })
}

fn start(entry: Entry<'_>) -> Option<Start> {
    let word = entry.as_word().unwrap_or_default();
    if let Some((_, start)) = Start::WORDS.iter().find(|(known, _)| *known == word) {
        return Some(*start);
    }
    match word.parse() {
        Ok(at) => Some(Start::At(at)),
        Err(_) => entry.mismatch("\"now\", \"beginning\", or a time such as \"2026-07-30T10:00:00Z\""),
    }
}

fn filter(cursor: &mut Cursor<'_>) -> Option<EventFilter> {
    let include = cursor.take("events").map(patterns);
    let exclude = cursor.take("exclude").map(patterns);
    if include.as_ref().is_some_and(|include| include.as_ref().is_some_and(Vec::is_empty)) {
        return cursor.place_of("events").fail("an empty list wants no event: leave it out to want all");
    }
    if exclude.as_ref().is_some_and(|exclude| exclude.as_ref().is_some_and(|list| list.contains(&Pattern::All))) {
        return cursor.place_of("exclude").fail("\"*\" leaves no event to deliver");
    }
    Some(EventFilter {
        include: include.unwrap_or_else(|| Some(vec![Pattern::All]))?,
        exclude: exclude.unwrap_or_else(|| Some(Vec::new()))?,
    })
}

fn patterns(entry: Entry<'_>) -> Option<Vec<Pattern>> {
    let entries = entry.list("event names")?;
    let read: Vec<_> = entries.into_iter().map(pattern).collect();
    read.into_iter().collect()
}

fn pattern(entry: Entry<'_>) -> Option<Pattern> {
    match entry.as_word().unwrap_or_default().parse() {
        Ok(pattern) => Some(pattern),
        Err(_) => entry.mismatch("an event name such as \"meeting.started\", a prefix such as \"meeting.*\", or \"*\""),
    }
}

fn retry(entry: Entry<'_>) -> Option<Retry> {
    match entry.as_word() {
        Some("steady") => return Some(Retry::Steady),
        Some("zoom") => return Some(Retry::Zoom),
        Some(_) => return entry.mismatch("\"steady\", \"zoom\", or a list of delays such as [\"5s\", \"1m\"]"),
        None => {}
    }
    let place = entry.place();
    let entries = entry.list("delays such as [\"5s\", \"1m\"], or \"steady\", or \"zoom\"")?;
    if entries.len() > MOST_RETRIES {
        return place.fail(format!("expected at most {MOST_RETRIES} delays, found {}", entries.len()));
    }
    let read: Vec<_> = entries.into_iter().map(|entry| entry.duration(SHORTEST..=7 * DAY)).collect();
    read.into_iter().collect::<Option<_>>().map(Retry::List)
}

fn rate(entry: Entry<'_>) -> Option<Rate> {
    match entry.as_word().unwrap_or_default().parse() {
        Ok(rate) => Some(rate),
        Err(_) => entry.mismatch("a rate such as \"50/s\", \"600/m\" or \"50/s burst 100\""),
    }
}

/// Reads one duration for all events, or one for each pattern.
fn ttl(entry: Entry<'_>) -> Option<Ttl> {
    let place = entry.place();
    let entries = match entry.table() {
        Ok(entries) => entries,
        Err(entry) => return entry.duration(AGES).map(|ttl| Ttl::new(vec![(Pattern::All, ttl)])),
    };
    if entries.is_empty() {
        return place.fail("an empty table limits nothing: leave it out");
    }
    if entries.len() > MOST_TTLS {
        return place.fail(format!("expected at most {MOST_TTLS} patterns, found {}", entries.len()));
    }
    let rule = |(key, entry): (String, Entry<'_>)| match key.parse() {
        Ok(pattern) => entry.duration(AGES).map(|ttl| (pattern, ttl)),
        Err(error) => entry.place().fail(format!("{error}")),
    };
    let read: Vec<_> = entries.into_iter().map(rule).collect();
    read.into_iter().collect::<Option<_>>().map(Ttl::new)
}

fn max_attempts(cursor: &mut Cursor<'_>, retry: Option<&Retry>) -> Option<u32> {
    let entry = cursor.take("max_attempts")?;
    let place = entry.place();
    let most = entry.count(1..=1000)?;
    match retry?.attempts() {
        Some(made) if most > made => {
            place.fail(format!("retry ends after {} already", counted(made as u64, "attempt")))
        }
        Some(_) | None => u32::try_from(most).ok(),
    }
}
