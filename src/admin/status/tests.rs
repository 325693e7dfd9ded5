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
    assert!(said(&document["configuration"], "sentence").contains("url (line 3): missing (and 1 more)"), "{document}");
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
    let none = Facts { started: false, health, subscriptions: Vec::new(), destinations: Vec::new(), ..facts(Ok(rows)) };
    let document = document(report(none, now()));
    let summary = said(&document, "summary");
    assert!(summary.starts_with("Events are being lost: the bridge is starting and waits for its spool"), "{summary}");
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
        said(&document, "summary").starts_with("No bridge is running on 127.0.0.1:8686: last sign of life 10:02:11")
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
        unwritten: 0,
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
