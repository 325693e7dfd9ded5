//! What is deleted before retention would: by an operator's word, or for want of room.
//!
//! It goes in steps, each a transaction of its own between two commits. The audit table says when it begins, and what it
//! has come to when it ends or, found by the next process, was cut short: asking again does the rest.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::{DeadQuery, DestinationId};
use crate::event::EventId;
use crate::wording::{counted, list};

/// Says what is to be deleted.
#[derive(Clone, Debug)]
pub enum Erasure {
    /// Dead letters, each with its event unless that is wanted elsewhere; one that others have stays as long as
    /// `retention` says.
    Dead(DeadQuery),
    /// Frames that are kept but cannot be delivered, received before this time.
    Parked {
        /// The time.
        until: Timestamp,
    },
    /// All that is kept for a destination that is no longer configured, the record of what it took included, and its name.
    Orphan {
        /// Its name.
        destination: Box<str>,
    },
    /// Dead letters and parked frames, the oldest first, until somebody says that it is enough.
    Oldest,
}

impl Erasure {
    /// Returns its name in the audit table.
    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::Dead(_) => "purge_dead",
            Self::Parked { .. } => "purge_parked",
            Self::Orphan { .. } => "purge_orphan",
            Self::Oldest => "drop_oldest",
        }
    }
}

/// Shows the choice as the audit table keeps it.
impl fmt::Display for Erasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead(query) => query.fmt(f),
            Self::Parked { until } => write!(f, "received before {until:.3}"),
            Self::Orphan { destination } => write!(f, "destination {destination}, no longer configured"),
            Self::Oldest => f.write_str("the oldest, to make room"),
        }
    }
}

/// Counts what was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Erased {
    /// Dead letters.
    pub dead: u64,
    /// Deliveries that were waiting.
    pub pending: u64,
    /// Parked frames.
    pub parked: u64,
    /// Records of deliveries that were made.
    #[serde(default)]
    pub delivered: u64,
}

impl Erased {
    /// Returns how many there are of everything.
    pub fn total(&self) -> u64 {
        self.dead + self.pending + self.parked + self.delivered
    }
}

impl fmt::Display for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dead, pending, parked, delivered } = *self;
        let counts = [
            (dead, "dead letter"),
            (pending, "waiting event"),
            (parked, "parked frame"),
            (delivered, "delivery record"),
        ];
        let counts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, noun)| counted(*count, noun)).collect();
        f.pad(&if counts.is_empty() { "nothing".to_owned() } else { list(&counts) })
    }
}

/// Is an erasure between two steps.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) what: Erasure,
    pub(crate) who: Box<str>,
    /// The last that was looked at.
    pub(crate) after: (DestinationId, EventId),
    /// The row of the audit table in which it began, if it takes more than one step.
    pub(crate) audit: Option<i64>,
    pub(crate) erased: Erased,
    /// Nothing is left to look at.
    pub(crate) complete: bool,
}

impl Progress {
    pub(crate) fn new(what: Erasure, who: &str) -> Self {
        let after = (DestinationId(0), EventId(0));
        Self { what, who: who.into(), after, audit: None, erased: Erased::default(), complete: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_name_what_there_is() {
        let cases = [
            (Erased::default(), "nothing"),
            (Erased { dead: 1, ..Erased::default() }, "1 dead letter"),
            (
                Erased { dead: 2, pending: 1000, parked: 1, delivered: 7 },
                "2 dead letters, 1,000 waiting events, 1 parked frame and 7 delivery records",
            ),
        ];
        for (erased, text) in cases {
            assert_eq!(erased.to_string(), text);
        }
    }
}
