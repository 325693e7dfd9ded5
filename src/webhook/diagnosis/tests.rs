use super::rewrite::{Keys, Layout, Numbers, Strings};
use super::*;

const NOW: i64 = 1_785_368_934;
const TIMESTAMP: &str = "1785368934";
const BODY: &str = r#"{"event":"meeting.updated","payload":{"account_id":"A","object":{"topic":"Überblick 🚀 a/b <1>","size":5.0}},"event_ts":1785368930123}"#;

#[test]
fn right_signature_is_right() {
    let found = diagnosed(&sign(TIMESTAMP, BODY), TIMESTAMP, BODY);
    assert!(found.is_right(), "{found:?}");
    assert_eq!((found.clock, found.tried), (ClockState::Fresh, 1));
}

#[test]
fn every_usual_change_of_the_body_is_named() {
    let latin_1: String = BODY.bytes().map(char::from).collect();
    let cases = [
        (format!("{BODY}\n"), BODY.to_owned(), BodyChange::EndTrimmed),
        (format!("{BODY} \r\n"), BODY.to_owned(), BodyChange::EndTrimmed),
        (BODY.to_owned(), format!("{BODY}\n"), BodyChange::LineFeedAdded),
        (BODY.to_owned(), format!("{BODY}\r\n"), BodyChange::CrLfAdded),
        ("{\r\n}".to_owned(), "{\n}".to_owned(), BodyChange::ToLf),
        ("{\n}".to_owned(), "{\r\n}".to_owned(), BodyChange::ToCrLf),
        (format!("\u{feff}{BODY}"), BODY.to_owned(), BodyChange::MarkTaken),
        (BODY.to_owned(), format!("\u{feff}{BODY}"), BodyChange::MarkAdded),
        (latin_1.clone(), BODY.to_owned(), BodyChange::Latin1Undone),
        (BODY.to_owned(), latin_1, BodyChange::Latin1Done),
    ];
    for (came, signed, change) in cases {
        let found = diagnosed(&sign(TIMESTAMP, &signed), TIMESTAMP, &came);
        assert_eq!(found.differences, Some(vec![Difference::Body(change)]), "{came:?}");
        assert!(!found.is_right());
    }
}

#[test]
fn every_usual_way_to_write_the_body_again_is_named() {
    let spaced = r#"{"event": "meeting.updated", "payload": {"account_id": "A", "object": {"topic": "\u00dcberblick \ud83d\ude80 a/b <1>", "size": 5.0}}, "event_ts": 1785368930123}"#;
    let php = r#"{"event":"meeting.updated","payload":{"account_id":"A","object":{"topic":"\u00dcberblick \ud83d\ude80 a\/b <1>","size":5.0}},"event_ts":1785368930123}"#;
    let javascript = BODY.replace("5.0", "5");
    let go = r#"{"event":"meeting.updated","event_ts":1785368930123,"payload":{"account_id":"A","object":{"size":5.0,"topic":"Überblick 🚀 a/b \u003c1\u003e"}}}"#;
    let pretty = "{\n  \"event\": \"meeting.updated\",\n  \"payload\": {\n    \"account_id\": \"A\",\n    \"object\": {\n      \"topic\": \"Überblick 🚀 a/b <1>\",\n      \"size\": 5\n    }\n  },\n  \"event_ts\": 1785368930123\n}";
    let cases: [(&str, &str, &str); 7] = [
        (BODY, spaced, "Python's json.dumps"),
        (BODY, php, "PHP's json_encode"),
        (BODY, &javascript, "JSON.stringify writes it"),
        (BODY, go, "Go's json.Marshal"),
        (BODY, pretty, "indented by 2 spaces"),
        // The other way round: what came is rewritten, and Zoom's own form is found.
        (spaced, BODY, "JSON.stringify writes it"),
        (php, BODY, "JSON.stringify writes it"),
    ];
    for (came, signed, words) in cases {
        let found = diagnosed(&sign(TIMESTAMP, signed), TIMESTAMP, came);
        let Some([Difference::Body(change @ BodyChange::Rewritten(_))]) = found.differences.as_deref() else {
            panic!("{words}: {found:?}");
        };
        assert!(change.to_string().contains(words), "{words}: {change}");
    }
}

#[test]
fn every_style_is_found_again() {
    for style in Style::all() {
        let written = style.write(BODY).expect("JSON");
        let found = diagnosed(&sign(TIMESTAMP, &written), TIMESTAMP, BODY);
        assert!(found.differences.is_some(), "{style}");
    }
    let style = Style {
        layout: Layout::Indented(4),
        strings: Strings::Ascii,
        keys: Keys::Sorted,
        numbers: Numbers::AsTheyStand,
    };
    let written = format!("{}\n", style.write(BODY).expect("JSON"));
    let found = diagnosed(&sign(TIMESTAMP, &written), TIMESTAMP, BODY);
    assert_eq!(found.differences, Some(vec![Difference::Body(BodyChange::RewrittenWithLineFeed(style))]));
}

#[test]
fn every_usual_mistake_with_the_secret_is_named() {
    for (here, there, change) in [
        ("s3cret", "s3cret\n", SecretChange::LineFeed),
        ("s3cret", "s3cret\r\n", SecretChange::CrLf),
        (" s3cret ", "s3cret", SecretChange::Trimmed),
        ("\"s3cret\"", "s3cret", SecretChange::Unquoted),
        ("s3cret", "\"s3cret\"", SecretChange::Quoted),
    ] {
        let signature = Signer::new(&Secret::new(there)).sign(TIMESTAMP, BODY.as_bytes());
        let found = diagnose(&claim(&signature, TIMESTAMP, BODY, &Headers::default()), &Secret::new(here), now());
        assert_eq!(found.differences, Some(vec![Difference::Secret(change)]));
    }
}

#[test]
fn timestamp_from_another_place_is_named() {
    let headers = Headers::read("date: Wed, 29 Jul 2026 23:48:50 GMT\nx-request-start: 1785368931\n");
    for (came, signed, source) in [
        ("1785368934000", "1785368934", TimestampSource::InSeconds),
        ("1785368934", "1785368930123", TimestampSource::EventTs),
        ("1785368934", "1785368931", TimestampSource::Header("x-request-start".to_owned())),
        ("1785368934", "1785368930", TimestampSource::Header("date".to_owned())),
    ] {
        let found = diagnose(&claim(&sign(signed, BODY), came, BODY, &headers), &secret(), now());
        assert_eq!(found.differences, Some(vec![Difference::Timestamp(source)]), "{signed}");
    }
    let found = diagnosed(&sign("1785368930", BODY), TIMESTAMP, BODY);
    assert_eq!(found.differences, Some(vec![Difference::Timestamp(TimestampSource::EventTsInSeconds)]));
}

#[test]
fn another_message_is_named() {
    let signer = Signer::new(&secret());
    let alone = format!("v0={}", signer.tag(&[BODY.as_bytes()]));
    let unversioned = format!("v0={}", signer.tag(&[TIMESTAMP.as_bytes(), b":", BODY.as_bytes()]));
    for (signature, message) in [(alone, Message::BodyAlone), (unversioned, Message::NoVersion)] {
        let found = diagnosed(&signature, TIMESTAMP, BODY);
        assert_eq!(found.differences, Some(vec![Difference::Message(message)]));
    }
}

#[test]
fn two_mistakes_at_once_are_named_together() {
    let signature = Signer::new(&Secret::new("bridge-test-secret\n")).sign(TIMESTAMP, BODY.as_bytes());
    let found = diagnosed(&signature, TIMESTAMP, &format!("{BODY}\n"));
    let expected = [Difference::Secret(SecretChange::LineFeed), Difference::Body(BodyChange::EndTrimmed)];
    assert_eq!(found.differences.as_deref(), Some(&expected[..]));
}

#[test]
fn signature_of_another_form_is_read_all_the_same() {
    let right = sign(TIMESTAMP, BODY);
    let digits = right.strip_prefix("v0=").expect("a version");
    let bytes = hex::decode(digits).expect("hexadecimal");
    let base64 = base64::engine::general_purpose::STANDARD.encode(&bytes);
    for (signature, faults) in [
        (digits.to_owned(), vec![FormFault::NoVersion]),
        (format!("sha256={digits}"), vec![FormFault::OtherVersion("sha256".to_owned())]),
        (format!("v0={}", digits.to_uppercase()), vec![FormFault::UpperCase]),
        (format!("v0={base64}"), vec![FormFault::Base64]),
        (base64, vec![FormFault::NoVersion, FormFault::Base64]),
        (format!(" {right}\n"), vec![FormFault::Surrounded]),
        (format!("\"{right}\""), vec![FormFault::Surrounded]),
    ] {
        let found = diagnosed(&signature, TIMESTAMP, BODY);
        assert_eq!((&found.differences, &found.form), (&Some(Vec::new()), &faults), "{signature}");
        assert!(!found.is_right(), "{signature}");
    }
    for signature in ["", "v0=", &right[..60], "v0=zz"] {
        let found = diagnosed(signature, TIMESTAMP, BODY);
        assert_eq!((found.differences, found.tried), (None, 0), "{signature}");
        assert!(found.form.contains(&FormFault::NoMac), "{signature}");
    }
}

#[test]
fn age_is_measured_against_the_window() {
    for (timestamp, state) in [
        ("1785368634", ClockState::Fresh),
        ("1785369234", ClockState::Fresh),
        ("1785368633", ClockState::Old(SignedDuration::from_secs(301))),
        ("1785369235", ClockState::Ahead(SignedDuration::from_secs(301))),
        ("1785368934000", ClockState::Milliseconds),
        ("", ClockState::NotATime),
        ("2026-07-29T23:48:54Z", ClockState::NotATime),
    ] {
        assert_eq!(diagnosed(&sign(timestamp, BODY), timestamp, BODY).clock, state, "{timestamp}");
    }
}

#[test]
fn another_secret_explains_nothing_and_everything_usual_was_tried() {
    let signature = Signer::new(&Secret::new("another")).sign(TIMESTAMP, BODY.as_bytes());
    let found = diagnosed(&signature, TIMESTAMP, BODY);
    assert_eq!((found.differences.clone(), found.form.clone()), (None, Vec::new()));
    assert!(found.tried > 400, "{}", found.tried);
    let headers = Headers::default();
    let binary = Claim { body: b"\xff\xfe\0", ..claim(&signature, TIMESTAMP, BODY, &headers) };
    assert_eq!(diagnose(&binary, &secret(), now()).differences, None);
}

fn diagnosed(signature: &str, timestamp: &str, body: &str) -> Diagnosis {
    diagnose(&claim(signature, timestamp, body, &Headers::default()), &secret(), now())
}

fn claim<'a>(signature: &'a str, timestamp: &'a str, body: &'a str, headers: &'a Headers) -> Claim<'a> {
    Claim { signature, timestamp, body: body.as_bytes(), headers }
}

fn sign(timestamp: &str, body: &str) -> String {
    Signer::new(&secret()).sign(timestamp, body.as_bytes())
}

fn secret() -> Secret {
    Secret::new("bridge-test-secret")
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}
