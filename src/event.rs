//! The event: what Zoom said, byte for byte, and the names we give it.
//!
//! An event is [`Received`] when a socket has handed it over and an [`Event`] once the spool has
//! stored it. Between the two it gains its identity: a sequence number, the request id that every
//! delivery attempt will carry, and the digest by which repeats are recognised.

pub mod family;
pub mod text;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::schema;

/// Is the position of an event in the spool: from 1 upward, never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventId(pub u64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Is the `x-zm-request-id` of an event: made once, the same on every attempt.
///
/// Its text is 36 characters, hexadecimal groups of 8, 4, 4, 4 and 12 joined by underscores, as
/// captured from Zoom's own deliveries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// Makes a request id of a random (version 4) UUID.
    pub fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Returns the UUID behind the text.
    pub fn uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
        self.0.hyphenated().encode_lower(&mut buffer);
        buffer.iter_mut().filter(|byte| **byte == b'-').for_each(|byte| *byte = b'_');
        f.write_str(str::from_utf8(&buffer).expect("digits and underscores"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for RequestId {
    fn schema_name() -> Cow<'static, str> {
        "RequestId".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::text("^[0-9a-f]{8}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{4}_[0-9a-f]{12}$")
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Says that a text is not a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a request id: expected hexadecimal groups of 8, 4, 4, 4 and 12 joined by underscores")]
pub struct NotARequestId;

impl FromStr for RequestId {
    type Err = NotARequestId;

    fn from_str(text: &str) -> Result<Self, NotARequestId> {
        let uuid = Uuid::try_parse(&text.replace('_', "-")).map_err(|_| NotARequestId)?;
        let id = Self(uuid);
        if id.to_string() == text { Ok(id) } else { Err(NotARequestId) }
    }
}

/// Is the SHA-256 of a body; where bodies are encrypted at rest, their HMAC-SHA256 under a secret key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Computes the digest of a body.
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// Returns the first eight bytes as a number, enough to find a candidate but not to prove one.
    pub fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> Cow<'static, str> {
        "Digest".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::text(schema::SHA256)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut bytes).map_err(de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// Is what a socket handed over, before the spool has given it an identity.
#[derive(Clone)]
pub struct Received {
    /// The name of the subscription that it came through.
    pub subscription: Arc<str>,
    /// The `event` field of the body, such as `meeting.started`; empty when the body names none.
    pub kind: Box<str>,
    /// The `event_ts` field of the body, in milliseconds since 1970; some events have none.
    pub event_ts: Option<i64>,
    /// When the frame was read from the socket.
    pub received_at: Timestamp,
    /// The webhook body exactly as Zoom wrote it, or what could not be understood when it is parked.
    pub body: Bytes,
    /// Why this cannot be delivered as an event, when it cannot: it is kept for the operator.
    pub parked: Option<&'static str>,
}

/// Is an event that the spool has stored.
#[derive(Clone)]
pub struct Event {
    /// Position in the spool.
    pub id: EventId,
    /// The `x-zm-request-id` of every attempt.
    pub request_id: RequestId,
    /// The name of the subscription that it came through first.
    pub subscription: Arc<str>,
    /// The `event` field of the body; empty when the body names none.
    pub kind: Box<str>,
    /// The `event_ts` field of the body, in milliseconds since 1970.
    pub event_ts: Option<i64>,
    /// When the frame was read from the socket.
    pub received_at: Timestamp,
    /// The webhook body exactly as Zoom wrote it; empty where it is unreadable.
    pub body: Bytes,
    /// Why the body cannot be read, if it cannot: it was encrypted, or its place in the spool is damaged.
    pub unreadable: Option<&'static str>,
}

// Payloads must not reach a log by way of `{:?}`: both types show the size of the body only.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("subscription", &self.subscription)
            .field("kind", &self.kind)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_reads_back_what_it_prints() {
        let id = RequestId::new(Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef));
        assert_eq!(id.to_string(), "12345678_9abc_4def_8123_456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn request_id_refuses_other_spellings() {
        for text in ["", "12345678-9abc-4def-8123-456789abcdef", "12345678_9ABC_4DEF_8123_456789ABCDEF"] {
            assert_eq!(text.parse::<RequestId>(), Err(NotARequestId), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_payload() {
        let received = Received {
            subscription: "main".into(),
            kind: "meeting.started".into(),
            event_ts: None,
            received_at: Timestamp::UNIX_EPOCH,
            body: Bytes::from_static(b"canary"),
            parked: None,
        };
        let shown = format!("{received:?}");
        assert!(shown.contains("meeting.started") && !shown.contains("canary"), "{shown}");
    }
}
