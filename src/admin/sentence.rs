//! ◆ What the operator reads first: one sentence for each subscription, each destination and the
//! spool, and one over all of them that answers "is anything being lost, and what do I do?".
//!
//! A sentence says since when, why and what to do. Its level is what programs read: an event that
//! waits or is dead is kept, so only a missing socket or a spool that takes nothing can lose. The latter loses nothing
//! by itself: what was read waits in memory, and the rest at Zoom, for as long as the socket and the process last.

mod advice;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use self::advice::advice;
use crate::dispatch::status as lane;
use crate::spool::Health;
use crate::spool::record::{DestinationRow, GapRow, SubscriptionRow};
use crate::tls::certificate::RENEW;
use crate::wording::{ago, count, counted, list, next, since, span, time_ago, until};
use crate::zoom::status::{self as socket, Link};

/// An event that came this long after it happened was held up on Zoom's side.
const LATE: SignedDuration = SignedDuration::from_mins(5);
/// A destination whose oldest event waits longer than this is behind.
const BEHIND: SignedDuration = SignedDuration::from_mins(1);
/// A socket that is live and brings nothing for this long makes one look at Zoom's settings.
const SILENT: SignedDuration = SignedDuration::from_mins(10);
/// Gaps that ended within this time are still news, unless somebody has dealt with them.
const RECENT: SignedDuration = SignedDuration::from_hours(24);
/// Begins the summary where nothing is lost as long as nothing else happens.
const AT_RISK: &str =
    "Nothing is lost yet, but events will be if Zoom drops its socket or the bridge ends before this is mended: ";
/// Ends what is said of a destination that takes nothing; the summary begins with it.
const KEPT: &str = "; nothing is lost";
/// Ends what is said of a subscription without a socket; the summary begins with it.
const MEANWHILE: &str = "; what Zoom sends meanwhile is lost";

/// Says how bad it is; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// Nothing to do.
    Fine,
    /// Nothing is lost, and something is for the operator to do.
    Degraded,
    /// Events are lost right now, or may be.
    Losing,
}

/// Is what is said of one thing.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Sentence {
    /// How bad it is.
    pub(crate) level: Level,
    /// What it is, since when, why, and what to do.
    pub(crate) sentence: String,
    /// The same in a few words, to be shown below a summary that tells the sentence.
    pub(crate) brief: String,
    /// True where the summary tells the sentence.
    pub(crate) in_summary: bool,
    /// True where a loss only threatens: Zoom holds its socket open still, or what came is in memory.
    #[serde(skip)]
    threatens: bool,
}

impl Sentence {
    fn new(level: Level, brief: String, sentence: String) -> Self {
        Self { level, sentence, brief, in_summary: false, threatens: false }
    }

    /// Makes one of a loss that only threatens.
    fn threat(brief: String, sentence: String) -> Self {
        Self { threatens: true, ..Self::new(Level::Losing, brief, sentence) }
    }

    /// Makes one that needs no other words in short.
    fn short(level: Level, sentence: String) -> Self {
        Self::new(level, sentence.clone(), sentence)
    }
}

/// Says how a subscription is doing; `gap` is its open gap, which outlasts single tries to connect.
pub(crate) fn subscription(name: &str, status: &socket::Status, gap: Option<&GapRow>, now: Timestamp) -> Sentence {
    let down = status.down_since.unwrap_or(status.since);
    let down = since(gap.map_or(down, |gap| gap.opened_at.min(down)), now);
    let next = status.next_try_at.map_or(String::new(), |at| format!("; {}", next("try", at, now)));
    let losing = |brief: &str, what: String| {
        Sentence::new(Level::Losing, format!("{name}: {brief}"), format!("{name}: {brief}{what}"))
    };
    let reason = &status.reason;
    match status.link {
        Link::Live if status.stalled => {
            let brief = format!("{name}: socket open, but not read");
            let text = format!("{brief} while the spool takes no events; repair the spool before Zoom drops it");
            Sentence::threat(brief, text)
        }
        Link::Live => live(name, status, now),
        Link::Connecting => losing("connecting, no socket", format!(" since {down}{MEANWHILE}")),
        Link::Waiting => losing("no socket", format!(" since {down}: {reason}{}{next}{MEANWHILE}", remedy(reason))),
        Link::Parked => losing("refused", format!(" since {down}: {reason}{next}{MEANWHILE}")),
        Link::Contended => losing("no lasting socket", format!(" since {down}: {reason}{next}")),
        Link::Stopped if reason.is_empty() => losing("stopped", format!(" since {down}{MEANWHILE}")),
        Link::Stopped => losing("stopped", format!(" since {down}: {reason}{MEANWHILE}")),
    }
}

/// Says what to do where a reason comes from the network, and does not tell that itself.
fn remedy(reason: &str) -> &'static str {
    let unreachable = ["no token from ", "no token within ", "cannot connect to "];
    if !unreachable.iter().any(|start| reason.starts_with(start)) {
        ""
    } else if reason.contains("lookup address") {
        "; check DNS on this machine, and the name of the host"
    } else if reason.contains("(os error ") || reason.contains(" within ") {
        "; check the network, the firewall and the proxy on the way there, and Zoom's status page"
    } else {
        ""
    }
}

fn live(name: &str, status: &socket::Status, now: Timestamp) -> Sentence {
    let mut level = Level::Fine;
    let mut text = format!("{name}: live since {}", since(status.since, now));
    match status.last_event_at {
        Some(at) => text.push_str(&format!(", last event {}", ago(at, now))),
        None if now.duration_since(status.since) < SILENT => text.push_str(", no event yet"),
        None => text.push_str(", no event yet; if there should be, check the event types chosen at Zoom"),
    }
    if let Some(lag) = status.last_event_lag_ms.map(SignedDuration::from_millis).filter(|lag| *lag >= LATE) {
        level = Level::Degraded;
        text.push_str(&format!(", which came {} late; Zoom holds events up, see its status page", span(lag)));
    }
    Sentence::new(level, format!("{name}: live"), text)
}

/// Says how a destination is doing: `status` when it is configured, `row` when the spool knows it.
pub(crate) fn destination(
    name: &str,
    status: Option<&lane::Status>,
    row: Option<&DestinationRow>,
    now: Timestamp,
) -> Sentence {
    let waiting = waiting(row, now);
    let dead = row.map_or(0, |row| row.dead);
    let oldest = row.and_then(|row| row.oldest_pending_at).map_or(SignedDuration::ZERO, |at| now.duration_since(at));
    let (mut level, brief, mut text) = match status {
        None if row.is_some_and(|row| row.pending > 0) => (
            Level::Degraded,
            "no longer configured",
            format!(
                "no longer configured, {waiting}; configure it again to have them delivered, or zoomhook orphans purge {name} deletes them"
            ),
        ),
        None => (Level::Fine, "no longer configured", "no longer configured, nothing waiting".to_owned()),
        Some(status) if status.paused => {
            let since =
                row.and_then(|row| row.paused_at).map_or(String::new(), |at| format!(" since {}", since(at, now)));
            (Level::Degraded, "paused", format!("paused{since}, {waiting}; zoomhook resume {name} delivers them"))
        }
        Some(status) => match unreadable(status, &waiting, now).or_else(|| failing(status, &waiting, now)) {
            Some((brief, text)) => (Level::Degraded, brief, text),
            None if oldest >= BEHIND => (
                Level::Degraded,
                "behind",
                format!(
                    "behind, {waiting}, {}; raise its concurrency or rate, or let the handler answer sooner",
                    taking(status, now)
                ),
            ),
            // What is to be done comes first.
            None if dead > 0 => (Level::Fine, "dead letters kept", format!("{}, {waiting}", taking(status, now))),
            None => (Level::Fine, "taking events", format!("{}, {waiting}", taking(status, now))),
        },
    };
    if let Some(since) = status.and_then(|status| status.next_secret_since) {
        text.push_str(&format!(
            "; next_secret_token signs since {}: make it the secret_token",
            self::since(since, now)
        ));
    }
    if dead > 0 {
        text = match level {
            Level::Fine => format!("{}; {text}", dead_letters(name, dead)),
            Level::Degraded | Level::Losing => format!("{text}; {}", dead_letters(name, dead)),
        };
        level = Level::Degraded;
        if let Some(lane::Expired { count, last_at }) = status.and_then(|status| status.expired) {
            let last = ago(last_at, now);
            text.push_str(&format!("; {} expired since the start, the last one {last}", counted(count, "event")));
        }
    }
    Sentence::new(level, format!("{name}: {brief}"), format!("{name}: {text}"))
}

/// Says what waits for a destination while no bridge runs.
pub(crate) fn backlog(row: &DestinationRow, now: Timestamp) -> Sentence {
    let name = &row.name;
    let dead = if row.dead > 0 { format!("; {}", dead_letters(name, row.dead)) } else { String::new() };
    let level = if row.pending > 0 || row.dead > 0 || row.paused_at.is_some() { Level::Degraded } else { Level::Fine };
    let gone = if row.orphaned_at.is_some() { "no longer configured, " } else { "" };
    let paused = row.paused_at.map_or(String::new(), |at| format!("paused since {}, ", since(at, now)));
    let breaker =
        row.breaker.map_or(String::new(), |opened| format!("its breaker is open since {}, ", since(opened.since, now)));
    Sentence::short(level, format!("{name}: {gone}{paused}{breaker}{}{dead}", waiting(Some(row), now)))
}

/// Says that a subscription is not live since no bridge runs.
pub(crate) fn not_live(row: &SubscriptionRow, now: Timestamp) -> Sentence {
    let last = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| time_ago(at, now));
    let (alive, event) = (last(row.alive_at), last(row.last_event_at));
    Sentence::short(Level::Losing, format!("{}: not live; last live {alive}, last event {event}", row.name))
}

fn dead_letters(name: &str, dead: u64) -> String {
    format!("{} kept: zoomhook dead list --destination {name}", counted(dead, "dead letter"))
}

fn waiting(row: Option<&DestinationRow>, now: Timestamp) -> String {
    match row {
        None => "backlog not known".to_owned(),
        Some(row) if row.pending == 0 => "nothing waiting".to_owned(),
        Some(row) => {
            // What came just now is on its way rather than old.
            let age = row.oldest_pending_at.map(|at| now.duration_since(at)).filter(|age| age.as_secs() > 0);
            let age = age.map_or(String::new(), |age| format!(", oldest {} old", span(age)));
            format!("{} waiting{age}", counted(row.pending, "event"))
        }
    }
}

fn unreadable(status: &lane::Status, waiting: &str, now: Timestamp) -> Option<(&'static str, String)> {
    let lane::Unreadable { since: at, reason } = status.unreadable.as_ref()?;
    let began = since(*at, now);
    let text =
        format!("events cannot be read from the spool since {began}: {reason}, {waiting}. Repair its disk{KEPT}");
    Some(("events cannot be read", text))
}

fn failing(status: &lane::Status, waiting: &str, now: Timestamp) -> Option<(&'static str, String)> {
    let began = since(status.failing_since?, now);
    let cause = status.last_failure.as_ref().map_or("", |failure| &failure.cause);
    let (whence, advice) = advice(cause);
    let next = match (status.breaker, status.next_retry_at) {
        (Some(opened), _) => format!("; held back, {}", self::next("probe", opened.probe_at, now)),
        (None, Some(at)) => format!("; {}", self::next("try", at, now)),
        (None, None) => String::new(),
    };
    Some(("failing", format!("failing since {began}: {cause}{whence}, {waiting}{next}. {advice}{KEPT}")))
}

fn taking(status: &lane::Status, now: Timestamp) -> String {
    status.last_success_at.map_or_else(
        || "nothing delivered since the start".to_owned(),
        |at| format!("taking events, last one {}", ago(at, now)),
    )
}

/// Says how the spool is doing; `unreadable` is why it could not be read just now, if so, `parked` how many frames it
/// keeps that are not understood, and `unwritten` how many reports of attempts it has no place for.
pub(crate) fn spool(
    health: &Health,
    unreadable: Option<&str>,
    parked: u64,
    unwritten: u64,
    now: Timestamp,
) -> Sentence {
    match (health, unreadable) {
        (Health::Failing { since: at, reason }, _) => {
            let text = format!("spool: takes no events since {}: {reason}", since(*at, now));
            Sentence::threat("spool: takes no events".to_owned(), text)
        }
        (Health::Writable, Some(reason)) => {
            let brief = "spool: takes events, but cannot be read".to_owned();
            let text = format!("{brief}: {reason}");
            Sentence::new(Level::Degraded, brief, text)
        }
        (Health::Writable, None) if unwritten > 0 => {
            let brief = "spool: takes events, but its file is damaged".to_owned();
            let (reports, were) = (counted(unwritten, "report"), if unwritten == 1 { "was" } else { "were" });
            let text = format!(
                "{brief}: {reports} of what came of deliveries {were} not stored, and those are made again after the next \
                 start; stop the bridge, and recover the file (the README says how)"
            );
            Sentence::new(Level::Degraded, brief, text)
        }
        (Health::Writable, None) if parked > 0 => {
            let text = format!("spool: takes events, and {}", kept_frames(parked));
            Sentence::new(Level::Degraded, "spool: takes events".to_owned(), text)
        }
        (Health::Writable, None) => Sentence::short(Level::Fine, "spool: takes events".to_owned()),
    }
}

/// Says what the spool of a bridge that does not run keeps beside events.
pub(crate) fn parked_at_rest(parked: u64) -> Sentence {
    Sentence::short(Level::Degraded, format!("spool: {}", kept_frames(parked)))
}

fn kept_frames(parked: u64) -> String {
    let (frames, are) = (counted(parked, "frame"), if parked == 1 { "is" } else { "are" });
    format!("keeps {frames} that {are} not understood and went to nobody: zoomhook events list --parked")
}

/// Says that the configuration was refused at a reload, and what that means for the next start.
pub(crate) fn configuration(refused_at: Timestamp, problems: &[String], now: Timestamp) -> Sentence {
    let first = problems.first().map_or("it cannot be read", String::as_str);
    let more = match problems.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", count(n as u64 - 1)),
    };
    let text = format!(
        "configuration: refused at the reload of {}: {first}{more}; the one before it is in force, and a restart would fail; \
         mend what zoomhook check says, and reload",
        time_ago(refused_at, now)
    );
    Sentence::new(Level::Degraded, "configuration: refused at the last reload".to_owned(), text)
}

/// Answers the question while nothing is received yet, since the bridge waits for its spool.
pub(crate) fn starting(spool: &mut Sentence) -> Sentence {
    let text = match spool.level {
        Level::Fine | Level::Degraded => "Nothing is received yet: the bridge is starting.".to_owned(),
        Level::Losing => {
            spool.in_summary = true;
            format!("Events are being lost: the bridge is starting and waits for its spool; {}.", spool.sentence)
        }
    };
    Sentence::short(Level::Losing, text)
}

/// Says how long the certificate of the admin port is good; `problem` is why its files cannot be used, if so.
pub(crate) fn certificate(expires_at: Timestamp, problem: Option<&str>, now: Timestamp) -> Sentence {
    let left = expires_at.duration_since(now);
    let end = if left.is_positive() {
        format!("expires {}", until(expires_at, now))
    } else {
        format!("has expired since {}", since(expires_at, now))
    };
    let brief = || "admin port: its certificate".to_owned();
    match problem {
        Some(problem) => {
            let text = format!("admin port: keeps its certificate, which {end}, for the new one is no good: {problem}");
            Sentence::new(Level::Degraded, brief(), text)
        }
        None if left < RENEW => {
            Sentence::new(Level::Degraded, brief(), format!("admin port: its certificate {end}; renew it"))
        }
        None => Sentence::short(Level::Fine, format!("admin port: its certificate {end}")),
    }
}

/// Answers the question over all: `parts` are the other sentences, subscriptions among them. The first of the worst is
/// told, and knows it.
pub(crate) fn summary(
    subscriptions: usize,
    destinations: usize,
    parts: &mut [&mut Sentence],
    gaps: &[GapRow],
    now: Timestamp,
) -> Sentence {
    if subscriptions == 0 {
        let text = "Nothing is received: no subscription is configured; add one and reload";
        return Sentence::short(Level::Losing, text.to_owned());
    }
    let level = parts.iter().map(|part| part.level).max().unwrap_or(Level::Fine);
    let text = if level == Level::Fine {
        let (live, taking) =
            (counted(subscriptions as u64, "subscription"), counted(destinations as u64, "destination"));
        format!("Nothing is being lost: {live} live, {taking} taking events.")
    } else {
        let is_lost = parts.iter().any(|part| part.level == Level::Losing && !part.threatens);
        let verdict = match level {
            Level::Losing if is_lost => "Events are being lost: ",
            Level::Losing => AT_RISK,
            Level::Fine | Level::Degraded => "Nothing is being lost, but ",
        };
        format!("{verdict}{}.", tell_worst(parts, level))
    };
    Sentence::short(level, format!("{text}{}", recent(gaps, now)))
}

/// Tells the first sentence of this level, without what the verdict before it says, and how many more there are.
fn tell_worst(parts: &mut [&mut Sentence], level: Level) -> String {
    let mut worst: Vec<&mut &mut Sentence> = parts.iter_mut().filter(|part| part.level == level).collect();
    // What is lost comes before what may be.
    worst.sort_by_key(|part| part.threatens);
    let Some((first, more)) = worst.split_first_mut() else { return String::new() };
    first.in_summary = true;
    let told = first.sentence.replace(KEPT, "").replace(MEANWHILE, "");
    match more.len() {
        0 => told,
        more => format!("{told} (and {} more below)", count(more as u64)),
    }
}

fn recent(gaps: &[GapRow], now: Timestamp) -> String {
    let lasted: Vec<SignedDuration> = gaps
        .iter()
        .filter(|gap| gap.acknowledged.is_none())
        .map(|gap| (gap.opened_at, gap.closed_at.unwrap_or(now)))
        .filter(|(_, end)| now.duration_since(*end) < RECENT)
        .map(|(opened, end)| end.duration_since(opened))
        .collect();
    if lasted.is_empty() {
        return String::new();
    }
    let whole = lasted.iter().fold(SignedDuration::ZERO, |sum, gap| sum.saturating_add(*gap));
    let open = match gaps.iter().filter(|gap| gap.closed_at.is_none()).count() {
        0 => String::new(),
        open => format!(", {} of them open still", count(open as u64)),
    };
    let counted = counted(lasted.len() as u64, "gap");
    let were = if lasted.len() == 1 { "was" } else { "were" };
    format!(" In the last {} there {were} {counted} ({} in all{open}): zoomhook gaps.", span(RECENT), span(whole))
}

/// Answers the question where no bridge runs: `alive_at` is its last sign of life.
pub(crate) fn not_running(
    listen: &str,
    alive_at: Option<Timestamp>,
    destinations: &[DestinationRow],
    now: Timestamp,
) -> Sentence {
    let life = alive_at
        .map_or("none ever ran on this spool".to_owned(), |at| format!("last sign of life {}", time_ago(at, now)));
    let waiting: Vec<String> = destinations
        .iter()
        .filter(|row| row.pending > 0 || row.paused_at.is_some())
        .map(|row| {
            let events = if row.pending == 0 { "nothing".to_owned() } else { counted(row.pending, "event") };
            // A bridge that is started delivers it no more than this one does.
            let held = match (row.orphaned_at, row.paused_at) {
                (Some(_), _) => " (no longer configured)",
                (None, Some(_)) => " (paused)",
                (None, None) => "",
            };
            format!("{events} for {}{held}", row.name)
        })
        .collect();
    let waiting = if waiting.is_empty() { "nothing".to_owned() } else { list(&waiting) };
    let text = format!(
        "No bridge is running on {listen}: {life}, waiting: {waiting}. What Zoom sends meanwhile is lost; \
         start it: its service, or `zoomhook run`."
    );
    Sentence::short(Level::Losing, text)
}

#[cfg(test)]
mod tests;
