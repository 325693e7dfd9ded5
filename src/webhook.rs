//! What goes over the wire to a handler, and what came back.
//!
//! ```text
//! Event ──request (signature)──▶ Outgoing ──client──▶ Answer | SendError ──verdict──▶ Verdict
//!                                          tower stack: concurrency limit, token, one POST over a kept connection
//! ```
//!
//! Everything but `client`, `probe` and `stale` is pure. An attempt carries the stored body byte for byte, or the form of it
//! that [`canonical`] gives, the same on every attempt; the event's own request id; and a timestamp and
//! signature of its own. Nothing is remembered from one attempt to the next, so when to try again is not
//! decided here; which secret token signs is told by [`keyring`], what a destination wants beside Zoom's headers by
//! [`extras`].

mod authorization;
pub mod canonical;
pub mod client;
pub mod diagnosis;
pub mod extras;
pub mod keyring;
mod mac;
pub mod probe;
pub mod request;
pub mod signature;
pub mod stale;
mod standard;
pub mod validation;
pub mod verdict;
