//! Attempts that came to nothing on this machine, for want of a file descriptor, a port or memory.
//!
//! The handler has not seen them and is not blamed: no attempt is counted, no dead letter made, no breaker opened. The event
//! goes back to the disk and comes again in about a second; until then the lane starts nothing, so that what is given back
//! meanwhile is there for others.

use std::time::Duration;

use tokio::time::Instant;
use tower::Service;

use super::Lane;
use super::attempt::Purpose;
use crate::dispatch::breaker::Change;
use crate::dispatch::order::Item;
use crate::dispatch::retry::UNTRIED;
use crate::net::shortage::Shortage;
use crate::spool::Closed;
use crate::spool::settlement::Outcome;
use crate::webhook::request::Outgoing;
use crate::webhook::verdict::{Answer, SendError};

impl<S> Lane<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    /// Sends an event back that was not even tried.
    pub(super) async fn take_back(
        &mut self,
        item: Item,
        purpose: Purpose,
        shortage: Shortage,
        outcome: Outcome,
    ) -> Result<(), Closed> {
        let event = item.due.event.id;
        let change = self.could_not_try(purpose == Purpose::Probe, shortage, Some(event.0));
        let behind = match &outcome {
            Outcome::Retry { due, .. } => self.order.waits_for_retry(item.key, event, *due),
            Outcome::Delivered { .. } | Outcome::Dead { .. } => Vec::new(),
        };
        self.settle(&item, item.due.attempts, outcome, None).await?;
        for (item, until) in behind {
            self.postpone(item, until).await?;
        }
        self.breaker_changed(change).await
    }

    /// Tells of a shortage, and starts nothing for a while.
    pub(super) fn could_not_try(&mut self, was_probe: bool, shortage: Shortage, event: Option<u64>) -> Change {
        let (now, instant) = (self.clock.now(), self.clock.instant());
        self.rests_until = Some(instant + UNTRIED);
        self.voice.short(shortage, event, now, instant);
        self.breaker.not_tried(was_probe, now)
    }

    /// Returns how long nothing is started, after a shortage.
    pub(super) fn rest(&self) -> Duration {
        let until: Option<Instant> = self.rests_until;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(self.clock.instant()))
    }
}
