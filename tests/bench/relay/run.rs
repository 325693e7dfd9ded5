//! One run of one case: starts the processes, waits for the last arrival, and reads what the kernel counted.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum as _;

use crate::cases::{Case, Console, Load, Stored};
use crate::configuration::configuration;
use crate::console;
use crate::disk;
use crate::figures::{
    AT_START, CATCH_UP, CPU, DEAD_GROUPS, DEAD_LIST, EVENTS, Figures, IDLE, METRICS, P50, P99, PEAK, REPEATS, START,
    STATUS,
};
use crate::process::{Problem, Process};
use crate::receiver::ALL_CAME;
use crate::stored;
use crate::zoom::nanos;

/// Within this, a process does the next thing. A bridge that is so late has lost an event, or hangs.
const PATIENCE: Duration = Duration::from_secs(300);
/// What is asked of the admin port, and how often: the fastest answer counts.
const LISTS: [(&str, &str); 4] = [
    (DEAD_LIST, "/api/v1/dead"),
    (DEAD_GROUPS, "/api/v1/dead/groups"),
    (STATUS, "/api/v1/status"),
    (METRICS, "/metrics"),
];
const TIMES: usize = 5;

/// Is a bridge with a Zoom and handlers.
pub(crate) struct Stage {
    pub(crate) zoom: Process,
    pub(crate) receiver: Process,
    pub(crate) bridge: Process,
    admin_port: u16,
    started: f64,
}

impl Stage {
    /// Starts them, on a spool in `directory`.
    ///
    /// # Errors
    /// When one of them says nothing.
    pub(crate) fn set(case: &Case, directory: &Path, spool: &Path) -> Result<Self, Problem> {
        let count = match case.load {
            Load::Blast { count } => count,
            Load::Paced { rate, seconds } => rate * seconds,
            Load::Nothing => 0,
        };
        let rate = if let Load::Paced { rate, .. } = case.load { rate } else { 0 };
        let (stored, warm) = (case.stored.count(), case.warm);
        let words = case.handlers.iter().map(|handler| handler.to_possible_value().expect("a word"));
        let numbers = [count, stored + warm, case.kinds].map(|number| number.to_string());
        let words = words.map(|word| word.get_name().to_owned());
        let mut receiver = Process::role("receiver", numbers.into_iter().chain(words));
        let urls = receiver.line(PATIENCE)?;
        let mut zoom = Process::role("zoom", [count, rate, stored, warm, case.kinds].map(|number| number.to_string()));
        let zoom_port = zoom.line(PATIENCE)?;
        let admin_port = free_port();
        let file = directory.join("zoomhook.toml");
        std::fs::write(&file, configuration(spool, &zoom_port, admin_port, &urls, case))
            .map_err(|error| error.to_string())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_zoomhook"));
        command.arg("run").arg("--config").arg(&file);
        disk::slow_down(&mut command, case.sync_ms, directory)?;
        let started = nanos() as f64;
        let bridge = Process::start("the bridge", &mut command);
        Ok(Self { zoom, receiver, bridge, admin_port, started })
    }
}

/// Runs a case once, in a directory of its own.
///
/// # Errors
/// When an event was lost, or the run did not come to its end.
pub(crate) fn once(case: &Case) -> Result<Figures, Problem> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
    let spool = stored::spool(case, directory.path())?;
    let mut stage = Stage::set(case, directory.path(), &spool)?;
    let mut figures = Figures::default();
    let connected = number(&stage.zoom.line(PATIENCE)?)?;
    figures.set(START, (connected - stage.started) / 1e6);
    figures.set(AT_START, stage.bridge.resident("VmRSS:")?);
    stage.zoom.line(PATIENCE)?;
    if case.stored == Stored::Nothing {
        figures.set(IDLE, stage.bridge.resident("VmRSS:")?);
    }
    if case.load == Load::Nothing {
        read_lists(stage.admin_port, &mut figures)?;
    } else {
        relay(case, &mut stage, connected, &mut figures)?;
    }
    figures.set(PEAK, stage.bridge.resident("VmHWM:")?);
    Ok(figures)
}

fn relay(case: &Case, stage: &mut Stage, connected: f64, figures: &mut Figures) -> Result<(), Problem> {
    stage.zoom.go_on()?;
    if case.warm > 0 {
        stage.receiver.line(PATIENCE)?;
    }
    let _console = match case.console {
        Console::Closed => None,
        Console::Open => {
            let mut console = Process::role("console", [stage.admin_port.to_string()]);
            console.line(PATIENCE)?;
            Some(console)
        }
    };
    stage.zoom.go_on()?;
    let began = number(&stage.zoom.line(PATIENCE)?)?;
    let cpu = stage.bridge.cpu_seconds()?;
    let mut report = stage.receiver.line(PATIENCE)?;
    if let Some(at) = report.strip_prefix(ALL_CAME) {
        figures.set(CATCH_UP, case.stored.count() as f64 / ((number(at.trim())? - connected) / 1e9));
        report = stage.receiver.line(PATIENCE)?;
    }
    let cpu = stage.bridge.cpu_seconds()? - cpu;
    let report = report.split(' ').map(number).collect::<Result<Vec<_>, _>>()?;
    let [last, p50, p99, repeats, count] = report[..] else { return Err("the receiver reports less".to_owned()) };
    figures.set(P50, p50 / 1e6);
    figures.set(P99, p99 / 1e6);
    figures.set(REPEATS, repeats);
    if case.stored == Stored::Nothing {
        let events = count / case.takers() as f64;
        figures.set(EVENTS, events / ((last - began) / 1e9));
        figures.set(CPU, cpu / events * 1e4);
    }
    Ok(())
}

fn read_lists(port: u16, figures: &mut Figures) -> Result<(), Problem> {
    for (figure, path) in LISTS {
        let mut best = f64::INFINITY;
        for _ in 0..TIMES {
            let began = Instant::now();
            let answer = console::get(port, path).map_err(|error| format!("{path}: {error}"))?;
            best = best.min(began.elapsed().as_secs_f64() * 1e3);
            if !answer.starts_with("HTTP/1.1 200") {
                return Err(format!("{path}: {}", answer.lines().next().unwrap_or_default()));
            }
        }
        figures.set(figure, best);
    }
    Ok(())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn number(text: &str) -> Result<f64, Problem> {
    text.parse().map_err(|_| format!("no number: {text}"))
}
