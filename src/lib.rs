//! zoomhook holds the single outbound WebSocket of a Zoom event subscription and re-delivers each
//! event as a Zoom-style signed HTTP POST to internal URLs: durably, at least once, with no inbound port.
//!
//! ```text
//! Zoom ──frames──▶ zoom ──append──▶ spool ──committed──▶ dispatch ──attempt──▶ webhook ──POST──▶ URL
//!                  session ◆        one writer thread    a lane for each       request ◆
//!                  socket           SQLite, synced       destination           signature ◆
//!                                     ▲                  schedule ◆, retry ◆   verdict ◆
//!                                     │                     │
//!                                     └──────settle─────────┘  delivered, again at, dead
//!
//! app: builds, supervises, drains    admin: health, metrics, API    cli: the same from a shell
//! ```
//!
//! ◆ is pure: no async, no IO, no clock, no chance. `now` and jitter come in as arguments, so that what is
//! decided can be read and tested in one place. A test (`tests/it/architecture.rs`) holds this and the
//! direction in which chapters see each other.
//!
//! # The promises
//!
//! 1. **An event is real once it is in the spool, and the spool is the only road to a handler.** Each
//!    ends *delivered* or *dead*, for every destination that wants it; never silently gone.
//! 2. **At least once, byte for byte.** Same body and same `x-zm-request-id` on every attempt, fresh
//!    timestamp and signature.
//! 3. **One destination never harms another.** Each has its own lane, client and slots.
//! 4. **The socket is watched, not trusted.** Live means accepted by Zoom and heard from in time.
//! 5. **Loss is accounted for.** Every interval without a live socket is a durable gap.
//! 6. **Nothing leaks.** No secret, token or payload in logs, errors, metrics or `Debug`.
//!
//! The README names the tests that hold each of them.
//!
//! # The chapters, in the order of an event
//!
//! | chapter | what it is about |
//! |---|---|
//! | [`zoom`] | the socket: tokens, the session that keeps it alive, frames |
//! | [`event`] | what was received, and its identity |
//! | [`spool`] | the one place where events are kept, and the ledger of gaps |
//! | [`dispatch`] | who gets what, and when |
//! | [`webhook`] | what goes over the wire to a handler, and what came back |
//! | [`config`] | file, environment and flags, made into types that cannot be wrong |
//! | [`app`] | everything put together, supervised, and ended in order |
//! | [`admin`] | the operator's port |
//! | [`cli`] | the operator's shell |
//! | [`simulator`] | a Zoom and a handler to practise on |
//! | [`net`] | the way to others, and proxies in between |
//! | [`clock`], [`telemetry`], [`tls`], [`wording`] | time and chance; logs and metrics; certificates; numbers in sentences |
//!
//! Begin with [`app`] for how it lives, with [`spool`] for what is promised, or with [`zoom`] to follow an event.

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod event;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod json;
pub mod net;
mod retry_after;
mod schema;
pub mod simulator;
pub mod spool;
pub mod telemetry;
pub mod tls;
pub mod webhook;
pub mod wording;
pub mod zoom;
