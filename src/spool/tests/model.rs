//! The model test: the real writer, the real store and the real lanes against chance, beside a simple reference.
//!
//! A run is a script of actions and the dice, both made of one seed. Everything runs on one thread with a paused clock,
//! in turns, so that a seed always gives the same run: reads and commits happen at one moment each, and the dice say how
//! long before and after it the others go on. After every write the rows are held against what they were and what
//! was asked for; every request is held against the rows. A loss of power leaves some of the bytes that the write
//! under way had put into the log, and what was durable before must be there after the start.

mod action;
mod book;
mod breakers;
mod bridge;
mod disk;
mod handler;
mod ledger;
mod whole;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Builder;

use self::action::{Action, script};
use self::bridge::Run;
use self::world::{World, start_of_time};
use crate::clock::Clock;
use crate::spool::sqlite::Sqlite;

/// Runs of an ordinary test, and of a long one.
const RUNS: (u64, u64) = (2_000, 1_000_000);
/// Where a run must be repeated, this names its seed.
const SEED: &str = "ZOOMHOOK_SEED";
/// Asks for a long test, if it is set; a number is its first seed.
const LONG: &str = "ZOOMHOOK_LONG";

/// Says how long a read or a turn of the writer takes.
#[derive(Clone)]
pub(in crate::spool) struct Pace(World);

impl Pace {
    pub(in crate::spool) async fn around<T>(&self, read: impl FnOnce() -> T) -> T {
        self.rest().await;
        let done = read();
        self.rest().await;
        done
    }

    async fn rest(&self) {
        let rest = {
            let mut world = self.0.lock();
            if world.dice.once_in(3) { world.dice.millis(30) } else { Duration::ZERO }
        };
        tokio::time::sleep(rest).await;
    }
}

/// Is what a run came to.
struct Outcome {
    violation: Option<String>,
    trace: Vec<String>,
    tally: BTreeMap<&'static str, u64>,
}

#[test]
fn whatever_happens_nothing_is_lost_repeated_without_bound_or_put_out_of_order() {
    let bench = Bench::new();
    if let Ok(seed) = std::env::var(SEED) {
        let seed = seed.parse().expect("a seed is a number");
        bench.explain(seed);
        return;
    }
    let (begin, runs, threads) = match std::env::var(LONG) {
        Err(_) => (0, RUNS.0, 1),
        Ok(first) => {
            let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
            (first.parse().unwrap_or(0), RUNS.1, threads)
        }
    };
    let tally = std::thread::scope(|scope| {
        let worker = |first| {
            let bench = &bench;
            move || {
                let mut tally = BTreeMap::new();
                for seed in (begin + first..begin + runs).step_by(threads as usize) {
                    let outcome = bench.run(seed, &script(seed));
                    if outcome.violation.is_some() {
                        bench.explain(seed);
                    }
                    for (what, count) in outcome.tally {
                        *tally.entry(what).or_insert(0) += count;
                    }
                }
                tally
            }
        };
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(worker(first))).collect();
        let mut sum: BTreeMap<&str, u64> = BTreeMap::new();
        for worker in workers {
            let tally = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            tally.into_iter().for_each(|(what, count)| *sum.entry(what).or_default() += count);
        }
        sum
    });
    for what in [
        "delivered",
        "dead",
        "retries",
        "repeats",
        "replays",
        "purges",
        "probes",
        "failed writes",
        "drops",
        "returns",
        "pauses",
        "breakers",
        "revivals",
        "rekeyings",
        "power cuts",
        "kills",
        "checkpoints",
        "restarts",
    ] {
        assert!(tally.get(what).is_some_and(|count| *count > runs / 400), "hardly any {what}: {tally:?}");
    }
}

#[test]
fn seed_gives_the_same_run_again() {
    let bench = Bench::new();
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| bench.run(seed, &script(seed)).trace);
        assert!(first.len() > 10 && first == second, "seed {seed}");
    }
}

/// Holds what runs need: a directory in memory, where there is one, and a new spool to copy.
struct Bench {
    directory: tempfile::TempDir,
    template: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.expect("a directory");
        let template = directory.path().join("template.db");
        drop(Sqlite::open(&template, std::sync::Arc::default()).expect("a new spool"));
        Self { directory, template }
    }

    fn run(&self, seed: u64, actions: &[Action]) -> Outcome {
        let directory = tempfile::tempdir_in(self.directory.path()).expect("a directory");
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let world = runtime.block_on(async {
            let clock = Clock::seeded(start_of_time(), seed);
            let world = World::new(seed, clock.clone());
            let mut run = Run::start(directory.path(), &self.template, world.clone(), clock).await;
            for action in actions {
                run.act(*action).await;
                if world.lock().violation.is_some() {
                    break;
                }
            }
            if world.lock().violation.is_none() {
                run.end().await;
            }
            world
        });
        drop(runtime);
        let mut world = world.lock();
        let (violation, trace) = (world.violation.take(), std::mem::take(&mut world.trace));
        Outcome { violation, trace, tally: std::mem::take(&mut world.tally) }
    }

    /// Runs a seed again and, if it fails, says with which few actions it does, and how to repeat it.
    fn explain(&self, seed: u64) {
        let mut actions = script(seed);
        let mut outcome = self.run(seed, &actions);
        if outcome.violation.is_none() {
            return;
        }
        let mut size = actions.len() / 2;
        while size > 0 {
            let mut at = 0;
            while at < actions.len() {
                let end = (at + size).min(actions.len());
                let fewer: Vec<Action> = [&actions[..at], &actions[end..]].concat();
                let shorter = self.run(seed, &fewer);
                if shorter.violation.is_some() {
                    (actions, outcome) = (fewer, shorter);
                } else {
                    at = end;
                }
            }
            size /= 2;
        }
        let mut text = format!("seed {seed} fails; with these actions alone:\n");
        for action in &actions {
            let _ = writeln!(text, "  {action:?}");
        }
        let last = outcome.trace.len().saturating_sub(60);
        let _ = writeln!(text, "  the end of it:\n    {}", outcome.trace[last..].join("\n    "));
        let _ = writeln!(text, "{}", outcome.violation.unwrap_or_default());
        panic!("{text}again: {SEED}={seed} cargo nextest run model::whatever");
    }
}
