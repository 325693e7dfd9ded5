//! The whole program from outside: the real binary between a simulated Zoom and real handlers, on loopback.
//!
//! Every module is named after a promise. [`lab::Lab`] puts the pieces together and plants a canary in every secret
//! and every payload; when a bridge ends, all it has written is searched for them.

mod admin;
mod architecture;
mod audit;
mod authorization;
mod browser;
mod canonical;
mod command_line;
mod console;
mod container;
mod delivery;
mod demo;
mod deploy;
mod drill;
mod egress;
mod encryption;
mod front;
mod hostile;
mod image;
mod lab;
mod log;
mod node;
mod openapi;
#[cfg(feature = "otel")]
mod otel;
mod port;
mod prometheus;
mod proof;
mod proxies;
mod proxy;
mod readme;
mod receiver;
mod reconnect;
mod recovery;
mod reload;
mod replay;
mod room;
mod sbom;
mod secrets;
mod send;
mod service;
mod shell;
mod shutdown;
mod tls;
