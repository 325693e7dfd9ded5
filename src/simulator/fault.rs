//! Faults: how the simulator departs from a Zoom on a good day.
//!
//! Each has a name, `token-hang`, and some a value, `token-slow=5s`. The text form is the same on the command line,
//! at the control endpoint and in files ([`text`]): [`Faults`] reads a list of texts and shows itself as one. Faults of one
//! place exclude each other, those of frames add up.

pub mod text;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Is every fault that is on; by default none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub struct Faults {
    /// What the token endpoint does instead of answering well.
    pub token: Option<TokenFault>,
    /// A new token cancels the ones before it.
    pub token_single: bool,
    /// What a connection or its upgrade request meets instead of 101.
    pub connect: Option<ConnectFault>,
    /// What happens after 101 instead of a prompt success.
    pub opening: Option<OpeningFault>,
    /// What a heartbeat meets instead of an answer.
    pub heartbeat: Option<HeartbeatFault>,
    /// Who is evicted when a second socket of a subscription is accepted.
    pub evict: Evict,
    /// How that one is closed.
    pub evict_as: Cut,
    /// Another client takes the subscription so long after a socket was accepted.
    pub rival: Option<Duration>,
    /// When and in which order events come.
    pub flow: Option<FlowFault>,
    /// How frames of events look.
    pub frames: FrameFaults,
    /// Pings the client this often.
    pub ping: Option<Duration>,
    /// Closes a socket that has said nothing for so long.
    pub idle_close: Option<Duration>,
    /// Closes a socket when its token expires.
    pub close_at_expiry: bool,
    /// Ends each socket when it has lived so long.
    pub drop_every: Option<Duration>,
    /// How sockets are ended by the three faults before.
    pub drop_as: Cut,
}

/// Is a fault of the token endpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenFault {
    /// Answers well, but late.
    Slow(Duration),
    /// Never answers.
    Hang,
    /// Answers with this status and Zoom's words for it.
    Status(u16),
    /// Answers 429 and says when to come again.
    RetryAfter(RetryForm, Duration),
    /// Answers 200 with a web page.
    Html,
    /// Answers 200 with nothing.
    Empty,
    /// Answers with a token and its type, no more.
    Bare,
    /// Answers 400 and these words.
    Refused(String),
    /// Refuses one grant: `account_credentials` or `client_credentials`.
    RefuseGrant(String),
}

/// Is a spelling of `Retry-After`; Zoom has used all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryForm {
    /// A number of seconds.
    Seconds,
    /// An HTTP date.
    Date,
    /// An ISO-8601 instant.
    Iso,
}

/// Is a fault of the connection or of the upgrade request.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectFault {
    /// Every connection is accepted and nothing is said on it; the control endpoints alone still answer.
    Silent,
    /// Answers with this status instead of 101.
    Status(u16),
    /// Never answers.
    Hang,
}

/// Is a fault between 101 and the first event.
#[derive(Clone, Debug, PartialEq)]
pub enum OpeningFault {
    /// Says nothing at all.
    Silent,
    /// Accepts, but late.
    Late(Duration),
    /// Refuses, in these words.
    Refused(String),
    /// Refuses, each time in other words: those that Zoom has used, and some that it has not.
    RefusedInTurn,
    /// Sends an event before it accepts.
    EventFirst,
    /// Accepts in a frame without content and header.
    Bare,
}

/// Is a fault of heartbeats.
#[derive(Clone, Debug, PartialEq)]
pub enum HeartbeatFault {
    /// Gives no answer.
    Ignored,
    /// Answers late.
    Late(Duration),
    /// Answers `success: false`.
    Refused,
}

/// Says who goes when a second socket of a subscription is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evict {
    /// The older one, as Zoom does.
    #[default]
    Older,
    /// The newer one.
    Newer,
    /// Nobody: both get every event.
    Nobody,
}

/// Is a fault in the flow of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowFault {
    /// Each event comes late.
    Late(Duration),
    /// Events gather and come all at once, this often.
    Burst(Duration),
    /// So many events gather and come all at once, the newest first.
    Reversed(usize),
    /// No event comes, while heartbeats are answered.
    Withheld,
}

/// Says how frames of events look; any of these may be combined.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrameFaults {
    /// `content` is the object itself instead of a string.
    pub object: bool,
    /// `header` has values.
    pub header: bool,
    /// The frame has fields that no document names.
    pub fields: bool,
    /// The fields of the frame stand in another order.
    pub reordered: bool,
    /// Each frame comes in fragments, which cut characters in two.
    pub fragmented: bool,
    /// Each frame is a binary one.
    pub binary: bool,
    /// A frame that is no JSON precedes each event.
    pub garbage: bool,
    /// A frame whose content is no JSON precedes each event.
    pub text: bool,
    /// A frame of an unknown module precedes each event.
    pub unknown: bool,
    /// Each event comes twice.
    pub repeat: bool,
    /// Bodies are padded to this many bytes.
    pub large: Option<usize>,
}

/// Is a way in which a socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Cut {
    /// A close frame with this code.
    Close(u16),
    /// The end of the TCP stream, without a close frame.
    Fin,
    /// A TCP reset.
    Reset,
    /// Nothing more is sent or answered, and nobody is told.
    Silent,
}

impl Default for Cut {
    fn default() -> Self {
        Self::Close(1000)
    }
}
