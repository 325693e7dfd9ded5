//! What can be asked of a spool, and the parts in which it answers.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::{DeadGroup, DeliveryState, DestinationId};
use crate::config::filter::Pattern;
use crate::event::EventId;
use crate::event::text::Words;

/// Is a text to look for, and where.
#[derive(Clone, Debug)]
pub struct Text {
    /// What to look for.
    pub words: Words,
    /// Where.
    pub within: Within,
}

/// Says where a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// In what lists show of an event, and in the topic and the ids that its body names, unless they are encrypted.
    Body,
    /// In what lists show alone: type, number and request id.
    Row,
}

/// Is a part of a list. It may be short, or even empty, where little fits: only so many rows are looked at in one go.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What was found.
    pub rows: Vec<T>,
    /// Where to go on, as `before`; `None` when nothing more fits.
    pub next: Option<EventId>,
}

/// Is a part of the groups of dead letters: each counts what was looked at, and one may go on in the next part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups {
    /// The groups.
    pub groups: Vec<DeadGroup>,
    /// Where to go on; `None` when all were counted.
    pub next: Option<GroupCursor>,
}

impl Groups {
    /// Adds a part that follows.
    pub fn join(&mut self, part: Self) {
        for new in part.groups {
            match self.groups.iter_mut().find(|old| old.destination == new.destination && old.cause == new.cause) {
                Some(old) => {
                    old.count += new.count;
                    old.oldest_at = old.oldest_at.min(new.oldest_at);
                    old.newest_at = old.newest_at.max(new.newest_at);
                    old.sample = old.sample.max(new.sample);
                }
                None => self.groups.push(new),
            }
        }
        self.groups.sort_by_key(|group| Reverse(group.count));
        self.next = part.next;
    }
}

/// Is the last dead letter that was counted, in the order of destination, cause and event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCursor {
    /// Its destination.
    pub destination: DestinationId,
    /// Its event.
    pub event: EventId,
    /// Why it was given up.
    pub cause: String,
}

impl fmt::Display for GroupCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.destination.0, self.event, self.cause)
    }
}

/// Says that a text is no cursor of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the `next` of another answer")]
pub struct NotACursor;

impl FromStr for GroupCursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let mut parts = text.splitn(3, '.');
        let mut number =
            || parts.next().and_then(|part| part.parse::<i64>().ok()).filter(|n| *n >= 0).ok_or(NotACursor);
        let (destination, event) = (DestinationId(number()?), EventId(number()?.unsigned_abs()));
        let cause = parts.next().ok_or(NotACursor)?.to_owned();
        Ok(Self { destination, event, cause })
    }
}

/// Chooses events; the newest come first.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Only types that fit.
    pub kind: Option<Pattern>,
    /// Only events that stand so with some destination (with `destination`, if that is given).
    pub state: Option<DeliveryState>,
    /// Only events that this destination wants.
    pub destination: Option<String>,
    /// Only events received at this time or later.
    pub since: Option<Timestamp>,
    /// Only events received before this time.
    pub until: Option<Timestamp>,
    /// Only events that are kept but cannot be delivered.
    pub parked: bool,
    /// Only events in which this text is found.
    pub text: Option<Text>,
    /// Only events older than this one: the cursor of a page.
    pub before: Option<EventId>,
    /// At most so many.
    pub limit: usize,
}

/// Chooses dead letters; the newest come first.
#[derive(Clone, Debug, Default)]
pub struct DeadQuery {
    /// Only these events; empty means any.
    pub events: Vec<EventId>,
    /// Only of this destination.
    pub destination: Option<String>,
    /// Only types that fit.
    pub kind: Option<Pattern>,
    /// Only those given up for this reason.
    pub cause: Option<String>,
    /// Only events received at this time or later.
    pub since: Option<Timestamp>,
    /// Only events received before this time.
    pub until: Option<Timestamp>,
    /// Only events older than this one: the cursor of a page.
    pub before: Option<EventId>,
    /// At most so many.
    pub limit: usize,
}

/// Shows the choice as the audit table keeps it.
impl fmt::Display for DeadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, destination, kind, cause, since, until, before, limit } = self;
        write!(f, "destination {}", destination.as_deref().unwrap_or("any"))?;
        if let Some(kind) = kind {
            write!(f, ", type {kind}")?;
        }
        if let Some(cause) = cause {
            write!(f, ", cause {cause}")?;
        }
        if let Some(since) = since {
            write!(f, ", since {since:.3}")?;
        }
        if let Some(until) = until {
            write!(f, ", until {until:.3}")?;
        }
        if !events.is_empty() {
            let ids: Vec<String> = events.iter().map(EventId::to_string).collect();
            write!(f, ", events {}", ids.join(" "))?;
        }
        if let Some(before) = before {
            write!(f, ", before {before}")?;
        }
        // One that no list can reach is none.
        if *limit < u32::MAX as usize {
            write!(f, ", at most {limit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::NotAState;
    use super::*;

    #[test]
    fn limit_that_nothing_reaches_is_not_told() {
        let told = |limit| DeadQuery { limit, ..DeadQuery::default() }.to_string();
        assert_eq!(told(9), "destination any, at most 9");
        assert_eq!(told(u32::MAX as usize), "destination any");
    }

    #[test]
    fn states_have_one_name_for_people_json_and_queries() {
        for state in DeliveryState::ALL {
            let name = state.to_string();
            assert_eq!(name.parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).expect("a name"), serde_json::Value::from(name));
        }
        assert_eq!("fresh".parse::<DeliveryState>(), Err(NotAState));
    }

    #[test]
    fn cursor_of_groups_reads_back_what_it_prints() {
        for cause in ["status 503", "", "a.b.c", "…"] {
            let cursor = GroupCursor { destination: DestinationId(2), event: EventId(4711), cause: cause.to_owned() };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for wrong in ["", "1", "1.2", "x.2.c", "1.-2.c", "-1.2.c", "1.99999999999999999999.c"] {
            assert_eq!(wrong.parse::<GroupCursor>(), Err(NotACursor), "{wrong}");
        }
    }
}
