//! `gaps`: when no socket was live, so that what Zoom sent was missed, and what was done about it.

use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::Failure;
use super::bridge::{Answer, Bridge, ensure_at_rest};
use super::documents::{Documents, FormArgs, Question};
use super::events::{LIMIT, limit};
use super::number::within;
use super::operator;
use super::options::{EXITS, SourceArgs, after};
use super::output::{BAD, print, print_json};
use super::table::{Cell, Table};
use crate::admin::document::{AcknowledgeRequest, AcknowledgedGap, Gaps, noted_before};
use crate::clock::Clock;
use crate::spool::record::{Acknowledgement, GapNote};
use crate::spool::{View, acknowledge_at_rest};
use crate::wording::{ago, span, time};

/// Is the command line of `gaps`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = after(&["zoomhook gaps --limit 100", "zoomhook gaps ack 3 --note OPS-12"], EXITS))]
pub(super) struct GapsArgs {
    #[command(subcommand)]
    command: Option<GapsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook gaps list --limit 100"], EXITS))]
struct ListArgs {
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = limit)]
    limit: usize,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Debug, Subcommand)]
enum GapsCommand {
    /// List gaps, newest first, as gaps alone does
    List(ListArgs),
    /// Note what was done about a gap; the status speaks of it no more
    #[command(alias = "acknowledge")]
    Ack(AckArgs),
}

#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook gaps ack 3 --note 'fetched from reports, OPS-12'"], EXITS))]
struct AckArgs {
    /// The gap, by its number in the list
    #[arg(value_name = "GAP", value_parser = within(0..=i64::MAX))]
    gap: i64,
    /// What was done about it, such as the number of a ticket
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Put it in the place of a note that is there already; the audit has both
    #[arg(long)]
    replace: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Lists gaps, newest first, or notes what was done about one.
///
/// # Errors
/// When the configuration is wrong, or neither a bridge nor the spool does what is asked.
pub(super) async fn run(args: &GapsArgs) -> Result<(), Failure> {
    match &args.command {
        Some(GapsCommand::Ack(args)) => acknowledge(args).await,
        Some(GapsCommand::List(args)) => list(args).await,
        None => list(&args.list).await,
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let question = Question::new("/api/v1/gaps").with("limit", Some(args.limit));
    let read = |view: &mut dyn View| anyhow::Ok(Gaps { gaps: view.gaps(args.limit).context("cannot list gaps")? });
    let gaps = Documents::of(&config)?.read(question, read).await?;
    Ok(args.form.show(&gaps, render)?)
}

async fn acknowledge(args: &AckArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let request = AcknowledgeRequest { note: args.note.clone(), replace: args.replace };
    let note = request.note().map_err(Failure::usage)?;
    let bridge = Bridge::at(&config.admin)?;
    let answer = match &bridge {
        Some(bridge) => bridge.post(&format!("/api/v1/gaps/{}/acknowledge", args.gap), &request).await?,
        None => Answer::NobodyThere,
    };
    let done = match answer {
        Answer::Document(text) => serde_json::from_str(&text).context("the bridge's answer is not understood")?,
        Answer::NobodyThere => {
            ensure_at_rest(&config.spool.path, bridge.as_ref().map(Bridge::address))?;
            at_rest(&config.spool.path, args.gap, &note)?
        }
    };
    if args.json {
        print_json(&done)?;
    } else {
        print(&format!("gap {} is noted as dealt with\n", done.gap))?;
    }
    Ok(())
}

fn at_rest(path: &Path, gap: i64, note: &GapNote) -> anyhow::Result<AcknowledgedGap> {
    match acknowledge_at_rest(path, gap, note, &operator::who(), Clock::system().now())? {
        Acknowledgement::Noted => Ok(AcknowledgedGap { gap }),
        Acknowledgement::Known(known) => bail!(noted_before(gap, &known)),
        Acknowledgement::StillOpen => bail!("gap {gap} lasts still; note it when a socket is live again"),
        Acknowledgement::NoSuchGap => bail!("the spool has no gap {gap}"),
    }
}

fn render(gaps: &Gaps, now: Timestamp, width: Option<usize>) -> String {
    if gaps.gaps.is_empty() {
        return "no gaps: a socket was live all the time\n".to_owned();
    }
    let mut table = Table::new(["GAP", "SUBSCRIPTION", "OPENED", "CLOSED", "LASTED", "LAST EVENT", "REASON", "NOTE"])
        .may_go(&[5, 3, 7]);
    for gap in &gaps.gaps {
        let open = || Cell::fact("still open".to_owned()).styled(BAD);
        let closed_at = |at| Cell::fact(if width.is_some() { ago(at, now) } else { time(at, now) });
        let closed = gap.closed_at.map_or_else(open, closed_at);
        let lasted = span(gap.closed_at.unwrap_or(now).duration_since(gap.opened_at));
        let so_far = if gap.closed_at.is_none() { " so far" } else { "" };
        table.push([
            Cell::number(gap.id.to_string()),
            Cell::text(&gap.subscription),
            Cell::moment(gap.opened_at, now, width),
            closed,
            Cell::fact(lasted + so_far),
            Cell::fact(gap.last_event_at.map_or("none".to_owned(), |at| ago(at, now))),
            Cell::text(&gap.reason),
            Cell::text(gap.acknowledged.as_ref().map_or("", |acknowledged| &acknowledged.note)),
        ]);
    }
    table.render(width)
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::admin::document::tests::now;
    use crate::spool::record::{Acknowledged, GapRow};

    #[test]
    fn no_gaps_are_said_in_a_sentence() {
        let text = render(&Gaps { gaps: Vec::new() }, now(), Some(80));
        assert_eq!(text, "no gaps: a socket was live all the time\n");
    }

    #[test]
    fn gaps_show_how_long_they_lasted_and_which_last_still() {
        let at = |text: &str| text.parse().expect("a time");
        let closed = GapRow {
            id: 1,
            subscription: "main".into(),
            opened_at: at("2026-07-29T22:00:00Z"),
            closed_at: Some(at("2026-07-29T22:00:42Z")),
            reason: "closed by Zoom with 1000".into(),
            last_event_at: None,
            acknowledged: Some(Acknowledged { at: now(), by: "operator".into(), note: "OPS-12".into() }),
        };
        let open = GapRow {
            id: 12,
            opened_at: at("2026-07-30T10:02:11Z"),
            closed_at: None,
            last_event_at: Some(at("2026-07-30T10:01:11Z")),
            acknowledged: None,
            ..closed.clone()
        };
        let shown =
            |width| strip_str(&render(&Gaps { gaps: vec![open.clone(), closed.clone()] }, now(), width)).to_string();
        insta::assert_snapshot!(shown(None), @"
        GAP  SUBSCRIPTION  OPENED                                    CLOSED                   LASTED        LAST EVENT  REASON                    NOTE
         12  main          10:02:11 UTC (4 min ago)                  still open               4 min so far  5 min ago   closed by Zoom with 1000
          1  main          2026-07-29 22:00:00 UTC (12 h 6 min ago)  2026-07-29 22:00:42 UTC  42 s          none        closed by Zoom with 1000  OPS-12
        ");
        insta::assert_snapshot!(shown(Some(80)), @"
        GAP  SUBSCRIPTION  OPENED          LASTED        REASON                   NOTE
         12  main          4 min ago       4 min so far  closed by Zoom with 10…
          1  main          12 h 6 min ago  42 s          closed by Zoom with 10…  OPS-12
        ");
        insta::assert_snapshot!(shown(Some(60)), @"
        GAP  SUBSCRIPTION  OPENED          LASTED        REASON
         12  main          4 min ago       4 min so far  closed by …
          1  main          12 h 6 min ago  42 s          closed by …
        ");
        let narrow = shown(Some(40));
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        assert_eq!(narrow.matches("closed by Zoom with").count(), 2, "{narrow}");
    }
}
