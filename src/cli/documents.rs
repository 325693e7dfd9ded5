//! Documents to read: from the running bridge, or from its spool where nobody answers.
//!
//! Either way a command gets the same text, which is printed as it is or read and drawn as a table. Somebody who answers
//! is believed: a refusal is never got round by way of the file.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded::Serializer;

use super::bridge::{Answer, Bridge};
use super::output::{print, print_document};
use super::table::terminal_width;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::event::EventId;
use crate::spool::{SpoolError, View, open_unlocked, open_view};

/// Says for whom a document is printed.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct FormArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl FormArgs {
    /// Prints a document: as it is, or as `render` draws it for people.
    ///
    /// # Errors
    /// When the document is not understood, or stdout is closed.
    pub(super) fn show<T: DeserializeOwned>(
        self,
        document: &str,
        render: impl FnOnce(&T, Timestamp, Option<usize>) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            print_document(document)?;
        } else {
            print(&render(&understood(document)?, Clock::system().now(), terminal_width()))?;
        }
        Ok(())
    }
}

/// Is where documents come from.
pub(super) struct Documents {
    bridge: Option<Bridge>,
    spool: config::Spool,
}

/// Says what is asked for: a path of the API, and what a query adds to it.
pub(super) struct Question {
    path: String,
    query: Serializer<'static, String>,
}

impl Question {
    /// Asks for all that is there.
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), query: Serializer::new(String::new()) }
    }

    /// Asks only for what fits, if that is given.
    pub(super) fn with<T: ToString>(mut self, name: &str, value: Option<T>) -> Self {
        if let Some(value) = value {
            self.query.append_pair(name, &value.to_string());
        }
        self
    }

    fn target(mut self) -> String {
        let query = self.query.finish();
        if query.is_empty() { self.path } else { format!("{}?{query}", self.path) }
    }
}

impl Documents {
    /// Names the bridge and the spool of a configuration.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { bridge: Bridge::at(&config.admin)?, spool: config.spool.clone() })
    }

    /// Asks the bridge, and reads the spool with `at_rest` if nobody is there; both mean the same.
    ///
    /// # Errors
    /// When the bridge refuses, or nobody is there and the spool cannot be read; the message says which.
    pub(super) async fn read<T, E>(
        &self,
        question: Question,
        at_rest: impl FnOnce(&mut dyn View) -> Result<T, E>,
    ) -> anyhow::Result<String>
    where
        T: Serialize,
        anyhow::Error: From<E>,
    {
        let answer = match &self.bridge {
            Some(bridge) => bridge.get(&question.target()).await?,
            None => Answer::NobodyThere,
        };
        match answer {
            Answer::Document(text) => Ok(text),
            Answer::NobodyThere => {
                let view = open_unlocked(&self.spool);
                let mut view = view.map_err(hinted).with_context(|| neither(self.bridge.as_ref()))?;
                serde_json::to_string(&at_rest(&mut *view)?).context("the document cannot be written")
            }
        }
    }
}

/// Says that no bridge answers, before it is said why its spool is of no use either.
pub(super) fn neither(bridge: Option<&Bridge>) -> String {
    match bridge {
        Some(bridge) => format!("no bridge answers on {}, and its spool does not help", bridge.address()),
        None => "the admin port is off or not known (admin.listen), and the spool does not help".to_owned(),
    }
}

/// Opens the spool of a bridge that does not run, as those do that change it.
///
/// # Errors
/// When it cannot be read, with what helps where it is another user's.
pub(super) fn at_rest_view(path: &Path) -> anyhow::Result<Box<dyn View>> {
    open_view(path).map_err(hinted)
}

/// Adds to an error of the file what helps where it is another user's.
fn hinted(error: SpoolError) -> anyhow::Error {
    let is_closed = matches!(&error, SpoolError::Open { .. });
    let error = anyhow::Error::from(error);
    if is_closed {
        let told = error.to_string();
        return anyhow!("{told}; name the bridge's address with --listen, or be its user");
    }
    error
}

/// Reads a document.
///
/// # Errors
/// When it is not what it should be.
pub(super) fn understood<T: DeserializeOwned>(document: &str) -> anyhow::Result<T> {
    serde_json::from_str(document).context("the bridge's answer is not understood: is it of another version?")
}

/// Reads so many rows, those before an event if one is given, asking again for as long as a part is short and there may
/// be more; returns them, and where to go on.
///
/// # Errors
/// When a part cannot be read.
pub(super) async fn filled<T>(
    (mut limit, mut before): (usize, Option<EventId>),
    mut part: impl AsyncFnMut(usize, Option<EventId>) -> anyhow::Result<(Vec<T>, Option<EventId>)>,
) -> anyhow::Result<(Vec<T>, Option<EventId>)> {
    let mut found = Vec::new();
    loop {
        let (rows, next) = part(limit, before).await?;
        limit = limit.saturating_sub(rows.len());
        found.extend(rows);
        before = next;
        if limit == 0 || before.is_none() {
            return Ok((found, before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_says_what_is_given_and_nothing_else() {
        let all = Question::new("/api/v1/gaps").with("limit", None::<usize>);
        assert_eq!(all.target(), "/api/v1/gaps");
        let some = Question::new("/api/v1/dead").with("cause", Some("status 404 & more")).with("limit", Some(5));
        assert_eq!(some.target(), "/api/v1/dead?cause=status+404+%26+more&limit=5");
    }

    #[test]
    fn spool_of_another_user_is_said_to_be_one() {
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = hinted(SpoolError::Open { path: "/var/lib/zoomhook/zoomhook.db".into(), source });
        assert_eq!(
            format!("{error}"),
            "cannot open the spool /var/lib/zoomhook/zoomhook.db: permission denied; name the bridge's address with \
             --listen, or be its user"
        );
    }
}
