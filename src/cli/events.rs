//! `events`: what was received, and where it stands.

mod detail;

use std::cmp::Reverse;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::documents::{Documents, FormArgs, Question, filled, understood};
use super::moment::{self, moment};
use super::number::{self, within};
use super::options::{EXITS, SourceArgs, after};
use super::output::{BAD, FAIR, GOOD, print_bytes};
use super::purge::{self, PurgeArgs};
use super::table::{Cell, Table};
use super::{Failure, nothing, replay};
use crate::admin::document::purge::ParkedRequest;
use crate::admin::document::{self, EventDocument, Events, PAGE_MOST};
use crate::admin::held::{self, Running};
use crate::clock::Clock;
use crate::config::filter::Pattern;
use crate::event::EventId;
use crate::event::text::Words;
use crate::spool::record::{DeliveryRow, DeliveryState, EventQuery, EventRow, Text, Within};
use crate::spool::{View, is_in_use};
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
#[command(after_help = after(&["zoomhook events list --state dead --since 24h", "zoomhook events list --type 'recording.*' --destination crm", "zoomhook events list --text 'weekly 860 8470 1483'"], EXITS))]
pub(super) struct ListArgs {
    /// Only types that fit: meeting.started, meeting.*
    #[arg(long = "type", value_name = "PATTERN")]
    kind: Option<Pattern>,
    /// Only what this destination wants
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only what stands so: waiting, retrying, delivered, dead
    #[arg(long, value_name = "STATE", value_parser = state(), hide_possible_values = true)]
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
    /// Only what this is found in: topic and ids, type, number, request id; of several words, all
    #[arg(long, value_name = "TEXT")]
    text: Option<Words>,
    /// Only what is older than this event
    #[arg(long, value_name = "ID", value_parser = number::row)]
    before: Option<u64>,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = limit)]
    limit: usize,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook events show 41", "zoomhook events show 41 --raw > body.json"], EXITS))]
pub(super) struct ShowArgs {
    /// The event, by its number in lists
    #[arg(value_parser = number::row)]
    id: u64,
    /// Print the body alone, byte for byte
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    source: SourceArgs,
}

/// Reads a state; shells offer its words.
fn state() -> impl TypedValueParser<Value = DeliveryState> {
    let words = DeliveryState::ALL.map(|state| PossibleValue::new(state.word()));
    PossibleValuesParser::new(words).try_map(|word| word.parse::<DeliveryState>())
}

/// Reads how many rows are wanted.
pub(super) fn limit(text: &str) -> Result<usize, String> {
    within(1..=PAGE_MOST)(text)
}

/// Lists, shows, replays or deletes events.
///
/// # Errors
/// When the configuration is wrong, neither a bridge nor the spool does what is asked, or there is no such event.
pub(super) async fn run(command: &EventsCommand) -> Result<(), Failure> {
    match command {
        EventsCommand::List(args) => list(args).await,
        EventsCommand::Show(args) => show(args).await,
        EventsCommand::Replay(args) => replay::events(args).await,
        EventsCommand::Purge(args) => {
            let until = args.until.map(|until| until.to_string());
            let request = ParkedRequest { parked: args.parked, until, dry_run: false };
            let what = request.erasure(Clock::system().now()).map_err(anyhow::Error::msg)?;
            purge::run(&args.purge, "/api/v1/events/purge", &request, what).await
        }
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    moment::check(args.since, args.until)?;
    let config = args.source.load()?.config;
    let query = EventQuery {
        kind: args.kind.clone(),
        state: args.state,
        destination: args.destination.clone(),
        since: args.since,
        until: args.until,
        parked: args.parked,
        text: args.text.clone().map(|words| Text { words, within: Within::Body }),
        before: args.before.map(EventId),
        limit: args.limit,
    };
    let none = nothing::of_type(args.kind.as_ref());
    let page = page(&Documents::of(&config)?, query).await?;
    Ok(args.form.show(&page, |page, now, width| render(page, &none, now, width))?)
}

/// Reads a page, asking again for as long as it is short and there may be more.
async fn page(documents: &Documents, mut query: EventQuery) -> anyhow::Result<String> {
    let (events, next) = filled((query.limit, query.before), async |limit, before| {
        (query.limit, query.before) = (limit, before);
        let read = |view: &mut dyn View| document::events(view, &query).context("cannot list events");
        let Events { events, next } = understood(&documents.read(question(&query), read).await?)?;
        Ok((events, next))
    })
    .await?;
    serde_json::to_string(&Events { events, next }).context("the document cannot be written")
}

/// Asks the API for what the query chooses.
fn question(query: &EventQuery) -> Question {
    let EventQuery { kind, state, destination, since, until, parked, text, before, limit } = query;
    Question::new("/api/v1/events")
        .with("type", kind.as_ref())
        .with("state", *state)
        .with("destination", destination.as_ref())
        .with("since", *since)
        .with("until", *until)
        .with("parked", parked.then_some(true))
        .with("q", text.as_ref().map(|text| &text.words))
        .with("before", *before)
        .with("limit", Some(limit))
}

async fn show(args: &ShowArgs) -> Result<(), Failure> {
    let config = args.source.unlock()?.config;
    let id = EventId(args.id);
    let read = |view: &mut dyn View| {
        let detail = view.event(id).context("cannot show the event")?;
        let detail = detail.ok_or_else(|| anyhow!("no event {id}: none had this id, or it was purged"))?;
        let running = if is_in_use(&config.spool.path) { Running::Elsewhere } else { Running::Nowhere };
        let destinations = view.destinations().context("cannot show the event")?;
        let held = held::deliveries(&detail.row.deliveries, &destinations, running, Clock::system().now());
        anyhow::Ok(document::event(detail, held))
    };
    let event = Documents::of(&config)?.read(Question::new(format!("/api/v1/events/{id}")), read).await?;
    if args.raw {
        Ok(print_bytes(&body(&understood(&event)?)?)?)
    } else {
        Ok(args.form.show(&event, detail::render)?)
    }
}

/// Returns the body of an event, byte for byte.
fn body(event: &EventDocument) -> anyhow::Result<Vec<u8>> {
    match (&event.body, &event.body_base64) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(text)) => BASE64_STANDARD.decode(text).context("the body is not in base 64"),
        (None, None) => {
            bail!("the bridge shows bodies to operators only: set ZOOMHOOK_ADMIN_TOKEN to an operator's token")
        }
    }
}

/// Writes the list; `none` is what there is to say where it is empty.
fn render(page: &Events, none: &str, now: Timestamp, width: Option<usize>) -> String {
    if page.events.is_empty() {
        return format!("no events{none}\n");
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
    // What presses most comes first: the rest may be cut off.
    let mut deliveries: Vec<&DeliveryRow> = row.deliveries.iter().collect();
    deliveries.sort_by_key(|delivery| Reverse(state_style(delivery.state).0));
    let style = deliveries.first().map(|delivery| state_style(delivery.state).1);
    let said = deliveries.iter().map(|delivery| format!("{} {}", delivery.destination, delivery.state));
    let text = said.collect::<Vec<_>>().join(", ");
    Cell::text(&text).styled(style.unwrap_or_default())
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

    #[test]
    fn empty_list_is_said_in_a_sentence() {
        assert_eq!(render(&Events { events: Vec::new(), next: None }, "", now(), Some(80)), "no events\n");
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
        insta::assert_snapshot!(strip_str(&render(&page, "", now(), None)), @"
        EVENT  RECEIVED                  TYPE             SIZE    DELIVERIES
         1042  10:02:11 UTC (4 min ago)  meeting.started  1.5 kB  audit retrying, crm delivered
         1041  10:02:11 UTC (4 min ago)  (no type)          17 B  parked: not json
            9  10:02:11 UTC (4 min ago)  meeting.started  1.5 kB  wanted by none
        older ones: --before 9
        ");
        let narrow = strip_str(&render(&page, "", now(), Some(60))).to_string();
        insta::assert_snapshot!(narrow, @"
        EVENT  RECEIVED   TYPE             SIZE    DELIVERIES
         1042  4 min ago  meeting.started  1.5 kB  audit retrying, …
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
