//! Since when there is no socket, whatever the clock was set to meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Moment;

/// The shortest gap: the ledger knows milliseconds.
const SHORTEST: SignedDuration = SignedDuration::from_millis(1);

/// Holds the subscriptions that have no socket, and since when this process knows so.
#[derive(Default)]
pub(super) struct Down(HashMap<Arc<str>, Moment>);

impl Down {
    /// Takes note of a gap; one that is open already stays as it is.
    pub(super) fn opened(&mut self, subscription: &Arc<str>, now: Moment) {
        self.0.entry(Arc::clone(subscription)).or_insert(now);
    }

    /// Takes note that a gap has ended `at`, and returns the latest that it can have begun, as the clock shows it now: one
    /// that was set back meanwhile makes no gap that has lasted seem to have had no length.
    pub(super) fn closed(&mut self, subscription: &str, at: Timestamp, now: Moment) -> Timestamp {
        let shortest = at.saturating_sub(SHORTEST).unwrap_or(Timestamp::MIN);
        self.0.remove(subscription).map_or(shortest, |opened| opened.seen_from(now).min(shortest))
    }
}
