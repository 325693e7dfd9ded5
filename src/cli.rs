//! The command line: one file for each subcommand, which parses, calls one handle and prints.
//!
//! Those that look after a bridge ask the one that runs, by its admin port, and turn to the spool file
//! where none answers; `audit` always reads the file. With `--json` every command prints one document,
//! the one that the API answers to the same question.
//!
//! Exit codes: 0, 1 for a fault at run time, 2 for arguments that cannot be understood (clap's), 78
//! for a configuration that is wrong.

mod audit;
mod bridge;
pub mod check;
mod completions;
pub mod config;
mod dead;
pub mod demo;
mod documents;
mod events;
mod gaps;
mod log_level;
mod man;
mod memory;
mod moment;
mod nothing;
mod number;
mod operator;
pub mod options;
mod orphans;
mod output;
mod pause;
mod probe;
mod purge;
mod recover;
mod replay;
mod run;
mod screen;
mod secret_token;
pub mod send;
pub mod simulate;
mod spool;
mod status;
mod table;
mod top;
pub mod verify;
mod watch;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use self::memory::guard_memory;
use self::options::EXIT_CONFIG;
use self::output::{HEADING, plain, styled, wrapped};
use self::table::terminal_width;
use crate::app::Stop;
use crate::config::problem::Problems;
use crate::spool::SpoolError;
use crate::spool::record::Pause;
use crate::tls::provider;

/// Is the exit code for arguments that cannot be understood, as clap has it.
const EXIT_USAGE: u8 = 2;
/// Is the exit code of a command that a second Ctrl-C cut short, as shells have it.
const EXIT_CUT: u8 = 130;

/// Bridges the WebSocket of a Zoom event subscription to signed webhook requests: durable, at least once, no inbound port
#[derive(Parser)]
#[command(name = "zoomhook", version, long_version = long_version(), help_template = front_page())]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Names the version, and what encrypts and signs.
fn long_version() -> String {
    format!("{}\ncryptography: {}", env!("CARGO_PKG_VERSION"), provider::name())
}

#[derive(Subcommand)]
enum Command {
    /// Run the bridge
    Run(run::RunArgs),
    /// Check the configuration, and show every host that it talks to
    Check(check::CheckArgs),
    /// Print the effective configuration, secrets masked
    Config(config::ConfigArgs),
    /// Show it all at work on this machine alone, with a simulated Zoom
    Demo(demo::Args),
    /// Play Zoom, to practise on: tokens, socket, events, faults
    Simulate(simulate::Args),
    /// Fire a signed sample at a handler, and explain the answer
    Send(Box<send::SendArgs>),
    /// Tell whether a request's signature is right and, if not, why
    Verify(verify::VerifyArgs),
    /// Tell whether anything is being lost, and what to do
    Status(status::StatusArgs),
    /// Watch rates, backlogs and times, live and with the trouble on top
    Top(top::TopArgs),
    /// Look at what was received
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Look at what was given up, and try it again
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Look at what is kept for destinations that are gone
    #[command(subcommand)]
    Orphans(orphans::OrphansCommand),
    /// Hold a destination's deliveries back; its events wait
    Pause(pause::PauseArgs),
    /// Let a paused destination's deliveries go on
    Resume(pause::PauseArgs),
    /// List when no socket was live, so that events were missed
    Gaps(gaps::GapsArgs),
    /// Look at who changed what, and whether that is all and true
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Bring what is kept to another key, or recover it
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Show or change how much a running bridge logs
    LogLevel(log_level::LogLevelArgs),
    /// Print what a shell needs to complete command lines
    Completions(completions::CompletionsArgs),
    /// Print the manual, or write all of its pages to a folder
    Man(man::ManArgs),
}

/// The commands as one looks for them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("The bridge", &["run", "check", "config"]),
    (
        "Look after it",
        &["status", "top", "events", "dead", "orphans", "gaps", "audit", "spool", "pause", "resume", "log-level"],
    ),
    ("To try things", &["demo", "simulate", "send", "verify"]),
    ("For the shell", &["completions", "man"]),
];

/// The column in which the front page says what a command does.
const ABOUT: usize = 15;

/// Writes the page that `zoomhook` alone shows.
fn front_page() -> String {
    let commands = Command::augment_subcommands(clap::Command::new("zoomhook"));
    let mut page = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (heading, names) in GROUPS {
        page.push_str(&format!("\n{}\n", styled(HEADING, heading)));
        for name in names {
            let about = commands.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            page.push_str(&format!("  {name:<11}  {}\n", wrapped(&about, ABOUT, terminal_width())));
        }
    }
    page.push_str(&format!("\n{}\n{{options}}\n\n", styled(HEADING, "Options")));
    page + "zoomhook COMMAND --help tells more, with examples. New here? zoomhook demo"
}

/// Says why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong.
    Configuration(Problems),
    /// The arguments mean nothing here; clap finds those that mean nothing anywhere.
    Usage(String),
    /// Something went wrong at run time.
    Runtime(anyhow::Error),
}

/// Runs the command.
///
/// # Errors
/// When the configuration is wrong or the command fails; [`Failure::report`] makes an exit code of it.
pub async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let (out, err) = (&mut io::stdout(), &mut io::stderr());
    match cli.command {
        Command::Run(args) => run::run(args).await?,
        Command::Check(args) => return Ok(check::run(&args, out, err).await?),
        Command::Config(args) => return Ok(config::run(&args, out, err)?),
        Command::Demo(args) => {
            let Stop { gently, now } = interrupted()?;
            let done = async { demo::run(args, gently).await.map(|()| ExitCode::SUCCESS) };
            return cut_short(done, now).await;
        }
        Command::Simulate(args) => {
            let Stop { gently, now } = interrupted()?;
            return cut_short(simulate::run(args, gently), now).await;
        }
        Command::Send(args) => return send::run(&args).await,
        Command::Verify(args) => return verify::run(&args),
        Command::Status(args) => return status::run(&args).await,
        Command::Top(args) => top::run(&args).await?,
        Command::Events(command) => events::run(&command).await?,
        Command::Dead(command) => dead::run(&command).await?,
        Command::Orphans(command) => orphans::run(&command).await?,
        Command::Pause(args) => pause::run(&args, Pause::On).await?,
        Command::Resume(args) => pause::run(&args, Pause::Off).await?,
        Command::Gaps(args) => gaps::run(&args).await?,
        Command::Audit(command) => audit::run(&command).await?,
        Command::Spool(command) => spool::run(&command).await?,
        Command::LogLevel(args) => log_level::run(&args).await?,
        Command::Completions(args) => completions::run(&args)?,
        Command::Man(args) => man::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says when to end: gently at the first Ctrl-C or SIGTERM, now at the second.
fn interrupted() -> io::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = Stop::default();
    let ends = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            if ends.gently.is_cancelled() {
                ends.now.cancel();
            }
            ends.gently.cancel();
        }
    });
    Ok(stop)
}

/// Runs work to its end, or drops it where it is, so that what it holds is put away all the same.
async fn cut_short(
    work: impl Future<Output = anyhow::Result<ExitCode>>,
    now: CancellationToken,
) -> Result<ExitCode, Failure> {
    tokio::select! {
        biased;
        () = now.cancelled() => Ok(ExitCode::from(EXIT_CUT)),
        done = work => Ok(done?),
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Runtime(error.into())
    }
}

impl Failure {
    /// Makes the failure of arguments that mean nothing here.
    fn usage(message: String) -> Self {
        Self::Usage(message)
    }

    /// Says on `err` what went wrong, and returns the exit code.
    ///
    /// A reader of the output that has gone away (`zoomhook events list | head`) is no fault.
    pub fn report(&self, err: &mut dyn Write) -> ExitCode {
        let code = match self {
            Self::Configuration(_) => EXIT_CONFIG,
            Self::Usage(_) => EXIT_USAGE,
            Self::Runtime(error) if is_broken_pipe(error) => return ExitCode::SUCCESS,
            Self::Runtime(_) => 1,
        };
        // Where stderr is closed too, the exit code says it alone.
        let _ = self.to_string().lines().try_for_each(|line| writeln!(err, "zoomhook: {}", plain(line)));
        ExitCode::from(code)
    }
}

/// Says it in a line, or in one for each problem.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(problems) => problems.fmt(f),
            Self::Usage(message) => f.write_str(message),
            Self::Runtime(error) => f.write_str(&sentence(error)),
        }
    }
}

/// Joins an error and its sources; one that its successor has told already is not told again.
fn sentence(error: &anyhow::Error) -> String {
    let last = |text: &str| text.rsplit(": ").next().unwrap_or_default().to_owned();
    let join = |told: String, cause: String| {
        if told.ends_with(&cause) || last(&told) == last(&cause) { told } else { format!("{told}: {cause}") }
    };
    let told = error.chain().map(ToString::to_string).reduce(join).unwrap_or_default();
    match error.chain().find_map(|cause| cause.downcast_ref()) {
        Some(SpoolError::Missing(_)) => {
            format!("{told}; name it with --spool or --config, or start a bridge, which makes it")
        }
        Some(error) if error.is_read_only() => {
            format!(
                "{told}; whoever looks at a spool has to be able to write to it and to its directory: be the bridge's user"
            )
        }
        Some(_) | None => told,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    error.chain().filter_map(io).any(|kind| kind == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests;
