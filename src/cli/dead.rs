//! `dead`: what was given up, and how it is tried again.

use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Failure;
use super::bridge::{Answer, Bridge};
use super::events::{LIMIT, limit};
use super::options::{EXITS, SourceArgs, after};
use super::output::{print, print_json};
use super::purge::{self, PurgeArgs};
use super::table::{Cell, Table, terminal_width};
use crate::admin::document::{self, Dead, ReplayRequest, Replayed};
use crate::clock::Clock;
use crate::config::filter::Pattern;
use crate::event::EventId;
use crate::spool::erasure::Erasure;
use crate::spool::record::DeadQuery;
use crate::spool::{open_view, replay_dead_at_rest};
use crate::wording::{ago, count, counted};

/// Is the command line of `dead`.
#[derive(Debug, Subcommand)]
pub(super) enum DeadCommand {
    /// List dead letters, newest event first
    List(ListArgs),
    /// Make dead letters due again
    Replay(ReplayArgs),
    /// Delete dead letters for good
    Purge(DeadPurgeArgs),
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook dead purge --destination crm", "zoomhook dead purge 15 --yes"], EXITS))]
pub(super) struct DeadPurgeArgs {
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    purge: PurgeArgs,
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook dead list --destination crm"], EXITS))]
pub(super) struct ListArgs {
    /// Only types that fit: meeting.started, meeting.*
    #[arg(long = "type", value_name = "PATTERN")]
    kind: Option<Pattern>,
    /// Only of this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only what is older than this event
    #[arg(long, value_name = "ID")]
    before: Option<u64>,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = limit)]
    limit: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook dead replay 15", "zoomhook dead replay --destination crm --dry-run"], EXITS))]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    choice: Choice,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Says which dead letters are meant: all that is named must fit.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
struct Choice {
    /// These events
    #[arg(value_name = "EVENT")]
    events: Vec<u64>,
    /// Of this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Of types that fit: meeting.started, meeting.*
    #[arg(long = "type", value_name = "PATTERN")]
    kind: Option<Pattern>,
    /// Every one
    #[arg(long, conflicts_with_all = ["events", "destination", "kind"])]
    all: bool,
}

impl Choice {
    fn request(&self) -> ReplayRequest {
        let Self { events, destination, kind, all } = self.clone();
        ReplayRequest { events, destination, kind: kind.map(|kind| kind.to_string()), all, dry_run: false }
    }
}

/// Lists dead letters, makes them due again, or deletes them.
///
/// # Errors
/// When the configuration is wrong, or neither a bridge nor the spool does what is asked.
pub(super) async fn run(command: &DeadCommand) -> Result<(), Failure> {
    match command {
        DeadCommand::List(args) => list(args),
        DeadCommand::Replay(args) => replay(args).await,
        DeadCommand::Purge(args) => {
            let request = args.choice.request();
            let what = Erasure::Dead(request.query().map_err(anyhow::Error::msg)?);
            purge::run(&args.purge, "/api/v1/dead/purge", &request, what).await
        }
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let mut view = open_view(&config.spool.path).map_err(anyhow::Error::from)?;
    let query = DeadQuery {
        events: Vec::new(),
        destination: args.destination.clone(),
        kind: args.kind.clone(),
        before: args.before.map(EventId),
        limit: args.limit,
    };
    let page = document::dead(&mut *view, &query).context("cannot list dead letters")?;
    if args.json {
        print_json(&page)?;
    } else {
        print(&render(&page, Clock::system().now(), terminal_width()))?;
    }
    Ok(())
}

async fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let request = ReplayRequest { dry_run: args.dry_run, ..args.choice.request() };
    let answer = match Bridge::at(&config.admin)? {
        Some(bridge) => bridge.post("/api/v1/dead/replay", &request).await?,
        None => Answer::NobodyThere,
    };
    let replayed = match answer {
        Answer::Document(text) => serde_json::from_str(&text).context("the bridge's answer is not understood")?,
        Answer::NobodyThere => replay_in_spool(&config.spool.path, &request)?,
    };
    if args.json {
        print_json(&replayed)?;
    } else {
        print(&said(replayed))?;
    }
    Ok(())
}

/// Replays where no bridge runs that would do it.
fn replay_in_spool(path: &Path, request: &ReplayRequest) -> anyhow::Result<Replayed> {
    let query = request.query().map_err(anyhow::Error::msg)?;
    if request.dry_run {
        let count = document::count_dead(&mut *open_view(path)?, &query).context("cannot count dead letters")?;
        return Ok(Replayed { count, dry_run: true });
    }
    let count = replay_dead_at_rest(path, &query, "the command line", Clock::system().now())?;
    Ok(Replayed { count, dry_run: false })
}

fn said(replayed: Replayed) -> String {
    let letters = counted(replayed.count, "dead letter");
    match replayed {
        Replayed { count: 0, .. } => "no dead letter fits\n".to_owned(),
        Replayed { dry_run: true, .. } => format!("{letters} would be made due again\n"),
        Replayed { dry_run: false, .. } => format!("{letters} made due again\n"),
    }
}

fn render(page: &Dead, now: Timestamp, width: Option<usize>) -> String {
    if page.dead.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let mut table =
        Table::new(["EVENT", "TYPE", "DESTINATION", "RECEIVED", "GIVEN UP", "ATTEMPTS", "REASON"]).may_go(&[3, 5]);
    for row in &page.dead {
        table.push([
            Cell::number(row.event.to_string()),
            Cell::text(if row.kind.is_empty() { "(no type)" } else { &row.kind }),
            Cell::text(&row.destination),
            Cell::fact(ago(row.received_at, now)),
            Cell::moment(row.dead_at, now, width),
            Cell::number(count(row.attempts.into())),
            Cell::text(&row.reason),
        ]);
    }
    let more = page.next.map_or(String::new(), |next| format!("older ones: --before {next}\n"));
    table.render(width) + &more
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::admin::document::tests::{dead_row, now};

    #[test]
    fn empty_list_is_said_in_a_sentence() {
        assert_eq!(render(&Dead { dead: Vec::new(), next: None }, now(), Some(80)), "no dead letters\n");
    }

    #[test]
    fn dead_letters_show_when_and_why_they_were_given_up() {
        let page = Dead { dead: vec![dead_row(1042, "crm"), dead_row(7, "audit")], next: Some(EventId(7)) };
        insta::assert_snapshot!(strip_str(&render(&page, now(), None)), @"
        EVENT  TYPE             DESTINATION  RECEIVED  GIVEN UP                  ATTEMPTS  REASON
         1042  meeting.started  crm          3 d ago   10:02:11 UTC (4 min ago)        12  status 503
            7  meeting.started  audit        3 d ago   10:02:11 UTC (4 min ago)        12  status 503
        older ones: --before 7
        ");
    }

    #[test]
    fn replay_says_what_it_did() {
        let cases = [
            (0, false, "no dead letter fits\n"),
            (1, false, "1 dead letter made due again\n"),
            (2000, true, "2,000 dead letters would be made due again\n"),
        ];
        for (count, dry_run, expected) in cases {
            assert_eq!(said(Replayed { count, dry_run }), expected);
        }
    }
}
