//! Frames by table, and the promises about bytes by proptest.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn acceptance_depends_on_success_alone() {
    let cases = [
        (r#"{"module":"build_connection","success":true,"content":"anything","header":{}}"#, Message::Accepted),
        (r#"{"header":{},"content":"Invalid Token","success":true,"module":"build_connection"}"#, Message::Accepted),
        (r#" { "success" : true , "module" : "build_connection" } "#, Message::Accepted),
        (
            r#"{"module":"build_connection","success":false,"content":"Invalid Token","header":{}}"#,
            refused("Invalid Token"),
        ),
        (r#"{"module":"build_connection","success":false}"#, refused("")),
        (r#"{"module":"build_connection","success":false,"content":{"code":4}}"#, refused(r#"{"code":4}"#)),
        (r#"{"module":"build_connection","success":"true"}"#, refused("")),
        (r#"{"module":"build_connection","content":"ok"}"#, refused("ok")),
    ];
    for (frame, expected) in cases {
        assert_eq!(parse(frame.as_bytes()), expected, "{frame}");
    }
}

#[test]
fn heartbeats_and_unknown_modules_are_told_apart() {
    let cases = [
        (r#"{"module":"heartbeat","success":true,"content":"live","header":{}}"#, Message::HeartbeatAnswered),
        (r#"{"module":"heartbeat"}"#, Message::HeartbeatAnswered),
        (r#"{"module":"heartbeat","success":false,"content":"gone"}"#, Message::HeartbeatRefused),
        (r#"{"module":"notice","content":"soon"}"#, Message::Unknown),
        (r#"{"module":"","content":"soon"}"#, Message::Unknown),
        (r#"{"module":"notice","content":{"event":7}}"#, Message::Unknown),
        (r#"{"module":"notice"}"#, Message::Unknown),
    ];
    for (frame, expected) in cases {
        assert_eq!(parse(frame.as_bytes()), expected, "{frame}");
    }
}

#[test]
fn event_as_text_is_unescaped_once() {
    let body =
        r#"{"event":"meeting.started","payload":{"topic":"a \"b\" \\ \u00e9 é\u2028 🚀"},"event_ts":1785369357392}"#;
    let content = event(&text_frame(body));
    assert_eq!(content.body, body);
    assert_eq!(&*content.kind, "meeting.started");
    assert_eq!((content.event_ts, content.parked), (Some(1_785_369_357_392), None));
}

#[test]
fn event_as_object_keeps_the_bytes_that_stand_in_the_frame() {
    let body = r#"{ "event_ts": 5.0e3,  "event" : "a\u002eb", "n": 123456789012345678901234567890, "n": -0 }"#;
    let content = event(format!(r#"{{"content":{body},"module":"message"}}"#).as_bytes());
    assert_eq!(content.body, body);
    assert_eq!((&*content.kind, content.event_ts, content.parked), ("a.b", Some(5000), None));
}

#[test]
fn odd_bodies_are_events_all_the_same() {
    let cases = [
        (r#"{}"#, "", None),
        (r#"{"event":"app_deauthorized"}"#, "app_deauthorized", None),
        (r#"{"event":5,"event_ts":"1785369357392"}"#, "", Some(1_785_369_357_392)),
        (r#"{"event":null,"event_ts":null}"#, "", None),
        (r#"{"event":{"event":"inner"},"event_ts":[1]}"#, "", None),
        (r#"{"event":"a","event":"b","event_ts":1,"event_ts":2}"#, "b", Some(2)),
        (r#"{"event":"\ud800","event_ts":"soon"}"#, "", None),
        (r#"{"\ud800":1,"event":"a","event_ts":1785369357392.7}"#, "a", Some(1_785_369_357_392)),
        (r#"{"payload":{"event":"inner"},"event_ts":"inf"}"#, "", None),
        (r#"{"event":"a","event_ts":-9223370241081139507}"#, "a", None),
        (r#"{"event":"a","event_ts":1e300}"#, "a", None),
        (r#"[{"event":"inside"}]"#, "", None),
        (r#""text""#, "", None),
        ("17", "", None),
    ];
    for (body, kind, event_ts) in cases {
        let content = event(&text_frame(body));
        assert_eq!((&*content.kind, content.event_ts, content.parked), (kind, event_ts, None), "{body}");
        assert_eq!(content.body, body);
    }
}

#[test]
fn what_is_not_understood_is_kept_and_says_why() {
    let cases: [(&[u8], &[u8], &str); 10] = [
        (b"", b"", "frame is not a json object"),
        (b"garbage", b"garbage", "frame is not a json object"),
        (b"[1]", b"[1]", "frame is not a json object"),
        (br#"{"module":"message""#, br#"{"module":"message""#, "frame is not a json object"),
        (b"{}{}", b"{}{}", "frame is not a json object"),
        (b"\xff\x00", b"\xff\x00", "frame is not text"),
        (br#"{"event":"a"}"#, br#"{"event":"a"}"#, "frame names no module"),
        (br#"{"module":"message"}"#, br#"{"module":"message"}"#, "message has no content"),
        (br#"{"module":"message","content":"{\"event\""}"#, br#"{"event""#, "content is not json"),
        (br#"{"module":"message","content":""}"#, b"", "content is not json"),
    ];
    for (frame, body, why) in cases {
        let content = event(frame);
        assert_eq!((&*content.body, content.parked), (body, Some(why)), "{}", String::from_utf8_lossy(frame));
    }
    for content in [r#"{"event":"a.b"}"#, r#""{\"event\":\"a.b\"}""#] {
        let frame = format!(r#"{{"module":"event","content":{content}}}"#);
        let parked = event(frame.as_bytes());
        assert_eq!(parked.body, frame);
        assert_eq!(parked.parked, Some("module is unknown, and its content names an event"));
    }
    for value in ["null", "true", "5"] {
        let frame = format!(r#"{{"module":"message","content":{value}}}"#);
        let content = event(frame.as_bytes());
        assert_eq!(content.body, frame);
        assert_eq!(content.parked, Some("content is neither text nor an object"));
    }
}

#[test]
fn unpaired_surrogate_is_delivered_as_its_escape() {
    let cases = [
        (r#"{\"event\":\"a\",\"x\":\"\ud800\"}"#, r#"{"event":"a","x":"\ud800"}"#),
        (
            r#"{\"event\":\"a\",\"x\":\"\uDC00\ud83d\ude00\uD83D!\"}"#,
            "{\"event\":\"a\",\"x\":\"\\udc00\u{1f600}\\ud83d!\"}",
        ),
        // Behind two backslashes of the text, which are one in its string.
        (r#"{\"event\":\"a\",\"x\":\"\\\u005c\ud800\"}"#, r#"{"event":"a","x":"\\\ud800"}"#),
        (r#"{\"event\":\"a\",\"x\":\"\ud800\ud800\u00e9\"}"#, "{\"event\":\"a\",\"x\":\"\\ud800\\ud800é\"}"),
    ];
    for (content, body) in cases {
        let frame = format!(r#"{{"module":"message","content":"{content}"}}"#);
        let content = event(frame.as_bytes());
        assert_eq!((&*content.kind, content.parked), ("a", None), "{frame}");
        assert_eq!(content.body, body);
    }
}

#[test]
fn unpaired_surrogate_that_no_string_holds_does_not_lose_the_event() {
    for content in [r#"{\"event\":\"a\",\"x\":\"\\\ud800\"}"#, r#"{\"event\":\"a\"\ud800}"#, r"\ud800"] {
        let frame = format!(r#"{{"module":"message","content":"{content}"}}"#);
        let content = event(frame.as_bytes());
        let why = "content has an unpaired surrogate, and not within a string";
        assert_eq!((&*content.body, content.parked), (frame.as_bytes(), Some(why)));
    }
}

#[test]
fn depth_does_not_lose_the_event() {
    let deep = format!(r#"{{"event":"deep","payload":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let as_object = format!(r#"{{"module":"message","content":{deep}}}"#);
    for frame in [text_frame(&deep), as_object.into_bytes()] {
        let content = event(&frame);
        assert_eq!((&*content.kind, content.parked), ("deep", None));
        assert_eq!(content.body, deep);
    }
}

#[test]
fn debug_shows_no_payload() {
    let shown = format!("{:?}", parse(&text_frame(r#"{"event":"a","payload":"canary"}"#)));
    assert!(shown.contains(r#""a""#) && !shown.contains("canary"), "{shown}");
}

/// Every escape that there is, and texts that stand between them.
const ESCAPES: &[&str] = &[
    r#"\""#,
    r"\\",
    r"\/",
    r"\b",
    r"\f",
    r"\n",
    r"\r",
    r"\t",
    r"\u000b",
    r"\u00e9",
    r"\ud83d\ude80",
    "x",
    "é",
    "u0041",
];

proptest! {
    #[test]
    fn any_json_as_text_comes_out_byte_for_byte(body in json_text()) {
        let content = event(&text_frame(&body));
        prop_assert_eq!(content.parked, None);
        prop_assert_eq!(content.body, body);
    }

    #[test]
    fn any_text_as_content_comes_out_byte_for_byte(body in ".*") {
        prop_assert_eq!(event(&text_frame(&body)).body, body);
    }

    #[test]
    fn every_escape_means_what_json_says(pieces in prop::collection::vec(prop::sample::select(ESCAPES), 0..20)) {
        let escaped = pieces.concat();
        let body: String = serde_json::from_str(&format!("\"{escaped}\"")).expect("a string");
        let content = event(format!(r#"{{"module":"message","content":"{escaped}"}}"#).as_bytes());
        prop_assert_eq!(content.body, body);
    }

    #[test]
    fn any_escaping_of_a_body_means_the_same(body in json_text()) {
        let escaped: String = body.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let content = event(format!(r#"{{"module":"message","content":"{escaped}"}}"#).as_bytes());
        prop_assert_eq!(content.body, body);
    }

    #[test]
    fn no_bytes_are_lost(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        // Random bytes name no module, so that all of them have to be kept.
        prop_assert_eq!(event(&frame).body, frame);
    }

    #[test]
    fn damaged_frames_never_panic(body in json_text(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut frame = text_frame(&body);
        let at = at.index(frame.len());
        frame[at] = byte;
        parse(&frame);
        parse(&frame[..at]);
    }
}

fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(4, 32, 8, |inner| {
        let key = prop_oneof![Just("event".to_owned()), Just("event_ts".to_owned()), ".*"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..8).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    });
    (tree, any::<bool>()).prop_map(|(value, pretty)| if pretty { format!("{value:#}") } else { value.to_string() })
}

fn text_frame(body: &str) -> Vec<u8> {
    json!({"module": "message", "content": body, "header": {}}).to_string().into_bytes()
}

fn event(frame: &[u8]) -> Content {
    let message = parse(frame);
    let Message::Event(content) = message else { panic!("no event: {message:?}") };
    content
}

fn refused(words: &str) -> Message {
    Message::Refused { words: words.into() }
}
