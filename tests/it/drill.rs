//! A drill proves fail-over: the exit code of `zoomhook simulate --drill` says whether the bridge did what it should.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::lab::{Bridge, Lab};

const FAIL_OVER: &str = r#"
name = "lab"
about = "The socket is cut; the bridge is back within five seconds."
duration = "3s"
rate = 20
[[step]]
at = "1s"
say = "The socket is cut."
drop = "reset"
[expect]
reconnected_within = "5s"
live_at_end = 1
token_requests_at_most = 1
"#;

/// Is a simulator in a process of its own.
struct Played {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    /// What it said first.
    listening: Value,
}

async fn play(lab: &Lab, drill: &str, more: &[&str]) -> Played {
    let file = lab.directory.path().join("drill.toml");
    std::fs::write(&file, drill).expect("written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_zoomhook"))
        .args(["simulate", "--json", "--listen", "127.0.0.1:0", "--client-secret", "canary-client-secret", "--drill"])
        .arg(file)
        .args(more)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped")).lines();
    let listening = out.next_line().await.expect("text").expect("a line");
    Played { child, out, listening: serde_json::from_str(&listening).expect("json") }
}

impl Played {
    /// Starts a bridge to this simulator, plays the drill to its end, and returns the exit code and all that was said.
    async fn against_the_bridge(mut self, lab: &Lab) -> (i32, Vec<Value>) {
        let names: Vec<&str> = lab.handlers.iter().map(|(name, _)| *name).collect();
        lab.write_configuration(&names);
        let text = std::fs::read_to_string(lab.file()).expect("written");
        let url = |name: &str| self.listening[name].as_str().expect("a url").to_owned();
        let text = text.replace(lab.zoom.ws_url("demo-subscription").as_str(), &url("ws_url"));
        let text = text.replace(lab.zoom.token_url().as_str(), &url("token_url"));
        std::fs::write(lab.file(), text).expect("written");
        let bridge = Bridge::start(lab.command(&["run"])).await;
        let mut said = Vec::new();
        while let Some(line) = self.out.next_line().await.expect("text") {
            said.push(serde_json::from_str(&line).expect("json"));
        }
        let status = self.child.wait().await.expect("running");
        bridge.stop().await;
        (status.code().expect("an exit code"), said)
    }
}

fn what<'a>(said: &'a [Value], kind: &str) -> Vec<&'a Value> {
    said.iter().filter(|line| line["what"] == kind).collect()
}

#[tokio::test]
async fn bridge_that_comes_back_passes_the_drill() {
    let lab = Lab::new(&["crm"]).await;
    let (code, said) = play(&lab, FAIL_OVER, &[]).await.against_the_bridge(&lab).await;
    let report = what(&said, "report")[0];
    assert_eq!((code, &report["passed"]), (0, &Value::Bool(true)), "{said:#?}");
    assert_eq!(what(&said, "step")[0]["done"], serde_json::json!(["drop reset"]));
    let usage = &report["subscriptions"]["demo-subscription"];
    assert!(usage["sockets"] == 2 && usage["heartbeats"] == 2 && report["requests"]["form"] == 1, "{report:#}");
    let gaps = lab.gaps();
    let closed = gaps.iter().filter(|gap| gap.closed_at.is_some()).count();
    assert_eq!(closed, 2, "the start and the cut, both over: {gaps:#?}");
}

#[tokio::test]
async fn unmet_expectation_fails_the_drill_and_is_named() {
    let lab = Lab::new(&["crm"]).await;
    let drill = FAIL_OVER.replace("live_at_end = 1", "sockets = 7");
    let (code, said) = play(&lab, &drill, &[]).await.against_the_bridge(&lab).await;
    let report = what(&said, "report")[0];
    assert_eq!((code, &report["passed"], &report["complete"]), (1, &Value::Bool(false), &Value::Bool(true)));
    let failed = report["expect"].as_array().expect("a list").iter().filter(|verdict| verdict["passed"] == false);
    assert_eq!(failed.map(|verdict| verdict["expected"].as_str()).collect::<Vec<_>>(), [Some("sockets = 7")]);
}

#[tokio::test]
async fn encrypted_drill_leaves_the_file_that_clients_need() {
    let mut lab = Lab::new(&["crm"]).await;
    let ca_file = lab.directory.path().join("ca.pem").display().to_string();
    let played = play(&lab, FAIL_OVER, &["--tls", "--tls-ca-out", &ca_file]).await;
    assert_eq!(played.listening["ca_file"], ca_file.as_str());
    assert!(played.listening["ws_url"].as_str().expect("a url").starts_with("wss://"));
    lab.subscription_lines = format!("ca_file = {ca_file:?}");
    let (code, said) = played.against_the_bridge(&lab).await;
    assert_eq!(code, 0, "{said:#?}");
}

#[tokio::test]
async fn wrong_drill_is_refused_with_its_line() {
    let lab = Lab::new(&[]).await;
    let file = lab.directory.path().join("drill.toml");
    std::fs::write(&file, FAIL_OVER.replace("say =", "shout =")).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_zoomhook")).args(["simulate", "--drill"]).arg(file).output().await;
    let output = output.expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(1) && said.contains("line 8: unknown field `shout`"), "{said}");
}
