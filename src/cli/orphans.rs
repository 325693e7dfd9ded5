//! `orphans`: what is kept for destinations that are no longer configured.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Failure;
use super::documents::{Documents, FormArgs, Question};
use super::options::{EXITS, SourceArgs, after};
use super::purge::{self, PurgeArgs};
use super::table::{Cell, Table};
use crate::admin::document::purge::{OrphanRequest, Orphans, orphans};
use crate::spool::View;
use crate::spool::erasure::Erasure;
use crate::wording::{ago, count, time_ago};

/// Is the command line of `orphans`.
#[derive(Debug, Subcommand)]
pub(super) enum OrphansCommand {
    /// List destinations that are no longer configured, with what is kept for them
    List(ListArgs),
    /// Delete what is kept for one of them, the record of what it took included, and forget its name
    Purge(OrphanArgs),
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook orphans list --json"], EXITS))]
pub(super) struct ListArgs {
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook orphans purge old-crm", "zoomhook orphans purge old-crm --yes"], EXITS))]
pub(super) struct OrphanArgs {
    /// The destination
    #[arg(value_name = "DESTINATION")]
    name: String,
    #[command(flatten)]
    purge: PurgeArgs,
}

/// Lists orphaned destinations, or deletes what is kept for one.
///
/// # Errors
/// When the configuration is wrong, or neither a bridge nor the spool does what is asked.
pub(super) async fn run(command: &OrphansCommand) -> Result<(), Failure> {
    match command {
        OrphansCommand::List(args) => list(args).await,
        OrphansCommand::Purge(args) => {
            let path = format!("/api/v1/orphans/{}/purge", args.name);
            let what = Erasure::Orphan { destination: args.name.as_str().into() };
            purge::run(&args.purge, &path, &OrphanRequest::default(), what).await
        }
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let read = |view: &mut dyn View| orphans(view).context("cannot list orphaned destinations");
    let found = Documents::of(&config)?.read(Question::new("/api/v1/orphans"), read).await?;
    Ok(args.form.show(&found, render)?)
}

fn render(found: &Orphans, now: Timestamp, width: Option<usize>) -> String {
    if found.orphans.is_empty() {
        return "every destination that the spool knows is configured\n".to_owned();
    }
    let mut table = Table::new(["DESTINATION", "NOT CONFIGURED SINCE", "WAITING", "OLDEST", "DEAD"]);
    for row in &found.orphans {
        table.push([
            Cell::text(&row.name),
            Cell::fact(row.orphaned_at.map_or_else(String::new, |at| time_ago(at, now))),
            Cell::number(count(row.pending)),
            Cell::fact(row.oldest_pending_at.map_or_else(String::new, |at| ago(at, now))),
            Cell::number(count(row.dead)),
        ]);
    }
    table.render(width)
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::admin::document::tests::{destination_row, now};
    use crate::spool::record::DestinationRow;

    #[test]
    fn orphans_show_since_when_and_what_is_kept_for_them() {
        let at = |text: &str| Some(text.parse().expect("a time"));
        let orphan = DestinationRow {
            pending: 1213,
            dead: 2,
            oldest_pending_at: at("2026-07-30T09:06:11Z"),
            orphaned_at: at("2026-07-30T10:02:11Z"),
            ..destination_row("old")
        };
        let text = render(&Orphans { orphans: vec![orphan] }, now(), None);
        insta::assert_snapshot!(strip_str(&text), @r"
        DESTINATION  NOT CONFIGURED SINCE      WAITING  OLDEST   DEAD
        old          10:02:11 UTC (4 min ago)    1,213  1 h ago     2
        ");
        let none = render(&Orphans { orphans: Vec::new() }, now(), Some(80));
        assert_eq!(none, "every destination that the spool knows is configured\n");
    }
}
