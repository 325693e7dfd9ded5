//! Every body that Zoom is known to send, on its way to a handler.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::*;
use crate::event::{Event, EventId};
use crate::webhook::request::{SIGNATURE, TIMESTAMP};

#[tokio::test]
async fn every_event_body_arrives_byte_for_byte_and_signed() {
    let corpus = corpus();
    let acts: Vec<_> = corpus.iter().map(|_| Act::Answer(OK.into())).collect();
    let mut handler = Handler::start(acts).await;
    let client = connected(&handler.destination()).expect("a client");

    for (path, body) in corpus {
        let event = Event {
            id: EventId(1),
            request_id: RequestId::new(Uuid::nil()),
            subscription: "main".into(),
            kind: "".into(),
            event_ts: None,
            received_at: Timestamp::UNIX_EPOCH,
            body: body.clone().into(),
            unreadable: None,
        };
        client.clone().oneshot(Outgoing::new(&event, event.body.clone(), &signer(), now())).await.expect("an answer");
        let request = handler.requests.recv().await.expect("a request").bytes;
        assert!(split(&request).1 == body, "{}", path.display());
        let signature = header(&request, SIGNATURE);
        assert!(signer().verify(header(&request, TIMESTAMP), &body, signature), "{}", path.display());
    }
}

#[test]
fn corpus_is_json_without_padding_and_wide() {
    #[derive(Deserialize)]
    struct Named {
        event: String,
    }
    let corpus = corpus();
    let mut names = BTreeSet::new();
    for (path, body) in &corpus {
        let named: Named = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let family = path.parent().and_then(|folder| folder.file_name()).expect("a family");
        assert!(
            family == "traps" || file.split('-').next() == Some(&named.event),
            "{} tells another event",
            path.display()
        );
        assert!(body.starts_with(b"{") && body.ends_with(b"}"), "{} is padded", path.display());
        names.insert(named.event);
    }
    assert!(corpus.len() >= 120 && names.len() >= 120, "{} bodies of {} types", corpus.len(), names.len());
}

/// Reads every body under `fixtures/events/<family>`.
fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let list = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let files = list(Path::new("fixtures/events")).into_iter().flat_map(|family| list(&family));
    files.map(|path| (path.clone(), std::fs::read(path).expect("a readable body"))).collect()
}
