//! Deleting for good, as several commands do it: counted first, done with `--yes`.

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::bridge::{Answer, Bridge, ensure_at_rest};
use super::documents::{Documents, at_rest_view};
use super::operator;
use super::options::SourceArgs;
use super::output::{print, print_json, progress};
use super::replay::named;
use super::{Failure, nothing};
use crate::admin::document::purge::{Purged, check, count};
use crate::clock::Clock;
use crate::spool::erase_at_rest;
use crate::spool::erasure::{Erased, Erasure};
use crate::spool::record::DeadQuery;

const GONE: &str = "the bridge stopped on the way: give the command again, it does the rest";

/// Is what the commands that delete have in common.
#[derive(Args, Debug)]
pub(super) struct PurgeArgs {
    /// Delete for good; without this, only count
    #[arg(long)]
    yes: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Asks the running bridge at `path`, or deletes from its spool where none runs; `request` and `what` mean the same.
///
/// # Errors
/// When the configuration is wrong, or neither a bridge nor the spool does what is asked.
pub(super) async fn run<T: Serialize>(args: &PurgeArgs, path: &str, request: &T, what: Erasure) -> Result<(), Failure> {
    let config = args.source.load()?.config;
    let mut request = serde_json::to_value(request).map_err(anyhow::Error::from)?;
    request["dry_run"] = Value::Bool(true);
    let (documents, chosen) = (Documents::of(&config)?, what.clone());
    let bridge = Bridge::at(&config.admin)?;
    let counted = match &bridge {
        Some(bridge) => ask(bridge, path, &request, |_| ()).await?,
        None => None,
    };
    let (counted, bridge) = match counted {
        Some(counted) => (counted, bridge),
        None => {
            if args.yes {
                ensure_at_rest(&config.spool.path, bridge.as_ref().map(Bridge::address))?;
            }
            (count_at_rest(&config.spool.path, &what)?, None)
        }
    };
    let unfit = unfit(bridge.as_ref(), path, &request, &config.spool.path, &what).await?;
    // An orphan that had nothing is forgotten all the same; else the audit is to tell of no purge of nothing.
    let is_idle = counted.erased.total() == 0 && !matches!(what, Erasure::Orphan { .. });
    let purged = if args.yes && is_idle {
        Purged { dry_run: false, ..counted }
    } else if args.yes {
        request["dry_run"] = Value::Bool(false);
        let bar = progress("purging", counted.erased.total());
        let tell = |erased: Erased| bar.set_position(erased.total());
        let purged = match &bridge {
            Some(bridge) => ask(bridge, path, &request, tell).await,
            None => at_rest(&config.spool.path, what, tell).map(Some),
        };
        bar.finish_and_clear();
        purged?.context(GONE)?
    } else {
        counted
    };
    if args.json {
        print_json(&purged)?;
    } else {
        print(&said(purged, &none(&documents, &chosen, purged).await))?;
    }
    named("dead letter", &unfit)
}

/// Finds those of the dead letters that are named by their events of which there is nothing to purge.
async fn unfit(
    bridge: Option<&Bridge>,
    path: &str,
    request: &Value,
    spool: &Path,
    what: &Erasure,
) -> anyhow::Result<Vec<u64>> {
    let Erasure::Dead(query) = what else { return Ok(Vec::new()) };
    let mut unfit = Vec::new();
    for &event in &query.events {
        let counted = match bridge {
            Some(bridge) => {
                let mut alone = request.clone();
                alone["events"] = Value::from(vec![event.0]);
                ask(bridge, path, &alone, |_| ()).await?.context(GONE)?
            }
            None => count_at_rest(spool, &Erasure::Dead(DeadQuery { events: vec![event], ..query.clone() }))?,
        };
        if counted.erased.total() == 0 {
            unfit.push(event.0);
        }
    }
    Ok(unfit)
}

/// Asks until all is done: a request takes only so long.
async fn ask(bridge: &Bridge, path: &str, request: &Value, tell: impl Fn(Erased)) -> anyhow::Result<Option<Purged>> {
    let mut sum = Erased::default();
    loop {
        let Answer::Document(text) = bridge.post(path, request).await? else { return Ok(None) };
        let purged: Purged = serde_json::from_str(&text).context("the bridge's answer is not understood")?;
        sum.dead += purged.erased.dead;
        sum.pending += purged.erased.pending;
        sum.parked += purged.erased.parked;
        sum.delivered += purged.erased.delivered;
        tell(sum);
        if purged.complete {
            return Ok(Some(Purged { erased: sum, ..purged }));
        }
    }
}

fn count_at_rest(path: &Path, what: &Erasure) -> anyhow::Result<Purged> {
    let erased = count(&mut *at_rest_view(path)?, what).context("cannot count what would be purged")?;
    Ok(Purged { erased, complete: true, dry_run: true })
}

fn at_rest(path: &Path, what: Erasure, tell: impl FnMut(Erased)) -> anyhow::Result<Purged> {
    check(&mut *at_rest_view(path)?, &what)?;
    let erased = erase_at_rest(path, what, &operator::who(), Clock::system().now(), tell)?;
    Ok(Purged { erased, complete: true, dry_run: false })
}

/// Says which dead letters there are, where none fits a cause or a type.
async fn none(documents: &Documents, what: &Erasure, purged: Purged) -> String {
    match what {
        Erasure::Dead(DeadQuery { destination, cause, kind, .. })
            if purged.erased.total() == 0 && (cause.is_some() || kind.is_some()) =>
        {
            nothing::of_dead(documents, destination.as_deref(), kind.as_ref()).await
        }
        Erasure::Dead(_) | Erasure::Parked { .. } | Erasure::Orphan { .. } | Erasure::Oldest => String::new(),
    }
}

fn said(purged: Purged, none: &str) -> String {
    let Purged { erased, dry_run, .. } = purged;
    match (erased.total(), dry_run) {
        (0, _) => format!("nothing to purge{none}\n"),
        (_, true) => format!("{erased} would be purged; --yes deletes for good\n"),
        (_, false) => format!("{erased} purged\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_says_what_is_gone_and_how_to_make_it_so() {
        let said = |dead, dry_run| {
            said(Purged { erased: Erased { dead, ..Erased::default() }, complete: true, dry_run }, ": crm has none")
        };
        assert_eq!(said(0, true), "nothing to purge: crm has none\n");
        assert_eq!(said(2, true), "2 dead letters would be purged; --yes deletes for good\n");
        assert_eq!(said(1, false), "1 dead letter purged\n");
    }
}
