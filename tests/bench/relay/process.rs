//! Processes: what they say, what the kernel counts of them, and their end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Says why a run did not come to its end.
pub(crate) type Problem = String;

/// Is a process that ends with its owner.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    /// Starts this program in a role.
    pub(crate) fn role(role: &'static str, arguments: impl IntoIterator<Item = String>) -> Self {
        Self::start(role, Command::new(std::env::current_exe().expect("a program")).arg(role).args(arguments))
    }

    /// Starts a program.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { name, child, input, lines }
    }

    /// Returns the next line that it prints.
    ///
    /// # Errors
    /// When none comes in time, or it has ended.
    pub(crate) fn line(&mut self, within: Duration) -> Result<String, Problem> {
        self.lines.recv_timeout(within).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("{} said nothing within {} s", self.name, within.as_secs()),
            RecvTimeoutError::Disconnected => format!("{} has ended", self.name),
        })
    }

    /// Sends the line that it waits for.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn go_on(&mut self) -> Result<(), Problem> {
        self.input.write_all(b"\n").map_err(|error| format!("{} does not listen: {error}", self.name))
    }

    /// Returns a figure of `/proc/PID/status`, in MB.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn resident(&self, key: &str) -> Result<f64, Problem> {
        let status = self.proc("status")?;
        let kib =
            status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("{} has ended", self.name))
    }

    /// Returns the processor time that it has used, of user and system.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, Problem> {
        let stat = self.proc("stat")?;
        let after_name = stat.rsplit(')').next().expect("a name");
        let ticks = after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number"));
        // The kernel counts in hundredths of a second on every Linux of today.
        Ok(ticks.sum::<f64>() / 100.0)
    }

    fn proc(&self, file: &str) -> Result<String, Problem> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
            .map_err(|error| format!("{} has ended: {error}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
