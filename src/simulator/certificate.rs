//! The certificates of a simulator that speaks TLS: an authority of its own, made anew at every start.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

/// What a client on this machine may call the simulator.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const AUTHORITY: &str = "zoomhook simulator";

/// Is the server side of TLS, and the certificate that a client must trust.
pub(super) struct Identity {
    pub(super) acceptor: TlsAcceptor,
    pub(super) authority: String,
}

/// Says that no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The keys or the certificates could not be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// The cryptographic provider refuses them.
    #[error("tls cannot be set up")]
    Provider(#[from] rustls::Error),
}

impl Identity {
    /// Makes an authority and a certificate of it; the keys are never written anywhere.
    pub(super) fn make() -> Result<Self, CertificateError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, AUTHORITY);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
        params.distinguished_name.push(DnType::CommonName, NAMES[0]);
        let certificate = params.signed_by(&key, &authority)?;

        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), authority: authority.pem() })
    }
}
