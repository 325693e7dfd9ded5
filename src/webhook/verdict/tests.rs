use proptest::prelude::*;

use super::*;
use crate::net::shortage::Shortage;

const NOW: &str = "2026-07-30T12:00:00Z";

#[test]
fn steady_rules_over_statuses() {
    let delivered = |status| Verdict::Delivered { status };
    for (status, expected) in [
        (101, Verdict::Refused(Cause::Status(101))),
        (200, delivered(200)),
        (202, delivered(202)),
        (204, delivered(204)),
        (299, delivered(299)),
        (301, Verdict::Refused(Cause::Status(301))),
        (304, Verdict::Refused(Cause::Status(304))),
        (400, Verdict::Refused(Cause::Status(400))),
        (401, Verdict::Refused(Cause::Status(401))),
        (404, Verdict::Refused(Cause::Status(404))),
        (408, Verdict::Retry(Cause::Status(408))),
        (410, Verdict::Refused(Cause::Status(410))),
        (425, Verdict::Retry(Cause::Status(425))),
        (429, Verdict::Retry(Cause::Status(429))),
        (500, Verdict::Retry(Cause::Status(500))),
        (503, Verdict::Retry(Cause::Status(503))),
        (599, Verdict::Retry(Cause::Status(599))),
        (600, Verdict::Refused(Cause::Status(600))),
    ] {
        assert_eq!(judged(status, None, StatusRules::Steady, 1), expected, "{status}");
        assert_eq!(judged(status, None, StatusRules::Steady, 2), expected, "{status}, second attempt");
    }
}

#[test]
fn zoom_rules_over_statuses() {
    let retry = |status| Verdict::Retry(Cause::Status(status));
    let refused = |status| Verdict::Refused(Cause::Status(status));
    let delivered = |status| Verdict::Delivered { status };
    for (status, first, later) in [
        (101, refused(101), refused(101)),
        (200, delivered(200), delivered(200)),
        (201, retry(201), delivered(201)),
        (202, retry(202), delivered(202)),
        (204, delivered(204), delivered(204)),
        (299, retry(299), delivered(299)),
        (302, refused(302), refused(302)),
        (400, refused(400), refused(400)),
        (408, refused(408), refused(408)),
        (429, refused(429), refused(429)),
        (499, refused(499), refused(499)),
        (500, retry(500), retry(500)),
        (503, retry(503), retry(503)),
        (600, retry(600), retry(600)),
    ] {
        assert_eq!(judged(status, None, StatusRules::Zoom, 1), first, "{status}");
        assert_eq!(judged(status, None, StatusRules::Zoom, 2), later, "{status}, second attempt");
    }
}

#[test]
fn network_faults_are_retried_and_own_faults_are_not() {
    for error in [
        SendError::Dns(String::new()),
        SendError::Refused,
        SendError::Connect(String::new()),
        SendError::Tls(TlsFault::Other, String::new()),
        SendError::Timeout,
        SendError::Cut(String::new()),
    ] {
        let cause = error.cause();
        for rules in [StatusRules::Steady, StatusRules::Zoom] {
            assert_eq!(verdict(&Err(error.clone()), rules, 1, now()), Verdict::Retry(cause), "{cause} {rules:?}");
        }
    }
    for rules in [StatusRules::Steady, StatusRules::Zoom] {
        let short = Err(SendError::Short(Shortage::Ports));
        assert_eq!(verdict(&short, rules, 1, now()), Verdict::NotTried(Shortage::Ports), "{rules:?}");
        assert_eq!(Cause::Short(Shortage::Ports).fault(), Fault::Own);
        let own = Err(SendError::Own(String::new()));
        assert_eq!(verdict(&own, rules, 1, now()), Verdict::Refused(Cause::Own), "{rules:?}");
    }
}

#[test]
fn retry_after_is_honoured_and_capped() {
    for (status, text, expected) in [
        (429, "120", Some("2026-07-30T12:02:00Z")),
        (503, "Thu, 30 Jul 2026 12:05:00 GMT", Some("2026-07-30T12:05:00Z")),
        (500, "2026-07-30T12:05:00Z", Some("2026-07-30T12:05:00Z")),
        (429, "86400", Some("2026-07-30T13:00:00Z")),
        (503, "99999999999999999999", Some("2026-07-30T13:00:00Z")),
        (503, "0", None),
        (503, "2020-01-01T00:00:00Z", None),
        (503, "soon", None),
    ] {
        let cause = Cause::Status(status);
        let expected = match expected {
            Some(at) => Verdict::RetryAfter(cause, at.parse().expect("an instant")),
            None => Verdict::Retry(cause),
        };
        assert_eq!(judged(status, Some(text), StatusRules::Steady, 1), expected, "{status} {text}");
    }
}

#[test]
fn retry_after_changes_neither_success_nor_refusal_nor_zoom_rules() {
    assert_eq!(judged(200, Some("120"), StatusRules::Steady, 1), Verdict::Delivered { status: 200 });
    assert_eq!(judged(404, Some("120"), StatusRules::Steady, 1), Verdict::Refused(Cause::Status(404)));
    assert_eq!(judged(503, Some("120"), StatusRules::Zoom, 1), Verdict::Retry(Cause::Status(503)));
}

#[test]
fn explicit_lists_follow_the_steady_rules() {
    assert_eq!(StatusRules::from(&Retry::Steady), StatusRules::Steady);
    assert_eq!(StatusRules::from(&Retry::List(Vec::new())), StatusRules::Steady);
    assert_eq!(StatusRules::from(&Retry::Zoom), StatusRules::Zoom);
}

#[test]
fn error_text_begins_with_its_cause() {
    let late = SendError::Tls(TlsFault::Expired, "by a day".to_owned());
    let token = SendError::Token { tls: None, words: "login.example: timeout".to_owned() };
    for error in [SendError::Refused, SendError::Timeout, late, token] {
        assert!(error.to_string().starts_with(&error.cause().to_string()), "{error}");
    }
}

#[test]
fn debug_of_an_answer_shows_no_excerpt() {
    let answer = Answer { status: 500, retry_after: None, excerpt: "canary".to_owned() };
    assert!(!format!("{answer:?}").contains("canary"));
}

proptest! {
    #[test]
    fn every_status_has_a_verdict_that_keeps_the_promises(
        status: u16,
        attempt in 1_u32..,
        retry_after in proptest::option::of("[0-9]{1,25}|\\PC*"),
        second in -60_000_000_000_i64..250_000_000_000,
        rules in prop_oneof![Just(StatusRules::Steady), Just(StatusRules::Zoom)],
    ) {
        let now = Timestamp::from_second(second).expect("within range");
        let result = Ok(Answer { status, retry_after, excerpt: String::new() });
        match verdict(&result, rules, attempt, now) {
            Verdict::Delivered { status: said } => {
                prop_assert_eq!(said, status);
                prop_assert!((200..300).contains(&status), "{} is no success", status);
            }
            Verdict::Retry(cause) => prop_assert_eq!(cause, Cause::Status(status)),
            Verdict::RetryAfter(cause, at) => {
                prop_assert_eq!(cause, Cause::Status(status));
                prop_assert!(now < at && at.duration_since(now) <= RETRY_AFTER_MAX);
            }
            Verdict::Refused(cause) => {
                prop_assert_eq!(cause, Cause::Status(status));
                prop_assert!(!(200..300).contains(&status) && !(500..600).contains(&status), "{} is lost", status);
            }
            Verdict::NotTried(shortage) => prop_assert!(false, "the handler answered, and {}", shortage),
        }
    }
}

fn judged(status: u16, retry_after: Option<&str>, rules: StatusRules, attempt: u32) -> Verdict {
    let answer = Answer { status, retry_after: retry_after.map(str::to_owned), excerpt: String::new() };
    verdict(&Ok(answer), rules, attempt, now())
}

fn now() -> Timestamp {
    NOW.parse().expect("an instant")
}
