//! The status document: one sentence over all, one for each part, and the facts beside them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::Handles;
use super::board::Refused;
use super::document::PAGE_MOST;
use super::sentence::{self, Level, Sentence};
use crate::dispatch::status as lane;
use crate::schema::Moment;
use crate::spool::record::{DestinationRow, GapRow, SubscriptionRow};
use crate::spool::{Health, SpoolError, View};
use crate::telemetry::metrics::ByWhat;
use crate::tls::provider;
use crate::zoom::status as socket;

/// Holds what the spool knows that the status needs.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) destinations: Vec<DestinationRow>,
    pub(crate) subscriptions: Vec<SubscriptionRow>,
    pub(crate) gaps: Vec<GapRow>,
    /// Frames that are kept but not understood.
    pub(crate) parked: u64,
}

impl Rows {
    /// Reads them.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub(crate) fn read(view: &mut dyn View) -> Result<Self, SpoolError> {
        Ok(Self {
            destinations: view.destinations()?,
            subscriptions: view.subscriptions()?,
            gaps: view.gaps(PAGE_MOST)?,
            parked: view.parked()?,
        })
    }
}

/// Holds what a running bridge knows of itself.
#[derive(Debug)]
pub(super) struct Facts {
    started_at: Timestamp,
    health: Health,
    /// Reports of attempts that were not stored since the start, for damage to the file.
    unwritten: u64,
    /// False while the bridge starts: neither subscriptions nor destinations are known yet.
    started: bool,
    subscriptions: Vec<(Arc<str>, socket::Status)>,
    destinations: Vec<(Arc<str>, lane::Status)>,
    /// When the certificate of the port expires, and what is wrong with its files, if anything is.
    certificate: Option<(Timestamp, Option<String>)>,
    /// The reload that was refused last, unless one was taken since.
    refused: Option<Refused>,
    /// What the spool knows, or why it could not be read.
    rows: Result<Rows, String>,
}

/// Is the status document.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// True when there is nothing to do.
    ok: bool,
    level: Level,
    /// Answers: is anything being lost, and what do I do?
    summary: String,
    /// False when this was read from the spool of a bridge that does not run.
    running: bool,
    version: &'static str,
    /// What encrypts and signs, and whether it is a validated module in FIPS mode.
    cryptography: &'static str,
    fips: bool,
    #[schemars(with = "Moment")]
    at: Timestamp,
    #[schemars(with = "Option<Moment>")]
    started_at: Option<Timestamp>,
    uptime_seconds: Option<i64>,
    spool: Option<SpoolReport>,
    /// What is wrong with the configuration that was refused at the last reload, if it was.
    configuration: Option<ConfigurationReport>,
    /// The certificate of the admin port, if it speaks TLS.
    certificate: Option<CertificateReport>,
    subscriptions: Vec<SubscriptionReport>,
    pub(super) destinations: Vec<DestinationReport>,
    open_gaps: Vec<GapRow>,
}

/// Is how every subscription is doing.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Subscriptions {
    subscriptions: Vec<SubscriptionReport>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct SpoolReport {
    #[serde(flatten)]
    said: Sentence,
    /// Whether it takes events; not known where no bridge runs.
    writable: Option<bool>,
    #[schemars(with = "Option<Moment>")]
    failing_since: Option<Timestamp>,
    reason: Option<Box<str>>,
    /// Frames that are kept but not understood.
    parked: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ConfigurationReport {
    #[serde(flatten)]
    said: Sentence,
    #[schemars(with = "Moment")]
    refused_at: Timestamp,
    problems: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CertificateReport {
    #[serde(flatten)]
    said: Sentence,
    #[schemars(with = "Moment")]
    expires_at: Timestamp,
    /// Why its files as they are now cannot be used, if so.
    problem: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct SubscriptionReport {
    name: Box<str>,
    #[serde(flatten)]
    said: Sentence,
    /// What the socket says of itself, while the bridge runs.
    status: Option<socket::Status>,
    #[schemars(with = "Option<Moment>")]
    alive_at: Option<Timestamp>,
    #[schemars(with = "Option<Moment>")]
    last_event_at: Option<Timestamp>,
}

/// Is how a destination is doing.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DestinationReport {
    pub(super) name: Box<str>,
    #[serde(flatten)]
    said: Sentence,
    /// What the lane says of itself, while the bridge runs and the destination is configured.
    status: Option<lane::Status>,
    /// What the spool knows of it.
    pub(super) backlog: Option<DestinationRow>,
}

/// Answers the status document, whatever state the spool is in.
pub(super) async fn show(State(handles): State<Arc<Handles>>) -> Json<Report> {
    Json(current(&handles).await)
}

/// Answers the part of it that is about subscriptions.
pub(super) async fn subscriptions(State(handles): State<Arc<Handles>>) -> Json<Subscriptions> {
    Json(Subscriptions { subscriptions: current(&handles).await.subscriptions })
}

/// Makes the status document of now.
pub(super) async fn current(handles: &Handles) -> Report {
    let rows = handles.spool.read(Rows::read).await.map_err(|error| error.to_string());
    let board = handles.board.load();
    let facts = Facts {
        started_at: handles.started_at,
        health: handles.spool.health(),
        unwritten: handles.metrics.spool_unwritten.get_or_create_owned(&ByWhat { what: "report" }).get(),
        started: board.started,
        subscriptions: board.subscriptions(),
        destinations: board.destinations(),
        certificate: handles.certificate.as_ref().map(|certificate| certificate.state()),
        refused: board.refused.clone(),
        rows,
    };
    report(facts, handles.clock.now())
}

/// Makes the document of a running bridge.
fn report(facts: Facts, now: Timestamp) -> Report {
    let (rows, unreadable) = match facts.rows {
        Ok(rows) => (Some(rows), None),
        Err(reason) => (None, Some(reason)),
    };
    let parked = rows.as_ref().map(|rows| rows.parked);
    let mut spool = spool_report(&facts.health, unreadable.as_deref(), parked, facts.unwritten, now);
    let gaps = rows.as_ref().map_or(&[][..], |rows| &rows.gaps);
    let known = rows.as_ref().map_or(&[][..], |rows| &rows.subscriptions);
    let mut subscriptions: Vec<SubscriptionReport> = facts
        .subscriptions
        .into_iter()
        .map(|(name, status)| {
            let gap = gaps.iter().find(|gap| gap.closed_at.is_none() && *gap.subscription == *name);
            let row = known.iter().find(|row| *row.name == *name);
            SubscriptionReport {
                name: (&*name).into(),
                said: sentence::subscription(&name, &status, gap, now),
                alive_at: row.and_then(|row| row.alive_at),
                last_event_at: status.last_event_at.or(row.and_then(|row| row.last_event_at)),
                status: Some(status),
            }
        })
        .collect();
    let configured = facts.destinations.len();
    let stored = rows.as_ref().map_or(&[][..], |rows| &rows.destinations);
    let mut destinations = match facts.started {
        true => destination_reports(facts.destinations, stored, now),
        false => backlog_reports(stored, now),
    };
    let mut certificate = facts.certificate.map(|(expires_at, problem)| CertificateReport {
        said: sentence::certificate(expires_at, problem.as_deref(), now),
        expires_at,
        problem,
    });
    let mut configuration = facts.refused.map(|Refused { at: refused_at, problems }| ConfigurationReport {
        said: sentence::configuration(refused_at, &problems, now),
        refused_at,
        problems,
    });
    let summary = if facts.started {
        let known = subscriptions.len();
        let mut parts: Vec<&mut Sentence> = std::iter::once(&mut spool.said)
            .chain(configuration.iter_mut().map(|report| &mut report.said))
            .chain(certificate.iter_mut().map(|report| &mut report.said))
            .chain(subscriptions.iter_mut().map(|report| &mut report.said))
            .chain(destinations.iter_mut().map(|report| &mut report.said))
            .collect();
        sentence::summary(known, configured, &mut parts, gaps, now)
    } else {
        sentence::starting(&mut spool.said)
    };
    Report {
        ok: summary.level == Level::Fine,
        level: summary.level,
        summary: summary.sentence,
        running: true,
        version: env!("CARGO_PKG_VERSION"),
        cryptography: provider::name(),
        fips: provider::is_fips(),
        at: now,
        started_at: Some(facts.started_at),
        uptime_seconds: Some(now.duration_since(facts.started_at).as_secs()),
        open_gaps: gaps.iter().filter(|gap| gap.closed_at.is_none()).cloned().collect(),
        spool: Some(spool),
        configuration,
        certificate,
        subscriptions,
        destinations,
    }
}

/// Makes the document where no bridge runs, from what its spool remembers.
pub(crate) fn report_not_running(listen: &str, rows: Rows, now: Timestamp) -> Report {
    let alive_at = rows.subscriptions.iter().filter_map(|row| row.alive_at).max();
    let summary = sentence::not_running(listen, alive_at, &rows.destinations, now);
    let subscriptions = rows.subscriptions.into_iter().map(|row| SubscriptionReport {
        said: sentence::not_live(&row, now),
        name: row.name,
        status: None,
        alive_at: row.alive_at,
        last_event_at: row.last_event_at,
    });
    Report {
        ok: false,
        level: summary.level,
        summary: summary.sentence,
        running: false,
        version: env!("CARGO_PKG_VERSION"),
        cryptography: provider::name(),
        fips: provider::is_fips(),
        at: now,
        started_at: None,
        uptime_seconds: None,
        spool: (rows.parked > 0).then(|| SpoolReport {
            said: sentence::parked_at_rest(rows.parked),
            writable: None,
            failing_since: None,
            reason: None,
            parked: Some(rows.parked),
        }),
        configuration: None,
        certificate: None,
        subscriptions: subscriptions.collect(),
        destinations: backlog_reports(&rows.destinations, now),
        open_gaps: rows.gaps.into_iter().filter(|gap| gap.closed_at.is_none()).collect(),
    }
}

fn spool_report(
    health: &Health,
    unreadable: Option<&str>,
    parked: Option<u64>,
    unwritten: u64,
    now: Timestamp,
) -> SpoolReport {
    let said = sentence::spool(health, unreadable, parked.unwrap_or(0), unwritten, now);
    let (writable, failing_since, reason) = match health {
        Health::Writable => (true, None, None),
        Health::Failing { since, reason } => (false, Some(*since), Some(reason.clone())),
    };
    SpoolReport { said, writable: Some(writable), failing_since, reason, parked }
}

/// Reports the configured destinations, then those that are gone but left something behind.
fn destination_reports(
    configured: Vec<(Arc<str>, lane::Status)>,
    rows: &[DestinationRow],
    now: Timestamp,
) -> Vec<DestinationReport> {
    let gone: Vec<&DestinationRow> = rows
        .iter()
        .filter(|row| row.pending > 0 || row.dead > 0)
        .filter(|row| !configured.iter().any(|(name, _)| **name == *row.name))
        .collect();
    let configured = configured.into_iter().map(|(name, status)| {
        let row = rows.iter().find(|row| *row.name == *name);
        let said = sentence::destination(&name, Some(&status), row, now);
        DestinationReport { name: (&*name).into(), said, status: Some(status.as_held()), backlog: row.cloned() }
    });
    let gone = gone.into_iter().map(|row| DestinationReport {
        name: row.name.clone(),
        said: sentence::destination(&row.name, None, Some(row), now),
        status: None,
        backlog: Some(row.clone()),
    });
    configured.chain(gone).collect()
}

/// Reports what waits for destinations that nothing else is known of.
fn backlog_reports(rows: &[DestinationRow], now: Timestamp) -> Vec<DestinationReport> {
    let report = |row: &DestinationRow| DestinationReport {
        name: row.name.clone(),
        said: sentence::backlog(row, now),
        status: None,
        backlog: Some(row.clone()),
    };
    rows.iter().map(report).collect()
}

#[cfg(test)]
mod tests;
