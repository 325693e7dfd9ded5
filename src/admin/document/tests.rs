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
        event(EventDetail { row: event_row(1), attempts: Vec::new(), body: Bytes::from_static(body) }, Vec::new())
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
        let document = event(detail, Vec::new()).without_payload();
        let text = serde_json::to_string(&document).expect("a document");
        assert!(
            !text.contains("canary")
                && !text.contains("body")
                && !text.contains("digest")
                && text.contains("status 503"),
            "{text}"
        );
        assert!(document.payload_hidden);
    }
}

#[test]
fn viewers_get_no_digest_that_would_prove_a_guess() {
    let page = || Events { events: vec![event_row(1)], next: None };
    let text = |page: &Events| serde_json::to_string(page).expect("a document");
    assert!(text(&page()).contains("\"digest\":\"0707"));
    assert!(!text(&page().without_payload()).contains("digest"));
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
    let asked = |note: &str, replace| AcknowledgeRequest { note: note.to_owned(), replace }.note();
    let note = |text: &str| asked(text, false);
    let noted = |earlier| Ok(GapNote { text: "reports fetched, OPS-12".into(), earlier });
    assert_eq!(note(" reports fetched, OPS-12 "), noted(Earlier::Stays));
    assert_eq!(asked("reports fetched, OPS-12", true), noted(Earlier::Goes));
    assert!(note(&"ü".repeat(NOTE)).is_ok());
    for wrong in ["", "  ", "two\nlines", "bell\u{7}", &"a".repeat(NOTE + 1)] {
        assert_eq!(note(wrong), Err("note: expected one line of 1 to 500 characters".to_owned()), "{wrong:?}");
    }
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
        digest: Some(Digest([7; 32])),
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
    fn parked(&mut self) -> Result<u64, SpoolError> {
        Ok(0)
    }

    fn delivered(&mut self, _: DestinationId) -> Result<u64, SpoolError> {
        Ok(7)
    }

    fn search(&mut self, query: &EventQuery) -> Result<Page<EventRow>, SpoolError> {
        let older = |row: &&EventRow| query.before.is_none_or(|before| row.id < before);
        let mut rows: Vec<EventRow> = self.events.iter().filter(older).cloned().collect();
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        let next = rows.last().filter(|_| more).map(|row| row.id);
        Ok(Page { rows, next })
    }

    fn event(&mut self, id: EventId) -> Result<Option<EventDetail>, SpoolError> {
        let row = self.events.iter().find(|row| row.id == id).cloned();
        Ok(row.map(|row| EventDetail { row, attempts: Vec::new(), body: Bytes::from_static(b"{}") }))
    }

    fn search_dead(&mut self, query: &DeadQuery) -> Result<Page<DeadRow>, SpoolError> {
        let fits = |row: &&DeadRow| {
            query.before.is_none_or(|before| row.event < before)
                && (query.events.is_empty() || query.events.contains(&row.event))
        };
        let all: Vec<DeadRow> = self.dead.iter().filter(fits).cloned().collect();
        let last = all.get(query.limit.saturating_sub(1)).map(|row| row.event);
        let rows: Vec<DeadRow> = all.iter().filter(|row| last.is_none_or(|last| row.event >= last)).cloned().collect();
        let next = last.filter(|_| rows.len() < all.len());
        Ok(Page { rows, next })
    }

    fn search_groups(&mut self, _: &DeadQuery, _: Option<&GroupCursor>) -> Result<Groups, SpoolError> {
        Ok(Groups::default())
    }

    fn destination_names(&mut self) -> Result<Vec<Box<str>>, SpoolError> {
        Ok(self.destinations.iter().map(|row| row.name.clone()).collect())
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
