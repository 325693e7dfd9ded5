//! `check --probe`: does Zoom give a token, and does each handler know the secret?
//!
//! No socket is opened: that would evict a bridge that runs.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::{Config, Destination, Subscription};
use crate::telemetry::metrics::Metrics;
use crate::tls::Roots;
use crate::webhook;
use crate::webhook::keyring::Which;
use crate::zoom::token::TokenCache;

/// Is what became of one question.
#[derive(Serialize)]
pub(super) struct Probe {
    /// Who was asked.
    pub(super) target: String,
    /// Whether the answer is as it should be.
    pub(super) ok: bool,
    /// The answer in words.
    pub(super) detail: String,
}

/// Asks everybody, one after the other.
pub(super) async fn probe(config: &Config, roots: &Roots) -> Vec<Probe> {
    let clock = Clock::system();
    let tokens = TokenCache::new(clock.clone(), Arc::new(Metrics::new()));
    let mut probes = Vec::new();
    for subscription in &config.subscriptions {
        let target = format!("subscription `{}`", subscription.name);
        probes.push(Probe::of(target, fetch(subscription, &tokens, roots).await));
    }
    for destination in &config.destinations {
        let target = format!("destination `{}`", destination.name);
        probes.push(Probe::of(target, asked(destination, &clock).await));
    }
    probes
}

/// Prints what became of the questions, a line each.
///
/// # Errors
/// When it cannot be written.
pub(super) fn print(probes: &[Probe], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nProbes:\n")?;
    for Probe { target, ok, detail } in probes {
        writeln!(out, "  {} {target}: {detail}", if *ok { "ok    " } else { "FAILED" })?;
    }
    let failed = probes.iter().filter(|probe| !probe.ok).count();
    match failed {
        0 => writeln!(out, "\nall of {} answered as they should", probes.len()),
        _ => writeln!(out, "\n{failed} of {} FAILED", probes.len()),
    }
}

impl Probe {
    fn of(target: String, outcome: anyhow::Result<&'static str>) -> Self {
        match outcome {
            Ok(detail) => Self { target, ok: true, detail: detail.to_owned() },
            Err(error) => Self { target, ok: false, detail: format!("{error:#}") },
        }
    }
}

async fn fetch(subscription: &Subscription, tokens: &TokenCache, roots: &Roots) -> anyhow::Result<&'static str> {
    tokens.source(subscription, roots)?.token(None).await?;
    Ok("zoom gave a token")
}

async fn asked(destination: &Destination, clock: &Clock) -> anyhow::Result<&'static str> {
    Ok(match webhook::probe::probe(destination, clock).await?? {
        Which::Current => "the handler answered its url validation",
        Which::Next => "the handler answered its url validation, and has next_secret_token",
    })
}
