//! Replays: deliveries that are made again because an operator says so.
//!
//! A replay never touches what is still on its way: a delivery that waits or is being retried is left alone and
//! counted as skipped. What was delivered or given up becomes due again, and with [`Scope::To`] what the
//! destination never had is added. Attempts and age begin anew; body and request id stay.
//!
//! It is done in small steps between commits, in the order of the events, and looks at no event that came after
//! it was asked for. A rate is kept by the due times that it writes, so that it needs nobody to keep it, and holds
//! across restarts. A replay that was cut short may be given again: what it made due and is still on its way is skipped.

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{oneshot, watch};

use super::record::DestinationId;
use super::store::Store as _;
use super::{Closed, Command, Spool, SpoolError, at_rest};
use crate::config::filter::Pattern;
use crate::event::EventId;

/// Deliveries of one step where no commit waits for it.
const STEP_AT_REST: usize = 1000;

/// Chooses deliveries: all that is named must fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Dead letters, or whatever became of events.
    pub scope: Scope,
    /// Only these events; empty means any.
    pub events: Vec<EventId>,
    /// Only types that fit.
    pub kind: Option<Pattern>,
    /// Only events received at this time or later.
    pub since: Option<Timestamp>,
    /// Only events received before this time.
    pub until: Option<Timestamp>,
}

/// Says which deliveries of an event are meant.
#[derive(Clone, Debug, PartialEq)]
pub enum Scope {
    /// Those that were given up.
    Dead {
        /// Only at this destination.
        destination: Option<Box<str>>,
        /// Only for this reason.
        cause: Option<Box<str>>,
    },
    /// Those that there are, delivered ones too.
    Had {
        /// Only to this destination.
        destination: Option<Box<str>>,
    },
    /// That to this destination, whether there is one or not; an event that it never had must be one that it wants.
    To(Box<str>),
}

impl Scope {
    /// Returns the destination that is named, if one is.
    pub fn destination(&self) -> Option<&str> {
        match self {
            Self::Dead { destination, .. } | Self::Had { destination } => destination.as_deref(),
            Self::To(destination) => Some(destination),
        }
    }
}

impl Selection {
    /// Chooses everything within a scope.
    pub fn all(scope: Scope) -> Self {
        Self { scope, events: Vec::new(), kind: None, since: None, until: None }
    }

    /// Tells whether an event fits, whatever became of it.
    pub(super) fn takes(&self, kind: &str, received_at: Timestamp) -> bool {
        self.kind.as_ref().is_none_or(|pattern| pattern.matches(kind))
            && self.since.is_none_or(|since| received_at >= since)
            && self.until.is_none_or(|until| received_at < until)
    }
}

/// Shows the choice as the audit table keeps it.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = |name: &Option<Box<str>>| name.as_deref().unwrap_or("any").to_owned();
        match &self.scope {
            Scope::Dead { destination, cause } => {
                write!(f, "dead letters, destination {}", any(destination))?;
                if let Some(cause) = cause {
                    write!(f, ", cause {cause}")?;
                }
            }
            Scope::Had { destination } => write!(f, "events, destination {}", any(destination))?,
            Scope::To(destination) => write!(f, "events, to {destination}")?,
        }
        if let Some(kind) = &self.kind {
            write!(f, ", type {kind}")?;
        }
        if let Some(since) = self.since {
            write!(f, ", since {since:.3}")?;
        }
        if let Some(until) = self.until {
            write!(f, ", until {until:.3}")?;
        }
        if !self.events.is_empty() {
            let ids: Vec<String> = self.events.iter().map(EventId::to_string).collect();
            write!(f, ", events {}", ids.join(" "))?;
        }
        Ok(())
    }
}

/// Counts what a selection comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Deliveries that are made again, or would be.
    pub replayed: u64,
    /// Deliveries that are still on their way, and stay as they are.
    pub skipped: u64,
    /// Events that the destination never had and does not want, or that cannot be delivered.
    pub unwanted: u64,
}

impl Counts {
    pub(super) fn add(&mut self, more: Self) {
        self.replayed += more.replayed;
        self.skipped += more.skipped;
        self.unwanted += more.unwanted;
    }
}

/// Is how far a replay has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// What was done so far.
    pub counts: Counts,
    /// When the last of it is due, as far as it has come.
    pub last_due: Option<Timestamp>,
    /// Where it stands.
    pub stage: Stage,
}

/// Is where a replay stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Stage {
    /// There is more to do.
    #[default]
    Running,
    /// It is complete.
    Done,
    /// It broke off; what was made due stays so.
    Failed(Box<str>),
}

/// Asks for a replay.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is replayed.
    pub selection: Selection,
    /// How many deliveries a second to each destination; `None` is as fast as its lane goes.
    pub rate: Option<NonZeroU32>,
    /// Who asks, for the audit table.
    pub who: Box<str>,
}

/// Is a place in the order of deliveries: by event, then by destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) event: EventId,
    pub(crate) destination: DestinationId,
}

impl Place {
    /// Is before every delivery.
    pub(crate) const START: Self = Self { event: EventId(0), destination: DestinationId(i64::MIN) };

    /// Returns the place behind every delivery of an event.
    pub(crate) fn behind(event: EventId) -> Self {
        Self { event, destination: DestinationId(i64::MAX) }
    }
}

/// Is a replay under way.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) request: Request,
    /// When it was asked for: due times count from here.
    pub(crate) started_at: Timestamp,
    /// The last event that it looks at.
    pub(crate) until: EventId,
    /// Up to where it has come.
    pub(crate) after: Place,
    /// How many deliveries each destination has been given.
    pub(crate) given: Vec<(DestinationId, u64)>,
    /// The row of the audit table in which it began, if it takes more than one step.
    pub(crate) audit: Option<i64>,
    pub(crate) progress: Progress,
}

impl Replay {
    /// Begins one, before the first event.
    pub(crate) fn new(request: Request, started_at: Timestamp, until: EventId) -> Self {
        let (given, progress) = (Vec::new(), Progress::default());
        Self { request, started_at, until, after: Place::START, given, audit: None, progress }
    }

    /// Returns when the next delivery to a destination is due, as far as the rate says.
    pub(crate) fn next_due(&mut self, destination: DestinationId) -> Timestamp {
        let Some(rate) = self.request.rate else { return self.started_at };
        let position = self.given.iter().position(|(id, _)| *id == destination).unwrap_or_else(|| {
            self.given.push((destination, 0));
            self.given.len() - 1
        });
        let (_, given) = &mut self.given[position];
        let passed = i64::try_from(*given * 1000 / u64::from(rate.get())).unwrap_or(i64::MAX);
        *given += 1;
        self.started_at.saturating_add(SignedDuration::from_millis(passed)).unwrap_or(Timestamp::MAX)
    }
}

impl Spool {
    /// Begins a replay, and returns what watches it; that `who` asked for it stands in the audit table. It goes on
    /// when nobody watches.
    ///
    /// # Errors
    /// When the spool has been closed, or too many replays are under way.
    pub async fn replay(&self, request: Request) -> Result<watch::Receiver<Progress>, SpoolError> {
        let (reply, answer) = oneshot::channel();
        self.appender.send(Command::Replay { request, reply }).await?;
        answer.await.map_err(|_| Closed)?
    }
}

/// Replays in a spool that no bridge works on, telling of each step; the next bridge delivers what it made due.
///
/// # Errors
/// When the spool is missing, in use, or cannot be written.
pub fn replay_at_rest(
    path: &Path,
    request: Request,
    now: Timestamp,
    mut tell: impl FnMut(&Progress),
) -> Result<Progress, SpoolError> {
    let mut store = at_rest(path, now)?;
    let until = store.last_event()?;
    let mut replay = Replay::new(request, now, until);
    while replay.progress.stage == Stage::Running {
        store.replay(&mut replay, STEP_AT_REST, now)?;
        tell(&replay.progress);
    }
    Ok(replay.progress)
}
