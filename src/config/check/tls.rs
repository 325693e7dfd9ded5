//! The rules of `[tls]`, and of the keys on TLS in subscriptions and destinations.

use std::path::PathBuf;

use crate::config::cursor::Cursor;
use crate::config::entry::Entry;
use crate::config::tls::{SystemRoots, TlsDefaults, TlsRules, TlsVersion};

/// Reads the section.
pub(super) fn defaults(mut cursor: Cursor<'_>) -> TlsDefaults {
    let min_version = cursor.take("min_version").and_then(|entry| entry.choice(TlsVersion::WORDS));
    let zoom_ca_file = cursor.take("zoom_ca_file").and_then(Entry::certificates);
    let destinations_ca_file = cursor.take("destinations_ca_file").and_then(Entry::certificates);
    cursor.finish();
    let min_version = min_version.unwrap_or(TlsDefaults::NONE.min_version);
    TlsDefaults { min_version, zoom_ca_file, destinations_ca_file }
}

/// Reads `ca_only`, `tls_min_version` and, beside them, what is shown of this side.
pub(super) fn rules(
    cursor: &mut Cursor<'_>,
    min_version: TlsVersion,
    side_ca_file: Option<&PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
) -> TlsRules {
    let only = cursor.take("ca_only").and_then(Entry::flag).unwrap_or(false);
    if only && !cursor.has("ca_file") && side_ca_file.is_none() {
        cursor.place_of("ca_only").fail::<()>("there is no ca_file, so that nobody would be trusted: add it");
    }
    let own = cursor.take("tls_min_version").and_then(|entry| entry.choice(TlsVersion::WORDS));
    TlsRules {
        system: if only { SystemRoots::Ignored } else { SystemRoots::Trusted },
        side_ca_file: side_ca_file.cloned(),
        min_version: own.unwrap_or(min_version),
        identity,
    }
}

/// Reads `client_cert` and `client_key`, and looks whether they hold what they should.
pub(super) fn identity(cursor: &mut Cursor<'_>) -> Option<(PathBuf, PathBuf)> {
    let pair = super::admin::pair(cursor, ["client_cert", "client_key"])?;
    for (name, path, what) in [("client_cert", &pair.0, "CERTIFICATE"), ("client_key", &pair.1, "PRIVATE KEY")] {
        let place = cursor.place_of(name);
        if place.file(path).is_some_and(|text| !text.contains(what)) {
            place.fail::<()>(format!("the file {} holds no {} in PEM form", path.display(), what.to_lowercase()));
        }
    }
    Some(pair)
}
