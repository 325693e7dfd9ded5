//! What a destination's lane tells to those who watch it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::schema::Moment;
use crate::spool::record::Opened;

/// Is what is known of one destination's lane right now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Lane")]
pub struct Status {
    /// Requests in flight.
    pub in_flight: usize,
    /// When a handler last accepted an event.
    #[schemars(with = "Option<Moment>")]
    pub last_success_at: Option<Timestamp>,
    /// The last attempt that failed, even if others succeeded since.
    pub last_failure: Option<Failure>,
    /// When the present run of failures began: failures with no success since.
    #[schemars(with = "Option<Moment>")]
    pub failing_since: Option<Timestamp>,
    /// Failures in the present run.
    pub failures_in_a_row: u64,
    /// When the next retry is due, if any waits; nothing while events are held back by a pause or by the breaker, which says
    /// itself when the next probe is.
    #[schemars(with = "Option<Moment>")]
    pub next_retry_at: Option<Timestamp>,
    /// When the rate allows the next attempt, while it holds events back.
    #[schemars(with = "Option<Moment>")]
    pub rate_until: Option<Timestamp>,
    /// The breaker, while it is open: events wait, and single probes are sent.
    pub breaker: Option<Opened>,
    /// Since when requests are signed with `next_secret_token`; nothing while `secret_token` is in force.
    #[schemars(with = "Option<Moment>")]
    pub next_secret_since: Option<Timestamp>,
    /// True while the operator holds deliveries back.
    pub paused: bool,
    /// Events that became too old to be attempted, if there were any since the start.
    pub expired: Option<Expired>,
    /// Since when events that wait on the disk cannot be read, if so.
    pub unreadable: Option<Unreadable>,
}

impl Status {
    /// Takes back what is planned and does not come about as long as events are held back.
    pub fn as_held(self) -> Self {
        let next_retry_at = self.next_retry_at.filter(|_| !self.paused && self.breaker.is_none());
        Self { next_retry_at, ..self }
    }
}

/// Is events that became dead letters because their time to live was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Expired {
    /// How many since the start.
    pub count: u64,
    /// When the last of them was noticed.
    #[schemars(with = "Moment")]
    pub last_at: Timestamp,
}

/// Is a spool that a lane cannot read.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Unreadable {
    /// Since when.
    #[schemars(with = "Moment")]
    pub since: Timestamp,
    /// Why, in words.
    pub reason: Box<str>,
}

/// Is one failed attempt, or one failed probe.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Failure {
    /// When it failed.
    #[schemars(with = "Moment")]
    pub at: Timestamp,
    /// What it came to, such as `status 503` or `timeout`.
    pub cause: Box<str>,
    /// The event that it concerned; `None` for a probe by URL validation.
    pub event: Option<u64>,
}
