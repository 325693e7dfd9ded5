//! What a socket has for the spool, in order, until the spool takes it.
//!
//! It holds no more than one event at a time: while that one waits, no frame is read. Beside it wait
//! entries for the ledger, a handful at most, for without frames no link is accepted or lost again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use jiff::Timestamp;
use tokio_util::sync::ReusableBoxFuture;

use crate::event::Received;
use crate::spool::{Appender, Closed};

/// Is one thing for the spool.
pub(super) enum Entry {
    Event(Received),
    Alive { at: Timestamp },
    GapOpened { at: Timestamp, reason: Box<str> },
    GapClosed { at: Timestamp },
}

/// Holds what the spool has not taken yet.
pub(super) struct Outbox {
    subscription: Arc<str>,
    appender: Appender,
    waiting: VecDeque<Entry>,
    sending: Sending,
    future: ReusableBoxFuture<'static, Result<(), Closed>>,
}

/// Is what the spool has not taken when its socket ended, for the one that comes after it; without one it is lost.
pub struct Unsent(Option<Outbox>);

impl Unsent {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self(Some(outbox))
    }

    pub(super) fn take(mut self) -> Outbox {
        self.0.take().expect("it is taken once, and the taker consumes it")
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(Outbox { subscription, .. }) = &self.0 {
            tracing::error!(
                subscription.name = &**subscription,
                "the spool did not take what subscription `{subscription}` read last; it is lost"
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Sending {
    Nothing,
    Event,
    Note,
}

impl Outbox {
    pub(super) fn new(subscription: Arc<str>, appender: Appender) -> Self {
        let future = ReusableBoxFuture::new(async { Ok(()) });
        Self { subscription, appender, waiting: VecDeque::new(), sending: Sending::Nothing, future }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.waiting.push_back(entry);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sending == Sending::Nothing && self.waiting.is_empty()
    }

    /// Tells whether an event is among what waits.
    pub(super) fn holds_event(&self) -> bool {
        self.sending == Sending::Event || self.waiting.iter().any(|entry| matches!(entry, Entry::Event(_)))
    }

    /// Hands over what waits; ready once nothing does.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        loop {
            if self.sending != Sending::Nothing {
                ready!(self.future.poll(cx))?;
                self.sending = Sending::Nothing;
            }
            match self.waiting.pop_front() {
                Some(entry) => self.send(entry),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn send(&mut self, entry: Entry) {
        let (appender, subscription) = (self.appender.clone(), Arc::clone(&self.subscription));
        self.sending = if matches!(entry, Entry::Event(_)) { Sending::Event } else { Sending::Note };
        self.future.set(async move {
            match entry {
                Entry::Event(received) => appender.append(received).await,
                Entry::Alive { at } => appender.alive(subscription, at).await,
                Entry::GapOpened { at, reason } => appender.gap_opened(subscription, at, reason).await,
                Entry::GapClosed { at } => appender.gap_closed(subscription, at).await,
            }
        });
    }
}
