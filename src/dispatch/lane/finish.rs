//! What an attempt that has ended means for its event, the breaker, and what waits behind it.

use std::sync::Arc;

use tower::Service;

use super::attempt::{Ended, Finished, Purpose, failure};
use super::{Lane, Settings};
use crate::dispatch::breaker::{Change, Sign};
use crate::dispatch::expiry::cut;
use crate::dispatch::order::Item;
use crate::dispatch::retry::next;
use crate::dispatch::schedule::Kind;
use crate::spool::Closed;
use crate::spool::settlement::{FailedAttempt, Outcome, Settlement};
use crate::webhook::keyring::Which;
use crate::webhook::probe::ProbeError;
use crate::webhook::request::Outgoing;
use crate::webhook::verdict::{Answer, Cause, SendError, Verdict, verdict};

impl<S> Lane<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    pub(super) async fn end(&mut self, ended: Ended<S>) -> Result<(), Closed> {
        match ended {
            Ended::Attempt(finished) => self.finish(finished).await,
            Ended::Probe { outcome, settings } => self.finish_probe(outcome, &settings).await,
        }
    }

    async fn finish_probe(
        &mut self,
        outcome: Result<Option<Which>, ProbeError>,
        settings: &Arc<Settings<S>>,
    ) -> Result<(), Closed> {
        let (now, jitter) = (self.clock.now(), self.clock.jitter());
        if let Err(ProbeError::Unanswered(SendError::Short(shortage))) = &outcome {
            let change = self.could_not_try(true, *shortage, None);
            return self.breaker_changed(change).await;
        }
        let sign = match &outcome {
            Ok(instead) => {
                self.took(*instead, settings);
                Sign::Well
            }
            Err(_) => Sign::Failed,
        };
        if let Err(ProbeError::Unanswered(SendError::Proxy(error))) = &outcome {
            self.voice.proxy_failed(error.fault);
        }
        let change = self.breaker.result(sign, Kind::First, true, now, jitter);
        self.unproven |= change == Change::Closed;
        self.voice.probe(outcome.map(drop).map_err(|error| error.cause()), now);
        self.breaker_changed(change).await
    }

    async fn finish(&mut self, finished: Finished<S>) -> Result<(), Closed> {
        let Finished { item, purpose, instead, rewritten, result, started_at, elapsed, settings } = finished;
        self.slots.end(item.kind);
        if let (Some(rewritten), 0) = (rewritten, item.due.attempts) {
            self.bodies.tell(&self.name, &item.due.event, rewritten);
        }
        let now = self.clock.now();
        let event = item.due.event.id;
        let attempt = item.due.attempts.saturating_add(1);
        let verdict = verdict(&result, settings.rules, attempt, now);
        // Chance costs a call to the system. What a success can plan, a first probe after many failures, is not moved.
        let jitter = match verdict {
            Verdict::Delivered { .. } => 0.5,
            Verdict::Retry(_) | Verdict::RetryAfter(..) | Verdict::Refused(_) | Verdict::NotTried(_) => {
                self.clock.jitter()
            }
        };
        let outcome = next(attempt, verdict, &settings.policy, jitter, item.due.since, now);
        let sign = match verdict {
            // Tried again as Zoom would, though the handler takes it.
            Verdict::Delivered { .. } | Verdict::Retry(Cause::Status(200..=299)) => {
                self.unproven = false;
                self.took(instead, &settings);
                Sign::Well
            }
            Verdict::Retry(_) | Verdict::RetryAfter(..) => Sign::Failed,
            Verdict::Refused(_) => Sign::Refused(event),
            Verdict::NotTried(shortage) => {
                let change = self.could_not_try(purpose == Purpose::Probe, shortage, Some(event.0));
                return self.conclude(&item, item.due.attempts, outcome, None, change).await;
            }
        };
        let kind = if item.due.attempts == 0 { Kind::First } else { Kind::Retry };
        let change = self.breaker.result(sign, kind, purpose == Purpose::Probe, now, jitter);
        let mut failed = failure(verdict, result, started_at, elapsed);
        let (outcome, attempts) = match (self.breaker.opened(), &mut failed) {
            // A handler that fails at everything says nothing of this event: it waits, and loses no attempt.
            (Some(opened), Some(failed)) if !settings.policy.is_over(item.due.since, now) => {
                let due = match verdict {
                    Verdict::RetryAfter(_, at) => at.max(opened.probe_at),
                    Verdict::Retry(_) | Verdict::Refused(_) | Verdict::NotTried(_) | Verdict::Delivered { .. } => {
                        opened.probe_at
                    }
                };
                (Outcome::Retry { due, cause: failed.cause.clone() }, item.due.attempts)
            }
            (Some(_) | None, failed) => {
                failed.iter_mut().for_each(|failed| failed.number = attempt);
                (outcome, attempt)
            }
        };
        let outcome = cut(outcome, &settings.ttl, &item.due.event.kind, item.due.since);
        self.voice.attempt(&item.due.event, &outcome, failed.as_ref(), elapsed, now);
        if let Verdict::Retry(Cause::Proxy(fault)) = verdict {
            self.voice.proxy_failed(fault);
        }
        if let Outcome::Dead { reason } = &outcome {
            self.voice.given_up(event, verdict, reason, now, self.clock.instant());
        }
        self.conclude(&item, attempts, outcome, failed, change).await
    }

    /// Tells order, spool and breaker what becomes of an event.
    async fn conclude(
        &mut self,
        item: &Item,
        attempts: u32,
        outcome: Outcome,
        failed: Option<FailedAttempt>,
        change: Change,
    ) -> Result<(), Closed> {
        let behind = match &outcome {
            Outcome::Retry { due, .. } => self.order.waits_for_retry(item.key, item.due.event.id, *due),
            Outcome::Delivered { .. } | Outcome::Dead { .. } => {
                self.order.ended(item.key);
                Vec::new()
            }
        };
        self.settle(item, attempts, outcome, failed).await?;
        for (item, until) in behind {
            self.postpone(item, until).await?;
        }
        self.breaker_changed(change).await
    }

    /// Remembers the secret token that the handler took after it had refused the other, under settings that still hold.
    fn took(&mut self, instead: Option<Which>, settings: &Arc<Settings<S>>) {
        if instead.is_some() && Arc::ptr_eq(settings, &self.current) {
            if self.accepted.is_none() {
                self.voice.next_secret_accepted();
            }
            self.accepted = instead;
        }
    }

    pub(super) async fn settle(
        &mut self,
        item: &Item,
        attempts: u32,
        outcome: Outcome,
        failed: Option<FailedAttempt>,
    ) -> Result<(), Closed> {
        let (event, at) = (item.due.event.id, self.clock.now());
        let due = match &outcome {
            Outcome::Retry { due, .. } => Some(*due),
            Outcome::Delivered { .. } | Outcome::Dead { .. } => None,
        };
        let settlement = Settlement { destination: self.feed.destination(), event, attempts, at, outcome, failed };
        let goes_back = item.kind == Kind::Retry && due.is_some() && settlement.failed.is_none();
        if item.kind == Kind::First && due.is_none() {
            return self.flight.meanwhile(self.spool.settle(settlement)).await;
        }
        let durable = self.flight.meanwhile(self.spool.settle_acknowledged(settlement)).await?;
        self.retries.reported((event, item.key), due, goes_back, durable);
        Ok(())
    }

    /// Makes a change of the breaker durable, and gives what was refused on the way to it another chance.
    async fn breaker_changed(&mut self, change: Change) -> Result<(), Closed> {
        if change == Change::None {
            return Ok(());
        }
        let opened = self.breaker.opened();
        self.voice.breaker(opened, &change);
        let revived = match change {
            Change::Opened(refused) => refused,
            Change::None | Change::Postponed | Change::Closed => Vec::new(),
        };
        let (due, count) = (opened.filter(|_| !revived.is_empty()).map(|opened| opened.since), revived.len());
        self.flight.meanwhile(self.spool.breaker(self.feed.destination(), opened, revived)).await?;
        if let Some(due) = due {
            self.retries.look_no_later_than(due);
            self.voice.revived(count);
        }
        Ok(())
    }
}
