//! One event with all that is known of it, for people.

use jiff::{SignedDuration, Timestamp};

use super::{kind, state_style};
use crate::admin::document::EventDocument;
use crate::admin::held::Held;
use crate::cli::output::{HEADING, plain, pretty_body, styled, wrapped};
use crate::cli::table::{Cell, Table};
use crate::spool::record::{AttemptRow, DeliveryRow, DeliveryState, EventRow};
use crate::wording::{count, counted, next, size, span, time_ago, until};

/// The column of the values of facts.
const VALUE: usize = 14;
/// Indents what follows the first line of a reason.
const INDENT: usize = 6;

/// Writes facts, deliveries, failed attempts and the body.
pub(super) fn render(event: &EventDocument, now: Timestamp, width: Option<usize>) -> String {
    let EventDocument { row, attempts, held, body, body_base64: _, payload_hidden } = event;
    let mut out = facts(row, now, width);
    if !row.deliveries.is_empty() {
        out.push_str(&format!("\n{}", deliveries(&row.deliveries, held, now, width)));
    }
    if !held.is_empty() {
        out.push_str(&format!("\n{}", reasons(held, width)));
    }
    if !attempts.is_empty() {
        out.push_str(&format!("\n{}", failed(attempts, now, width)));
    }
    out.push_str(&format!("\n{}\n", styled(HEADING, "BODY")));
    match body {
        Some(text) => out.push_str(&pretty_body(text)),
        None if *payload_hidden => {
            out.push_str("hidden, as are answers of handlers: the bridge shows them to operators only")
        }
        None => out.push_str(&format!("{} that are no text; --raw writes them", counted(row.size, "byte"))),
    }
    out.push('\n');
    out
}

fn facts(row: &EventRow, now: Timestamp, width: Option<usize>) -> String {
    let heading = styled(HEADING, &format!("event {}, {}", row.id, plain(kind(row))));
    let received = match row.event_ts {
        None => time_ago(row.received_at, now),
        Some(event_ts) => {
            let lag = SignedDuration::from_millis(row.received_at.as_millisecond().saturating_sub(event_ts));
            format!("{}, {} after it happened", time_ago(row.received_at, now), span(lag))
        }
    };
    let mut facts = vec![
        ("received", received),
        ("subscription", row.subscription.to_string()),
        ("request id", row.request_id.to_string()),
        ("size", size(row.size)),
        ("repeats", count(row.repeats.into())),
    ];
    if let Some(digest) = row.digest {
        facts.insert(3, ("digest", digest.to_string()));
    }
    if let Some(reason) = &row.parked {
        facts.push(("parked", format!("{reason}; kept, and not delivered")));
    }
    let lines = facts.iter().map(|(name, value)| format!("{name:<12}  {}\n", wrapped(&plain(value), VALUE, width)));
    format!("{heading}\n{}", lines.collect::<String>())
}

fn deliveries(rows: &[DeliveryRow], held: &[Held], now: Timestamp, width: Option<usize>) -> String {
    let mut table = Table::new(["DESTINATION", "STATE", "ATTEMPTS", "WHEN", "LAST OUTCOME"]);
    for row in rows {
        let is_held = held.iter().any(|held| held.destination == row.destination);
        let when = match row.state {
            DeliveryState::Retry if is_held && row.due.is_some_and(|due| due > now) => {
                row.due.map_or(String::new(), |due| format!("held, due {}", until(due, now)))
            }
            DeliveryState::Fresh | DeliveryState::Retry if is_held => "held".to_owned(),
            DeliveryState::Fresh => "not attempted yet".to_owned(),
            DeliveryState::Retry => row.due.map_or(String::new(), |due| next("try", due, now)),
            DeliveryState::Delivered | DeliveryState::Dead => {
                row.settled_at.map_or(String::new(), |at| time_ago(at, now))
            }
        };
        let (_, style) = state_style(row.state);
        let state = match row.replays {
            0 => row.state.to_string(),
            replays => format!("{}, replay {}", row.state, count(replays.into())),
        };
        table.push([
            Cell::text(&row.destination),
            Cell::fact(state).styled(style),
            Cell::number(count(row.attempts.into())),
            Cell::fact(when),
            Cell::text(row.outcome.as_deref().unwrap_or_default()),
        ]);
    }
    table.render(width)
}

/// Says what holds deliveries back, each thing once.
fn reasons(held: &[Held], width: Option<usize>) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    for held in held {
        if !reasons.contains(&&*held.reason) {
            reasons.push(&held.reason);
        }
    }
    reasons.iter().map(|reason| format!("held: {}\n", wrapped(&plain(reason), INDENT, width))).collect()
}

fn failed(rows: &[AttemptRow], now: Timestamp, width: Option<usize>) -> String {
    let mut table = Table::new(["FAILED ATTEMPT", "AT", "TOOK", "CAUSE", "ANSWER"]);
    for row in rows {
        let took = SignedDuration::from_millis(i64::try_from(row.elapsed_ms).unwrap_or(i64::MAX));
        table.push([
            Cell::text(&which(row)),
            Cell::fact(time_ago(row.at, now)),
            Cell::fact(span(took)),
            Cell::text(&row.cause),
            Cell::text(&row.excerpt),
        ]);
    }
    table.render(width)
}

/// Names an attempt; one that does not count has no number, and must not look like the one before it.
fn which(row: &AttemptRow) -> String {
    match row.attempt {
        0 => format!("{}, not counted", row.destination),
        number => format!("{} {number}", row.destination),
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use bytes::Bytes;

    use super::*;
    use crate::admin::document;
    use crate::admin::document::tests::{event_row, now};
    use crate::admin::held::By;
    use crate::spool::record::EventDetail;

    #[test]
    fn event_shows_facts_deliveries_attempts_and_body() {
        let at = |text: &str| text.parse().expect("a time");
        let delivered = DeliveryRow {
            destination: "crm".into(),
            state: DeliveryState::Delivered,
            attempts: 1,
            due: None,
            settled_at: Some(at("2026-07-30T10:02:12Z")),
            outcome: Some("status 200".into()),
            replays: 2,
        };
        let retrying = DeliveryRow {
            destination: "audit".into(),
            state: DeliveryState::Retry,
            attempts: 3,
            due: Some(at("2026-07-30T10:06:23Z")),
            settled_at: None,
            outcome: Some("status 503".into()),
            replays: 0,
        };
        let attempt = AttemptRow {
            destination: "audit".into(),
            attempt: 3,
            at: at("2026-07-30T10:06:01Z"),
            elapsed_ms: 42,
            cause: "status 503".into(),
            excerpt: "busy\u{1b}[2J".into(),
        };
        let row = EventRow { deliveries: vec![delivered, retrying], repeats: 1, ..event_row(41) };
        let body = Bytes::from_static(br#"{"event":"meeting.started","payload":{"object":{"id":5.0}}}"#);
        let event = document::event(EventDetail { row, attempts: vec![attempt], body }, Vec::new());
        insta::assert_snapshot!(strip_str(&render(&event, now(), None)), @r#"
        event 41, meeting.started
        received      10:02:11 UTC (4 min ago), 0 ms after it happened
        subscription  main
        request id    00000000_0000_0000_0000_000000000029
        digest        0707070707070707070707070707070707070707070707070707070707070707
        size          1.5 kB
        repeats       1

        DESTINATION  STATE                ATTEMPTS  WHEN                      LAST OUTCOME
        crm          delivered, replay 2         1  10:02:12 UTC (3 min ago)  status 200
        audit        retrying                    3  next try in 12 s          status 503

        FAILED ATTEMPT  AT                       TOOK   CAUSE       ANSWER
        audit 3         10:06:01 UTC (10 s ago)  42 ms  status 503  busy\u{1b}[2J

        BODY
        {
          "event": "meeting.started",
          "payload": {
            "object": {
              "id": 5.0
            }
          }
        }
        "#);
    }

    #[test]
    fn what_holds_a_delivery_back_is_said_below_and_once() {
        let waiting = |destination: &str, state, due: Option<&str>| DeliveryRow {
            destination: destination.into(),
            state,
            attempts: 0,
            due: due.map(|due| due.parse().expect("a time")),
            settled_at: None,
            outcome: None,
            replays: 0,
        };
        let rows = [
            waiting("crm", DeliveryState::Fresh, None),
            waiting("audit", DeliveryState::Retry, Some("2026-07-30T10:02:11Z")),
            waiting("late", DeliveryState::Retry, Some("2026-07-30T10:06:41Z")),
            waiting("free", DeliveryState::Fresh, None),
        ];
        let held = |destination: &str, reason: &str| Held {
            destination: destination.into(),
            by: By::NoBridge,
            since: None,
            until: None,
            reason: reason.to_owned(),
        };
        let held = [
            held("crm", "crm is paused since 10:02:11 UTC (4 min)"),
            held("audit", "no bridge"),
            held("late", "no bridge"),
        ];
        let shown = format!("{}{}", deliveries(&rows, &held, now(), Some(40)), reasons(&held, Some(40)));
        insta::assert_snapshot!(strip_str(&shown), @"
        DESTINATION   crm
        STATE         waiting
        ATTEMPTS      0
        WHEN          held

        DESTINATION   audit
        STATE         retrying
        ATTEMPTS      0
        WHEN          held

        DESTINATION   late
        STATE         retrying
        ATTEMPTS      0
        WHEN          held, due in 30 s

        DESTINATION   free
        STATE         waiting
        ATTEMPTS      0
        WHEN          not attempted yet
        held: crm is paused since 10:02:11 UTC
              (4 min)
        held: no bridge
        ");
    }

    #[test]
    fn payload_that_is_hidden_is_said_to_be() {
        let detail = EventDetail { row: event_row(41), attempts: Vec::new(), body: Bytes::from_static(b"{}") };
        let text = render(&document::event(detail, Vec::new()).without_payload(), now(), None);
        assert!(
            text.ends_with("hidden, as are answers of handlers: the bridge shows them to operators only\n"),
            "{text}"
        );
    }

    #[test]
    fn parked_bytes_are_not_thrown_at_the_terminal() {
        let row =
            EventRow { kind: "".into(), event_ts: None, parked: Some("not json".into()), size: 2, ..event_row(41) };
        let event = document::event(
            EventDetail { row, attempts: Vec::new(), body: Bytes::from_static(&[0xff, 0x1b]) },
            Vec::new(),
        );
        let text = strip_str(&render(&event, now(), None)).to_string();
        assert!(text.contains("event 41, (no type)"), "{text}");
        assert!(text.contains("parked        not json; kept, and not delivered"), "{text}");
        assert!(text.ends_with("BODY\n2 bytes that are no text; --raw writes them\n"), "{text}");
    }
}
