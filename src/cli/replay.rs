//! `dead replay` and `events replay`: counted first, then done by the running bridge, or in the spool of one that
//! does not run.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use jiff::{SignedDuration, Timestamp};

use super::bridge::{Answer, Bridge, ensure_at_rest};
use super::documents::{Documents, at_rest_view};
use super::moment::{self, moment};
use super::number::{self, within};
use super::operator;
use super::options::{EXITS, SourceArgs, after};
use super::output::{print, print_json, progress};
use super::{Failure, nothing};
use crate::admin::document::replay::{Of, ReplayRequest, Replayed, UNCONFIRMED_MOST, survey};
use crate::clock::Clock;
use crate::config::filter::Pattern;
use crate::spool::replay::replay_at_rest;
use crate::wording::{count as count_of, counted, list, span};

/// How often a bridge is asked how far it has come.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Is the command line of `dead replay`.
#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook dead replay 15", "zoomhook dead replay --destination crm --dry-run"], EXITS))]
// All the choices in one line would be wider than a terminal.
#[command(override_usage = "zoomhook dead replay [OPTIONS] <CHOICE>...")]
pub(super) struct DeadArgs {
    #[command(flatten)]
    choice: DeadChoice,
    #[command(flatten)]
    how: How,
}

/// Says which dead letters are meant: all that is named must fit.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
struct DeadChoice {
    /// These events
    #[arg(value_name = "EVENT", value_parser = number::row)]
    events: Vec<u64>,
    /// Of this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Given up for this reason, as `dead list` shows it
    #[arg(long, value_name = "CAUSE")]
    cause: Option<String>,
    /// Of types that fit: meeting.started, meeting.*
    #[arg(long = "type", value_name = "PATTERN")]
    kind: Option<Pattern>,
    /// Received since then: 2h, 2026-07-30T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Received before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Every one
    #[arg(long, conflicts_with_all = ["events", "destination", "cause", "kind", "since", "until"])]
    all: bool,
}

/// Is the command line of `events replay`.
#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook events replay 15", "zoomhook events replay --to audit --since 24h --dry-run"], EXITS))]
// All the choices in one line would be wider than a terminal.
#[command(override_usage = "zoomhook events replay [OPTIONS] <CHOICE>...")]
pub(super) struct EventArgs {
    #[command(flatten)]
    choice: EventChoice,
    /// To this destination, even what it never had, as far as it wants it
    #[arg(long, value_name = "NAME", conflicts_with = "destination")]
    to: Option<String>,
    #[command(flatten)]
    how: How,
}

/// Says which events are meant: all that is named must fit.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
struct EventChoice {
    /// These events
    #[arg(value_name = "EVENT", value_parser = number::row)]
    events: Vec<u64>,
    /// Deliveries to this destination only
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Of types that fit: meeting.started, meeting.*
    #[arg(long = "type", value_name = "PATTERN")]
    kind: Option<Pattern>,
    /// Received since then: 24h, 2026-07-30T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Received before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Every one that is kept
    #[arg(long, conflicts_with_all = ["events", "destination", "kind", "since", "until"])]
    all: bool,
}

/// Says how it is done.
#[derive(Args, Debug)]
struct How {
    /// At most so many a second to each destination
    #[arg(long, value_name = "N", value_parser = within(NonZeroU32::MIN..=NonZeroU32::MAX))]
    rate: Option<NonZeroU32>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Go on even if that is more than 100 deliveries
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Replays dead letters.
///
/// # Errors
/// When the configuration is wrong, neither a bridge nor the spool does what is asked, or it is more than may be done
/// without a confirmation.
pub(super) async fn dead(args: &DeadArgs) -> Result<(), Failure> {
    let DeadChoice { events, destination, cause, kind, since, until, all } = args.choice.clone();
    moment::check(since, until)?;
    let (since, until) = (since.map(|at| at.to_string()), until.map(|at| at.to_string()));
    let kind = kind.map(|kind| kind.to_string());
    let request = ReplayRequest { events, destination, cause, kind, since, until, all, ..ReplayRequest::default() };
    run(Of::Dead, request, &args.how).await
}

/// Replays events.
///
/// # Errors
/// As for dead letters.
pub(super) async fn events(args: &EventArgs) -> Result<(), Failure> {
    let EventChoice { events, destination, kind, since, until, all } = args.choice.clone();
    moment::check(since, until)?;
    let (since, until) = (since.map(|at| at.to_string()), until.map(|at| at.to_string()));
    let (kind, to) = (kind.map(|kind| kind.to_string()), args.to.clone());
    let request = ReplayRequest { events, destination, to, kind, since, until, all, ..ReplayRequest::default() };
    run(Of::Events, request, &args.how).await
}

async fn run(of: Of, request: ReplayRequest, how: &How) -> Result<(), Failure> {
    let config = how.source.load()?.config;
    let request = ReplayRequest { rate: how.rate, confirmed: how.yes, dry_run: how.dry_run, ..request };
    let documents = Documents::of(&config)?;
    let (place, would) = Place::find(Bridge::at(&config.admin)?, config.spool.path, of, &request).await?;
    let unfit = place.unfit(of, &request).await?;
    let none = none(&documents, of, &request, &would).await;
    let now = Clock::system().now();
    let needs_word = would.count > UNCONFIRMED_MOST && !how.yes;
    if how.dry_run || needs_word {
        let command = command(std::env::args(), would.count > UNCONFIRMED_MOST);
        match (how.json, would.count) {
            (true, _) => print_json(&would)?,
            (false, 0) => print(&said(of, &would, &none, now))?,
            (false, _) => print(&format!("{}\ndo it: {command}\n", said(of, &would, &none, now).trim_end()))?,
        }
        if how.dry_run {
            return named(of.noun(), &unfit);
        }
        let most = UNCONFIRMED_MOST;
        return Err(anyhow!("nothing was changed: more than {most} deliveries are replayed only with --yes").into());
    }
    let replayed = if would.count == 0 {
        // The audit tells what was asked for: not this.
        Replayed { dry_run: false, ..would }
    } else {
        let bar = progress("replaying", would.count);
        let replayed = place.replay(of, &request, &bar).await;
        bar.finish_and_clear();
        replayed?
    };
    if how.json {
        print_json(&replayed)?;
    } else {
        print(&said(of, &replayed, &none, Clock::system().now()))?;
    }
    named(of.noun(), &unfit)
}

/// Says what there is instead, where nothing fits a cause or a type.
async fn none(documents: &Documents, of: Of, request: &ReplayRequest, would: &Replayed) -> String {
    let ReplayRequest { destination, cause, kind, .. } = request;
    let kind = kind.as_deref().and_then(|kind| kind.parse::<Pattern>().ok());
    match of {
        _ if would.count + would.skipped + would.unwanted > 0 || (cause.is_none() && kind.is_none()) => String::new(),
        Of::Dead => nothing::of_dead(documents, destination.as_deref(), kind.as_ref()).await,
        Of::Events => nothing::of_type(kind.as_ref()),
    }
}

/// Names those of the events that were asked for by number of which nothing fits.
///
/// # Errors
/// When there are any.
pub(super) fn named(noun: &str, unfit: &[u64]) -> Result<(), Failure> {
    let events: Vec<String> = unfit.iter().map(u64::to_string).collect();
    match &events[..] {
        [] => Ok(()),
        [event] => Err(anyhow!("no {noun} of event {event} fits").into()),
        _ => Err(anyhow!("no {noun} of the events {} fits", list(&events)).into()),
    }
}

/// Is where the work is done.
enum Place {
    Bridge(Bridge),
    Spool(PathBuf),
}

impl Place {
    /// Finds out who can do it, by counting what it comes to.
    async fn find(
        bridge: Option<Bridge>,
        spool: PathBuf,
        of: Of,
        request: &ReplayRequest,
    ) -> anyhow::Result<(Self, Replayed)> {
        let dry = ReplayRequest { dry_run: true, ..request.clone() };
        let asked = bridge.as_ref().map(|bridge| bridge.address().clone());
        if let Some(bridge) = bridge
            && let Answer::Document(text) = bridge.post(of.path(), &dry).await?
        {
            let would = understood(&text)?;
            return Ok((Self::Bridge(bridge), would));
        }
        if !request.dry_run {
            ensure_at_rest(&spool, asked.as_ref())?;
        }
        let would = survey_at_rest(&spool, of, &dry)?;
        Ok((Self::Spool(spool), would))
    }

    /// Finds those of the named events of which nothing fits, not even what is still on the way.
    async fn unfit(&self, of: Of, request: &ReplayRequest) -> anyhow::Result<Vec<u64>> {
        let mut unfit = Vec::new();
        for &event in &request.events {
            let alone = ReplayRequest { events: vec![event], dry_run: true, ..request.clone() };
            let Replayed { count, skipped, unwanted, .. } = self.survey(of, &alone).await?;
            if count + skipped + unwanted == 0 {
                unfit.push(event);
            }
        }
        Ok(unfit)
    }

    async fn survey(&self, of: Of, dry: &ReplayRequest) -> anyhow::Result<Replayed> {
        match self {
            Self::Bridge(bridge) => match bridge.post(of.path(), dry).await? {
                Answer::Document(text) => understood(&text),
                Answer::NobodyThere => Err(gone()),
            },
            Self::Spool(path) => survey_at_rest(path, of, dry),
        }
    }

    async fn replay(&self, of: Of, request: &ReplayRequest, bar: &ProgressBar) -> anyhow::Result<Replayed> {
        match self {
            Self::Bridge(bridge) => ask(bridge, of, request, bar).await,
            Self::Spool(path) => {
                let now = Clock::system().now();
                let asked = request.read(of, &operator::who(), now).map_err(anyhow::Error::msg)?;
                let tell = |progress: &crate::spool::replay::Progress| bar.set_position(progress.counts.replayed);
                Ok(Replayed::so_far(&replay_at_rest(path, asked, now, tell)?))
            }
        }
    }
}

fn survey_at_rest(spool: &Path, of: Of, dry: &ReplayRequest) -> anyhow::Result<Replayed> {
    let asked = dry.read(of, &operator::who(), Clock::system().now()).map_err(anyhow::Error::msg)?;
    Ok(Replayed::survey(survey(&mut *at_rest_view(spool)?, &asked.selection, u64::MAX)?))
}

fn gone() -> anyhow::Error {
    anyhow!("the bridge stopped on the way: give the command again, what is due already is left alone")
}

/// Asks a bridge, and again until it is done.
async fn ask(bridge: &Bridge, of: Of, request: &ReplayRequest, bar: &ProgressBar) -> anyhow::Result<Replayed> {
    let Answer::Document(text) = bridge.post(of.path(), request).await? else { return Err(gone()) };
    let mut replayed = understood(&text)?;
    while let (false, Some(id)) = (replayed.done, replayed.id) {
        bar.set_position(replayed.count);
        tokio::time::sleep(ASK_AGAIN).await;
        let Answer::Document(text) = bridge.get(&format!("/api/v1/replays/{id}")).await? else { return Err(gone()) };
        replayed = understood(&text)?;
    }
    Ok(replayed)
}

fn understood(text: &str) -> anyhow::Result<Replayed> {
    serde_json::from_str(text).context("the bridge's answer is not understood")
}

/// Says in a sentence what was done, or would be; `none` is what there is where nothing fits.
fn said(of: Of, replayed: &Replayed, none: &str, now: Timestamp) -> String {
    let Replayed { id: _, count, skipped, unwanted, last_due_at, done: _, dry_run } = replayed;
    let noun = of.noun();
    let things = plural(*count, noun);
    let mut text = match (count, dry_run) {
        (0, _) => format!("no {noun} fits{none}"),
        (_, true) => format!("{things} would be made due again"),
        (_, false) => format!("{things} made due again"),
    };
    let ahead = last_due_at.map_or(SignedDuration::ZERO, |last| last.duration_since(now));
    if ahead >= SignedDuration::from_secs(1) {
        text.push_str(&format!(", the last in {}", span(ahead)));
    }
    let mut left = Vec::new();
    if *skipped > 0 {
        left.push(format!("{} still on the way", count_of(*skipped)));
    }
    if *unwanted > 0 {
        left.push(format!("{} that the destination does not want", counted(*unwanted, "event")));
    }
    if !left.is_empty() {
        text.push_str(&format!("; left alone: {}", list(&left)));
    }
    text + "\n"
}

fn plural(count: u64, noun: &str) -> String {
    let text = counted(count, noun);
    text.strip_suffix("ys").map_or(text.clone(), |stem| format!("{stem}ies"))
}

/// Writes the command that does what was only counted.
fn command(arguments: impl Iterator<Item = String>, needs_word: bool) -> String {
    let arguments = arguments.skip(1).filter(|argument| argument != "--dry-run");
    let word = needs_word.then(|| "--yes".to_owned());
    let words = std::iter::once("zoomhook".to_owned()).chain(arguments).chain(word).map(quoted);
    words.collect::<Vec<_>>().join(" ")
}

/// Puts a word into quotes, where a shell would read something else.
pub(super) fn quoted(word: String) -> String {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '=' | ',' | '@' | '+');
    if !word.is_empty() && word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::document::tests::now;
    use crate::spool::replay::Counts;

    #[test]
    fn replay_says_what_it_did_and_what_it_left_alone() {
        let dead = |counts, dry_run| {
            said(Of::Dead, &Replayed { dry_run, ..Replayed::survey(counts) }, ": there is none", now())
        };
        let counts = |replayed, skipped, unwanted| Counts { replayed, skipped, unwanted };
        assert_eq!(dead(counts(0, 0, 0), false), "no dead letter fits: there is none\n");
        assert_eq!(dead(counts(1, 0, 0), false), "1 dead letter made due again\n");
        assert_eq!(dead(counts(2000, 0, 0), true), "2,000 dead letters would be made due again\n");
        let mut events = Replayed { dry_run: false, ..Replayed::survey(counts(240, 3, 1)) };
        events.last_due_at = Some(now() + SignedDuration::from_secs(119));
        assert_eq!(
            said(Of::Events, &events, "", now()),
            "240 deliveries made due again, the last in 1 min; left alone: 3 still on the way and 1 event that the destination does not want\n"
        );
    }

    #[test]
    fn command_that_does_it_can_be_pasted_into_a_shell() {
        let words =
            ["/usr/bin/zoomhook", "dead", "replay", "--cause", "status 404", "--type", "meeting.*", "--dry-run"];
        assert_eq!(
            command(words.map(str::to_owned).into_iter(), true),
            "zoomhook dead replay --cause 'status 404' --type 'meeting.*' --yes"
        );
        assert_eq!(quoted("it's".to_owned()), r"'it'\''s'");
    }
}
