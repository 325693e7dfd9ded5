//! Bringing what is kept to the key that is configured: sealed with it, or plain where there is none.
//!
//! It goes in steps, each a transaction of its own between two commits of events, and can be broken off and given again:
//! what is done already is passed over. What no configured key opens stays as it is, and is counted.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::seal::Keys;
use super::store::Store as _;
use super::{Spool, SpoolError, unlocked_at_rest};
use crate::config;
use crate::event::EventId;

/// Is what came of a while of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rekeyed {
    /// Events of which something was written anew.
    pub rewritten: u64,
    /// Events that no configured key opens.
    pub unreadable: u64,
    /// The last event that was looked at: where to go on.
    pub after: u64,
    /// Nothing is left to look at.
    pub complete: bool,
}

/// Is a rekeying between two steps.
#[derive(Clone, Debug)]
pub(crate) struct Rekey {
    pub(crate) who: Box<str>,
    pub(crate) done: Rekeyed,
    /// The row of the audit table in which it began, if it takes more than one step.
    pub(crate) audit: Option<i64>,
}

impl Rekey {
    fn new(who: &str, after: EventId) -> Self {
        Self { who: who.into(), done: Rekeyed { after: after.0, ..Rekeyed::default() }, audit: None }
    }
}

/// Names the key that a configuration has what is kept encrypted with: by its id, in hexadecimal digits, or `none`.
pub(crate) fn key_of(settings: &config::Spool) -> String {
    name(&Keys::new(settings.encryption_key.as_ref(), &[]))
}

fn name(keys: &Keys) -> String {
    keys.current().map_or_else(|| "none".to_owned(), |id| id.to_string())
}

impl Spool {
    /// Names the key that is in force, as [`key_of`] does.
    pub(crate) fn key_in_force(&self) -> String {
        name(&self.readers.keys)
    }

    /// Brings what is kept behind an event to the configured key, for as long as `patience` lasts.
    ///
    /// # Errors
    /// When the spool has been closed, or cannot be written.
    pub async fn rekey(&self, who: &str, after: EventId, patience: Duration) -> Result<Rekeyed, SpoolError> {
        let deadline = Instant::now() + patience;
        let mut rekey = Rekey::new(who, after);
        while !rekey.done.complete && Instant::now() < deadline {
            let (next, begun) = (rekey.clone(), rekey.audit);
            rekey = match self.change(move |store, now| store.rekey(next, now)).await {
                Ok(rekey) => rekey,
                Err(error) => {
                    // Where this fails, too, the next process tells it.
                    let _ = self.break_off(begun, error.to_string()).await;
                    return Err(error);
                }
            };
        }
        if !rekey.done.complete {
            self.break_off(rekey.audit, "it takes longer, ask again".to_owned()).await?;
        }
        Ok(rekey.done)
    }
}

/// Does so in a spool that no bridge works on, and then writes its file anew: parts of pages that are unused may hold what
/// was plain.
///
/// # Errors
/// When the spool is missing, in use, or cannot be written.
pub fn rekey_at_rest(settings: &config::Spool, who: &str, now: Timestamp) -> Result<Rekeyed, SpoolError> {
    let mut store = unlocked_at_rest(settings, now)?;
    let mut rekey = Rekey::new(who, EventId(0));
    while !rekey.done.complete {
        rekey = store.rekey(rekey, now)?;
    }
    store.write_anew()?;
    Ok(rekey.done)
}
