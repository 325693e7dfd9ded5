//! `config`: the effective configuration, and nothing else.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::options::{BridgeArgs, EXITS, after, refuse, warn};
use crate::config::{Shown, show};

/// Shows the effective configuration, its secrets masked
#[derive(Args)]
#[command(after_help = after(&["zoomhook config --json"], EXITS))]
pub struct ConfigArgs {
    /// Where the configuration comes from, and `--to`.
    #[command(flatten)]
    pub bridge: BridgeArgs,
    /// Print JSON in place of TOML
    #[arg(long)]
    pub json: bool,
}

/// Prints the effective configuration, its secrets masked.
///
/// # Errors
/// When it cannot be written.
pub fn run(args: &ConfigArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
    let loaded = match args.bridge.load() {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems, err),
    };
    warn(&loaded.warnings, err)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &Shown::of(&loaded.config))?;
        writeln!(out)?;
    } else {
        write!(out, "{}", show(&loaded.config))?;
    }
    Ok(ExitCode::SUCCESS)
}
