//! What an event is about: the finest thing that it names.
//!
//! Events about the same thing keep their order, so the thing must be fine enough that a meeting of ten thousand
//! people is not served one by one: where an event names a participant, it is the participant within the meeting.
//! Else it is the first that an event names in the order of `Object`: the call, the engagement or the message before
//! the meeting, the occurrence (`uuid`) before the meeting that recurs (`id`). An event that names none of these is
//! about nothing, and has no order to keep.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Deserialize;
use serde_json::value::RawValue;

/// Stands for one thing. Two things may share one, which keeps an order that nobody asked for and harms nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// Returns the key of those that fall together where there are only so many.
    pub fn among(self, many: usize) -> Self {
        Self(self.0 % (many.max(1) as u64))
    }
}

/// Is an identifier as it stands in the body: some events have a string where others have a number.
type Id<'a> = Option<&'a RawValue>;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    payload: Payload<'a>,
}

/// Events of real-time media have no object: their identifiers stand in the payload itself.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    object: Option<Object<'a>>,
    #[serde(borrow)]
    meeting_uuid: Id<'a>,
    #[serde(borrow)]
    session_id: Id<'a>,
}

/// Holds what the families of events name, the finest first.
#[derive(Deserialize)]
struct Object<'a> {
    /// Phone.
    #[serde(borrow)]
    call_id: Id<'a>,
    /// Contact center.
    #[serde(borrow)]
    engagement_id: Id<'a>,
    /// Text messages; chat messages have `id`.
    #[serde(borrow)]
    message_id: Id<'a>,
    /// Occurrences of meetings and webinars, and their recordings.
    #[serde(borrow)]
    uuid: Id<'a>,
    #[serde(borrow)]
    meeting_uuid: Id<'a>,
    /// Meetings, webinars, users, channels, chat messages, rooms.
    #[serde(borrow)]
    id: Id<'a>,
    /// Scheduler and calendar.
    #[serde(borrow)]
    event_id: Id<'a>,
    #[serde(borrow)]
    schedule_id: Id<'a>,
    #[serde(borrow)]
    whiteboard_id: Id<'a>,
    /// Docs.
    #[serde(borrow)]
    file_id: Id<'a>,
    #[serde(borrow)]
    node_id: Id<'a>,
    #[serde(borrow)]
    room_id: Id<'a>,
    #[serde(borrow)]
    participant: Option<Participant<'a>>,
}

/// Names a participant, the surest first; guests leave some of these empty.
#[derive(Deserialize)]
struct Participant<'a> {
    #[serde(borrow)]
    participant_uuid: Id<'a>,
    #[serde(borrow)]
    participant_user_id: Id<'a>,
    #[serde(borrow)]
    user_id: Id<'a>,
    #[serde(borrow)]
    registrant_id: Id<'a>,
    #[serde(borrow)]
    email: Id<'a>,
}

/// Returns what an event is about; `None` when it names nothing, or is not what it seems to be.
pub fn key(body: &[u8]) -> Option<Key> {
    let Body { payload } = serde_json::from_slice(body).ok()?;
    let Some(o) = payload.object else {
        return hash([first([payload.meeting_uuid, payload.session_id]), None]);
    };
    let thing = first([
        o.call_id,
        o.engagement_id,
        o.message_id,
        o.uuid,
        o.meeting_uuid,
        o.id,
        o.event_id,
        o.schedule_id,
        o.whiteboard_id,
        o.file_id,
        o.node_id,
        o.room_id,
    ]);
    let person = o
        .participant
        .and_then(|p| first([p.participant_uuid, p.participant_user_id, p.user_id, p.registrant_id, p.email]));
    hash([thing, person])
}

/// Returns the first that names something.
fn first<'a, const N: usize>(ids: [Id<'a>; N]) -> Id<'a> {
    ids.into_iter().flatten().find(|id| !matches!(id.get(), "\"\"" | "null"))
}

/// Makes a key of identifiers; a number and its text are the same identifier.
fn hash(ids: [Id<'_>; 2]) -> Option<Key> {
    let mut hasher = DefaultHasher::new();
    let mut found = false;
    for id in ids.into_iter().flatten() {
        found = true;
        let text: Cow<'_, str> = serde_json::from_str(id.get()).unwrap_or(Cow::Borrowed(id.get()));
        text.hash(&mut hasher);
    }
    found.then(|| Key(hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_thing_has_the_same_key_however_it_is_written() {
        let text = br#"{"event":"meeting.started","payload":{"object":{"id":"86084701483"}}}"#;
        let number = br#"{"payload":{"object":{"id":86084701483}},"event":"meeting.ended"}"#;
        assert!(key(text).is_some());
        assert_eq!(key(text), key(number));
    }

    #[test]
    fn occurrence_is_finer_than_the_meeting_and_goes_before_it() {
        let body = |uuid: &str| format!(r#"{{"payload":{{"object":{{"id":1,"uuid":"{uuid}"}}}}}}"#);
        assert_ne!(key(body("a==").as_bytes()), key(body("b==").as_bytes()));
    }

    #[test]
    fn participants_of_one_meeting_are_things_of_their_own() {
        let of = |person: &str| {
            key(format!(r#"{{"payload":{{"object":{{"uuid":"m","participant":{{{person}}}}}}}}}"#).as_bytes())
        };
        let ann = r#""participant_uuid":"a","user_id":"1""#;
        let bob = r#""participant_uuid":"","user_id":"1""#;
        assert_ne!(of(ann), of(bob));
        assert_eq!(of(ann), of(r#""user_id":"2","participant_uuid":"a""#));
        assert_ne!(of(ann), key(br#"{"payload":{"object":{"uuid":"m"}}}"#));
        assert_eq!(of(""), key(br#"{"payload":{"object":{"uuid":"m"}}}"#), "who is not named is the meeting's");
    }

    #[test]
    fn calls_are_finer_than_what_they_concern() {
        let call = |id: &str| format!(r#"{{"payload":{{"object":{{"id":"user","call_id":"{id}"}}}}}}"#);
        assert_ne!(key(call("42").as_bytes()), key(call("43").as_bytes()));
    }

    #[test]
    fn events_that_name_nothing_have_no_key() {
        for body in [&b"{}"[..], br#"{"payload":{}}"#, br#"{"payload":{"object":{"id":null,"uuid":""}}}"#, b"[]", b"no"]
        {
            assert_eq!(key(body), None);
        }
    }

    #[test]
    fn families_of_the_corpus_name_what_they_are_about() {
        // What these families are about is named nowhere, or by the account that all events share.
        let nameless = ["account", "app", "chatbot", "traps"];
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/events");
        for family in std::fs::read_dir(corpus).expect("the corpus").map(|entry| entry.expect("a folder").path()) {
            let name = family.file_name().expect("a name").to_string_lossy().into_owned();
            let bodies: Vec<Vec<u8>> = std::fs::read_dir(&family)
                .expect("a folder")
                .map(|file| std::fs::read(file.expect("a file").path()).expect("readable"))
                .collect();
            let named = bodies.iter().filter(|body| key(body).is_some()).count();
            assert!(nameless.contains(&&*name) || named * 2 > bodies.len(), "{name}: {named} of {}", bodies.len());
        }
    }
}
