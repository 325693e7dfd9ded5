//! The reference: what the rows of the spool may be after each write, given what they were before it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _};

use super::action::MOST_ATTEMPTS;
use crate::dispatch::expiry::EXPIRED;
use crate::spool::erasure::Erasure;
use crate::spool::replay::Scope;
use crate::spool::settlement::Outcome;
use crate::spool::store::{Batch, LedgerEntry};
use crate::spool::tests::fake::Write;

/// A destination and an event.
pub(super) type Place = (i64, u64);

pub(super) const FRESH: i64 = 0;
pub(super) const RETRY: i64 = 1;
pub(super) const DELIVERED: i64 = 2;
pub(super) const DEAD: i64 = 3;

/// Finds a cause of which another number of dead letters is counted than is there.
const MISCOUNTED: &str = "
  SELECT outcome FROM (
    SELECT destination, outcome, count(*) AS number FROM deliveries WHERE state = 3 GROUP BY destination, outcome
    UNION ALL SELECT destination, outcome, -count FROM dead_causes
  ) GROUP BY destination, outcome HAVING sum(number) <> 0 OR count(*) <> 2";

/// Is one delivery, as far as the model goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) state: i64,
    pub(super) attempts: u32,
    pub(super) replays: u32,
}

/// Is what stands of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) name: String,
    pub(super) pending: i64,
    pub(super) dead: i64,
    is_orphan: bool,
}

/// Is what the tables hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    /// When each was received.
    pub(super) events: BTreeMap<u64, i64>,
    pub(super) deliveries: BTreeMap<Place, Delivery>,
    pub(super) destinations: BTreeMap<i64, Counters>,
    pub(super) last_event: u64,
    /// Frames that cannot be delivered.
    pub(super) parked: BTreeSet<u64>,
    counted: (u64, u64),
    /// A cause of which another number of dead letters is counted than is there.
    miscounted: Option<String>,
    /// The last row of the audit table, and what is under way by it.
    audited: (i64, u64),
}

/// Is what may go before its time, as far as the reference knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct MayGo {
    /// Delivered events that were received before this.
    pub(super) delivered_before_ms: i64,
    /// Dead letters and parked frames, for want of room.
    pub(super) oldest: bool,
}

impl Rows {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut rows = Self::default();
        let mut statement = connection.prepare_cached("SELECT id, received_at, parked IS NOT NULL FROM events")?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            rows.events.insert(row.get(0)?, row.get(1)?);
            if row.get(2)? {
                rows.parked.insert(row.get(0)?);
            }
        }
        let mut statement =
            connection.prepare_cached("SELECT destination, event, state, attempts, replays FROM deliveries")?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let delivery = Delivery { state: row.get(2)?, attempts: row.get(3)?, replays: row.get(4)? };
            rows.deliveries.insert((row.get(0)?, row.get(1)?), delivery);
        }
        let mut statement =
            connection.prepare_cached("SELECT id, name, pending, dead, orphaned_at IS NOT NULL FROM destinations")?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let counters =
                Counters { name: row.get(1)?, pending: row.get(2)?, dead: row.get(3)?, is_orphan: row.get(4)? };
            rows.destinations.insert(row.get(0)?, counters);
        }
        rows.miscounted = connection.prepare_cached(MISCOUNTED)?.query_row([], |row| row.get(0)).optional()?;
        let mut meta = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        rows.last_event = meta.query_row(["last_event"], |row| row.get(0))?;
        let mut count = |key| meta.query_row([key], |row| row.get(0));
        rows.counted = (count("events")?, count("parked")?);
        rows.audited = connection
            .prepare_cached("SELECT (SELECT coalesce(max(id), 0) FROM audit), (SELECT count(*) FROM audit_tasks)")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows)
    }

    /// Tells what is wrong with these rows, whatever came before them.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut counts: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for ((destination, event), delivery) in &self.deliveries {
            let count = counts.entry(*destination).or_default();
            count.0 += i64::from(delivery.state < DELIVERED);
            count.1 += i64::from(delivery.state == DEAD);
            if !self.events.contains_key(event) {
                return Err(format!("delivery {destination}:{event} has no event"));
            }
            if delivery.attempts > MOST_ATTEMPTS || (delivery.state < DELIVERED && delivery.attempts >= MOST_ATTEMPTS) {
                return Err(format!("attempts without bound: {destination}:{event} {delivery:?}"));
            }
            if !self.destinations.contains_key(destination) {
                return Err(format!("delivery {destination}:{event} has no destination"));
            }
        }
        for (id, Counters { pending, dead, name, .. }) in &self.destinations {
            let counted = counts.get(id).copied().unwrap_or_default();
            if counted != (*pending, *dead) {
                return Err(format!("{name} counts {pending} waiting and {dead} dead, its rows {counted:?}"));
            }
        }
        if let Some(cause) = &self.miscounted {
            return Err(format!("dead letters of {cause:?} are not as many as are counted"));
        }
        let there = (self.events.len() as u64, self.parked.len() as u64);
        if self.counted != there {
            return Err(format!("{:?} events and parked frames counted, {there:?} there", self.counted));
        }
        Ok(())
    }

    /// Tells what a write has done that it must not do, or has not done.
    pub(super) fn follows(&self, before: &Self, write: &Write<'_>, may: MayGo) -> Result<(), String> {
        self.check()?;
        if self.audited.0 < before.audited.0 {
            return Err("rows of the audit table are gone".to_owned());
        }
        if self.last_event < before.last_event {
            return Err("numbers of events were given back".to_owned());
        }
        if let Write::Commit(batch) = write {
            return self.is_commit(before, batch);
        }
        if let Some(new) = self.events.keys().find(|id| !before.events.contains_key(id)) {
            return Err(format!("event {new} came from nowhere"));
        }
        let gone = before.events.iter().filter(|(id, _)| !self.events.contains_key(id));
        for (id, received_at) in gone {
            if !before.may_be_deleted(*id, *received_at, write, may) {
                return Err(format!("event {id} was deleted"));
            }
        }
        let is_told = self.audited.0 > before.audited.0 || self.audited.1 > 0;
        let changed = self.deliveries != before.deliveries || self.events != before.events;
        if matches!(write, Write::Erase(_) | Write::Replay(_)) && changed && !is_told {
            return Err("what an operator did, or what went for want of room, is told nowhere".to_owned());
        }
        if matches!(write, Write::Erase(Erasure::Oldest)) && changed && !may.oldest {
            return Err("dead letters or parked frames went, and there was room".to_owned());
        }
        let places: BTreeSet<&Place> = self.deliveries.keys().chain(before.deliveries.keys()).collect();
        for place in places {
            let (was, is) = (before.deliveries.get(place), self.deliveries.get(place));
            if was != is && !self.may_become(before, *place, was, is, write) {
                return Err(format!("delivery {}:{} went from {was:?} to {is:?}", place.0, place.1));
            }
        }
        for (id, counters) in &before.destinations {
            let purged =
                matches!(write, Write::Erase(Erasure::Orphan { destination }) if **destination == *counters.name);
            if !self.destinations.contains_key(id) && !purged {
                return Err(format!("destination {} is gone", counters.name));
            }
        }
        Ok(())
    }

    /// Tells whether a write may delete an event that was here before it.
    fn may_be_deleted(&self, id: u64, received_at: i64, write: &Write<'_>, may: MayGo) -> bool {
        let states = || self.deliveries.iter().filter(|((_, event), _)| *event == id).map(|(_, row)| row.state);
        let is_parked = self.parked.contains(&id);
        match write {
            Write::Purge => {
                !is_parked && states().all(|state| state == DELIVERED) && received_at < may.delivered_before_ms
            }
            Write::Erase(Erasure::Oldest) => states().all(|state| state >= DELIVERED),
            Write::Erase(Erasure::Dead(_)) => !is_parked && states().all(|state| state == DEAD) && states().count() > 0,
            Write::Erase(Erasure::Parked { until }) => is_parked && received_at < until.as_millisecond(),
            Write::Erase(Erasure::Orphan { .. })
            | Write::Commit(_)
            | Write::Replay(_)
            | Write::Fill(_)
            | Write::Configured
            | Write::PassOver
            | Write::Other => false,
        }
    }

    fn may_become(
        &self,
        before: &Self,
        (destination, event): Place,
        was: Option<&Delivery>,
        is: Option<&Delivery>,
        write: &Write<'_>,
    ) -> bool {
        let due = |replays| Some(Delivery { state: RETRY, attempts: 0, replays });
        match (write, was) {
            (Write::Purge, Some(was)) => is.is_none() && was.state == DELIVERED && !self.events.contains_key(&event),
            (Write::Erase(Erasure::Dead(_)), Some(was)) => is.is_none() && was.state == DEAD,
            (Write::Erase(Erasure::Oldest), Some(was)) => {
                is.is_none() && (was.state == DEAD || (was.state == DELIVERED && !self.events.contains_key(&event)))
            }
            (Write::Erase(Erasure::Orphan { destination: name }), Some(_)) => {
                let known = before.destinations.get(&destination);
                is.is_none() && known.is_some_and(|known| known.is_orphan && known.name == **name)
            }
            (Write::Replay(Scope::Dead { .. }), Some(was)) => was.state == DEAD && is.copied() == due(was.replays + 1),
            (Write::Replay(_), Some(was)) => was.state >= DELIVERED && is.copied() == due(was.replays + 1),
            _ if before.parked.contains(&event) => false,
            (Write::Replay(Scope::To(_)), None) => is.copied() == due(1),
            (Write::Fill(filled), None) => *filled == destination && is.copied() == due(0),
            _ => false,
        }
    }

    fn is_commit(&self, before: &Self, batch: &Batch) -> Result<(), String> {
        let mut expected = before.deliveries.clone();
        let mut events = before.events.clone();
        for new in &batch.events {
            events.insert(new.event.id.0, new.event.received_at.as_millisecond());
            for destination in new.destinations.iter() {
                let fresh = Delivery { state: FRESH, attempts: 0, replays: 0 };
                expected.insert((destination.0, new.event.id.0), fresh);
            }
        }
        for settlement in &batch.settlements {
            let place = (settlement.destination.0, settlement.event.0);
            let Some(row) = expected.get_mut(&place).filter(|row| row.state < DELIVERED) else { continue };
            row.attempts = settlement.attempts;
            row.state = match &settlement.outcome {
                Outcome::Delivered { .. } => DELIVERED,
                Outcome::Retry { .. } => RETRY,
                Outcome::Dead { reason } if settlement.attempts == 0 && **reason != *EXPIRED => {
                    return Err(format!("{place:?} was given up unattempted: {reason}"));
                }
                Outcome::Dead { .. } => DEAD,
            };
        }
        for place in revived(batch) {
            if let Some(row) = expected.get_mut(&place).filter(|row| row.state == DEAD) {
                (row.state, row.attempts) = (RETRY, 0);
            }
        }
        if events != self.events {
            return Err("a commit stored other events than it was given".to_owned());
        }
        match expected.iter().find(|(place, row)| self.deliveries.get(place) != Some(row)) {
            Some((place, row)) => {
                Err(format!("after a commit {place:?} is {:?}, not {row:?}", self.deliveries.get(place)))
            }
            None if expected.len() != self.deliveries.len() => Err("a commit made deliveries of its own".to_owned()),
            None => Ok(()),
        }
    }
}

/// Returns what was refused on the way to a breaker that opens with this batch.
pub(super) fn revived(batch: &Batch) -> impl Iterator<Item = Place> {
    batch.ledger.iter().flat_map(|entry| match entry {
        LedgerEntry::Breaker { destination, revived, .. } => {
            revived.iter().map(|event| (destination.0, event.0)).collect()
        }
        LedgerEntry::Alive { .. } | LedgerEntry::GapOpened { .. } | LedgerEntry::GapClosed { .. } => Vec::new(),
    })
}
