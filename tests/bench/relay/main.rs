//! How fast a bridge relays: `cargo bench --bench relay [-- OPTIONS]`.
//!
//! Zoom, the bridge and the handlers are processes of their own, on loopback. The bridge is the release
//! binary with a configuration file that changes nothing that matters: every commit is synced, delivered
//! events are retained, repeats are recognised. Every body is different. Medians of several runs are printed,
//! and with `--json PATH` written to a file.

#![expect(clippy::print_stdout, reason = "the processes of the benchmark talk over their standard output")]

mod receiver;
mod run;
mod zoom;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::run::{Case, Figures, Load};

/// Measures how fast a bridge relays.
#[derive(Parser)]
struct Arguments {
    /// Runs of each case; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Writes all figures to this file.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// Is what a process of the benchmark does beside measuring.
#[derive(Subcommand)]
enum Role {
    /// Plays Zoom: waits for a client and sends it events.
    Zoom {
        /// How many.
        count: u64,
        /// How many a second; 0 sends as fast as they are taken.
        rate: u64,
    },
    /// Plays the handlers: answers 200 until every event has come to each.
    Receiver {
        /// How many handlers.
        handlers: usize,
        /// How many events each gets.
        count: u64,
    },
}

const CASES: [Case; 5] = [
    Case { name: "blast, 1 destination", destinations: 1, load: Load::Blast { count: 200_000 } },
    Case { name: "blast, 3 destinations", destinations: 3, load: Load::Blast { count: 100_000 } },
    Case { name: "blast, 10 destinations", destinations: 10, load: Load::Blast { count: 30_000 } },
    Case { name: "paced, 100/s", destinations: 1, load: Load::Paced { rate: 100, seconds: 10 } },
    Case { name: "paced, 1000/s", destinations: 1, load: Load::Paced { rate: 1000, seconds: 10 } },
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Zoom { count, rate }) => zoom::play(count, rate),
        Some(Role::Receiver { handlers, count }) => receiver::play(handlers, count),
        None => measure(&arguments),
    }
    ExitCode::SUCCESS
}

fn measure(arguments: &Arguments) {
    let mut out = std::io::stdout().lock();
    let mut figures = Vec::new();
    let head = ["case", "events/s", "deliveries/s", "p50 ms", "p99 ms", "cpu s/10k", "idle MB", "peak MB"];
    let mut print = |cells: [String; 8]| {
        let [name, rest @ ..] = cells;
        let rest: Vec<String> = rest.iter().map(|cell| format!("{cell:>12}")).collect();
        // A reader that has gone does not spoil the measurement.
        let _ = writeln!(out, "{name:<24}{}", rest.concat());
    };
    print(head.map(str::to_owned));
    for case in CASES.iter().filter(|case| case.name.contains(&arguments.only)) {
        let runs: Vec<Figures> = (0..arguments.runs).map(|_| run::once(case)).collect();
        let median = Figures::median(&runs);
        print([
            case.name.to_owned(),
            format!("{:.0}", median.events_per_second),
            format!("{:.0}", median.events_per_second * case.destinations as f64),
            format!("{:.2}", median.p50_ms),
            format!("{:.2}", median.p99_ms),
            format!("{:.3}", median.cpu_per_10k),
            format!("{:.1}", median.idle_mb),
            format!("{:.1}", median.peak_mb),
        ]);
        figures.push(serde_json::json!({ "case": case.name, "median": median, "runs": runs }));
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&figures).expect("figures are plain data");
        std::fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }
}
