//! From a URL and a token to an open WebSocket: TCP, through a proxy if there is one, TLS, upgrade.
//!
//! The session's deadline holds over all of it. The token stands in the query of the URL, as Zoom wants
//! it, so that every error is put into our own words.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::either::Either;
use url::{Position, Url};

use super::session::Fault;
use super::{throttled_until, time_until, wire};
use crate::clock::Clock;
use crate::config::allow::AllowList;
use crate::config::proxy::Outbound;
use crate::config::secret::Secret;
use crate::net::{self, ConnectError};
use crate::tls;

/// Bodies of 4 MiB are taken. Inside a JSON string each of their quotes takes two bytes, and there is the envelope.
const LONGEST_MESSAGE: usize = (8 << 20) + (64 << 10);
/// Holds dozens of ordinary frames, and is all that an idle socket costs.
const READ_BUFFER: usize = 64 << 10;
/// Heartbeats are all that is written.
const WRITE_BUFFER: usize = 1 << 10;
/// Answers to pings wait here while Zoom does not read them; of those beyond it only the last one is kept.
const LONGEST_WRITE: usize = 16 << 10;

pub(super) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Is where sockets are opened.
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) outbound: Outbound,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) clock: Clock,
}

/// Opens a socket.
pub(super) async fn dial(target: Arc<Target>, token: Secret) -> Result<WebSocketStream<Stream>, Fault> {
    let tcp = connect(&target).await?;
    let stream = match target.url.scheme() {
        "wss" => Either::Right(Box::new(encrypt(&target, tcp).await?)),
        _ => Either::Left(tcp),
    };
    let mut url = target.url.clone();
    url.query_pairs_mut().append_pair("access_token", token.expose());
    match client_async_with_config(url.as_str(), stream, Some(limits())).await {
        Ok((socket, _)) => Ok(socket),
        Err(error) => Err(refusal(&error, host(&target.url), &target.clock)),
    }
}

/// Returns the limits of a socket.
pub(super) fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE))
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(LONGEST_WRITE)
}

/// Connects directly, or through the proxy that is meant for the URL.
async fn connect(target: &Target) -> Result<TcpStream, Fault> {
    let Target { url, outbound, .. } = target;
    let port = url.port_or_known_default().unwrap_or(443);
    if let Some(proxy) = outbound.proxy_for(url) {
        let opened = net::proxy::open(proxy, net::proxy::host(url), port, &AllowList::default()).await;
        return opened.map_err(|error| Fault::Proxy { fault: error.fault, reason: error.to_string().into() });
    }
    net::connect(net::proxy::host(url), port).await.map_err(|error| match error {
        ConnectError::Name(error) => hiccup(format!("{} does not resolve: {error}", host(url))),
        ConnectError::Address(reason) => hiccup(format!("cannot connect to {}: {reason}", host(url))),
    })
}

async fn encrypt(target: &Target, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Fault> {
    let host = host(&target.url);
    let name = net::proxy::host(&target.url).to_owned();
    let name = ServerName::try_from(name).map_err(|_| hiccup(format!("{host} is no name for tls")))?;
    let connector = TlsConnector::from(Arc::clone(&target.tls));
    connector.connect(name, tcp).await.map_err(|error| match tls::distrust(&error) {
        Some(words) => hiccup(format!("no tls with {host}: {words}")),
        None => hiccup(format!("no tls with {host}: {error}")),
    })
}

/// Says what an upgrade that failed means.
fn refusal(error: &WsError, host: &str, clock: &Clock) -> Fault {
    let WsError::Http(response) = error else {
        return hiccup(format!("{host} did not open the socket: {}", wire::describe(error)));
    };
    let status = response.status().as_u16();
    let now = clock.now();
    match (status, throttled_until(response.headers(), now)) {
        (429 | 503, Some(until)) => {
            let reason = format!("{host} answers {status} and wants to be left alone until {until}");
            Fault::Throttled { wait: time_until(until, now), reason: reason.into() }
        }
        (401 | 403, _) => Fault::Unauthorized { status },
        (408 | 425 | 429, _) => hiccup(format!("{host} answers {status} instead of opening the socket")),
        (400..500, _) => Fault::Rejected { status },
        _ => hiccup(format!("{host} answers {status} instead of opening the socket")),
    }
}

fn host(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

fn hiccup(reason: String) -> Fault {
    Fault::Hiccup { reason: reason.into() }
}

#[cfg(test)]
mod tests;
