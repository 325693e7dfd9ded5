//! What can be read back from a spool: rows as plain data, ready to be shown or serialised.
//!
//! Times are UTC; as JSON they are RFC 3339 text.

mod query;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::query::{DeadQuery, EventQuery, GroupCursor, Groups, NotACursor, Page, Text, Within};
use super::audit;
use crate::event::{Digest, EventId, RequestId};
use crate::schema::Moment;

/// Is the number of a destination inside one spool; its name is what people use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DestinationId(pub i64);

/// Is an open breaker: a destination at which nearly everything fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Opened {
    /// When it opened.
    #[schemars(with = "Moment")]
    pub since: Timestamp,
    /// When the next probe may be sent.
    #[schemars(with = "Moment")]
    pub probe_at: Timestamp,
    /// Probes that failed.
    pub probes: u32,
}

/// Tells whether the operator holds a destination's deliveries back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// Events wait.
    On,
    /// Events are delivered.
    Off,
}

/// Is where one event stands with one destination; one set of words for people, JSON and queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Stored, and never attempted as far as the spool knows.
    #[serde(rename = "waiting")]
    Fresh,
    /// Due again: failed at least once, or replayed.
    #[serde(rename = "retrying")]
    Retry,
    /// Accepted by the handler.
    Delivered,
    /// Given up, with a reason; kept, and replayable.
    Dead,
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl DeliveryState {
    /// Is each of them.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Retry, Self::Delivered, Self::Dead];

    /// Returns its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fresh => "waiting",
            Self::Retry => "retrying",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// Says that a text is no state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `waiting`, `retrying`, `delivered` or `dead`")]
pub struct NotAState;

impl FromStr for DeliveryState {
    type Err = NotAState;

    fn from_str(text: &str) -> Result<Self, NotAState> {
        Self::ALL.into_iter().find(|state| state.word() == text).ok_or(NotAState)
    }
}

/// Is one event without its body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventRow {
    /// Position in the spool.
    pub id: EventId,
    /// The `event` field of the body; empty when the body names none.
    pub kind: Box<str>,
    /// The subscription that it came through first.
    pub subscription: Box<str>,
    /// The `x-zm-request-id` of every attempt.
    pub request_id: RequestId,
    /// The digest of the body; `None` for those who do not see bodies, since it would prove a guess.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The `event_ts` field of the body, in milliseconds since 1970.
    pub event_ts: Option<i64>,
    /// When the frame was read from the socket.
    #[schemars(with = "Moment")]
    pub received_at: Timestamp,
    /// Size of the body in bytes.
    pub size: u64,
    /// How often the same body came again within the repeat window.
    pub repeats: u32,
    /// Why this is kept but cannot be delivered, when it cannot.
    pub parked: Option<Box<str>>,
    /// Where it stands with each destination that wants it.
    pub deliveries: Vec<DeliveryRow>,
}

/// Is where one event stands with one destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryRow {
    /// The destination's name.
    pub destination: Box<str>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the next attempt is due, for retries.
    #[schemars(with = "Option<Moment>")]
    pub due: Option<Timestamp>,
    /// When it was delivered or given up.
    #[schemars(with = "Option<Moment>")]
    pub settled_at: Option<Timestamp>,
    /// What the last attempt came to, such as `status 503` or `timeout`; for dead ones, why it was given up.
    pub outcome: Option<Box<str>>,
    /// How often it was replayed.
    pub replays: u32,
}

/// Is one failed attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptRow {
    /// The destination's name.
    pub destination: Box<str>,
    /// Which attempt it was, from 1; 0 for one that does not count, since the breaker was open.
    pub attempt: u32,
    /// When it began.
    #[schemars(with = "Moment")]
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// What it came to, such as `status 503` or `timeout`.
    pub cause: Box<str>,
    /// The beginning of the handler's answer, as text; empty when there was none.
    pub excerpt: Box<str>,
}

/// Is one event with all that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDetail {
    /// The event and its deliveries.
    pub row: EventRow,
    /// The failed attempts that are kept, oldest first.
    pub attempts: Vec<AttemptRow>,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// Is one dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadRow {
    /// The event.
    pub event: EventId,
    /// Its type.
    pub kind: Box<str>,
    /// The destination that did not take it.
    pub destination: Box<str>,
    /// Attempts made.
    pub attempts: u32,
    /// When it was received from Zoom.
    #[schemars(with = "Moment")]
    pub received_at: Timestamp,
    /// When it was given up.
    #[schemars(with = "Moment")]
    pub dead_at: Timestamp,
    /// Why it was given up.
    pub reason: Box<str>,
}

/// Is the dead letters of one destination that were given up for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadGroup {
    /// The destination.
    pub destination: Box<str>,
    /// Why they were given up.
    pub cause: Box<str>,
    /// How many there are.
    pub count: u64,
    /// When the first was given up.
    #[schemars(with = "Moment")]
    pub oldest_at: Timestamp,
    /// When the last was given up.
    #[schemars(with = "Moment")]
    pub newest_at: Timestamp,
    /// The newest event among them, to look at.
    pub sample: EventId,
}

/// Is an interval in which no socket of a subscription was live: what Zoom said in it is lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GapRow {
    /// Its number.
    pub id: i64,
    /// The subscription.
    pub subscription: Box<str>,
    /// The last moment at which the socket was known to be live.
    #[schemars(with = "Moment")]
    pub opened_at: Timestamp,
    /// When a socket was live again; `None` while the gap lasts.
    #[schemars(with = "Option<Moment>")]
    pub closed_at: Option<Timestamp>,
    /// Why there was no socket.
    pub reason: Box<str>,
    /// When the last event before the gap was received.
    #[schemars(with = "Option<Moment>")]
    pub last_event_at: Option<Timestamp>,
    /// Who has dealt with it, if somebody has.
    pub acknowledged: Option<Acknowledged>,
}

/// Says that an operator has dealt with a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Acknowledged {
    /// When.
    #[schemars(with = "Moment")]
    pub at: Timestamp,
    /// Who.
    pub by: Box<str>,
    /// What was done about it.
    pub note: Box<str>,
}

/// Is what is to be noted of a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapNote {
    /// What was done about it.
    pub text: Box<str>,
    /// What becomes of a note that is there.
    pub earlier: Earlier,
}

/// Says what becomes of a note when another one comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// It stays, and the other is refused.
    Stays,
    /// The other takes its place; the audit table has both.
    Goes,
}

/// Is what came of acknowledging a gap.
#[derive(Clone, Debug, PartialEq)]
pub enum Acknowledgement {
    /// It is noted.
    Noted,
    /// It was noted before, and that stays.
    Known(Acknowledged),
    /// The gap lasts still: what it costs is not known yet.
    StillOpen,
    /// There is no such gap.
    NoSuchGap,
}

/// Is one change that an operator made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRow {
    /// Its number.
    pub id: i64,
    /// When it was made.
    #[schemars(with = "Moment")]
    pub at: Timestamp,
    /// Who made it.
    pub who: Box<str>,
    /// What was done, in one word.
    pub action: Box<str>,
    /// To what, and what came of it.
    pub detail: Box<str>,
    /// Seals it, and all before it.
    pub hash: audit::Hash,
}

/// Is what the spool knows of a destination, configured now or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DestinationRow {
    /// Its number in this spool.
    pub id: DestinationId,
    /// Its name.
    pub name: Box<str>,
    /// Events that wait for it, retries included.
    pub pending: u64,
    /// Dead letters.
    pub dead: u64,
    /// Events delivered since the spool was made.
    pub delivered: u64,
    /// When the oldest event that waits was received.
    #[schemars(with = "Option<Moment>")]
    pub oldest_pending_at: Option<Timestamp>,
    /// Since when the operator holds deliveries back, if so.
    #[schemars(with = "Option<Moment>")]
    pub paused_at: Option<Timestamp>,
    /// The breaker, if it is open.
    pub breaker: Option<Opened>,
    /// Since when it is no longer configured, if so.
    #[schemars(with = "Option<Moment>")]
    pub orphaned_at: Option<Timestamp>,
}

/// Is what the spool knows of a subscription.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubscriptionRow {
    /// Its name.
    pub name: Box<str>,
    /// When its socket was last known to be live.
    pub alive_at: Option<Timestamp>,
    /// When its last event was received.
    pub last_event_at: Option<Timestamp>,
    /// Gaps that have ended.
    pub gaps: u64,
    /// How long they were, in milliseconds.
    pub gap_ms: u64,
    /// When the gap began that lasts still, if one does.
    pub gap_opened_at: Option<Timestamp>,
}
