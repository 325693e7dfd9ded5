//! Certificates from files, read again when these change: each handshake looks at them first.
//!
//! What is no good changes nothing: connections go on with what was there before, and the log says so. Nobody has to
//! be told of new files, and no connection is cut for them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::provider::provider;
use super::{Roots, Stamp, TlsError, add_file, certificates, private_key, stamp, verifier};
use crate::config::tls::SystemRoots;

/// Is what was read from files.
struct Live<T> {
    files: Vec<PathBuf>,
    read: Box<Read<T>>,
    current: ArcSwap<Seen<T>>,
}

type Read<T> = dyn Fn(&[PathBuf]) -> Result<Arc<T>, TlsError> + Send + Sync;

struct Seen<T> {
    value: Arc<T>,
    stamps: Vec<Option<Stamp>>,
}

impl<T> Live<T> {
    fn new(
        files: Vec<PathBuf>,
        read: impl Fn(&[PathBuf]) -> Result<Arc<T>, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let current = ArcSwap::from_pointee(Seen { value: read(&files)?, stamps });
        Ok(Self { files, read: Box::new(read), current })
    }

    /// Returns what the files hold, or what they held when they were last in order.
    fn get(&self) -> Arc<T> {
        let seen = self.current.load();
        let stamps = stamps(&self.files);
        if seen.stamps == stamps {
            return Arc::clone(&seen.value);
        }
        let value = match (self.read)(&self.files) {
            Ok(value) => {
                tracing::info!(files = %self, "certificates were read again");
                value
            }
            Err(error) => {
                tracing::error!(%error, "connections go on with the certificates as they were: the new ones are no good");
                Arc::clone(&seen.value)
            }
        };
        self.current.store(Arc::new(Seen { value: Arc::clone(&value), stamps }));
        value
    }
}

impl<T> fmt::Display for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.files.iter().map(|path| path.display().to_string()).collect();
        f.write_str(&names.join(", "))
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.files).finish()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|path| stamp(path)).collect()
}

/// Verifies servers as rustls does it, by the authorities that the files hold now.
#[derive(Debug)]
pub(super) struct Trust(Live<WebPkiServerVerifier>);

impl Trust {
    pub(super) fn new(roots: &Roots, system: SystemRoots, files: Vec<PathBuf>) -> Result<Self, TlsError> {
        let base = match system {
            SystemRoots::Trusted => Arc::clone(&roots.store),
            SystemRoots::Ignored => Arc::new(RootCertStore::empty()),
        };
        let read = move |files: &[PathBuf]| {
            let mut roots = RootCertStore::clone(&base);
            for file in files {
                add_file(&mut roots, file)?;
            }
            verifier(Arc::new(roots))
        };
        Live::new(files, read).map(Self)
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.get().verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.get().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.get().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.get().supported_verify_schemes()
    }
}

/// Shows the certificate that the files hold now.
#[derive(Debug)]
pub(super) struct Identity(Live<CertifiedKey>);

impl Identity {
    pub(super) fn new(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |files: &[PathBuf]| {
            let [cert, key] = files else { unreachable!("these two are given below") };
            let pair = |source| TlsError::Pair { cert: cert.clone(), key: key.clone(), source };
            CertifiedKey::from_der(certificates(cert)?, private_key(key)?, &provider()).map(Arc::new).map_err(pair)
        };
        Live::new(vec![cert.to_owned(), key.to_owned()], read).map(Self)
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let identity = self.0.get();
        identity.key.choose_scheme(schemes).is_some().then_some(identity)
    }

    fn has_certs(&self) -> bool {
        true
    }
}
