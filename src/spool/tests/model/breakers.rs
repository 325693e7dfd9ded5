//! What is known of breakers from outside: what was committed of them, what was asked meanwhile, and what they owe.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::book::{DEAD, Place, Rows};
use crate::spool::record::Opened;
use crate::spool::settlement::{Outcome, Settlement};
use crate::spool::store::{Batch, LedgerEntry};

/// A breaker looks at so many results, of so long.
const RESULTS: usize = 100;
const AGE: SignedDuration = SignedDuration::from_secs(590);

#[derive(Default)]
pub(super) struct Breakers {
    /// Open ones, as far as a handler can know: until it takes something.
    open: BTreeMap<i64, Opened>,
    /// Those of which a commit said last that they are open.
    known: BTreeSet<i64>,
    /// Attempts in flight that began while it was open: the events, or the question.
    probing: BTreeMap<i64, BTreeSet<Option<u64>>>,
    /// When a request ended last: one that follows it at once is of the same attempt.
    ended: BTreeMap<(i64, Option<u64>), Timestamp>,
    /// Reported attempts since the breaker last changed, and what each refused.
    results: BTreeMap<i64, VecDeque<(Timestamp, Option<Place>)>>,
    /// Nothing can be said of it: it was taken out and came back, or is not known to have been told.
    unsure: BTreeSet<i64>,
}

impl Breakers {
    /// Begins anew with what the disk says.
    pub(super) fn restart(&mut self, open: BTreeMap<i64, Opened>) {
        *self = Self { known: open.keys().copied().collect(), open, ..Self::default() };
    }

    /// Says that nothing is certain any more: a disk failed, or a clock was set.
    pub(super) fn forget(&mut self) {
        self.open.clear();
        self.results.clear();
        self.unsure.extend(0..64);
    }

    /// Says so of a destination whose lane has gone.
    pub(super) fn left(&mut self, destination: i64) {
        self.open.remove(&destination);
        self.unsure.insert(destination);
    }

    /// Takes note of a commit, given the rows after it; tells how many breakers opened. What was refused on the way to one
    /// is due again with the same commit.
    pub(super) fn committed(&mut self, batch: &Batch, rows: &Rows) -> Result<u32, String> {
        for settlement in &batch.settlements {
            self.reported(settlement);
        }
        let mut opened_now = 0;
        for entry in &batch.ledger {
            let LedgerEntry::Breaker { destination, opened, revived: _ } = entry else { continue };
            let id = destination.0;
            let results = self.results.remove(&id).unwrap_or_default();
            match opened {
                None => {
                    self.known.remove(&id);
                    self.open.remove(&id);
                }
                Some(opened) if !self.known.insert(id) => {
                    self.open.entry(id).and_modify(|known| *known = *opened);
                }
                Some(_) if self.unsure.contains(&id) => {}
                Some(opened) => {
                    opened_now += 1;
                    self.open.insert(id, *opened);
                    let recent = results.iter().rev().take(RESULTS);
                    let recent = recent.filter(|(at, _)| opened.since.duration_since(*at) < AGE);
                    let refused = recent.filter_map(|(_, refused)| *refused);
                    let is_dead = |place: &Place| rows.deliveries.get(place).is_some_and(|row| row.state == DEAD);
                    if let Some(place) = refused.clone().find(is_dead) {
                        return Err(format!("{place:?} was refused on the way to an open breaker, and stays dead"));
                    }
                }
            }
        }
        Ok(opened_now)
    }

    fn reported(&mut self, settlement: &Settlement) {
        let Settlement { destination, event, outcome, failed, at, .. } = settlement;
        let refused = match (outcome, failed) {
            (Outcome::Dead { reason }, Some(failed)) => (*reason == failed.cause).then_some((destination.0, event.0)),
            (Outcome::Delivered { .. }, _) | (Outcome::Retry { .. }, Some(_)) => None,
            (Outcome::Dead { .. } | Outcome::Retry { .. }, None) => return,
        };
        self.results.entry(destination.0).or_default().push_back((*at, refused));
    }

    /// Takes note of a request that begins, for an event or as a question; while the breaker is open, it is the only one,
    /// and its time has come.
    pub(super) fn arrived(&mut self, destination: i64, event: Option<u64>, now: Timestamp) -> Result<(), String> {
        let Some(opened) = self.open.get(&destination) else { return Ok(()) };
        // What was started when it opened was started before.
        let was_started = now.as_millisecond() <= opened.since.as_millisecond();
        if was_started || self.ended.get(&(destination, event)) == Some(&now) {
            return Ok(());
        }
        let probing = self.probing.entry(destination).or_default();
        probing.insert(event);
        if probing.len() > 1 {
            return Err(format!("{destination} was asked by {probing:?} at once while its breaker was open"));
        }
        if now.as_millisecond() < opened.probe_at.as_millisecond() {
            return Err(format!("{destination} was probed before {}", opened.probe_at));
        }
        Ok(())
    }

    /// Takes note that one has ended.
    pub(super) fn ended(&mut self, destination: i64, event: Option<u64>, now: Timestamp) {
        self.ended.insert((destination, event), now);
        if let Some(probing) = self.probing.get_mut(&destination) {
            probing.remove(&event);
        }
    }

    /// Takes note that the handler took something: the breaker closes.
    pub(super) fn took(&mut self, destination: i64) {
        self.open.remove(&destination);
    }
}

/// Reads those that are open.
pub(super) fn open_breakers(connection: &Connection) -> rusqlite::Result<BTreeMap<i64, Opened>> {
    let mut statement = connection.prepare(
        "SELECT id, breaker_since, breaker_probe_at, breaker_probes FROM destinations WHERE breaker_since IS NOT NULL",
    )?;
    let at = |row: &rusqlite::Row<'_>, column| {
        Ok::<_, rusqlite::Error>(Timestamp::from_millisecond(row.get(column)?).expect("within range"))
    };
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, Opened { since: at(row, 1)?, probe_at: at(row, 2)?, probes: row.get(3)? }))
    })?;
    rows.collect()
}
