//! What strangers can do to the operator's port, and through it to the bridge: little.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::lab::{Bridge, Lab, bodies};

/// Fewer file descriptors than any system gives.
const FILES: usize = 64;

#[tokio::test]
async fn half_open_flood_stops_neither_deliveries_nor_the_port() {
    let mut lab = Lab::new(&["crm"]).await;
    // Each connection to a handler takes a file descriptor, too.
    lab.destination_lines = "concurrency = 8".to_owned();
    lab.write_configuration(&["crm"]);
    let bridge = Bridge::start(with_few_files(lab.command(&["run"]))).await;
    bridge.until_ready().await;
    let mut flood = Vec::new();
    for _ in 0..FILES {
        let mut stream = TcpStream::connect(bridge.admin).await.expect("it listens");
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localh").await.expect("it takes connections");
        flood.push(stream);
    }
    let events = bodies(0..100);
    for event in &events {
        lab.zoom.push(event).await;
    }
    lab.handler("crm").has_taken(events.len()).await;
    bridge.until("/api/v1/status", |code, text| code == 200 && text.contains("\"pending\":0")).await;
    let (_, metrics) = bridge.get("/metrics").await;
    assert!(metrics.contains("outcome=\"retry\"} 0\n"), "no delivery had to wait for a file descriptor\n{metrics}");
    // A stranger's health check is answered, too: those that say nothing give their places away.
    let mut probe = TcpStream::connect(bridge.admin).await.expect("it listens");
    probe.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_, metrics) = bridge.get("/metrics").await;
    assert!(metrics.contains("zoomhook_admin_refusals_total{reason=\"displaced\"}"), "{metrics}");
    assert!(!bridge.log().contains("cannot accept"), "{}", bridge.log());
    let mut first = flood.swap_remove(0);
    assert_eq!(first.read(&mut [0; 1]).await.unwrap_or(0), 0, "the first of them was closed");
    bridge.stop().await;
}

#[tokio::test]
async fn unix_socket_serves_the_command_line_and_nobody_else() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    let path = lab.directory.path().join("admin.sock");
    let listen = format!("unix:{}", path.display());
    let mut bridge = lab.command(&["run", "--listen", &listen]).spawn().expect("it starts");
    lab.zoom.wait_for(|counts| counts.accepted == 1).await;
    lab.zoom.push(&bodies(0..1)[0]).await;
    lab.handler("crm").has_taken(1).await;

    let (code, out, err) = lab.run(&["status", "--listen", &listen]).await;
    assert!(code == 0 && out.contains("main: live"), "{out}{err}");
    let (code, out, err) = lab.run(&["pause", "crm", "--listen", &listen]).await;
    assert!(code == 0 && out.contains("crm is paused"), "{out}{err}");
    let audit = lab.view().audit(None, 1).expect("readable");
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(lab.directory.path()).expect("there"));
    assert_eq!((&*audit[0].action, &*audit[0].who), ("pause", &*format!("operator with uid {uid}")));

    let pid = bridge.id().expect("running").to_string();
    let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
    assert!(sent.success() && bridge.wait().await.expect("it ends").success());
    assert!(!path.exists(), "the socket is gone");
    let (_, out, _) = lab.run(&["status", "--listen", &listen]).await;
    assert!(out.starts_with(&format!("No bridge is running on {listen}")), "{out}");
}

/// Runs the same command with a low limit of file descriptors.
fn with_few_files(command: Command) -> Command {
    let inner = command.as_std();
    let mut outer = Command::new("/bin/sh");
    outer.arg("-c").arg(format!("ulimit -n {FILES} && exec \"$0\" \"$@\"")).arg(inner.get_program());
    outer.args(inner.get_args()).env_clear().kill_on_drop(true);
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}
