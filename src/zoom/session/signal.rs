//! What goes into the session and what comes out of it, as plain data.

use std::time::{Duration, Instant};

use crate::net::proxy::ProxyFault;
use crate::zoom::status::Link;

/// Is what happens to the machine.
#[derive(Debug)]
pub(crate) enum Input {
    /// The token that was asked for is there.
    Token,
    /// There is no token, or no socket.
    Failed(Fault),
    /// Zoom took the socket.
    Accepted,
    /// Zoom refused the socket, with these words.
    Refused { words: Box<str> },
    /// An event was read.
    Event,
    /// Any other sign of life was read.
    Heard,
    /// A heartbeat was answered in the negative.
    HeartbeatRefused,
    /// The socket has ended.
    Ended(End),
    /// The spool does not take what was read last, so that nothing more is read.
    Stalled,
    /// The spool has taken it.
    Resumed,
    /// The operator wants an end.
    Stop,
}

/// Says why there is no token or no socket. Reasons are for people and hold no secret.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// It may be better in a moment.
    Hiccup { reason: Box<str> },
    /// The proxy on the way gives no connection.
    Proxy { fault: ProxyFault, reason: Box<str> },
    /// The other side wants to be left alone for so long.
    Throttled { wait: Duration, reason: Box<str> },
    /// The token endpoint does not know these credentials.
    Credentials { reason: Box<str> },
    /// The upgrade was answered with a status that speaks of the token: 401 or 403.
    Unauthorized { status: u16 },
    /// The upgrade was answered with another status of the 4xx class.
    Rejected { status: u16 },
}

/// Says how a socket ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// By a close frame.
    Closed { code: Option<u16>, words: Box<str> },
    /// By the end of the stream, or a reset.
    Cut { reason: Box<str> },
    /// By something on it that is against the protocol or beyond our limits.
    Broken { reason: Box<str> },
}

/// Says whether the end of a socket was an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    Likely,
    Possible,
    Unlikely,
}

/// Is what the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Bring a token; [`Input::Token`] or [`Input::Failed`] answers.
    FetchToken(Freshness),
    /// Open a socket with that token and read its frames.
    Connect,
    /// Send a heartbeat.
    SendHeartbeat,
    /// Send a close frame and go on reading.
    Close,
    /// Drop whatever is under way: the fetch, the connection attempt, or the socket.
    Abort,
    /// Note in the ledger that events are being missed since the socket was last heard.
    OpenGap { reason: Box<str> },
    /// Note in the ledger that a socket is live again.
    CloseGap,
    /// Tell those who watch.
    Show { link: Link, reason: Box<str>, next_try: Option<Instant> },
    /// Count one.
    Count(Tally),
}

/// Says which token will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// A cached one.
    Cached,
    /// Not the one that was used last.
    Renewed,
}

/// Is something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// Zoom took a socket.
    Accepted,
    /// Zoom refused a socket.
    Refused,
    /// No socket came about.
    Failed,
    /// No socket came about because of the proxy on the way.
    Proxy(ProxyFault),
    /// No socket came about in time.
    TimedOut,
    /// A socket was given up for silence.
    HeartbeatMissed,
}

impl End {
    /// Tells whether a newer connection of the same subscription may be behind it. Zoom then closes the older one,
    /// probably with 1000 and no frame before it.
    pub(super) fn eviction(&self) -> Eviction {
        match self {
            Self::Closed { code, .. } if code.is_none_or(|code| code == 1000) => Eviction::Likely,
            Self::Cut { .. } => Eviction::Possible,
            Self::Closed { .. } | Self::Broken { .. } => Eviction::Unlikely,
        }
    }

    pub(super) fn words(&self) -> String {
        match self {
            Self::Closed { code: Some(code), words } => format!("closed by zoom: {code} {words}").trim_end().to_owned(),
            Self::Closed { code: None, .. } => "closed by zoom".to_owned(),
            Self::Cut { reason } | Self::Broken { reason } => reason.to_string(),
        }
    }
}
