//! What a connection meets first: silence, TLS, or HTTP at once.
//!
//! A simulator that speaks TLS, or that has fallen silent, must still be steered. So its control endpoints answer in
//! plain text whatever else is on: the first byte of a connection tells a TLS handshake from a request.

use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::either::Either;

use super::Simulator;
use super::fault::ConnectFault;
use super::log::Happening;
use super::server;

/// The first byte of every TLS handshake.
const HANDSHAKE: u8 = 0x16;
/// How long a TLS handshake may take: as long as the bridge gives a whole connection.
const DEADLINE: Duration = Duration::from_secs(15);

/// Is what connections are served.
#[derive(Clone)]
pub(super) struct Rooms {
    /// Everything.
    pub(super) all: Router,
    /// The control endpoints.
    pub(super) control: Router,
}

/// Serves one connection to its end.
pub(super) async fn enter(zoom: Simulator, rooms: Rooms, tcp: TcpStream) {
    let mut first = [0];
    // Nothing comes from a client that goes without a word.
    let Ok(1) = tcp.peek(&mut first).await else { return };
    let silent = zoom.faults().connect == Some(ConnectFault::Silent);
    match (&zoom.0.identity, first[0] == HANDSHAKE) {
        (Some(_), true) if silent => hold(&zoom, tcp).await,
        (Some(identity), true) => match timeout(DEADLINE, identity.acceptor.accept(tcp)).await {
            Ok(Ok(tls)) => server::http(Either::Right(Box::new(tls)), rooms.all).await,
            Ok(Err(error)) => zoom.0.log.write(Happening::NoTls { reason: error.to_string().into() }),
            Err(_) => zoom.0.log.write(Happening::NoTls { reason: "the handshake took too long".into() }),
        },
        (None, true) => {
            zoom.0.log.write(Happening::NoTls { reason: "this port speaks plain text: use http and ws".into() });
        }
        (Some(_), false) => server::http(Either::Left(tcp), rooms.control).await,
        (None, false) => server::http(Either::Left(tcp), rooms.all).await,
    }
}

/// Keeps a connection without a word, for as long as the client has patience.
async fn hold(zoom: &Simulator, tcp: TcpStream) {
    zoom.0.knocked.send_replace(true);
    zoom.0.log.write(Happening::Silent);
    let mut more = [0; 1024];
    loop {
        let read = async {
            tcp.readable().await?;
            tcp.try_read(&mut more)
        };
        match read.await {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Notices a client, and lets no request to Zoom's own endpoints through while the simulator is silent.
pub(super) async fn knock(State(zoom): State<Simulator>, request: Request, next: Next) -> Response {
    zoom.0.knocked.send_replace(true);
    if zoom.faults().connect == Some(ConnectFault::Silent) {
        zoom.0.log.write(Happening::Silent);
        return pending().await;
    }
    next.run(request).await
}
