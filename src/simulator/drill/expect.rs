//! What a drill expects of the client, judged by what the simulator saw.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::file::Span;
use crate::simulator::log::{Account, Counts, Entry, Happening, Reason};

/// Is the conditions of a drill; those that are absent are not judged.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The first socket is accepted within this time of the client's first word.
    #[serde(default, deserialize_with = "span")]
    pub connected_within: Option<Duration>,
    /// Each subscription that loses its last socket has a new one within this time.
    #[serde(default, deserialize_with = "span")]
    pub reconnected_within: Option<Duration>,
    /// So many sockets are accepted in all.
    pub sockets: Option<u64>,
    /// No more sockets than this are accepted in all.
    pub sockets_at_most: Option<u64>,
    /// So many sockets are live at the end.
    pub live_at_end: Option<u64>,
    /// No subscription ever has more live sockets than this at once.
    pub live_at_once_at_most: Option<u64>,
    /// No more tokens than this are asked for.
    pub token_requests_at_most: Option<u64>,
    /// No more sockets than this are refused.
    pub refused_at_most: Option<u64>,
    /// No socket begins later than this with heartbeats, nor pauses longer between two.
    #[serde(default, deserialize_with = "span")]
    pub heartbeat_within: Option<Duration>,
    /// At least so many events are written to sockets.
    pub sent_at_least: Option<u64>,
    /// No more events than this find no socket.
    pub missed_at_most: Option<u64>,
}

fn span<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Some(Span::deserialize(deserializer)?.0))
}

/// Says whether one condition held.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The condition as it stands in the file.
    pub expected: String,
    /// What was seen.
    pub found: String,
    /// Whether that is as expected.
    pub passed: bool,
}

/// Watches the sockets of each subscription.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    begun: Option<Timestamp>,
    connected_after: Option<Duration>,
    live: HashMap<Arc<str>, u64>,
    /// Subscriptions without a socket, and since when.
    down: HashMap<Arc<str>, Timestamp>,
    slowest_return: Option<Duration>,
    /// When each live socket last gave its heartbeat, or was accepted.
    beats: HashMap<u64, Timestamp>,
    longest_pause: Option<Duration>,
}

impl Watch {
    pub(super) fn see(&mut self, entry: &Entry) {
        let begun = *self.begun.get_or_insert(entry.at);
        match &entry.what {
            Happening::Accepted { socket, subscription } => {
                self.beats.insert(*socket, entry.at);
                self.connected_after.get_or_insert(between(begun, entry.at));
                *self.live.entry(Arc::clone(subscription)).or_default() += 1;
                if let Some(since) = self.down.remove(subscription) {
                    self.slowest_return = self.slowest_return.max(Some(between(since, entry.at)));
                }
            }
            Happening::Heartbeat { socket, .. } => {
                let last = self.beats.insert(*socket, entry.at);
                self.pause(last, entry.at);
            }
            Happening::Closed { reason: Reason::Stopped, .. } => {}
            Happening::Closed { socket, subscription, .. } => {
                let last = self.beats.remove(socket);
                self.pause(last, entry.at);
                let live = self.live.entry(Arc::clone(subscription)).or_default();
                *live = live.saturating_sub(1);
                if *live == 0 {
                    self.down.insert(Arc::clone(subscription), entry.at);
                }
            }
            Happening::Token { .. }
            | Happening::Refused { .. }
            | Happening::Held { .. }
            | Happening::Silent
            | Happening::NoTls { .. }
            | Happening::Unexpected { .. }
            | Happening::Faults { .. } => {}
        }
    }
}

impl Watch {
    /// Ends at `now`: a heartbeat that is still to come was late until then.
    pub(super) fn end(&mut self, now: Timestamp) {
        let last: Vec<Timestamp> = self.beats.values().copied().collect();
        last.into_iter().for_each(|last| self.pause(Some(last), now));
    }

    fn pause(&mut self, last: Option<Timestamp>, now: Timestamp) {
        self.longest_pause = self.longest_pause.max(last.map(|last| between(last, now)));
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

impl Expect {
    pub(super) fn judge(&self, watch: &Watch, counts: &Counts, account: &Account) -> Vec<Verdict> {
        let most_live = account.subscriptions.values().map(|usage| usage.most_live).max().unwrap_or(0);
        [
            within("connected_within", self.connected_within, watch.connected_after, "no socket was accepted"),
            self.reconnected_within.map(|limit| watch.judge_return(limit)),
            exactly("sockets", self.sockets, counts.accepted, "accepted"),
            at_most("sockets_at_most", self.sockets_at_most, counts.accepted, "accepted"),
            exactly("live_at_end", self.live_at_end, counts.live(), "live at the end"),
            at_most("live_at_once_at_most", self.live_at_once_at_most, most_live, "live at once"),
            at_most("token_requests_at_most", self.token_requests_at_most, counts.token_requests, "asked for"),
            at_most("refused_at_most", self.refused_at_most, counts.refused, "refused"),
            within("heartbeat_within", self.heartbeat_within, watch.longest_pause, "no socket was accepted"),
            self.sent_at_least.map(|limit| {
                let found = format!("{} sent", counts.sent);
                Verdict { expected: format!("sent_at_least = {limit}"), found, passed: counts.sent >= limit }
            }),
            at_most("missed_at_most", self.missed_at_most, counts.missed, "missed"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Watch {
    fn judge_return(&self, limit: Duration) -> Verdict {
        let expected = format!("reconnected_within = \"{}\"", Seconds(limit));
        let mut down: Vec<&str> = self.down.keys().map(|name| &**name).collect();
        down.sort_unstable();
        let (found, passed) = match self.slowest_return {
            _ if !down.is_empty() => (format!("{} had no socket at the end", down.join(", ")), false),
            Some(slowest) => (format!("the slowest return took {}", Seconds(slowest)), slowest <= limit),
            None => ("no socket was lost".to_owned(), false),
        };
        Verdict { expected, found, passed }
    }
}

fn within(name: &str, limit: Option<Duration>, found: Option<Duration>, never: &str) -> Option<Verdict> {
    limit.map(|limit| Verdict {
        expected: format!("{name} = \"{}\"", Seconds(limit)),
        found: found.map_or_else(|| never.to_owned(), |found| Seconds(found).to_string()),
        passed: found.is_some_and(|found| found <= limit),
    })
}

fn exactly(name: &str, wanted: Option<u64>, found: u64, what: &str) -> Option<Verdict> {
    let verdict = |wanted| Verdict {
        expected: format!("{name} = {wanted}"),
        found: format!("{found} {what}"),
        passed: found == wanted,
    };
    wanted.map(verdict)
}

fn at_most(name: &str, limit: Option<u64>, found: u64, what: &str) -> Option<Verdict> {
    let verdict = |limit| Verdict {
        expected: format!("{name} = {limit}"),
        found: format!("{found} {what}"),
        passed: found <= limit,
    };
    limit.map(verdict)
}

/// Shows a duration in seconds, with what is below one.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{:.3}s", self.0.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::log::Usage;

    fn at(seconds: i64, what: Happening) -> Entry {
        Entry { at: Timestamp::from_second(seconds).unwrap(), what }
    }

    fn accepted(socket: u64) -> Happening {
        Happening::Accepted { socket, subscription: "a".into() }
    }

    fn closed(socket: u64) -> Happening {
        Happening::Closed { socket, subscription: "a".into(), reason: Reason::Dropped, events: 0 }
    }

    fn watch(entries: &[Entry]) -> Watch {
        let mut watch = Watch::default();
        entries.iter().for_each(|entry| watch.see(entry));
        watch
    }

    fn verdict(expect: &str, watch: &Watch, counts: Counts) -> Verdict {
        let expect: Expect = toml::from_str(expect).unwrap();
        let mut verdicts = expect.judge(watch, &counts, &Account::default());
        assert_eq!(verdicts.len(), 1);
        verdicts.remove(0)
    }

    #[test]
    fn slowest_return_is_what_counts() {
        let seen = [at(0, accepted(1)), at(10, closed(1)), at(11, accepted(2)), at(20, closed(2)), at(24, accepted(3))];
        let watch = watch(&seen);
        for (limit, passed) in [("3s", false), ("4s", true)] {
            let verdict = verdict(&format!("reconnected_within = '{limit}'"), &watch, Counts::default());
            assert_eq!((verdict.passed, verdict.found.as_str()), (passed, "the slowest return took 4s"));
        }
    }

    #[test]
    fn who_never_returns_fails_however_late_the_loss() {
        let watch = watch(&[at(0, accepted(1)), at(10, closed(1))]);
        let verdict = verdict("reconnected_within = '1h'", &watch, Counts::default());
        assert_eq!((verdict.passed, verdict.found.as_str()), (false, "a had no socket at the end"));
    }

    #[test]
    fn socket_that_was_replaced_before_it_ended_is_no_loss() {
        let seen = [at(0, accepted(1)), at(5, accepted(2)), at(5, closed(1))];
        let verdict = verdict("reconnected_within = '1s'", &watch(&seen), Counts::default());
        assert_eq!((verdict.passed, verdict.found.as_str()), (false, "no socket was lost"));
    }

    #[test]
    fn first_connection_counts_from_the_first_word() {
        let token = Happening::Token { parameters: "form", grant: "x".into(), status: 400 };
        let watch = watch(&[at(3, token), at(8, accepted(1))]);
        assert!(verdict("connected_within = '5s'", &watch, Counts::default()).passed);
        assert!(!verdict("connected_within = '4s'", &watch, Counts::default()).passed);
        assert!(!verdict("connected_within = '4s'", &Watch::default(), Counts::default()).passed);
    }

    #[test]
    fn counts_are_held_against_their_limits() {
        let counts =
            Counts { accepted: 3, closed: 2, token_requests: 4, refused: 5, sent: 6, missed: 7, ..Counts::default() };
        for (expect, passed) in [
            ("sockets = 3", true),
            ("sockets = 2", false),
            ("sockets_at_most = 3", true),
            ("sockets_at_most = 2", false),
            ("live_at_end = 1", true),
            ("live_at_end = 0", false),
            ("token_requests_at_most = 4", true),
            ("token_requests_at_most = 3", false),
            ("refused_at_most = 5", true),
            ("refused_at_most = 4", false),
            ("sent_at_least = 6", true),
            ("sent_at_least = 7", false),
            ("missed_at_most = 7", true),
            ("missed_at_most = 6", false),
            ("heartbeat_within = '31s'", false),
        ] {
            let verdict = verdict(expect, &Watch::default(), counts);
            assert_eq!(verdict.passed, passed, "{expect}: {}", verdict.found);
        }
    }

    #[test]
    fn longest_pause_of_a_heartbeat_counts_until_the_end() {
        let beat = |seconds| at(seconds, Happening::Heartbeat { socket: 1, after_ms: 0 });
        let mut watch = watch(&[at(0, accepted(1)), beat(1), beat(31), beat(56)]);
        watch.end(Timestamp::from_second(80).unwrap());
        assert!(verdict("heartbeat_within = '30s'", &watch, Counts::default()).passed);
        assert!(!verdict("heartbeat_within = '29s'", &watch, Counts::default()).passed);
        watch.end(Timestamp::from_second(90).unwrap());
        assert_eq!(verdict("heartbeat_within = '30s'", &watch, Counts::default()).found, "34s");
    }

    #[test]
    fn most_sockets_at_once_count() {
        let usage = Usage { most_live: 2, ..Usage::default() };
        let mut account = Account::default();
        account.subscriptions.insert("a".into(), usage);
        for (expect, passed) in [("live_at_once_at_most = 2", true), ("live_at_once_at_most = 1", false)] {
            let expect: Expect = toml::from_str(expect).unwrap();
            let verdicts = expect.judge(&Watch::default(), &Counts::default(), &account);
            assert_eq!(verdicts[0].passed, passed);
        }
    }
}
