//! The walk over the tree of values: what a rule asks for comes out, and what none asked for is unknown.

use std::collections::BTreeMap;

use super::entry::{Entry, is_name};
use super::file::{Node, Origin, Table, Value};
use super::review::{Place, Review};
use crate::wording::meant;

/// Walks one table.
pub(super) struct Cursor<'a> {
    review: &'a Review<'a>,
    path: String,
    separator: &'static str,
    line: Option<usize>,
    /// Every key; its value until it is taken.
    slots: BTreeMap<String, (Origin, Option<Value>)>,
    asked: Vec<&'static str>,
}

impl<'a> Cursor<'a> {
    /// Starts at the root.
    pub(super) fn root(review: &'a Review<'a>, table: Table) -> Self {
        Self::new(review, String::new(), "", None, table)
    }

    fn new(review: &'a Review<'a>, path: String, separator: &'static str, line: Option<usize>, table: Table) -> Self {
        let slots = table.into_iter().map(|(key, node)| (key, (node.origin, Some(node.value)))).collect();
        Self { review, path, separator, line, slots, asked: Vec::new() }
    }

    /// Returns the place of the table itself.
    pub(super) fn place(&self) -> Place<'a> {
        Place { review: self.review, path: self.path.clone(), line: self.line, what: None }
    }

    /// Returns the place of a key, whether it is there or not.
    pub(super) fn place_of(&self, key: &str) -> Place<'a> {
        let inside = |line| Place {
            path: format!("{}{}{}", self.path, self.separator, key.escape_debug()),
            line,
            ..self.place()
        };
        match self.slots.get(key) {
            Some((Origin::Line(line), _)) => inside(Some(*line)),
            Some((Origin::Outside(name), _)) => Place { path: name.clone(), line: None, ..self.place() },
            None => inside(self.line),
        }
    }

    /// Tells whether a key is there, rightly or wrongly filled.
    pub(super) fn has(&self, key: &str) -> bool {
        self.slots.contains_key(key)
    }

    /// Takes the value of a key, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.asked.push(key);
        let place = self.place_of(key);
        let (_, value) = self.slots.get_mut(key)?;
        Some(Entry { place, value: value.take()? })
    }

    /// Takes the value of a key that must be there; `what` tells what belongs there.
    pub(super) fn require(&mut self, key: &'static str, what: &'static str) -> Option<Entry<'a>> {
        match self.take(key) {
            Some(entry) => Some(entry.meant_as(what)),
            None => self.place_of(key).fail(format!("missing: {what}")),
        }
    }

    /// Enters a section; one that is not there is an empty one.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let (line, table) = match self.take(key) {
            None => (self.line, Table::new()),
            Some(Entry { place, value: Value::Table(table) }) => (place.line, table),
            Some(Entry { place, value }) => {
                place.fail::<Table>(format!("expected a section [{key}], found {}", value.shape()));
                (place.line, Table::new())
            }
        };
        Self::new(self.review, key.to_owned(), ".", line, table)
    }

    /// Enters the table that a key of this one holds; `what` says what belongs there.
    pub(super) fn inside(entry: Entry<'a>, what: &str) -> Option<Self> {
        let Entry { place, value } = entry;
        match value {
            Value::Table(table) => Some(Self::new(place.review, place.path, ".", place.line, table)),
            // What stands there may be a secret.
            Value::Text(_) | Value::Integer(_) | Value::List(_) | Value::Other(_) => {
                place.fail(format!("expected {what}, found {}", value.shape()))
            }
        }
    }

    /// Enters each table of a list `[[key]]`; `None` if it is no list, or none of tables.
    pub(super) fn sections(&mut self, key: &'static str) -> Option<Vec<Self>> {
        let Some(Entry { place, value }) = self.take(key) else { return Some(Vec::new()) };
        let expected = |shape| format!("expected [[{key}]], in double brackets, found {shape}");
        let items = match value {
            Value::List(items) => items,
            Value::Text(_) | Value::Integer(_) | Value::Table(_) | Value::Other(_) => {
                return place.fail(expected(value.shape()));
            }
        };
        let (alone, empty) = (items.len() == 1, items.is_empty());
        let mut sections = Vec::new();
        for (index, Node { value, origin }) in items.into_iter().enumerate() {
            let line = origin.line();
            match value {
                Value::Table(table) => {
                    let path = match table.get("name") {
                        Some(Node { value: Value::Text(name), .. }) if is_name(name) => format!("{key} {name:?}"),
                        _ if alone => key.to_owned(),
                        _ => format!("{key} {}", index + 1),
                    };
                    sections.push(Self::new(self.review, path, ": ", line, table));
                }
                Value::Text(_) | Value::Integer(_) | Value::List(_) | Value::Other(_) => {
                    let place = Place { line, ..place.clone() };
                    place.fail::<Table>(expected(value.shape()));
                }
            }
        }
        (empty || !sections.is_empty()).then_some(sections)
    }

    /// Passes over a key with all that is in it.
    pub(super) fn skip(&mut self, key: &'static str) {
        drop(self.take(key));
    }

    /// Ends the walk: what was not asked for is unknown.
    pub(super) fn finish(self) {
        for (key, (_, value)) in &self.slots {
            if value.is_some() {
                self.place_of(key).fail::<Value>(format!("unknown key: {}", self.suggest(key)));
            }
        }
    }

    fn suggest(&self, key: &str) -> String {
        match meant(key, &self.asked) {
            Some(known) => format!("did you mean {known}?"),
            None => format!("expected one of {}", self.asked.join(", ")),
        }
    }
}
