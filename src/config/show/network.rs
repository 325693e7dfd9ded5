//! How connections leave and whom they trust, as it may be shown.

use std::path::Path;

use serde::Serialize;

use super::{mask, word};
use crate::config::allow::AllowList;
use crate::config::host::HostPattern;
use crate::config::proxy::{Outbound, Way};
use crate::config::tls::{SystemRoots, TlsDefaults, TlsRules, TlsVersion};

#[derive(Serialize)]
pub(super) struct ShownOutbound {
    proxy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_credentials: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    no_proxy: Vec<String>,
}

impl ShownOutbound {
    pub(super) fn of(outbound: &Outbound) -> Self {
        let Outbound { way, no_proxy } = outbound;
        let (proxy, credentials) = match way {
            Way::Direct => (Way::NONE.to_owned(), None),
            // Which one that is stands among the hosts that may be contacted.
            Way::Environment { .. } => (Way::ENVIRONMENT.to_owned(), None),
            Way::Proxy(proxy) => (proxy.to_string(), proxy.credentials.as_ref()),
        };
        // A name excepts what is below it: both come from one word.
        let words = no_proxy.iter().filter(|pattern| !matches!(pattern, HostPattern::Below(_)));
        Self {
            proxy,
            proxy_credentials: credentials.map(|known| format!("{}:{}", mask(&known.user), mask(&known.password))),
            no_proxy: words.map(HostPattern::to_string).collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ShownRules<'a> {
    ca_only: bool,
    tls_min_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_cert: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key: Option<&'a Path>,
}

impl<'a> ShownRules<'a> {
    pub(super) fn of(rules: &'a TlsRules) -> Self {
        // What a side has in common is shown once, for all of it.
        let TlsRules { system, side_ca_file: _, min_version, identity } = rules;
        Self {
            ca_only: *system == SystemRoots::Ignored,
            tls_min_version: word(TlsVersion::WORDS, *min_version),
            client_cert: identity.as_ref().map(|(cert, _)| &**cert),
            client_key: identity.as_ref().map(|(_, key)| &**key),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ShownTls<'a> {
    min_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    zoom_ca_file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destinations_ca_file: Option<&'a Path>,
}

impl<'a> ShownTls<'a> {
    pub(super) fn of(tls: &'a TlsDefaults) -> Self {
        let TlsDefaults { min_version, zoom_ca_file, destinations_ca_file } = tls;
        Self {
            min_version: word(TlsVersion::WORDS, *min_version),
            zoom_ca_file: zoom_ca_file.as_deref(),
            destinations_ca_file: destinations_ca_file.as_deref(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ShownEgress {
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<String>>,
}

impl ShownEgress {
    pub(super) fn of(allow: &AllowList) -> Self {
        let words = |patterns: &Vec<HostPattern>| patterns.iter().map(HostPattern::to_string).collect();
        Self { allow: allow.patterns.as_ref().map(words) }
    }
}
