//! Where the operator's port is, and how it is guarded.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::secret::Secret;

/// Says where the operator's port is.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where to listen. `None` switches the port off.
    pub listen: Option<Listen>,
    /// The bearer token that requests must show; needed on any address but loopback.
    pub token: Option<Secret>,
    /// The bearer token of those who may look, but neither change anything nor see payloads.
    pub viewer_token: Option<Secret>,
    /// What the port shows of itself when it speaks TLS; without it, it speaks in plain text.
    pub tls: Option<AdminTls>,
    /// Certificates by which the command line trusts the port, beside the system's and `tls_cert`.
    pub ca_file: Option<PathBuf>,
    /// What the command line shows of itself where the port asks for it: the files of certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Says how the operator's port is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminTls {
    /// The file of the certificate, and of those between it and its authority.
    pub cert: PathBuf,
    /// The file of its key.
    pub key: PathBuf,
    /// Clients must show a certificate of an authority in this file.
    pub client_ca_file: Option<PathBuf>,
}

impl Admin {
    /// Default of `listen`.
    pub const LISTEN: &str = "127.0.0.1:8686";

    /// Returns the default of `listen`.
    pub(crate) fn default_listen() -> Listen {
        Listen::Tcp(Self::LISTEN.parse().expect("the default is an address"))
    }

    /// Makes a port, or none, of which all that may be left out is left out.
    pub fn new(listen: Option<Listen>) -> Self {
        Self { listen, token: None, viewer_token: None, tls: None, ca_file: None, client: None }
    }
}

/// Is an address that operators connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port; port 0 takes any free one.
    Tcp(SocketAddr),
    /// A Unix socket, for those whom its file mode allows.
    Unix(PathBuf),
}

impl Listen {
    /// Is the word that switches the port off.
    pub(crate) const OFF: &str = "off";
    /// Stands before the path of a Unix socket.
    pub(crate) const UNIX: &str = "unix:";
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{}{}", Self::UNIX, path.display()),
        }
    }
}
