//! A stop follows the data, and nothing depends on it.

use std::process::Stdio;
use std::time::Duration;

use crate::lab::{Lab, bodies, body};
use crate::receiver::Answer;

#[tokio::test]
async fn stop_lets_requests_in_flight_end() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Slow(Duration::from_millis(300)));
    lab.zoom.push_all(&bodies(0..8)).await;
    lab.handler("crm").has_seen(8).await;
    let log = bridge.stop().await;
    assert_eq!(lab.handler("crm").taken().len(), 8, "{log}");
    let before = lab.handler("crm").requests();
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(100)).await;
    lab.handler("crm").has_taken(9).await;
    bridge.stop().await;
    assert_eq!(lab.handler("crm").requests(), before + 1, "what was delivered is not delivered again");
}

#[tokio::test]
async fn second_signal_cuts_and_costs_nothing() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Hang);
    lab.zoom.push_all(&bodies(0..5)).await;
    lab.handler("crm").has_seen(5).await;
    bridge.signal("TERM");
    bridge.logged("stopping").await;
    bridge.signal("INT");
    let (status, log) = bridge.ended().await;
    assert!(status.success(), "{status}\n{log}");
    lab.handler("crm").answer(Answer::Status(200));
    let bridge = lab.live_bridge().await;
    lab.handler("crm").has_taken(5).await;
    bridge.stop().await;
}

#[tokio::test]
async fn grace_period_ends_a_stop_that_a_handler_would_hold_up() {
    let mut lab = Lab::new(&["crm"]).await;
    lab.more_configuration = "[shutdown]\ngrace = \"200ms\"".to_owned();
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Hang);
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_seen(1).await;
    bridge.signal("TERM");
    let (status, log) = bridge.ended().await;
    assert!(status.success() && log.contains("cut off"), "{status}\n{log}");
    lab.handler("crm").answer(Answer::Status(200));
    let bridge = lab.live_bridge().await;
    lab.handler("crm").has_taken(1).await;
    bridge.stop().await;
}

#[tokio::test]
async fn stop_is_heard_while_a_reload_waits_for_a_spool_that_takes_nothing() {
    let mut lab = Lab::new(&["crm"]).await;
    lab.more_configuration = "[shutdown]\ngrace = \"200ms\"".to_owned();
    let bridge = lab.live_bridge().await;
    let held = lab.hold_spool();
    // More than the queue of reloads holds.
    for _ in 0..8 {
        bridge.signal("HUP");
    }
    bridge.logged("the spool does not take events").await;
    bridge.signal("TERM");
    let (status, log) = bridge.ended().await;
    assert!(!status.success() && log.contains("the spool did not take what was waiting"), "{status}\n{log}");
    drop(held);
}

#[tokio::test]
async fn stop_is_heard_before_the_spool_takes_its_first_word() {
    let mut lab = Lab::new(&["crm"]).await;
    lab.more_configuration = "[shutdown]\ngrace = \"200ms\"".to_owned();
    lab.live_bridge().await.stop().await;
    let held = lab.hold_spool();
    let bridge = lab.bridge().await;
    bridge.signal("TERM");
    bridge.logged("stopping").await;
    let (status, log) = bridge.ended().await;
    assert!(!status.success() && !log.contains("panicked"), "{status}\n{log}");
    drop(held);
}

#[tokio::test]
async fn log_that_nobody_reads_stops_nothing() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    let mut command = lab.command(&["run"]);
    let mut bridge = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    lab.zoom.wait_for(|counts| counts.accepted > 0).await;
    // At trace level this is many times what the pipe holds.
    lab.zoom.push_all(&bodies(0..2000)).await;
    lab.handler("crm").has_taken(2000).await;
    let pid = bridge.id().expect("running").to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    assert!(bridge.wait().await.expect("it ends").success());
}

#[tokio::test]
async fn service_manager_is_told_when_the_bridge_is_ready_and_when_it_stops() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    let path = lab.directory.path().join("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).expect("a socket");
    let mut command = lab.command(&["run"]);
    command.env("NOTIFY_SOCKET", &path);
    let bridge = crate::lab::Bridge::start(command).await;
    let mut heard = String::new();
    let mut hear = async |word: &str| {
        while !heard.contains(word) {
            let mut buffer = [0; 256];
            let length = socket.recv(&mut buffer).await.expect("a message");
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    hear("READY=1").await;
    bridge.signal("TERM");
    hear("STOPPING=1").await;
    assert!(bridge.ended().await.0.success());
}
