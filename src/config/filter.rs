//! Which events a destination wants.

use std::fmt;
use std::str::FromStr;

/// Is one pattern of event names: an exact name, a prefix (`meeting.*`), or everything (`*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: every event, one that names no type included.
    All,
    /// `meeting.*`: every name that begins with the text before the star.
    Prefix(Box<str>),
    /// `meeting.started`: this name alone.
    Exact(Box<str>),
}

/// Says that a text is no pattern of event names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an event name such as `meeting.started`, a prefix such as `meeting.*`, or `*`")]
pub struct NotAPattern;

impl Pattern {
    /// Tells whether an event of this name fits the pattern.
    pub fn matches(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => kind.starts_with(&**prefix),
            Self::Exact(name) => kind == &**name,
        }
    }
}

impl FromStr for Pattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let (stem, star) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match (stem, star) {
            ("", true) => Ok(Self::All),
            ("", false) => Err(NotAPattern),
            (stem, _) if !stem.chars().all(legal) => Err(NotAPattern),
            (stem, true) => Ok(Self::Prefix(stem.into())),
            (stem, false) => Ok(Self::Exact(stem.into())),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// Is the choice of a destination: what one of `include` matches and none of `exclude`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    /// What is wanted (default: everything).
    pub include: Vec<Pattern>,
    /// What is not wanted all the same (default: nothing).
    pub exclude: Vec<Pattern>,
}

/// Writes the patterns, those of `exclude` behind a `!`.
impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let include = self.include.iter().map(Pattern::to_string);
        let exclude = self.exclude.iter().map(|pattern| format!("!{pattern}"));
        f.write_str(&include.chain(exclude).collect::<Vec<_>>().join(" "))
    }
}

impl FromStr for EventFilter {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let mut filter = Self { include: Vec::new(), exclude: Vec::new() };
        for word in text.split_whitespace() {
            match word.strip_prefix('!') {
                Some(pattern) => filter.exclude.push(pattern.parse()?),
                None => filter.include.push(word.parse()?),
            }
        }
        Ok(filter)
    }
}

impl EventFilter {
    /// Wants everything.
    pub fn all() -> Self {
        Self { include: vec![Pattern::All], exclude: Vec::new() }
    }

    /// Tells whether an event of this name is wanted.
    pub fn wants(&self, kind: &str) -> bool {
        self.include.iter().any(|pattern| pattern.matches(kind))
            && !self.exclude.iter().any(|pattern| pattern.matches(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> EventFilter {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a pattern")).collect();
        EventFilter { include: parse(include), exclude: parse(exclude) }
    }

    #[test]
    fn wants_what_is_included_and_not_excluded() {
        let cases = [
            (filter(&["*"], &[]), "meeting.started", true),
            (filter(&["*"], &[]), "", true),
            (filter(&["meeting.*"], &[]), "meeting.started", true),
            (filter(&["meeting.*"], &[]), "meetings.started", false),
            (filter(&["meeting.*"], &[]), "", false),
            (filter(&["meeting.*"], &["meeting.participant_*"]), "meeting.participant_joined", false),
            (filter(&["meeting.*", "recording.completed"], &[]), "recording.completed", true),
            (filter(&["recording.completed"], &[]), "recording.completed_again", false),
        ];
        for (filter, kind, wanted) in cases {
            assert_eq!(filter.wants(kind), wanted, "{filter:?} {kind}");
        }
    }

    #[test]
    fn filters_read_back_what_they_print() {
        for filter in [filter(&["*"], &[]), filter(&["meeting.*", "a-b"], &["meeting.ended", "-x*"]), filter(&[], &[])]
        {
            assert_eq!(filter.to_string().parse(), Ok(filter));
        }
        assert_eq!("meeting.* !".parse::<EventFilter>(), Err(NotAPattern));
    }

    #[test]
    fn patterns_read_back_what_they_print() {
        for text in ["*", "meeting.*", "meeting.started", "team_chat.file-uploaded"] {
            assert_eq!(text.parse::<Pattern>().map(|pattern| pattern.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "meeting.*.started", "**", "meeting started", "meeting,recording"] {
            assert_eq!(text.parse::<Pattern>(), Err(NotAPattern), "{text}");
        }
    }
}
