//! ◆ Templates: a fresh body of any event, made of the corpus that is part of the program.
//!
//! A fresh body happens now, to somebody else: all its times move with its `event_ts`, and what names a meeting, a
//! user, a call or a file becomes another name of the same form. Equal ids stay equal, within a body and between the
//! bodies of one seed. Every other byte is that of the template: key order, escapes, the forms of numbers, white space.

mod corpus;
pub mod edit;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use self::corpus::CORPUS;
use super::dice::Dice;
use crate::json::{self, Inside};

/// Is when the bodies without an `event_ts` of their own happened, in milliseconds since 1970.
const WRITTEN: i64 = 1_785_369_357_392;
/// Digits of a time in milliseconds since 1970, from 2001 to 2286.
const MILLISECONDS: usize = 13;
/// How many digits a number has that names something: fewer are a count or a kind, more are beyond what JavaScript
/// holds exactly.
const ID_DIGITS: std::ops::RangeInclusive<usize> = 6..=15;
/// Keys that name the customer or the app: handlers may know theirs, so they stay.
const STAYS: [&str; 4] = ["account_id", "accountId", "client_id", "app_id"];
/// Keys of what is made anew for each event without being called an id.
const ANEW: [&str; 5] = ["id", "uuid", "users", "download_token", "plainToken"];
/// Divide a name into parts.
const HYPHENS: [char; 3] = ['-', '_', '.'];
/// So many characters in one piece are no word of a language.
const LONGER_THAN_WORDS: usize = 16;

/// Is one body of the corpus.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    /// Where it belongs: `meeting`, `recording`, `traps`.
    pub family: &'static str,
    /// Its own name: the event type, with a word behind a hyphen where it is another body of that type. Traps are
    /// named for what is special about them.
    pub name: &'static str,
    /// The body as it stands in the corpus.
    pub body: &'static str,
}

/// Returns the whole corpus, families and names in alphabetical order.
pub fn all() -> &'static [Template] {
    CORPUS
}

/// Finds a template by its name or, where none is called so, by its event type.
pub fn find(name: &str) -> Option<&'static Template> {
    CORPUS.iter().find(|template| template.name == name).or_else(|| CORPUS.iter().find(|of| of.kind() == name))
}

/// Returns one template for each event type of the corpus, traps apart.
pub fn one_of_each_type() -> Vec<&'static Template> {
    let mut each: Vec<&Template> = Vec::new();
    for template in CORPUS.iter().filter(|template| template.family != "traps") {
        match each.iter_mut().find(|known| known.kind() == template.kind()) {
            // The one that is named for the type is the usual form of it.
            Some(known) if template.name == template.kind() => *known = template,
            Some(_) => {}
            None => each.push(template),
        }
    }
    each
}

impl Template {
    /// Returns the event type.
    pub fn kind(&self) -> Cow<'static, str> {
        #[derive(Deserialize)]
        struct Known<'a> {
            #[serde(borrow)]
            event: Cow<'a, str>,
        }
        serde_json::from_str::<Known<'static>>(self.body).expect("every body of the corpus names its event").event
    }

    /// Makes a body that happens `now`; the same `seed` makes the same ids.
    pub fn fresh(&self, now: Timestamp, seed: u64) -> String {
        let whole = json::value(self.body).expect("the corpus is JSON");
        let happened = Timestamp::from_millisecond(happened(whole)).expect("a time of this century");
        let mut renewal = Renewal { body: self.body, later: now.duration_since(happened), seed, made: Vec::new() };
        renewal.walk("", whole);
        splice(self.body, renewal.made)
    }
}

/// Tells when a body says that it happened.
fn happened(whole: &RawValue) -> i64 {
    let Inside::Object(members) = json::inside(whole) else { return WRITTEN };
    let event_ts = members.iter().find(|(key, _)| key.get() == r#""event_ts""#);
    event_ts.and_then(|(_, value)| milliseconds(bare(value))).unwrap_or(WRITTEN)
}

/// Collects what becomes of a body: places in it, and what stands there instead.
struct Renewal {
    body: &'static str,
    later: SignedDuration,
    seed: u64,
    made: Vec<(Range<usize>, String)>,
}

impl Renewal {
    fn walk(&mut self, key: &str, value: &RawValue) {
        match json::inside(value) {
            Inside::Object(members) => members.iter().for_each(|(key, value)| self.walk(bare(key), value)),
            Inside::Array(items) => items.iter().for_each(|item| self.walk(key, item)),
            Inside::Scalar => {
                let Some(new) = self.renew(key, value) else { return };
                let place = json::place(self.body, value);
                // Quotes stay where they are.
                let quote = (place.len() - bare(value).len()) / 2;
                self.made.push((place.start + quote..place.end - quote, new));
            }
        }
    }

    /// Makes the new text of a scalar, without quotes, where it is to have one.
    fn renew(&self, key: &str, value: &RawValue) -> Option<String> {
        let text = bare(value);
        let counts_time = key == "event_ts" || key == "occurrence_id" || key.ends_with("timestamp");
        if counts_time || key == "time_stamp" {
            let later = milliseconds(text)? + i64::try_from(self.later.as_millis()).ok()?;
            return Some(later.to_string());
        }
        let is_text = value.get().starts_with('"');
        if is_text && let Some(later) = moved(text, self.later) {
            return Some(later);
        }
        let is_id = ANEW.contains(&key) || ["_id", "_uuid", "Id"].iter().any(|end| key.ends_with(end));
        let has_its_form = if is_text { names_something(text) } else { is_number_of_something(text) };
        (is_id && !STAYS.contains(&key) && has_its_form).then(|| renamed(text, self.seed))
    }
}

/// Returns a text without its quotes, and everything else as it is.
fn bare(value: &RawValue) -> &str {
    let text = value.get();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn milliseconds(text: &str) -> Option<i64> {
    (text.len() == MILLISECONDS && is_digits(text)).then(|| text.parse().ok()).flatten()
}

/// Moves a time such as `2026-07-29T23:55:57Z`, with as many digits behind the seconds as it has.
fn moved(text: &str, later: SignedDuration) -> Option<String> {
    let fraction = match text.len() {
        20 => "%Y-%m-%dT%H:%M:%SZ",
        24 => "%Y-%m-%dT%H:%M:%S.%3fZ",
        _ => return None,
    };
    let at: Timestamp = text.strip_suffix('Z').and(text.parse().ok())?;
    Some(at.checked_add(later).ok()?.strftime(fraction).to_string())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_number_of_something(text: &str) -> bool {
    ID_DIGITS.contains(&text.len()) && is_digits(text)
}

/// Tells whether a text is a name made by a machine: nothing but characters of base64, and no words.
fn names_something(text: &str) -> bool {
    let of_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_.".contains(&byte);
    text.bytes().all(of_base64) && text.split(HYPHENS).any(|part| !is_word(part))
}

fn is_word(part: &str) -> bool {
    part.len() < LONGER_THAN_WORDS && !part.bytes().any(|byte| byte.is_ascii_digit())
}

/// Makes another name of the same form; the same name and seed make the same one.
///
/// Its parts between hyphens, underscores and full stops stay where they are words (`MSG_WEB_...`). In the others
/// digits become digits and letters letters of their case, hexadecimal ones where all of them are.
fn renamed(name: &str, seed: u64) -> String {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut dice = Dice::new(name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, hash));
    let mut new = String::with_capacity(name.len());
    for part in name.split_inclusive(HYPHENS) {
        let is_hex = part.bytes().filter(u8::is_ascii_alphabetic).all(|byte| byte.is_ascii_hexdigit());
        let letters = if is_hex { 6 } else { 26 };
        let stays = is_word(part);
        for (index, byte) in part.bytes().enumerate() {
            let at = new.len();
            // A first digit that becomes 0 would make the number shorter; the digit before the padding of base64
            // holds bits that must be 0; two digits of a uuid say which kind it is.
            let first_of_number = index == 0 && at == 0 && is_digits(name);
            let before_padding = name.as_bytes().get(at + 1) == Some(&b'=');
            let kind_of_uuid = name.len() == 36 && (at == 14 || at == 19);
            let from = |first: u8, dice: &mut Dice, count| first + dice.between(0, count) as u8;
            new.push(char::from(match byte {
                _ if stays || first_of_number || before_padding || kind_of_uuid => byte,
                b'0'..=b'9' => from(b'0', &mut dice, 10),
                b'a'..=b'z' => from(b'a', &mut dice, letters),
                b'A'..=b'Z' => from(b'A', &mut dice, letters),
                other => other,
            }));
        }
    }
    new
}

/// Puts texts in the places of others; the places are in order and apart.
fn splice(body: &str, made: Vec<(Range<usize>, String)>) -> String {
    let mut new = String::with_capacity(body.len() + 16);
    let mut copied = 0;
    for (place, text) in made {
        new.push_str(&body[copied..place.start]);
        new.push_str(&text);
        copied = place.end;
    }
    new.push_str(&body[copied..]);
    new
}
