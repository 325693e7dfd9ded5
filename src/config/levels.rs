//! ◆ How much is logged: one level for all, and others for single parts of the program.
//!
//! ```text
//! info
//! info,zoomhook::dispatch=debug,zoomhook::frames=trace
//! ```

use std::fmt;
use std::str::FromStr;

use tracing::Level;

/// The words for levels, from little to much.
const WORDS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];
/// What targets begin with: everything that this program logs, and nothing that its libraries would.
const PREFIX: &str = "zoomhook::";
/// The parts of the program that log; `frames` is what is read from sockets, one line each, without what is in them.
const PARTS: [&str; 10] =
    ["admin", "app", "cli", "dispatch", "frames", "simulator", "spool", "telemetry", "tls", "zoom"];
/// More targets than anybody needs at once.
const MOST: usize = 32;

/// Says what is logged at which level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    general: Level,
    targets: Vec<(Box<str>, Level)>,
}

/// Says why a text does not tell levels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLevels {
    /// A word is no level.
    #[error(
        "expected a level (\"error\", \"warn\", \"info\", \"debug\" or \"trace\"), with others for parts of the program \
         behind commas, such as \"info,zoomhook::dispatch=debug\", found {0:?}"
    )]
    Word(String),
    /// A target is not one of this program's.
    #[error("{0:?} is no target: expected \"zoomhook::\" and one of {list}, with what is below it", list = PARTS.join(", "))]
    Target(String),
    /// Something is told twice.
    #[error("{0} is told twice")]
    Twice(String),
    /// There are too many targets.
    #[error("expected at most {MOST} targets")]
    TooMany,
}

impl Levels {
    /// Makes one level for everything.
    pub const fn all(general: Level) -> Self {
        Self { general, targets: Vec::new() }
    }

    /// Returns the level of what has none of its own.
    pub fn general(&self) -> Level {
        self.general
    }

    /// Returns the targets that have a level of their own.
    pub fn targets(&self) -> impl Iterator<Item = (&str, Level)> {
        self.targets.iter().map(|(target, level)| (&**target, *level))
    }
}

impl FromStr for Levels {
    type Err = NotLevels;

    fn from_str(text: &str) -> Result<Self, NotLevels> {
        let mut general = None;
        let mut targets: Vec<(Box<str>, Level)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let Some((target, word)) = part.split_once('=') else {
                if general.replace(level(part)?).is_some() {
                    return Err(NotLevels::Twice("the general level".to_owned()));
                }
                continue;
            };
            if !is_target(target) {
                return Err(NotLevels::Target(target.to_owned()));
            }
            if targets.iter().any(|(known, _)| **known == *target) {
                return Err(NotLevels::Twice(target.to_owned()));
            }
            targets.push((target.into(), level(word)?));
        }
        if targets.len() > MOST {
            return Err(NotLevels::TooMany);
        }
        Ok(Self { general: general.unwrap_or(Level::INFO), targets })
    }
}

/// Writes them as they are read.
impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(word(self.general))?;
        self.targets.iter().try_for_each(|(target, level)| write!(f, ",{target}={}", word(*level)))
    }
}

fn level(text: &str) -> Result<Level, NotLevels> {
    let found = WORDS.iter().find(|(word, _)| *word == text);
    found.map(|(_, level)| *level).ok_or_else(|| NotLevels::Word(text.to_owned()))
}

fn word(level: Level) -> &'static str {
    WORDS.iter().find(|(_, known)| *known == level).expect("every level has its word").0
}

fn is_target(text: &str) -> bool {
    let Some(path) = text.strip_prefix(PREFIX) else { return false };
    let mut names = path.split("::");
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    names.next().is_some_and(|part| PARTS.contains(&part)) && names.all(is_name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn one_word_is_the_level_of_everything() {
        for (word, level) in WORDS {
            assert_eq!(word.parse(), Ok(Levels::all(level)));
            assert_eq!(Levels::all(level).to_string(), word);
        }
    }

    #[test]
    fn parts_have_levels_of_their_own_and_are_written_as_they_are_read() {
        let text = "warn,zoomhook::dispatch=debug,zoomhook::zoom::session=trace";
        let levels: Levels = text.parse().expect("levels");
        assert_eq!(levels.to_string(), text);
        assert_eq!(levels.general(), Level::WARN);
        let spaced: Levels = " zoomhook::dispatch=debug , warn,zoomhook::zoom::session=trace ".parse().expect("levels");
        assert_eq!(spaced, levels);
        assert_eq!("zoomhook::frames=trace".parse::<Levels>().expect("levels").general(), Level::INFO);
    }

    #[test]
    fn what_is_wrong_is_said_by_its_name() {
        let many = (0..=MOST).map(|n| format!("zoomhook::zoom::{}=debug", "a".repeat(n + 1))).collect::<Vec<_>>();
        for (text, words) in [
            ("INFO", "found \"INFO\""),
            ("", "found \"\""),
            ("info,", "found \"\""),
            ("info,zoomhook::zoom=loud", "found \"loud\""),
            ("info,debug", "the general level is told twice"),
            ("zoomhook::zoom=info,zoomhook::zoom=debug", "zoomhook::zoom is told twice"),
            ("info,zoomhook::dispach=debug", "\"zoomhook::dispach\" is no target"),
            ("zoomhook=debug", "\"zoomhook\" is no target"),
            // What libraries log can hold what this program never would.
            ("info,hyper=trace", "\"hyper\" is no target"),
            ("info,zoomhook::zoom::=trace", "is no target"),
            (&many.join(","), "at most 32"),
        ] {
            let error = text.parse::<Levels>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn parts_are_those_that_log() {
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
        let (mut log, mut folders) = (BTreeSet::from(["frames".to_owned()]), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).expect("text");
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                let in_tests = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
                let macros = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];
                if !in_tests && code.contains("tracing") && macros.iter().any(|name| code.contains(name)) {
                    let inside = path.strip_prefix(&root).expect("below");
                    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
                    log.insert(first.trim_end_matches(".rs").to_owned());
                }
            }
        }
        assert_eq!(log, PARTS.map(str::to_owned).into());
    }
}
