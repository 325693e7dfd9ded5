//! What the HTTP client says of a proxy that gave it no connection.
//!
//! Its errors are of types that nobody else can name, so that their texts are read. A text that is not known here, as
//! after an upgrade, costs a question to the proxy and no more; tests against the library hold those that are.

use std::error::Error;
use std::io;

use super::{CLOSED, ProxyFault, Refusal, http, hung_up, socks};
use crate::config::proxy::ProxyCredentials;

/// What the texts of HTTP tunnels begin with.
const TUNNEL: &str = "tunnel error: ";
/// What those of SOCKS begin with.
const SOCKS: &str = "SOCKS error: ";

/// Says how much an error tells.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// Nothing of a proxy.
    Nothing,
    /// That it is the proxy's, and not why.
    Fault,
    /// All that there is to say.
    Reason(Refusal),
}

/// Reads what an error tells of a proxy that was to connect to `host`.
pub(super) fn told(
    error: &(dyn Error + 'static),
    credentials: Option<&ProxyCredentials>,
    host: &str,
    port: u16,
) -> Told {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if let Some(text) = text.strip_prefix(TUNNEL) {
            return of_tunnel(text, error.source(), credentials).map_or(Told::Fault, Told::Reason);
        }
        if let Some(text) = text.strip_prefix(SOCKS) {
            return of_socks(text, credentials, host, port).map_or(Told::Fault, Told::Reason);
        }
        next = error.source();
    }
    Told::Nothing
}

/// A tunnel that is "unsuccessful" was answered with a status that the library keeps to itself.
fn of_tunnel(
    text: &str,
    source: Option<&(dyn Error + 'static)>,
    credentials: Option<&ProxyCredentials>,
) -> Option<Refusal> {
    match text {
        "proxy authorization required" => Some((ProxyFault::Credentials, http::wants(credentials).to_owned())),
        "proxy response headers too long" => Some((ProxyFault::Protocol, http::ENDLESS.to_owned())),
        "unexpected end of file" => Some((ProxyFault::Protocol, CLOSED.to_owned())),
        "io error establishing tunnel" => source.and_then(|source| source.downcast_ref::<io::Error>()).map(hung_up),
        _ => None,
    }
}

fn of_socks(text: &str, credentials: Option<&ProxyCredentials>, host: &str, port: u16) -> Option<Refusal> {
    let reply = match text {
        // The second: it goes on without credentials that it was offered, or wants some that it was not.
        "server does not support user/pass authentication" | "server implements authentication incorrectly" => {
            return Some(socks::none_acceptable(credentials));
        }
        "credentials not accepted" => return Some(socks::refused_credentials()),
        "io error during SOCKS handshake" => return Some((ProxyFault::Protocol, CLOSED.to_owned())),
        "connection not allowed" => 2,
        "network unreachable" => 3,
        "host unreachable" => 4,
        "connection refused" => 5,
        "ttl expired" => 6,
        _ => return None,
    };
    Some(socks::refusal(reply, host, port))
}
