//! How fast a bridge relays: `cargo bench --bench relay [-- OPTIONS]`.
//!
//! Zoom, the bridge and the handlers are processes of their own, on loopback. The bridge is the release
//! binary with a configuration file that changes nothing that matters: every commit is synced, delivered
//! events are retained, repeats are recognised. Every body is different. The spool lies under `target`, on the disk
//! that the build is on.
//!
//! Every run goes through all [cases], so that ratios are taken within one run; medians are held against the [targets].
//! A target that is missed is told; the exit code is 1 only when an event was lost or a run did not come to its end.
//!
//! | file | what it does |
//! |---|---|
//! | [cases] | what is measured |
//! | [targets] | what is promised of it, and the one table |
//! | [run], [process], [configuration] | one run of one case |
//! | [stored] | spools of a million events, made once |
//! | [zoom], [receiver], [console] | the other processes |
//! | [report], [machine] | medians, the file with all figures, and what they were measured on |

#![expect(clippy::print_stdout, reason = "the processes of the benchmark talk over their standard output")]

mod cases;
mod configuration;
mod console;
mod disk;
mod figures;
mod machine;
mod process;
mod receiver;
mod report;
mod run;
mod stored;
mod targets;
mod zoom;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cases::{Case, cases};
use crate::receiver::Handler;
use crate::report::Report;

/// Measures how fast a bridge relays.
#[derive(Parser)]
struct Arguments {
    /// Runs of each case; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Only cases whose name contains this; can be given more than once.
    #[arg(long)]
    only: Vec<String>,
    /// Names the cases, and measures nothing.
    #[arg(long)]
    list: bool,
    /// Prints the table as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Where all figures are written.
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/relay.json"))]
    json: PathBuf,
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
    Zoom(zoom::Play),
    /// Plays the handlers until every event has come to each that takes it.
    Receiver {
        /// How many events are counted.
        count: u64,
        /// How many come before those.
        before: u64,
        /// How many types of events there are; each handler wants one, if more than one.
        kinds: u64,
        /// What each does.
        handlers: Vec<Handler>,
    },
    /// Watches the bridge on this port as its console does.
    Console {
        /// The port.
        port: u16,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Zoom(play)) => zoom::play(play),
        Some(Role::Receiver { count, before, kinds, handlers }) => receiver::play(handlers, *count, *before, *kinds),
        Some(Role::Console { port }) => console::watch(*port),
        None => return measure(&arguments),
    }
    ExitCode::SUCCESS
}

fn measure(arguments: &Arguments) -> ExitCode {
    let cases = chosen(&arguments.only);
    if arguments.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return ExitCode::SUCCESS;
    }
    let mut report = Report::new(&cases);
    for number in 1..=arguments.runs {
        for case in &cases {
            eprintln!("run {number} of {}: {}", arguments.runs, case.name);
            match run::once(case) {
                Ok(figures) => {
                    eprintln!("  {}", figures.line());
                    report.add(&case.name, figures);
                }
                Err(problem) => {
                    eprintln!("  FAILED: {problem}");
                    report.fail(&case.name, problem);
                }
            }
        }
    }
    report.write(&arguments.json);
    print!("{}", if arguments.markdown { report.markdown() } else { report.text() });
    if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Returns the cases that were asked for, with those that they are compared with.
fn chosen(only: &[String]) -> Vec<Case> {
    let all = cases();
    let is_chosen = |case: &Case| only.is_empty() || only.iter().any(|part| case.name.contains(part.as_str()));
    let bases: Vec<String> =
        all.iter().filter(|case| is_chosen(case)).filter_map(|case| case.against.clone()).collect();
    all.into_iter().filter(|case| is_chosen(case) || bases.contains(&case.name)).collect()
}
