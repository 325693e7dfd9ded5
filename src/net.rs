//! The way to others: addresses of a name, connections to them, and proxies in between.
//!
//! What goes wrong with a proxy is told apart from what goes wrong with those behind it ([`proxy::ProxyError`]): the one
//! is mended by those who run the network, the other by those who run the other end. So is what this machine itself has
//! not enough of ([`shortage::Shortage`]).

pub(crate) mod guard;
pub mod proxy;
pub(crate) mod route;
pub mod shortage;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use self::shortage::Shortage;
use crate::config::allow::{AllowList, Forbidden};

/// How long an address is waited for before the next one is tried beside it (RFC 8305, section 5): the first of a name
/// may lead nowhere, as through a broken IPv6 route.
const STAGGER: Duration = Duration::from_millis(250);

/// Says why there is no connection; whoever asked knows to whom.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The name has no address.
    #[error("its name does not resolve: {0}")]
    Name(io::Error),
    /// No address may be connected to.
    #[error("{0}")]
    Forbidden(Forbidden),
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// No address can be connected to.
    #[error("{0}")]
    Address(String),
    /// Nothing answered before the deadline.
    #[error("no answer in time")]
    Late,
    /// This machine could not even try.
    #[error("{0}")]
    Short(Shortage),
}

/// Opens a connection to a host, given by its name or its address without brackets, at an address that is allowed if
/// there is a list.
///
/// # Errors
/// When its name does not resolve, when no address is allowed, or when none answers before the deadline.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    allow: Option<&AllowList>,
    deadline: Instant,
) -> Result<TcpStream, ConnectError> {
    let connecting = async {
        let addresses = resolve(host, port).await.map_err(|error| match Shortage::now() {
            Some(shortage) => ConnectError::Short(shortage),
            None => ConnectError::Name(error),
        })?;
        let addresses = match allow {
            Some(allow) => allow.sift(host, addresses).map_err(ConnectError::Forbidden)?,
            None => addresses,
        };
        let tcp = race(alternating(addresses)).await?;
        // What is written is small and must not wait. A socket that refuses this works all the same.
        tcp.set_nodelay(true).ok();
        Ok(tcp)
    };
    timeout_at(deadline, connecting).await.unwrap_or(Err(ConnectError::Late))
}

/// Returns the addresses of a host; an address is its own.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![(address, port).into()]),
        Err(_) => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
    }
}

/// Connects to whichever address answers first; the next one is tried when one fails, or takes longer than [`STAGGER`].
async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, ConnectError> {
    let mut addresses = addresses.into_iter();
    let mut tries = FuturesUnordered::new();
    let mut last = ConnectError::Address("it has no address".to_owned());
    loop {
        match addresses.next() {
            Some(address) => tries.push(tried(address)),
            None if tries.is_empty() => return Err(last),
            None => {}
        }
        match timeout(STAGGER, tries.next()).await {
            Ok(Some(Ok(tcp))) => return Ok(tcp),
            // An address that was not tried may have been the one that answers.
            Ok(Some(Err(_))) if matches!(last, ConnectError::Short(_)) => {}
            Ok(Some(Err(Failed { shortage: Some(shortage), .. }))) => last = ConnectError::Short(shortage),
            Ok(Some(Err(Failed { error, .. }))) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = ConnectError::Refused
            }
            // A family that this machine has not says nothing of a host that answers by the other.
            Ok(Some(Err(_))) if matches!(last, ConnectError::Refused) => {}
            Ok(Some(Err(Failed { error, .. }))) => last = ConnectError::Address(error.to_string()),
            Ok(None) | Err(_) => {}
        }
    }
}

/// Is why an address gave no connection.
struct Failed {
    error: io::Error,
    shortage: Option<Shortage>,
}

async fn tried(address: SocketAddr) -> Result<TcpStream, Failed> {
    TcpStream::connect(address).await.map_err(|error| {
        let shortage = Shortage::of(&error, address);
        Failed { error, shortage }
    })
}

/// Brings addresses into an order in which both families have their turn, the first one's first.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let turn = [first.next(), second.next()];
        if turn == [None, None] {
            return turns;
        }
        turns.extend(turn.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns_and_keep_their_order() {
        let cases: [(&[&str], &[&str]); 3] = [
            (&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"], &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]),
            (&["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"], &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"]),
            (&[], &[]),
        ];
        for (given, expected) in cases {
            assert_eq!(alternating(addresses(given)), addresses(expected));
        }
    }

    #[tokio::test]
    async fn address_that_refuses_costs_no_wait_and_the_last_reason_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open = listener.local_addr().expect("an address");
        let closed: SocketAddr = {
            let closing = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            closing.local_addr().expect("an address")
        };
        // With a clock that stands still, a wait would never end.
        tokio::time::pause();
        let before = Instant::now();
        let tcp = race(vec![closed, open]).await.expect("the second one listens");
        assert_eq!(tcp.peer_addr().expect("an address"), open);
        assert!(matches!(race(vec![closed, closed]).await, Err(ConnectError::Refused)));
        // TCP has no broadcast: it stands for a family that this machine has not.
        let nowhere = "255.255.255.255:9".parse().expect("an address");
        assert!(matches!(race(vec![closed, nowhere]).await, Err(ConnectError::Refused)));
        assert!(matches!(race(vec![nowhere]).await, Err(ConnectError::Address(_))));
        assert!(matches!(race(Vec::new()).await, Err(ConnectError::Address(_))));
        assert!(before.elapsed() < STAGGER, "{:?}", before.elapsed());
    }

    #[tokio::test]
    async fn address_that_leads_nowhere_holds_up_no_other() {
        // A queue of connections that nobody takes: what comes after it gets no answer.
        let full = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let silent = stuffed(&full).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open = listener.local_addr().expect("an address");
        let tcp = race(vec![silent.0, open]).await.expect("the second one listens");
        assert_eq!(tcp.peer_addr().expect("an address"), open);
        let late = connect("127.0.0.1", silent.0.port(), None, Instant::now() + STAGGER).await;
        assert!(matches!(late, Err(ConnectError::Late)), "{late:?}");
    }

    /// Connects until the system takes no more for this listener.
    async fn stuffed(listener: &TcpListener) -> (SocketAddr, Vec<TcpStream>) {
        let address = listener.local_addr().expect("an address");
        let mut held = Vec::new();
        while let Ok(tcp) = timeout(STAGGER, TcpStream::connect(address)).await {
            held.push(tcp.expect("a connection"));
        }
        (address, held)
    }
}
