//! Events that come by themselves: where their bodies come from, and how fast.

pub mod meetings;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use self::meetings::Meetings;
use super::Simulator;
use super::template::{Template, one_of_each_type};
use crate::config::filter::Pattern;

/// The request by which Zoom validates a URL, which has the form of an event.
const VALIDATION: &str = "endpoint.url_validation";
/// Events of one batch: at the highest rates a tick of the pump brings some dozens, after a pause more.
const BATCH: u64 = 256;
/// The shortest tick, which is also the finest that tokio's timer knows.
const TICK: Duration = Duration::from_millis(1);
/// The longest tick: a first event is not later than this after the socket, whatever the rate.
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// Says which events come, and how many.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Events per second, at least 0. They begin with the first accepted socket; the rate can be changed while they
    /// come.
    pub rate: f64,
    /// Ends after this many.
    pub count: Option<u64>,
    /// What they say.
    pub source: Source,
}

impl Traffic {
    /// Makes life cycles of meetings, at this rate and without end.
    pub fn meetings(rate: f64) -> Self {
        Self { rate, count: None, source: Source::Meetings([Pattern::All].into()) }
    }
}

/// Is where bodies come from.
#[derive(Clone, PartialEq)]
pub enum Source {
    /// Life cycles of meetings; of these, the events of the types that one of the patterns matches.
    Meetings(Arc<[Pattern]>),
    /// One fresh event of each type that one of the patterns matches, in turn.
    EachType(Arc<[Pattern]>),
    /// These bodies, byte for byte, once.
    Once(Arc<[Box<str>]>),
    /// These bodies, byte for byte, again and again.
    Repeated(Arc<[Box<str>]>),
}

impl Source {
    /// Makes the bodies, one after the other: each call is given the time at which its event happens.
    fn bodies(self, seed: u64) -> Box<dyn FnMut(Timestamp) -> Option<String> + Send> {
        match self {
            Self::Meetings(wanted) => {
                let mut meetings = Meetings::new(seed);
                Box::new(move |now| meetings.next_of(&wanted, now))
            }
            Self::EachType(wanted) => {
                // Zoom asks a URL for its validation, and never a socket: it comes to those who name it.
                let named = wanted.contains(&Pattern::Exact(VALIDATION.into()));
                let of_each = one_of_each_type().into_iter().filter(|of| named || of.kind() != VALIDATION);
                let templates: Vec<&Template> =
                    of_each.filter(|of| wanted.iter().any(|pattern| pattern.matches(&of.kind()))).collect();
                // Every event is about somebody else.
                let mut turns = (seed..).zip((0..templates.len()).cycle());
                Box::new(move |now| turns.next().map(|(seed, index)| templates[index].fresh(now, seed)))
            }
            Self::Once(lines) => {
                let mut next = 0..lines.len();
                Box::new(move |_| next.next().map(|index| lines[index].to_string()))
            }
            Self::Repeated(lines) => {
                let mut next = (0..lines.len()).cycle();
                Box::new(move |_| next.next().map(|index| lines[index].to_string()))
            }
        }
    }
}

impl fmt::Debug for Source {
    /// Shows no body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meetings(wanted) => f.debug_tuple("Meetings").field(wanted).finish(),
            Self::EachType(wanted) => f.debug_tuple("EachType").field(wanted).finish(),
            Self::Once(lines) => f.debug_tuple("Once").field(&lines.len()).finish(),
            Self::Repeated(lines) => f.debug_tuple("Repeated").field(&lines.len()).finish(),
        }
    }
}

/// Says that a line of a file of events cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLines {
    /// A frame carries text.
    #[error("line {0} is not UTF-8")]
    NotText(usize),
    /// There is no line.
    #[error("it holds no event: expected one body a line")]
    Empty,
}

/// Reads a file of events: each line is one body as it stands, empty lines aside.
///
/// # Errors
/// When a line is not UTF-8, or none holds anything.
pub fn lines(text: &[u8]) -> Result<Arc<[Box<str>]>, BadLines> {
    let numbered = text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let lines = numbered.map(|(index, line)| match std::str::from_utf8(line) {
        Ok(line) => Ok(line.into()),
        Err(_) => Err(BadLines::NotText(index + 1)),
    });
    let lines = lines.collect::<Result<Arc<[Box<str>]>, BadLines>>()?;
    if lines.is_empty() { Err(BadLines::Empty) } else { Ok(lines) }
}

/// Sends events at the rate, from the first accepted socket on, until the count is reached or the source is dry.
pub(super) async fn pump(zoom: &Simulator, traffic: Traffic, seed: u64) {
    zoom.wait_for(|counts| counts.accepted > 0).await;
    let mut bodies = traffic.source.bodies(seed);
    let mut rates = zoom.0.rate.subscribe();
    let mut made = 0;
    loop {
        let rate = *rates.borrow_and_update();
        let flow = at_rate(zoom, rate, &mut bodies, traffic.count, &mut made);
        tokio::select! {
            Ok(()) = rates.changed() => {}
            () = flow => return,
        }
    }
}

/// Sends events at one rate; dropped in the middle of it, none is counted that was not handed over.
async fn at_rate(
    zoom: &Simulator,
    rate: f64,
    bodies: &mut (dyn FnMut(Timestamp) -> Option<String> + Send),
    count: Option<u64>,
    made: &mut u64,
) {
    if rate <= 0.0 {
        return std::future::pending().await;
    }
    let longest = LONGEST_TICK.as_secs_f64();
    let tick = Duration::from_secs_f64((1.0 / rate).min(longest)).max(TICK);
    let mut ticks = interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (begun, before) = (zoom.0.clock.instant(), *made);
    while count.is_none_or(|count| *made < count) {
        let now = ticks.tick().await;
        // The first one is due at once.
        let due = before + ((now - begun).as_secs_f64() * rate) as u64 + 1;
        let due = count.map_or(due, |count| due.min(count));
        while *made < due {
            let at = zoom.0.clock.now();
            let batch: Vec<String> = (*made..due.min(*made + BATCH)).map_while(|_| bodies(at)).collect();
            if batch.is_empty() {
                return;
            }
            *made += batch.len() as u64;
            zoom.push_all(&batch).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(source: Source, count: usize) -> Vec<String> {
        let mut bodies = source.bodies(1);
        (0..count).map_while(|_| bodies(Timestamp::UNIX_EPOCH)).collect()
    }

    #[test]
    fn each_type_of_the_corpus_comes_in_turn_and_fresh() {
        let cycle = |pattern: &str, count: u64| -> Vec<String> {
            let mut bodies = Source::EachType([pattern.parse().expect("a pattern")].into()).bodies(1);
            (0..count).filter_map(|_| bodies(Timestamp::UNIX_EPOCH)).collect()
        };
        let all = cycle("*", 1000);
        assert!(all.len() == 1000 && !all.iter().any(|body| body.contains(VALIDATION)), "no socket brings it");
        assert!(cycle(VALIDATION, 1)[0].contains(VALIDATION), "but to those who name it");
        let messages = Source::EachType(["chat_message.*".parse().expect("a pattern")].into());
        let bodies = taken(messages, 40);
        let kind = |body: &String| {
            body.split("chat_message.").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
        };
        let kinds: std::collections::BTreeSet<_> = bodies.iter().map(kind).collect();
        assert!(kinds.len() >= 5 && !kinds.contains(&None), "{kinds:?}");
        let different: std::collections::BTreeSet<_> = bodies.iter().collect();
        assert_eq!(different.len(), 40, "no body comes twice");
    }

    #[test]
    fn lines_are_taken_byte_for_byte() {
        let read = lines("{\"a\" : 1}\r\n\n  \n{\"b\":\"\\u00e9 ü\"}".as_bytes()).unwrap();
        assert_eq!(taken(Source::Once(read), 9), ["{\"a\" : 1}\r", "{\"b\":\"\\u00e9 ü\"}"]);
    }

    #[test]
    fn lines_come_again_when_asked_for() {
        let read = lines(b"a\nb\n").unwrap();
        assert_eq!(taken(Source::Repeated(read), 5), ["a", "b", "a", "b", "a"]);
    }

    #[test]
    fn files_without_a_body_are_refused() {
        assert_eq!(lines(b"\n \n").unwrap_err().to_string(), "it holds no event: expected one body a line");
        assert_eq!(lines(b"{}\n\xff\n").unwrap_err().to_string(), "line 2 is not UTF-8");
    }
}
