//! `events`: what was received, and where it stands.

mod detail;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::moment::moment;
use super::options::{EXITS, SourceArgs, after};
use super::output::{BAD, FAIR, GOOD, print, print_bytes, print_json};
use super::purge::{self, PurgeArgs};
use super::table::{Cell, Table, terminal_width};
use super::{Failure, replay};
use crate::admin::document::purge::ParkedRequest;
use crate::admin::document::{self, Events, PAGE_MOST};
use crate::clock::Clock;
use crate::config::filter::Pattern;
use crate::event::EventId;
use crate::spool::record::{DeliveryState, EventQuery, EventRow};
use crate::spool::{open_unlocked, open_view};
use crate::wording::size;

/// Rows that a list shows unless told otherwise: a screen of them.
pub(super) const LIMIT: usize = 20;

/// Is the command line of `events`.
#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// List events, newest first
    List(ListArgs),
    /// Show one event: facts, deliveries, failed attempts and the body
    Show(ShowArgs),
    /// Deliver events again, or to a destination that never had them
    Replay(replay::EventArgs),
    /// Delete parked frames for good
    Purge(ParkedArgs),
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook events purge --parked --until 30d", "zoomhook events purge --parked --yes"], EXITS))]
pub(super) struct ParkedArgs {
    /// What is kept but cannot be delivered: nothing else can be purged
    #[arg(long, required = true)]
    parked: bool,
    /// Only what was received before then: 2h, 2026-07-30T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    #[command(flatten)]
    purge: PurgeArgs,
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook events list --state dead --since 24h", "zoomhook events list --type 'recording.*' --destination crm"], EXITS))]
pub(super) struct ListArgs {
    /// Only types that fit: meeting.started, meeting.*
    #[arg(long = "type", value_name = "PATTERN")]
    kind: Option<Pattern>,
    /// Only what this destination wants
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only what stands so: waiting, retrying, delivered, dead
    #[arg(long, value_name = "STATE")]
    state: Option<DeliveryState>,
    /// Only what was received since then: 24h, 10:00, 2026-07-30T10:00:00+02:00
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only what was received before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only what is kept but cannot be delivered
    #[arg(long)]
    parked: bool,
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
#[command(after_help = after(&["zoomhook events show 41", "zoomhook events show 41 --raw > body.json"], EXITS))]
pub(super) struct ShowArgs {
    /// The event, by its number in lists
    id: u64,
    /// Print the body alone, byte for byte
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Reads how many rows are wanted.
pub(super) fn limit(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|limit| (1..=PAGE_MOST).contains(limit));
    number.ok_or_else(|| format!("expected a number from 1 to {PAGE_MOST}"))
}

/// Lists, shows, replays or deletes events.
///
/// # Errors
/// When the configuration is wrong, the spool cannot be read or written, or there is no such event.
pub(super) async fn run(command: &EventsCommand) -> Result<(), Failure> {
    match command {
        EventsCommand::List(args) => list(args),
        EventsCommand::Show(args) => show(args),
        EventsCommand::Replay(args) => replay::events(args).await,
        EventsCommand::Purge(args) => {
            let until = args.until.map(|until| until.to_string());
            let request = ParkedRequest { parked: args.parked, until, dry_run: false };
            let what = request.erasure(Clock::system().now()).map_err(anyhow::Error::msg)?;
            purge::run(&args.purge, "/api/v1/events/purge", &request, what).await
        }
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let mut view = open_view(&config.spool.path).map_err(anyhow::Error::from)?;
    let query = EventQuery {
        kind: args.kind.clone(),
        state: args.state,
        destination: args.destination.clone(),
        since: args.since,
        until: args.until,
        parked: args.parked,
        before: args.before.map(EventId),
        limit: args.limit,
    };
    let page = document::events(&mut *view, &query).context("cannot list events")?;
    if args.json {
        print_json(&page)?;
    } else {
        print(&render(&page, Clock::system().now(), terminal_width()))?;
    }
    Ok(())
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let config = args.source.unlock()?.config;
    let mut view = open_unlocked(&config.spool).map_err(anyhow::Error::from)?;
    let id = EventId(args.id);
    let detail = view.event(id).context("cannot show the event")?;
    let detail = detail.ok_or_else(|| anyhow!("no event {id}: none had this id, or it was purged"))?;
    if args.raw {
        print_bytes(&detail.body)?;
    } else if args.json {
        print_json(&document::event(detail))?;
    } else {
        print(&detail::render(&detail, Clock::system().now(), terminal_width()))?;
    }
    Ok(())
}

fn render(page: &Events, now: Timestamp, width: Option<usize>) -> String {
    if page.events.is_empty() {
        return "no events\n".to_owned();
    }
    let mut table = Table::new(["EVENT", "RECEIVED", "TYPE", "SIZE", "DELIVERIES"]);
    for row in &page.events {
        table.push([
            Cell::number(row.id.to_string()),
            Cell::moment(row.received_at, now, width),
            Cell::text(kind(row)),
            Cell::number(size(row.size)),
            deliveries(row),
        ]);
    }
    let more = page.next.map_or(String::new(), |next| format!("older ones: --before {next}\n"));
    table.render(width) + &more
}

/// Names the type of an event; some name none.
fn kind(row: &EventRow) -> &str {
    if row.kind.is_empty() { "(no type)" } else { &row.kind }
}

fn deliveries(row: &EventRow) -> Cell {
    if let Some(reason) = &row.parked {
        return Cell::text(&format!("parked: {reason}")).styled(FAIR);
    }
    if row.deliveries.is_empty() {
        return Cell::text("wanted by none");
    }
    let said = row.deliveries.iter().map(|delivery| format!("{} {}", delivery.destination, delivery.state));
    let style = row.deliveries.iter().map(|delivery| state_style(delivery.state)).max_by_key(|(rank, _)| *rank);
    let text = said.collect::<Vec<_>>().join(", ");
    Cell::text(&text).styled(style.map(|(_, style)| style).unwrap_or_default())
}

/// Gives a state its colour, and a rank: the most pressing one colours the row.
fn state_style(state: DeliveryState) -> (u8, anstyle::Style) {
    match state {
        DeliveryState::Delivered => (0, GOOD),
        DeliveryState::Fresh => (1, anstyle::Style::new()),
        DeliveryState::Retry => (2, FAIR),
        DeliveryState::Dead => (3, BAD),
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::admin::document::tests::{event_row, now};
    use crate::spool::record::DeliveryRow;

    #[test]
    fn empty_list_is_said_in_a_sentence() {
        assert_eq!(render(&Events { events: Vec::new(), next: None }, now(), Some(80)), "no events\n");
    }

    #[test]
    fn events_show_where_they_stand_with_each_destination() {
        let delivery = |destination: &str, state| DeliveryRow {
            destination: destination.into(),
            state,
            attempts: 1,
            due: None,
            settled_at: None,
            outcome: None,
            replays: 0,
        };
        let mixed = EventRow {
            deliveries: vec![delivery("crm", DeliveryState::Delivered), delivery("audit", DeliveryState::Retry)],
            ..event_row(1042)
        };
        let parked = EventRow { kind: "".into(), parked: Some("not json".into()), size: 17, ..event_row(1041) };
        let page = Events { events: vec![mixed, parked, event_row(9)], next: Some(EventId(9)) };
        insta::assert_snapshot!(strip_str(&render(&page, now(), None)), @"
        EVENT  RECEIVED                  TYPE             SIZE    DELIVERIES
         1042  10:02:11 UTC (4 min ago)  meeting.started  1.5 kB  crm delivered, audit retrying
         1041  10:02:11 UTC (4 min ago)  (no type)          17 B  parked: not json
            9  10:02:11 UTC (4 min ago)  meeting.started  1.5 kB  wanted by none
        older ones: --before 9
        ");
        let narrow = strip_str(&render(&page, now(), Some(60))).to_string();
        insta::assert_snapshot!(narrow, @"
        EVENT  RECEIVED   TYPE             SIZE    DELIVERIES
         1042  4 min ago  meeting.started  1.5 kB  crm delivered, a…
         1041  4 min ago  (no type)          17 B  parked: not json
            9  4 min ago  meeting.started  1.5 kB  wanted by none
        older ones: --before 9
        ");
    }

    #[test]
    fn worst_state_colours_the_row() {
        let (ranks, _): (Vec<u8>, Vec<_>) =
            [DeliveryState::Delivered, DeliveryState::Fresh, DeliveryState::Retry, DeliveryState::Dead]
                .map(state_style)
                .into_iter()
                .unzip();
        assert!(ranks.is_sorted(), "{ranks:?}");
    }
}
