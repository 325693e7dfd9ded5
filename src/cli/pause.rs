//! `pause` and `resume`: holding a destination's deliveries back, and letting them go on.

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::Failure;
use super::bridge::{Answer, Bridge, ensure_at_rest};
use super::documents::at_rest_view;
use super::operator;
use super::options::{EXITS, SourceArgs, after};
use super::output::{print, print_json};
use crate::admin::document::{self, Paused};
use crate::admin::held::Running;
use crate::clock::Clock;
use crate::spool::pause_at_rest;
use crate::spool::record::Pause;
use crate::wording::counted;

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
    document::check_destination(&mut *at_rest_view(path)?, Some(&args.name))?;
    if !pause_at_rest(path, &args.name, pause, &operator::who(), Clock::system().now())? {
        bail!("the spool has no destination `{}`", args.name);
    }
    let destinations = at_rest_view(path)?.destinations()?;
    Ok(Paused::of(args.name.clone(), pause, &destinations, Running::Nowhere, Clock::system().now()))
}

fn said(paused: &Paused) -> String {
    let Paused { destination, paused, waiting, held } = paused;
    let (waiting, go) = match waiting {
        0 => ("nothing".to_owned(), ""),
        count => (counted(*count, "event"), ": delivered from now on"),
    };
    match held {
        _ if *paused => format!("{destination} is paused: events wait for it until zoomhook resume {destination}\n"),
        None => format!("{destination} is resumed, {waiting} waiting{go}\n"),
        Some(held) => {
            format!("{destination} is resumed, but nothing goes out yet, {waiting} waiting: {}\n", held.reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::held::{By, Held};

    #[test]
    fn answer_says_what_happens_to_events() {
        let paused = |paused| Paused { destination: "crm".to_owned(), paused, waiting: 26, held: None };
        assert_eq!(said(&paused(true)), "crm is paused: events wait for it until zoomhook resume crm\n");
        assert_eq!(said(&paused(false)), "crm is resumed, 26 events waiting: delivered from now on\n");
        assert_eq!(said(&Paused { waiting: 0, ..paused(false) }), "crm is resumed, nothing waiting\n");
        let (by, reason) = (By::NoBridge, "no bridge is running".to_owned());
        let held = Held { destination: "crm".into(), by, since: None, until: None, reason };
        assert_eq!(
            said(&Paused { held: Some(held), ..paused(false) }),
            "crm is resumed, but nothing goes out yet, 26 events waiting: no bridge is running\n"
        );
    }
}
