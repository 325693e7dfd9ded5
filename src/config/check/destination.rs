//! The rules of `[[destination]]`.

use std::sync::Arc;
use std::time::Duration;

use super::{DAY, MINUTE};
use crate::config::address::Protocol;
use crate::config::cursor::Cursor;
use crate::config::entry::Entry;
use crate::config::filter::{EventFilter, Pattern};
use crate::config::{BodyForm, Destination, Ordering, Retry};

/// The shortest time in which a handler can be expected to answer, and to be asked again.
const SHORTEST: Duration = Duration::from_millis(100);

/// More is a mistake: Zoom itself gives up after three.
const MOST_RETRIES: usize = 100;

/// Reads them all; `None` when there is none, or one is wrong.
pub(super) fn all(root: &mut Cursor<'_>) -> Option<Vec<Destination>> {
    let missing = root.place_of("destination");
    let sections = root.sections("destination")?;
    if sections.is_empty() {
        return missing.fail("missing: give --to URL, or a [[destination]] with name, url and secret_token in a file");
    }
    let mut names = Vec::new();
    let read: Vec<_> = sections.into_iter().map(|section| one(section, &mut names)).collect();
    read.into_iter().collect()
}

fn one(mut cursor: Cursor<'_>, names: &mut Vec<Arc<str>>) -> Option<Destination> {
    let name = cursor.require("name", "the name of the destination in logs and metrics").and_then(Entry::name);
    let url = cursor.require("url", "the URL of the handler").and_then(|entry| super::url(entry, Protocol::Http));
    let secret_token = cursor.require("secret_token", "the secret token that signs requests").and_then(Entry::secret);
    let filter = filter(&mut cursor);
    let body = cursor.take("body").and_then(|entry| entry.choice(BodyForm::WORDS));
    let retry = cursor.take("retry").map_or(Some(Retry::Steady), retry);
    let timeout = cursor.take("timeout").and_then(|entry| entry.duration(SHORTEST..=10 * MINUTE));
    let concurrency = cursor.take("concurrency").and_then(|entry| entry.count(1..=1024));
    let ordering = cursor.take("ordering").map_or(Some(Ordering::Object), |entry| entry.choice(Ordering::WORDS));
    let ca_file = cursor.take("ca_file").and_then(Entry::certificates);
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
        filter: filter?,
        body: body.unwrap_or(default.body),
        retry,
        timeout: timeout.unwrap_or(default_timeout),
        concurrency: concurrency.unwrap_or(default.concurrency),
        ordering: ordering?,
        ca_file,
        ..default
    })
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
