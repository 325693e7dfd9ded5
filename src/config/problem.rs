//! What is wrong with a configuration, said so that it can be put right.

use std::fmt;

use serde::Serialize;

use super::LogFormat;

/// Is one thing that is wrong, or one thing that deserves a second look.
///
/// It never holds a secret, nor a rejected value that was meant to be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where: `destination "crm": timeout`, `admin.listen`, `--to`, `ZOOM_CLIENT_ID`.
    pub path: String,
    /// The line of the configuration file, counted from 1.
    pub line: Option<usize>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// Names a problem that belongs to no line.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), line: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Says why there is no configuration: everything at once, in the order of the file.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Problems {
    /// Where the configuration came from: the file, or the environment.
    pub origin: String,
    /// What is wrong; at least one.
    pub problems: Vec<Problem>,
    /// What deserves a second look.
    pub warnings: Vec<Problem>,
    /// The form of log lines as far as it could be read: whoever reads the log is to be told in it, too.
    pub log_format: LogFormat,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.problems.len() == 1 { "problem" } else { "problems" };
        write!(f, "{}: {} {noun}", self.origin, self.problems.len())?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}
