//! ◆ Sets one field of a body and leaves every other byte as it is.

use std::str::FromStr;

use serde_json::value::RawValue;

use super::splice;
use crate::json::{self, Inside};

/// Says what a field is to hold: `payload.object.topic=Stand-up`.
///
/// The value is text, unless it reads as JSON: `5` is a number, `"5"` a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    path: Vec<String>,
    /// The value as JSON.
    value: String,
}

/// Says why a text is no edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected PATH=VALUE such as `payload.object.topic=Stand-up`")]
pub struct NotAnEdit;

/// Says why a field cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The body is no JSON.
    #[error("the body is not JSON: no field of it can be set")]
    NotJson,
    /// Something on the way holds no fields.
    #[error("`{0}` is neither an object nor an array: it has no field to set")]
    NoFields(String),
    /// The array is shorter.
    #[error("`{0}` is not there: expected the number of an item of the array, from 0 on")]
    NoSuchItem(String),
}

impl FromStr for Edit {
    type Err = NotAnEdit;

    fn from_str(text: &str) -> Result<Self, NotAnEdit> {
        let (path, value) = text.split_once('=').ok_or(NotAnEdit)?;
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(NotAnEdit);
        }
        let value = json::value(value).map_or_else(|| written(value), |value| value.get().to_owned());
        Ok(Self { path, value })
    }
}

impl Edit {
    /// Sets the field. One that is not there becomes the last of its object, with the objects that it needs around it.
    ///
    /// Of keys that are repeated, the last is set: it is the one that readers see.
    ///
    /// # Errors
    /// When the body is not JSON, or the path leads through something that holds no fields.
    pub fn apply(&self, body: &str) -> Result<String, EditError> {
        let mut at = json::value(body).ok_or(EditError::NotJson)?;
        for (depth, name) in self.path.iter().enumerate() {
            let found = match json::inside(at) {
                Inside::Object(members) => {
                    let Some(found) = members.iter().rev().find(|(key, _)| is(key, name)) else {
                        return Ok(self.append(body, at, members.last().map(|(_, value)| *value), depth));
                    };
                    found.1
                }
                Inside::Array(items) => {
                    let item = name.parse::<usize>().ok().and_then(|number| items.get(number).copied());
                    item.ok_or_else(|| EditError::NoSuchItem(self.way(depth + 1)))?
                }
                Inside::Scalar => return Err(EditError::NoFields(self.way(depth))),
            };
            at = found;
        }
        Ok(splice(body, vec![(json::place(body, at), self.value.clone())]))
    }

    /// Tells which part of the path a body lacks, if any: it would be added.
    pub fn missing(&self, body: &str) -> Option<String> {
        let mut at = json::value(body)?;
        for (depth, name) in self.path.iter().enumerate() {
            at = match json::inside(at) {
                Inside::Object(members) => match members.iter().rev().find(|(key, _)| is(key, name)) {
                    Some(found) => found.1,
                    None => return Some(self.way(depth + 1)),
                },
                Inside::Array(items) => name.parse::<usize>().ok().and_then(|number| items.get(number).copied())?,
                Inside::Scalar => return None,
            };
        }
        None
    }

    /// Adds what is missing of the path behind the last member of an object.
    fn append(&self, body: &str, object: &RawValue, last: Option<&RawValue>, depth: usize) -> String {
        let (first, inner) = self.path[depth..].split_first().expect("something of the path is missing");
        let opened: String = inner.iter().map(|name| format!("{{{}:", written(name))).collect();
        let member = format!("{}:{opened}{}{}", written(first), self.value, "}".repeat(inner.len()));
        let (at, member) = match last {
            Some(last) => (json::place(body, last).end, format!(",{member}")),
            None => (json::place(body, object).start + 1, member),
        };
        splice(body, vec![(at..at, member)])
    }

    fn way(&self, depth: usize) -> String {
        self.path[..depth].join(".")
    }
}

fn is(key: &RawValue, name: &str) -> bool {
    serde_json::from_str::<String>(key.get()).is_ok_and(|key| key == name)
}

fn written(text: &str) -> String {
    serde_json::to_string(text).expect("text serialises")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{ "event" : "e","payload":{"object":{"topic":"caf\u00e9","n":1e3,"list":[{"a":1},2]},"empty":{},"":0}, "event_ts":1 }"#;

    #[test]
    fn field_that_is_there_is_replaced_and_nothing_else() {
        let cases = [
            ("event=meeting.ended", r#""e""#, r#""meeting.ended""#),
            ("payload.object.topic=Über \"x\"", r#""caf\u00e9""#, r#""Über \"x\"""#),
            ("payload.object.n=5.0", "1e3", "5.0"),
            ("payload.object.n=\"5\"", "1e3", r#""5""#),
            ("payload.object.n= {\"a\": [1]} ", "1e3", r#"{"a": [1]}"#),
            ("payload.object.n=a=b", "1e3", r#""a=b""#),
            ("payload.object.n=", "1e3", r#""""#),
            ("payload.object.list.0.a=null", r#""a":1"#, r#""a":null"#),
            ("payload.object.list.1=true", ",2]", ",true]"),
        ];
        for (edit, old, new) in cases {
            assert_eq!(apply(edit, BODY), Ok(BODY.replacen(old, new, 1)), "{edit}");
        }
    }

    #[test]
    fn field_that_is_missing_becomes_the_last_of_its_object() {
        let cases = [
            ("payload.object.host=h", "2]}", r#"2],"host":"h"}"#),
            ("payload.empty.a.b=1", "{}", r#"{"a":{"b":1}}"#),
            ("download_token=t", r#""event_ts":1 "#, r#""event_ts":1,"download_token":"t" "#),
        ];
        for (edit, old, new) in cases {
            assert_eq!(apply(edit, BODY), Ok(BODY.replacen(old, new, 1)), "{edit}");
        }
    }

    #[test]
    fn of_repeated_keys_the_last_is_set() {
        assert_eq!(apply("a=3", r#"{"a":1,"\u0061":2}"#).as_deref(), Ok(r#"{"a":1,"\u0061":3}"#));
    }

    #[test]
    fn path_through_a_scalar_or_past_an_array_is_refused() {
        let no_fields = |way: &str| Err(EditError::NoFields(way.to_owned()));
        assert_eq!(apply("payload.object.topic.x=1", BODY), no_fields("payload.object.topic"));
        let no_item = |way: &str| Err(EditError::NoSuchItem(way.to_owned()));
        assert_eq!(apply("payload.object.list.2=1", BODY), no_item("payload.object.list.2"));
        assert_eq!(apply("payload.object.list.a.b=1", BODY), no_item("payload.object.list.a"));
        assert_eq!(apply("a=1", "not json"), Err(EditError::NotJson));
    }

    #[test]
    fn what_is_no_edit_is_refused() {
        for text in ["", "payload", "=x", "a..b=1", ".a=1"] {
            assert_eq!(text.parse::<Edit>(), Err(NotAnEdit), "{text}");
        }
    }

    fn apply(edit: &str, body: &str) -> Result<String, EditError> {
        edit.parse::<Edit>().expect("an edit").apply(body)
    }
}
