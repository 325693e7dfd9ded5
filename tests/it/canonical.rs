//! What is posted is what JavaScript would make of it, byte for byte: a real Node.js is asked.

mod documents;

use zoomhook::webhook::canonical::{DEEPEST, Form, Unsafe};

use self::documents::Documents;
use crate::lab::{Lab, corpus};
use crate::node::{Answer, Node};

const DOCUMENTS: u64 = 25_000;

#[test]
fn forms_agree_with_a_real_javascript_engine() {
    let Some(node) = Node::start() else { return };
    let documents: Vec<Vec<u8>> = (0..DOCUMENTS).map(|seed| Documents::new(seed).document()).collect();
    let answers = node.ask(&documents);
    let mut seen = [0; 4];
    for (seed, (document, answer)) in documents.iter().zip(&answers).enumerate() {
        let form = Form::of(document);
        let (kind, agree) = match (&form, answer) {
            (Form::Fixed, Answer::Same(result)) => (0, result == document),
            (Form::Canonical(bytes), Answer::Same(result)) => (1, result == bytes && result != document),
            // What is not JSON may have such a number before that shows.
            (Form::Unsafe(Unsafe::Number), Answer::Changed(_) | Answer::Fails) => (2, true),
            (Form::Unsafe(Unsafe::NotJson), Answer::Fails) => (3, true),
            (Form::Unsafe(Unsafe::TooDeep), _) => (3, documents::depth(document) > DEEPEST),
            (Form::Fixed | Form::Canonical(_) | Form::Unsafe(_), _) => (3, false),
        };
        assert!(agree, "seed {seed}: {}\n{form:?}, but {answer:?}", String::from_utf8_lossy(document));
        seen[kind] += 1;
    }
    assert!(seen.iter().all(|count| *count >= 1000), "too few of a kind: {seen:?}");
}

#[tokio::test]
async fn whole_corpus_is_posted_in_a_form_that_verifies_over_the_bytes_and_over_what_javascript_makes_of_them() {
    let Some(node) = Node::start() else { return };
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let corpus = corpus();
    lab.zoom.push_all(&corpus).await;
    let handler = lab.handler("crm");
    // It has checked each signature over the bytes that came.
    handler.has_taken(corpus.len()).await;
    let posted: Vec<Vec<u8>> = handler.taken().into_keys().map(Vec::from).collect();
    let [mut changed, mut kept] = [0, 0];
    for (body, answer) in posted.iter().zip(node.ask(&posted)) {
        match answer {
            Answer::Same(result) => {
                assert!(&result == body, "refused over JSON.stringify: {}", String::from_utf8_lossy(body));
                changed += usize::from(!corpus.iter().any(|given| given.as_bytes() == body));
            }
            Answer::Changed(_) | Answer::Fails => {
                assert!(corpus.iter().any(|given| given.as_bytes() == body), "neither Zoom's bytes nor JavaScript's");
                kept += 1;
            }
        }
    }
    assert!(changed >= 15 && kept >= 3, "{changed} changed, {kept} kept");
    let count = |outcome, count| {
        format!("zoomhook_bodies_not_fixed_point_total{{destination=\"crm\",outcome=\"{outcome}\"}} {count}\n")
    };
    bridge.until("/metrics", |_, text| text.contains(&count("canonical", changed))).await;
    bridge.until("/metrics", |_, text| text.contains(&count("unsafe", kept))).await;
    let log = bridge.stop().await;
    assert_eq!(log.matches("posted as it came").count(), 1, "all of them are of one type");
    let mut view = lab.view();
    for row in lab.rows() {
        let stored = view.event(row.id).expect("readable").expect("stored").body;
        assert!(corpus.iter().any(|given| given.as_bytes() == stored), "the spool keeps what Zoom wrote");
    }
}
