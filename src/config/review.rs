//! What the rules have to say: problems and warnings, each with its place.

use std::cell::RefCell;
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use super::problem::Problem;
use super::reference::Stored;
use super::source::{Environment, Fetch, Sources};

/// Collects what is wrong, and answers references to variables and files.
pub(super) struct Review<'a> {
    environment: &'a Environment,
    read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    fetch: &'a Fetch,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'a> Review<'a> {
    pub(super) fn new(sources: &'a Sources<'_>) -> Self {
        Self {
            environment: &sources.environment,
            read: sources.read,
            fetch: sources.fetch,
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// Notes a problem, once.
    pub(super) fn problem(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    /// Returns problems and warnings, each in the order of the file.
    pub(super) fn into_findings(self) -> (Vec<Problem>, Vec<Problem>) {
        let [problems, warnings] = [self.problems, self.warnings].map(|findings| {
            let mut findings = findings.into_inner();
            findings.sort_by_key(|problem| problem.line);
            findings
        });
        (problems, warnings)
    }
}

/// Is the place of a value, ready to say what is wrong there.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) review: &'a Review<'a>,
    pub(super) path: String,
    pub(super) line: Option<usize>,
    /// What belongs there, if the rule said so.
    pub(super) what: Option<&'static str>,
}

impl Place<'_> {
    /// Notes a problem; returns `None`, for the rule has no value then.
    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Option<T> {
        self.review.problem(Problem { line: self.line, ..Problem::new(&*self.path, message) });
        None
    }

    pub(super) fn warn(&self, message: impl Into<String>) {
        let warning = Problem { line: self.line, ..Problem::new(&*self.path, message) };
        let mut warnings = self.review.warnings.borrow_mut();
        // What several read, such as a variable, is warned of once.
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Looks up a variable that the value refers to.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        match self.review.environment.get(name) {
            Some(value) => Some(without_line_end(value)),
            None => {
                let what = self.what.map(|what| format!(": {what}")).unwrap_or_default();
                let name = name.escape_debug().to_string();
                // Without a file the variable is itself the place that the problem is at.
                let missing =
                    if self.path == name { String::new() } else { format!("the environment variable {name} is ") };
                self.fail(format!("{missing}not set{what}"))
            }
        }
    }

    /// Looks up a variable that may be missing; the first of these that is set counts.
    pub(super) fn first_variable(&self, names: &[&'static str]) -> Option<(&'static str, String)> {
        let set = |name: &&'static str| Some((*name, self.review.environment.get(name)?.trim().to_owned()));
        names.iter().find_map(set)
    }

    /// Returns the place of a variable that no key refers to.
    pub(super) fn of_variable(&self, name: &str) -> Self {
        Place { path: name.to_owned(), line: None, ..self.clone() }
    }

    /// Reads a file that the value refers to.
    pub(super) fn file(&self, path: &Path) -> Option<String> {
        let bytes = match (self.review.read)(path) {
            Ok(bytes) => bytes,
            Err(error) => return self.fail(format!("the file {} cannot be read: {error}", path.display())),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(_) => self.fail(format!("the file {} is not text (UTF-8)", path.display())),
        }
    }

    /// Fetches a secret that the value refers to.
    pub(super) fn stored(&self, stored: &Stored) -> Option<Zeroizing<String>> {
        let bytes = match (self.review.fetch)(stored, self.review.environment) {
            Ok(bytes) => bytes,
            Err(message) => return self.fail(message),
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => Some(Zeroizing::new(without_line_end(text).to_owned())),
            Err(_) => self.fail(match stored {
                Stored::File(path) => format!("the file {} is not text (UTF-8)", path.display()),
                Stored::Credential(name) => format!("the credential {name} is not text (UTF-8)"),
                Stored::Command(program) => format!("what the command {} prints is not text (UTF-8)", program.line[0]),
            }),
        }
    }
}

fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}
