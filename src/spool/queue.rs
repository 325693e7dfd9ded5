//! The road into the spool: one bounded queue, drained by the writer thread.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::writer::Command;
use crate::event::Received;

/// Commands that may wait. A commit takes some milliseconds at most, in which a burst brings hundreds.
const QUEUE_COMMANDS: usize = 4096;
/// Bytes of bodies that may wait: four of the largest messages that a socket takes.
const QUEUE_BYTES: usize = 16 << 20;
/// An event weighs at least this much, whatever its body: what the bookkeeping of one takes.
const LEAST_WEIGHT: usize = 256;

/// Says that the spool has been closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the spool is closed")]
pub struct Closed;

/// Takes what a source has to say: its events, and when its socket was live.
///
/// Every call waits while the queue is full, which it stays while the spool or its disk is full.
#[derive(Clone)]
pub struct Appender {
    commands: mpsc::Sender<Command>,
    weight: Arc<Semaphore>,
}

impl Appender {
    /// Makes the queue: the sending half, and the half that the writer drains.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(QUEUE_COMMANDS);
        (Self { commands, weight: Arc::new(Semaphore::new(QUEUE_BYTES)) }, receiver)
    }

    /// Puts an event on the way to the disk.
    ///
    /// # Errors
    /// When the spool has been closed.
    pub async fn append(&self, received: Received) -> Result<(), Closed> {
        let permit = self.permit(received.body.len()).await?;
        self.send(Command::Append(received, permit)).await
    }

    /// Records that the socket of a subscription was live at this time.
    ///
    /// # Errors
    /// When the spool has been closed.
    pub async fn alive(&self, subscription: Arc<str>, at: Timestamp) -> Result<(), Closed> {
        self.send(Command::Alive { subscription, at }).await
    }

    /// Records that no socket of a subscription is live since this time; a gap that is open already stays as it is.
    ///
    /// # Errors
    /// When the spool has been closed.
    pub async fn gap_opened(&self, subscription: Arc<str>, at: Timestamp, reason: Box<str>) -> Result<(), Closed> {
        let permit = self.permit(LEAST_WEIGHT).await?;
        self.send(Command::GapOpened { subscription, at, reason, permit }).await
    }

    /// Records that a socket of a subscription is live again.
    ///
    /// # Errors
    /// When the spool has been closed.
    pub async fn gap_closed(&self, subscription: Arc<str>, at: Timestamp) -> Result<(), Closed> {
        let permit = self.permit(LEAST_WEIGHT).await?;
        self.send(Command::GapClosed { subscription, at, permit }).await
    }

    /// Waits for a share of the queue's bytes: what waits for room on the disk holds its own, so that it is bounded.
    async fn permit(&self, bytes: usize) -> Result<Permit, Closed> {
        let weight = bytes.clamp(LEAST_WEIGHT, QUEUE_BYTES) as u32;
        Ok(Permit::of(Arc::clone(&self.weight).acquire_many_owned(weight).await.map_err(|_| Closed)?))
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), Closed> {
        self.commands.send(command).await.map_err(|_| Closed)
    }
}

/// Holds the share of the queue's bytes that an event or an entry of the ledger has, until it is committed.
pub(crate) struct Permit {
    _held: OwnedSemaphorePermit,
}

impl Permit {
    fn of(held: OwnedSemaphorePermit) -> Self {
        Self { _held: held }
    }
}
