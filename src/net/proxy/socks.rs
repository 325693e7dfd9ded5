//! SOCKS 5 (RFC 1928), with user name and password (RFC 1929).

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{ProxyFault, Refusal, hung_up, read};
use crate::config::proxy::ProxyCredentials;

const VERSION: u8 = 5;
const NO_CREDENTIALS: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Asks for a connection to `host`, by its address where it is one, else by its name.
pub(super) async fn connect<S>(
    stream: &mut S,
    credentials: Option<&ProxyCredentials>,
    host: &str,
    port: u16,
) -> Result<(), Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let method = if credentials.is_some() { PASSWORD } else { NO_CREDENTIALS };
    write(stream, &[VERSION, 1, method]).await?;
    match (read(stream).await?, credentials) {
        ([VERSION, PASSWORD], Some(credentials)) => log_in(stream, credentials).await?,
        ([VERSION, NO_CREDENTIALS], _) => {}
        ([VERSION, _], _) => return Err(none_acceptable(credentials)),
        _ => return Err((ProxyFault::Protocol, "does not speak SOCKS 5: is it an http proxy?".to_owned())),
    }
    write(stream, &request(host, port)?).await?;
    let [version, reply, _, kind] = read(stream).await?;
    if version != VERSION {
        return Err((ProxyFault::Protocol, "answers no SOCKS 5".to_owned()));
    }
    if reply != 0 {
        return Err(refusal(reply, host, port));
    }
    // The address that the proxy connects from is read, and of no use.
    match kind {
        IPV4 => read::<6>(stream).await.map(drop),
        IPV6 => read::<18>(stream).await.map(drop),
        NAME => {
            let [length] = read(stream).await?;
            let mut rest = vec![0; usize::from(length) + 2];
            stream.read_exact(&mut rest).await.map(drop).map_err(|error| hung_up(&error))
        }
        _ => Err((ProxyFault::Protocol, "answers no SOCKS 5".to_owned())),
    }
}

async fn log_in<S>(stream: &mut S, credentials: &ProxyCredentials) -> Result<(), Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut message = vec![1];
    for text in [&credentials.user, &credentials.password] {
        let text = text.expose().as_bytes();
        message.push(length(text)?);
        message.extend(text);
    }
    write(stream, &message).await?;
    match read(stream).await? {
        [_, 0] => Ok(()),
        [_, _] => Err(refused_credentials()),
    }
}

pub(super) fn none_acceptable(credentials: Option<&ProxyCredentials>) -> Refusal {
    let words = match credentials {
        None => "wants credentials: set proxy_credentials",
        Some(_) => "takes no user name and password: take proxy_credentials out, or let it take them",
    };
    (ProxyFault::Credentials, words.to_owned())
}

pub(super) fn refused_credentials() -> Refusal {
    (ProxyFault::Credentials, "refuses the credentials: check proxy_credentials".to_owned())
}

fn request(host: &str, port: u16) -> Result<Vec<u8>, Refusal> {
    let mut message = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            message.push(IPV4);
            message.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            message.push(IPV6);
            message.extend(address.octets());
        }
        Err(_) => {
            message.extend([NAME, length(host.as_bytes())?]);
            message.extend(host.as_bytes());
        }
    }
    message.extend(port.to_be_bytes());
    Ok(message)
}

fn length(text: &[u8]) -> Result<u8, Refusal> {
    u8::try_from(text.len())
        .map_err(|_| (ProxyFault::Protocol, "takes names and passwords of at most 255 bytes".to_owned()))
}

/// Says what the reply of a proxy means. SOCKS has none for a name that does not resolve.
pub(super) fn refusal(reply: u8, host: &str, port: u16) -> Refusal {
    let target = format!("{host}:{port}");
    match reply {
        2 => (ProxyFault::Denied, format!("does not let {target} through")),
        3 => (ProxyFault::Target, format!("has no route to {target}")),
        4 => (ProxyFault::Target, format!("cannot reach {target}, or finds no address for it")),
        5 => (ProxyFault::Target, format!("cannot connect to {target}: connection refused")),
        6 => (ProxyFault::Target, format!("cannot connect to {target}: no answer in time")),
        _ => (ProxyFault::Target, format!("cannot connect to {target}, or finds no address for it (reply {reply})")),
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Refusal> {
    stream.write_all(bytes).await.map_err(|error| hung_up(&error))
}
