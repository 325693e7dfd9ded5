//! The server side: a certificate and its key from files, and, on request, clients that must show one, too.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::provider::provider;
use super::{TlsError, add_file, certificate, certificates, private_key};

/// Is a server's side of TLS, ready to be used.
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    /// When the first of the certificates expires.
    pub(crate) expires_at: Timestamp,
    /// The certificate that names the server.
    pub(crate) certificate: CertificateDer<'static>,
}

/// Reads certificate and key; with `client_ca_file`, clients must show a certificate of an authority in it.
///
/// # Errors
/// When a file cannot be read, or certificate and key do not fit.
pub(crate) fn identity(cert: &Path, key: &Path, client_ca_file: Option<&Path>) -> Result<Identity, TlsError> {
    let chain = certificates(cert)?;
    let unreadable = || TlsError::File { path: cert.to_owned(), reason: "no certificate in it can be read".into() };
    let expires_at = chain.iter().filter_map(certificate::expires_at).min().ok_or_else(unreadable)?;
    let certificate = chain.first().cloned().ok_or_else(unreadable)?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            add_file(&mut roots, path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
            let wrong = |error: rustls::server::VerifierBuilderError| TlsError::File {
                path: path.to_owned(),
                reason: error.to_string(),
            };
            builder.with_client_cert_verifier(verifier.map_err(wrong)?)
        }
    };
    let pair = |source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source };
    let mut config = builder.with_single_cert(chain, private_key(key)?).map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity { config: Arc::new(config), expires_at, certificate })
}
