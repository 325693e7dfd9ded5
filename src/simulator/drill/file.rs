//! The shape of a drill file.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

use super::expect::Expect;
use super::{Action, Drill, Step};
use crate::simulator::fault::{Cut, Faults};

/// The most events that a step sends at once: what a bridge that keeps up takes in some seconds.
const MAX_SEND: u64 = 10_000;

/// Says what is wrong with a drill file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDrill {
    /// It is no TOML, or a key or a value does not fit.
    #[error("line {line}: {message}")]
    Shape {
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        message: Box<str>,
    },
    /// The file as a whole makes no sense.
    #[error("{0}")]
    Sense(Box<str>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Box<str>,
    about: Box<str>,
    duration: Span,
    #[serde(default)]
    subscriptions: Vec<Arc<str>>,
    token_life: Option<Span>,
    #[serde(default)]
    rate: Rate,
    #[serde(default)]
    faults: Faults,
    #[serde(default)]
    step: Vec<StepFile>,
    #[serde(default)]
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFile {
    at: Span,
    say: Option<Box<str>>,
    faults: Option<Faults>,
    drop: Option<Cut>,
    subscription: Option<Arc<str>>,
    rate: Option<Rate>,
    send: Option<u64>,
    event: Option<Box<str>>,
}

/// Is a duration in its text form; unlike the duration of a fault it may be nothing.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Duration);

#[derive(Debug, thiserror::Error)]
#[error("expected a duration such as `250ms` or `10s`, not `{0}`")]
pub(super) struct NoSpan(String);

impl TryFrom<String> for Span {
    type Error = NoSpan;

    fn try_from(text: String) -> Result<Self, NoSpan> {
        let duration = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
        duration.map(Self).ok_or(NoSpan(text))
    }
}

/// Is a number of events per second.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "toml::Value")]
struct Rate(f64);

#[derive(Debug, thiserror::Error)]
#[error("expected a number of events per second, such as 50 or 0.2")]
struct NoRate;

impl TryFrom<toml::Value> for Rate {
    type Error = NoRate;

    fn try_from(value: toml::Value) -> Result<Self, NoRate> {
        let number = value.as_float().or_else(|| value.as_integer().map(|number| number as f64));
        number.filter(|rate| rate.is_finite() && *rate >= 0.0).map(Self).ok_or(NoRate)
    }
}

pub(super) fn parse(text: &str) -> Result<Drill, BadDrill> {
    let file: File = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        BadDrill::Shape { line: before.matches('\n').count() + 1, message: error.message().into() }
    })?;
    let drill = Drill {
        name: file.name,
        about: file.about,
        duration: file.duration.0,
        token_life: file.token_life.map(|life| life.0),
        rate: file.rate.0,
        faults: file.faults,
        steps: file.step.into_iter().map(|step| step.read(&file.subscriptions)).collect::<Result<_, _>>()?,
        subscriptions: file.subscriptions,
        expect: file.expect,
    };
    if !drill.steps.is_sorted_by_key(|step| step.at) {
        return Err(sense("steps stand in the order of their time"));
    }
    if drill.steps.last().is_some_and(|last| last.at > drill.duration) {
        return Err(sense("the last step comes after the end: `duration` counts from the first word of a client"));
    }
    if drill.token_life.is_some_and(|life| life.is_zero()) {
        return Err(sense("token_life: expected more than nothing"));
    }
    Ok(drill)
}

fn sense(message: impl Into<Box<str>>) -> BadDrill {
    BadDrill::Sense(message.into())
}

impl StepFile {
    fn read(self, subscriptions: &[Arc<str>]) -> Result<Step, BadDrill> {
        let wrong = |message: &str| sense(format!("step at {:?}: {message}", self.at.0));
        if self.send.is_some_and(|count| count > MAX_SEND) {
            return Err(wrong("`send` takes at most 10000 events"));
        }
        if let Some(subscription) = &self.subscription {
            if self.drop.is_none() {
                return Err(wrong("`subscription` says whose sockets `drop` ends, which is missing"));
            }
            if !subscriptions.contains(subscription) {
                return Err(wrong("`subscription` is not one of `subscriptions`"));
            }
        }
        let actions: Vec<Action> = [
            self.faults.map(Action::Faults),
            self.rate.map(|rate| Action::Rate(rate.0)),
            self.drop.map(|cut| Action::Drop(cut, self.subscription)),
            self.send.map(Action::Send),
            self.event.map(Action::Event),
        ]
        .into_iter()
        .flatten()
        .collect();
        if actions.is_empty() && self.say.is_none() {
            return Err(sense(format!("step at {:?}: it does nothing", self.at.0)));
        }
        Ok(Step { at: self.at.0, say: self.say, actions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = 'n'\nabout = 'a'\nduration = '10s'\n";

    fn error(more: &str) -> String {
        parse(&format!("{HEAD}{more}")).unwrap_err().to_string()
    }

    #[test]
    fn everything_that_can_be_said_is_read() {
        let text = r#"
name = "all"
about = "everything"
duration = "1m"
subscriptions = ["a", "b"]
token_life = "30s"
rate = 5
faults = ["token-slow=1s"]
[[step]]
at = "0s"
say = "words"
[[step]]
at = "10s"
faults = []
rate = 0.5
drop = "reset"
subscription = "b"
send = 7
event = '{"event":"a"}'
[expect]
sockets = 2
"#;
        let drill = parse(text).unwrap();
        assert_eq!((drill.rate, drill.duration, drill.subscriptions.len()), (5.0, Duration::from_secs(60), 2));
        assert_eq!(
            (drill.token_life, drill.faults.texts()),
            (Some(Duration::from_secs(30)), vec!["token-slow=1s".into()])
        );
        assert_eq!(drill.steps[0].say.as_deref(), Some("words"));
        let actions = [
            Action::Faults(Faults::default()),
            Action::Rate(0.5),
            Action::Drop(Cut::Reset, Some("b".into())),
            Action::Send(7),
            Action::Event(r#"{"event":"a"}"#.into()),
        ];
        assert_eq!(drill.steps[1].actions, actions);
        assert_eq!(drill.expect.sockets, Some(2));
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_line() {
        let cases = [
            ("colour = 1", "line 4: unknown field `colour`, expected one of `name`, `about`"),
            ("[[step]]\nat = '1s'\nwait = 1", "line 6: unknown field `wait`"),
            ("[expect]\nsocket = 1", "line 5: unknown field `socket`"),
            ("faults = ['toke']", "line 4: no fault is called `toke`"),
            ("rate = -1", "line 4: expected a number of events per second"),
            ("[[step]]\nat = 'soon'", "line 5: expected a duration such as `250ms` or `10s`, not `soon`"),
            ("[[step]]\nat = '1s'\ndrop = 'gently'", "line 6: expected a close code"),
            ("[[step]]\nsay = 'x'", "missing field `at`"),
        ];
        for (text, expected) in cases {
            let error = error(text);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn steps_that_cannot_happen_are_refused() {
        let cases = [
            ("[[step]]\nat = '1s'", "it does nothing"),
            ("[[step]]\nat = '11s'\nsay = 'x'", "after the end"),
            ("[[step]]\nat = '2s'\nsay = 'x'\n[[step]]\nat = '1s'\nsay = 'y'", "in the order of their time"),
            ("[[step]]\nat = '1s'\nsend = 10001", "at most 10000"),
            ("[[step]]\nat = '1s'\nsubscription = 'a'\nsay = 'x'", "which is missing"),
            ("[[step]]\nat = '1s'\nsubscription = 'a'\ndrop = 'fin'", "not one of `subscriptions`"),
            ("token_life = '0s'", "more than nothing"),
        ];
        for (text, expected) in cases {
            let error = error(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
