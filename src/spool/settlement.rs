//! What a lane reports of an attempt.

use jiff::Timestamp;

use super::record::DestinationId;
use crate::event::EventId;

/// Stands for the cause of a retry that was not attempted, since an earlier event holds it back.
pub const HELD: &str = "waits for an earlier event about the same thing";

/// Is the report of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The destination.
    pub destination: DestinationId,
    /// The event.
    pub event: EventId,
    /// Attempts made since it was stored or last replayed, this one included.
    pub attempts: u32,
    /// When the attempt ended.
    pub at: Timestamp,
    /// What became of the delivery.
    pub outcome: Outcome,
    /// The attempt itself, when it failed.
    pub failed: Option<FailedAttempt>,
}

/// Says what became of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The handler has it.
    Delivered {
        /// The status that said so.
        status: u16,
    },
    /// It is tried again.
    Retry {
        /// When.
        due: Timestamp,
        /// What the attempt came to.
        cause: Box<str>,
    },
    /// It is given up.
    Dead {
        /// Why.
        reason: Box<str>,
    },
}

/// Is what is kept of a failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedAttempt {
    /// Which attempt it was, from 1; 0 for one that does not count, since the breaker was open.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub elapsed_ms: u64,
    /// What it came to, such as `status 503`.
    pub cause: Box<str>,
    /// The beginning of the handler's answer; empty when there was none.
    pub excerpt: Box<str>,
}
