//! Which of the events that wait may start: at most one at a time about the same thing.
//!
//! A thing is *busy* while an event about it is ready or in flight; later ones wait behind it, in the order of
//! their arrival. In strict order a thing is *held* while events about it wait on the disk: later ones are sent
//! there too, to come due behind them. The disk gives them back in the order of due time and number, a page at a time,
//! so that what arrives meanwhile must not overtake the pages to come. Memory is bounded by what the lane puts in, and
//! by the number of things that are held apart: see `held`.

mod held;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};

use jiff::Timestamp;

use self::held::Table;
use super::key::Key;
use super::schedule::Kind;
use crate::config::Ordering;
use crate::event::EventId;
use crate::spool::store::Due;

/// Things that are held apart, about two megabytes of them: more than wait at a handler that now and then fails.
pub const HELD_APART: usize = 16_384;

type ByKey<V> = HashMap<Key, V, BuildHasherDefault<DefaultHasher>>;

/// Is an event that waits, with what it is about.
#[derive(Debug)]
pub struct Item {
    /// First attempt or retry.
    pub kind: Kind,
    /// The delivery.
    pub due: Due,
    /// What the event is about, if it names a thing and order matters.
    pub key: Option<Key>,
}

/// Is what happened to an event that was put in.
#[derive(Debug)]
pub enum Put {
    /// It waits its turn.
    Waits,
    /// It must go to the disk until then: an earlier event about the same thing waits for its retry.
    Held(Item, Timestamp),
}

/// Holds the events that wait in memory.
#[derive(Debug)]
pub struct Order {
    ordering: Ordering,
    ready: [VecDeque<Item>; 2],
    /// Busy things, each with what waits behind.
    busy: ByKey<VecDeque<Item>>,
    held: Table,
    blocked: usize,
    bytes: usize,
}

impl Order {
    /// Makes room for events in this order; so many things at most are held apart.
    pub fn new(ordering: Ordering, apart: usize) -> Self {
        let (busy, held) = (ByKey::default(), Table::new(apart));
        Self { ordering, ready: Default::default(), busy, held, blocked: 0, bytes: 0 }
    }

    /// Returns the order that is kept.
    pub fn ordering(&self) -> Ordering {
        self.ordering
    }

    /// Returns how many events wait in memory.
    pub fn count(&self) -> usize {
        self.ready[0].len() + self.ready[1].len() + self.blocked
    }

    /// Returns the bytes of the bodies that wait in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells whether an event of this kind may start.
    pub fn waits(&self, kind: Kind) -> bool {
        !self.ready[index(kind)].is_empty()
    }

    /// Takes note of how far ahead anything can be planned; what is due later was planned by a clock that was set since.
    pub fn look_up_to(&mut self, horizon: Timestamp) {
        self.held.look_up_to(horizon);
    }

    /// Puts an event in.
    pub fn put(&mut self, item: Item) -> Put {
        let Some(key) = item.key else {
            self.make_ready(item);
            return Put::Waits;
        };
        let until = match item.kind {
            Kind::First => self.held.follows(key),
            Kind::Retry => self.held.returns(key, &item.due),
        };
        if let Some(until) = until {
            return Put::Held(item, until);
        }
        match self.busy.get_mut(&key) {
            Some(behind) => {
                self.blocked += 1;
                self.bytes += item.due.event.body.len();
                behind.push_back(item);
            }
            None => {
                self.busy.insert(key, VecDeque::new());
                self.make_ready(item);
            }
        }
        Put::Waits
    }

    /// Takes an event out to be attempted; its thing stays busy until [`Self::ended`] or [`Self::waits_for_retry`].
    pub fn take(&mut self, kind: Kind) -> Option<Item> {
        let item = self.ready[index(kind)].pop_front()?;
        self.bytes = self.bytes.saturating_sub(item.due.event.body.len());
        Some(item)
    }

    /// Takes note that an event is settled, or that it steps aside: the next about its thing may start.
    pub fn ended(&mut self, key: Option<Key>) {
        let Some(key) = key else { return };
        let next = self.busy.get_mut(&key).and_then(VecDeque::pop_front);
        match next {
            Some(item) => {
                self.blocked -= 1;
                self.bytes = self.bytes.saturating_sub(item.due.event.body.len());
                self.make_ready(item);
            }
            None => {
                self.busy.remove(&key);
            }
        }
    }

    /// Takes note that an event waits for its retry on the disk, and returns what must follow it there, and until when:
    /// nothing, unless the order is strict.
    pub fn waits_for_retry(&mut self, key: Option<Key>, event: EventId, due: Timestamp) -> Vec<(Item, Timestamp)> {
        match (key, self.ordering) {
            (Some(key), Ordering::Strict) => {
                let behind: Vec<Item> = self.busy.remove(&key).into_iter().flatten().collect();
                self.blocked -= behind.len();
                let bytes: usize = behind.iter().map(|item| item.due.event.body.len()).sum();
                self.bytes = self.bytes.saturating_sub(bytes);
                let latest = self.held.failed(key, event, due, behind.len());
                behind.into_iter().map(|item| (item, latest)).collect()
            }
            (key, Ordering::Strict | Ordering::Object | Ordering::None) => {
                self.ended(key);
                Vec::new()
            }
        }
    }

    /// Takes note of an event that waits for its retry since before this process: the earliest about a thing
    /// holds the later ones back.
    pub fn found_waiting(&mut self, key: Option<Key>, event: EventId, due: Timestamp) {
        if let (Some(key), Ordering::Strict) = (key, self.ordering) {
            self.held.found(key, event, due);
        }
    }

    /// Takes note of an event that was to wait on the disk and does not come back from it: nothing waits for it.
    pub fn lost(&mut self, key: Option<Key>, event: EventId) {
        if let Some(key) = key {
            self.held.lost(key, event);
        }
    }

    /// Empties it, and returns what waited, oldest first.
    pub fn drain(&mut self) -> Vec<Item> {
        let behind = self.busy.drain().flat_map(|(_, behind)| behind);
        let [first, retry] = &mut self.ready;
        let mut items: Vec<Item> = first.drain(..).chain(retry.drain(..)).chain(behind).collect();
        items.sort_by_key(|item| item.due.event.id);
        (self.blocked, self.bytes) = (0, 0);
        items
    }

    fn make_ready(&mut self, item: Item) {
        self.bytes += item.due.event.body.len();
        self.ready[index(item.kind)].push_back(item);
    }
}

fn index(kind: Kind) -> usize {
    match kind {
        Kind::First => 0,
        Kind::Retry => 1,
    }
}

#[cfg(test)]
mod tests;
