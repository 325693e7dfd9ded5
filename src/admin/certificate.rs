//! The certificate of the port: read again when its files change, and kept when what is there is no good.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::AdminTls;
use crate::telemetry::metrics::{self, Metrics};
use crate::tls::server::{self, Identity};
use crate::tls::{Stamp, TlsError, stamp};

/// How often the files are looked at: whoever renews a certificate does so days before its end.
const CHECK: Duration = Duration::from_secs(60);
/// Labels the metric.
const SIDE: metrics::Certificate = metrics::Certificate::Admin;

/// Is what the port shows of itself; it changes under those who use it.
pub struct Certificate {
    files: AdminTls,
    current: ArcSwap<Current>,
    metrics: Arc<Metrics>,
}

struct Current {
    acceptor: TlsAcceptor,
    expires_at: Timestamp,
    certificate: CertificateDer<'static>,
    /// Why the files as they are now cannot be used, if so.
    problem: Option<String>,
    stamps: Stamps,
}

/// Is what changes when one of the files does.
type Stamps = [Option<Stamp>; 3];

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be read, or do not fit.
    pub fn load(files: &AdminTls, metrics: Arc<Metrics>) -> Result<Self, TlsError> {
        let stamps = stamps(files);
        let Identity { config, expires_at, certificate } = read(files)?;
        metrics.certificate_expiry.get_or_create(&SIDE).set(expires_at);
        let current = Current { acceptor: TlsAcceptor::from(config), expires_at, certificate, problem: None, stamps };
        Ok(Self { files: files.clone(), current: ArcSwap::from_pointee(current), metrics })
    }

    /// Reads the files again; those that are no good change nothing, and are told of.
    pub fn refresh(&self) {
        let stamps = stamps(&self.files);
        let before = self.current.load();
        let current = match read(&self.files) {
            Ok(Identity { config, expires_at, certificate }) => {
                tracing::info!(%expires_at, "the certificate of the admin port was read again");
                Current { acceptor: TlsAcceptor::from(config), expires_at, certificate, problem: None, stamps }
            }
            Err(error) => {
                tracing::error!(%error, "the admin port keeps the certificate that it has: the new one is no good");
                let (acceptor, problem) = (before.acceptor.clone(), Some(error.to_string()));
                let certificate = before.certificate.clone();
                Current { acceptor, expires_at: before.expires_at, certificate, problem, stamps }
            }
        };
        self.metrics.certificate_expiry.get_or_create(&SIDE).set(current.expires_at);
        self.current.store(Arc::new(current));
    }

    /// Looks after the files until `stop`. Whoever looks after all certificates warns of an end that comes near.
    pub(super) async fn watch(&self, stop: &CancellationToken) {
        let mut checks = interval(CHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = checks.tick() => {}
            }
            if stamps(&self.files) != self.current.load().stamps {
                self.refresh();
            }
        }
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.load().acceptor.clone()
    }

    /// Tells whether the certificate is good for a host: a name, or an address.
    pub(super) fn names(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host) else { return false };
        let current = self.current.load();
        let parsed = ParsedCertificate::try_from(&current.certificate);
        parsed.is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    }

    /// Returns when the certificate expires, and why the files as they are now cannot be used, if so.
    pub(super) fn state(&self) -> (Timestamp, Option<String>) {
        let current = self.current.load();
        (current.expires_at, current.problem.clone())
    }
}

fn read(files: &AdminTls) -> Result<Identity, TlsError> {
    server::identity(&files.cert, &files.key, files.client_ca_file.as_deref())
}

fn stamps(files: &AdminTls) -> Stamps {
    [stamp(&files.cert), stamp(&files.key), files.client_ca_file.as_deref().and_then(stamp)]
}

#[cfg(test)]
mod tests;
