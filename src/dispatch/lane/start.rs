//! What a lane starts, and when it looks again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::Lane;
use super::attempt::{Purpose, attempt, validate};
use crate::config::Probe;
use crate::dispatch::expiry::{expired, is_expired};
use crate::dispatch::order::{Item, Order};
use crate::dispatch::schedule::Kind;
use crate::spool::Closed;
use crate::spool::record::Pause;
use crate::spool::settlement::Outcome;
use crate::webhook::keyring::Which;
use crate::webhook::request::Outgoing;
use crate::webhook::verdict::{Answer, SendError};

impl<S> Lane<S>
where
    S: Service<Outgoing, Response = Answer, Error = SendError> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    /// Returns how long it takes until the clock is the next thing to look at.
    pub(super) fn wake_in(&self) -> Option<Duration> {
        if self.pause == Pause::On || self.waits_to_reorder() {
            return None;
        }
        let now = self.clock.now();
        let ready = self.order.waits(Kind::First) || self.order.waits(Kind::Retry);
        let asks = self.asks();
        let look = self.retries.look_at().filter(|_| self.has_room_for_retries());
        let at = match self.breaker.opened() {
            None => look,
            Some(_) if self.breaker.is_probing() => None,
            Some(opened) if ready || asks => Some(opened.probe_at).filter(|at| *at > now),
            Some(opened) => look.map(|at| at.max(opened.probe_at)),
        };
        let left = at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        // Where there is a token, something else is waited for.
        let token = Some(self.wait_for_token()).filter(|wait| (ready || asks) && !wait.is_zero());
        left.into_iter().chain(token).min()
    }

    /// Starts what order, breaker, rate and slots allow, and looks for retries when it is time.
    pub(super) async fn start_what_may(&mut self, stop: &CancellationToken) -> Result<(), Closed> {
        if self.pause == Pause::On || self.waits_to_reorder() {
            return Ok(());
        }
        if self.order.ordering() != self.current.ordering {
            self.reorder(stop).await?;
        }
        self.widen();
        let now = self.clock.now();
        if self.asks() {
            self.ask_whether_it_is_back(now);
        } else {
            self.start_attempts(now).await?;
        }
        self.voice.in_flight(self.slots.in_flight());
        if self.bucket.is_some() {
            self.voice.rate_until(self.held_by_rate_until(now));
        }
        let is_time = self.retries.is_time(now, self.current.longest);
        if is_time && self.has_room_for_retries() && self.breaker.allows(now) {
            self.retries.look(&self.feed, now, self.current.longest);
        }
        Ok(())
    }

    async fn start_attempts(&mut self, now: Timestamp) -> Result<(), Closed> {
        let secret = self.secret_in_force(now);
        while self.breaker.allows(now)
            && self.wait_for_token().is_zero()
            && let Some(kind) = self.slots.choose(self.order.waits(Kind::First), self.order.waits(Kind::Retry))
            && let Some(item) = self.order.take(kind)
        {
            // Of what type it was is not known either.
            if let Some(reason) = item.due.event.unreadable {
                self.voice.unreadable_body(item.due.event.id, reason, self.clock.instant());
                self.order.ended(item.key);
                self.settle(&item, item.due.attempts, Outcome::Dead { reason: reason.into() }, None).await?;
                continue;
            }
            if is_expired(&self.current.ttl, &item.due.event.kind, item.due.since, now) {
                self.voice.too_old(item.due.event.id, now, self.clock.instant());
                self.order.ended(item.key);
                self.settle(&item, item.due.attempts, expired(), None).await?;
                continue;
            }
            let purpose = if self.breaker.start() { Purpose::Probe } else { Purpose::Deliver };
            self.slots.start(kind);
            self.take_token();
            let (settings, clock, spans) = (Arc::clone(&self.current), self.clock.clone(), self.spans.clone());
            self.flight.start(attempt(item, purpose, secret, settings, clock, spans));
        }
        Ok(())
    }

    /// Sends a probe that touches no event, when it is time.
    fn ask_whether_it_is_back(&mut self, now: Timestamp) {
        if self.breaker.allows(now) && self.wait_for_token().is_zero() {
            self.breaker.start();
            self.take_token();
            let secret = self.secret_in_force(now);
            self.flight.start(validate(secret, Arc::clone(&self.current), self.clock.clone()));
        }
    }

    /// Returns the secret token that signs now, and tells when it is another than before.
    fn secret_in_force(&mut self, now: Timestamp) -> Which {
        let secret = self.current.keyring.in_force(self.accepted, now);
        self.voice.signs_with(secret, self.current.keyring.switch_at(), now);
        secret
    }

    /// Goes over to the order of the settings, while nothing is in flight.
    async fn reorder(&mut self, stop: &CancellationToken) -> Result<(), Closed> {
        let waiting = self.order.drain();
        self.order = Order::new(self.current.ordering, self.current.apart);
        // The disk must tell what waits there as it stands now.
        self.spool.reports_durable().await?;
        self.retries.confirm_known();
        self.find_waiting(stop).await;
        for Item { kind, due, .. } in waiting {
            self.put(kind, due).await?;
        }
        Ok(())
    }

    /// Tells whether the order has changed and something is in flight under the old one, which must not meet its
    /// successors under the new one.
    fn waits_to_reorder(&self) -> bool {
        self.order.ordering() != self.current.ordering && self.slots.in_flight() > 0
    }

    /// Tells whether the question of the URL validation is what closes the breaker.
    fn asks(&self) -> bool {
        self.breaker.opened().is_some() && self.current.probe == Probe::Validation && !self.unproven
    }

    fn wait_for_token(&self) -> Duration {
        let bucket = self.bucket.as_ref();
        bucket.map_or(Duration::ZERO, |bucket| bucket.wait(self.clock.instant().into_std())).max(self.wait_for_room())
    }

    /// Tells until when the rate alone holds back what waits.
    fn held_by_rate_until(&self, now: Timestamp) -> Option<Timestamp> {
        let waits = self.order.waits(Kind::First) || self.order.waits(Kind::Retry);
        let wait = Some(self.wait_for_token()).filter(|wait| waits && !wait.is_zero())?;
        now.checked_add(wait).ok()
    }

    fn take_token(&mut self) {
        if let Some(bucket) = &mut self.bucket {
            bucket.take(self.clock.instant().into_std());
        }
    }
}
