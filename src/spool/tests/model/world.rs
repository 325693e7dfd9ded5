//! What the parts of a run share: the reference, the plans of disk and handlers, and what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tokio::time::Instant;

use super::action::{Dice, Fault, Mood, Scene, Tear};
use super::book::{DEAD, DELIVERED, MayGo, Place, RETRY, Rows, revived};
use super::breakers::{Breakers, open_breakers};
use super::ledger::Truth;
use crate::clock::Clock;
use crate::config::WhenFull;
use crate::config::filter::EventFilter;
use crate::spool::erasure::Erasure;
use crate::spool::settlement::Outcome;
use crate::spool::store::{Batch, LOG_BYTES, Size};
use crate::spool::tests::fake::Write;

/// Within this time a body that came before is a repeat.
pub(super) const WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// What the pages of a file take beside its events, that a commit may make of nothing: of tables and their indices.
const SLACK: u64 = 64 << 10;
/// How long an attempt that had begun may take to make its second request.
const PAUSED: Duration = Duration::from_secs(1);
/// No breaker opens before so many attempts.
const BREAKER: u32 = 20;
/// Delivered events are kept for so long.
pub(super) const RETENTION: SignedDuration = SignedDuration::from_secs(120);

/// Is an event as it was given to the spool.
#[derive(Clone)]
pub(super) struct Given {
    /// It cannot be delivered.
    pub(super) parked: bool,
    /// When it was given last.
    pub(super) at_ms: i64,
    pub(super) kind: &'static str,
    pub(super) thing: Option<u64>,
    pub(super) body: Bytes,
}

/// Is what is left after a crash: where the files are, and what they may hold.
pub(super) struct Wreck {
    pub(super) path: PathBuf,
    pub(super) may_hold: Vec<Rows>,
}

/// Holds all of it; everything runs on one thread, in turns.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) scene: Scene,
    /// The size as the writer knows it, and whether it is full.
    size: Size,
    is_full: bool,
    /// What waits is stored whatever it comes to: the process ends.
    pub(super) is_closing: bool,
    pub(super) breakers: Breakers,
    /// Destinations that are held back, and since when.
    pub(super) paused: BTreeMap<String, Instant>,
    pub(super) truth: Truth,
    /// Keys changed, by which bodies are recognised.
    pub(super) key_was_changed: bool,
    /// What went for want of room.
    pub(super) dropped: u64,
    pub(super) dice: Dice,
    pub(super) clock: Clock,
    pub(super) rows: Rows,
    /// Reads the file that is in use.
    pub(super) look: Option<Connection>,
    seen_version: i64,
    pub(super) given: Vec<Given>,
    by_body: BTreeMap<Bytes, usize>,
    /// Which of what was given an event is, and its request id.
    pub(super) events: BTreeMap<u64, usize>,
    pub(super) by_request: BTreeMap<String, u64>,
    /// What was given in this life, what of it was stored, as an event or as a repeat, and what as an event.
    pub(super) appended: Vec<usize>,
    pub(super) stored: Vec<usize>,
    pub(super) numbered: Vec<usize>,
    pub(super) durable: BTreeSet<usize>,
    ever_stored: BTreeSet<usize>,
    /// What was stored, and deleted by right.
    purged: BTreeSet<usize>,
    /// Who wants what from the next route on, and now.
    pub(super) next_routes: Vec<(String, EventFilter)>,
    routes: Vec<(String, EventFilter)>,
    pub(super) moods: [Mood; 3],
    pub(super) in_flight: BTreeMap<(i64, u64), u32>,
    /// What a handler has taken, and not lost since by a replay.
    pub(super) taken: BTreeSet<Place>,
    pub(super) posts: BTreeMap<Place, u32>,
    settled: BTreeMap<Place, u32>,
    /// Lanes that began in strict order and kept it.
    pub(super) strict: BTreeSet<i64>,
    /// Deliveries that were made due again after they had been settled, or late: they have no place in the order.
    disturbed: BTreeSet<Place>,
    pub(super) fault: Option<(Fault, u32)>,
    pub(super) power_cut: Option<(u32, Tear)>,
    pub(super) wreck: Option<Wreck>,
    pub(super) audited: Vec<String>,
    pub(super) starts: u32,
    pub(super) clock_was_set: bool,
    pub(super) disk_failed: bool,
    pub(super) violation: Option<String>,
    pub(super) trace: Vec<String>,
    pub(super) tally: BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new(seed: u64, clock: Clock) -> Self {
        let truth = Truth::new(clock.now().as_millisecond());
        Self(Arc::new(Mutex::new(State {
            scene: Scene::thrown(seed),
            size: Size::default(),
            is_full: false,
            is_closing: false,
            breakers: Breakers::default(),
            paused: BTreeMap::new(),
            truth,
            key_was_changed: false,
            dropped: 0,
            dice: Dice::new(seed ^ 0x5eed),
            clock,
            rows: Rows::default(),
            look: None,
            seen_version: 0,
            given: Vec::new(),
            by_body: BTreeMap::new(),
            events: BTreeMap::new(),
            by_request: BTreeMap::new(),
            appended: Vec::new(),
            stored: Vec::new(),
            numbered: Vec::new(),
            durable: BTreeSet::new(),
            ever_stored: BTreeSet::new(),
            purged: BTreeSet::new(),
            next_routes: Vec::new(),
            routes: Vec::new(),
            moods: [Mood::Well; 3],
            in_flight: BTreeMap::new(),
            taken: BTreeSet::new(),
            posts: BTreeMap::new(),
            settled: BTreeMap::new(),
            strict: BTreeSet::new(),
            disturbed: BTreeSet::new(),
            fault: None,
            power_cut: None,
            wreck: None,
            audited: Vec::new(),
            starts: 0,
            clock_was_set: false,
            disk_failed: false,
            violation: None,
            trace: Vec::new(),
            tally: BTreeMap::new(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        let at = self.clock.now();
        self.trace.push(format!("{at} {}", what()));
    }

    /// Keeps the first thing that is wrong.
    pub(super) fn hold(&mut self, checked: Result<(), String>) {
        if let Err(violation) = checked
            && self.violation.is_none()
        {
            self.say(|| format!("VIOLATION {violation}"));
            self.violation = Some(violation);
        }
    }

    /// Nothing is asked of a destination that is held back.
    pub(super) fn may_ask(&self, destination: i64) -> Result<(), String> {
        let name = self.rows.destinations.get(&destination).map(|known| &known.name);
        match name.and_then(|name| self.paused.get(name)) {
            Some(since) if since.elapsed() > PAUSED => Err(format!("{destination} is paused, and was asked")),
            Some(_) | None => Ok(()),
        }
    }

    /// Makes a frame that is not JSON, and that was not there before.
    pub(super) fn give_parked(&mut self) -> usize {
        let n = self.given.len();
        let body = Bytes::from(format!("{{ no JSON {n} \u{fffd}"));
        self.by_body.insert(body.clone(), n);
        self.given.push(Given { parked: true, at_ms: 0, kind: "", thing: None, body });
        n
    }

    /// Makes an event that was not there before, with so many bytes that say nothing.
    pub(super) fn give(&mut self, kind: &'static str, thing: Option<u64>, padding: usize) -> usize {
        let n = self.given.len();
        let padding = if padding > 0 { format!(r#","padding":"{}""#, " ".repeat(padding)) } else { String::new() };
        let object = thing.map_or_else(String::new, |thing| format!(r#""object":{{"uuid":"thing {thing}"}}"#));
        let body = Bytes::from(format!(r#"{{"event":"{kind}","payload":{{{object}}},"n":{n}{padding}}}"#));
        self.by_body.insert(body.clone(), n);
        self.given.push(Given { parked: false, at_ms: 0, kind, thing, body });
        n
    }

    /// Takes note of what the writer measured: full it stays until it is well below.
    pub(super) fn measured(&mut self, size: Size) {
        let (max, taken) = (self.scene.max_size, size.pages + size.log.saturating_sub(LOG_BYTES));
        self.is_full = taken >= max || self.is_full && taken > max / 100 * 95;
        self.size = size;
    }

    /// Returns what may go before its time: where it was asked for, and there is too little room, or a disk was full.
    fn may_go(&self) -> MayGo {
        let drops = self.scene.when_full == WhenFull::DropDeliveredFirst;
        let is_above = |percent| self.size.pages > self.scene.max_size / 100 * percent;
        let early = drops && (is_above(90) || self.disk_failed);
        // Those too that a clock received which was ahead.
        let before =
            if early { Timestamp::MAX } else { self.clock.now().saturating_sub(RETENTION).unwrap_or(Timestamp::MIN) };
        MayGo { delivered_before_ms: before.as_millisecond(), oldest: drops && is_above(95) }
    }

    /// Begins to look at a file, and compares it with what it may hold.
    pub(super) fn open(&mut self, connection: Connection, may_hold: &[Rows]) -> rusqlite::Result<()> {
        let rows = Rows::read(&connection)?;
        let fits = may_hold.contains(&rows);
        self.hold(rows.check());
        if !fits {
            self.hold(Err(format!("the file holds {rows:?} after a start, and should hold one of {may_hold:?}")));
        }
        let last = rows.last_event;
        self.rows = rows;
        // Numbers that were never durable are given again.
        let lost: Vec<usize> = self.events.range(last + 1..).map(|(_, n)| *n).collect();
        self.events.retain(|id, _| *id <= last);
        self.by_request.retain(|_, id| *id <= last);
        self.taken.retain(|place| place.1 <= last);
        self.posts.retain(|place, _| place.1 <= last);
        self.settled.retain(|place, _| place.1 <= last);
        self.disturbed.retain(|place| place.1 <= last);
        for n in lost.into_iter().filter(|n| !self.purged.contains(n)) {
            self.ever_stored.remove(&n);
        }
        self.ever_stored.extend(self.events.values());
        let checked = self.nothing_is_lost();
        self.hold(checked);
        self.seen_version = connection.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        self.breakers.restart(open_breakers(&connection)?);
        if self.clock_was_set || self.disk_failed {
            self.breakers.forget();
        }
        let lost: Vec<i64> =
            self.appended.iter().filter(|n| !self.ever_stored.contains(n)).map(|n| self.given[*n].at_ms).collect();
        self.truth.ended(self.clock.now().as_millisecond(), lost.into_iter());
        (self.is_full, self.is_closing, self.size) = (false, false, Size::default());
        self.look = Some(connection);
        Ok(())
    }

    /// Holds a write that was made against the reference; tells whether it changed anything.
    pub(super) fn wrote(&mut self, write: &Write<'_>) -> rusqlite::Result<bool> {
        let Some(look) = &self.look else { return Ok(false) };
        let version = look.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        let is_commit = matches!(write, Write::Commit(_));
        if version == self.seen_version && !is_commit {
            return Ok(false);
        }
        self.seen_version = version;
        let rows = Rows::read(look)?;
        let look_pages = if self.scene.is_narrow() { pages(look)? } else { 0 };
        let before = std::mem::replace(&mut self.rows, rows);
        let checked = self.rows.follows(&before, write, self.may_go());
        self.hold(checked);
        let checked = self.has_room(write, look_pages);
        self.hold(checked);
        if matches!(write, Write::Erase(Erasure::Oldest)) {
            let gone =
                |rows: &Rows| rows.parked.len() + rows.deliveries.values().filter(|row| row.state == DEAD).count();
            self.dropped += (gone(&before) - gone(&self.rows)) as u64;
            self.count("drops");
        }
        for id in before.events.keys().filter(|id| !self.rows.events.contains_key(id)) {
            self.purged.extend(self.events.get(id));
        }
        if let Write::Commit(batch) = write {
            let checked = self.committed(&before, batch);
            self.hold(checked);
        } else {
            self.disturb(&before);
        }
        Ok(true)
    }

    /// No event is taken where there is no room, and the one that fills it goes beyond by no more than itself.
    fn has_room(&mut self, write: &Write<'_>, pages: u64) -> Result<(), String> {
        let Write::Commit(batch) = write else { return Ok(()) };
        if batch.events.is_empty() || self.is_closing || self.disk_failed || !self.scene.is_narrow() {
            return Ok(());
        }
        if self.is_full {
            return Err(format!("events were taken while there was no room: {:?}", self.size));
        }
        let largest = batch.events.iter().map(|new| new.event.body.len() as u64).max().unwrap_or_default();
        let most = self.scene.max_size + 2 * largest + SLACK;
        if pages > most {
            return Err(format!("a commit took {pages} bytes of {}", self.scene.max_size));
        }
        Ok(())
    }

    /// Says that from now on the routes are those that were asked for.
    pub(super) fn rerouted(&mut self) {
        self.routes = self.next_routes.clone();
    }

    fn disturb(&mut self, before: &Rows) {
        for (place, row) in &self.rows.deliveries {
            if row.state < DELIVERED && before.deliveries.get(place).is_none_or(|was| was.state >= DELIVERED) {
                self.disturbed.insert(*place);
                self.taken.remove(place);
            }
        }
    }

    /// Holds what a commit stored against what was given, and what it settled against what handlers did.
    fn committed(&mut self, before: &Rows, batch: &Batch) -> Result<(), String> {
        for new in &batch.events {
            let event = &new.event;
            let n = *self.by_body.get(&event.body).ok_or("an event was stored that was never given")?;
            let wanted: BTreeSet<i64> = self
                .rows
                .destinations
                .iter()
                .filter(|(_, known)| {
                    let wants =
                        |(name, filter): &(String, EventFilter)| *name == known.name && filter.wants(&event.kind);
                    self.routes.iter().any(wants)
                })
                .map(|(id, _)| *id)
                .collect();
            let is_parked = self.given[n].parked;
            if new.parked.is_some() != is_parked || self.rows.parked.contains(&event.id.0) != is_parked {
                return Err(format!("event {} cannot be delivered: {is_parked}, and it is not so stored", event.id));
            }
            let wanted = if is_parked { BTreeSet::new() } else { wanted };
            if wanted != new.destinations.iter().map(|id| id.0).collect() {
                return Err(format!("event {} goes to {:?}, and is wanted by {wanted:?}", event.id, new.destinations));
            }
            let twin = self.events.iter().rev().find(|(id, known)| **known == n && before.events.contains_key(id));
            let recent = twin.and_then(|(id, _)| before.events.get(id)).is_some_and(|received_at| {
                event.received_at.as_millisecond().abs_diff(*received_at) < WINDOW.as_millis() as u64
            });
            if recent && !self.clock_was_set && !self.key_was_changed {
                return Err(format!("event {} is a repeat, and was stored as an event", event.id));
            }
            self.events.insert(event.id.0, n);
            self.by_request.insert(event.request_id.to_string(), event.id.0);
            self.stored.push(n);
            self.numbered.push(n);
            self.ever_stored.insert(n);
        }
        for repeat in &batch.repeats {
            let of = self.events.get(&repeat.of.0).copied();
            let n = of.ok_or("a repeat of nothing")?;
            let first = self.rows.events.get(&repeat.of.0).copied().unwrap_or(repeat.at.as_millisecond());
            let age = SignedDuration::from_millis(repeat.at.as_millisecond() - first).abs();
            if age >= WINDOW {
                return Err(format!("event {} came again after {age}, and was dropped as a repeat", repeat.of));
            }
            self.stored.push(n);
            self.count("repeats");
        }
        for settlement in &batch.settlements {
            let place = (settlement.destination.0, settlement.event.0);
            *self.settled.entry(place).or_default() += 1;
            let Some(row) = before.deliveries.get(&place).filter(|row| row.state < DELIVERED) else { continue };
            let is_counted = settlement.attempts == row.attempts + 1;
            let is_attempt = settlement.failed.is_some() || matches!(settlement.outcome, Outcome::Delivered { .. });
            let may_not_count = !is_attempt || (settlement.failed.is_some() && self.breaker_may_be_open(place.0));
            let is_kept = may_not_count && settlement.attempts == row.attempts;
            if !is_counted && !is_kept {
                return Err(format!(
                    "{place:?} was attempted {} times, and {} after that",
                    row.attempts, settlement.attempts
                ));
            }
            match &settlement.outcome {
                Outcome::Delivered { .. } => {
                    if !self.taken.contains(&place) {
                        return Err(format!("{place:?} counts as delivered, and no handler took it"));
                    }
                    self.in_order(before, place)?;
                    self.count("delivered");
                }
                Outcome::Dead { .. } => {
                    if self.taken.contains(&place) && self.starts == 1 {
                        return Err(format!("{place:?} was given up, and the handler had taken it"));
                    }
                    self.count("dead");
                }
                Outcome::Retry { .. } => self.count("retries"),
            }
        }
        for place in revived(batch) {
            if self.rows.deliveries.get(&place).is_none_or(|row| row.state != RETRY) {
                continue;
            }
            self.disturbed.insert(place);
            self.taken.remove(&place);
            self.count("revivals");
        }
        let opened = self.breakers.committed(batch, &self.rows)?;
        (0..opened).for_each(|_| self.count("breakers"));
        Ok(())
    }

    /// Tells whether so much was asked of a handler that a breaker can have opened, which counts no attempt.
    fn breaker_may_be_open(&self, destination: i64) -> bool {
        self.posts.iter().filter(|(place, _)| place.0 == destination).map(|(_, posts)| *posts).sum::<u32>() >= BREAKER
    }

    /// In strict order, nothing is delivered before an earlier event about its thing is settled.
    fn in_order(&self, before: &Rows, (destination, event): Place) -> Result<(), String> {
        let thing = |id: &u64| self.events.get(id).and_then(|n| self.given[*n].thing);
        let Some(about) = thing(&event) else { return Ok(()) };
        if !self.strict.contains(&destination) || self.disturbed.contains(&(destination, event)) {
            return Ok(());
        }
        let earlier =
            self.rows.deliveries.range((destination, 0)..(destination, event)).map(|(place, row)| (place, row.state));
        for (place, state) in earlier {
            let same = thing(&place.1) == Some(about) && !self.disturbed.contains(place);
            if same && state < DELIVERED && before.deliveries.contains_key(place) {
                return Err(format!("{destination}:{event} was delivered before {}", place.1));
            }
        }
        Ok(())
    }

    /// What an operator was told is done stands in the audit table.
    pub(super) fn audit_is_complete(&mut self) {
        let Some(look) = &self.look else { return };
        let missing = self.audited.iter().find(|who| {
            let found = look.prepare_cached("SELECT 1 FROM audit WHERE who = ?1").and_then(|mut row| row.exists([who]));
            !found.expect("readable")
        });
        if let Some(who) = missing.cloned() {
            self.hold(Err(format!("what {who} did is not in the audit table")));
        }
    }

    /// Every request was reported, or cut off by an end of the bridge.
    pub(super) fn requests_are_bounded(&self) -> Result<(), String> {
        for (place, posts) in &self.posts {
            // With two secrets, or over a connection that had ended, an attempt is two requests.
            let most = 2 * (self.settled.get(place).copied().unwrap_or(0) + self.starts);
            if *posts > most {
                return Err(format!("{place:?} was posted {posts} times, and reported {:?}", self.settled.get(place)));
            }
        }
        Ok(())
    }

    /// All that was acknowledged as durable was stored.
    pub(super) fn nothing_is_lost(&self) -> Result<(), String> {
        match self.durable.iter().find(|n| !self.ever_stored.contains(n)) {
            Some(n) => Err(format!("event {n} was acknowledged as durable, and is gone")),
            None => Ok(()),
        }
    }
}

/// Returns the bytes of the pages that hold something.
fn pages(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?)
}

pub(super) fn start_of_time() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("within range")
}
