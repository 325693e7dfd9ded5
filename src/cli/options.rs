//! The options that say where the configuration comes from, shared by the subcommands.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::problem::{Problem, Problems};
use crate::config::source::{Flags, Sources};
use crate::config::{self, Loaded, LogFormat, Purpose};

/// Is the exit code for a configuration that is wrong: `EX_CONFIG` of sysexits.
pub const EXIT_CONFIG: u8 = 78;

/// Is what the exit codes of most commands are.
pub(super) const EXITS: &str = "0 done, 1 it failed, 2 usage, 78 configuration";

/// Makes what stands below the options of a command: how it is used, and its exit codes.
pub(super) fn after(examples: &[&str], exits: &str) -> String {
    let lines: String = examples.iter().map(|example| format!("  {example}\n")).collect();
    let examples = if lines.is_empty() { lines } else { format!("Examples:\n{lines}\n") };
    format!("{examples}Exit codes: {exits}")
}

/// Heads the options that say where the configuration comes from, on every page alike.
const HEADING: &str = "Configuration";

/// Is what every subcommand that reads the configuration takes.
#[derive(Args, Clone, Debug, Default)]
pub struct SourceArgs {
    /// Configuration file [env: ZOOMHOOK_CONFIG] [default: ./zoomhook.toml, if there is one]
    #[arg(long, value_name = "PATH", help_heading = HEADING)]
    pub config: Option<PathBuf>,
    /// Read more variables from a file of NAME='value' lines; those that are set already stay
    #[arg(long, value_name = "PATH", help_heading = HEADING)]
    pub env_file: Option<PathBuf>,
    /// Where events are stored, in place of spool.path [env: ZOOMHOOK_SPOOL]
    #[arg(long, value_name = "PATH", help_heading = HEADING)]
    pub spool: Option<String>,
    /// Address of the admin port, unix: and a path, or "off", in place of admin.listen [env: ZOOMHOOK_LISTEN]
    #[arg(long, value_name = "ADDRESS", help_heading = HEADING)]
    pub listen: Option<String>,
    /// Certificates (PEM) by which to trust the admin port, in place of admin.ca_file
    #[arg(long, value_name = "PATH", help_heading = HEADING)]
    pub ca_file: Option<String>,
}

impl SourceArgs {
    /// Loads what it takes to look after a spool or a running bridge.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load(&self) -> Result<Loaded, Problems> {
        load(self.flags(), Purpose::Operate)
    }

    /// Loads the same from flags and variables alone, as if there were no file: for one that is broken.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load_without_file(&self) -> Result<Loaded, Problems> {
        // An empty file takes the place of the one that would be looked for.
        load(Flags { config: Some("/dev/null".into()), ..self.flags() }, Purpose::Operate)
    }

    /// Loads the same with the keys of the spool.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn unlock(&self) -> Result<Loaded, Problems> {
        load(self.flags(), Purpose::Unlock)
    }

    fn flags(&self) -> Flags {
        let Self { config, env_file, spool, listen, ca_file } = self.clone();
        Flags { config, env_file, spool, listen, ca_file, ..Flags::default() }
    }
}

/// Is what the subcommands take that need a whole bridge.
#[derive(Args, Clone, Debug, Default)]
pub struct BridgeArgs {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Deliver to this URL, signed with ZOOM_WEBHOOK_SECRET_TOKEN; may be given again
    #[arg(long, value_name = "URL", help_heading = HEADING)]
    pub to: Vec<String>,
    /// How much is logged, in place of log.level [env: ZOOMHOOK_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL", help_heading = HEADING)]
    pub log_level: Option<String>,
    /// text or json, in place of log.format [env: ZOOMHOOK_LOG_FORMAT] [default: text on a terminal]
    #[arg(long, value_name = "FORMAT", help_heading = HEADING)]
    pub log_format: Option<String>,
}

impl BridgeArgs {
    /// Loads a configuration that a bridge can run with.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load(&self) -> Result<Loaded, Problems> {
        load(self.flags(), Purpose::Run)
    }

    fn flags(&self) -> Flags {
        let Self { source, to, log_level, log_format } = self.clone();
        Flags { to, log_level, log_format, ..source.flags() }
    }
}

fn load(flags: Flags, purpose: Purpose) -> Result<Loaded, Problems> {
    let format = if io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
    config::load(&Sources::gather(flags, format)?, purpose)
}

/// Prints everything that is wrong, a line each, and returns the exit code for it.
///
/// # Errors
/// When it cannot be written.
pub fn refuse(problems: &Problems, err: &mut dyn Write) -> io::Result<ExitCode> {
    writeln!(err, "{problems}")?;
    warn(&problems.warnings, err)?;
    Ok(ExitCode::from(EXIT_CONFIG))
}

/// Prints warnings, a line each.
///
/// # Errors
/// When they cannot be written.
pub fn warn(warnings: &[Problem], err: &mut dyn Write) -> io::Result<()> {
    warnings.iter().try_for_each(|warning| writeln!(err, "warning: {warning}"))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bridge: BridgeArgs,
    }

    #[test]
    fn every_option_reaches_the_configuration() {
        Line::command().debug_assert();
        let line = "zoomhook --config c --env-file e --to http://a/ --to http://b/ --spool s --listen l --ca-file a \
                    --log-level v --log-format f";
        let flags = Line::parse_from(line.split_whitespace()).bridge.flags();
        assert_eq!((flags.config, flags.env_file), (Some("c".into()), Some("e".into())));
        assert_eq!(flags.to, ["http://a/", "http://b/"]);
        let texts = [flags.spool, flags.listen, flags.ca_file, flags.log_level, flags.log_format];
        assert_eq!(texts.map(Option::unwrap_or_default), ["s", "l", "a", "v", "f"]);
    }
}
