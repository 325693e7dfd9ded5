//! A look at the certificates that peers show: when does each expire?
//!
//! Whether a certificate is accepted is decided as everywhere; what is seen on the way is noted, of one that is refused,
//! too. A connection that resumes an earlier session shows none.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use url::Url;

use super::certificate;
use crate::telemetry::metrics::Expiry;

/// Says whose certificate is looked at: a client can have to do with several, such as those who give it a token.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    host: Box<str>,
    port: Option<u16>,
    expiry: Expiry,
}

impl Watch {
    pub(super) fn new(url: &Url, expiry: Expiry) -> Self {
        let (host, port) = place(url);
        Self { host: host.into(), port, expiry }
    }

    /// Tells whether it is the one of a URL: a verifier is told the name of a server, and not its port.
    pub(super) fn is_of(&self, url: &Url) -> bool {
        place(url) == (&self.host, self.port)
    }
}

fn place(url: &Url) -> (&str, Option<u16>) {
    (url.host_str().unwrap_or_default().trim_matches(['[', ']']), url.port_or_known_default())
}

/// Verifies as `verifier` does, and notes when what it is shown expires.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    /// Those of one client that goes to several ports of a host see what any of them shows.
    pub(super) watches: Arc<[Watch]>,
}

impl ServerCertVerifier for Watching {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = server_name.to_str();
        let mut meant = self.watches.iter().filter(|watch| name.eq_ignore_ascii_case(&watch.host)).peekable();
        if meant.peek().is_some()
            && let Some(at) = certificate::expires_at(end_entity)
        {
            meant.for_each(|watch| watch.expiry.set(at));
        }
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
