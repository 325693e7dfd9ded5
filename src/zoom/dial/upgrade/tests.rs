//! Answers to the request for a socket, in memory: valid ones in every form, and others.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::*;

/// The fields that make an answer one to an upgrade, but for the key.
const FIELDS: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
/// How much may be on its way between the two sides.
const ON_THE_WAY: usize = 256 << 10;

#[tokio::test]
async fn request_is_written_byte_for_byte_as_browsers_write_it() {
    let server = Server::asked().await;
    let (before, key) = server.request.split_once("Sec-WebSocket-Key: ").expect("a key");
    let expected = "GET /ws?subscriptionId=sub&access_token=canary HTTP/1.1\r\nHost: ws.zoom.invalid:8443\r\n\
                    Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    assert_eq!(before, expected);
    assert_eq!(key.len(), 24 + "\r\n\r\n".len(), "16 bytes in base64: {key}");
    let another = Server::asked().await;
    assert_ne!(another.request, server.request, "each has a key of its own");
}

#[tokio::test]
async fn upgrade_is_seen_among_other_tokens_on_any_line_and_in_either_case() {
    let many = (0..100).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let cases = [
        FIELDS.to_owned(),
        "upgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\n".to_owned(),
        "Upgrade: websocket\r\nConnection: Upgrade, keep-alive\r\n".to_owned(),
        "Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: upgrade\r\n".to_owned(),
        "Connection:UPGRADE\r\nConnection: close\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n".to_owned(),
        "Upgrade: foo/1 ,\tWEBSOCKET\r\nConnection: ,upgrade\t,\r\n".to_owned(),
        format!("{FIELDS}Content-Length: 0\r\n"),
        format!("{FIELDS}Content-Security-Policy: {}\r\n", "x".repeat(12_000)),
        format!("{FIELDS}{many}"),
        // They name nothing.
        format!("{FIELDS}Sec-WebSocket-Extensions:\r\nSec-WebSocket-Protocol: ,\r\n"),
    ];
    for fields in cases {
        let mut server = Server::asked().await;
        let answer = server.answer(&fields);
        server.write(&[&answer[..], b"\x81\x02hi"].concat()).await;
        let mut socket = server.outcome().await.unwrap_or_else(|error| panic!("{fields}: {error}"));
        assert_eq!(next(&mut socket).await, "hi", "the frame behind the head, {fields}");
    }
}

#[tokio::test]
async fn answer_that_opens_no_socket_is_refused_with_words() {
    let upgrade = "the answer has no `upgrade: websocket`";
    let connection = "the answer has no `connection: upgrade`";
    let key = "the answer has another `sec-websocket-accept` than the one that belongs to the request";
    let cases = [
        ("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n", upgrade),
        ("HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n", upgrade),
        ("HTTP/1.1 101 S\r\nUpgrade: websockets\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n", upgrade),
        ("HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: KEY\r\n\r\n", connection),
        (
            "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: no upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n",
            connection,
        ),
        ("HTTP/1.1 101 S\r\nFIELDS\r\n", "the answer has no `sec-websocket-accept`"),
        ("HTTP/1.1 101 S\r\nFIELDSSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n", key),
        ("HTTP/1.1 101 S\r\nFIELDSSec-WebSocket-Accept: KEY, KEY\r\n\r\n", key),
        (
            "HTTP/1.1 101 S\r\nFIELDSSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            "the answer names an extension, and none was asked for",
        ),
        (
            "HTTP/1.1 101 S\r\nFIELDSSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: canary\r\n\r\n",
            "the answer names a subprotocol, and none was asked for",
        ),
        (
            "HTTP/1.0 101 S\r\nFIELDSSec-WebSocket-Accept: KEY\r\n\r\n",
            "protocol error: HTTP version must be 1.1 or higher",
        ),
        ("SSH-2.0-canary", "protocol error: httparse error: invalid HTTP version"),
        ("HTTP/1.1 101 S\r\ncanary\r\n\r\n", "protocol error: httparse error: invalid header name"),
    ];
    for (answer, words) in cases {
        let mut server = Server::asked().await;
        let answer = answer.replace("KEY", &server.accept).replace("FIELDS", FIELDS);
        server.write(answer.as_bytes()).await;
        let error = server.outcome().await.err().unwrap_or_else(|| panic!("a socket by {answer}"));
        assert_eq!(error.to_string(), words, "{answer}");
    }
}

#[tokio::test]
async fn other_status_is_handed_on_with_its_fields() {
    for status in [200, 204, 301, 401, 403, 404, 429, 500, 503] {
        let mut server = Server::asked().await;
        let answer = format!("HTTP/1.1 {status} Because\r\nretry-after: 7\r\ncontent-length: 6\r\n\r\n<html>");
        server.write(answer.as_bytes()).await;
        match server.outcome().await.err() {
            Some(UpgradeError::Declined(response)) => {
                assert_eq!(response.status().as_u16(), status);
                assert_eq!(response.headers()["retry-after"], "7");
            }
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answer_that_trickles_is_read_to_its_end() {
    let mut server = Server::asked().await;
    let answer = server.answer(&format!("{FIELDS}X-Long: {}\r\n", "x".repeat(5_000)));
    let early = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    for byte in [early, &answer[..], b"\x81\x02hi"].concat() {
        server.write(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut socket = server.outcome().await.expect("a socket");
    assert_eq!(next(&mut socket).await, "hi");
}

#[tokio::test]
async fn no_byte_is_lost_wherever_segments_end() {
    let early = b"HTTP/1.1 100 Continue\r\n\r\n";
    let length = early.len() + Server::asked().await.answer(FIELDS).len() + 8;
    for end in 1..length {
        let mut server = Server::asked().await;
        let bytes = [early, &server.answer(FIELDS)[..], b"\x81\x02hi\x81\x02ho"].concat();
        assert_eq!(bytes.len(), length);
        server.write(&bytes[..end]).await;
        tokio::task::yield_now().await;
        server.write(&bytes[end..]).await;
        let mut socket = server.outcome().await.unwrap_or_else(|error| panic!("{end}: {error}"));
        assert_eq!([next(&mut socket).await, next(&mut socket).await], ["hi", "ho"], "{end}");
    }
}

#[tokio::test]
async fn interim_answers_are_passed_over_up_to_a_number() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let few = early.repeat(INTERIM_MAX / 2);
    for (interim, opens) in [("", true), (early, true), (&few, true), (&format!("{few}{early}"), false)] {
        let mut server = Server::asked().await;
        let answer = server.answer(FIELDS);
        server.write(&[interim.as_bytes(), &answer[..], b"\x81\x02hi"].concat()).await;
        match server.outcome().await {
            Ok(mut socket) => assert!(opens && next(&mut socket).await == "hi", "{interim}"),
            Err(error) => {
                assert!(!opens, "{interim}: {error}");
                assert_eq!(error.to_string(), "more than 8 interim answers (1xx) came before the answer");
            }
        }
    }
    let mut server = Server::asked().await;
    server.write(format!("{early}HTTP/1.1 403 Forbidden\r\n\r\n").as_bytes()).await;
    match server.outcome().await.err() {
        Some(UpgradeError::Declined(response)) => assert_eq!(response.status().as_u16(), 403),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn head_is_read_up_to_64_kb_and_frames_right_behind_it() {
    let frame = b"\x81\x02hi";
    for (over, opens) in [(0, true), (-2, true), (1, false)] {
        let mut server = Server::asked().await;
        let filler = HEAD_MAX as isize + over - server.answer(&format!("{FIELDS}X: \r\n")).len() as isize;
        let answer = server.answer(&format!("{FIELDS}X: {}\r\n", "x".repeat(filler as usize)));
        server.write(&[&answer[..], frame].concat()).await;
        match server.outcome().await {
            Ok(mut socket) => assert!(opens && next(&mut socket).await == "hi", "{over}"),
            Err(error) => {
                assert!(!opens, "{over}: {error}");
                assert_eq!(error.to_string(), "more than 64 kB came before the head of the answer was complete");
            }
        }
    }
}

#[tokio::test]
async fn head_that_never_ends_is_given_up_and_read_no_further() {
    let starts = [&b"HTTP/1.1 101 S\r\nX: "[..], b"HTTP/1.1 101 ", b"HTTP/1.1 103 S\r\nX: ", b""];
    for start in starts {
        let filler: &[u8] = if start.is_empty() { b"\r\n" } else { b"xx" };
        let mut server = Server::asked_over(1 << 10).await;
        let mut sent = start.len();
        server.write(start).await;
        while sent < 1 << 20 && server.stream.write_all(filler).await.is_ok() {
            sent += filler.len();
        }
        let error = server.outcome().await.expect_err("no socket");
        assert_eq!(error.to_string(), "more than 64 kB came before the head of the answer was complete");
        assert!((HEAD_MAX..=HEAD_MAX + (2 << 10)).contains(&sent), "{sent} bytes were taken");
    }
}

#[tokio::test]
async fn connection_that_ends_before_the_head_does_is_called_so() {
    for start in ["", "HTTP/1.1 1", "HTTP/1.1 101 S\r\nUpgrade: web", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let mut server = Server::asked().await;
        server.write(start.as_bytes()).await;
        server.stream.shutdown().await.expect("an open connection");
        let error = server.outcome().await.expect_err("no socket");
        assert_eq!(error.to_string(), "connection closed before the head of the answer was complete", "{start}");
    }
}

/// Is the other side of a connection: it has read the request.
struct Server {
    stream: DuplexStream,
    request: String,
    /// What belongs to the key of the request.
    accept: String,
    outcome: JoinHandle<Result<WebSocketStream<DuplexStream>, UpgradeError>>,
}

impl Server {
    async fn asked() -> Self {
        Self::asked_over(ON_THE_WAY).await
    }

    /// Is asked over a connection that holds so many bytes on their way.
    async fn asked_over(on_the_way: usize) -> Self {
        let (near, mut stream) = tokio::io::duplex(on_the_way);
        let url = Url::parse("wss://ws.zoom.invalid:8443/ws?subscriptionId=sub&access_token=canary").expect("a URL");
        let outcome = tokio::spawn(async move { upgrade(near, &url).await });
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut request).await.expect("a request") > 0);
        }
        let request = String::from_utf8(request).expect("text");
        let key = request.split_once("Sec-WebSocket-Key: ").expect("a key").1.trim_end();
        Self { accept: derive_accept_key(key.as_bytes()), stream, request, outcome }
    }

    /// Makes the answer that opens the socket, with these fields beside the key.
    fn answer(&self, fields: &str) -> Vec<u8> {
        format!("HTTP/1.1 101 Switching Protocols\r\n{fields}Sec-WebSocket-Accept: {}\r\n\r\n", self.accept).into()
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("an open connection");
    }

    async fn outcome(&mut self) -> Result<WebSocketStream<DuplexStream>, UpgradeError> {
        (&mut self.outcome).await.expect("no panic")
    }
}

async fn next(socket: &mut WebSocketStream<DuplexStream>) -> String {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => text.to_string(),
        other => panic!("{other:?} in place of a frame"),
    }
}
