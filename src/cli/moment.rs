//! Times as people type them, the same in every command.

use jiff::Timestamp;

use super::Failure;
use crate::clock::Clock;
use crate::wording::{NotAMoment, check_interval, parse_moment};

/// Reads the value of an option that is a time or an age.
pub(super) fn moment(text: &str) -> Result<Timestamp, NotAMoment> {
    parse_moment(text, Clock::system().now())
}

/// Refuses an interval that can hold nothing.
///
/// # Errors
/// When `since` is still to come, or `until` is not after it.
pub(super) fn check(since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(), Failure> {
    check_interval(since, until, Clock::system().now()).map_err(|message| Failure::usage(format!("--{message}")))
}
