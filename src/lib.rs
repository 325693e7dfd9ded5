//! zoomhook holds the single outbound WebSocket of a Zoom event subscription and re-delivers each
//! event as a Zoom-style signed HTTP POST to internal URLs.

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod event;
mod retry_after;
pub mod simulator;
pub mod spool;
pub mod telemetry;
pub mod tls;
pub mod webhook;
pub mod wording;
pub mod zoom;
