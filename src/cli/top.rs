//! `top`: what moves, how fast, and where it stays, live and with the trouble on top.
//!
//! It asks the bridge for its status and its metrics, as anybody could, and sets two moments against each other. The
//! keys do nothing but end it: a slip of the finger must not hold deliveries back. `zoomhook pause` does, by name.

mod metrics;
mod picture;
mod sample;

use std::time::Duration;

use clap::Args;
use tokio::time::timeout;

use self::sample::{Sample, Window};
use super::Failure;
use super::bridge::{Answer, Bridge};
use super::options::{EXITS, SourceArgs, after};
use super::status::look;
use super::table::terminal_width;
use super::watch::{Form, rhythm, watch};
use crate::config::quantity::format_duration;

/// How long the bridge may take to count; without its counts there are no rates, and the rest is shown.
const PATIENCE: Duration = Duration::from_secs(2);

/// Is the command line of `top`.
#[derive(Args, Debug)]
#[command(after_help = after(&["zoomhook top", "zoomhook top --every 10s --json"], EXITS))]
pub(super) struct TopArgs {
    /// Look so often
    #[arg(long, value_name = "EVERY", default_value = "2s", value_parser = rhythm)]
    every: Duration,
    /// Print one JSON document a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Shows it until Ctrl-C or `q`.
///
/// # Errors
/// When the configuration is wrong, or stdout is closed.
pub(super) async fn run(args: &TopArgs) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let bridge = Bridge::at(&config.admin)?;
    let form = if args.json { Form::Stream } else { Form::of_stdout() };
    let footer = format!("every {}, ended by q or Ctrl-C", format_duration(args.every));
    let mut window = Window::default();
    watch(args.every, form, async || {
        let document = look(&config, bridge.as_ref()).await.document();
        let page = match &bridge {
            Some(bridge) => counts(bridge).await,
            None => None,
        };
        window.push(Sample::read(&document, page.as_deref())?);
        let Some(picture) = window.picture() else { return Ok(String::new()) };
        Ok(match (args.json, form) {
            (true, Form::Screen | Form::Stream) => serde_json::to_string(&picture)? + "\n",
            (false, Form::Screen) => picture.render(Some(&footer), terminal_width()),
            (false, Form::Stream) => picture.render(None, None) + "\n",
        })
    })
    .await?;
    Ok(())
}

async fn counts(bridge: &Bridge) -> Option<String> {
    match timeout(PATIENCE, bridge.get("/metrics")).await {
        Ok(Ok(Answer::Document(page))) => Some(page),
        Ok(Ok(Answer::NobodyThere) | Err(_)) | Err(_) => None,
    }
}
