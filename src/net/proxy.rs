//! A connection through a proxy, and what is wrong with the proxy when there is none.

mod http;
mod library;
mod socks;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use url::Url;

use self::library::Told;
use super::ConnectError;
use super::shortage::Shortage;
use crate::config::allow::AllowList;
use crate::config::proxy::{Outbound, Proxy, ProxyProtocol};

/// How long a proxy may take to say what it said to the HTTP client already.
const AGAIN: Duration = Duration::from_secs(8);

/// Says why a proxy gives no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyFault {
    /// It cannot be reached itself.
    Unreachable,
    /// It takes the connection, and does not answer in time.
    Silent,
    /// It wants credentials, or other ones.
    Credentials,
    /// Its rules do not let this connection through.
    Denied,
    /// It, or this machine for it, finds no address for the name behind it.
    Name,
    /// It cannot connect to the host behind it.
    Target,
    /// It does not speak as it should.
    Protocol,
}

impl ProxyFault {
    /// Returns the word for labels of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::Credentials => "credentials",
            Self::Denied => "denied",
            Self::Name => "name",
            Self::Target => "target",
            Self::Protocol => "protocol",
        }
    }
}

/// Says it shortly, as it stands in the spool and in the status of a destination.
impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "proxy cannot be reached",
            Self::Silent => "proxy does not answer",
            Self::Credentials => "proxy refuses the credentials",
            Self::Denied => "proxy does not let it through",
            Self::Name => "name does not resolve at the proxy",
            Self::Target => "proxy cannot connect",
            Self::Protocol => "proxy gives no proper answer",
        })
    }
}

/// Says why a proxy gives no connection, in words that name it and hold no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy {proxy} {words}")]
pub struct ProxyError {
    /// What is wrong.
    pub fault: ProxyFault,
    /// It was not even asked, for want of this.
    pub(super) shortage: Option<Shortage>,
    proxy: String,
    words: String,
}

/// Says that it is no proxy, or not of this kind.
const CLOSED: &str = "closed the connection without an answer: is it a proxy of this kind?";

/// Is what a handshake came to, before it is known of which proxy.
type Refusal = (ProxyFault, String);

/// Opens a connection through a proxy to a host, given by its name or its address without brackets. With a list, a name
/// that is resolved on this machine is connected to at an allowed address only, and no proxy is at a special one.
///
/// # Errors
/// When the proxy cannot be reached, gives no connection, or has not answered at the deadline.
pub(crate) async fn open(
    proxy: &Proxy,
    host: &str,
    port: u16,
    allow: Option<&AllowList>,
    deadline: Instant,
) -> Result<TcpStream, ProxyError> {
    let error = |(fault, words)| ProxyError { fault, shortage: None, proxy: proxy.authority(), words };
    let any = AllowList::default();
    let mut tcp =
        crate::net::connect(&proxy.host, proxy.port, allow.map(|_| &any), deadline).await.map_err(|reason| {
            let unreached = error((ProxyFault::Unreachable, format!("cannot be reached: {reason}")));
            let shortage = if let ConnectError::Short(shortage) = reason { Some(shortage) } else { None };
            ProxyError { shortage, ..unreached }
        })?;
    let target = match proxy.protocol {
        ProxyProtocol::Http | ProxyProtocol::Socks5h => host.to_owned(),
        ProxyProtocol::Socks5 => {
            let resolving = timeout_at(deadline, resolved(host, port, allow));
            resolving.await.unwrap_or_else(|_| Err(unresolved(host))).map_err(error)?
        }
    };
    let credentials = proxy.credentials.as_ref();
    let handshake = async {
        match proxy.protocol {
            ProxyProtocol::Http => http::connect(&mut tcp, credentials, &target, port).await,
            ProxyProtocol::Socks5 | ProxyProtocol::Socks5h => {
                socks::connect(&mut tcp, credentials, &target, port).await
            }
        }
    };
    let shaken = timeout_at(deadline, handshake).await.unwrap_or_else(|_| {
        Err((ProxyFault::Silent, format!("has not answered in time: it is stuck, or waits for {host}")))
    });
    shaken.map(|()| tcp).map_err(error)
}

async fn resolved(host: &str, port: u16, allow: Option<&AllowList>) -> Result<String, Refusal> {
    let found = crate::net::resolve(host, port).await.unwrap_or_default();
    let allowed = match allow {
        Some(allow) => allow.sift(host, found),
        None => Ok(found),
    };
    match allowed.map(|allowed| allowed.into_iter().next()) {
        Ok(Some(address)) => Ok(address.ip().to_string()),
        Ok(None) => Err(unresolved(host)),
        Err(forbidden) => Err((ProxyFault::Denied, format!("is not asked: {forbidden}"))),
    }
}

fn unresolved(host: &str) -> Refusal {
    let advice = "to be resolved by the proxy, write socks5h://";
    (ProxyFault::Name, format!("is to connect to {host}, which does not resolve here; {advice}"))
}

/// Finds out whether a request that came to nothing did so at its proxy. What the HTTP client says of it is enough, where
/// it says why; else the proxy is asked once more. `None` where there is no proxy, or where it gives a connection.
pub(crate) async fn fault(outbound: &Outbound, url: &Url, error: &reqwest::Error) -> Option<ProxyError> {
    let proxy = outbound.proxy_for(url)?;
    let (host, port) = (host(url), url.port_or_known_default().unwrap_or(443));
    let refused = |(fault, words)| ProxyError { fault, shortage: None, proxy: proxy.authority(), words };
    let told = library::told(error, proxy.credentials.as_ref(), host, port);
    if let Told::Reason(refusal) = told {
        return Some(refused(refusal));
    }
    match (open(proxy, host, port, None, Instant::now() + AGAIN).await, told) {
        (Err(error), _) => Some(error),
        // It changed its mind in between.
        (Ok(_), Told::Fault) => Some(refused((ProxyFault::Target, format!("gave no connection to {host}:{port}")))),
        (Ok(_), Told::Nothing | Told::Reason(_)) => None,
    }
}

/// Returns the host of a URL without brackets.
pub(crate) fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_matches(['[', ']'])
}

/// Makes the proxy of a client of reqwest, which asks for each URL.
pub(crate) fn for_reqwest(outbound: Outbound) -> reqwest::Proxy {
    reqwest::Proxy::custom(move |url| {
        // Never `None` for any other reason: that would be a connection past the proxy.
        outbound.proxy_for(url).map(address)
    })
}

fn address(proxy: &Proxy) -> Url {
    let mut address = Url::parse(&proxy.to_string()).expect("it was made of a URL");
    if let Some(credentials) = &proxy.credentials {
        // The setters encode all but the sign of an encoding.
        let [user, password] = [&credentials.user, &credentials.password].map(|it| it.expose().replace('%', "%25"));
        let set = address.set_username(&user);
        set.and_then(|()| address.set_password(Some(&password))).expect("a proxy has a host");
    }
    address
}

/// Reads so many bytes, or says that the proxy has hung up.
async fn read<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(|error| hung_up(&error))?;
    Ok(bytes)
}

fn hung_up(error: &io::Error) -> Refusal {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return (ProxyFault::Protocol, CLOSED.to_owned());
    }
    (ProxyFault::Protocol, format!("cut the connection: {error}"))
}
