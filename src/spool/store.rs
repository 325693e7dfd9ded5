//! What an engine must be able to do: one half writes, the other reads.
//!
//! SQLite is the engine; the traits name what the rest of the program relies on, so that a second
//! engine has a list to fulfil.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;

use super::SpoolError;
use super::audit::Link;
use super::erasure::Progress;
use super::record::{
    Acknowledgement, AuditRow, DeadGroup, DeadQuery, DeadRow, DestinationId, DestinationRow, EventDetail, EventQuery,
    EventRow, GapNote, GapRow, GroupCursor, Groups, Opened, Page, Pause, SubscriptionRow,
};
use super::rekey::Rekey;
use super::replay::{Counts, Replay, Selection};
use super::settlement::Settlement;
use super::writer::Destined;
use crate::event::{Digest, Event, EventId};

/// Is what one commit makes durable, all of it or nothing.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<NewEvent>,
    pub(crate) repeats: Vec<Repeat>,
    pub(crate) settlements: Vec<Settlement>,
    pub(crate) ledger: Vec<LedgerEntry>,
}

impl Batch {
    /// Splits off what lanes report; what sources bring stays, in its order.
    pub(crate) fn split_reports(&mut self) -> Self {
        let ledger = std::mem::take(&mut self.ledger);
        let (reports, ledger) = ledger.into_iter().partition(|entry| matches!(entry, LedgerEntry::Breaker { .. }));
        self.ledger = ledger;
        Self { settlements: std::mem::take(&mut self.settlements), ledger: reports, ..Self::default() }
    }

    /// Takes note of an event that comes after all that the batch holds. The ledger is written last: an older sign of life
    /// in it would stand for the newest.
    pub(crate) fn heard(&mut self, by: &str, received_at: Timestamp) {
        let last = self.ledger.iter_mut().rev().find(|entry| entry.subscription() == Some(by));
        match last {
            Some(LedgerEntry::Alive { at, .. }) => *at = received_at,
            Some(LedgerEntry::GapClosed { subscription, .. }) => {
                let subscription = Arc::clone(subscription);
                self.ledger.push(LedgerEntry::Alive { subscription, at: received_at });
            }
            Some(LedgerEntry::GapOpened { .. } | LedgerEntry::Breaker { .. }) | None => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.repeats.is_empty() && self.settlements.is_empty() && self.ledger.is_empty()
    }
}

/// Is a part of a batch that others must not wait for, should the file be damaged where it belongs.
///
/// Positions are those in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// That a body came again.
    Repeat(usize),
    /// What became of an attempt.
    Report(usize),
    /// How an attempt went, beside what became of it.
    Attempt(usize),
    /// Which event was the last before a gap.
    LastBefore(usize),
    /// A dead letter that has another chance.
    Revival(DestinationId, EventId),
    /// That there is one dead letter more of its cause, or one less.
    Count(DestinationId, EventId),
}

impl Part {
    /// Names what is not stored without it, for a metric.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Report(_) => "report",
            Self::Revival(..) => "revival",
            Self::Repeat(_) | Self::Attempt(_) | Self::LastBefore(_) | Self::Count(..) => "history",
        }
    }

    /// Says what is not stored without it, and what follows.
    pub(crate) fn words(self, batch: &Batch) -> String {
        let of = |nth: usize| batch.settlements.get(nth).map(|one| (one.event, one.destination.0)).unwrap_or_default();
        match self {
            Self::Repeat(_) => "a repeat is not counted".to_owned(),
            Self::Report(nth) => {
                let (event, destination) = of(nth);
                format!(
                    "what became of event {event} at destination {destination} is not stored: it is left alone until the next start"
                )
            }
            Self::Attempt(nth) => format!("an attempt at event {} is not kept", of(nth).0),
            Self::LastBefore(_) => "which event came last before a gap is not known".to_owned(),
            Self::Revival(destination, event) => {
                format!("event {event} has no other chance at destination {}: it stays a dead letter", destination.0)
            }
            Self::Count(destination, event) => format!(
                "how many dead letters destination {} has of each cause is told wrong by event {event}",
                destination.0
            ),
        }
    }
}

/// Is an event with all that its rows need.
pub(crate) struct NewEvent {
    pub(crate) event: Arc<Event>,
    pub(crate) digest: Digest,
    pub(crate) parked: Option<&'static str>,
    /// Who wants it.
    pub(crate) destinations: Arc<[DestinationId]>,
}

/// Is a body that came again.
pub(crate) struct Repeat {
    /// The event that had it first.
    pub(crate) of: EventId,
    pub(crate) subscription: Arc<str>,
    pub(crate) at: Timestamp,
}

/// Is what is told of sockets and breakers.
pub(crate) enum LedgerEntry {
    Alive {
        subscription: Arc<str>,
        at: Timestamp,
    },
    GapOpened {
        subscription: Arc<str>,
        at: Timestamp,
        reason: Box<str>,
    },
    /// `since` is the latest that the gap can have begun, as the clock shows it that tells its end.
    GapClosed {
        subscription: Arc<str>,
        at: Timestamp,
        since: Timestamp,
    },
    /// `revived` are refused events that have another chance once it has opened: as dead letters they would be the work of
    /// a handler that refuses everything.
    Breaker {
        destination: DestinationId,
        opened: Option<Opened>,
        revived: Vec<EventId>,
    },
}

impl LedgerEntry {
    fn subscription(&self) -> Option<&str> {
        match self {
            Self::Alive { subscription, .. }
            | Self::GapOpened { subscription, .. }
            | Self::GapClosed { subscription, .. } => Some(subscription),
            Self::Breaker { .. } => None,
        }
    }
}

/// Is what is stored of a destination that a lane begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registered {
    pub(crate) id: DestinationId,
    pub(crate) pause: Pause,
    pub(crate) breaker: Option<Opened>,
    /// Whether it has yet to get some of what was received before it.
    pub(crate) is_filling: bool,
}

/// Is what a step of a fill came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There is more to do.
    Partly,
    /// The destination has been given all of it: so many events.
    Complete { events: u64 },
}

/// Is what is compared before an event counts as a repeat.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Identity {
    pub(crate) id: EventId,
    pub(crate) digest: Digest,
    pub(crate) subscription: Box<str>,
    pub(crate) received_at: Timestamp,
    /// It is kept as it came, and was never delivered.
    pub(crate) parked: bool,
}

/// The write-ahead log may take this much beside the pages; it is cut back to it once it has been copied.
pub(crate) const LOG_BYTES: u64 = 64 << 20;

/// Is what a spool takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Size {
    /// Pages that hold something.
    pub(crate) pages: u64,
    /// The write-ahead log.
    pub(crate) log: u64,
}

/// Counts what a spool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Contents {
    pub(crate) events: u64,
    pub(crate) parked: u64,
    /// Deliveries that wait.
    pub(crate) pending: u64,
    pub(crate) dead: u64,
}

/// Is the writing half of an engine. Every method is one transaction.
pub(crate) trait Store: Send {
    /// Returns the number of the last event that was ever stored, purged ones included.
    fn last_event(&mut self) -> Result<EventId, SpoolError>;
    /// Returns the identities of the newest events, newest first, down to many that were received before
    /// `since`; there may be a few of those among them.
    fn newest(&mut self, limit: usize, since: Timestamp) -> Result<Vec<Identity>, SpoolError>;
    /// Returns the identity of one event.
    fn identity(&mut self, id: EventId) -> Result<Option<Identity>, SpoolError>;
    /// Makes a batch durable, or changes nothing; returns what it went without, since the file is damaged where that
    /// belongs.
    fn commit(&mut self, batch: &Batch) -> Result<BTreeSet<Part>, SpoolError>;
    /// Returns what is stored of these destinations; for those that are new, a fill begins unless they start now.
    fn register(&mut self, destinations: &[Destined]) -> Result<Vec<Registered>, SpoolError>;
    /// Pauses or resumes a destination; `None` when there is none of this name.
    fn pause(
        &mut self,
        name: &str,
        pause: Pause,
        who: &str,
        now: Timestamp,
    ) -> Result<Option<DestinationId>, SpoolError>;
    /// Notes that an operator has dealt with a gap that is over.
    fn acknowledge(
        &mut self,
        gap: i64,
        note: &GapNote,
        who: &str,
        now: Timestamp,
    ) -> Result<Acknowledgement, SpoolError>;
    /// Adds a row to the audit table.
    fn audit(&mut self, who: &str, action: &str, detail: &str, now: Timestamp) -> Result<(), SpoolError>;
    /// Tells in the audit table that a change is over that began in this row, and why it broke off if it did.
    fn end_task(&mut self, begun: i64, broken_off: Option<&str>, now: Timestamp) -> Result<(), SpoolError>;
    /// Tells so of every change that an earlier process began and told no end of.
    fn end_tasks(&mut self, now: Timestamp) -> Result<(), SpoolError>;
    /// Takes at most `limit` rows from the front of the audit table that are older than `cutoff`; returns how many.
    fn trim_audit(&mut self, cutoff: Timestamp, limit: usize) -> Result<usize, SpoolError>;
    /// Makes sure that each of these subscriptions has a gap open: none of them has a socket yet.
    fn begin(&mut self, subscriptions: &[Arc<str>], now: Timestamp) -> Result<(), SpoolError>;
    /// Takes the next step of a replay, which makes about `limit` deliveries due at most; returns to whom, and from
    /// when on. After an error the replay must not go on.
    fn replay(
        &mut self,
        replay: &mut Replay,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<(DestinationId, Timestamp)>, SpoolError>;
    /// Takes the next step of giving a new destination what was received before it: about `limit` events at most.
    fn fill(&mut self, destination: DestinationId, limit: usize, now: Timestamp) -> Result<Filled, SpoolError>;
    /// Deletes settled events that were received before `cutoff`, looking at no more than `limit` of those
    /// that come after `after`; returns where it stopped, or `None` when it has seen all. What was received after `now`,
    /// by a clock that was set back since, says nothing of what comes after it.
    fn purge(
        &mut self,
        after: EventId,
        cutoff: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<Option<EventId>, SpoolError>;
    /// Returns behind which event a purge goes on that comes upon damage right behind `after`: the next event, where that
    /// can be read, or the last that cannot; `None` where none comes behind.
    fn pass_over(&mut self, after: EventId) -> Result<Option<EventId>, SpoolError>;
    /// Takes one step of an erasure, of some milliseconds; returns how far it has come.
    fn erase(&mut self, progress: Progress, now: Timestamp) -> Result<Progress, SpoolError>;
    /// Takes one step of a rekeying, of some milliseconds; returns how far it has come.
    fn rekey(&mut self, rekey: Rekey, now: Timestamp) -> Result<Rekey, SpoolError>;
    /// Notes that these destinations are configured, and no others.
    fn configured(&mut self, names: &[Arc<str>], now: Timestamp) -> Result<(), SpoolError>;
    /// Returns what the spool takes.
    fn size(&mut self) -> Result<Size, SpoolError>;
    /// Returns what it is taken by.
    fn contents(&mut self) -> Result<Contents, SpoolError>;
}

/// Is a change that is made between two batches, given the time; it tells whoever asked what came of it.
pub(crate) type Change = Box<dyn FnOnce(&mut dyn Store, Timestamp) + Send>;

/// Is a delivery whose next attempt is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// The event.
    pub event: Arc<Event>,
    /// Attempts made since it was stored or last replayed.
    pub attempts: u32,
    /// When it was stored or last replayed.
    pub since: Timestamp,
    /// Since when it is due.
    pub due: Timestamp,
    /// How often it was replayed.
    pub replays: u32,
    /// Nothing was reported of it since the spool itself made it due: a replay, a fill, a revival.
    pub is_planned: bool,
}

/// Is a delivery that waits for its retry.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The event.
    pub event: Arc<Event>,
    /// When its next attempt is due.
    pub due: Timestamp,
}

/// Reads a spool as operators do.
///
/// What may have to look at very many rows comes in parts, each of which takes some tens of milliseconds whatever the
/// spool holds; a part that ends before its list does says where to go on.
pub trait View: Send {
    /// Looks for events, newest first: a page of them, or what was found of it.
    ///
    /// # Errors
    /// When the spool cannot be read; the same holds for every method.
    fn search(&mut self, query: &EventQuery) -> Result<Page<EventRow>, SpoolError>;
    /// Looks for dead letters, newest event first. Those of one event are all on one page, which may be longer for it.
    fn search_dead(&mut self, query: &DeadQuery) -> Result<Page<DeadRow>, SpoolError>;
    /// Groups dead letters that a query fits by destination and cause, going on behind a cursor, if one is given;
    /// whatever the query's own cursor and limit.
    fn search_groups(&mut self, query: &DeadQuery, after: Option<&GroupCursor>) -> Result<Groups, SpoolError>;
    /// Lists the names of all destinations that the spool ever had.
    fn destination_names(&mut self) -> Result<Vec<Box<str>>, SpoolError>;
    /// Lists events, newest first, however many have to be looked at.
    fn events(&mut self, query: &EventQuery) -> Result<Vec<EventRow>, SpoolError> {
        let (mut rows, mut query) = (Vec::new(), query.clone());
        loop {
            let page = self.search(&query)?;
            query.limit = query.limit.saturating_sub(page.rows.len());
            rows.extend(page.rows);
            match page.next {
                Some(next) if query.limit > 0 => query.before = Some(next),
                Some(_) | None => return Ok(rows),
            }
        }
    }
    /// Returns one event with all that is known of it.
    fn event(&mut self, id: EventId) -> Result<Option<EventDetail>, SpoolError>;
    /// Lists dead letters, newest first, however many have to be looked at.
    fn dead(&mut self, query: &DeadQuery) -> Result<Vec<DeadRow>, SpoolError> {
        let (mut rows, mut query) = (Vec::new(), query.clone());
        loop {
            let page = self.search_dead(&query)?;
            query.limit = query.limit.saturating_sub(page.rows.len());
            rows.extend(page.rows);
            match page.next {
                Some(next) if query.limit > 0 => query.before = Some(next),
                Some(_) | None => return Ok(rows),
            }
        }
    }
    /// Groups all dead letters that a query fits, the largest group first.
    fn dead_groups(&mut self, query: &DeadQuery) -> Result<Vec<DeadGroup>, SpoolError> {
        let mut all = self.search_groups(query, None)?;
        while let Some(after) = all.next.take() {
            all.join(self.search_groups(query, Some(&after))?);
        }
        Ok(all.groups)
    }
    /// Counts what a selection comes to now; once it is more than `most`, that is all it tells.
    fn survey(&mut self, selection: &Selection, most: u64) -> Result<Counts, SpoolError>;
    /// Lists gaps, newest first.
    fn gaps(&mut self, limit: usize) -> Result<Vec<GapRow>, SpoolError>;
    /// Lists changes that operators made, newest first: those before a number, if one is given.
    fn audit(&mut self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRow>, SpoolError>;
    /// Goes through the audit table, oldest first, each row with the link before it, until it is told to end; returns
    /// the last link.
    fn audit_chain(&mut self, each: &mut dyn FnMut(&Link, AuditRow) -> ControlFlow<()>) -> Result<Link, SpoolError>;
    /// Lists every destination that the spool ever had, configured now or not.
    fn destinations(&mut self) -> Result<Vec<DestinationRow>, SpoolError>;
    /// Lists every subscription that the spool ever had.
    fn subscriptions(&mut self) -> Result<Vec<SubscriptionRow>, SpoolError>;
    /// Counts the parked frames that are kept.
    fn parked(&mut self) -> Result<u64, SpoolError>;
    /// Counts what is kept of deliveries that a destination took.
    fn delivered(&mut self, destination: DestinationId) -> Result<u64, SpoolError>;
}

/// Says how a page is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// At once: where a part of it cannot be read, none of it is.
    AsOne,
    /// Event by event: what cannot be read comes without its body, and says why.
    Singly,
}

/// Is how much a page may hold: events, and about so many bytes of bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// Reads a spool as lanes do.
pub(crate) trait Pages: View {
    /// Returns the next events after `after`, up to `until`, that were never attempted.
    ///
    /// # Errors
    /// When the spool cannot be read; the same holds for every method.
    fn fresh(
        &mut self,
        destination: DestinationId,
        range: (EventId, EventId),
        most: Most,
        how: Reading,
    ) -> Result<Vec<Arc<Event>>, SpoolError>;
    /// Returns deliveries whose next attempt is due after `after`, up to `until`, the longest due first, skipping those
    /// in `except`.
    fn due(
        &mut self,
        destination: DestinationId,
        range: (Timestamp, Timestamp),
        most: Most,
        except: &[EventId],
        how: Reading,
    ) -> Result<Vec<Due>, SpoolError>;
    /// Returns the next deliveries that wait for their retry after this place, the soonest due first.
    fn waiting(
        &mut self,
        destination: DestinationId,
        after: (Timestamp, EventId),
        limit: usize,
        how: Reading,
    ) -> Result<Vec<Waiting>, SpoolError>;
    /// Tells until when replays have planned ahead, if what is due last was planned by one.
    fn planned_until(&mut self, destination: DestinationId, how: Reading) -> Result<Option<Timestamp>, SpoolError>;
    /// Tells when the first retry is due, leaving out those in `except`.
    fn next_due(
        &mut self,
        destination: DestinationId,
        except: &[EventId],
        how: Reading,
    ) -> Result<Option<Timestamp>, SpoolError>;
}
