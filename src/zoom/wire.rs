//! What is under way towards Zoom: a token, an opening socket, or an open one. One at a time.

use std::mem;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::session::{End, Fault};
use super::token::TokenError;
use crate::config::secret::Secret;

/// The heartbeat that Zoom's documentation asks for.
const HEARTBEAT: &str = r#"{"module":"heartbeat"}"#;

/// Is what is under way.
pub(super) enum Wire<S> {
    Idle,
    Fetching(BoxFuture<'static, Result<Secret, TokenError>>),
    Opening(BoxFuture<'static, Result<WebSocketStream<S>, Fault>>),
    Open(Box<Line<S>>),
}

/// Is an open socket and what has to be written to it.
pub(super) struct Line<S> {
    socket: WebSocketStream<S>,
    outgoing: Outgoing,
}

enum Outgoing {
    Nothing,
    Heartbeat,
    Close,
    Flush,
    /// Nothing can be written any more. What Zoom sent before may still lie unread.
    Broken(End),
}

/// Is what came of it.
pub(super) enum News {
    /// The token, or why there is none.
    Token(Result<Secret, TokenError>),
    /// No socket.
    Failed(Fault),
    /// A frame with data, whole.
    Frame(Bytes),
    /// A frame without.
    Control,
    /// The socket is gone.
    Ended(End),
}

/// Tells whether frames are wanted.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Reading {
    On,
    Off,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Begins with a socket that is open.
    #[cfg(test)]
    pub(super) fn open(socket: WebSocketStream<S>) -> Self {
        Self::Open(Box::new(Line { socket, outgoing: Outgoing::Nothing }))
    }

    /// Has a heartbeat sent. One that could not be written yet stands for this one too.
    pub(super) fn send_heartbeat(&mut self) {
        self.send(Outgoing::Heartbeat);
    }

    /// Has a close frame sent; frames are read on.
    pub(super) fn send_close(&mut self) {
        self.send(Outgoing::Close);
    }

    fn send(&mut self, outgoing: Outgoing) {
        if let Self::Open(line) = self
            && !matches!(line.outgoing, Outgoing::Broken(_))
        {
            line.outgoing = outgoing;
        }
    }

    /// Drives it on, up to the next piece of news. Writing goes on while reading is off.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, reading: Reading) -> Poll<News> {
        loop {
            let news = match self {
                Self::Idle => return Poll::Pending,
                Self::Fetching(token) => News::Token(ready!(token.poll_unpin(cx))),
                Self::Opening(socket) => match ready!(socket.poll_unpin(cx)) {
                    Ok(socket) => {
                        *self = Self::Open(Box::new(Line { socket, outgoing: Outgoing::Nothing }));
                        continue;
                    }
                    Err(fault) => News::Failed(fault),
                },
                Self::Open(line) => match ready!(line.poll(cx, reading)) {
                    Ok(news) => return Poll::Ready(news),
                    Err(end) => News::Ended(end),
                },
            };
            *self = Self::Idle;
            return Poll::Ready(news);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    fn poll(&mut self, cx: &mut Context<'_>, reading: Reading) -> Poll<Result<News, End>> {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            self.outgoing = Outgoing::Broken(end(&error));
        }
        if reading == Reading::Off {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(self.socket.poll_next_unpin(cx)) {
            Some(Ok(Message::Text(text))) => Ok(News::Frame(text.into())),
            Some(Ok(Message::Binary(bytes))) => Ok(News::Frame(bytes)),
            // A pong is on its way by the next read.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(News::Control),
            Some(Ok(Message::Close(frame))) => {
                // The answer is a courtesy; nobody waits for it to leave.
                let _ = self.socket.poll_flush_unpin(cx);
                Err(closed(frame))
            }
            Some(Err(error)) => Err(self.broken().unwrap_or_else(|| end(&error))),
            None => Err(self.broken().unwrap_or_else(|| End::Cut { reason: "connection closed".into() })),
        })
    }

    /// Returns why nothing could be written: what is read after that is a consequence.
    fn broken(&mut self) -> Option<End> {
        match mem::replace(&mut self.outgoing, Outgoing::Nothing) {
            Outgoing::Broken(end) => Some(end),
            Outgoing::Nothing | Outgoing::Heartbeat | Outgoing::Close | Outgoing::Flush => None,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        let message = match self.outgoing {
            Outgoing::Nothing | Outgoing::Broken(_) => return Poll::Ready(Ok(())),
            Outgoing::Flush => None,
            Outgoing::Heartbeat => Some(Message::Text(Utf8Bytes::from_static(HEARTBEAT))),
            Outgoing::Close => Some(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))),
        };
        if let Some(message) = message {
            ready!(self.socket.poll_ready_unpin(cx))?;
            self.socket.start_send_unpin(message)?;
            self.outgoing = Outgoing::Flush;
        }
        ready!(self.socket.poll_flush_unpin(cx))?;
        self.outgoing = Outgoing::Nothing;
        Poll::Ready(Ok(()))
    }
}

fn closed(frame: Option<CloseFrame>) -> End {
    match frame {
        Some(frame) => End::Closed { code: Some(frame.code.into()), words: frame.reason.as_str().into() },
        None => End::Closed { code: None, words: Box::default() },
    }
}

fn end(error: &WsError) -> End {
    let reason = describe(error).into();
    match error {
        WsError::ConnectionClosed | WsError::AlreadyClosed | WsError::Io(_) | WsError::Tls(_) => End::Cut { reason },
        // This is how the end of the stream without a close frame shows.
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Cut { reason },
        WsError::Protocol(_)
        | WsError::Capacity(_)
        | WsError::WriteBufferFull(_)
        | WsError::Utf8(_)
        | WsError::AttackAttempt
        | WsError::Url(_)
        | WsError::Http(_)
        | WsError::HttpFormat(_) => End::Broken { reason },
    }
}

/// Puts an error of the library into words that hold no part of a URL, a header or a message.
pub(super) fn describe(error: &WsError) -> String {
    match error {
        WsError::ConnectionClosed | WsError::AlreadyClosed => "connection closed".to_owned(),
        WsError::Io(error) => format!("connection lost: {error}"),
        WsError::Tls(_) => "tls failed".to_owned(),
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            format!("message too long: {size} bytes, of which {max_size} are taken")
        }
        WsError::Capacity(CapacityError::TooManyHeaders) => "too many headers in the answer".to_owned(),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => "connection lost without a close".to_owned(),
        WsError::Protocol(error) => format!("protocol error: {error}"),
        WsError::WriteBufferFull(_) => "nothing more can be sent".to_owned(),
        WsError::Utf8(_) => "protocol error: a text that is not utf-8".to_owned(),
        WsError::AttackAttempt => "protocol error: too much in the answer".to_owned(),
        WsError::Url(_) | WsError::HttpFormat(_) => "no request can be made of the url".to_owned(),
        WsError::Http(response) => format!("status {}", response.status().as_u16()),
    }
}
