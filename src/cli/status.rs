//! `status`: is anything being lost, and what do I do?

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::Style;
use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::Failure;
use super::bridge::{Answer, Bridge, ensure_at_rest};
use super::documents::{at_rest_view, neither};
use super::options::{EXIT_CONFIG, SourceArgs, after};
use super::output::{BAD, FAIR, GOOD, HEADING, plain, print, print_document, styled, wrapped};
use super::table::terminal_width;
use super::watch::{Form, rhythm, watch};
use crate::admin::status::{Report, Rows, report_not_running};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::problem::Problems;
use crate::config::quantity::format_duration;
use crate::tls::provider;
use crate::wording::span;

/// How long a bridge may take to say how it is; it waits up to five seconds for a spool that is held by others.
const PATIENCE: Duration = Duration::from_secs(8);
/// Stands before what is said of a part, and indents what follows.
const MARGIN: usize = 4;

/// Is the command line of `status`.
#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook status", "zoomhook status --watch 5s", "zoomhook status --json | jq .summary"],
    "0 all is well, 1 something is wrong or nothing can be known, 2 usage, 78 configuration"))]
pub(super) struct StatusArgs {
    /// Show it again every second, or as often as said, until Ctrl-C or q
    #[arg(long, value_name = "EVERY", num_args = 0..=1, default_missing_value = "1s", value_parser = rhythm)]
    watch: Option<Duration>,
    /// Print one JSON document; with --watch, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Is what could be learned of a bridge.
pub(super) enum Look {
    /// The status document: the bridge's own, or what its spool tells while it does not run.
    Known(String),
    /// Why there is none.
    Unknown(anyhow::Error),
}

/// Is what people want to read of a status document; an older or newer bridge may say more.
#[derive(Deserialize)]
struct Shown {
    ok: bool,
    level: String,
    summary: String,
    version: String,
    uptime_seconds: Option<i64>,
    spool: Option<Said>,
    configuration: Option<Said>,
    certificate: Option<Said>,
    subscriptions: Vec<Said>,
    destinations: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    level: String,
    sentence: String,
    #[serde(default)]
    brief: String,
    #[serde(default)]
    in_summary: bool,
}

/// Gives a level its style, and a mark for those who see no colours.
pub(super) fn mark(level: &str) -> (Style, &'static str) {
    match level {
        "fine" => (GOOD, "●"),
        "degraded" => (FAIR, "▲"),
        _ => (BAD, "✖"),
    }
}

/// Asks the running bridge, or the spool where none runs; the exit code says whether all is well.
///
/// # Errors
/// When the configuration is wrong and nothing can be told without it, or neither answers.
pub(super) async fn run(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let (config, broken) = match args.source.load() {
        Ok(loaded) => (loaded.config, None),
        // Whether anything is being lost can be told all the same, with what flags and variables say.
        Err(problems) => match args.source.load_without_file() {
            Ok(loaded) => (loaded.config, Some(problems)),
            Err(_) => return Err(problems.into()),
        },
    };
    let bridge = Bridge::at(&config.admin)?;
    if let Some(problems) = &broken {
        tell_broken(problems, &config);
    }
    if let Some(every) = args.watch {
        let form = if args.json { Form::Stream } else { Form::of_stdout() };
        let footer = format!("every {}, ended by q or Ctrl-C", format_duration(every));
        watch(every, form, async || {
            let document = look(&config, bridge.as_ref()).await.document();
            match (args.json, form) {
                (true, Form::Screen | Form::Stream) => Ok(document + "\n"),
                (false, Form::Screen) => Ok(Shown::read(&document)?.render(Some(&footer), terminal_width())),
                (false, Form::Stream) => Ok(Shown::read(&document)?.render(None, None) + "\n"),
            }
        })
        .await?;
        return Ok(ExitCode::SUCCESS);
    }
    let look = look(&config, bridge.as_ref()).await;
    let document = look.document();
    let shown = Shown::read(&document)?;
    match look {
        Look::Known(_) if args.json => print_document(&document)?,
        Look::Known(_) => print(&shown.render(None, terminal_width()))?,
        Look::Unknown(error) => {
            if args.json {
                print_document(&document)?;
            }
            let failure = Failure::from(error.context("it cannot be told whether events are being lost"));
            if broken.is_some() {
                // What is wrong with the configuration has been said.
                failure.report(&mut anstream::stderr());
                return Ok(ExitCode::from(EXIT_CONFIG));
            }
            return Err(failure);
        }
    }
    Ok(if shown.ok && broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says on stderr, before anything else, that the configuration is broken, and who is asked in spite of it.
fn tell_broken(problems: &Problems, config: &Config) {
    let listen = config.admin.listen.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string);
    let text = format!(
        "{problems}\na bridge that is started with it ends with 78. Asked without it: --listen {listen} --spool {}",
        config.spool.path.display()
    );
    // Where stderr is closed, the exit code says it alone.
    let _ = text.lines().try_for_each(|line| writeln!(anstream::stderr(), "zoomhook: {}", plain(line)));
}

/// Asks the running bridge, or the spool where none runs.
pub(super) async fn look(config: &Config, bridge: Option<&Bridge>) -> Look {
    let answer = match bridge {
        None => Ok(Answer::NobodyThere),
        Some(bridge) => timeout(PATIENCE, bridge.get("/api/v1/status")).await.unwrap_or_else(|_| {
            let (address, patience) = (bridge.address(), PATIENCE.as_secs());
            Err(anyhow!("the bridge on {address} does not answer within {patience} s; look at its log, restart it"))
        }),
    };
    let at_rest = || -> anyhow::Result<String> {
        // Its spool would tell half of the truth.
        ensure_at_rest(&config.spool.path, bridge.map(Bridge::address))?;
        serde_json::to_string(&not_running(config, bridge)?).context("the status cannot be written")
    };
    let document = match answer {
        Ok(Answer::Document(text)) => Shown::read(&text).map(|_| text),
        Ok(Answer::NobodyThere) => at_rest(),
        Err(error) => Err(error),
    };
    document.map_or_else(Look::Unknown, Look::Known)
}

impl Look {
    /// Returns the document; one of its own says that nothing is known.
    pub(super) fn document(&self) -> String {
        match self {
            Self::Known(document) => document.clone(),
            Self::Unknown(error) => unknown(error, Clock::system().now()),
        }
    }
}

fn unknown(error: &anyhow::Error, now: Timestamp) -> String {
    json!({
        "ok": false,
        "level": "unknown",
        "summary": format!("It cannot be told whether events are being lost: {}.", super::sentence(error)),
        "running": null,
        "version": env!("CARGO_PKG_VERSION"),
        "cryptography": provider::name(),
        "fips": provider::is_fips(),
        "at": now,
        "started_at": null,
        "uptime_seconds": null,
        "spool": null,
        "configuration": null,
        "certificate": null,
        "subscriptions": [],
        "destinations": [],
        "open_gaps": [],
    })
    .to_string()
}

fn not_running(config: &Config, bridge: Option<&Bridge>) -> anyhow::Result<Report> {
    let listen = bridge.map_or("the admin port, which is off".to_owned(), |bridge| bridge.address().to_string());
    let rows = at_rest_view(&config.spool.path).and_then(|mut view| Ok(Rows::read(&mut *view)?));
    let rows = rows.with_context(|| neither(bridge))?;
    Ok(report_not_running(&listen, rows, Clock::system().now()))
}

impl Shown {
    fn read(document: &str) -> anyhow::Result<Self> {
        serde_json::from_str(document).context("the bridge's status is not understood: is it of another version?")
    }

    fn render(&self, footer: Option<&str>, width: Option<usize>) -> String {
        let mut out = summary(&self.level, &self.summary, width);
        for (heading, lines) in [("subscriptions", &self.subscriptions), ("destinations", &self.destinations)] {
            if !lines.is_empty() {
                out.push_str(&format!("\n{}\n", styled(HEADING, heading)));
            }
            for said in lines {
                out.push_str(&said.line(width));
            }
        }
        if let Some(spool) = &self.spool {
            out.push_str(&format!("\n{}\n{}", styled(HEADING, "spool"), spool.line(width)));
        }
        if let Some(configuration) = &self.configuration {
            out.push_str(&format!("\n{}\n{}", styled(HEADING, "configuration"), configuration.line(width)));
        }
        if let Some(certificate) = &self.certificate {
            out.push_str(&format!("\n{}\n{}", styled(HEADING, "admin port"), certificate.line(width)));
        }
        let bridge = self
            .uptime_seconds
            .map(|uptime| format!("zoomhook {}, up {}", plain(&self.version), span(SignedDuration::from_secs(uptime))));
        let foot: Vec<&str> = bridge.as_deref().into_iter().chain(footer).collect();
        if !foot.is_empty() {
            out.push_str(&format!("\n{}\n", wrapped(&foot.join(", "), 0, width)));
        }
        out
    }
}

/// Writes the answer to the question, which comes first wherever it is shown.
pub(super) fn summary(level: &str, text: &str, width: Option<usize>) -> String {
    styled(mark(level).0, &wrapped(&plain(text), 0, width)) + "\n"
}

impl Said {
    fn line(&self, width: Option<usize>) -> String {
        let (style, mark) = mark(&self.level);
        let text = if self.in_summary { format!("{}, as said above", self.brief) } else { self.sentence.clone() };
        format!("  {} {}\n", styled(style, mark), wrapped(&plain(&text), MARGIN, width))
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    const DOCUMENT: &str = r#"{
        "ok": false, "level": "degraded", "summary": "Nothing is being lost, but crm: failing.", "running": true,
        "version": "0.1.0", "uptime_seconds": 240, "spool": {"level": "fine", "sentence": "spool: takes events"},
        "subscriptions": [{"name": "main", "level": "fine", "sentence": "main: live"}],
        "destinations": [{"name": "crm", "level": "degraded", "sentence": "crm: failing\u001b[2J"}],
        "of_a_newer_version": 1
    }"#;

    #[test]
    fn summary_comes_first_then_a_line_for_each_part() {
        let text = shown(DOCUMENT).render(None, None);
        insta::assert_snapshot!(strip_str(&text), @r"
        Nothing is being lost, but crm: failing.

        subscriptions
          ● main: live

        destinations
          ▲ crm: failing\u{1b}[2J

        spool
          ● spool: takes events

        zoomhook 0.1.0, up 4 min
        ");
        assert!(text.starts_with(&styled(FAIR, "Nothing is being lost, but crm: failing.")), "{text}");
    }

    #[test]
    fn narrow_terminal_gets_whole_sentences_in_more_lines() {
        let text = shown(DOCUMENT).render(Some("every 1s, ended by q or Ctrl-C"), Some(24));
        insta::assert_snapshot!(strip_str(&text), @r"
        Nothing is being lost,
        but crm: failing.

        subscriptions
          ● main: live

        destinations
          ▲ crm:
            failing\u{1b}[2J

        spool
          ● spool: takes events

        zoomhook 0.1.0, up 4
        min, every 1s, ended by
        q or Ctrl-C
        ");
    }

    #[test]
    fn status_that_is_not_known_is_a_document_like_any_other_and_never_well() {
        let document = Look::Unknown(anyhow!("no route").context("no answer")).document();
        let rows = report_not_running("127.0.0.1:8686", Rows::default(), Timestamp::UNIX_EPOCH);
        let members =
            |document: serde_json::Value| document.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
        let known = members(serde_json::to_value(rows).expect("a document"));
        assert_eq!(members(serde_json::from_str(&document).expect("a document")), known, "the same members");
        let shown = shown(&document);
        assert!(!shown.ok && shown.level == "unknown" && mark(&shown.level).0 == BAD);
        assert_eq!(shown.summary, "It cannot be told whether events are being lost: no answer: no route.");
    }

    #[test]
    fn document_that_is_no_status_is_an_error() {
        assert!(Shown::read("{}").is_err());
        assert!(Shown::read("<html>").is_err());
    }

    fn shown(document: &str) -> Shown {
        Shown::read(document).expect("a status")
    }
}
