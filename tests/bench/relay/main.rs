//! How fast a bridge relays: `cargo bench --bench relay [-- OPTIONS]`.
//!
//! Zoom, the bridge and the handlers are processes of their own, on loopback. The bridge is the release
//! binary with a configuration file that changes nothing that matters: every commit is synced, delivered
//! events are retained, repeats are recognised. Every body is different. Every run goes through all cases, so
//! that ratios are taken within one run; medians are printed, and with `--json PATH` written to a file.
//!
//! Cases that begin with `beside` show what one destination feels of others: a healthy one at the same pace,
//! once alone and once beside a handler that fails in one way. The last one shows what a fresh event feels of
//! 100 000 retries of its own destination, at a handler that takes 5 ms: at most one turn of a slot.

#![expect(clippy::print_stdout, reason = "the processes of the benchmark talk over their standard output")]

mod receiver;
mod run;
mod zoom;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::receiver::Handler;
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
        /// How many to send before those, as fast as they are taken; then waits for a line.
        before: u64,
    },
    /// Plays the handlers until every event has come to each that takes them.
    Receiver {
        /// How many events each gets that are counted.
        count: u64,
        /// How many come before those.
        before: u64,
        /// What each does.
        handlers: Vec<Handler>,
    },
}

const PACED: Load = Load::Paced { rate: 500, seconds: 10 };
const WELL: Handler = Handler::Well;
const PLAIN: &str = "";
const SEALED: &str = "encryption_key = \"5LbKw0XtVZ0m0cQbqk0m6l7m1v9Qm6m4jHqB3p8cTzE=\"\n";

const CASES: [Case; 12] = [
    Case {
        name: "blast, 1 destination",
        handlers: &[WELL],
        load: Load::Blast { count: 200_000 },
        against: None,
        spool: PLAIN,
    },
    Case {
        name: "blast, 1, encrypted",
        handlers: &[WELL],
        load: Load::Blast { count: 200_000 },
        against: None,
        spool: SEALED,
    },
    Case {
        name: "blast, 3 destinations",
        handlers: &[WELL; 3],
        load: Load::Blast { count: 100_000 },
        against: None,
        spool: PLAIN,
    },
    Case {
        name: "blast, 10 destinations",
        handlers: &[WELL; 10],
        load: Load::Blast { count: 30_000 },
        against: None,
        spool: PLAIN,
    },
    Case {
        name: "paced, 100/s",
        handlers: &[WELL],
        load: Load::Paced { rate: 100, seconds: 10 },
        against: None,
        spool: PLAIN,
    },
    Case {
        name: "paced, 1000/s",
        handlers: &[WELL],
        load: Load::Paced { rate: 1000, seconds: 10 },
        against: None,
        spool: PLAIN,
    },
    Case { name: ALONE, handlers: &[WELL], load: PACED, against: None, spool: PLAIN },
    Case {
        name: "beside one that hangs",
        handlers: &[WELL, Handler::Hangs],
        load: PACED,
        against: Some(ALONE),
        spool: PLAIN,
    },
    Case {
        name: "beside one that takes 20 s",
        handlers: &[WELL, Handler::Slow],
        load: PACED,
        against: Some(ALONE),
        spool: PLAIN,
    },
    Case {
        name: "beside one that closes",
        handlers: &[WELL, Handler::Closes],
        load: PACED,
        against: Some(ALONE),
        spool: PLAIN,
    },
    Case {
        name: "beside one without a name",
        handlers: &[WELL, Handler::Nowhere],
        load: PACED,
        against: Some(ALONE),
        spool: PLAIN,
    },
    Case {
        name: "beside 100 000 own retries",
        handlers: &[Handler::Backlog],
        load: Load::After { refused: 100_000, rate: 500, seconds: 10 },
        against: Some(ALONE),
        spool: PLAIN,
    },
];
/// What the cases of isolation are compared with.
const ALONE: &str = "beside nobody";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Zoom { count, rate, before }) => zoom::play(count, rate, before),
        Some(Role::Receiver { count, before, handlers }) => receiver::play(&handlers, count, before),
        None => measure(&arguments),
    }
    ExitCode::SUCCESS
}

fn measure(arguments: &Arguments) {
    let chosen = |case: &Case| case.name.contains(&arguments.only);
    // What a case is compared with runs too.
    let needed =
        |case: &Case| chosen(case) || CASES.iter().any(|other| chosen(other) && other.against == Some(case.name));
    let cases: Vec<&Case> = CASES.iter().filter(|case| needed(case)).collect();
    let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); cases.len()];
    for number in 1..=arguments.runs {
        for (case, runs) in cases.iter().zip(&mut runs) {
            eprintln!("run {number} of {}: {}", arguments.runs, case.name);
            runs.push(run::once(case));
        }
    }
    let mut out = std::io::stdout().lock();
    let mut print = |cells: [String; 9]| {
        let [name, rest @ ..] = cells;
        let rest: Vec<String> = rest.iter().map(|cell| format!("{cell:>13}")).collect();
        // A reader that has gone does not spoil the measurement.
        let _ = writeln!(out, "{name:<28}{}", rest.concat());
    };
    let head =
        ["case", "events/s", "deliveries/s", "p50 ms", "p99 ms", "p99 / alone", "cpu s/10k", "idle MB", "peak MB"];
    print(head.map(str::to_owned));
    let mut figures = Vec::new();
    for (case, of_case) in cases.iter().zip(&runs) {
        let median = Figures::median(of_case);
        let base = cases.iter().position(|other| case.against == Some(other.name));
        let ratio =
            base.map(|base| run::median(of_case.iter().zip(&runs[base]).map(|(run, alone)| run.p99_ms / alone.p99_ms)));
        print([
            case.name.to_owned(),
            format!("{:.0}", median.events_per_second),
            format!("{:.0}", median.events_per_second * case.takers() as f64),
            format!("{:.2}", median.p50_ms),
            format!("{:.2}", median.p99_ms),
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            format!("{:.3}", median.cpu_per_10k),
            format!("{:.1}", median.idle_mb),
            format!("{:.1}", median.peak_mb),
        ]);
        figures.push(
            serde_json::json!({ "case": case.name, "median": median, "p99_against_alone": ratio, "runs": of_case }),
        );
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&figures).expect("figures are plain data");
        std::fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }
}
