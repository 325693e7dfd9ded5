//! Who gets what, and when.
//!
//! ```text
//! Feed ──fresh, due──▶ Lane ──one attempt──▶ client ──▶ verdict ──▶ next ──▶ settle ──▶ spool
//!                       └ schedule: whose turn is it?
//! ```
//!
//! One lane per destination, each a task of its own with its own client, so that nothing that one
//! handler does reaches another. What is decided is decided by pure functions: [`schedule`] says which
//! kind of attempt starts next, [`order`] which event, [`breaker`] whether any may, [`rate`] when, [`expiry`] until when,
//! [`verdict`](crate::webhook::verdict) what an answer means, and [`retry`] what becomes of the delivery. Retries live in
//! the spool, not in memory: a lane reads them when they are due.

mod body;
pub mod breaker;
pub mod expiry;
pub mod key;
pub mod lane;
pub mod order;
pub mod rate;
pub mod retry;
pub mod schedule;
pub mod status;
