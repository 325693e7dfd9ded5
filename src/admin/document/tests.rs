use std::ops::ControlFlow;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use super::*;

use crate::event::{Digest, RequestId};
use crate::spool::audit::Link;
use crate::spool::record::{DestinationId, DestinationRow, SubscriptionRow};
use crate::spool::replay::{Counts, Selection};

#[test]
fn page_names_the_next_one_only_when_there_is_one() {
    let mut view = FakeView { events: (1..=5).rev().map(event_row).collect(), ..FakeView::default() };
    let first = events(&mut view, &EventQuery { limit: 3, ..EventQuery::default() }).expect("a page");
    assert_eq!(ids(&first), [5, 4, 3]);
    assert_eq!(first.next, Some(EventId(3)));
    let rest = EventQuery { limit: 3, before: first.next, ..EventQuery::default() };
    let second = events(&mut view, &rest).expect("a page");
    assert_eq!(ids(&second), [2, 1]);
    assert_eq!(second.next, None);
    let exact = events(&mut view, &EventQuery { limit: 5, ..EventQuery::default() }).expect("a page");
    assert_eq!(exact.next, None);
}

#[test]
fn dead_letters_of_one_event_stay_on_one_page() {
    for limit in 1..=8 {
        let mut view = graveyard();
        let mut seen = Vec::new();
        let mut query = DeadQuery { limit, ..DeadQuery::default() };
        loop {
            let page = dead(&mut view, &query).expect("a page");
            seen.extend(page.dead);
            let Some(next) = page.next else { break };
            query.before = Some(next);
        }
        assert_eq!(seen, view.dead, "pages of {limit}");
    }
}

#[test]
fn unknown_destination_is_named_with_those_that_there_are() {
    let mut view = graveyard();
    let query = DeadQuery { destination: Some("crmm".to_owned()), limit: 10, ..DeadQuery::default() };
    let error = dead(&mut view, &query).expect_err("no such destination");
    assert_eq!(error.to_string(), "no destination is called crmm: did you mean crm?");
    let query = EventQuery { destination: Some("billing".to_owned()), limit: 10, ..EventQuery::default() };
    let error = events(&mut view, &query).expect_err("no such destination").to_string();
    assert_eq!(error, "no destination is called billing: the spool knows audit and crm");
    assert!(matches!(events(&mut view, &query), Err(ListError::UnknownDestination { .. })));
}

#[test]
fn body_is_text_or_base_64() {
    let document = |body: &'static [u8]| {
        event(EventDetail { row: event_row(1), attempts: Vec::new(), body: Bytes::from_static(body) })
    };
    let text = serde_json::to_value(document("{\"a\":\"週次\"}".as_bytes())).expect("a document");
    assert_eq!(text["body"], "{\"a\":\"週次\"}");
    assert_eq!(text.get("body_base64"), None);
    assert_eq!(text["id"], 1);
    let binary = serde_json::to_value(document(&[0xff, 0x00])).expect("a document");
    assert_eq!(binary.get("body"), None);
    assert_eq!(binary["body_base64"], "/wA=");
}

#[test]
fn viewers_get_neither_bodies_nor_answers() {
    let attempt = AttemptRow {
        destination: "crm".into(),
        attempt: 1,
        at: now(),
        elapsed_ms: 7,
        cause: "status 503".into(),
        excerpt: "canary".into(),
    };
    for body in [&b"{\"topic\":\"canary\"}"[..], b"canary\xff"] {
        let detail = EventDetail { row: event_row(1), attempts: vec![attempt.clone()], body: Bytes::from_static(body) };
        let document = event(detail).without_payload();
        let text = serde_json::to_string(&document).expect("a document");
        assert!(!text.contains("canary") && !text.contains("body") && text.contains("status 503"), "{text}");
        assert!(document.payload_hidden);
    }
}

#[test]
fn audit_comes_in_pages_that_join() {
    let mut view = FakeView::default();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = audit(&mut view, before, 2).expect("readable");
        seen.extend(page.audit.iter().map(|row| row.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
}

#[test]
fn note_about_a_gap_is_one_line_of_text() {
    let note = |note: &str| AcknowledgeRequest { note: note.to_owned() }.note().map(str::to_owned);
    assert_eq!(note(" reports fetched, OPS-12 ").as_deref(), Ok("reports fetched, OPS-12"));
    assert!(note(&"ü".repeat(NOTE)).is_ok());
    for wrong in ["", "  ", "two\nlines", "bell\u{7}", &"a".repeat(NOTE + 1)] {
        assert_eq!(note(wrong), Err("note: expected one line of 1 to 500 characters".to_owned()), "{wrong:?}");
    }
}

fn ids(page: &Events) -> Vec<u64> {
    page.events.iter().map(|row| row.id.0).collect()
}

/// Three events that died at one, two and three destinations.
fn graveyard() -> FakeView {
    let letters = [(9, "crm"), (8, "audit"), (8, "crm"), (7, "audit"), (7, "bi"), (7, "crm")];
    FakeView {
        dead: letters.iter().map(|(id, name)| dead_row(*id, name)).collect(),
        destinations: vec![destination_row("audit"), destination_row("crm")],
        ..FakeView::default()
    }
}

pub(crate) fn now() -> Timestamp {
    "2026-07-30T10:06:11Z".parse().expect("a time")
}

pub(crate) fn event_row(id: u64) -> EventRow {
    EventRow {
        id: EventId(id),
        kind: "meeting.started".into(),
        subscription: "main".into(),
        request_id: RequestId::new(Uuid::from_u128(u128::from(id))),
        digest: Digest([7; 32]),
        event_ts: Some(1_785_405_731_000),
        received_at: "2026-07-30T10:02:11Z".parse().expect("a time"),
        size: 1532,
        repeats: 0,
        parked: None,
        deliveries: Vec::new(),
    }
}

pub(crate) fn dead_row(id: u64, destination: &str) -> DeadRow {
    DeadRow {
        event: EventId(id),
        kind: "meeting.started".into(),
        destination: destination.into(),
        attempts: 12,
        received_at: "2026-07-27T10:02:11Z".parse().expect("a time"),
        dead_at: "2026-07-30T10:02:11Z".parse().expect("a time"),
        reason: "status 503".into(),
    }
}

fn audit_row(id: i64) -> AuditRow {
    let (who, action, detail) = ("operator".into(), "pause".into(), "destination crm".into());
    AuditRow { id, at: now(), who, action, detail, hash: Link::START.hash }
}

pub(crate) fn destination_row(name: &str) -> DestinationRow {
    DestinationRow {
        id: DestinationId(1),
        name: name.into(),
        pending: 0,
        dead: 0,
        delivered: 0,
        oldest_pending_at: None,
        paused_at: None,
        breaker: None,
        orphaned_at: None,
    }
}

/// Is a spool in memory; it keeps the rules of pages.
#[derive(Default)]
pub(crate) struct FakeView {
    pub(crate) events: Vec<EventRow>,
    pub(crate) dead: Vec<DeadRow>,
    pub(crate) gaps: Vec<GapRow>,
    pub(crate) destinations: Vec<DestinationRow>,
    pub(crate) subscriptions: Vec<SubscriptionRow>,
}

impl View for FakeView {
    fn events(&mut self, query: &EventQuery) -> Result<Vec<EventRow>, SpoolError> {
        let older = |row: &&EventRow| query.before.is_none_or(|before| row.id < before);
        Ok(self.events.iter().filter(older).take(query.limit).cloned().collect())
    }

    fn event(&mut self, id: EventId) -> Result<Option<EventDetail>, SpoolError> {
        let row = self.events.iter().find(|row| row.id == id).cloned();
        Ok(row.map(|row| EventDetail { row, attempts: Vec::new(), body: Bytes::from_static(b"{}") }))
    }

    fn dead(&mut self, query: &DeadQuery) -> Result<Vec<DeadRow>, SpoolError> {
        let fits = |row: &&DeadRow| {
            query.before.is_none_or(|before| row.event < before)
                && (query.events.is_empty() || query.events.contains(&row.event))
        };
        Ok(self.dead.iter().filter(fits).take(query.limit).cloned().collect())
    }

    fn dead_groups(&mut self, _: &DeadQuery) -> Result<Vec<DeadGroup>, SpoolError> {
        Ok(Vec::new())
    }

    fn survey(&mut self, _: &Selection, _: u64) -> Result<Counts, SpoolError> {
        Ok(Counts::default())
    }

    fn gaps(&mut self, limit: usize) -> Result<Vec<GapRow>, SpoolError> {
        Ok(self.gaps.iter().take(limit).cloned().collect())
    }

    fn audit(&mut self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRow>, SpoolError> {
        let rows = (1..=5).rev().filter(|id| before.is_none_or(|before| *id < before)).take(limit);
        Ok(rows.map(audit_row).collect())
    }

    fn audit_chain(&mut self, _: &mut dyn FnMut(&Link, AuditRow) -> ControlFlow<()>) -> Result<Link, SpoolError> {
        Ok(Link::START)
    }

    fn destinations(&mut self) -> Result<Vec<DestinationRow>, SpoolError> {
        Ok(self.destinations.clone())
    }

    fn subscriptions(&mut self) -> Result<Vec<SubscriptionRow>, SpoolError> {
        Ok(self.subscriptions.clone())
    }
}
