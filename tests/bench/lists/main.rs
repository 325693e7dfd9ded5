//! How fast lists are read from a million events: `cargo bench --bench lists [-- OPTIONS]`.
//!
//! The bridge is the release binary on a spool with a million events, which is made once, below `target`. Each case asks
//! its admin port as a client does, from the request to the last byte of the answer; medians are compared with 100 ms. Where
//! an answer ends before its list does, the client asks on: how often, and how long that takes in all, is told too. At
//! last every combination of filters is asked for once. With `--json PATH` all figures are written to a file.

#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod bridge;
mod cases;
mod spool;

use std::io::Write as _;
use std::path::PathBuf;

use clap::Parser;
use serde::Serialize;

use crate::bridge::Bridge;
use crate::cases::{combinations, named};

/// What no answer may take longer than, in milliseconds.
const LIMIT_MS: f64 = 100.0;

/// Measures how fast lists are read.
#[derive(Parser)]
struct Arguments {
    /// Requests of each case; the median counts.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Only cases whose request contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Writes all figures to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Is what one case came to.
#[derive(Serialize)]
struct Figures {
    request: String,
    /// The median of the first answer.
    first_ms: f64,
    /// The slowest of all parts; where one seemed slow, it is the median of three.
    slowest_ms: f64,
    /// Answers until the page was full, or the list had ended.
    parts: usize,
    /// How long these took together.
    all_ms: f64,
    /// What was found.
    found: usize,
}

fn main() {
    let arguments = Arguments::parse();
    let bridge = Bridge::on(&spool::million());
    let mut out = std::io::stdout().lock();
    let mut all = Vec::new();
    let _ =
        writeln!(out, "{:<78}{:>9}{:>9}{:>7}{:>9}{:>7}", "request", "first ms", "worst ms", "parts", "all ms", "found");
    let mut print = |figures: Figures, all: &mut Vec<Figures>| {
        let Figures { request, first_ms, slowest_ms, parts, all_ms, found } = &figures;
        let mark = if first_ms.max(*slowest_ms) > LIMIT_MS { "  over 100 ms" } else { "" };
        // A reader that has gone does not spoil the measurement.
        let _ = writeln!(out, "{request:<78}{first_ms:>9.1}{slowest_ms:>9.1}{parts:>7}{all_ms:>9.0}{found:>7}{mark}");
        all.push(figures);
    };
    for request in named().into_iter().filter(|request| request.contains(&arguments.only)) {
        print(measure(&bridge, &request, arguments.runs), &mut all);
    }
    if arguments.only.is_empty() {
        let mut times: Vec<(f64, String)> =
            combinations().into_iter().map(|request| (once(&bridge, &request), request)).collect();
        times.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let over = times.iter().filter(|(ms, _)| *ms > LIMIT_MS).count();
        println!("{} combinations of filters: {over} over 100 ms; the slowest:", times.len());
        for (ms, request) in times.iter().take(5) {
            println!("{ms:>9.1} ms  {request}");
        }
        let first_ms = times[times.len() / 2].0;
        let (slowest_ms, _) = times[0];
        all.push(Figures {
            request: format!("{} combinations", times.len()),
            first_ms,
            slowest_ms,
            parts: 1,
            all_ms: times.iter().map(|(ms, _)| ms).sum(),
            found: 0,
        });
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&all).expect("figures are plain data");
        std::fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }
}

/// Asks for the first part several times, and then for the others, until the page is full.
fn measure(bridge: &Bridge, request: &str, runs: usize) -> Figures {
    let first_ms = median((0..runs).map(|_| bridge.ask(request).0).collect());
    let (mut slowest_ms, mut all_ms, mut parts, mut found): (f64, f64, usize, usize) = (0.0, 0.0, 0, 0);
    let mut next = request.to_owned();
    loop {
        let (ms, answer) = bridge.ask(&next);
        parts += 1;
        all_ms += ms;
        slowest_ms = slowest_ms.max(settled(bridge, &next, ms));
        found += answer.found;
        match answer.next {
            Some(cursor) if found < answer.wanted => next = cases::after(request, &cursor),
            Some(_) | None => break,
        }
    }
    Figures { request: request.to_owned(), first_ms, slowest_ms, parts, all_ms, found }
}

fn once(bridge: &Bridge, request: &str) -> f64 {
    let (ms, _) = bridge.ask(request);
    settled(bridge, request, ms)
}

/// Measures again what seems slow: on a busy machine one request may have waited for a processor.
fn settled(bridge: &Bridge, request: &str, ms: f64) -> f64 {
    if ms <= LIMIT_MS / 2.0 { ms } else { median((0..3).map(|_| bridge.ask(request).0).collect()) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
