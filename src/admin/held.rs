//! ◆ What keeps deliveries that wait from being made: without it "not attempted yet" and "next try due" would tell half of
//! the truth.
//!
//! Most of it stands in the spool, and so is told where no bridge runs, too; what only a lane knows is told by the bridge.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dispatch::status as lane;
use crate::schema::Moment;
use crate::spool::record::{DeliveryRow, DeliveryState, DestinationRow, Opened};
use crate::spool::settlement::HELD;
use crate::wording::{next, since, until};

/// Is what holds a delivery back, or all of a destination's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Held {
    /// The destination.
    pub(crate) destination: Box<str>,
    pub(crate) by: By,
    /// Since when, as far as that is known.
    #[schemars(with = "Option<Moment>")]
    pub(crate) since: Option<Timestamp>,
    /// When the next attempt may be made, if that is known.
    #[schemars(with = "Option<Moment>")]
    pub(crate) until: Option<Timestamp>,
    /// The same in words, and what to do.
    pub(crate) reason: String,
}

/// Names what holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    /// The destination is no longer configured.
    NotConfigured,
    /// An operator has paused it.
    Pause,
    /// No bridge is running.
    NoBridge,
    /// What waits cannot be read from the spool.
    Spool,
    /// Nearly everything failed, and single probes find out when the handler is back.
    Breaker,
    /// An earlier event about the same thing, in strict order.
    Order,
    /// The destination's rate.
    Rate,
}

/// Says where the bridge runs that delivers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Running<'a> {
    /// Here, and its lanes say this.
    Here(&'a [(Arc<str>, lane::Status)]),
    /// It is another process, which was not asked.
    Elsewhere,
    /// None does.
    Nowhere,
}

/// Says what holds each of these deliveries back that wait, if anything does.
pub(crate) fn deliveries(
    rows: &[DeliveryRow],
    destinations: &[DestinationRow],
    running: Running<'_>,
    now: Timestamp,
) -> Vec<Held> {
    let waiting = rows.iter().filter(|row| matches!(row.state, DeliveryState::Fresh | DeliveryState::Retry));
    let held = waiting.filter_map(|row| {
        let destination = destinations.iter().find(|destination| destination.name == row.destination)?;
        held(destination, Some(row), running, now)
    });
    held.collect()
}

/// Says what holds back all that waits for a destination, if anything does.
pub(crate) fn destination(row: &DestinationRow, running: Running<'_>, now: Timestamp) -> Option<Held> {
    held(row, None, running, now)
}

/// Finds the first of what holds back: what has to be mended before anything else matters.
fn held(row: &DestinationRow, delivery: Option<&DeliveryRow>, running: Running<'_>, now: Timestamp) -> Option<Held> {
    let lane = match running {
        Running::Here(lanes) => lanes.iter().find(|(name, _)| **name == *row.name).map(|(_, status)| status),
        Running::Elsewhere | Running::Nowhere => None,
    };
    let is_nowhere = matches!(running, Running::Nowhere);
    not_configured(row, now)
        .or_else(|| paused(row, now))
        .or_else(|| is_nowhere.then(|| no_bridge(row)))
        .or_else(|| unreadable(row, lane?, now))
        .or_else(|| breaker(row, lane, now))
        .or_else(|| order(row, delivery?, now))
        .or_else(|| rate(row, delivery, lane?, now))
}

fn new(row: &DestinationRow, by: By, since: Option<Timestamp>, until: Option<Timestamp>, reason: String) -> Held {
    Held { destination: row.name.clone(), by, since, until, reason }
}

fn not_configured(row: &DestinationRow, now: Timestamp) -> Option<Held> {
    let (name, at) = (&row.name, row.orphaned_at?);
    let reason = format!(
        "{name} is no longer configured since {}; configure it again to have it delivered, or zoomhook orphans purge {name} \
         deletes it",
        since(at, now)
    );
    Some(new(row, By::NotConfigured, Some(at), None, reason))
}

fn paused(row: &DestinationRow, now: Timestamp) -> Option<Held> {
    let (name, at) = (&row.name, row.paused_at?);
    let reason = format!("{name} is paused since {}; zoomhook resume {name} delivers it", since(at, now));
    Some(new(row, By::Pause, Some(at), None, reason))
}

fn no_bridge(row: &DestinationRow) -> Held {
    let reason = "no bridge is running; start it: its service, or `zoomhook run`".to_owned();
    new(row, By::NoBridge, None, None, reason)
}

fn unreadable(row: &DestinationRow, lane: &lane::Status, now: Timestamp) -> Option<Held> {
    let lane::Unreadable { since: at, reason } = lane.unreadable.as_ref()?;
    let words = format!(
        "what waits for {} cannot be read from the spool since {}: {reason}; repair its disk",
        row.name,
        since(*at, now)
    );
    Some(new(row, By::Spool, Some(*at), None, words))
}

fn breaker(row: &DestinationRow, lane: Option<&lane::Status>, now: Timestamp) -> Option<Held> {
    let Opened { since: at, probe_at, .. } = lane.map_or(row.breaker, |lane| lane.breaker)?;
    let failure = lane.and_then(|lane| lane.last_failure.as_ref());
    let cause = failure.map_or(String::new(), |failure| format!(": {}", failure.cause));
    let reason = format!(
        "the breaker of {} is open since {}{cause}; {}",
        row.name,
        since(at, now),
        next("probe", probe_at, now)
    );
    Some(new(row, By::Breaker, Some(at), Some(probe_at), reason))
}

fn order(row: &DestinationRow, delivery: &DeliveryRow, now: Timestamp) -> Option<Held> {
    if delivery.state != DeliveryState::Retry || delivery.outcome.as_deref() != Some(HELD) {
        return None;
    }
    let again = delivery.due.filter(|due| *due > now).map(|due| format!("; {}", next("look", due, now)));
    let reason = format!(
        "an earlier event about the same thing comes first, as the ordering of {} says{}",
        row.name,
        again.unwrap_or_default()
    );
    Some(new(row, By::Order, None, delivery.due, reason))
}

fn rate(row: &DestinationRow, delivery: Option<&DeliveryRow>, lane: &lane::Status, now: Timestamp) -> Option<Held> {
    let at = lane.rate_until.filter(|at| *at > now)?;
    if delivery.and_then(|delivery| delivery.due).is_some_and(|due| due > at) {
        return None;
    }
    let reason = format!("the rate of {} allows the next attempt {}", row.name, until(at, now));
    Some(new(row, By::Rate, None, Some(at), reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::document::tests::now;
    use crate::dispatch::status::{Failure, Unreadable};
    use crate::spool::record::DestinationId;

    const SINCE: &str = "10:02:11 UTC (4 min)";

    #[test]
    fn what_stands_in_the_spool_is_told_with_and_without_a_bridge() {
        let gone = DestinationRow { orphaned_at: Some(ago()), paused_at: Some(ago()), ..row() };
        let paused = DestinationRow { paused_at: Some(ago()), breaker: Some(open()), ..row() };
        for running in [Running::Here(&[]), Running::Elsewhere, Running::Nowhere] {
            let (by, reason) = told(&gone, &fresh(), running).expect("held");
            assert!(by == By::NotConfigured && reason.starts_with("crm is no longer configured since "), "{reason}");
            let (by, reason) = told(&paused, &fresh(), running).expect("held");
            let words = format!("crm is paused since {SINCE}; zoomhook resume crm delivers it");
            assert_eq!((by, reason), (By::Pause, words));
        }
        let (by, reason) = told(&row(), &fresh(), Running::Nowhere).expect("held");
        assert!(by == By::NoBridge && reason.starts_with("no bridge is running; start it"), "{reason}");
        assert_eq!(told(&row(), &fresh(), Running::Elsewhere), None);
        let (by, reason) =
            told(&DestinationRow { breaker: Some(open()), ..row() }, &fresh(), Running::Elsewhere).expect("held");
        let words = format!("the breaker of crm is open since {SINCE}; next probe in 12 s");
        assert_eq!((by, reason), (By::Breaker, words));
    }

    #[test]
    fn what_only_a_lane_knows_is_told_by_its_bridge() {
        let failure = Failure { at: ago(), cause: "status 503".into(), event: None };
        let failing = lane::Status { breaker: Some(open()), last_failure: Some(failure), ..lane::Status::default() };
        let unreadable = Unreadable { since: ago(), reason: "disk I/O error".into() };
        let broken = lane::Status { unreadable: Some(unreadable), ..failing.clone() };
        let limited = lane::Status { rate_until: Some(soon()), ..lane::Status::default() };
        for (status, by, words) in [
            (failing, By::Breaker, format!("the breaker of crm is open since {SINCE}: status 503; next probe in 12 s")),
            (
                broken,
                By::Spool,
                format!("what waits for crm cannot be read from the spool since {SINCE}: disk I/O error"),
            ),
            (limited.clone(), By::Rate, "the rate of crm allows the next attempt in 12 s".to_owned()),
        ] {
            let lanes = [(Arc::from("crm"), status)];
            let (held, reason) = told(&row(), &fresh(), Running::Here(&lanes)).expect("held");
            assert!(held == by && reason.starts_with(&words), "{reason}");
        }
        // What stands in the spool of the breaker is older than what the lane says.
        let closed = [(Arc::from("crm"), lane::Status::default())];
        let stale = DestinationRow { breaker: Some(open()), ..row() };
        assert_eq!(told(&stale, &fresh(), Running::Here(&closed)), None);
        let later =
            DeliveryRow { due: Some("2026-07-30T11:00:00Z".parse().expect("a time")), ..retrying("status 503") };
        assert_eq!(told(&row(), &later, Running::Here(&[(Arc::from("crm"), limited)])), None, "it is not due before");
    }

    #[test]
    fn event_that_follows_another_in_strict_order_says_so_and_no_other_does() {
        let lanes = [(Arc::from("crm"), lane::Status::default())];
        let (by, reason) = told(&row(), &retrying(HELD), Running::Here(&lanes)).expect("held");
        let words = "an earlier event about the same thing comes first, as the ordering of crm says; next look in 12 s";
        assert_eq!((by, &*reason), (By::Order, words));
        assert_eq!(told(&row(), &retrying("status 503"), Running::Here(&lanes)), None);
    }

    #[test]
    fn only_deliveries_that_wait_are_held() {
        let paused = DestinationRow { paused_at: Some(ago()), ..row() };
        let states = DeliveryState::ALL.map(|state| DeliveryRow { state, ..fresh() });
        let held = deliveries(&states, std::slice::from_ref(&paused), Running::Elsewhere, now());
        assert_eq!(held.len(), 2);
        assert_eq!(destination(&paused, Running::Elsewhere, now()).as_ref(), held.first());
    }

    fn told(row: &DestinationRow, delivery: &DeliveryRow, running: Running<'_>) -> Option<(By, String)> {
        let held = deliveries(std::slice::from_ref(delivery), std::slice::from_ref(row), running, now());
        held.into_iter().next().map(|held| (held.by, held.reason))
    }

    fn open() -> Opened {
        Opened { since: ago(), probe_at: soon(), probes: 3 }
    }

    fn ago() -> Timestamp {
        "2026-07-30T10:02:11Z".parse().expect("a time")
    }

    fn soon() -> Timestamp {
        "2026-07-30T10:06:23Z".parse().expect("a time")
    }

    fn fresh() -> DeliveryRow {
        DeliveryRow {
            destination: "crm".into(),
            state: DeliveryState::Fresh,
            attempts: 0,
            due: None,
            settled_at: None,
            outcome: None,
            replays: 0,
        }
    }

    fn retrying(outcome: &str) -> DeliveryRow {
        DeliveryRow { state: DeliveryState::Retry, due: Some(soon()), outcome: Some(outcome.into()), ..fresh() }
    }

    fn row() -> DestinationRow {
        DestinationRow {
            id: DestinationId(1),
            name: "crm".into(),
            pending: 1,
            dead: 0,
            delivered: 0,
            oldest_pending_at: Some(ago()),
            paused_at: None,
            breaker: None,
            orphaned_at: None,
        }
    }
}
