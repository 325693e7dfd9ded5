//! ◆ The text by which an event is found: the topic and the ids that its body names.
//!
//! Names of people, their addresses and all other contents of a payload are no part of it. What is kept and what is
//! looked for are brought to one form, [`fold`], so that they meet whatever their script and spelling.

pub mod summary;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Bytes of topics, and of ids, that are kept of one event: a topic of Zoom's has 200 characters at most.
const BYTES: usize = 400;
/// What is longer is no id.
const ID_BYTES: usize = 100;
/// The longest text to look for, in characters.
const LONGEST: usize = 200;
/// The shortest beginning of a request id that is taken for one: shorter ones are found in every other event by chance.
const REQUEST_ID: usize = 8;

/// Returns the topics and ids of a body, folded, each on a line of its own; total, whatever the bytes are.
///
/// An id is a member called `id` or `uuid`, or whose name ends so (`meeting_id`, `messageId`), anywhere in the
/// payload, with a text or a number; but that of the account, which all events share, and those that are addresses.
pub fn of(body: &[u8]) -> String {
    let mut found = Found { topics: String::with_capacity(2 * BYTES + 1), ids: String::with_capacity(BYTES) };
    // What was read before an error counts.
    let _ = Walk { found: &mut found, of: Name::Root }.deserialize(&mut serde_json::Deserializer::from_slice(body));
    if !found.topics.is_empty() && !found.ids.is_empty() {
        found.topics.push('\n');
    }
    found.topics + &found.ids
}

/// Brings a text to the form in which texts are compared: small letters without accents, compatible characters made
/// alike (`Ａ` is `a`, `ﬁ` is `fi`), `ß` as `ss`, control characters as spaces. Marks of other scripts are kept: `が` is
/// not `か`.
pub fn fold(text: &str) -> String {
    if is_visible_ascii(text) {
        return text.to_ascii_lowercase();
    }
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let parts = DecomposingNormalizerBorrowed::new_nfkd();
    let letters = parts.normalize_iter(text.chars().map(visible)).filter(|c| !('\u{300}'..='\u{36f}').contains(c));
    let small = letters.flat_map(char::to_lowercase).filter(|c| !('\u{300}'..='\u{36f}').contains(c));
    let alike = small.flat_map(|c| match c {
        'ß' => ['s', 's'].into_iter().take(2),
        'ς' => ['σ', 'σ'].into_iter().take(1),
        c => [c, c].into_iter().take(1),
    });
    ComposingNormalizerBorrowed::new_nfkc().normalize_iter(alike).collect()
}

/// Tells whether folding has nothing to do but to make letters small, as with nearly every id.
fn is_visible_ascii(text: &str) -> bool {
    // Without an early end the bytes are looked at many at a time.
    text.bytes().fold(true, |is, byte| is & matches!(byte, b' '..=b'~'))
}

/// Tells that folding changes nothing, where that is seen at once.
fn is_folded(text: &str) -> bool {
    text.bytes().fold(true, |is, byte| is & matches!(byte, b' '..=b'@' | b'['..=b'~'))
}

/// Is a text to look for: words, each of which must be found.
#[derive(Clone, PartialEq, Eq)]
pub struct Words {
    asked: Box<str>,
    words: Box<[Word]>,
}

#[derive(Clone, PartialEq, Eq)]
struct Word {
    folded: Box<str>,
    /// The event that it is the number of.
    event: Option<u64>,
    /// The beginning of a request id, if it may be one; hyphens will do.
    request_id: Option<Box<str>>,
}

/// Is what is known of an event without its payload.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its number.
    pub id: u64,
    /// Its type.
    pub kind: &'a str,
    /// Its request id.
    pub request_id: &'a str,
}

impl Words {
    /// Tells whether every word is in the text of an event or in its type, is its number, or begins its request id.
    pub fn fit(&self, facts: Facts<'_>, text: &str) -> bool {
        self.words.iter().all(|word| {
            text.contains(&*word.folded)
                || word.event == Some(facts.id)
                || word.request_id.as_ref().is_some_and(|id| facts.request_id.starts_with(&**id))
                || facts.kind.contains(&*word.folded)
                || (!is_folded(facts.kind) && fold(facts.kind).contains(&*word.folded))
        })
    }
}

/// Says that a text cannot be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {LONGEST} characters to look for")]
pub struct NothingToFind;

impl FromStr for Words {
    type Err = NothingToFind;

    fn from_str(text: &str) -> Result<Self, NothingToFind> {
        let words: Box<[Word]> = fold(text).split_whitespace().map(Word::new).collect();
        if words.is_empty() || text.chars().count() > LONGEST {
            return Err(NothingToFind);
        }
        Ok(Self { asked: text.into(), words })
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.asked)
    }
}

// What somebody looks for may be what a payload holds.
impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

impl Word {
    fn new(folded: &str) -> Self {
        let request_id = (folded.len() >= REQUEST_ID).then(|| folded.replace('-', "_").into());
        Self { folded: folded.into(), event: folded.parse().ok(), request_id }
    }
}

struct Found {
    topics: String,
    ids: String,
}

impl Found {
    /// Keeps a piece, unless it is known or there is no room.
    fn add(&mut self, name: Name, text: &str) {
        let list = match name {
            Name::Topic => &mut self.topics,
            Name::Id if text.len() <= ID_BYTES && !text.contains('@') => &mut self.ids,
            Name::Root | Name::Payload | Name::Other | Name::Id => return,
        };
        // Most need no copy: that letters become small is seen to where they are kept.
        let folded = if is_visible_ascii(text) { Cow::Borrowed(text) } else { Cow::Owned(fold(text)) };
        let piece = folded.trim();
        if piece.is_empty() || list.lines().any(|known| known.eq_ignore_ascii_case(piece)) {
            return;
        }
        let room = BYTES.saturating_sub(list.len() + usize::from(!list.is_empty()));
        let end = piece.floor_char_boundary(room);
        // A topic that is cut is found by its beginning; half an id is none.
        if end == 0 || (name == Name::Id && end < piece.len()) {
            return;
        }
        if !list.is_empty() {
            list.push('\n');
        }
        let begin = list.len();
        list.push_str(&piece[..end]);
        list[begin..].make_ascii_lowercase();
    }
}

/// Says what a value is, by the name of its member.
#[derive(Clone, Copy, PartialEq)]
enum Name {
    /// The body itself.
    Root,
    /// What the body has to say; nothing beside it is looked at.
    Payload,
    Topic,
    Id,
    Other,
}

impl Name {
    fn of(name: &str) -> Self {
        match name {
            "payload" => Self::Payload,
            "topic" => Self::Topic,
            "account_id" | "accountId" => Self::Other,
            "id" | "uuid" => Self::Id,
            _ if ["_id", "_uuid", "Id", "Uuid"].iter().any(|end| name.ends_with(end)) => Self::Id,
            _ => Self::Other,
        }
    }
}

/// Goes through a value and all that is in it.
struct Walk<'a> {
    found: &'a mut Found,
    of: Name,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(MemberName)? {
            if self.of == Name::Root && name != Name::Payload {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Walk { found: &mut *self.found, of: name })?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Walk { found: &mut *self.found, of: Name::Other })?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.found.add(self.of, text);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        if self.of == Name::Id {
            self.found.add(self.of, &number.to_string());
        }
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        if self.of == Name::Id {
            self.found.add(self.of, &number.to_string());
        }
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

struct MemberName;

impl<'de> DeserializeSeed<'de> for MemberName {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberName {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name::of(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FACTS: Facts<'static> =
        Facts { id: 4711, kind: "meeting.started", request_id: "31a16e38_5003_4ea6_84ec_a77d2be62c9c" };

    #[test]
    fn topic_and_ids_are_taken_and_nothing_else() {
        let body = r#"{"event":"meeting.participant_joined","event_id":"outside","payload":{"account_id":"acme",
          "object":{"uuid":"Ab+1==","id":86084701483,"topic":" Wöchentlich\n\tALLE ","host_email":"ann@example.com",
            "calendar_id":"ann@example.com","hide_caller_id":true,"start_time":"2026-07-30","join":{"messageId":"M-1"},
            "participant":{"user_name":"Ann Ek","user_id":"16778240","participant_uuid":"","email":"ann@example.com"},
            "recording_files":[{"id":"r1","meeting_id":"Ab+1=="},{"id":"r2"}]}},"download_token":"secret"}"#;
        assert_eq!(of(body.as_bytes()), "wochentlich  alle\nab+1==\n86084701483\nm-1\n16778240\nr1\nr2");
    }

    #[test]
    fn text_of_an_event_is_bounded_however_much_it_names() {
        let ids: Vec<String> = (0..1000).map(|n| format!(r#"{{"id":"id-{n}"}}"#)).collect();
        let body = format!(
            r#"{{"payload":{{"object":{{"files":[{}],"id":"{}","topic":"{}"}}}}}}"#,
            ids.join(","),
            "x".repeat(ID_BYTES + 1),
            "週次".repeat(200)
        );
        let text = of(body.as_bytes());
        assert!(text.len() <= 2 * BYTES + 1 && text.starts_with("週次週次"), "{} bytes", text.len());
        assert!(text.contains("\nid-0\n") && !text.contains("xxx") && !text.contains("id-999"));
        assert!(text.lines().skip(1).all(|id| ids.contains(&format!(r#"{{"id":"{id}"}}"#))), "no id is cut: {text}");
    }

    #[test]
    fn what_is_no_event_has_no_text_or_what_could_be_read_of_it() {
        for body in [&b""[..], b"[]", b"no json", b"7", br#"{"payload":null}"#, b"\xff\xfe", b"{}"] {
            assert_eq!(of(body), "");
        }
        assert_eq!(of(br#"{"payload":{"object":{"topic":"Cut","id":"#), "cut");
        let deep = format!(r#"{{"payload":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(of(deep.as_bytes()), "");
    }

    #[test]
    fn spellings_of_one_text_are_found_by_each_other() {
        let cases = [
            ("Café", "CAFE\u{301}"),
            ("Straße", "STRASSE"),
            ("ＡＢＣ", "abc"),
            ("ｶﾞｲﾄﾞ", "ガイド"),
            ("İstanbul", "istanbul"),
            ("ΟΔΟΣ", "οδος"),
            ("Ёлка", "елка"),
            ("한글", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}"),
            ("ﬁnal", "FINAL"),
            ("週次レビュー", "週次レビュー"),
        ];
        for (one, other) in cases {
            assert_eq!(fold(one), fold(other));
        }
        assert_ne!(fold("が"), fold("か"), "another sound");
        assert_ne!(fold("週次"), fold("週末"));
    }

    #[test]
    fn every_word_must_be_found_somewhere() {
        let text = "wochentlicher stand\n86084701483\nab+1==";
        let fits = |words: &str| words.parse::<Words>().expect("words").fit(FACTS, text);
        for found in [
            "Wöchentlich",
            "stand  WOCHEN",
            "860 8470 1483",
            "AB+1",
            "meeting.START",
            "4711",
            "31A16E38-5003",
            "started stand",
        ] {
            assert!(fits(found), "{found}");
        }
        for missing in ["wochen sitzung", "471", "31a16e3", "5003_4ea6_84ec", "standmeeting"] {
            assert!(!fits(missing), "{missing}");
        }
    }

    #[test]
    fn words_are_some_and_not_too_many() {
        assert_eq!(" \t".parse::<Words>(), Err(NothingToFind));
        assert_eq!("ü".repeat(LONGEST + 1).parse::<Words>(), Err(NothingToFind));
        let words: Words = "ü".repeat(LONGEST).parse().expect("words");
        assert_eq!(words.to_string(), "ü".repeat(LONGEST));
        assert!(!format!("{words:?}").contains('ü'));
    }

    #[test]
    fn events_of_the_corpus_are_found_by_their_topic() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/events");
        let mut topics = 0;
        for folder in std::fs::read_dir(corpus).expect("the corpus") {
            for file in std::fs::read_dir(folder.expect("a folder").path()).expect("a folder") {
                let body = std::fs::read(file.expect("a file").path()).expect("readable");
                let Ok(value) = serde_json::from_slice::<serde_json::Value>(&body) else { continue };
                let Some(topic) = value["payload"]["object"]["topic"].as_str() else { continue };
                let Ok(words) = topic.parse::<Words>() else { continue };
                assert!(words.fit(FACTS, &of(&body)), "{topic}");
                topics += 1;
            }
        }
        assert!(topics > 30, "{topics}");
    }

    proptest! {
        #[test]
        fn folding_again_changes_nothing(text in any::<String>()) {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }

        #[test]
        fn short_cuts_of_folding_change_nothing(
            texts in proptest::collection::vec("[ -~]{0,12}|[\\x00-\\x7f]{0,12}|\\PC{0,6}|[aAäÄ \n]{0,3}", 0..8),
        ) {
            for text in &texts {
                prop_assert_eq!(fold(text), slowly_folded(text));
                prop_assert!(!is_folded(text) || slowly_folded(text) == *text);
            }
            let mut known: Vec<String> = Vec::new();
            for text in texts.iter().filter(|text| !text.contains('@')) {
                let piece = slowly_folded(text).trim().to_owned();
                if !piece.is_empty() && !known.contains(&piece) {
                    known.push(piece);
                }
            }
            let ids: Vec<_> = texts.iter().map(|id| serde_json::json!({ "id": id })).collect();
            let body = serde_json::json!({ "payload": ids }).to_string();
            prop_assert_eq!(of(body.as_bytes()), known.join("\n"));
        }

        #[test]
        fn any_bytes_have_a_bounded_text(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(of(&bytes).len() <= 2 * BYTES + 1);
        }

        #[test]
        fn topic_is_found_by_any_part_of_it(topic in "[^\\p{C}]{1,60}", from in 0..60_usize, length in 1..20_usize) {
            let part: String = topic.chars().skip(from).take(length).collect();
            let body = serde_json::json!({ "payload": { "object": { "topic": topic } } }).to_string();
            if let Ok(words) = part.parse::<Words>() {
                // A part may begin with what belongs to the letter before it, as a mark of Hangul does.
                if fold(&topic).contains(&fold(&part)) {
                    prop_assert!(words.fit(FACTS, &of(body.as_bytes())));
                }
            }
        }
    }

    /// Folds as [`fold`] says it, character by character.
    fn slowly_folded(text: &str) -> String {
        let is_accent = |c: &char| ('\u{300}'..='\u{36f}').contains(c);
        let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let parts: String = DecomposingNormalizerBorrowed::new_nfkd().normalize_iter(visible).collect();
        let letters: String = parts.chars().filter(|c| !is_accent(c)).flat_map(char::to_lowercase).collect();
        let alike = letters.replace('ß', "ss").replace('ς', "σ");
        let alike: String = alike.chars().filter(|c| !is_accent(c)).collect();
        ComposingNormalizerBorrowed::new_nfkc().normalize(&alike).into_owned()
    }
}
