//! Fetches secrets from where they are kept: files, credentials of systemd, programs.
//!
//! What is fetched is wiped from memory when it is dropped. A message names the place, never what was read there: of a
//! program that fails, its exit status is told and nothing that it wrote.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use super::reference::{Program, Stored};
use super::source::Environment;

/// Where systemd puts the credentials of a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// No secret is longer; what is longer is not what was meant.
const MOST: usize = 64 << 10;
/// What every program gets of the environment: where programs, its own files and its language are.
const PASSED: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR"];
/// How often a program is looked at that has closed its output and not ended, and a pipe that has brought nothing yet.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// How long a file is waited for that is a pipe, and whose other end has written nothing yet.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Fetches a secret.
///
/// # Errors
/// In words that name the place and what would be right.
pub(crate) fn fetch(stored: &Stored, environment: &Environment) -> Result<Zeroizing<Vec<u8>>, String> {
    match stored {
        Stored::File(path) => read_private(path),
        Stored::Credential(name) => match environment.get(CREDENTIALS) {
            Some(folder) => read_private(&PathBuf::from(folder).join(name)),
            None => Err(format!(
                "the credential {name} is not there, for {CREDENTIALS} is not set: have systemd start the service, with \
                 LoadCredential={name}:PATH in its unit"
            )),
        },
        Stored::Command(program) => run(program, environment),
    }
}

/// Reads a file that holds a secret, unless everybody may read or write it.
///
/// The group may read it: that is how a service gets at a file of root's, and how systemd shows its credentials.
///
/// # Errors
/// In words that name the file and what would be right.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display();
    let unreadable = |error: io::Error| format!("the file {shown} cannot be read: {error}");
    // A pipe without anybody at its other end would hold up a start or a reload for ever: it is opened as it is, and empty.
    let open = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let mut file = open.map_err(unreadable)?;
    // Of what is open, not of the path: another file may take its place meanwhile.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o006 != 0 {
        let what = if mode & 0o004 != 0 { "readable" } else { "writable" };
        return Err(format!(
            "the file {shown} holds a secret and is {what} for everybody (mode {mode:04o}): chmod 600 {shown}"
        ));
    }
    let bytes = read_bounded(&mut file).map_err(unreadable)?;
    bytes.ok_or_else(|| format!("the file {shown} is longer than 64 KiB: it holds no secret"))
}

/// Reads to the end; `None` where that is too far.
fn read_bounded(from: &mut impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // It never grows: what it grew out of would not be wiped.
    let mut bytes = Zeroizing::new(vec![0; MOST + 1]);
    let (mut length, begun) = (0, Instant::now());
    while length <= MOST {
        match from.read(&mut bytes[length..]) {
            Ok(0) => {
                bytes.truncate(length);
                return Ok(Some(bytes));
            }
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && begun.elapsed() < PATIENCE => {
                thread::sleep(LOOK)
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Runs a program, without a shell, without our other secrets, and not for long.
fn run(program: &Program, environment: &Environment) -> Result<Zeroizing<Vec<u8>>, String> {
    let Program { line, timeout, pass } = program;
    let deadline = Instant::now() + *timeout;
    let name = &line[0];
    let passed = PASSED.into_iter().chain(pass.iter().map(String::as_str));
    let variables = passed.filter_map(|name| Some((name, environment.get(name)?)));
    let mut child = Command::new(name)
        .args(&line[1..])
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // So that what it has started ends with it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("the command {name} cannot be run: {error}"))?;
    let too_slow = || format!("the command {name} has not ended within {} ms, and was killed", timeout.as_millis());
    let output = child.stdout.take().map(read_aside);
    let output = output.ok_or_else(|| format!("the command {name} has no output"))?;
    let left = deadline.saturating_duration_since(Instant::now());
    let output = match output.recv_timeout(left) {
        Ok(output) => output,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            kill(&mut child);
            return Err(too_slow());
        }
    };
    let status = match wait(&mut child, deadline) {
        Ok(Some(status)) => status,
        Ok(None) => {
            kill(&mut child);
            return Err(too_slow());
        }
        Err(error) => return Err(format!("the command {name} could not be waited for: {error}")),
    };
    match output {
        // Its status may be that of one whose output was closed on it.
        Ok(None) => Err(format!("the command {name} prints more than 64 KiB: that is no secret")),
        Ok(Some(bytes)) if status.success() => Ok(bytes),
        Ok(Some(_)) => Err(format!(
            "the command {name} failed, {status}: run it by hand to see why, since what it writes may be secret"
        )),
        Err(error) => Err(format!("what the command {name} prints cannot be read: {error}")),
    }
}

/// Reads on a thread of its own, since a pipe knows no deadline.
fn read_aside(mut from: ChildStdout) -> Receiver<io::Result<Option<Zeroizing<Vec<u8>>>>> {
    let (send, receive) = mpsc::sync_channel(1);
    thread::spawn(move || {
        // Whoever waited may have lost patience.
        let _ = send.send(read_bounded(&mut from));
    });
    receive
}

fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() >= deadline => return Ok(None),
            None => thread::sleep(LOOK),
        }
    }
}

/// Ends a program with all that it has started.
fn kill(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // It may have ended by itself; its number is its own until it was waited for.
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn file_that_everybody_may_read_or_write_is_refused_with_what_mends_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        fs::write(&path, "canary\n").expect("written");
        for (mode, word) in [
            (0o644, Some("readable")),
            (0o604, Some("readable")),
            (0o602, Some("writable")),
            (0o640, None),
            (0o600, None),
            (0o400, None),
            (0o440, None),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
            match (fetch(&Stored::File(path.clone()), &Environment::default()), word) {
                (Ok(bytes), None) => assert_eq!(**bytes, *b"canary\n"),
                (Err(error), Some(word)) => assert_eq!(
                    error,
                    format!(
                        "the file {0} holds a secret and is {word} for everybody (mode {mode:04o}): chmod 600 {0}",
                        path.display()
                    )
                ),
                (outcome, _) => panic!("{mode:o}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn pipe_is_read_to_its_end_and_one_without_another_end_holds_nobody_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        assert_eq!(**read_private(&pipe).expect("it is empty"), *b"");
        // Whoever opens both ends waits for nobody.
        let mut end = OpenOptions::new().read(true).write(true).open(&pipe).expect("an end");
        let reading = thread::spawn(move || read_private(&pipe));
        io::Write::write_all(&mut end, b"canary").expect("written");
        while rustix::io::ioctl_fionread(&end).expect("it is a pipe") > 0 {
            thread::yield_now();
        }
        drop(end);
        assert_eq!(**reading.join().expect("no panic").expect("it is read"), *b"canary");
    }

    #[test]
    fn credential_is_read_where_systemd_puts_it() {
        let folder = tempfile::tempdir().expect("a folder");
        private(&folder.path().join("zoom"), "canary");
        let environment = [(CREDENTIALS, folder.path().to_str().expect("text"))].into_iter().collect();
        let credential = |name: &str| Stored::Credential(name.to_owned());
        assert_eq!(**fetch(&credential("zoom"), &environment).expect("there"), *b"canary");
        let error = fetch(&credential("crm"), &environment).expect_err("missing");
        assert!(error.contains("/crm cannot be read"), "{error}");
        let error = fetch(&credential("zoom"), &Environment::default()).expect_err("no systemd");
        assert!(
            error.contains("CREDENTIALS_DIRECTORY is not set") && error.contains("LoadCredential=zoom:"),
            "{error}"
        );
    }

    #[test]
    fn program_gets_what_it_needs_and_nothing_else() {
        let environment = [("PATH", "/usr/bin:/bin"), ("ZOOM_CLIENT_SECRET", "canary"), ("VAULT_ADDR", "https://v/")];
        let environment: Environment = environment.into_iter().collect();
        let printed = |pass: &[&str]| {
            let pass = pass.iter().map(|name| (*name).to_owned()).collect();
            let program = Program { pass, ..program(&["env"]) };
            let bytes = fetch(&Stored::Command(program), &environment).expect("printed");
            String::from_utf8(bytes.to_vec()).expect("text")
        };
        assert_eq!(printed(&[]), "PATH=/usr/bin:/bin\n");
        assert!(printed(&["VAULT_ADDR"]).contains("VAULT_ADDR=https://v/\n"));
    }

    #[test]
    fn program_that_fails_is_told_by_its_status_and_nothing_that_it_wrote() {
        let failing = ["sh", "-c", "echo canary; echo canary >&2; exit 3"];
        for (line, words) in [
            (&failing[..], "the command sh failed, exit status: 3: run it by hand"),
            (&["/nonexistent/vault"], "the command /nonexistent/vault cannot be run"),
            (&["sh", "-c", "head -c 70000 /dev/zero"], "prints more than 64 KiB"),
        ] {
            let error = fetch(&Stored::Command(program(line)), &path()).expect_err("it failed");
            assert!(error.contains(words) && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn program_that_does_not_end_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let numbers = folder.path().join("numbers");
        let hangs = format!("sleep 600 & echo $$ $! > {}; wait", numbers.display());
        // One that prints and closes its output hangs all the same.
        let closes = format!("echo $$ > {}; echo canary; exec >&-; sleep 600", numbers.display());
        for script in [hangs, closes] {
            let timeout = Duration::from_millis(300);
            let program = Program { timeout, ..program(&["sh", "-c", &script]) };
            let error = fetch(&Stored::Command(program), &path()).expect_err("it hangs");
            assert_eq!(error, "the command sh has not ended within 300 ms, and was killed");
            for number in fs::read_to_string(&numbers).expect("it began").split_whitespace() {
                // What is killed ends a moment later, and whoever takes in orphans may not have done so yet.
                let state = || fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
                let ended = |state: &str| state.is_empty() || state.contains(") Z ") || state.contains(") X ");
                while !ended(&state()) {
                    thread::yield_now();
                }
            }
        }
    }

    fn program(line: &[&str]) -> Program {
        let line = line.iter().map(|word| (*word).to_owned()).collect();
        Program { line, timeout: Duration::from_secs(30), pass: Vec::new() }
    }

    fn path() -> Environment {
        [("PATH", "/usr/bin:/bin")].into_iter().collect()
    }

    fn private(path: &Path, text: &str) {
        fs::write(path, text).expect("written");
        fs::set_permissions(path, Permissions::from_mode(0o600)).expect("set");
    }
}
