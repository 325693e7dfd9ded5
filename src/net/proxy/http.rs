//! HTTP CONNECT (RFC 9110, section 9.3.6).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{ProxyFault, Refusal, hung_up, read};
use crate::config::proxy::ProxyCredentials;

/// The longest head of an answer that is read.
const LONGEST_HEAD: usize = 8 << 10;
/// Says that a head was longer.
pub(super) const ENDLESS: &str = "answers without an end: is it a proxy?";

/// Asks for a tunnel to `host`, and reads the answer to its end and not beyond.
pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    credentials: Option<&ProxyCredentials>,
    host: &str,
    port: u16,
) -> Result<(), Refusal> {
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(credentials) = credentials {
        let text = format!("{}:{}", credentials.user.expose(), credentials.password.expose());
        request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(text)));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| hung_up(&error))?;
    let head = head(stream).await?;
    match status(&head) {
        Some(200..=299) => Ok(()),
        Some(407) => Err((ProxyFault::Credentials, wants(credentials).to_owned())),
        // Nothing is to come before the answer to a CONNECT, and an upgrade was not asked for.
        Some(status @ (100..=199)) => {
            Err((ProxyFault::Protocol, format!("answers {status}, which is no answer to CONNECT: is it a proxy?")))
        }
        Some(status @ (300..=399)) => {
            let elsewhere = "points elsewhere, as to a page to log in on";
            Err((ProxyFault::Denied, format!("does not let {target} through: it answers {status} and {elsewhere}")))
        }
        Some(status @ (400..=499)) => {
            Err((ProxyFault::Denied, format!("does not let {target} through: it answers {status}")))
        }
        Some(status) if is_about_the_name(&head, host) => {
            Err((ProxyFault::Name, format!("finds no address for {host}, or no way to it: it answers {status}")))
        }
        Some(status) => Err((ProxyFault::Target, format!("cannot connect to {target}: it answers {status}"))),
        None => Err((ProxyFault::Protocol, "does not speak http: is it a SOCKS proxy?".to_owned())),
    }
}

pub(super) fn wants(credentials: Option<&ProxyCredentials>) -> &'static str {
    match credentials {
        None => "wants credentials (407): set proxy_credentials",
        Some(_) => "refuses the credentials (407): check proxy_credentials",
    }
}

/// Reads byte by byte: what comes behind the head belongs to the one behind the proxy.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Result<String, Refusal> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST_HEAD {
            return Err((ProxyFault::Protocol, ENDLESS.to_owned()));
        }
        let [byte] = read(stream).await?;
        head.push(byte);
        if head.len() == 5 && head != b"HTTP/" {
            return Err((ProxyFault::Protocol, "does not speak http: is it a SOCKS proxy?".to_owned()));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn status(head: &str) -> Option<u16> {
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    (100..600).contains(&status).then_some(status)
}

/// Tells whether the proxy says that a name does not resolve: by RFC 9209, or as squid does it, which since its fifth
/// version finds nothing to forward to.
fn is_about_the_name(head: &str, host: &str) -> bool {
    let is_name = host.parse::<IpAddr>().is_err();
    is_name
        && head.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
            let squid = ["ERR_DNS_FAIL", "ERR_CANNOT_FORWARD"].iter().any(|error| value.contains(error));
            (name.eq_ignore_ascii_case("x-squid-error") && squid)
                || (name.eq_ignore_ascii_case("proxy-status") && value.contains("error=dns_"))
        })
}
