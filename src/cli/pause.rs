//! `pause` and `resume`: holding a destination's deliveries back, and letting them go on.

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::Failure;
use super::bridge::{Answer, Bridge, ensure_at_rest};
use super::operator;
use super::options::{EXITS, SourceArgs, after};
use super::output::{print, print_json};
use crate::admin::document::{self, Paused};
use crate::clock::Clock;
use crate::spool::record::Pause;
use crate::spool::{open_view, pause_at_rest};

/// Is the command line of `pause` and of `resume`.
#[derive(Args, Debug)]
#[command(after_help = after(&[], EXITS))]
pub(super) struct PauseArgs {
    /// The destination, by its name in the configuration
    #[arg(value_name = "DESTINATION")]
    name: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Asks the running bridge, or notes it in the spool for the next one.
///
/// # Errors
/// When the configuration is wrong, or neither a bridge nor the spool does what is asked.
pub(super) async fn run(args: &PauseArgs, pause: Pause) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let name = &args.name;
    let verb = match pause {
        Pause::On => "pause",
        Pause::Off => "resume",
    };
    let bridge = Bridge::at(&config.admin)?;
    let answer = match &bridge {
        Some(bridge) => bridge.post(&format!("/api/v1/destinations/{name}/{verb}"), &json!({})).await?,
        None => Answer::NobodyThere,
    };
    let paused: Paused = match answer {
        Answer::Document(text) => serde_json::from_str(&text).context("the bridge's answer is not understood")?,
        Answer::NobodyThere => {
            ensure_at_rest(&config.spool.path, bridge.as_ref().map(Bridge::address))?;
            at_rest(args, pause, &config.spool.path)?
        }
    };
    if args.json {
        print_json(&paused)?;
    } else {
        print(&said(&paused))?;
    }
    Ok(())
}

fn at_rest(args: &PauseArgs, pause: Pause, path: &std::path::Path) -> anyhow::Result<Paused> {
    document::check_destination(&mut *open_view(path)?, Some(&args.name))?;
    if !pause_at_rest(path, &args.name, pause, &operator::who(), Clock::system().now())? {
        bail!("the spool has no destination `{}`", args.name);
    }
    Ok(Paused { destination: args.name.clone(), paused: pause == Pause::On })
}

fn said(paused: &Paused) -> String {
    let Paused { destination, paused } = paused;
    if *paused {
        format!("{destination} is paused: events wait for it until zoomhook resume {destination}\n")
    } else {
        format!("{destination} is delivered to\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_says_what_happens_to_events() {
        let paused = |paused| Paused { destination: "crm".to_owned(), paused };
        assert_eq!(said(&paused(true)), "crm is paused: events wait for it until zoomhook resume crm\n");
        assert_eq!(said(&paused(false)), "crm is delivered to\n");
    }
}
