//! A real Node.js to ask what JavaScript makes of a document.

use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = include_str!("canonical.js");

/// Is a running Node.js.
pub(crate) struct Node(Child);

/// Is what JavaScript makes of a document.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// This, and every number in it has the value that the document gives it.
    Same(Vec<u8>),
    /// This, and a number in it has another value.
    Changed(Vec<u8>),
    /// Nothing: it throws.
    Fails,
}

impl Node {
    /// Starts it. Where there is none, the test that calls is skipped with a word, and fails where `CI` is set.
    pub(crate) fn start() -> Option<Self> {
        let started = Command::new("node").args(["-e", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        match started {
            Ok(child) => Some(Self(child)),
            Err(error) if std::env::var_os("CI").is_some() => panic!("Node.js cannot be started: {error}"),
            Err(error) => {
                eprintln!("skipped: Node.js cannot be started: {error}");
                None
            }
        }
    }

    /// Asks about all of these, in order, and ends it.
    pub(crate) fn ask(mut self, documents: &[Vec<u8>]) -> Vec<Answer> {
        let mut input = self.0.stdin.take().expect("piped");
        let mut output = self.0.stdout.take().expect("piped");
        // Both pipes are small: one thread writes while the other one reads.
        let answers = std::thread::scope(|scope| {
            scope.spawn(move || {
                for document in documents {
                    let length = u32::try_from(document.len()).expect("a small document");
                    let request = [&length.to_le_bytes()[..], document].concat();
                    input.write_all(&request).expect("it reads");
                }
            });
            documents.iter().map(|_| answer(&mut output)).collect()
        });
        assert!(self.0.wait().expect("it ends with its input").success());
        answers
    }
}

fn answer(output: &mut impl Read) -> Answer {
    let mut head = [0; 5];
    output.read_exact(&mut head).expect("an answer");
    let [verdict, length @ ..] = head;
    let mut result = vec![0; usize::try_from(u32::from_le_bytes(length)).expect("it fits")];
    output.read_exact(&mut result).expect("the whole of it");
    match verdict {
        b's' => Answer::Same(result),
        b'c' => Answer::Changed(result),
        _ => Answer::Fails,
    }
}
