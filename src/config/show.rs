//! A configuration as it may be shown: every default spelled out, every secret masked.

mod authorization;
mod network;
mod traces;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use self::authorization::{ShownAuth, ShownTakeover};
use self::network::{ShownEgress, ShownOutbound, ShownRules, ShownTls};
use self::traces::ShownTraces;
use super::address::{MASK, masked};
use super::filter::Pattern;
use super::quantity::{format_duration, format_size};
use super::secret::Secret;
use super::{
    Admin, BodyForm, Config, Destination, Grant, Listen, LogFormat, Ordering, Probe, Retry, Start, Subscription,
    WhenFull,
};
use crate::event::Digest;

/// Is the effective configuration in the shape of the file; its TOML form loads again.
#[derive(Serialize)]
pub struct Shown<'a> {
    subscription: Vec<ShownSubscription<'a>>,
    destination: Vec<ShownDestination<'a>>,
    tls: ShownTls<'a>,
    egress: ShownEgress,
    spool: ShownSpool<'a>,
    admin: ShownAdmin<'a>,
    log: ShownLog,
    #[serde(skip_serializing_if = "Option::is_none")]
    traces: Option<ShownTraces<'a>>,
    shutdown: ShownShutdown,
}

#[derive(Serialize)]
struct ShownSubscription<'a> {
    name: &'a str,
    url: String,
    token_url: String,
    grant: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
    client_id: &'a str,
    client_secret: &'static str,
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<&'a Path>,
    #[serde(flatten)]
    tls: ShownRules<'a>,
    #[serde(flatten)]
    outbound: ShownOutbound,
}

#[derive(Serialize)]
struct ShownDestination<'a> {
    name: &'a str,
    url: String,
    secret_token: &'static str,
    #[serde(flatten)]
    next_secret_token: Option<ShownTakeover>,
    events: Vec<String>,
    exclude: Vec<String>,
    body: &'static str,
    retry: ShownRetry,
    timeout: String,
    concurrency: usize,
    ordering: &'static str,
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<String>,
    probe: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    standard_webhooks_secret: Option<String>,
    traceparent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<&'a Path>,
    #[serde(flatten)]
    tls: ShownRules<'a>,
    #[serde(flatten)]
    outbound: ShownOutbound,
    // Tables: TOML wants them last.
    auth: ShownAuth<'a>,
    headers: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ttl: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ShownRetry {
    Preset(&'static str),
    List(Vec<String>),
}

#[derive(Serialize)]
struct ShownSpool<'a> {
    path: &'a Path,
    retention: String,
    max_size: String,
    when_full: &'static str,
    repeat_window: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_retention: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_key: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    old_encryption_keys: Vec<String>,
}

#[derive(Serialize)]
struct ShownAdmin<'a> {
    listen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewer_token: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ca_file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cert: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key: Option<&'a Path>,
}

#[derive(Serialize)]
struct ShownLog {
    format: &'static str,
    level: String,
}

#[derive(Serialize)]
struct ShownShutdown {
    grace: String,
}

impl<'a> Shown<'a> {
    /// Makes what may be shown out of a configuration.
    pub fn of(config: &'a Config) -> Self {
        let Config { subscriptions, destinations, tls, allow, spool, admin, log, traces, grace } = config;
        Self {
            subscription: subscriptions.iter().map(subscription).collect(),
            destination: destinations.iter().map(destination).collect(),
            tls: ShownTls::of(tls),
            egress: ShownEgress::of(allow),
            spool: ShownSpool {
                path: &spool.path,
                retention: format_duration(spool.retention),
                max_size: format_size(spool.max_size),
                when_full: word(WhenFull::WORDS, spool.when_full),
                repeat_window: format_duration(spool.repeat_window),
                audit_retention: spool.audit_retention.map(format_duration),
                encryption_key: spool.encryption_key.as_ref().map(|_| masked_key(0)),
                old_encryption_keys: (1..=spool.old_encryption_keys.len()).map(masked_key).collect(),
            },
            admin: shown_admin(admin),
            log: ShownLog { format: word(LogFormat::WORDS, log.format), level: log.level.to_string() },
            traces: traces.as_ref().map(ShownTraces::of),
            shutdown: ShownShutdown { grace: format_duration(*grace) },
        }
    }
}

/// Writes base64 of 32 bytes again, another for each, so that what is shown loads.
fn masked_key(number: usize) -> String {
    format!("{}masked{}M=", "masked/".repeat(5), number % 10)
}

fn shown_admin(admin: &Admin) -> ShownAdmin<'_> {
    let Admin { listen, token, viewer_token, tls, ca_file, client } = admin;
    ShownAdmin {
        listen: listen.as_ref().map_or_else(|| Listen::OFF.to_owned(), Listen::to_string),
        token: token.as_ref().map(mask),
        viewer_token: viewer_token.as_ref().map(mask),
        tls_cert: tls.as_ref().map(|tls| &*tls.cert),
        tls_key: tls.as_ref().map(|tls| &*tls.key),
        client_ca_file: tls.as_ref().and_then(|tls| tls.client_ca_file.as_deref()),
        ca_file: ca_file.as_deref(),
        client_cert: client.as_ref().map(|(cert, _)| &**cert),
        client_key: client.as_ref().map(|(_, key)| &**key),
    }
}

/// Writes the effective configuration as TOML.
pub fn show(config: &Config) -> String {
    toml::to_string(&Shown::of(config)).expect("tables of strings, numbers and lists are TOML")
}

/// Returns a number of 48 bits that tells configurations apart by what may be shown of them: two bridges with the same
/// one run the same, secrets aside.
pub fn fingerprint(config: &Config) -> u64 {
    let [a, b, c, d, e, f, ..] = Digest::of(show(config).as_bytes()).0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Takes the secret only to be sure that it is one.
fn mask(_secret: &Secret) -> &'static str {
    MASK
}

fn word<T: PartialEq>(words: &'static [(&'static str, T)], meaning: T) -> &'static str {
    words.iter().find(|(_, value)| *value == meaning).expect("every value has its word").0
}

fn subscription(subscription: &Subscription) -> ShownSubscription<'_> {
    let Subscription {
        name,
        url,
        id: _,
        token_url,
        grant,
        account_id,
        client_id,
        client_secret,
        group,
        ca_file,
        tls,
        outbound,
    } = subscription;
    ShownSubscription {
        name,
        url: url.to_string(),
        token_url: token_url.to_string(),
        grant: word(Grant::WORDS, *grant),
        account_id: account_id.as_deref(),
        client_id,
        client_secret: mask(client_secret),
        group,
        ca_file: ca_file.as_deref(),
        tls: ShownRules::of(tls),
        outbound: ShownOutbound::of(outbound),
    }
}

fn destination(destination: &Destination) -> ShownDestination<'_> {
    let Destination {
        name,
        url,
        secret_token,
        next_secret_token,
        filter,
        body,
        retry,
        timeout,
        concurrency,
        ordering,
        start,
        auth,
        headers,
        standard_webhooks_secret,
        traceparent,
        rate,
        ttl,
        max_attempts,
        max_age,
        probe,
        ca_file,
        tls,
        // Shown once, for all.
        allow: _,
        outbound,
    } = destination;
    let patterns = |patterns: &[Pattern]| patterns.iter().map(Pattern::to_string).collect();
    ShownDestination {
        name,
        url: masked(url),
        secret_token: mask(secret_token),
        next_secret_token: next_secret_token.as_ref().map(ShownTakeover::of),
        events: patterns(&filter.include),
        exclude: patterns(&filter.exclude),
        body: word(BodyForm::WORDS, *body),
        retry: match retry {
            Retry::Steady => ShownRetry::Preset("steady"),
            Retry::Zoom => ShownRetry::Preset("zoom"),
            Retry::List(delays) => ShownRetry::List(delays.iter().copied().map(format_duration).collect()),
        },
        timeout: format_duration(*timeout),
        concurrency: *concurrency,
        ordering: word(Ordering::WORDS, *ordering),
        start: match start {
            Start::At(at) => at.to_string(),
            Start::Now | Start::Beginning => word(Start::WORDS, *start).to_owned(),
        },
        standard_webhooks_secret: standard_webhooks_secret.as_ref().map(authorization::masked_key),
        traceparent: *traceparent,
        auth: ShownAuth::of(auth),
        headers: headers.iter().map(authorization::header).collect(),
        rate: rate.map(|rate| rate.to_string()),
        max_attempts: *max_attempts,
        max_age: max_age.map(format_duration),
        probe: word(Probe::WORDS, *probe),
        ca_file: ca_file.as_deref(),
        tls: ShownRules::of(tls),
        outbound: ShownOutbound::of(outbound),
        ttl: ttl.rules().iter().map(|(pattern, ttl)| (pattern.to_string(), format_duration(*ttl))).collect(),
    }
}
