//! Times as people type them, the same in every command.

use jiff::Timestamp;

use crate::clock::Clock;
use crate::wording::{NotAMoment, parse_moment};

/// Reads the value of an option that is a time or an age.
pub(super) fn moment(text: &str) -> Result<Timestamp, NotAMoment> {
    parse_moment(text, Clock::system().now())
}
