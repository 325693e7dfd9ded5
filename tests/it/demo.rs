//! The demo keeps its word: both faults are shown, and nothing is lost.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

fn demo(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_zoomhook"))
        .arg("demo")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts")
}

#[tokio::test]
async fn demo_shows_both_faults_and_loses_nothing() {
    let output = demo(&["--seconds", "8", "--rate", "20"]).wait_with_output().await.expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let mut rest = &*out;
    for promise in [
        "the console, for your browser: http://127.0.0.1:",
        "zoom sent → stored → delivered 200, signature ok",
        "The handler now answers 503 twice",
        "handler says 503, kept for another try",
        "at attempt 2",
        "The socket is cut",
        "Connected again. The spool has recorded gap 2: ",
        "delivered 200",
        ", lost 0",
    ] {
        let at = rest.find(promise).unwrap_or_else(|| panic!("no {promise:?} in\n{out}"));
        rest = &rest[at + promise.len()..];
    }
    assert!(!out.contains("waiting for another try"), "{out}");
    assert_eq!(err, "");
}

#[tokio::test]
async fn interrupt_ends_the_demo_with_its_summary() {
    let mut child = demo(&["--rate", "20"]);
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut text = String::new();
    while text.matches("delivered 200").count() < 3 {
        assert!(out.read_line(&mut text).await.expect("text") > 0, "it ended early:\n{text}");
    }
    let pid = child.id().expect("running").to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    out.read_to_string(&mut text).await.expect("text");
    assert!(child.wait().await.expect("running").success(), "{text}");
    assert!(text.contains("  sent ") && text.contains(", lost 0"), "{text}");
}
