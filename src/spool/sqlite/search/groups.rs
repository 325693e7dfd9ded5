//! Counting dead letters by destination and cause, in the order of the index that holds nothing else.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, Row, params_from_iter};

use super::{Asked, Met, ROW, Search, event_id};
use crate::event::EventId;
use crate::spool::SpoolError;
use crate::spool::record::{DeadGroup, DeadQuery, DestinationId, GroupCursor, Groups};
use crate::spool::sqlite::view::{id, timestamp};

/// What is counted as letters come and go, with the ends of each group from an index.
pub(in crate::spool::sqlite) const COUNTED: &str = "SELECT n.name, c.outcome, c.count,
       (SELECT min(settled_at) FROM deliveries d INDEXED BY deliveries_dead_times
         WHERE d.state = 3 AND d.destination = c.destination AND d.outcome = c.outcome),
       (SELECT max(settled_at) FROM deliveries d INDEXED BY deliveries_dead_times
         WHERE d.state = 3 AND d.destination = c.destination AND d.outcome = c.outcome),
       (SELECT max(event) FROM deliveries d INDEXED BY deliveries_dead_causes
         WHERE d.state = 3 AND d.destination = c.destination AND d.outcome = c.outcome)
     FROM dead_causes c CROSS JOIN destinations n ON n.id = c.destination
     WHERE (?1 IS NULL OR c.destination = ?1) AND (?2 IS NULL OR c.outcome = ?2)";

impl Search<'_> {
    /// Counts what fits behind a cursor, as far as the budget goes.
    pub(in crate::spool::sqlite) fn groups(
        self,
        query: &DeadQuery,
        after: Option<&GroupCursor>,
    ) -> Result<Groups, SpoolError> {
        let Some(destination) = self.destination(query.destination.as_deref())? else { return Ok(Groups::default()) };
        if self.has_texts && Asked::of_letters(query) == Asked::Nothing && query.events.is_empty() {
            match self.counted(destination, query.cause.as_deref()) {
                // They can be counted all the same.
                Err(error) if error.is_damage() => {}
                counted => return counted,
            }
        }
        let price = if Asked::of_letters(query) == Asked::Nothing { 1 } else { 1 + ROW };
        let mut statement = self.connection.prepare_cached(&sql(query, destination))?;
        let mut rows = statement.query(params_from_iter(place(after, destination)))?;
        let mut tallies: Vec<Tally> = Vec::new();
        let mut last = Key::default();
        let mut spent = 0;
        let mut next = None;
        while let Some(row) = rows.next()? {
            if spent >= self.budget {
                next = Some(last.cursor());
                break;
            }
            spent += price;
            let met = Met(row);
            last.set(row)?;
            let is_meant = query.events.is_empty() || query.events.contains(&event_id(last.event));
            if is_meant
                && met.died_of(query.cause.as_deref())?
                && met.fits(query.kind.as_ref(), query.since, query.until)?
            {
                count(&mut tallies, &last, row.get(8)?);
            }
        }
        let mut groups = Groups { groups: Vec::new(), next: None };
        let named = tallies.into_iter().map(|tally| self.named(tally)).collect::<Result<Vec<_>, _>>()?;
        groups.join(Groups { groups: named.into_iter().flatten().collect(), next });
        Ok(groups)
    }

    /// Returns groups that are counted already, at once.
    fn counted(self, destination: Option<i64>, cause: Option<&str>) -> Result<Groups, SpoolError> {
        let mut statement = self.connection.prepare_cached(COUNTED)?;
        let rows = statement.query_map((destination, cause), |row| {
            Ok(DeadGroup {
                destination: row.get(0)?,
                cause: row.get(1)?,
                count: row.get(2)?,
                oldest_at: timestamp(row.get(3)?),
                newest_at: timestamp(row.get(4)?),
                sample: event_id(row.get(5)?),
            })
        })?;
        let mut groups = Groups { groups: Vec::new(), next: None };
        groups.join(Groups { groups: rows.collect::<Result<_, _>>()?, next: None });
        Ok(groups)
    }

    /// Makes a group of what was counted, if its destination is still known.
    fn named(self, tally: Tally) -> Result<Option<DeadGroup>, SpoolError> {
        let Tally { destination, cause, count, oldest_at, newest_at, sample } = tally;
        let mut statement = self.connection.prepare_cached("SELECT name FROM destinations WHERE id = ?1")?;
        let name: Option<Box<str>> = statement.query_row([destination], |row| row.get(0)).optional()?;
        let (oldest_at, newest_at) = (timestamp(oldest_at), timestamp(newest_at));
        Ok(name.map(|destination| DeadGroup { destination, cause, count, oldest_at, newest_at, sample }))
    }

    /// Returns the statement that counts, for a look at its plan.
    #[cfg(test)]
    pub(in crate::spool::sqlite) fn group_roads(query: &DeadQuery, destination: Option<i64>) -> String {
        sql(query, destination)
    }
}

/// Is a group while its letters are counted.
struct Tally {
    destination: i64,
    cause: Box<str>,
    count: u64,
    oldest_at: i64,
    newest_at: i64,
    sample: EventId,
}

/// Adds a letter to its group, which is the last one or a new one.
fn count(tallies: &mut Vec<Tally>, key: &Key, at: i64) {
    let sample = event_id(key.event);
    match tallies.last_mut().filter(|tally| tally.destination == key.destination && *tally.cause == *key.cause) {
        Some(tally) => {
            tally.count += 1;
            tally.oldest_at = tally.oldest_at.min(at);
            tally.newest_at = tally.newest_at.max(at);
            tally.sample = sample;
        }
        None => {
            let (destination, cause) = (key.destination, key.cause.as_str().into());
            tallies.push(Tally { destination, cause, count: 1, oldest_at: at, newest_at: at, sample });
        }
    }
}

/// Is the place of a letter in the index.
#[derive(Default)]
struct Key {
    destination: i64,
    event: i64,
    cause: String,
}

impl Key {
    fn set(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        (self.event, self.destination) = (row.get(0)?, row.get(1)?);
        let cause = row.get_ref(3)?.as_str()?;
        if self.cause != cause {
            self.cause.clear();
            self.cause.push_str(cause);
        }
        Ok(())
    }

    fn cursor(self) -> GroupCursor {
        GroupCursor { destination: DestinationId(self.destination), event: event_id(self.event), cause: self.cause }
    }
}

fn sql(query: &DeadQuery, destination: Option<i64>) -> String {
    let facts = Asked::of_letters(query);
    let condition = match destination {
        Some(_) => "d.destination = ? AND (d.outcome, d.event) > (?, ?)",
        None => "(d.destination, d.outcome, d.event) > (?, ?, ?)",
    };
    format!(
        "SELECT d.event, d.destination, 3, d.outcome, {}, d.settled_at FROM deliveries d INDEXED BY deliveries_dead_causes {}
         WHERE d.state = 3 AND {condition} ORDER BY d.destination, d.outcome, d.event",
        facts.columns(true),
        facts.join()
    )
}

/// Returns where to begin: behind the cursor, or before all letters.
fn place(after: Option<&GroupCursor>, destination: Option<i64>) -> [Value; 3] {
    let (cause, event) = after.map_or((String::new(), -1), |after| (after.cause.clone(), id(after.event)));
    let number = destination.or(after.map(|after| after.destination.0)).unwrap_or(i64::MIN);
    [number.into(), cause.into(), event.into()]
}
