//! A connection to the host of a URL: directly or through its proxy, and with TLS where the URL wants it.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use url::Url;

use super::proxy::{self, ProxyError};
use super::{ConnectError, connect};
use crate::config::allow::AllowList;
use crate::config::proxy::{Outbound, Proxy};

/// Is a connection, encrypted or not.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Is how the host of a URL is connected to.
pub(crate) struct Route {
    host: Box<str>,
    port: u16,
    proxy: Option<Proxy>,
    /// Addresses that a name may lead to; `None` where that is nobody's business, as on Zoom's side.
    allow: Option<AllowList>,
    tls: Option<TlsConnector>,
}

/// Says why there is no connection.
#[derive(Debug)]
pub(crate) enum DialError {
    /// No connection to the host.
    Connect(ConnectError),
    /// The proxy gives none.
    Proxy(ProxyError),
    /// No agreement on TLS.
    Tls(io::Error),
    /// The handshake of TLS was not done before the deadline.
    Late,
}

impl Route {
    /// Makes the route of a URL; `tls` is for one that is encrypted (`https`, `wss`).
    pub(crate) fn new(url: &Url, outbound: &Outbound, allow: Option<AllowList>, tls: Arc<ClientConfig>) -> Self {
        let is_encrypted = matches!(url.scheme(), "https" | "wss");
        Self {
            host: proxy::host(url).into(),
            port: url.port_or_known_default().unwrap_or(443),
            proxy: outbound.proxy_for(url).cloned(),
            allow,
            tls: is_encrypted.then(|| TlsConnector::from(tls)),
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When there is none before the deadline.
    pub(crate) async fn open(&self, deadline: Instant) -> Result<Stream, DialError> {
        let allow = self.allow.as_ref();
        let tcp = match &self.proxy {
            Some(proxy) => {
                let opened = proxy::open(proxy, &self.host, self.port, allow, deadline).await;
                opened.map_err(|error| match error.shortage {
                    Some(shortage) => DialError::Connect(ConnectError::Short(shortage)),
                    None => DialError::Proxy(error),
                })?
            }
            None => connect(&self.host, self.port, allow, deadline).await.map_err(DialError::Connect)?,
        };
        let Some(tls) = &self.tls else { return Ok(Either::Left(tcp)) };
        let name = ServerName::try_from(self.host.to_string())
            .map_err(|_| DialError::Tls(io::Error::other(format!("{} is no name for tls", self.host))))?;
        match timeout_at(deadline, tls.connect(name, tcp)).await {
            Ok(Ok(tls)) => Ok(Either::Right(Box::new(tls))),
            Ok(Err(error)) => Err(DialError::Tls(error)),
            Err(_) => Err(DialError::Late),
        }
    }
}
