//! Things of which events wait on the disk, and when one of these may come back.
//!
//! What is known of a thing is a few words, however many of its events wait. Things are held apart up to a number; when
//! there are more, those whose keys fall together share a place, so that there are never more places than that. Each
//! thing keeps its order in a shared place, and merely waits until what else is there has gathered. Once no event
//! waits on the disk, things are held apart again.
//!
//! A page from the disk is in the order of due time and number, and none is read before all that was sent back is
//! there. So an event may come back where no earlier one of its thing can be behind it: as the head, or once it is due
//! where the latest are. Whatever is sent back stops the rest of its page, as the new head. Where a page ended before the
//! last of a thing and the head fails again, those left are due before it: they gather where it comes due. An event that
//! will not come back from the disk, for what was reported of it could not be stored, is no head.

use jiff::{SignedDuration, Timestamp};

use super::ByKey;
use crate::dispatch::key::Key;
use crate::event::EventId;
use crate::spool::store::Due;

/// What comes due in no order gathers so much later than the last of it.
pub(super) const GATHERING: SignedDuration = SignedDuration::from_millis(1);

/// Is a place: a thing of which events wait on the disk, or some of them.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// The event that must come back before the others; `None` once it has.
    head: Option<EventId>,
    /// When the last of them comes due: none that follows may before.
    latest: Timestamp,
    /// The last that was found.
    newest: EventId,
    /// They are of several things, or were planned under another order, by a clock that was set since or before the last
    /// failure, or one of them was lost, and do not come due by their numbers.
    is_mixed: bool,
    /// How many there are, the head included.
    on_disk: usize,
}

/// Holds the places.
#[derive(Debug)]
pub(super) struct Table {
    places: ByKey<Held>,
    most: usize,
    is_shared: bool,
    /// What is planned beyond was planned by a clock that has been set back since.
    horizon: Timestamp,
}

impl Table {
    /// Makes an empty one of so many places at most.
    pub(super) fn new(most: usize) -> Self {
        Self { places: ByKey::default(), most, is_shared: false, horizon: Timestamp::MAX }
    }

    /// Takes note of how far ahead anything can be planned.
    pub(super) fn look_up_to(&mut self, horizon: Timestamp) {
        self.horizon = horizon;
    }

    /// Returns how many places are taken.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.places.len()
    }

    /// Tells until when an event that was not attempted yet must go to the disk.
    pub(super) fn follows(&mut self, key: Key) -> Option<Timestamp> {
        let held = self.places.get_mut(&self.place(key))?;
        held.on_disk += 1;
        Some(held.latest)
    }

    /// Tells until when an event that comes from the disk must go back to it.
    pub(super) fn returns(&mut self, key: Key, due: &Due) -> Option<Timestamp> {
        let place = self.place(key);
        let held = self.places.get_mut(&place)?;
        let event = due.event.id;
        let is_far = held.latest > self.horizon;
        // The disk knows milliseconds.
        let is_early = held.is_mixed && due.due.as_millisecond() < held.latest.as_millisecond();
        match held.head {
            Some(head) if head == event => {}
            None if !is_early => {}
            head => {
                if is_far {
                    // It would be read again at once. All gather where each that is planned by this clock comes due before.
                    (held.latest, held.is_mixed) = (self.horizon, true);
                }
                let is_early = is_early || is_far;
                held.head = head.filter(|_| !is_early).map(|head| head.min(event)).or(Some(event));
                held.on_disk += usize::from(due.is_planned);
                return Some(held.latest);
            }
        }
        held.head = None;
        // What the spool planned by itself was not among them.
        let left = held.on_disk.saturating_sub(usize::from(!due.is_planned));
        self.leave(place, left);
        None
    }

    /// Takes note of an event among them that will not come back.
    pub(super) fn lost(&mut self, key: Key, event: EventId) {
        let place = self.place(key);
        let Some(held) = self.places.get_mut(&place) else { return };
        held.head = held.head.filter(|head| *head != event);
        // The others may come due in any order before the last of them.
        held.is_mixed = true;
        let left = held.on_disk.saturating_sub(1);
        self.leave(place, left);
    }

    /// Takes note of an event that failed and of how many are behind it; returns until when these go to the disk.
    pub(super) fn failed(&mut self, key: Key, event: EventId, due: Timestamp, behind: usize) -> Timestamp {
        let held = self.entry(key, event, due);
        // What is there still may be due before, behind the end of a page: it gathers first.
        held.is_mixed |= held.on_disk > 0;
        held.on_disk += 1 + behind;
        held.head = Some(held.head.map_or(event, |head| head.min(event)));
        // A clock that was set back plans before what waits there already.
        held.latest = held.latest.max(due);
        held.latest
    }

    /// Takes note of an event that waits since before this process.
    pub(super) fn found(&mut self, key: Key, event: EventId, due: Timestamp) {
        let held = self.entry(key, event, due);
        held.on_disk += 1;
        held.is_mixed |= event < held.newest;
        held.newest = held.newest.max(event);
        held.head = held.head.map(|head| head.min(event));
        // Where they gather, it is later than any of them was planned.
        let after = if held.is_mixed { GATHERING } else { SignedDuration::ZERO };
        held.latest = held.latest.max(due.saturating_add(after).unwrap_or(Timestamp::MAX));
    }

    /// Returns the place of a thing, a new one with this event as its head.
    fn entry(&mut self, key: Key, event: EventId, due: Timestamp) -> &mut Held {
        if !self.is_shared && self.places.len() >= self.most && !self.places.contains_key(&key) {
            self.share();
        }
        let first = Held { head: Some(event), latest: due, newest: event, is_mixed: self.is_shared, on_disk: 0 };
        let place = self.place(key);
        self.places.entry(place).or_insert(first)
    }

    /// Takes note of how many are left at a place.
    fn leave(&mut self, place: Key, left: usize) {
        match self.places.get_mut(&place) {
            Some(held) if left > 0 => held.on_disk = left,
            Some(_) | None => _ = self.places.remove(&place),
        }
        if self.places.is_empty() && self.is_shared {
            *self = Self { horizon: self.horizon, ..Self::new(self.most) };
        }
    }

    fn place(&self, key: Key) -> Key {
        if self.is_shared { key.among(self.most) } else { key }
    }

    fn share(&mut self) {
        self.is_shared = true;
        for (key, held) in std::mem::take(&mut self.places) {
            let known = self.places.entry(self.place(key)).or_insert(Held { is_mixed: true, on_disk: 0, ..held });
            known.head = known.head.into_iter().chain(held.head).min();
            known.latest = known.latest.max(held.latest);
            known.newest = known.newest.max(held.newest);
            known.on_disk += held.on_disk;
        }
    }
}
