//! What a lane has in flight: attempts and probes, driven by the lane itself.
//!
//! An answer wakes one task, and nothing is moved to a task of its own. The price is that the lane must wait for nothing
//! else without driving them: see [`Flight::meanwhile`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::task::unconstrained;

use super::attempt::Ended;

/// Holds what is in flight; what is dropped with it is cut off.
pub(super) struct Flight<S> {
    underway: FuturesUnordered<BoxFuture<'static, Ended<S>>>,
    /// What ended while the lane waited for something else.
    ended: VecDeque<Ended<S>>,
}

impl<S> Flight<S> {
    pub(super) fn new() -> Self {
        Self { underway: FuturesUnordered::new(), ended: VecDeque::new() }
    }

    pub(super) fn start(&mut self, flight: impl Future<Output = Ended<S>> + Send + 'static) {
        // Each reads little and ends: none has to make room for the others, whose budget it would share as one task.
        self.underway.push(Box::pin(unconstrained(flight)));
    }

    /// Waits for what ends next; `None` when nothing is in flight.
    pub(super) async fn next(&mut self) -> Option<Ended<S>> {
        match self.ended.pop_front() {
            Some(ended) => Some(ended),
            None => self.underway.next().await,
        }
    }

    /// Waits for something, as for the spool, and drives what is in flight meanwhile: no handler is to be blamed for a
    /// disk that takes its time.
    pub(super) async fn meanwhile<F: Future>(&mut self, waiting: F) -> F::Output {
        let mut waiting = pin!(waiting);
        poll_fn(|context| {
            if let Poll::Ready(done) = waiting.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            while let Poll::Ready(Some(ended)) = self.underway.poll_next_unpin(context) {
                self.ended.push_back(ended);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Destination;
    use crate::config::secret::Secret;
    use crate::dispatch::lane::Settings;

    #[tokio::test]
    async fn what_is_in_flight_goes_on_while_something_else_is_waited_for() {
        let destination = Destination::new("crm", "https://crm.internal/".parse().expect("a URL"), Secret::new("s"));
        let settings = Arc::new(Settings::new(&destination, ()));
        let mut flight = Flight::new();
        let (sender, receiver) = oneshot::channel();
        flight.start(async move {
            sender.send(()).expect("somebody waits");
            Ended::Probe { outcome: Ok(None), settings }
        });
        flight.meanwhile(receiver).await.expect("it came as far as that");
        assert!(flight.next().await.is_some(), "what ended meanwhile is not lost");
        assert!(flight.next().await.is_none());
    }
}
