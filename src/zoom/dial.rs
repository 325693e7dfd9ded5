//! From a URL and a token to an open WebSocket: TCP, through a proxy if there is one, TLS, upgrade.
//!
//! The session's deadline holds over all of it. The token stands in the query of the URL, as Zoom wants
//! it, so that every error is put into our own words.

mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::{Position, Url};

use self::upgrade::{UpgradeError, upgrade};
use super::session::Fault;
use super::{throttled_until, time_until};
use crate::clock::Clock;
use crate::config::proxy::Outbound;
use crate::config::secret::Secret;
use crate::net::ConnectError;
use crate::net::route::{DialError, Route, Stream};
use crate::tls::fault::distrust;

/// How long it may take until there is a connection: less than the session waits for the socket, which then says no more
/// than that there is none.
const CONNECTED: Duration = Duration::from_secs(12);

/// Bodies of 4 MiB are taken. Inside a JSON string each of their quotes takes two bytes, and there is the envelope.
const LONGEST_MESSAGE: usize = (8 << 20) + (64 << 10);
/// Holds dozens of ordinary frames, and is all that an idle socket costs.
const READ_BUFFER: usize = 64 << 10;
/// Heartbeats are all that is written.
const WRITE_BUFFER: usize = 1 << 10;
/// Answers to pings wait here while Zoom does not read them; of those beyond it only the last one is kept.
const LONGEST_WRITE: usize = 16 << 10;

/// Is where sockets are opened.
pub(super) struct Target {
    url: Url,
    route: Route,
    clock: Clock,
}

impl Target {
    pub(super) fn new(url: Url, outbound: &Outbound, tls: Arc<ClientConfig>, clock: Clock) -> Self {
        let route = Route::new(&url, outbound, None, tls);
        Self { url, route, clock }
    }
}

/// Opens a socket.
pub(super) async fn dial(target: Arc<Target>, token: Secret) -> Result<WebSocketStream<Stream>, Fault> {
    let opened = target.route.open(Instant::now() + CONNECTED).await;
    let stream = opened.map_err(|error| fault(error, host(&target.url)))?;
    let mut url = target.url.clone();
    url.query_pairs_mut().append_pair("access_token", token.expose());
    upgrade(stream, &url).await.map_err(|error| refusal(&error, host(&target.url), &target.clock))
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

/// Says why there is no connection.
fn fault(error: DialError, host: &str) -> Fault {
    match error {
        DialError::Proxy(error) => Fault::Proxy { fault: error.fault, reason: error.to_string().into() },
        DialError::Connect(ConnectError::Name(error)) => hiccup(format!("{host} does not resolve: {error}")),
        DialError::Connect(ConnectError::Late) => {
            hiccup(format!("cannot connect to {host}: no answer within {} s", CONNECTED.as_secs()))
        }
        DialError::Connect(error) => hiccup(format!("cannot connect to {host}: {error}")),
        DialError::Tls(error) => match distrust(&error) {
            Some(words) => hiccup(format!("no tls with {host}: {words}")),
            None => hiccup(format!("no tls with {host}: {error}")),
        },
        DialError::Late => hiccup(format!("no tls with {host}: no answer within {} s", CONNECTED.as_secs())),
    }
}

/// Says what an upgrade that failed means.
fn refusal(error: &UpgradeError, host: &str, clock: &Clock) -> Fault {
    let UpgradeError::Declined(response) = error else {
        return hiccup(format!("{host} did not open the socket: {error}"));
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
