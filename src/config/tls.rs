//! What a side of the configuration asks of TLS.

use std::path::PathBuf;

/// Says whom connections of one subscription or destination trust, beside the certificates in its `ca_file`, and what
/// they show of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRules {
    /// The certificates that the machine trusts.
    pub system: SystemRoots,
    /// Certificates that all of this side trust.
    pub side_ca_file: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// The files of certificate and key that are shown to servers that ask.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsRules {
    /// Is what holds where nothing is configured.
    pub const DEFAULT: Self =
        Self { system: SystemRoots::Trusted, side_ca_file: None, min_version: TlsVersion::Tls12, identity: None };
}

/// Says whether the certificates count that the machine trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemRoots {
    /// They do; where it has none, Mozilla's do.
    Trusted,
    /// Files alone count.
    Ignored,
}

/// Is a version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    /// Is how a configuration writes them.
    pub const WORDS: &[(&str, Self)] = &[("1.2", Self::Tls12), ("1.3", Self::Tls13)];
}

/// Is the section `[tls]`: what the subscriptions and destinations have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsDefaults {
    /// Default of their `tls_min_version`.
    pub min_version: TlsVersion,
    /// Certificates that all subscriptions trust.
    pub zoom_ca_file: Option<PathBuf>,
    /// Certificates that all destinations trust.
    pub destinations_ca_file: Option<PathBuf>,
}

impl TlsDefaults {
    /// Is what holds where there is no section.
    pub const NONE: Self = Self { min_version: TlsVersion::Tls12, zoom_ca_file: None, destinations_ca_file: None };
}
