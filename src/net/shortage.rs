//! What this machine has not enough of for one more connection: nobody at the other end can help it, or is to blame.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};

use rustix::io::Errno;

/// Is what there is not enough of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shortage {
    /// File descriptors, of the process or of the machine.
    Descriptors,
    /// Local ports towards the address, all of which are in use or rest after it.
    Ports,
    /// Memory that the system keeps for sockets.
    Memory,
}

impl Shortage {
    /// Says what to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Descriptors => {
                "raise LimitNOFILE= of its service or ulimit -n, or lower the concurrency of destinations"
            }
            Self::Ports => {
                "lower the destination's concurrency, let the handler keep connections, or widen net.ipv4.ip_local_port_range"
            }
            Self::Memory => "look at its memory, and at net.ipv4.tcp_mem",
        }
    }

    /// Tells whether this is why there is no connection to an address.
    pub(super) fn of(error: &io::Error, to: SocketAddr) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Descriptors),
            Errno::NOBUFS | Errno::NOMEM => Some(Self::Memory),
            // By IPv6 it may as well say that this machine has no address there, and nothing can be sent to port 0.
            Errno::ADDRNOTAVAIL if to.is_ipv4() && to.port() != 0 => Some(Self::Ports),
            _ => None,
        }
    }

    /// Finds out whether one is behind something that does not tell, as a resolver: no socket can be opened then.
    pub(super) fn now() -> Option<Self> {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        UdpSocket::bind(here).err().and_then(|error| Self::of(&error, here))
    }
}

/// Says it shortly, as it stands in the spool and in the status of a destination.
impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "this machine has no file descriptor left",
            Self::Ports => "this machine has no local port left",
            Self::Memory => "this machine has no memory left for sockets",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_clearly_lies_with_this_machine_is_laid_to_it() {
        let (v4, v6, nowhere) = ("10.0.0.1:443", "[fd00::1]:443", "10.0.0.1:0");
        let cases = [
            (Errno::MFILE, v4, Some(Shortage::Descriptors)),
            (Errno::NFILE, v6, Some(Shortage::Descriptors)),
            (Errno::NOBUFS, v4, Some(Shortage::Memory)),
            (Errno::NOMEM, v4, Some(Shortage::Memory)),
            (Errno::ADDRNOTAVAIL, v4, Some(Shortage::Ports)),
            (Errno::ADDRNOTAVAIL, v6, None),
            (Errno::ADDRNOTAVAIL, nowhere, None),
            (Errno::CONNREFUSED, v4, None),
            (Errno::NETUNREACH, v4, None),
            (Errno::HOSTUNREACH, v4, None),
            (Errno::TIMEDOUT, v4, None),
            (Errno::ACCESS, v4, None),
        ];
        for (errno, to, expected) in cases {
            assert_eq!(Shortage::of(&errno.into(), to.parse().expect("an address")), expected, "{errno} at {to}");
        }
        assert_eq!(Shortage::of(&io::Error::other("a word"), v4.parse().expect("an address")), None);
        assert_eq!(Shortage::now(), None, "there is enough of everything for this test");
    }
}
