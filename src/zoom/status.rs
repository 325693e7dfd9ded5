//! What a subscription's socket tells to those who watch it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::schema::Moment;

/// Is the state of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// On the way: a token is fetched, or a connection made, or the first frame awaited.
    Connecting,
    /// Accepted by Zoom, and heard from within the heartbeat deadline.
    Live,
    /// Lost or refused; the next try comes by itself.
    Waiting,
    /// Refused for a reason that only the operator can mend; tried again slowly.
    Parked,
    /// Evicted again and again: somebody else holds the same subscription.
    Contended,
    /// Ended on request.
    Stopped,
}

/// Is what is known of one subscription's socket right now.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Socket")]
pub struct Status {
    /// State of the socket.
    pub link: Link,
    /// Since when it is in this state.
    #[schemars(with = "Moment")]
    pub since: Timestamp,
    /// Since when no socket is live, whatever was tried meanwhile; empty while one is.
    #[schemars(with = "Option<Moment>")]
    pub down_since: Option<Timestamp>,
    /// Why it is not live, in words that name what to do; empty while it is live.
    pub reason: Box<str>,
    /// When the next try comes, while one is waited for.
    #[schemars(with = "Option<Moment>")]
    pub next_try_at: Option<Timestamp>,
    /// When any frame was last read.
    #[schemars(with = "Option<Moment>")]
    pub last_heard_at: Option<Timestamp>,
    /// When an event was last read.
    #[schemars(with = "Option<Moment>")]
    pub last_event_at: Option<Timestamp>,
    /// How far the last event was behind its `event_ts`, in milliseconds.
    pub last_event_lag_ms: Option<i64>,
    /// True while the spool does not take events, so that the socket is not read.
    pub stalled: bool,
    /// Events read since the process started.
    pub events: u64,
    /// Sockets that Zoom accepted since the process started.
    pub connects: u64,
    /// Frames that were kept but could not be understood since the process started.
    pub malformed: u64,
}

impl Status {
    /// Begins in a state, with nothing heard and nothing counted.
    pub(crate) fn new(link: Link, since: Timestamp) -> Self {
        Self {
            link,
            since,
            down_since: (link != Link::Live).then_some(since),
            reason: Box::default(),
            next_try_at: None,
            last_heard_at: None,
            last_event_at: None,
            last_event_lag_ms: None,
            stalled: false,
            events: 0,
            connects: 0,
            malformed: 0,
        }
    }
}
