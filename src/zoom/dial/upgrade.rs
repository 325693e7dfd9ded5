//! The opening handshake of a WebSocket (RFC 6455, section 4): the request, and whether the answer to it opens one.
//!
//! The library writes the request and parses the answer. To read and to judge it is done here: the library compares
//! whole fields where the RFC asks for a token in a list, takes an interim answer for the last one, and gives up on an
//! answer that comes in many pieces. Each of that is what a proxy that looks into TLS may send, and would keep the
//! socket shut for ever.

use bytes::{Buf as _, BytesMut};
use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::{Response, generate_request};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse as _;
use tokio_tungstenite::tungstenite::protocol::Role;
use url::Url;

use super::limits;
use crate::zoom::wire;

/// How much may come before the head of the answer is complete, interim answers among it: four times what Node reads.
const HEAD_MAX: usize = 64 << 10;
/// Interim answers that are passed over. There is use for one or two of them.
const INTERIM_MAX: usize = 8;
/// Is read at once, where so much has come.
const PIECE: usize = 4 << 10;
/// A status line up to its status: by then it shows whether this is HTTP.
const STATUS_LINE: usize = "HTTP/1.1 101 ".len();

/// Says why there is no socket, in words that hold no part of the URL or of the answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    /// The answer is another one than 101.
    #[error("status {}", .0.status().as_u16())]
    Declined(Box<Response>),
    /// It is a 101 that opens no WebSocket, or not this one.
    #[error("the answer {0}")]
    Mismatch(&'static str),
    /// Nothing more comes.
    #[error("connection closed before the head of the answer was complete")]
    Closed,
    /// More comes than anybody needs.
    #[error("more than {} kB came before the head of the answer was complete", HEAD_MAX >> 10)]
    TooLong,
    /// More interim answers come than anybody needs.
    #[error("more than {INTERIM_MAX} interim answers (1xx) came before the answer")]
    TooManyInterims,
    /// The connection is lost, or what comes is no HTTP.
    #[error("{}", wire::describe(.0))]
    Library(WsError),
}

/// Asks for a WebSocket over a fresh connection, and reads the answer for as long as the caller has patience.
///
/// # Errors
/// When the answer does not open one.
pub(super) async fn upgrade<S>(mut stream: S, url: &Url) -> Result<WebSocketStream<S>, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = url.as_str().into_client_request().map_err(UpgradeError::Library)?;
    let (request, key) = generate_request(request).map_err(UpgradeError::Library)?;
    stream.write_all(&request).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let (answer, behind) = read_answer(&mut stream).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(UpgradeError::Declined(Box::new(answer)));
    }
    match mismatch(answer.headers(), &derive_accept_key(key.as_bytes())) {
        Some(words) => Err(UpgradeError::Mismatch(words)),
        None => Ok(WebSocketStream::from_partially_read(stream, behind, Role::Client, Some(limits())).await),
    }
}

/// Reads the head of the answer behind those of interim ones; returns what came behind it, too.
async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Response, Vec<u8>), UpgradeError> {
    let mut bounded = stream.take(HEAD_MAX as u64);
    let mut bytes = BytesMut::new();
    let mut interims = 0;
    loop {
        let known = bytes.len();
        bytes.reserve(PIECE);
        if bounded.read_buf(&mut bytes).await.map_err(lost)? == 0 {
            return Err(if bounded.limit() == 0 { UpgradeError::TooLong } else { UpgradeError::Closed });
        }
        // Parsed anew for every byte, a line that trickles would cost the square of its length.
        if known >= STATUS_LINE && !bytes[known..].contains(&b'\n') {
            continue;
        }
        while let Some((length, answer)) = Response::try_parse(&bytes).map_err(UpgradeError::Library)? {
            bytes.advance(length);
            if !answer.status().is_informational() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok((answer, bytes.into()));
            }
            interims += 1;
            if interims > INTERIM_MAX {
                return Err(UpgradeError::TooManyInterims);
            }
        }
    }
}

/// Says what keeps a 101 from opening the socket that was asked for: RFC 6455, section 4.1, what a client must check.
fn mismatch(fields: &HeaderMap, accept: &str) -> Option<&'static str> {
    if !tokens(fields, &UPGRADE).any(|token| token.eq_ignore_ascii_case(b"websocket")) {
        return Some("has no `upgrade: websocket`");
    }
    if !tokens(fields, &CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade")) {
        return Some("has no `connection: upgrade`");
    }
    let Some(accepted) = fields.get(SEC_WEBSOCKET_ACCEPT) else {
        return Some("has no `sec-websocket-accept`");
    };
    if accepted != accept {
        return Some("has another `sec-websocket-accept` than the one that belongs to the request");
    }
    if tokens(fields, &SEC_WEBSOCKET_EXTENSIONS).next().is_some() {
        return Some("names an extension, and none was asked for");
    }
    if tokens(fields, &SEC_WEBSOCKET_PROTOCOL).next().is_some() {
        return Some("names a subprotocol, and none was asked for");
    }
    None
}

/// Returns the members of a list, which may stand on several lines.
fn tokens<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let members = fields.get_all(name).into_iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    members.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn lost(error: std::io::Error) -> UpgradeError {
    UpgradeError::Library(WsError::Io(error))
}

#[cfg(test)]
mod tests;
