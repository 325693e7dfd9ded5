//! What clients did and what the simulator did to them.

mod account;

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

pub use self::account::{Account, Requests, Usage};
use super::journal::Journal;
use crate::clock::Clock;

/// Entries that are kept: a day of reconnects, and less than a megabyte.
const CAPACITY: usize = 4096;

/// Is one thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// Says what happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Happening {
    /// A token was asked for.
    Token {
        /// Where the parameters stood: `form`, `query` or `neither`.
        parameters: &'static str,
        /// The grant that was asked for.
        grant: Box<str>,
        /// The status of the answer; 0 where there was none.
        status: u16,
    },
    /// A socket was refused, before or after the upgrade.
    Refused {
        /// The subscription that was asked for.
        subscription: Box<str>,
        /// The answer, such as `status 503` or `Invalid Token`.
        answer: Box<str>,
    },
    /// A socket was upgraded and is kept waiting for its first frame.
    Held {
        /// The subscription that was asked for.
        subscription: Box<str>,
    },
    /// A connection was accepted, and nothing was said on it.
    Silent,
    /// A connection came to no TLS: often the client does not trust the certificate.
    NoTls {
        /// What went wrong.
        reason: Box<str>,
    },
    /// A socket was accepted.
    Accepted {
        /// Number of the socket, from 1.
        socket: u64,
        /// Its subscription.
        subscription: Arc<str>,
    },
    /// A heartbeat came.
    Heartbeat {
        /// Number of the socket.
        socket: u64,
        /// Time since the one before, or since the socket was accepted.
        after_ms: u64,
    },
    /// A text came that is no heartbeat.
    Unexpected {
        /// Number of the socket.
        socket: u64,
        /// Its length.
        bytes: usize,
    },
    /// An accepted socket ended.
    Closed {
        /// Number of the socket.
        socket: u64,
        /// Its subscription.
        subscription: Arc<str>,
        /// Why.
        reason: Reason,
        /// Events that were written to it.
        events: u64,
    },
    /// Other faults are on.
    Faults {
        /// Every fault that is on now.
        on: Vec<String>,
    },
}

/// Says why a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Another socket of its subscription took its place.
    Evicted,
    /// It was ended on request or by a fault.
    Dropped,
    /// It said nothing for too long.
    Idle,
    /// Its token expired.
    TokenExpired,
    /// The client closed it with a close frame.
    ClosedByClient,
    /// The connection broke.
    Lost,
    /// The simulator stops.
    Stopped,
}

/// Counts what happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests to the token endpoint.
    pub token_requests: u64,
    /// Tokens that were given out.
    pub tokens: u64,
    /// Sockets that were accepted.
    pub accepted: u64,
    /// Sockets that were refused, before or after the upgrade.
    pub refused: u64,
    /// Connections that were left without an answer, and sockets without a first frame.
    pub held: u64,
    /// Accepted sockets that ended.
    pub closed: u64,
    /// Heartbeats that came.
    pub heartbeats: u64,
    /// Events that were written to a socket, once for each socket.
    pub sent: u64,
    /// Events that found no socket.
    pub missed: u64,
}

impl Counts {
    /// Returns how many accepted sockets have not ended.
    pub fn live(&self) -> u64 {
        self.accepted - self.closed
    }
}

/// Keeps the newest entries and the counts.
pub(super) struct Log {
    clock: Clock,
    entries: Journal<Entry>,
    account: Mutex<Account>,
    counts: watch::Sender<Counts>,
}

impl Log {
    pub(super) fn new(clock: Clock) -> Self {
        let account = Mutex::default();
        Self { clock, entries: Journal::new(CAPACITY), account, counts: watch::Sender::new(Counts::default()) }
    }

    pub(super) fn write(&self, what: Happening) {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).enter(&what);
        // The entry first: who was woken by a count finds the entry that belongs to it.
        self.entries.write(Entry { at: self.clock.now(), what: what.clone() });
        self.counts.send_modify(|counts| match what {
            Happening::Token { status, .. } => {
                counts.token_requests += 1;
                counts.tokens += u64::from(status == 200);
            }
            Happening::Refused { .. } => counts.refused += 1,
            Happening::Held { .. } | Happening::Silent => counts.held += 1,
            Happening::Accepted { .. } => counts.accepted += 1,
            Happening::Heartbeat { .. } => counts.heartbeats += 1,
            Happening::Closed { .. } => counts.closed += 1,
            Happening::NoTls { .. } | Happening::Unexpected { .. } | Happening::Faults { .. } => {}
        });
    }

    pub(super) fn sent(&self, events: u64) {
        self.counts.send_modify(|counts| counts.sent += events);
    }

    pub(super) fn missed(&self, events: u64) {
        self.counts.send_modify(|counts| counts.missed += events);
    }

    pub(super) fn since(&self, from: u64) -> (Vec<Entry>, u64) {
        self.entries.since(from)
    }

    pub(super) async fn beyond(&self, seen: u64) {
        self.entries.beyond(seen).await;
    }

    pub(super) fn account(&self) -> Account {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }
}
