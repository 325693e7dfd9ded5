//! `spool recover`: a new file of what can be read of a damaged one.

use anyhow::anyhow;
use clap::Args;

use super::Failure;
use super::bridge::ensure_at_rest;
use super::operator;
use super::options::{SourceArgs, after};
use super::output::{print, print_json};
use crate::clock::Clock;
use crate::spool::recovery::{Recovered, recover_at_rest};
use crate::wording::counted;

#[derive(Args, Debug)]
#[command(after_help = after(
    &["systemctl stop zoomhook", "zoomhook spool recover", "systemctl start zoomhook"],
    "0 a new file is in place, 1 it is not, and nothing was changed, 2 usage, 78 configuration",
))]
pub(super) struct RecoverArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Recovers the spool of a bridge that does not run.
///
/// # Errors
/// When the configuration is wrong, a bridge works on the spool, it cannot be read at all, or there is no room for the
/// new file.
pub(super) fn run(args: &RecoverArgs) -> Result<(), Failure> {
    let path = args.source.load()?.config.spool.path;
    ensure_at_rest(&path, None)
        .map_err(|_| anyhow!("a bridge works on the spool {}: stop it first", path.display()))?;
    let recovered = recover_at_rest(&path, &operator::who(), &Clock::system()).map_err(anyhow::Error::from)?;
    if args.json {
        print_json(&recovered)?;
    } else {
        print(&told(&recovered))?;
    }
    Ok(())
}

fn told(recovered: &Recovered) -> String {
    let mut text = format!("{recovered}\nthe damaged file is kept as {}\n", recovered.kept.display());
    if recovered.without_body > 0 {
        text.push_str(&format!(
            "{} cannot be delivered: where they wait they become dead letters, damaged in the spool\n",
            counted(recovered.without_body, "event")
        ));
    }
    if recovered.damaged.iter().any(|table| table.starts_with("deliveries")) {
        text.push_str(
            "of some events it is not known any more who had them: events replay --to NAME --all gives a destination all \
             that it wants once more, of what is kept\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_and_what_to_do_is_told() {
        let nothing = Recovered { events: 5, waiting: 1, kept: "/spool.damaged".into(), ..Recovered::default() };
        assert_eq!(
            told(&nothing),
            "5 events recovered, 0 made anew, 0 without a body, 1 delivery waits; nothing was damaged\n\
             the damaged file is kept as /spool.damaged\n"
        );
        let damaged = vec!["bodies in 1 place".into(), "deliveries in 2 places".into()];
        let text = told(&Recovered { without_body: 1, damaged, ..nothing });
        assert!(text.contains("; damaged: bodies in 1 place, deliveries in 2 places\n"), "{text}");
        assert!(text.contains("\n1 event cannot be delivered: ") && text.contains("events replay --to NAME"), "{text}");
    }
}
