//! What is promised of any bytes at all: the targets of the fuzzer, which `tests/fuzz` starts.
//!
//! Each panics when a promise is broken. Their corpora in `fixtures/fuzz` run with the other tests, too.

use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::de::IgnoredAny;

use crate::admin;
use crate::config::source::{Environment, File, Flags, Sources};
use crate::config::{self, LogFormat, Purpose, Retry};
use crate::spool;
use crate::webhook::canonical::Form;
use crate::webhook::verdict::{Answer, RETRY_AFTER_MAX, StatusRules, Verdict, verdict};
use crate::zoom::message::{Content, Message, parse};

/// Reads a frame: what is posted is JSON, and what was wrapped comes out byte for byte.
pub fn frame(bytes: &[u8]) {
    if let Message::Event(Content { body, parked: None, .. }) = parse(bytes) {
        serde_json::from_slice::<IgnoredAny>(&body).expect("what is delivered is json");
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    let content = serde_json::to_string(text).expect("text is json");
    let wrapped = format!(r#"{{"module":"message","content":{content}}}"#);
    let Message::Event(content) = parse(wrapped.as_bytes()) else { panic!("a message was taken for something else") };
    assert_eq!(content.body, bytes, "the content of a message is kept as it is");
}

/// Makes JavaScript's form of a body: it is JSON, and stays as it is when it is made again.
pub fn canonical(bytes: &[u8]) {
    match Form::of(bytes) {
        Form::Fixed => assert_json(bytes),
        Form::Canonical(form) => {
            assert_json(&form);
            assert_ne!(form, bytes, "what is fixed is called so");
            assert_eq!(Form::of(&form), Form::Fixed, "the form of a form is the form");
        }
        Form::Unsafe(_) => {}
    }
}

/// Reads a configuration: there is one, or there are problems, and what there is can be shown.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    for purpose in [Purpose::Run, Purpose::Operate] {
        let sources = Sources {
            file: Some(File { path: "zoomhook.toml".into(), text: text.to_owned() }),
            environment: Environment::default(),
            flags: Flags::default(),
            log_format: LogFormat::Text,
            read: &|_| Err(io::ErrorKind::NotFound.into()),
            fetch: &|_, _| Err("nothing is fetched".into()),
        };
        match config::load(&sources, purpose) {
            Ok(loaded) => assert!(!config::show(&loaded.config).is_empty()),
            Err(problems) => assert!(!problems.problems.is_empty(), "a refusal has a reason"),
        }
    }
}

/// Reads a `Retry-After`: whatever it says, nobody waits for longer than the longest wait.
pub fn retry_after(bytes: &[u8]) {
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000);
    let text = String::from_utf8_lossy(bytes).into_owned();
    let answer = Ok(Answer { status: 503, retry_after: Some(text), excerpt: String::new() });
    match verdict(&answer, StatusRules::from(&Retry::Steady), 1, now) {
        Verdict::RetryAfter(_, at) => assert!(at <= now + RETRY_AFTER_MAX, "the wait is capped"),
        Verdict::Retry(_) => {}
        other @ (Verdict::Delivered { .. } | Verdict::Refused(_) | Verdict::NotTried(_)) => {
            panic!("a 503 came to {other:?}")
        }
    }
}

/// Reads the parameters of every list that the admin port has: what is taken is within its bounds.
pub fn query(bytes: &[u8]) {
    let Ok(uri) = http::Uri::try_from([b"/?", bytes].concat()) else { return };
    admin::read_every_query(uri);
}

/// Opens a spool whose log or file is damaged, in this empty directory: what was durable before the damage is there.
pub fn recovery(bytes: &[u8], directory: &Path) {
    spool::open_damaged(bytes, directory);
}

fn assert_json(bytes: &[u8]) {
    serde_json::from_slice::<IgnoredAny>(bytes).expect("a form is json");
}

#[cfg(test)]
mod tests;
