//! Where a value is kept that does not stand in the file itself.

use std::path::PathBuf;
use std::time::Duration;

use super::file::{Node, Table, Value};
use super::quantity::parse_duration;

/// Says where a value is kept.
#[derive(Debug, PartialEq)]
pub(super) enum Reference {
    /// In a variable of the environment.
    Variable(String),
    /// In a place for secrets.
    Stored(Stored),
}

/// Says where a secret is kept outside the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In a file.
    File(PathBuf),
    /// In a credential that systemd hands to the service: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A program prints it.
    Command(Program),
}

/// Is a program that prints a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program, and its arguments: no shell reads them.
    pub line: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Variables that it gets beside those that every program needs.
    pub pass: Vec<String>,
}

impl Program {
    /// Default of `timeout`.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// Bounds of `timeout`: a start and a reload wait for it.
    const RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
}

impl Reference {
    /// Is what may stand in the place of a secret.
    pub(super) const FORMS: &str = "{ env = \"NAME\" }, { file = \"PATH\" }, { credential = \"NAME\" } or \
         { command = [\"PROGRAM\", \"ARGUMENT\"] }";

    /// Understands a table; what it says is no secret, and so is what is wrong with it.
    pub(super) fn of(table: Table) -> Result<Self, String> {
        if table.contains_key("command") {
            return program(table).map(|program| Self::Stored(Stored::Command(program)));
        }
        let another = || Err("another table".to_owned());
        let mut entries = table.into_iter();
        let (Some((key, Node { value: Value::Text(target), .. })), None) = (entries.next(), entries.next()) else {
            return another();
        };
        match key.as_str() {
            _ if target.is_empty() => another(),
            "env" => Ok(Self::Variable(target)),
            "file" => Ok(Self::Stored(Stored::File(target.into()))),
            // A name with a slash would lead out of the folder; systemd knows none.
            "credential" if target.contains('/') || target.starts_with('.') => {
                Err(format!("the credential {target:?}, which is not the plain name of one"))
            }
            "credential" => Ok(Self::Stored(Stored::Credential(target))),
            _ => another(),
        }
    }
}

fn program(table: Table) -> Result<Program, String> {
    let mut program = Program { line: Vec::new(), timeout: Program::TIMEOUT, pass: Vec::new() };
    for (key, Node { value, .. }) in table {
        match (key.as_str(), value) {
            ("command", value) => {
                let line = texts(value).filter(|line| line.first().is_some_and(|program| !program.is_empty()));
                program.line = line.ok_or("a command that is no list of a program and its arguments")?;
            }
            ("timeout", value) => {
                let (least, most) = Program::RANGE;
                let timeout = if let Value::Text(text) = &value { parse_duration(text) } else { None };
                let timeout = timeout.filter(|timeout| (least..=most).contains(timeout));
                program.timeout = timeout.ok_or("a command whose timeout is not from 100ms to 1m")?;
            }
            ("pass", value) => program.pass = texts(value).ok_or("a command whose pass is no list of variables")?,
            (key, _) => {
                return Err(format!(
                    "a command with the unknown key {}: it takes timeout and pass",
                    key.escape_debug()
                ));
            }
        }
    }
    Ok(program)
}

fn texts(value: Value) -> Option<Vec<String>> {
    let Value::List(items) = value else { return None };
    let text = |node: Node| if let Value::Text(text) = node.value { Some(text) } else { None };
    items.into_iter().map(text).collect()
}
