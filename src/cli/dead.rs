//! `dead`: what was given up, and how it is tried again.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::documents::{Documents, FormArgs, Question, filled, understood};
use super::events::{LIMIT, limit};
use super::moment::{self, moment};
use super::number;
use super::options::{EXITS, SourceArgs, after};
use super::output::plain;
use super::purge::{self, PurgeArgs};
use super::replay::quoted;
use super::table::{Cell, Table};
use super::{Failure, nothing, replay};
use crate::admin::document::purge::DeadRequest;
use crate::admin::document::{self, Dead, DeadGroups};
use crate::config::filter::Pattern;
use crate::event::EventId;
use crate::spool::View;
use crate::spool::erasure::Erasure;
use crate::spool::record::{DeadGroup, DeadQuery, GroupCursor, Groups};
use crate::wording::{ago, count};

/// Is the command line of `dead`.
#[derive(Debug, Subcommand)]
pub(super) enum DeadCommand {
    /// List dead letters: by destination and cause, or one by one
    List(ListArgs),
    /// Make dead letters due again
    Replay(replay::DeadArgs),
    /// Delete dead letters for good
    Purge(DeadPurgeArgs),
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook dead purge --cause 'status 404'", "zoomhook dead purge 15 --yes"], EXITS))]
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
    /// Only what was given up for this reason, one by one
    #[arg(long, value_name = "CAUSE")]
    cause: Option<String>,
    /// Only what was received since then: 2h, 2026-07-30T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only what was received before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// One by one, newest event first
    #[arg(long)]
    rows: bool,
    /// One by one, only what is older than this event
    #[arg(long, value_name = "ID", value_parser = number::row)]
    before: Option<u64>,
    /// One by one, at most so many [default: 20]
    #[arg(long, value_name = "N", value_parser = limit)]
    limit: Option<usize>,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    source: SourceArgs,
}

impl ListArgs {
    /// Tells whether rows are meant: what only rows have is asked for, or a group is named.
    fn is_one_by_one(&self) -> bool {
        self.rows || self.cause.is_some() || self.before.is_some() || self.limit.is_some()
    }
}

/// Says which dead letters are meant: all that is named must fit.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
struct Choice {
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
    /// Every one
    #[arg(long, conflicts_with_all = ["events", "destination", "cause", "kind"])]
    all: bool,
}

impl Choice {
    fn request(&self) -> DeadRequest {
        let Self { events, destination, cause, kind, all } = self.clone();
        DeadRequest { events, destination, cause, kind: kind.map(|kind| kind.to_string()), all, dry_run: false }
    }
}

/// Lists dead letters, makes them due again, or deletes them.
///
/// # Errors
/// When the configuration is wrong, or neither a bridge nor the spool does what is asked.
pub(super) async fn run(command: &DeadCommand) -> Result<(), Failure> {
    match command {
        DeadCommand::List(args) => list(args).await,
        DeadCommand::Replay(args) => replay::dead(args).await,
        DeadCommand::Purge(args) => {
            let request = args.choice.request();
            let what = Erasure::Dead(request.query().map_err(anyhow::Error::msg)?);
            purge::run(&args.purge, "/api/v1/dead/purge", &request, what).await
        }
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    moment::check(args.since, args.until)?;
    let config = args.source.load()?.config;
    let documents = Documents::of(&config)?;
    let query = DeadQuery {
        events: Vec::new(),
        destination: args.destination.clone(),
        kind: args.kind.clone(),
        cause: args.cause.clone(),
        since: args.since,
        until: args.until,
        before: args.before.map(EventId),
        limit: args.limit.unwrap_or(LIMIT),
    };
    // What was chosen is told where it is not there; that there is nothing at all is good news.
    let is_chosen = args.cause.is_some() || args.kind.is_some();
    let none = async |is_empty: bool| match is_empty && is_chosen {
        true => nothing::of_dead(&documents, args.destination.as_deref(), args.kind.as_ref()).await,
        false => String::new(),
    };
    if args.is_one_by_one() {
        let page = rows(&documents, query).await?;
        let none = none(understood::<Dead>(&page)?.dead.is_empty()).await;
        Ok(args.form.show(&page, |page, now, width| render(page, &none, now, width))?)
    } else {
        let all = groups(&documents, &query).await?;
        let none = none(understood::<DeadGroups>(&all)?.groups.is_empty()).await;
        Ok(args.form.show(&all, |groups, now, width| render_groups(groups, &none, now, width))?)
    }
}

/// Reads a page of dead letters, asking again for as long as it is short and there may be more.
async fn rows(documents: &Documents, mut query: DeadQuery) -> anyhow::Result<String> {
    let (dead, next) = filled((query.limit, query.before), async |limit, before| {
        (query.limit, query.before) = (limit, before);
        let question = question("/api/v1/dead", &query).with("before", before).with("limit", Some(limit));
        let read = |view: &mut dyn View| document::dead(view, &query).context("cannot list dead letters");
        let Dead { dead, next } = understood(&documents.read(question, read).await?)?;
        Ok((dead, next))
    })
    .await?;
    serde_json::to_string(&Dead { dead, next }).context("the document cannot be written")
}

/// Reads all groups, part by part.
///
/// # Errors
/// When they cannot be read.
pub(super) async fn groups(documents: &Documents, query: &DeadQuery) -> anyhow::Result<String> {
    let (mut all, mut after) = (Groups::default(), None::<GroupCursor>);
    loop {
        let question = question("/api/v1/dead/groups", query).with("after", after.as_ref());
        let read = |view: &mut dyn View| {
            document::dead_groups(view, query, after.as_ref()).context("cannot group dead letters")
        };
        let DeadGroups { groups, next } = understood(&documents.read(question, read).await?)?;
        all.join(Groups { groups, next: None });
        after = next.as_deref().map(str::parse).transpose()?;
        if after.is_none() {
            let whole = DeadGroups { groups: all.groups, next: None };
            return serde_json::to_string(&whole).context("the document cannot be written");
        }
    }
}

/// Asks the API for what the query chooses, one by one or in groups.
fn question(path: &str, query: &DeadQuery) -> Question {
    let DeadQuery { events: _, destination, kind, cause, since, until, before: _, limit: _ } = query;
    Question::new(path)
        .with("destination", destination.as_ref())
        .with("type", kind.as_ref())
        .with("cause", cause.as_ref())
        .with("since", *since)
        .with("until", *until)
}

fn render_groups(groups: &DeadGroups, none: &str, now: Timestamp, width: Option<usize>) -> String {
    let [DeadGroup { destination, cause, .. }, ..] = &groups.groups[..] else {
        return format!("no dead letters{none}\n");
    };
    let mut table = Table::new(["DESTINATION", "CAUSE", "COUNT", "FIRST GIVEN UP", "LAST GIVEN UP", "NEWEST EVENT"]);
    for group in &groups.groups {
        table.push([
            Cell::text(&group.destination),
            Cell::text(&group.cause),
            Cell::number(count(group.count)),
            Cell::fact(ago(group.oldest_at, now)),
            Cell::fact(ago(group.newest_at, now)),
            Cell::number(group.sample.to_string()),
        ]);
    }
    let words = ["zoomhook", "dead", "list", "--destination", destination, "--cause", cause];
    let rows = words.map(|word| quoted(plain(word).into_owned())).join(" ");
    format!("{}one by one: {rows}\n", table.render(width))
}

fn render(page: &Dead, none: &str, now: Timestamp, width: Option<usize>) -> String {
    if page.dead.is_empty() {
        return format!("no dead letters{none}\n");
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
        let none = |why: &str| render(&Dead { dead: Vec::new(), next: None }, why, now(), Some(80));
        assert_eq!(none("") + &none(": there is none"), "no dead letters\nno dead letters: there is none\n");
    }

    #[test]
    fn dead_letters_show_when_and_why_they_were_given_up() {
        let page = Dead { dead: vec![dead_row(1042, "crm"), dead_row(7, "audit")], next: Some(EventId(7)) };
        insta::assert_snapshot!(strip_str(&render(&page, "", now(), None)), @"
        EVENT  TYPE             DESTINATION  RECEIVED  GIVEN UP                  ATTEMPTS  REASON
         1042  meeting.started  crm          3 d ago   10:02:11 UTC (4 min ago)        12  status 503
            7  meeting.started  audit        3 d ago   10:02:11 UTC (4 min ago)        12  status 503
        older ones: --before 7
        ");
    }

    #[test]
    fn groups_show_how_many_since_when_and_how_to_see_them() {
        let group = |cause: &str, count| DeadGroup {
            destination: "crm".into(),
            cause: cause.into(),
            count,
            oldest_at: "2026-07-30T08:02:11Z".parse().expect("a time"),
            newest_at: "2026-07-30T10:02:11Z".parse().expect("a time"),
            sample: EventId(1042),
        };
        let groups = DeadGroups {
            groups: vec![group("status 404", 1200), group("timeout after 12 attempts in 72 h", 1)],
            next: None,
        };
        insta::assert_snapshot!(strip_str(&render_groups(&groups, "", now(), None)), @"
        DESTINATION  CAUSE                              COUNT  FIRST GIVEN UP  LAST GIVEN UP  NEWEST EVENT
        crm          status 404                         1,200  2 h 4 min ago   4 min ago              1042
        crm          timeout after 12 attempts in 72 h      1  2 h 4 min ago   4 min ago              1042
        one by one: zoomhook dead list --destination crm --cause 'status 404'
        ");
        assert_eq!(render_groups(&DeadGroups { groups: Vec::new(), next: None }, "", now(), None), "no dead letters\n");
    }
}
