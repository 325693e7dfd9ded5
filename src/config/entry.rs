//! One value of the tree, read as what a rule expects.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use zeroize::Zeroizing;

use super::file::{Node, Other, Value};
use super::levels::{Levels, NotLevels};
use super::quantity::{format_duration, format_size, meant_duration, meant_size, parse_duration, parse_size};
use super::reference::Reference;
use super::review::Place;
use super::secret::Secret;

/// Shows how moments are written.
const MOMENT: &str = "\"2026-12-01T03:00:00Z\" or \"2026-12-01T04:00:00+01:00\"";

/// Is a value that was taken, with its place.
pub(super) struct Entry<'a> {
    pub(super) place: Place<'a>,
    pub(super) value: Value,
}

impl<'a> Entry<'a> {
    /// Tells what the value is for, should it be missing where it refers to.
    pub(super) fn meant_as(mut self, what: &'static str) -> Self {
        self.place.what = Some(what);
        self
    }

    /// Returns the place of the value.
    pub(super) fn place(&self) -> Place<'a> {
        self.place.clone()
    }

    /// Notes that something else was expected, and what stands there instead. Not for secrets.
    pub(super) fn mismatch<T>(&self, expected: &str) -> Option<T> {
        self.misspelt(expected, None)
    }

    /// Notes the same of a quantity, and what was meant where only its spelling is wrong.
    fn misspelt<T>(&self, expected: &str, meant: Option<&str>) -> Option<T> {
        let found = match &self.value {
            Value::Text(text) => format!("{text:?}"),
            Value::Integer(number) => number.to_string(),
            Value::List(_) | Value::Table(_) | Value::Other(_) => self.value.shape().to_owned(),
        };
        let meant = meant.map_or(String::new(), |meant| format!(": write {meant:?}"));
        self.place.fail(format!("expected {expected}, found {found}{meant}"))
    }

    /// Reads a string that stands there itself.
    pub(super) fn plain(self) -> Option<String> {
        match self.value {
            Value::Text(text) if text.is_empty() => self.place.fail("must not be empty"),
            Value::Text(text) => Some(text),
            Value::Integer(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => self.mismatch("a string"),
        }
    }

    /// Reads a string, or the variable that it refers to.
    pub(super) fn text(self) -> Option<String> {
        let Value::Table(table) = self.value else { return self.plain() };
        match Reference::of(table) {
            Ok(Reference::Variable(name)) => self.place.variable(&name).map(str::to_owned),
            Ok(Reference::Stored(_)) => {
                self.place.fail("only secrets are kept in files, credentials and commands: use { env = \"NAME\" }")
            }
            Err(found) => self.place.fail(format!("expected a string or {{ env = \"NAME\" }}, found {found}")),
        }
    }

    /// Reads a secret: from where it is kept or, with a warning, as it stands there.
    pub(super) fn secret(self) -> Option<Secret> {
        let place = self.place;
        let expected = |found: &str| format!("expected {}, found {found}", Reference::FORMS);
        let secret = match self.value {
            Value::Table(table) => match Reference::of(table) {
                Ok(Reference::Variable(name)) => Zeroizing::new(place.variable(&name)?.to_owned()),
                Ok(Reference::Stored(stored)) => place.stored(&stored)?,
                Err(found) => return place.fail(expected(&found)),
            },
            Value::Text(text) => {
                if place.line.is_some() {
                    place.warn(format!("the secret stands in the file itself: better {}", Reference::FORMS));
                }
                Zeroizing::new(text)
            }
            Value::Integer(_) | Value::List(_) | Value::Other(_) => return place.fail(expected(self.value.shape())),
        };
        if secret.trim().is_empty() {
            let what = if secret.is_empty() { "is empty" } else { "is nothing but blanks" };
            return place.fail(format!("the secret {what}"));
        }
        if secret.contains(char::is_control) {
            return place.fail("a secret is one line of text: take out line breaks and control characters");
        }
        Some(Secret::new(secret.as_str()))
    }

    /// Reads the name of a subscription, a destination or a group.
    pub(super) fn name(self) -> Option<Arc<str>> {
        match self.as_word().filter(|name| is_name(name)) {
            Some(name) => Some(name.into()),
            None => self.mismatch("a name of at most 64 characters from a-z, 0-9, - and _"),
        }
    }

    /// Reads one of some words.
    pub(super) fn choice<T: Copy>(self, words: &[(&str, T)]) -> Option<T> {
        let chosen = self.as_word().and_then(|text| words.iter().find(|(word, _)| *word == text));
        match chosen {
            Some((_, meaning)) => Some(*meaning),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
                self.mismatch(&format!("one of {}", words.join(", ")))
            }
        }
    }

    /// Reads how much is logged.
    pub(super) fn levels(self) -> Option<Levels> {
        let Some(text) = self.as_word() else { return self.mismatch("a level such as \"info\"") };
        match text.parse() {
            Ok(levels) => Some(levels),
            Err(error) => self.place.fail(NotLevels::to_string(&error)),
        }
    }

    /// Reads a duration within a range.
    pub(super) fn duration(self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let duration = self.as_word().and_then(parse_duration);
        let [least, most] = [range.start(), range.end()].map(|end| format_duration(*end));
        match duration.filter(|duration| range.contains(duration)) {
            Some(duration) => Some(duration),
            None => {
                let meant = self.as_word().and_then(meant_duration);
                let meant = meant.filter(|meant| parse_duration(meant).is_some_and(|meant| range.contains(&meant)));
                let expected = format!("a duration from {least} to {most}, such as \"250ms\", \"10s\" or \"72h\"");
                self.misspelt(&expected, meant.as_deref())
            }
        }
    }

    /// Reads a moment: an RFC 3339 time with its offset, in quotes or as TOML has them.
    pub(super) fn moment(self) -> Option<Timestamp> {
        let text = match &self.value {
            Value::Text(text) | Value::Other(Other::Time(text)) => text,
            Value::Integer(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
                return self.mismatch(&format!("a time with its offset, such as {MOMENT}"));
            }
        };
        if let Ok(moment) = text.parse() {
            return Some(moment);
        }
        // A local time is another moment on another machine.
        let local = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from));
        match local {
            Ok(time) => self.place.fail(format!(
                "{text} has no offset, so it may be any of 24 hours: write \"{time}Z\" if it is meant in UTC, or end it \
                 with the offset, such as \"{time}+01:00\""
            )),
            Err(_) => self.place.fail(format!("expected a time with its offset, such as {MOMENT}, found {text:?}")),
        }
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(self) -> Option<bool> {
        match self.value {
            Value::Other(Other::True) => Some(true),
            Value::Other(Other::False) => Some(false),
            Value::Text(_) | Value::Integer(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
                self.mismatch("true or false")
            }
        }
    }

    /// Reads a size in bytes within a range.
    pub(super) fn size(self, range: RangeInclusive<u64>) -> Option<u64> {
        let size = match &self.value {
            Value::Text(text) => parse_size(text),
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            Value::List(_) | Value::Table(_) | Value::Other(_) => None,
        };
        let [least, most] = [range.start(), range.end()].map(|end| format_size(*end));
        match size.filter(|size| range.contains(size)) {
            Some(size) => Some(size),
            None => {
                let meant = self.as_word().and_then(meant_size);
                let meant = meant.filter(|meant| parse_size(meant).is_some_and(|meant| range.contains(&meant)));
                self.misspelt(
                    &format!("a size from {least} to {most}, such as \"512MiB\" or \"2GiB\""),
                    meant.as_deref(),
                )
            }
        }
    }

    /// Reads a whole number within a range.
    pub(super) fn count(self, range: RangeInclusive<usize>) -> Option<usize> {
        let count = match &self.value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            Value::Text(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => None,
        };
        match count.filter(|count| range.contains(count)) {
            Some(count) => Some(count),
            None => self.mismatch(&format!("a whole number from {} to {}", range.start(), range.end())),
        }
    }

    /// Looks at the value as a string.
    pub(super) fn as_word(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Integer(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => None,
        }
    }

    /// Opens a list; `what` tells of what.
    pub(super) fn list(self, what: &str) -> Option<Vec<Self>> {
        let Value::List(items) = self.value else { return self.mismatch(&format!("a list of {what}")) };
        let entry = |(index, node): (usize, Node)| {
            let path = format!("{}, entry {}", self.place.path, index + 1);
            Self { place: Place { path, line: node.origin.line(), ..self.place.clone() }, value: node.value }
        };
        Some(items.into_iter().enumerate().map(entry).collect())
    }

    /// Opens a table whose keys are the file's own; gives back what is none.
    pub(super) fn table(self) -> Result<Vec<(String, Self)>, Self> {
        let Value::Table(table) = self.value else { return Err(self) };
        let entry = |(key, node): (String, Node)| {
            let path = format!("{}, {}", self.place.path, key.escape_debug());
            let place = Place { path, line: node.origin.line(), ..self.place.clone() };
            (key, Self { place, value: node.value })
        };
        Ok(table.into_iter().map(entry).collect())
    }

    /// Reads the path of a file of certificates, and looks whether it holds any.
    pub(super) fn certificates(self) -> Option<PathBuf> {
        let place = self.place();
        let path = PathBuf::from(self.text()?);
        let text = place.file(&path)?;
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return place.fail(format!("the file {} holds no certificate in PEM form", path.display()));
        }
        Some(path)
    }
}

/// Tells whether a text may name a subscription, a destination or a group.
pub(super) fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(legal)
}
