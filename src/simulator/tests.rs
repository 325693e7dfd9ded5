//! The simulator as a client meets it: every answer, every fault, over real loopback connections.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::CancellationToken;

use super::fault::*;
use super::log::Reason;
use super::traffic::Source;
use super::*;

const BODY: &str = r#"{"event":"meeting.started","payload":{"object":{"topic":"Überblick 🚀"}},"event_ts":1}"#;
const SUBSCRIPTION: &str = "demo-subscription";

mod control;
mod handler;
mod socket;
mod tls;
mod token;

/// Runs a simulator for one test.
struct Zoom {
    simulator: Simulator,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl std::ops::Deref for Zoom {
    type Target = Simulator;

    fn deref(&self) -> &Simulator {
        &self.simulator
    }
}

impl Zoom {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn faulty(faults: &[&str]) -> Self {
        let zoom = Self::start().await;
        zoom.fault(faults);
        zoom
    }

    async fn with(options: Options) -> Self {
        let simulator = Simulator::bind(options).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (simulator, stop) = (simulator.clone(), stop.clone());
            async move { simulator.run(stop).await }
        });
        Self { simulator, stop, task }
    }

    fn fault(&self, faults: &[&str]) {
        let texts = faults.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        self.set_faults(texts.try_into().unwrap());
    }

    /// Sends one HTTP/1.1 request and reads the answer to the end of the connection.
    async fn http(&self, head: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.addr()).await.unwrap();
        let length = body.len();
        let request = format!("{head}\r\nhost: zoom\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    /// Asks for a token by form, with the right credentials.
    async fn ask(&self, form: &str) -> (u16, String, String) {
        self.http(&format!("POST /oauth/token HTTP/1.1\r\n{BASIC}\r\n{FORM}"), form).await
    }

    async fn token(&self) -> String {
        let (status, _, body) = self.ask("grant_type=client_credentials").await;
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn dial(&self, subscription: &str, token: &str) -> Result<Client, WsError> {
        let url = format!("{}&access_token={token}", self.ws_url(subscription));
        let stream = TcpStream::connect(self.addr()).await.unwrap();
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        Ok(Client(tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?.0))
    }

    /// Upgrades a socket that has a good token.
    async fn upgrade(&self) -> Client {
        let token = self.token().await;
        self.dial(SUBSCRIPTION, &token).await.unwrap()
    }

    /// Upgrades a socket and reads that it is accepted.
    async fn connect(&self) -> Client {
        let mut client = self.upgrade().await;
        let first = client.json().await;
        assert_eq!((&first["module"], &first["success"]), (&json!("build_connection"), &json!(true)));
        client
    }

    fn reasons(&self) -> Vec<Reason> {
        let (entries, _) = self.log(0);
        let closed = entries
            .into_iter()
            .filter_map(|entry| if let Happening::Closed { reason, .. } = entry.what { Some(reason) } else { None });
        closed.collect()
    }
}

/// `demo-client:demo-secret`.
const BASIC: &str = "authorization: Basic ZGVtby1jbGllbnQ6ZGVtby1zZWNyZXQ=";
const FORM: &str = "content-type: application/x-www-form-urlencoded";

/// Is a plain client: it does what it is told and nothing by itself.
struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn next(&mut self) -> Result<Message, WsError> {
        self.0.next().await.unwrap_or(Err(WsError::ConnectionClosed))
    }

    async fn text(&mut self) -> String {
        self.next().await.unwrap().into_text().unwrap().as_str().to_owned()
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Reads the close frame that must come next.
    async fn close(&mut self) -> (u16, String) {
        let message = self.next().await.unwrap();
        let Message::Close(Some(frame)) = message else { panic!("{message:?}") };
        (frame.code.into(), frame.reason.as_str().to_owned())
    }
}

fn bye() -> (u16, String) {
    (1000, "Bye".to_owned())
}

const HEARTBEAT: &str = r#"{"module":"heartbeat"}"#;
const LIVE: &str = r#"{"module":"heartbeat","success":true,"content":"live","header":{}}"#;
