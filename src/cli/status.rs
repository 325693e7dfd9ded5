//! `status`: is anything being lost, and what do I do?

use anstyle::Style;
use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::SignedDuration;
use serde::Deserialize;

use super::Failure;
use super::bridge::{Answer, Bridge};
use super::options::SourceArgs;
use super::output::{BAD, FAIR, GOOD, HEADING, plain, print, print_bytes, print_json, styled};
use crate::admin::status::{Report, Rows, report_not_running};
use crate::clock::Clock;
use crate::config::Config;
use crate::spool::{is_in_use, open_view};
use crate::wording::span;

/// Is the command line of `status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Is what people want to read of a status document; an older or newer bridge may say more.
#[derive(Deserialize)]
struct Shown {
    level: String,
    summary: String,
    version: String,
    uptime_seconds: Option<i64>,
    spool: Option<Said>,
    subscriptions: Vec<Said>,
    destinations: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    level: String,
    sentence: String,
}

fn style(level: &str) -> Style {
    match level {
        "fine" => GOOD,
        "degraded" => FAIR,
        _ => BAD,
    }
}

/// Asks the running bridge, or the spool where none runs.
///
/// # Errors
/// When the configuration is wrong, or neither answers.
pub(super) async fn run(args: &StatusArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let bridge = Bridge::at(&config.admin)?;
    let answer = match &bridge {
        Some(bridge) => bridge.get("/api/v1/status").await?,
        None => Answer::NobodyThere,
    };
    match answer {
        Answer::Document(text) if args.json => print_bytes((text + "\n").as_bytes())?,
        Answer::Document(text) => print(&render(&text)?)?,
        Answer::NobodyThere if is_in_use(&config.spool.path) => {
            return Err(unreachable_bridge(&config, bridge.as_ref()).into());
        }
        Answer::NobodyThere => {
            let report = not_running(&config, bridge.as_ref())?;
            if args.json {
                print_json(&report)?;
            } else {
                print(&render(&serde_json::to_string(&report).context("the status cannot be written")?)?)?;
            }
        }
    }
    Ok(())
}

/// Says that a bridge runs and cannot be asked: its spool would tell half of the truth.
fn unreachable_bridge(config: &Config, bridge: Option<&Bridge>) -> anyhow::Error {
    let path = config.spool.path.display();
    let port = match bridge {
        Some(bridge) => format!("does not answer on {}; give --listen with its address", bridge.address()),
        None => "its admin port is off; switch it on (admin.listen)".to_owned(),
    };
    anyhow!("a bridge works on the spool {path}, but {port} to hear how it is")
}

fn not_running(config: &Config, bridge: Option<&Bridge>) -> anyhow::Result<Report> {
    let listen = bridge.map_or("the admin port, which is off".to_owned(), |bridge| bridge.address().to_string());
    let rows = open_view(&config.spool.path).and_then(|mut view| Rows::read(&mut *view));
    let rows = rows.with_context(|| format!("no bridge is running on {listen}, and its spool does not help"))?;
    Ok(report_not_running(&listen, rows, Clock::system().now()))
}

fn render(document: &str) -> anyhow::Result<String> {
    let shown: Shown = serde_json::from_str(document).context("the bridge's status is not understood")?;
    let mut out = styled(style(&shown.level), &plain(&shown.summary)) + "\n";
    for (heading, lines) in [("subscriptions", &shown.subscriptions), ("destinations", &shown.destinations)] {
        if !lines.is_empty() {
            out.push_str(&format!("\n{}\n", styled(HEADING, heading)));
        }
        for said in lines {
            out.push_str(&line(said));
        }
    }
    if let Some(spool) = &shown.spool {
        out.push_str(&format!("\n{}\n{}", styled(HEADING, "spool"), line(spool)));
    }
    if let Some(uptime) = shown.uptime_seconds {
        out.push_str(&format!(
            "\nzoomhook {}, up {}\n",
            plain(&shown.version),
            span(SignedDuration::from_secs(uptime))
        ));
    }
    Ok(out)
}

fn line(said: &Said) -> String {
    format!("  {} {}\n", styled(style(&said.level), "●"), plain(&said.sentence))
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    #[test]
    fn summary_comes_first_then_a_line_for_each_part() {
        let document = r#"{
            "ok": false, "level": "degraded", "summary": "Nothing is being lost, but crm: failing.", "running": true,
            "version": "0.1.0", "uptime_seconds": 240, "spool": {"level": "fine", "sentence": "spool: takes events"},
            "subscriptions": [{"name": "main", "level": "fine", "sentence": "main: live"}],
            "destinations": [{"name": "crm", "level": "degraded", "sentence": "crm: failing\u001b[2J"}],
            "of_a_newer_version": 1
        }"#;
        let text = render(document).expect("a status");
        insta::assert_snapshot!(strip_str(&text), @r"
        Nothing is being lost, but crm: failing.

        subscriptions
          ● main: live

        destinations
          ● crm: failing\u{1b}[2J

        spool
          ● spool: takes events

        zoomhook 0.1.0, up 4 min
        ");
        assert!(text.starts_with(&styled(FAIR, "Nothing is being lost, but crm: failing.")), "{text}");
    }

    #[test]
    fn document_that_is_no_status_is_an_error() {
        assert!(render("{}").is_err());
        assert!(render("<html>").is_err());
    }
}
