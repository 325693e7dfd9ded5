//! Finding events and dead letters among very many, a bounded number of rows at a time.
//!
//! A list is walked from its newest event backwards by the shortest road that is in its order: the events themselves, those
//! of one destination, or an index that holds few of them. No index is kept for anything else that can be asked about,
//! since every event would pay for it: what a row says is compared here, row by row. Each look has its price, and once
//! the [`BUDGET`] is spent the walk ends where it is, and says so. Who looks for a text passes over the blocks of events
//! whose summary says that it is in none of them. No walk relies on the order of times: a clock may have
//! been set back.

pub(super) mod groups;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::blocks;
use super::view::{code, id};
use crate::config::filter::Pattern;
use crate::event::EventId;
use crate::event::text::Facts;
use crate::event::text::summary::block_of;
use crate::spool::SpoolError;
use crate::spool::record::{DeadQuery, DeliveryState, EventQuery, Page, Text, Within};

/// What one walk may spend: ten to twenty milliseconds, so that a slow or busy machine stays below a hundred. The next row of a road costs one.
pub(super) const BUDGET: u32 = 30_000;
/// The price of a row in another table that belongs to the one on the road.
const ROW: u32 = 2;
/// The price of looking for a text in a row.
const TEXT: u32 = 1;
/// The price of the summary of a block.
const SUMMARY: u32 = 30;
/// The price of asking how an event stands with its destinations.
const STANDING: u32 = 4;

/// Tells whether an event stands so with some destination, or with one.
pub(super) const STANDS: &str =
    "SELECT 1 FROM destinations n CROSS JOIN deliveries d ON d.destination = n.id AND d.event = ?1
     WHERE (?2 IS NULL OR n.id = ?2) AND (?3 IS NULL OR d.state = ?3)";
/// The events that a destination was not sent yet, newest first.
pub(super) const FRESH: &str = "SELECT event FROM deliveries INDEXED BY deliveries_open
     WHERE destination = ?1 AND state < 2 AND state = 0 AND due = 0 AND event < ?2 ORDER BY event DESC LIMIT ?3";
/// The events that a destination is to be sent again.
pub(super) const RETRYING: &str = "SELECT event FROM deliveries INDEXED BY deliveries_open
     WHERE destination = ?1 AND state < 2 AND state = 1 LIMIT ?2";

/// A dead letter by its key: destination and event.
pub(super) type Letter = (i64, i64);

/// Looks for what a query asks for.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) connection: &'a Connection,
    pub(super) budget: u32,
    /// Whether the file has the column of texts: one that an older version wrote has not, until it is opened for writing.
    pub(super) has_texts: bool,
    /// Whether it has the table of summaries.
    pub(super) has_summaries: bool,
}

/// Is a road on which events are met, newest first. Its columns are those of [`Met`].
struct Road {
    sql: String,
    values: Vec<Value>,
    /// The price of a row.
    price: u32,
    /// Whether the first value is the event that it begins before.
    may_begin_later: bool,
}

/// Is how far a walk has come.
#[derive(Default)]
struct Way {
    spent: u32,
    /// The event that was met last, or the first of a block that was passed over.
    last: Option<EventId>,
}

/// Is a row of a road: number of the event, destination, state, outcome, type, time, request id, text; what is not asked
/// for is null.
struct Met<'a, 'b>(&'a Row<'b>);

impl<'a> Search<'a> {
    /// Finds events.
    pub(super) fn events(self, query: &EventQuery) -> Result<Page<EventId>, SpoolError> {
        let Some(destination) = self.destination(query.destination.as_deref())? else { return Ok(nothing()) };
        let roads = match query.state {
            Some(state @ (DeliveryState::Fresh | DeliveryState::Retry)) if !query.parked => {
                self.open_road(query, destination, state)?
            }
            Some(_) | None => None,
        };
        let (road, floor) = roads.unwrap_or_else(|| (self.event_road(query, destination), None));
        let mut standing = Standing::new(self.connection, destination, query.state)?;
        let mut page = Page { rows: Vec::new(), next: None };
        let end = self.walk(road, query.text.as_ref(), |event, met| {
            let mut price = 0;
            let is_new = page.rows.last() != Some(&event);
            let fits = is_new
                && met.is_of(destination)?
                && met.fits(query.kind.as_ref(), query.since, query.until)?
                && met.has(event, query.text.as_ref())?
                && standing.fits(event, met, &mut price)?;
            if fits && page.rows.len() == query.limit {
                return Ok(ControlFlow::Break(page.rows.last().copied().unwrap_or(event)));
            }
            if fits {
                page.rows.push(event);
            }
            Ok(ControlFlow::Continue(price))
        })?;
        page.next = end.or(floor);
        Ok(page)
    }

    /// Finds dead letters, by their keys. Those of one event stay together.
    pub(super) fn dead(self, query: &DeadQuery) -> Result<Page<Letter>, SpoolError> {
        let Some(destination) = self.destination(query.destination.as_deref())? else { return Ok(nothing()) };
        let mut page: Page<Letter> = Page { rows: Vec::new(), next: None };
        let road = self.dead_road(query, destination);
        let end = self.walk(road, None, |event, met| {
            let fits = met.is_of(destination)?
                && met.died_of(query.cause.as_deref())?
                && met.fits(query.kind.as_ref(), query.since, query.until)?;
            let last = page.rows.last().map(|(_, event)| event_id(*event));
            if fits && page.rows.len() >= query.limit && last != Some(event) {
                return Ok(ControlFlow::Break(last.unwrap_or(event)));
            }
            if fits {
                page.rows.push((met.destination()?.unwrap_or_default(), id(event)));
            }
            Ok(ControlFlow::Continue(0))
        })?;
        page.next = end;
        Ok(page)
    }

    /// Goes down a road, past the blocks that a text cannot be found in; returns where to go on, if there is more of it.
    fn walk(
        self,
        mut road: Road,
        text: Option<&Text>,
        mut each: impl FnMut(EventId, &Met<'_, '_>) -> Result<ControlFlow<EventId, u32>, SpoolError>,
    ) -> Result<Option<EventId>, SpoolError> {
        let text = text.filter(|_| self.has_summaries && road.may_begin_later);
        let mut way = Way::default();
        loop {
            match self.stretch(&road, text, &mut way, &mut each)? {
                ControlFlow::Continue(before) => road.values[0] = id(before).into(),
                ControlFlow::Break(next) => return Ok(next),
            }
        }
    }

    /// Goes down a road until it ends, the budget is spent, or a block is passed over: then it goes on before that.
    fn stretch(
        self,
        road: &Road,
        text: Option<&Text>,
        way: &mut Way,
        each: &mut impl FnMut(EventId, &Met<'_, '_>) -> Result<ControlFlow<EventId, u32>, SpoolError>,
    ) -> Result<ControlFlow<Option<EventId>, EventId>, SpoolError> {
        let mut statement = self.connection.prepare_cached(&road.sql)?;
        let mut rows = statement.query(params_from_iter(&road.values))?;
        let mut known = None;
        while let Some(row) = rows.next()? {
            let event = event_id(row.get(0)?);
            // A cursor names an event: the rows of one are looked at together.
            if way.spent >= self.budget && way.last != Some(event) {
                return Ok(ControlFlow::Break(way.last));
            }
            way.last = Some(event);
            let block = block_of(event.0);
            if let Some(text) = text
                && known.replace(block) != Some(block)
            {
                let unfit = blocks::unfit(self.connection, block, text)?;
                way.spent += SUMMARY * (1 + unfit);
                if unfit > 0 {
                    let before = blocks::first_of(block + 1 - u64::from(unfit));
                    way.last = Some(before);
                    return Ok(ControlFlow::Continue(before));
                }
            }
            match each(event, &Met(row))? {
                ControlFlow::Continue(price) => way.spent += road.price + price,
                ControlFlow::Break(next) => return Ok(ControlFlow::Break(Some(next))),
            }
        }
        Ok(ControlFlow::Break(None))
    }

    /// Returns the number of a destination, `Some(None)` for any, and `None` where there is none of this name.
    fn destination(self, name: Option<&str>) -> Result<Option<Option<i64>>, SpoolError> {
        let Some(name) = name else { return Ok(Some(None)) };
        let mut statement = self.connection.prepare_cached("SELECT id FROM destinations WHERE name = ?1")?;
        Ok(statement.query_row([name], |row| row.get(0)).optional()?.map(Some))
    }

    fn event_road(self, query: &EventQuery, destination: Option<i64>) -> Road {
        let facts = Asked::of_events(query);
        let mut values = vec![Value::from(query.before.map_or(i64::MAX, id))];
        let (columns, from) = match (query.parked, query.state, destination) {
            (true, ..) => (
                "e.id, NULL, NULL, NULL",
                "events e INDEXED BY events_parked WHERE e.parked IS NOT NULL AND e.id < ?1 ORDER BY e.id DESC"
                    .to_owned(),
            ),
            (false, Some(DeliveryState::Dead), _) => (
                "d.event, d.destination, 3, NULL",
                format!(
                    "deliveries d INDEXED BY deliveries_dead {} WHERE d.state = 3 AND d.event < ?1 ORDER BY d.event DESC",
                    facts.join()
                ),
            ),
            (false, _, Some(destination)) => {
                values.push(destination.into());
                (
                    "d.event, d.destination, d.state, NULL",
                    format!(
                        "deliveries d {} WHERE d.destination = ?2 AND d.event < ?1 ORDER BY d.event DESC",
                        facts.join()
                    ),
                )
            }
            (false, _, None) => ("e.id, NULL, NULL, NULL", "events e WHERE e.id < ?1 ORDER BY e.id DESC".to_owned()),
        };
        let is_joined = columns.starts_with("d.") && facts != Asked::Nothing;
        let price = if is_joined || query.parked { 1 + ROW } else { 1 };
        let price = if facts == Asked::Text { price + TEXT } else { price };
        Road {
            sql: format!("SELECT {columns}, {} FROM {from}", facts.columns(self.has_texts)),
            values,
            price,
            may_begin_later: true,
        }
    }

    /// Takes the way by the index of what is open, where it leads to few events; with the event behind which there may be
    /// more. Retries are not in the order of events there: where there are many, that is no way.
    fn open_road(
        self,
        query: &EventQuery,
        destination: Option<i64>,
        state: DeliveryState,
    ) -> Result<Option<(Road, Option<EventId>)>, SpoolError> {
        let destinations = match destination {
            Some(destination) => vec![destination],
            None => super::purge::destinations(self.connection)?,
        };
        let most = (self.budget / (4 * u32::try_from(destinations.len().max(1)).unwrap_or(u32::MAX))).max(1) as usize;
        let before = query.before.map_or(i64::MAX, id);
        let (mut events, mut floor) = (Vec::new(), None);
        for destination in destinations {
            let found: Vec<i64> = match state {
                DeliveryState::Retry => self
                    .connection
                    .prepare_cached(RETRYING)?
                    .query_map((destination, most + 1), |row| row.get(0))?
                    .collect::<Result<_, _>>()?,
                DeliveryState::Fresh | DeliveryState::Delivered | DeliveryState::Dead => self
                    .connection
                    .prepare_cached(FRESH)?
                    .query_map((destination, before, most), |row| row.get(0))?
                    .collect::<Result<_, _>>()?,
            };
            if found.len() > most {
                return Ok(None);
            }
            if state == DeliveryState::Fresh && found.len() == most {
                floor = floor.max(found.last().copied());
            }
            events.extend(found);
        }
        events.retain(|event| *event < before && floor.is_none_or(|floor| *event >= floor));
        events.sort_unstable();
        events.dedup();
        let facts = Asked::of_events(query);
        let numbers: Vec<String> = events.iter().rev().map(i64::to_string).collect();
        let sql = format!(
            "SELECT e.id, {}, {}, NULL, {} FROM json_each(?1) j CROSS JOIN events e ON e.id = j.value",
            destination.map_or("NULL".to_owned(), |destination| destination.to_string()),
            code(state),
            facts.columns(self.has_texts)
        );
        let values = vec![Value::from(format!("[{}]", numbers.join(",")))];
        Ok(Some((Road { sql, values, price: 1 + ROW, may_begin_later: false }, floor.map(event_id))))
    }

    fn dead_road(self, query: &DeadQuery, destination: Option<i64>) -> Road {
        let facts = Asked::of_letters(query);
        let mut values = vec![Value::from(query.before.map_or(i64::MAX, id))];
        // The other index is in the order of events only within one destination and cause.
        let (index, mut condition) = match (destination, &query.cause) {
            (Some(destination), Some(cause)) => {
                values.extend([destination.into(), cause.clone().into()]);
                ("deliveries_dead_causes", "AND d.destination = ?2 AND d.outcome = ?3".to_owned())
            }
            (Some(_) | None, Some(_) | None) => ("deliveries_dead", String::new()),
        };
        if !query.events.is_empty() {
            condition.push_str(&format!(" AND d.event IN ({})", vec!["?"; query.events.len()].join(", ")));
            values.extend(query.events.iter().map(|event| Value::from(id(*event))));
        }
        let sql = format!(
            "SELECT d.event, d.destination, 3, d.outcome, {} FROM deliveries d INDEXED BY {index} {}
             WHERE d.state = 3 AND d.event < ?1 {condition} ORDER BY d.event DESC",
            facts.columns(self.has_texts),
            facts.join()
        );
        let price = if facts == Asked::Nothing { 1 } else { 1 + ROW };
        Road { sql, values, price, may_begin_later: true }
    }

    /// Returns the statement of the road that a list takes, for a look at its plan.
    #[cfg(test)]
    pub(super) fn roads(self, query: &EventQuery, destination: Option<i64>) -> String {
        self.event_road(query, destination).sql
    }

    /// Does the same for dead letters.
    #[cfg(test)]
    pub(super) fn dead_roads(self, query: &DeadQuery, destination: Option<i64>) -> String {
        self.dead_road(query, destination).sql
    }
}

/// Says what is asked about events themselves.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    Nothing,
    /// Type or time.
    Facts,
    /// And what they are about.
    Text,
}

impl Asked {
    fn of_events(query: &EventQuery) -> Self {
        let is_about_facts = query.kind.is_some() || query.since.is_some() || query.until.is_some();
        match &query.text {
            Some(_) => Self::Text,
            None if is_about_facts => Self::Facts,
            None => Self::Nothing,
        }
    }

    fn of_letters(query: &DeadQuery) -> Self {
        let is_about_facts = query.kind.is_some() || query.since.is_some() || query.until.is_some();
        if is_about_facts { Self::Facts } else { Self::Nothing }
    }

    fn columns(self, has_texts: bool) -> &'static str {
        match self {
            Self::Nothing => "NULL, NULL, NULL, NULL",
            Self::Facts => "e.kind, e.received_at, NULL, NULL",
            Self::Text if has_texts => "e.kind, e.received_at, e.request_id, e.text",
            Self::Text => "e.kind, e.received_at, e.request_id, NULL",
        }
    }

    /// `CROSS JOIN` keeps the order, which is that of the road.
    fn join(self) -> &'static str {
        if self == Self::Nothing { "" } else { "CROSS JOIN events e ON e.id = d.event" }
    }
}

impl Met<'_, '_> {
    fn destination(&self) -> rusqlite::Result<Option<i64>> {
        self.0.get(1)
    }

    /// Tells whether this is a row of the destination; one that names none is asked elsewhere.
    fn is_of(&self, wanted: Option<i64>) -> rusqlite::Result<bool> {
        let Some(wanted) = wanted else { return Ok(true) };
        Ok(self.destination()?.is_none_or(|destination| destination == wanted))
    }

    fn died_of(&self, cause: Option<&str>) -> rusqlite::Result<bool> {
        let Some(cause) = cause else { return Ok(true) };
        Ok(self.0.get_ref(3)?.as_str()? == cause)
    }

    fn fits(
        &self,
        kind: Option<&Pattern>,
        since: Option<jiff::Timestamp>,
        until: Option<jiff::Timestamp>,
    ) -> rusqlite::Result<bool> {
        if let Some(kind) = kind
            && !kind.matches(self.0.get_ref(4)?.as_str()?)
        {
            return Ok(false);
        }
        if since.is_none() && until.is_none() {
            return Ok(true);
        }
        let received_at: i64 = self.0.get(5)?;
        Ok(since.is_none_or(|since| received_at >= since.as_millisecond())
            && until.is_none_or(|until| received_at < until.as_millisecond()))
    }

    fn has(&self, event: EventId, text: Option<&Text>) -> rusqlite::Result<bool> {
        let Some(Text { words, within }) = text else { return Ok(true) };
        let facts = Facts { id: event.0, kind: self.0.get_ref(4)?.as_str()?, request_id: self.0.get_ref(6)?.as_str()? };
        let body = match within {
            Within::Body => self.0.get_ref(7)?.as_str_or_null()?.unwrap_or_default(),
            Within::Row => "",
        };
        Ok(words.fit(facts, body))
    }
}

/// Asks how events stand, where the road does not tell.
struct Standing<'a> {
    statement: CachedStatement<'a>,
    destination: Option<i64>,
    state: Option<i64>,
}

impl<'a> Standing<'a> {
    fn new(
        connection: &'a Connection,
        destination: Option<i64>,
        state: Option<DeliveryState>,
    ) -> rusqlite::Result<Self> {
        Ok(Self { statement: connection.prepare_cached(STANDS)?, destination, state: state.map(code) })
    }

    fn fits(&mut self, event: EventId, met: &Met<'_, '_>, price: &mut u32) -> rusqlite::Result<bool> {
        match (met.0.get::<_, Option<i64>>(2)?, self.state) {
            (Some(state), Some(wanted)) => Ok(state == wanted),
            (Some(_), None) => Ok(true),
            (None, None) if self.destination.is_none() => Ok(true),
            (None, _) => {
                *price += STANDING;
                self.statement.exists(params![id(event), self.destination, self.state])
            }
        }
    }
}

fn event_id(id: i64) -> EventId {
    EventId(id.unsigned_abs())
}

fn nothing<T>() -> Page<T> {
    Page { rows: Vec::new(), next: None }
}
