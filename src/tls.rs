//! TLS: rustls; towards Zoom, handlers and bridges with the system's roots and extra certificates on request,
//! `live` for files that change, `server` for the admin port, `certificate` for what a certificate says, `watch` for
//! those that servers show, `fault` for what goes wrong, `provider` for the cryptography below.

pub(crate) mod certificate;
pub(crate) mod fault;
pub(crate) mod inventory;
mod live;
pub mod provider;
pub(crate) mod server;
mod watch;

#[cfg(test)]
mod tests;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WantsClientCert, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion};
use url::Url;

use self::live::{Identity, Trust};
use self::provider::provider;
use self::watch::{Watch, Watching};
use crate::config::tls::{SystemRoots, TlsRules, TlsVersion};
use crate::telemetry::metrics::Expiry;

/// Bits of a file's mode.
const READ_BY_OTHERS: u32 = 0o004;
const WRITTEN_BY_OTHERS: u32 = 0o002;
/// What is wrong with a pipe.
const PIPE: &str = "it is a pipe, which can be read only once";

/// Says why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or is not PEM.
    #[error("cannot read certificates from {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be read, or holds no key in PEM form.
    #[error("cannot read a private key from {path}: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Anybody on this machine can read the key.
    #[error("the private key in {path} can be read by every user of this machine: chmod o= {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// Anybody on this machine can put other certificates or another key there.
    #[error("{path} can be written by every user of this machine: chmod o-w {path}")]
    Writable {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("the certificate in {cert} and the key in {key} cannot be used: {source}")]
    Pair {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The cryptographic provider refused the protocol versions.
    #[error("tls cannot be set up")]
    Provider(#[from] rustls::Error),
}

/// Variables that name a CA store in place of the system's.
const NAMED_STORE: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Holds the roots that this machine trusts. Reading them takes milliseconds: read them once for many clients.
#[derive(Clone)]
pub struct Roots {
    store: Arc<RootCertStore>,
    /// Whose certificates are looked at on the way.
    watches: Arc<[Watch]>,
}

impl Roots {
    /// Reads the system's roots. A machine with no CA store at all gets Mozilla's, so that a minimal image works.
    pub fn load() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            // Whoever names a store trusts that one, and not the world's.
            if NAMED_STORE.iter().any(|name| std::env::var_os(name).is_some()) {
                tracing::warn!(
                    "SSL_CERT_FILE or SSL_CERT_DIR names no certificate: Mozilla's authorities are trusted instead"
                );
            }
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self { store: Arc::new(roots), watches: Arc::default() }
    }

    /// Returns the same roots for a client that notes when the certificate expires that the host of this URL shows, too.
    #[must_use]
    pub fn watching(&self, url: &Url, expiry: Expiry) -> Self {
        let watches = self.watches.iter().cloned().chain([Watch::new(url, expiry)]).collect();
        Self { store: Arc::clone(&self.store), watches }
    }

    /// Returns the same roots for a client that goes to this URL alone, and notes what that one shows.
    #[must_use]
    pub(crate) fn towards(&self, url: &Url) -> Self {
        let watches = self.watches.iter().filter(|watch| watch.is_of(url)).cloned().collect();
        Self { store: Arc::clone(&self.store), watches }
    }

    /// Makes the client side of TLS, trusting these roots and the certificates in `ca_file`.
    ///
    /// # Errors
    /// When `ca_file` cannot be read, is not PEM, or holds no certificate.
    pub fn client_config(&self, ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
        Ok(self.trusting(ca_file)?.with_no_client_auth())
    }

    /// Makes the client side of TLS by the rules of a configuration; the files are read again when they change.
    ///
    /// # Errors
    /// When a file cannot be read, is not PEM, or does not fit.
    pub(crate) fn client(&self, ca_file: Option<&Path>, rules: &TlsRules) -> Result<ClientConfig, TlsError> {
        let TlsRules { system, side_ca_file, min_version, identity } = rules;
        let versions: &[&SupportedProtocolVersion] = match min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
        let files: Vec<PathBuf> = ca_file.map(Path::to_owned).into_iter().chain(side_ca_file.clone()).collect();
        let has_files = !files.is_empty() || identity.is_some();
        let verifier: Arc<dyn ServerCertVerifier> = if files.is_empty() && *system == SystemRoots::Trusted {
            verifier(Arc::clone(&self.store))?
        } else {
            Arc::new(Trust::new(self, *system, files)?)
        };
        let verifier = if self.watches.is_empty() {
            verifier
        } else {
            Arc::new(Watching { verifier, watches: Arc::clone(&self.watches) })
        };
        // Nothing is left out: whatever is put around it, rustls' own verifier decides.
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder.with_client_cert_resolver(Arc::new(Identity::new(cert, key)?)),
        };
        if has_files {
            // A session that is resumed would go on with the files as they were.
            config.resumption = Resumption::disabled();
        }
        Ok(config)
    }

    fn trusting(&self, ca_file: Option<&Path>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
        let mut roots = Arc::clone(&self.store);
        if let Some(path) = ca_file {
            add_file(Arc::make_mut(&mut roots), path)?;
        }
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        Ok(builder.with_root_certificates(roots))
    }
}

/// Makes the client side of TLS for one client, trusting the system's roots and the certificates in `ca_file`.
///
/// # Errors
/// When `ca_file` cannot be read, is not PEM, or holds no certificate.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    Roots::load().client_config(ca_file)
}

/// Makes the same, and shows a certificate to servers that ask for one: the files of certificate and key.
///
/// # Errors
/// When a file cannot be read, is not PEM, or does not fit.
pub(crate) fn client_config_as(
    ca_file: Option<&Path>,
    identity: Option<(&Path, &Path)>,
) -> Result<ClientConfig, TlsError> {
    let builder = Roots::load().trusting(ca_file)?;
    let Some((cert, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let pair = |source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source };
    builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(pair)
}

/// Makes the verifier that rustls has for servers.
fn verifier(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    verifier.map_err(|error| TlsError::Provider(rustls::Error::General(error.to_string())))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    for certificate in certificates(path)? {
        let wrong = |error: rustls::Error| TlsError::File { path: path.to_owned(), reason: error.to_string() };
        roots.add(certificate).map_err(wrong)?;
    }
    Ok(())
}

/// Reads the certificates of a file; there is at least one. Whoever can write it says who is trusted.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    if others_may(path, WRITTEN_BY_OTHERS) {
        return Err(TlsError::Writable { path: path.to_owned() });
    }
    let wrong = |reason: String| TlsError::File { path: path.to_owned(), reason };
    if is_pipe(path) {
        return Err(wrong(PIPE.to_owned()));
    }
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("it holds no certificate in PEM form".to_owned()));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    if others_may(path, READ_BY_OTHERS) {
        return Err(TlsError::Exposed { path: path.to_owned() });
    }
    if others_may(path, WRITTEN_BY_OTHERS) {
        return Err(TlsError::Writable { path: path.to_owned() });
    }
    if is_pipe(path) {
        return Err(TlsError::Key { path: path.to_owned(), reason: PIPE.to_owned() });
    }
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| TlsError::Key { path: path.to_owned(), reason: error.to_string() })
}

/// Tells whether a file is a pipe: to read one waits for whoever writes into it, and a second time brings nothing.
fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Tells whether a file's mode has a bit; of a symbolic link its target counts.
fn others_may(path: &Path, bit: u32) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & bit != 0)
}

/// Is what changes when a file does: its size, time and number.
pub(crate) type Stamp = (u64, i64, i64, u64);

/// Looks at a file, if it is there.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino()))
}
