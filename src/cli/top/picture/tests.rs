use anstream::adapter::strip_str;
use unicode_width::UnicodeWidthStr as _;

use super::*;

#[test]
fn answer_comes_first_and_the_tables_follow() {
    insta::assert_snapshot!(shown(None), @"
    Nothing is being lost, but crm: failing.

    SUBSCRIPTION  STATE  EVENTS/S  LAST EVENT  LATE    EVENTS
    ● main        live        8.3  just now    140 ms  40,213

    DESTINATION             STATE      OK/S  FAILED/S  IN FLIGHT  WAITING  TREND   OLDEST  P50     P99    DEAD
    ▲ crm                   held back     0       0.2          1    1,204  +8.3/s   2 min  3.1 ms   10 s     3
    ● audit-of-a-long-name  taking      8.3         0          0        0  steady       -  0.4 ms  12 ms     0

    rates over the last 10 s, every 2s, ended by q or Ctrl-C
    ");
}

#[test]
fn narrow_terminals_keep_what_matters_in_lines_that_fit() {
    for width in [120, 80, 60, 40] {
        let text = shown(Some(width));
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line}");
        }
        for word in ["crm", "1,204", "8.3"] {
            assert!(text.contains(word), "{width}: no {word}\n{text}");
        }
    }
    let narrow = shown(Some(60));
    assert!(narrow.contains("DEAD") && !narrow.contains("P99"), "{narrow}");
    insta::assert_snapshot!(shown(Some(80)), @"
    Nothing is being lost, but crm: failing.

    SUBSCRIPTION  STATE  EVENTS/S  LAST EVENT  LATE    EVENTS
    ● main        live        8.3  just now    140 ms  40,213

    DESTINATION      STATE      OK/S  FAILED/S  WAITING  TREND   OLDEST  P99    DEAD
    ▲ crm            held back     0       0.2    1,204  +8.3/s   2 min   10 s     3
    ● audit-of-a-l…  taking      8.3         0        0  steady       -  12 ms     0

    rates over the last 10 s, every 2s, ended by q or Ctrl-C
    ");
    insta::assert_snapshot!(shown(Some(40)), @"
    Nothing is being lost, but crm: failing.

    SUBSCRIPTI…  STATE  EVENTS/S  LAST EVENT
    ● main       live        8.3  just now

    DESTINATION      OK/S  FAILED/S  WAITING
    ▲ crm               0       0.2    1,204
    ● audit-of-a-l…   8.3         0        0

    rates over the last 10 s, every 2s,
    ended by q or Ctrl-C
    ");
}

#[test]
fn what_is_not_known_is_said_to_be_so() {
    let mut picture = picture();
    picture.subscriptions.clear();
    picture.destinations.truncate(1);
    let crm = &mut picture.destinations[0];
    (crm.delivered_per_second, crm.p99_seconds, crm.waiting) = (None, None, None);
    assert!(strip_str(&picture.render(None, None)).to_string().contains("-"), "{picture:?}");
    assert!(!picture.render(None, None).contains("SUBSCRIPTION"), "an empty table is not shown");
}

#[test]
fn numbers_are_as_short_as_they_can_be() {
    for (per_second, text) in [(0.0, "0"), (0.04, "0"), (0.3, "0.3"), (9.97, "10"), (1234.4, "1,234")] {
        assert_eq!(rate(per_second), text);
    }
    for (per_second, text) in [(0.0, "steady"), (12.0, "+12/s"), (-0.42, "-0.4/s"), (-0.01, "steady")] {
        assert_eq!(trend(per_second), text);
    }
    for (seconds, text) in [(0.0004, "0.4 ms"), (0.012, "12 ms"), (3.2, "3 s")] {
        assert_eq!(time(seconds), text);
    }
}

fn shown(width: Option<usize>) -> String {
    strip_str(&picture().render(Some("every 2s, ended by q or Ctrl-C"), width)).to_string()
}

fn picture() -> Picture {
    let at: Timestamp = "2026-07-30T10:06:11Z".parse().expect("a time");
    let ago = |seconds| at - SignedDuration::from_secs(seconds);
    let crm = DestinationLine {
        name: "crm".to_owned(),
        level: "degraded".to_owned(),
        state: "held back".to_owned(),
        delivered_per_second: Some(0.0),
        failed_per_second: Some(0.2),
        in_flight: Some(1),
        waiting: Some(1204),
        waiting_per_second: Some(8.3),
        oldest_waiting_at: Some(ago(145)),
        p50_seconds: Some(0.0031),
        p99_seconds: Some(10.0),
        dead: Some(3),
    };
    let audit = DestinationLine {
        name: "audit-of-a-long-name".to_owned(),
        level: "fine".to_owned(),
        state: "taking".to_owned(),
        delivered_per_second: Some(8.3),
        failed_per_second: Some(0.0),
        in_flight: Some(0),
        waiting: Some(0),
        waiting_per_second: Some(0.0),
        oldest_waiting_at: None,
        p50_seconds: Some(0.0004),
        p99_seconds: Some(0.012),
        dead: Some(0),
    };
    let main = SubscriptionLine {
        name: "main".to_owned(),
        level: "fine".to_owned(),
        state: "live".to_owned(),
        received_per_second: Some(8.3),
        events: Some(40_213),
        last_event_at: Some(ago(0)),
        last_event_lag_ms: Some(140),
    };
    Picture {
        at,
        level: "degraded".to_owned(),
        summary: "Nothing is being lost, but crm: failing.".to_owned(),
        running: Some(true),
        over_seconds: 10.0,
        subscriptions: vec![main],
        destinations: vec![crm, audit],
    }
}
