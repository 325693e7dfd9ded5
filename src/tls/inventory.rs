//! The certificates that a configuration has to do with: the files that it names, what is wrong with them and how long
//! they are good, and those who show theirs.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use url::Url;

use super::{Roots, TlsError, certificate, certificates, server};
use crate::config::authorization::Auth;
use crate::config::problem::Problem;
use crate::config::tls::TlsRules;
use crate::config::{Config, Destination};
use crate::telemetry::metrics::Certificate;

/// Is all that has to do with certificates, but for the admin port and the collector: those are as at the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct InUse {
    /// The files.
    pub(crate) files: Vec<Used>,
    /// Those who show one.
    pub(crate) peers: Vec<Certificate>,
}

impl InUse {
    /// Lists what a configuration has to do with.
    pub(crate) fn of(config: &Config) -> Self {
        Self { files: files(config), peers: peers(config) }
    }
}

/// Lists those that speak TLS and have a subscription or a destination.
fn peers(config: &Config) -> Vec<Certificate> {
    let subscriptions = config.subscriptions.iter().flat_map(|it| {
        let name = || it.name.to_string();
        [(Certificate::Socket(name()), &it.url), (Certificate::SocketToken(name()), &it.token_url)]
    });
    let all = subscriptions.chain(config.destinations.iter().flat_map(shown_to));
    all.filter(|(_, url)| ["https", "wss"].contains(&url.scheme())).map(|(peer, _)| peer).collect()
}

/// Lists those who show a certificate to a destination, and where.
pub(crate) fn shown_to(destination: &Destination) -> impl Iterator<Item = (Certificate, &Url)> {
    let name = || destination.name.to_string();
    let token = match &destination.auth {
        Auth::OAuth(oauth) => Some((Certificate::HandlerToken(name()), &oauth.token_url)),
        Auth::None | Auth::VerificationToken(_) | Auth::Basic { .. } | Auth::Bearer(_) | Auth::Header { .. } => None,
    };
    [(Certificate::Handler(name()), &destination.url)].into_iter().chain(token)
}

/// Is a file of certificates, and who uses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Used {
    /// `admin`, `zoom`, `destinations` or `traces`.
    pub(crate) side: &'static str,
    /// The file.
    pub(crate) file: PathBuf,
}

/// Lists the files of certificates that a configuration names, each once for each side; the certificate of the admin
/// port has somebody to look after it.
fn files(config: &Config) -> Vec<Used> {
    let admin = config.admin.tls.iter().filter(|_| config.admin.listen.is_some());
    let admin = admin.map(|tls| ("admin", tls.client_ca_file.as_ref()));
    let zoom = config.subscriptions.iter().flat_map(|it| [it.ca_file.as_ref(), it.tls.side_ca_file.as_ref()]);
    let destinations = config.destinations.iter().flat_map(|it| {
        let shown = it.tls.identity.as_ref().map(|(cert, _)| cert);
        [it.ca_file.as_ref(), it.tls.side_ca_file.as_ref(), shown]
    });
    let traces = config.traces.iter().map(|it| ("traces", it.ca_file.as_ref()));
    let all = admin.chain(zoom.map(|file| ("zoom", file))).chain(destinations.map(|file| ("destinations", file)));
    let all = all.chain(traces);
    let mut used: Vec<Used> = Vec::new();
    for (side, file) in all {
        let Some(file) = file.cloned() else { continue };
        let new = Used { side, file };
        if !used.contains(&new) {
            used.push(new);
        }
    }
    used
}

/// Tells when the first of the certificates in a file expires; `None` where none can be read.
pub(crate) fn expires_at(file: &Path) -> Option<Timestamp> {
    certificates(file).ok()?.iter().filter_map(certificate::expires_at).min()
}

/// Tries all that a configuration asks of TLS, and answers what cannot be done.
pub(crate) fn problems(config: &Config, roots: &Roots) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut tried = |place: String, outcome: Result<(), TlsError>| {
        if let Err(error) = outcome {
            problems.push(Problem::new(place, error.to_string()));
        }
    };
    for it in &config.subscriptions {
        let outcome = roots.client(it.ca_file.as_deref(), &it.tls).map(drop);
        tried(format!("subscription {:?}", it.name), outcome);
    }
    for it in &config.destinations {
        tried(format!("destination {:?}", it.name), roots.client(it.ca_file.as_deref(), &it.tls).map(drop));
    }
    if let Some(it) = &config.traces {
        tried("traces".to_owned(), roots.client(it.ca_file.as_deref(), &TlsRules::DEFAULT).map(drop));
    }
    if let (Some(_), Some(files)) = (&config.admin.listen, &config.admin.tls) {
        let outcome = server::identity(&files.cert, &files.key, files.client_ca_file.as_deref()).map(drop);
        tried("admin".to_owned(), outcome);
    }
    problems
}
