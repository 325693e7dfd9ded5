//! Where a configuration comes from: a file, the environment, flags.
//!
//! [`Sources::gather`] is all that touches the machine; [`load`](super::load) works on what it found.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::LogFormat;
use super::fetch::{LOOK, PATIENCE, fetch, read_private};
use super::problem::{Problem, Problems};
use super::reference::Stored;

/// Is looked for where no file was named.
const DEFAULT_FILE: &str = "zoomhook.toml";

/// Names the file, as `--config` does.
const CONFIG_VARIABLE: &str = "ZOOMHOOK_CONFIG";

/// Bytes of the longest configuration: thousands of destinations, and no device that never ends.
const LONGEST: u64 = 4 << 20;

/// Is what the command line says about the configuration.
#[derive(Clone, Default)]
pub struct Flags {
    /// `--config`: the file.
    pub config: Option<PathBuf>,
    /// `--env-file`: variables to add to the environment.
    pub env_file: Option<PathBuf>,
    /// `--to`: URLs of further destinations.
    pub to: Vec<String>,
    /// `--spool`: replaces `spool.path`.
    pub spool: Option<String>,
    /// `--listen`: replaces `admin.listen`.
    pub listen: Option<String>,
    /// `--ca-file`: replaces `admin.ca_file`.
    pub ca_file: Option<String>,
    /// `--log-level`: replaces `log.level`.
    pub log_level: Option<String>,
    /// `--log-format`: replaces `log.format`.
    pub log_format: Option<String>,
}

/// Fetches a secret, or says why not in words that hold nothing of it.
pub type Fetch = dyn Fn(&Stored, &Environment) -> Result<Zeroizing<Vec<u8>>, String>;

/// Is everything that [`load`](super::load) looks at.
pub struct Sources<'a> {
    /// The file; without one the environment stands alone.
    pub file: Option<File>,
    /// The variables.
    pub environment: Environment,
    /// The command line.
    pub flags: Flags,
    /// The form of log lines where nothing else says it.
    pub log_format: LogFormat,
    /// Reads the files that the configuration points to, but for those of secrets.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// Fetches secrets from where they are kept.
    pub fetch: &'a Fetch,
}

/// Is a configuration file.
pub struct File {
    /// Its path, for messages.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl Sources<'static> {
    /// Reads the process environment, the file of `--env-file` and the configuration file: the one that
    /// `--config` or `ZOOMHOOK_CONFIG` names, else `./zoomhook.toml` where it exists, else none.
    ///
    /// # Errors
    /// When a file that was named cannot be read or, for `--env-file`, understood, or when everybody may write it.
    pub fn gather(flags: Flags, log_format: LogFormat) -> Result<Self, Problems> {
        let mut environment = Environment::of_process();
        let mut problems = Vec::new();
        if let Some(path) = &flags.env_file
            && let Err(message) = read_private(path).and_then(|bytes| match std::str::from_utf8(&bytes) {
                Ok(text) => environment.add_file(text).map_err(|message| format!("{}: {message}", path.display())),
                Err(_) => Err(format!("the file {} is not text (UTF-8)", path.display())),
            })
        {
            problems.push(Problem::new("--env-file", message));
        }
        let (name, path) = match (&flags.config, environment.get(CONFIG_VARIABLE)) {
            (Some(path), _) => ("--config", Some(path.clone())),
            (None, Some(path)) => (CONFIG_VARIABLE, Some(PathBuf::from(path))),
            (None, None) => ("./zoomhook.toml", Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists())),
        };
        let mut file = None;
        if let Some(path) = path {
            match read_text(&path) {
                Ok(text) => file = Some(File { path, text }),
                Err(message) => problems.push(Problem::new(name, format!("{}: {message}", path.display()))),
            }
        }
        if problems.is_empty() {
            return Ok(Self { file, environment, flags, log_format, read: &|path| fs::read(path), fetch: &fetch });
        }
        let log_format = told_format(&flags, &environment, log_format);
        Err(Problems { origin: "the configuration".to_owned(), problems, warnings: Vec::new(), log_format })
    }
}

impl Sources<'_> {
    /// Returns the form of log lines where no file can tell it.
    pub(super) fn log_format_without_file(&self) -> LogFormat {
        told_format(&self.flags, &self.environment, self.log_format)
    }

    /// Names the place that the configuration comes from.
    pub(super) fn origin(&self) -> String {
        match &self.file {
            Some(file) => file.path.display().to_string(),
            None => format!("the environment (no {DEFAULT_FILE} here)"),
        }
    }
}

fn told_format(flags: &Flags, environment: &Environment, otherwise: LogFormat) -> LogFormat {
    let told = flags.log_format.as_deref().or_else(|| environment.get("ZOOMHOOK_LOG_FORMAT"));
    let known = LogFormat::WORDS.iter().find(|(word, _)| Some(*word) == told);
    known.map_or(otherwise, |(_, format)| *format)
}

/// Reads a configuration, unless everybody may write it: what stands there says which programs are run, as this one.
///
/// The group may write it: that is how operators get at a file of root's. Of a symbolic link its target counts.
fn read_text(path: &Path) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    // A pipe that nobody writes to would hold up a start or a reload for ever: it is opened as it is.
    let open = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = open.map_err(unreadable)?;
    // Of what is open, not of the path: another file may take its place meanwhile.
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    // What is written to a device such as /dev/null is not what others read there.
    if mode & 0o002 != 0 && !metadata.file_type().is_char_device() {
        let shown = path.display();
        return Err(format!(
            "is writable for everybody (mode {mode:04o}), who could have it run any program: chmod o-w {shown}"
        ));
    }
    let mut bytes = Vec::new();
    let mut file = file.take(LONGEST + 1);
    if metadata.file_type().is_fifo() {
        read_pipe(file, &mut bytes, PATIENCE)?;
    } else {
        file.read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() as u64 > LONGEST {
        return Err(format!("is longer than {} MiB: no configuration is", LONGEST >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not text (UTF-8)")
    })
}

/// Reads a pipe to its end, waiting no longer than this for who writes to it.
fn read_pipe(mut pipe: impl Read, bytes: &mut Vec<u8>, patience: Duration) -> Result<(), String> {
    let begun = Instant::now();
    let late = |what| format!("is a pipe, {what} within {} s: name a file", patience.as_secs());
    loop {
        // Before anybody has opened its other end, it looks as if it were at its end.
        match pipe.read_to_end(bytes) {
            Ok(_) if !bytes.is_empty() => return Ok(()),
            Ok(_) if begun.elapsed() < patience => thread::sleep(LOOK),
            Ok(_) => return Err(late("and nobody has written anything to it")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && begun.elapsed() < patience => {
                thread::sleep(LOOK);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(late("and who writes to it has not come to an end"));
            }
            Err(error) => return Err(format!("cannot be read: {error}")),
        }
    }
}

/// Is a copy of the environment's variables; it is never written back.
///
/// A variable that is empty counts as not set: that is how compose files pass on what nobody gave.
#[derive(Clone, Default)]
pub struct Environment(HashMap<String, Zeroizing<String>>);

impl Environment {
    /// Copies the variables of the process; those that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os();
        Self(
            variables
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?.into())))
                .collect(),
        )
    }

    /// Returns the value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Adds the variables of an environment file (`NAME=value` a line); those that are set already stay.
    /// As is the custom in such files, `$NAME` outside of single quotes stands for the value of another.
    ///
    /// # Errors
    /// When an entry cannot be understood; what is said names the entry before it and quotes no value.
    pub fn add_file(&mut self, text: &str) -> Result<(), String> {
        let mut read = HashMap::new();
        let mut after = "is the first".to_owned();
        for entry in dotenvy::Iter::new(text.trim_start_matches('\u{feff}').as_bytes()) {
            let (name, value) =
                entry.map_err(|_| format!("an entry is not in the form NAME=value or NAME='value' (it {after})"))?;
            after = format!("comes after {name}");
            read.insert(name, Zeroizing::new(value));
        }
        for (name, value) in read {
            if self.get(&name).is_none() {
                self.0.insert(name, value);
            }
        }
        Ok(())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), Zeroizing::new(value.into()))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().copied().collect()
    }

    #[test]
    fn process_variables_win_over_the_file_and_empty_ones_do_not_count() {
        let mut environment = environment(&[("A", "process"), ("B", "")]);
        assert_eq!(environment.get("B"), None);
        environment
            .add_file("\u{feff}# comment\r\nA=file\r\nexport B='it''s' # why\nC=\"two\\nlines\"\n")
            .expect("entries");
        assert_eq!(environment.get("A"), Some("process"));
        assert_eq!(environment.get("B"), Some("its"));
        assert_eq!(environment.get("C"), Some("two\nlines"));
    }

    #[test]
    fn a_bad_entry_is_named_by_its_neighbour_and_not_quoted() {
        let cases = [
            ("A=1\nsecret canary\n", "comes after A"),
            ("secret: canary\n", "is the first"),
            ("A=1\nB='canary\n", "comes after A"),
            ("A=1\nB=canary canary\n", "comes after A"),
        ];
        for (text, place) in cases {
            let error = environment(&[]).add_file(text).expect_err(text);
            assert!(error.contains(place) && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn file_that_is_no_configuration_is_not_read_to_its_end() {
        let long = tempfile::NamedTempFile::new().expect("a file");
        long.as_file().set_len(LONGEST + 1).expect("a length");
        for path in [long.path(), Path::new("/dev/zero")] {
            assert_eq!(read_text(path), Err("is longer than 4 MiB: no configuration is".to_owned()));
        }
    }

    #[test]
    fn pipe_is_read_as_its_writer_comes_and_is_said_to_be_one_where_none_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        let open = || {
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            OpenOptions::new().read(true).custom_flags(flags).open(&path).expect("opened")
        };
        let mut bytes = Vec::new();
        let nobody = read_pipe(open(), &mut bytes, Duration::ZERO).expect_err("nobody writes");
        assert_eq!(nobody, "is a pipe, and nobody has written anything to it within 0 s: name a file");
        // Whoever opens both ends waits for nobody.
        let mut end = OpenOptions::new().read(true).write(true).open(&path).expect("an end");
        let unfinished = read_pipe(open(), &mut bytes, Duration::ZERO).expect_err("it goes on");
        assert_eq!(unfinished, "is a pipe, and who writes to it has not come to an end within 0 s: name a file");
        drop(end);
        let reading = thread::spawn({
            let path = path.clone();
            move || read_text(&path)
        });
        end = OpenOptions::new().write(true).open(&path).expect("somebody reads");
        io::Write::write_all(&mut end, b"a = 1\n").expect("written");
        drop(end);
        assert_eq!(reading.join().expect("no panic"), Ok("a = 1\n".to_owned()));
    }

    #[test]
    fn a_bad_file_adds_nothing() {
        let mut environment = environment(&[]);
        environment.add_file("A=1\nnonsense\n").expect_err("nonsense");
        assert_eq!(environment.get("A"), None);
    }

    #[test]
    fn files_that_were_named_must_be_there() {
        let missing = || Some(PathBuf::from("/nonexistent/zoomhook"));
        let flags = Flags { config: missing(), env_file: missing(), ..Flags::default() };
        let problems = Sources::gather(flags, LogFormat::Text).err().expect("no such files").problems;
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["--env-file", "--config"]);
        assert!(problems.iter().all(|problem| problem.message.contains("/nonexistent/zoomhook")));
    }

    #[test]
    fn configuration_that_everybody_may_write_is_refused_with_what_mends_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("zoomhook.toml"), folder.path().join("link"));
        fs::write(&path, "a = 1\n").expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        for (mode, refused) in
            [(0o666, true), (0o602, true), (0o777, true), (0o664, false), (0o644, false), (0o440, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            for path in [&path, &link] {
                let error = format!(
                    "is writable for everybody (mode {mode:04o}), who could have it run any program: chmod o-w {}",
                    path.display()
                );
                let expected = if refused { Err(error) } else { Ok("a = 1\n".to_owned()) };
                assert_eq!(read_text(path), expected, "{mode:o}");
            }
        }
        assert_eq!(read_text(Path::new("/dev/null")), Ok(String::new()));
    }
}
