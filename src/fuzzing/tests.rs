use std::fs;
use std::path::Path;

use super::*;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 6] = [
    ("frame", frame),
    ("canonical", canonical),
    ("configuration", configuration),
    ("retry_after", retry_after),
    ("query", query),
    ("recovery", |bytes| recovery(bytes, tempfile::tempdir().expect("a directory").path())),
];

#[test]
fn corpora_break_no_promise() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz");
    let mut names: Vec<String> = fs::read_dir(&root).expect("the corpora").map(name).collect();
    names.sort();
    let mut known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    assert_eq!(names, known, "each target has a corpus, and each corpus a target");
    for (name, target) in TARGETS {
        let files: Vec<_> =
            fs::read_dir(root.join(name)).expect("a corpus").map(|file| file.expect("a file")).collect();
        assert!(files.len() >= 5, "the corpus of {name} is thin");
        for file in files {
            let bytes = fs::read(file.path()).expect("readable");
            let kept = std::panic::catch_unwind(|| target(&bytes));
            assert!(kept.is_ok(), "{} breaks a promise of {name}", file.path().display());
        }
    }
}

#[test]
fn every_target_has_a_program_that_starts_it() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the fuzzer's manifest");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not started");
    }
}

fn name(entry: std::io::Result<fs::DirEntry>) -> String {
    entry.expect("a folder").file_name().to_string_lossy().into_owned()
}
