//! The files of certificates that a configuration names: what is wrong with them, and how long they are good.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Roots, TlsError, certificate, certificates, server};
use crate::config::Config;
use crate::config::problem::Problem;
use crate::config::tls::TlsRules;

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
pub(crate) fn files(config: &Config) -> Vec<Used> {
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
pub(crate) fn problems(config: &Config) -> Vec<Problem> {
    let roots = Roots::load();
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
