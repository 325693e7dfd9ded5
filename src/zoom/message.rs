//! What one text frame says.
//!
//! Every frame is an envelope, as captured from Zoom: `{"module":"...","success":true,"content":...,"header":{}}`.
//! The fields that matter are lifted out as slices of the frame; the rest is skipped and no tree is
//! built. The body of an event is copied once and never re-written.
//!
//! Nothing that arrives is lost here: what cannot be understood becomes a [`Content`] that is parked.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use self::text::{unescape, unescape_but_halves};

mod text;

/// Is what a frame says.
#[derive(Debug, PartialEq)]
pub enum Message {
    /// `build_connection` with success: Zoom takes the socket.
    Accepted,
    /// `build_connection` without success, and Zoom's words for it.
    Refused {
        /// Its `content`.
        words: Box<str>,
    },
    /// A heartbeat was answered.
    HeartbeatAnswered,
    /// A heartbeat was answered with `"success":false`.
    HeartbeatRefused,
    /// An event, or what is kept in the place of one.
    Event(Content),
    /// A module that the bridge has no use for.
    Unknown,
}

/// Is the body of an event and what could be read in it.
#[derive(PartialEq)]
pub struct Content {
    /// The `event` field; empty when there is none.
    pub kind: Box<str>,
    /// The `event_ts` field, in milliseconds since 1970.
    pub event_ts: Option<i64>,
    /// The webhook body as Zoom wrote it, but for half a character, which is its escape here; when parked, as much as could
    /// be unwrapped.
    pub body: Bytes,
    /// Why this cannot be delivered, when it cannot.
    pub parked: Option<&'static str>,
}

// Payloads must not reach a log by way of `{:?}`.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("kind", &self.kind)
            .field("bytes", &self.body.len())
            .field("parked", &self.parked)
            .finish_non_exhaustive()
    }
}

/// Reads one frame; total, whatever the bytes are.
pub fn parse(frame: &[u8]) -> Message {
    let parked = |why| Message::Event(Content::parked(frame, why));
    let Ok(text) = str::from_utf8(frame) else { return parked("frame is not text") };
    let Ok([module, success, content]) = lift(text, ["module", "success", "content"]) else {
        return parked("frame is not a json object");
    };
    let success = success.map(RawValue::get);
    match module.and_then(unescape).as_deref() {
        Some("build_connection") if success == Some("true") => Message::Accepted,
        Some("build_connection") => Message::Refused { words: words(content) },
        Some("heartbeat") if success == Some("false") => Message::HeartbeatRefused,
        Some("heartbeat") => Message::HeartbeatAnswered,
        Some("message") => Message::Event(Content::of(frame, content)),
        Some(_) if content.is_some_and(names_an_event) => parked("module is unknown, and its content names an event"),
        Some(_) => Message::Unknown,
        None => parked("frame names no module"),
    }
}

impl Message {
    /// Returns a word for it that is fit for a log line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "build_connection, accepted",
            Self::Refused { .. } => "build_connection, refused",
            Self::HeartbeatAnswered => "heartbeat",
            Self::HeartbeatRefused => "heartbeat, refused",
            Self::Event(Content { parked: None, .. }) => "message",
            Self::Event(Content { parked: Some(why), .. }) => why,
            Self::Unknown => "unknown module",
        }
    }
}

impl Content {
    fn of(frame: &[u8], content: Option<&RawValue>) -> Self {
        let Some(content) = content else { return Self::parked(frame, "message has no content") };
        match content.get().as_bytes() {
            [b'"', ..] => match unescape(content) {
                Some(text) => Self::of_body(text),
                None => Self::of_halves(frame, content),
            },
            [b'{' | b'[', ..] => Self::of_body(Cow::Borrowed(content.get())),
            _ => Self::parked(frame, "content is neither text nor an object"),
        }
    }

    /// Makes it of a text with half a character in it, which is delivered as the escape that JSON has for it.
    fn of_halves(frame: &[u8], content: &RawValue) -> Self {
        let whole = unescape_but_halves(content).map(|text| Self::of_body(Cow::Owned(text)));
        let unfit = || Self::parked(frame, "content has an unpaired surrogate, and not within a string");
        whole.filter(|content| content.parked.is_none()).unwrap_or_else(unfit)
    }

    fn of_body(body: Cow<'_, str>) -> Self {
        let (event, event_ts) = match lift(&body, ["event", "event_ts"]) {
            Ok([event, event_ts]) => (event, event_ts),
            Err(_) if serde_json::from_str::<IgnoredAny>(&body).is_ok() => (None, None),
            Err(_) => return Self::parked(body.as_bytes(), "content is not json"),
        };
        let kind = event.and_then(unescape).map_or_else(Box::default, |kind| Box::from(&*kind));
        let event_ts = event_ts.and_then(milliseconds);
        let body = match body {
            Cow::Borrowed(body) => Bytes::copy_from_slice(body.as_bytes()),
            Cow::Owned(body) => Bytes::from(body),
        };
        Self { kind, event_ts, body, parked: None }
    }

    fn parked(bytes: &[u8], why: &'static str) -> Self {
        Self { kind: Box::default(), event_ts: None, body: Bytes::copy_from_slice(bytes), parked: Some(why) }
    }
}

/// Tells whether a content looks like that of an event: should Zoom rename the module, none may go by unseen.
fn names_an_event(content: &RawValue) -> bool {
    let Content { kind, parked, .. } = Content::of(&[], Some(content));
    parked.is_none() && !kind.is_empty()
}

/// Reads `event_ts` in the spellings that a number can have: some senders quote it, some write a float.
fn milliseconds(raw: &RawValue) -> Option<i64> {
    let number = raw.get().trim_matches('"');
    // The cast saturates; a time that no calendar has is as useless as none.
    let float = || number.parse().ok().filter(|float: &f64| float.is_finite()).map(|float| float as i64);
    number.parse().ok().or_else(float).filter(|ms| Timestamp::from_millisecond(*ms).is_ok())
}

/// Puts the content of a refusal into words, whatever it is.
fn words(content: Option<&RawValue>) -> Box<str> {
    content.map_or_else(Box::default, |raw| unescape(raw).map_or_else(|| raw.get().into(), |text| Box::from(&*text)))
}

/// Lifts the named top-level fields out of a JSON object. Of repeated names the last one counts, as in JavaScript.
fn lift<'a, const N: usize>(
    text: &'a str,
    names: [&'static str; N],
) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let fields = deserializer.deserialize_map(Lift(names))?;
    deserializer.end()?;
    Ok(fields)
}

struct Lift<const N: usize>([&'static str; N]);

impl<'a, const N: usize> Visitor<'a> for Lift<N> {
    type Value = [Option<&'a RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = [None; N];
        while let Some(position) = map.next_key_seed(Position(&self.0))? {
            // Neither of the two recurses: nesting of any depth passes.
            match position.and_then(|position| fields.get_mut(position)) {
                Some(field) => *field = Some(map.next_value::<&RawValue>()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fields)
    }
}

/// Finds a key among the names. Keys are taken as bytes, for as text an unpaired surrogate would be an error.
struct Position<'n>(&'n [&'static str]);

impl<'a> DeserializeSeed<'a> for Position<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Position<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| name.as_bytes() == key))
    }
}

#[cfg(test)]
mod tests;
