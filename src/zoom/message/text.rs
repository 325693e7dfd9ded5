//! The text of a JSON string within a frame.

use std::borrow::Cow;

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
    let mut spelled = String::with_capacity(raw.get().len() + 1);
    let mut rest = raw.get();
    // So many of them end the text so far.
    let mut backslashes = 0;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        spelled.push_str(plain);
        backslashes = if plain.is_empty() { backslashes } else { 0 };
        let unit = unit(escape);
        let is_pair = matches!(unit, Some(0xd800..0xdc00))
            && matches!(escape.get(6..).and_then(self::unit), Some(0xdc00..0xe000));
        let (undone, after) = escape.split_at(match unit {
            Some(_) if is_pair => 12,
            Some(_) => 6,
            None => 2,
        });
        match unit {
            Some(half @ 0xd800..0xe000) if !is_pair => {
                if backslashes % 2 == 1 {
                    return None;
                }
                spelled.push_str(&format!("\\\\u{half:04x}"));
                backslashes = 0;
            }
            _ => {
                spelled.push_str(undone);
                backslashes = if matches!(unit, Some(0x5c)) || undone == r"\\" { backslashes + 1 } else { 0 };
            }
        }
        rest = after;
    }
    spelled.push_str(rest);
    serde_json::from_str(&spelled).ok()
}

/// Reads `\u` and four digits: a unit of UTF-16.
fn unit(escape: &str) -> Option<u16> {
    u16::from_str_radix(escape.strip_prefix("\\u")?.get(..4)?, 16).ok()
}
