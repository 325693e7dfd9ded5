//! What is posted is what JavaScript would make of it, byte for byte: a real Node.js is asked.

mod documents;

use zoomhook::webhook::canonical::{DEEPEST, Form, Unsafe};

use self::documents::Documents;
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
