//! ◆ JSON as it stands in a text: what is inside a value, in order, each piece a slice of the text.
//!
//! Nothing is decoded and nothing is written anew, so what is made of the pieces keeps every byte that it does not
//! mean to change: escapes, the forms of numbers, repeated keys, white space.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Is what a value holds.
pub(crate) enum Inside<'a> {
    /// An object: its keys as they are written, quotes included, and their values.
    Object(Vec<(&'a RawValue, &'a RawValue)>),
    /// An array.
    Array(Vec<&'a RawValue>),
    /// A text, a number, `true`, `false` or `null`.
    Scalar,
}

/// Reads one JSON value with nothing but white space around it; `None` when the text is something else.
pub(crate) fn value(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

/// Looks inside a value.
pub(crate) fn inside(value: &RawValue) -> Inside<'_> {
    let text = value.get();
    match text.as_bytes()[0] {
        b'{' => Inside::Object(serde_json::from_str::<Members<'_>>(text).expect("a raw value is valid").0),
        b'[' => Inside::Array(serde_json::from_str(text).expect("a raw value is valid")),
        _ => Inside::Scalar,
    }
}

/// Tells where in `text` a piece of it stands.
pub(crate) fn place(text: &str, piece: &RawValue) -> Range<usize> {
    let start = piece.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + piece.get().len()
}

struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_slices_of_the_text() {
        let text = r#" { "a" : 1e3 , "\u0061":[ "\ud83d" , {} ],"a":-0 } "#;
        let Inside::Object(members) = inside(value(text).expect("JSON")) else { panic!("an object") };
        let written: Vec<_> = members.iter().map(|(key, value)| (key.get(), value.get())).collect();
        assert_eq!(written, [(r#""a""#, "1e3"), (r#""\u0061""#, r#"[ "\ud83d" , {} ]"#), (r#""a""#, "-0")]);
        for (key, value) in members {
            assert_eq!((&text[place(text, key)], &text[place(text, value)]), (key.get(), value.get()));
        }
    }

    #[test]
    fn arrays_and_scalars_are_told_apart() {
        let items = |text| match inside(value(text).expect("JSON")) {
            Inside::Object(_) => None,
            Inside::Array(items) => Some(items.iter().map(|item| item.get()).collect::<Vec<_>>()),
            Inside::Scalar => Some(Vec::new()),
        };
        assert_eq!(items("[1, [2] ]"), Some(vec!["1", "[2]"]));
        assert_eq!(items("null"), Some(Vec::new()));
        assert_eq!(items("{}"), None);
    }

    #[test]
    fn what_is_no_json_is_no_value() {
        for text in ["", "{", "{} x", "{'a':1}", "\u{feff}{}"] {
            assert!(value(text).is_none(), "{text}");
        }
    }
}
