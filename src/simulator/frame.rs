//! The frames that Zoom writes, as captured from it, and their variants.

use bytes::Bytes;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::fault::FrameFaults;

/// A frame that is no JSON.
const GARBAGE: &str = "<<< not json >>>";
/// A frame whose content is no JSON.
const TEXT: &str = r#"{"module":"message","content":"the service will be down from 02:00 to 02:15","header":{}}"#;
/// A frame of a module that no document names.
const UNKNOWN: &str = r#"{"module":"weather","success":true,"content":{"sky":["blue",1]},"header":{},"extra":null}"#;
/// The pieces of a fragmented frame: few enough to be cheap, more than two so that one is in the middle.
const FRAGMENTS: usize = 3;

/// Is the first frame of an accepted socket.
pub(super) fn accepted() -> Message {
    Message::text(r#"{"module":"build_connection","success":true,"content":"build connection success","header":{}}"#)
}

/// Is the first frame of an accepted socket that says no more than that.
pub(super) fn accepted_barely() -> Message {
    Message::text(r#"{"success":true,"module":"build_connection"}"#)
}

/// Is the first frame of a refused socket.
pub(super) fn refused(wording: &str) -> Message {
    let frame =
        format!(r#"{{"module":"build_connection","success":false,"content":{},"header":{{}}}}"#, json!(wording));
    Message::text(frame)
}

/// Is the answer to a heartbeat.
pub(super) fn heartbeat() -> Message {
    Message::text(r#"{"module":"heartbeat","success":true,"content":"live","header":{}}"#)
}

/// Is the answer to a heartbeat that Zoom does not like.
pub(super) fn heartbeat_refused() -> Message {
    Message::text(r#"{"module":"heartbeat","success":false,"content":"connection is not built","header":{}}"#)
}

/// Says whether a text from the client is a heartbeat.
pub(super) fn is_heartbeat(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|frame| frame["module"] == "heartbeat")
}

/// Appends the frames that carry one event to `messages`.
pub(super) fn event(body: &str, faults: &FrameFaults, messages: &mut Vec<Message>) {
    let padded = faults.large.map(|size| padded(body, size));
    let body = padded.as_deref().unwrap_or(body);
    let content = if faults.object { body.to_owned() } else { quoted(body) };
    let header = if faults.header { r#"{"x-zm-sequence":17,"retry":false,"region":"us02"}"# } else { "{}" };
    let more = if faults.fields { r#","version":2,"trace":{"id":null,"hops":[]}"# } else { "" };
    let text = if faults.reordered {
        format!(r#"{{"header":{header},"content":{content}{more},"module":"message"}}"#)
    } else {
        format!(r#"{{"module":"message","content":{content},"header":{header}{more}}}"#)
    };

    if faults.garbage {
        messages.push(Message::text(GARBAGE));
    }
    if faults.text {
        messages.push(Message::text(TEXT));
    }
    if faults.unknown {
        messages.push(Message::text(UNKNOWN));
    }
    for _ in 0..if faults.repeat { 2 } else { 1 } {
        if faults.fragmented {
            fragments(text.clone().into(), messages);
        } else if faults.binary {
            messages.push(Message::binary(text.clone().into_bytes()));
        } else {
            messages.push(Message::text(text.clone()));
        }
    }
}

fn quoted(body: &str) -> String {
    serde_json::to_string(body).expect("a string can always be written as JSON")
}

/// Grows an event to about `size` bytes by one more member, which handlers ignore.
fn padded(body: &str, size: usize) -> String {
    let filler = "x".repeat(size.saturating_sub(body.len()));
    match body.strip_suffix('}') {
        Some(open) => format!(r#"{open},"padding":"{filler}"}}"#),
        None => body.to_owned(),
    }
}

/// Cuts a text into fragments, wherever the bytes fall: a character may span two of them.
fn fragments(text: Bytes, messages: &mut Vec<Message>) {
    let size = text.len().div_ceil(FRAGMENTS).max(1);
    for start in (0..text.len()).step_by(size) {
        let end = text.len().min(start + size);
        let opcode = OpCode::Data(if start == 0 { Data::Text } else { Data::Continue });
        messages.push(Message::Frame(Frame::message(text.slice(start..end), opcode, end == text.len())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(body: &str, faults: &FrameFaults) -> Vec<Message> {
        let mut messages = Vec::new();
        event(body, faults, &mut messages);
        messages
    }

    #[test]
    fn content_is_the_escaped_body() {
        let messages = frames(r#"{"event":"a","payload":{"topic":"q\"\n"}}"#, &FrameFaults::default());
        let expected =
            r#"{"module":"message","content":"{\"event\":\"a\",\"payload\":{\"topic\":\"q\\\"\\n\"}}","header":{}}"#;
        assert_eq!(messages, [Message::text(expected)]);
    }

    #[test]
    fn content_as_object_is_the_body_itself() {
        let messages = frames(r#"{"event":"a"}"#, &FrameFaults { object: true, ..Default::default() });
        assert_eq!(messages, [Message::text(r#"{"module":"message","content":{"event":"a"},"header":{}}"#)]);
    }

    #[test]
    fn padding_keeps_the_body_an_event() {
        let body = padded(r#"{"event":"a"}"#, 5000);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(value["event"] == "a" && body.len() >= 5000, "{}", body.len());
    }

    #[test]
    fn heartbeats_are_told_from_other_texts() {
        assert!(is_heartbeat(r#"{ "module" : "heartbeat" }"#));
        assert!(!is_heartbeat("heartbeat") && !is_heartbeat(r#"{"module":"message"}"#));
    }

    #[test]
    fn refusal_quotes_its_wording() {
        let expected = r#"{"module":"build_connection","success":false,"content":"a \"b\"","header":{}}"#;
        assert_eq!(refused(r#"a "b""#), Message::text(expected));
    }
}
