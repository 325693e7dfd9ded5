//! What was measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// Is a machine and what ran on it.
#[derive(Serialize)]
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    memory_mb: u64,
    kernel: String,
    /// The type of the file system that the spools are on.
    file_system: String,
    /// How many processes wanted a core when it began, of the last minute: above 0.3 the figures are those of a busy machine.
    load: f64,
    date: String,
    revision: String,
    sqlite: &'static str,
}

impl Machine {
    /// Looks at this one; what cannot be found out is `unknown`.
    pub(crate) fn look() -> Self {
        let field = |path: &str, key: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kib = field("/proc/meminfo", "MemTotal").and_then(|kib| kib.split(' ').next()?.parse::<u64>().ok());
        let load = fs::read_to_string("/proc/loadavg").ok();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            memory_mb: kib.unwrap_or(0) / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            file_system: file_system(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap_or_else(unknown),
            load: load.and_then(|load| load.split(' ').next()?.parse().ok()).unwrap_or(0.0),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            revision: revision().unwrap_or_else(unknown),
            sqlite: rusqlite::version(),
        }
    }

    /// Says it in one line.
    pub(crate) fn line(&self) -> String {
        let Self { cores, processor, memory_mb, kernel, file_system, load, date, revision, sqlite } = self;
        format!(
            "{date}, revision {revision}: {cores} cores ({processor}), {memory_mb} MB, Linux {kernel}, {file_system}, SQLite {sqlite}, load {load:.1} at the beginning"
        )
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// Returns the type of the mount with the longest path above this one.
fn file_system(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = mounts.filter(|(at, _)| path.starts_with(at));
    above.max_by_key(|(at, _)| at.len()).map(|(_, kind)| kind.to_owned())
}

fn revision() -> Option<String> {
    let describe = Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).output().ok()?;
    describe.status.success().then(|| String::from_utf8_lossy(&describe.stdout).trim().to_owned())
}
