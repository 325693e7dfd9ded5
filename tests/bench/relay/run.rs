//! One run of one case: starts the processes, waits for the last arrival, and reads what the kernel counted.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use clap::ValueEnum as _;
use serde::Serialize;

use crate::receiver::{self, Handler};

/// Is one thing to measure.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) handlers: &'static [Handler],
    pub(crate) load: Load,
    /// The case that its latency is compared with.
    pub(crate) against: Option<&'static str>,
    /// Lines that the configuration of the spool has.
    pub(crate) spool: &'static str,
}

impl Case {
    /// Returns how many of its handlers take events.
    pub(crate) fn takers(&self) -> usize {
        self.handlers.iter().filter(|handler| handler.takes()).count()
    }
}

/// Is how events come.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// As fast as they are taken.
    Blast { count: u64 },
    /// At a pace.
    Paced { rate: u64, seconds: u64 },
    /// At a pace, after others of which so many were refused and are tried again and again.
    After { refused: u64, rate: u64, seconds: u64 },
}

/// Is what one run came to.
#[derive(Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) events_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub cpu_per_10k: f64,
    pub(crate) idle_mb: f64,
    pub(crate) peak_mb: f64,
}

impl Figures {
    /// Returns the median of each figure.
    pub(crate) fn median(runs: &[Self]) -> Self {
        let median = |figure: fn(&Self) -> f64| median(runs.iter().map(figure));
        Self {
            events_per_second: median(|run| run.events_per_second),
            p50_ms: median(|run| run.p50_ms),
            p99_ms: median(|run| run.p99_ms),
            cpu_per_10k: median(|run| run.cpu_per_10k),
            idle_mb: median(|run| run.idle_mb),
            peak_mb: median(|run| run.peak_mb),
        }
    }
}

/// Returns the value in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a case once, in a directory of its own.
pub(crate) fn once(case: &Case) -> Figures {
    let (count, rate, before) = match case.load {
        Load::Blast { count } => (count, 0, 0),
        Load::Paced { rate, seconds } => (rate * seconds, rate, 0),
        Load::After { refused, rate, seconds } => (rate * seconds, rate, receiver::before(refused)),
    };
    let [counted, pace, earlier] = [count, rate, before].map(|number| number.to_string());
    let directory = tempfile::tempdir().expect("a directory");
    let words = case.handlers.iter().map(|handler| handler.to_possible_value().expect("a word").get_name().to_owned());
    let mut receiver =
        Process::role(["receiver".to_owned(), counted.clone(), earlier.clone()].into_iter().chain(words));
    let urls = receiver.line();
    let mut zoom = Process::role(["zoom".to_owned(), counted, pace, earlier].into_iter());
    let zoom_port = zoom.line();
    let file = directory.path().join("zoomhook.toml");
    std::fs::write(&file, configuration(directory.path(), &zoom_port, &urls, case)).expect("written");
    let bridge = Process::start(Command::new(env!("CARGO_BIN_EXE_zoomhook")).arg("run").arg("--config").arg(&file));
    if before > 0 {
        assert_eq!(receiver.line(), receiver::ALL_REFUSED);
        zoom.go_on();
    }
    let began: f64 = zoom.line().parse().expect("a time");
    let idle_mb = bridge.resident("VmRSS:");
    let idle_cpu = bridge.cpu_seconds();
    let report = receiver.line();
    let cpu = bridge.cpu_seconds() - idle_cpu;
    let mut figures = report.split(' ').map(|figure| figure.parse::<f64>().expect("a figure"));
    let mut next = || figures.next().expect("three figures");
    Figures {
        events_per_second: count as f64 / ((next() - began) / 1e9),
        p50_ms: next() / 1e6,
        p99_ms: next() / 1e6,
        cpu_per_10k: cpu / count as f64 * 1e4,
        idle_mb,
        peak_mb: bridge.resident("VmHWM:"),
    }
}

fn configuration(directory: &Path, zoom_port: &str, urls: &str, case: &Case) -> String {
    let mut text = format!(
        r#"
[[subscription]]
url = "ws://127.0.0.1:{zoom_port}/ws?subscriptionId=benchmark"
token_url = "http://127.0.0.1:{zoom_port}/oauth/token"
account_id = "benchmark"
client_id = "benchmark"
client_secret = "benchmark"
[spool]
path = "{}"
{}[admin]
listen = "127.0.0.1:0"
[log]
level = "error"
"#,
        directory.join("zoomhook.db").display(),
        case.spool
    );
    for (number, (url, handler)) in urls.split(' ').zip(case.handlers).enumerate() {
        text.push_str(&format!(
            "[[destination]]\nname = \"handler-{number}\"\nurl = \"{url}\"\nsecret_token = \"benchmark\"\n"
        ));
        if *handler == Handler::Backlog {
            // What is refused is due again all the time.
            text.push_str(&format!("retry = {:?}\n", ["1s"; 100]));
        }
    }
    text
}

/// Is a process that ends with its owner.
struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    fn role(arguments: impl Iterator<Item = String>) -> Self {
        Self::start(Command::new(std::env::current_exe().expect("a program")).args(arguments))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines }
    }

    /// Sends the line that it waits for.
    fn go_on(&mut self) {
        self.child.stdin.take().expect("piped").write_all(b"\n").expect("it waits");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("readable");
        line.trim().to_owned()
    }

    /// Returns a figure of `/proc/PID/status`, in MB.
    fn resident(&self, key: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(key)).expect("the figure");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        kib / 1024.0
    }

    /// Returns the processor time that it has used, of user and system.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let after_name = stat.rsplit(')').next().expect("a name");
        let ticks: f64 =
            after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
        // The kernel counts in hundredths of a second on every Linux of today.
        ticks / 100.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
