//! The text of a JSON string within a frame.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::de::{Deserializer as _, Visitor};
use serde_json::value::RawValue;

/// Returns the text of a JSON string; `None` for other values, and for text that UTF-8 cannot hold.
///
/// The escapes of a body are quotes and backslashes in the main: they are undone in one pass, into memory taken once.
pub(super) fn unescape(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    let Some((plain, mut rest)) = inner.split_once('\\') else { return Some(Cow::Borrowed(inner)) };
    let mut text = String::with_capacity(inner.len());
    text.push_str(plain);
    loop {
        let mut escaped = rest.chars();
        text.push(match escaped.next()? {
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'f' => '\u{c}',
            'r' => '\r',
            // Two of them may be one character.
            'u' => return serde_json::from_str(raw.get()).ok().map(Cow::Owned),
            same => same,
        });
        match escaped.as_str().split_once('\\') {
            Some((plain, after)) => {
                text.push_str(plain);
                rest = after;
            }
            None => {
                text.push_str(escaped.as_str());
                return Some(Cow::Owned(text));
            }
        }
    }
}

/// Returns the text of a JSON string that holds JSON and half a character, which UTF-8 cannot carry as it is.
///
/// In a string of JSON the escape of the half means the same: it is written as `JSON.stringify` does. `None` where it would
/// mean something else, for a backslash stands before it.
pub(super) fn unescape_but_halves(raw: &RawValue) -> Option<String> {
    let bytes = serde_json::Deserializer::from_str(raw.get()).deserialize_bytes(Generalized).ok()?;
    let mut text = String::with_capacity(bytes.len());
    let mut rest = &bytes[..];
    while let Err(error) = str::from_utf8(rest) {
        let (plain, half) = rest.split_at(error.valid_up_to());
        text.push_str(str::from_utf8(plain).ok()?);
        let (&[_, second, third], after) = half.split_first_chunk()?;
        if text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
            return None;
        }
        let unit = 0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f);
        write!(text, "\\u{unit:04x}").ok()?;
        rest = after;
    }
    text.push_str(str::from_utf8(rest).ok()?);
    Some(text)
}

/// Takes a JSON string as bytes: UTF-8, and three bytes of the same pattern for half a character.
struct Generalized;

impl Visitor<'_> for Generalized {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(bytes.to_vec())
    }
}
