//! `log-level`: how much a running bridge logs, and another level until its next start.

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;

use super::Failure;
use super::bridge::{Answer, Bridge, ensure_at_rest};
use super::options::{EXITS, SourceArgs, after};
use super::output::{print, print_json};
use crate::admin::document::LogLevel;
use crate::config::levels::Levels;

/// Is the command line of `log-level`.
#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook log-level info,zoomhook::dispatch=debug"], EXITS))]
pub(super) struct LogLevelArgs {
    /// The level from now on until the next start; what is in force without it
    #[arg(value_name = "LEVEL")]
    level: Option<Levels>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Asks the running bridge.
///
/// # Errors
/// When the configuration is wrong, or no bridge does what is asked.
pub(super) async fn run(args: &LogLevelArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let bridge = Bridge::at(&config.admin)?;
    let answer = match (&bridge, &args.level) {
        (Some(bridge), None) => bridge.get("/api/v1/log").await?,
        (Some(bridge), Some(level)) => bridge.put("/api/v1/log", &json!({ "level": level.to_string() })).await?,
        (None, _) => Answer::NobodyThere,
    };
    let Answer::Document(text) = answer else {
        ensure_at_rest(&config.spool.path, bridge.as_ref().map(Bridge::address))?;
        return Err(anyhow!("no bridge is running: the next one logs at log.level of its configuration").into());
    };
    let level: LogLevel = serde_json::from_str(&text).context("the bridge's answer is not understood")?;
    if args.json {
        print_json(&level)?;
    } else {
        print(&said(&level))?;
    }
    Ok(())
}

fn said(LogLevel { level, configured }: &LogLevel) -> String {
    if level == configured {
        format!("the bridge logs at {level}, as configured\n")
    } else {
        format!("the bridge logs at {level} until its next start, then at {configured} again\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_says_how_long_it_holds() {
        let level = |level: &str| LogLevel { level: level.to_owned(), configured: "info".to_owned() };
        assert_eq!(said(&level("info")), "the bridge logs at info, as configured\n");
        let changed = "the bridge logs at debug until its next start, then at info again\n";
        assert_eq!(said(&level("debug")), changed);
    }
}
