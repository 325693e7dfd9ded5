//! The way to others: addresses of a name, connections to them, and proxies in between.
//!
//! What goes wrong with a proxy is told apart from what goes wrong with those behind it ([`proxy::ProxyError`]): the one
//! is mended by those who run the network, the other by those who run the other end.

pub(crate) mod guard;
pub mod proxy;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// A name can have several addresses, of which the first may lead nowhere: a broken IPv6 route is common.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(4);

/// Says why there is no connection; whoever asked knows to whom.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The name has no address.
    #[error("its name does not resolve: {0}")]
    Name(io::Error),
    /// No address can be connected to.
    #[error("{0}")]
    Address(String),
}

/// Opens a connection to a host, given by its name or its address without brackets.
///
/// # Errors
/// When its name does not resolve, or none of its addresses answers.
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let mut last = "it has no address".to_owned();
    for address in resolve(host, port).await.map_err(ConnectError::Name)? {
        match timeout(ADDRESS_DEADLINE, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // What is written is small and must not wait. A socket that refuses this works all the same.
                tcp.set_nodelay(true).ok();
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no answer within {} s", ADDRESS_DEADLINE.as_secs()),
        }
    }
    Err(ConnectError::Address(last))
}

/// Returns the addresses of a host; an address is its own.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![(address, port).into()]),
        Err(_) => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
    }
}
