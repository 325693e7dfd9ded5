//! `spool`: what is done to the spool as a whole.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::Failure;
use super::bridge::{Answer, Bridge, ensure_at_rest};
use super::operator;
use super::options::{SourceArgs, after};
use super::output::{print, print_json};
use super::recover::{self, RecoverArgs};
use crate::admin::rekey::RekeyRequest;
use crate::clock::Clock;
use crate::config::Spool;
use crate::config::problem::Problems;
use crate::spool::rekey::{Rekeyed, key_of, rekey_at_rest};
use crate::wording::counted;

/// Is the command line of `spool`.
#[derive(Debug, Subcommand)]
pub(super) enum SpoolCommand {
    /// Encrypt what is kept with the key of the configuration, or make it plain where that has none
    Rekey(RekeyArgs),
    /// Make a new file of what can be read of a damaged one, which is kept
    Recover(RecoverArgs),
}

#[derive(Args, Debug)]
#[command(after_help = after(
    &["zoomhook spool rekey"],
    "0 all is brought to the key, 1 some cannot be read, or it failed, 2 usage, 78 configuration",
))]
pub(super) struct RekeyArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Does what is asked.
///
/// # Errors
/// When the configuration is wrong, or it cannot be done.
pub(super) async fn run(command: &SpoolCommand) -> Result<(), Failure> {
    match command {
        SpoolCommand::Rekey(args) => rekey(args).await,
        SpoolCommand::Recover(args) => recover::run(args),
    }
}

/// Has the running bridge do it, or does it in the spool of one that does not run.
///
/// # Errors
/// When the configuration is wrong, neither a bridge nor the spool does what is asked, or something cannot be read.
async fn rekey(args: &RekeyArgs) -> Result<(), Failure> {
    let bridge = Bridge::at(&args.source.load()?.config.admin)?;
    let asked = match &bridge {
        Some(bridge) => {
            // Whoever may not read the key has the bridge go by its own, and must know.
            let to = match args.source.unlock() {
                Ok(loaded) => Some(key_of(&loaded.config.spool)),
                Err(problems) => {
                    warn(&problems)?;
                    None
                }
            };
            ask(bridge, to).await?
        }
        None => None,
    };
    let done = match asked {
        Some(done) => done,
        // A bridge has the keys already.
        None => {
            let settings = args.source.unlock()?.config.spool;
            ensure_at_rest(&settings.path, bridge.as_ref().map(Bridge::address))?;
            at_rest(&settings)?
        }
    };
    if args.json {
        print_json(&done)?;
    } else {
        print(&format!("{} written anew\n", counted(done.rewritten, "event")))?;
    }
    match done.unreadable {
        0 => Ok(()),
        count => Err(Failure::Runtime(anyhow::anyhow!(
            "{} cannot be read and stayed as they are: put the key that is missing into spool.old_encryption_keys; \
             the log of a start names it",
            counted(count, "event")
        ))),
    }
}

/// Says that nobody has compared the key that the bridge has with the one that is configured.
fn warn(problems: &Problems) -> io::Result<()> {
    writeln!(
        io::stderr(),
        "warning: the bridge goes by the key that it was started with, which may not be the one that is configured, for \
         that cannot be read here; destroy no key before a start with the new one, and this command again\n{problems}"
    )
}

/// Asks until all is done: a request takes only so long.
async fn ask(bridge: &Bridge, to: Option<String>) -> anyhow::Result<Option<Rekeyed>> {
    let mut sum = Rekeyed::default();
    while !sum.complete {
        let request = RekeyRequest { after: sum.after, to: to.clone() };
        let Answer::Document(text) = bridge.post("/api/v1/spool/rekey", &request).await? else { return Ok(None) };
        let done: Rekeyed = serde_json::from_str(&text).context("the bridge's answer is not understood")?;
        sum =
            Rekeyed { rewritten: sum.rewritten + done.rewritten, unreadable: sum.unreadable + done.unreadable, ..done };
    }
    Ok(Some(sum))
}

fn at_rest(settings: &Spool) -> anyhow::Result<Rekeyed> {
    Ok(rekey_at_rest(settings, &operator::who(), Clock::system().now())?)
}
