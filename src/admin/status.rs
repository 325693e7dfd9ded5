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
    let spool = spool_report(&facts.health, unreadable.as_deref(), parked, now);
    let gaps = rows.as_ref().map_or(&[][..], |rows| &rows.gaps);
    let known = rows.as_ref().map_or(&[][..], |rows| &rows.subscriptions);
    let subscriptions: Vec<SubscriptionReport> = facts
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
    let destinations = match facts.started {
        true => destination_reports(facts.destinations, stored, now),
        false => backlog_reports(stored, now),
    };
    let certificate = facts.certificate.map(|(expires_at, problem)| CertificateReport {
        said: sentence::certificate(expires_at, problem.as_deref(), now),
        expires_at,
        problem,
    });
    let configuration = facts.refused.map(|Refused { at: refused_at, problems }| ConfigurationReport {
        said: sentence::configuration(refused_at, &problems, now),
        refused_at,
        problems,
    });
    let parts: Vec<&Sentence> = std::iter::once(&spool.said)
        .chain(configuration.iter().map(|report| &report.said))
        .chain(certificate.iter().map(|report| &report.said))
        .chain(subscriptions.iter().map(|report| &report.said))
        .chain(destinations.iter().map(|report| &report.said))
        .collect();
    let summary = match facts.started {
        true => sentence::summary(subscriptions.len(), configured, &parts, gaps, now),
        false => sentence::starting(&spool.said),
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

fn spool_report(health: &Health, unreadable: Option<&str>, parked: Option<u64>, now: Timestamp) -> SpoolReport {
    let said = sentence::spool(health, unreadable, parked.unwrap_or(0), now);
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
        DestinationReport { name: (&*name).into(), said, status: Some(status), backlog: row.cloned() }
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
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::admin::document::tests::{FakeView, destination_row, now};
    use crate::zoom::status::Link;

    #[test]
    fn report_of_a_healthy_bridge_is_ok() {
        let document = document(report(facts(Ok(rows())), now()));
        assert_eq!(document["ok"], true);
        assert_eq!(document["summary"], "Nothing is being lost: 1 subscription live, 1 destination taking events.");
        assert_eq!(document["uptime_seconds"], 240);
        assert_eq!(document["spool"]["writable"], true);
        assert_eq!(document["subscriptions"][0]["status"]["link"], "live");
        assert_eq!(document["destinations"][0]["backlog"]["pending"], 0);
        assert_eq!(document["open_gaps"], json!([]));
    }

    #[test]
    fn frames_that_are_kept_are_for_the_operator_to_read_with_and_without_a_bridge() {
        let kept = || Rows { parked: 38, ..rows() };
        let document = self::document(report(facts(Ok(kept())), now()));
        assert_eq!((&document["level"], &document["spool"]["parked"]), (&json!("degraded"), &json!(38)));
        assert!(said(&document, "summary").contains("keeps 38 frames that are not understood"), "{document}");
        let at_rest = self::document(report_not_running("off", kept(), now()));
        assert!(said(&at_rest["spool"], "sentence").contains("38 frames"), "{at_rest}");
        let none = self::document(report_not_running("off", rows(), now()));
        assert_eq!(none["spool"], Value::Null);
    }

    #[test]
    fn configuration_that_was_refused_is_something_to_do_though_the_old_one_is_in_force() {
        let problems = vec!["destination crm: url (line 3): missing".to_owned(), "and so on".to_owned()];
        let facts = Facts { refused: Some(Refused { at: now(), problems }), ..facts(Ok(rows())) };
        let document = document(report(facts, now()));
        assert_eq!((&document["level"], &document["configuration"]["level"]), (&json!("degraded"), &json!("degraded")));
        assert!(said(&document, "summary").contains("refused at the reload"), "{document}");
        assert!(
            said(&document["configuration"], "sentence").contains("url (line 3): missing (and 1 more)"),
            "{document}"
        );
        assert_eq!(document["configuration"]["problems"][1], "and so on");
    }

    #[test]
    fn report_goes_out_when_the_spool_cannot_be_read() {
        let document = document(report(facts(Err("disk error".to_owned())), now()));
        assert_eq!(document["ok"], false);
        assert_eq!(document["spool"]["level"], "degraded");
        assert!(said(&document, "summary").contains("cannot be read: disk error"), "{document}");
        assert_eq!(document["destinations"][0]["backlog"], Value::Null);
    }

    #[test]
    fn bridge_that_waits_for_its_spool_says_so_and_calls_nothing_unconfigured() {
        let mut rows = rows();
        rows.destinations[0].pending = 5;
        let health = Health::Failing { since: now(), reason: "disk full".into() };
        let none =
            Facts { started: false, health, subscriptions: Vec::new(), destinations: Vec::new(), ..facts(Ok(rows)) };
        let document = document(report(none, now()));
        let summary = said(&document, "summary");
        assert!(
            summary.starts_with("Events are being lost: the bridge is starting and waits for its spool"),
            "{summary}"
        );
        assert!(summary.contains("disk full") && document["level"] == "losing", "{document}");
        assert_eq!(document["destinations"][0]["sentence"], "crm: 5 events waiting");
    }

    #[test]
    fn destination_that_is_gone_is_reported_while_events_wait_for_it() {
        let mut rows = rows();
        rows.destinations.push(DestinationRow { pending: 5, ..destination_row("old") });
        rows.destinations.push(destination_row("older"));
        let document = document(report(facts(Ok(rows)), now()));
        let names: Vec<&str> =
            document["destinations"].as_array().expect("a list").iter().map(|entry| said(entry, "name")).collect();
        assert_eq!(names, ["crm", "old"]);
        assert!(said(&document, "summary").contains("old: no longer configured"), "{document}");
    }

    #[test]
    fn open_gap_dates_the_subscription_that_is_not_live() {
        let mut rows = rows();
        rows.gaps.push(GapRow {
            id: 1,
            subscription: "main".into(),
            opened_at: "2026-07-30T09:06:11Z".parse().expect("a time"),
            closed_at: None,
            reason: "closed by Zoom".into(),
            last_event_at: None,
            acknowledged: None,
        });
        let mut facts = facts(Ok(rows));
        facts.subscriptions[0].1.link = Link::Connecting;
        let document = document(report(facts, now()));
        assert_eq!(document["level"], "losing");
        assert!(said(&document["subscriptions"][0], "sentence").contains("since 09:06:11 UTC (1 h)"), "{document}");
        assert_eq!(document["open_gaps"][0]["reason"], "closed by Zoom");
    }

    #[test]
    fn report_of_no_bridge_tells_what_the_spool_remembers() {
        let mut view = FakeView {
            destinations: vec![DestinationRow { pending: 213, dead: 1, ..destination_row("crm") }],
            subscriptions: vec![SubscriptionRow {
                name: "main".into(),
                alive_at: Some("2026-07-30T10:02:11Z".parse().expect("a time")),
                last_event_at: None,
                gaps: 0,
                gap_ms: 0,
                gap_opened_at: None,
            }],
            ..FakeView::default()
        };
        let rows = Rows::read(&mut view).expect("rows");
        let document = document(report_not_running("127.0.0.1:8686", rows, now()));
        assert_eq!((&document["running"], &document["ok"]), (&Value::Bool(false), &Value::Bool(false)));
        assert!(
            said(&document, "summary")
                .starts_with("No bridge is running on 127.0.0.1:8686: last sign of life 10:02:11")
        );
        assert_eq!(
            said(&document["subscriptions"][0], "sentence"),
            "main: not live; last live 10:02:11 UTC (4 min ago), last event never"
        );
        assert_eq!(
            said(&document["destinations"][0], "sentence"),
            "crm: 213 events waiting; 1 dead letter kept: zoomhook dead list --destination crm"
        );
    }

    fn facts(rows: Result<Rows, String>) -> Facts {
        let since = "2026-07-30T10:02:11Z".parse().expect("a time");
        let socket = socket::Status { connects: 1, ..socket::Status::new(Link::Live, since) };
        Facts {
            started_at: since,
            health: Health::Writable,
            started: true,
            subscriptions: vec![("main".into(), socket)],
            destinations: vec![("crm".into(), lane::Status::default())],
            certificate: None,
            refused: None,
            rows,
        }
    }

    fn rows() -> Rows {
        Rows { destinations: vec![destination_row("crm")], ..Rows::default() }
    }

    fn document(report: Report) -> Value {
        serde_json::to_value(report).expect("a document")
    }

    fn said<'a>(document: &'a Value, field: &str) -> &'a str {
        document[field].as_str().expect("a text")
    }
}
