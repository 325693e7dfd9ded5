//! Whom the process contacts: those that the configuration names, at addresses that it allows.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;
use zoomhook::simulator::{Options, Transport};

use crate::front::{Clients, Front};
use crate::lab::{Bridge, Lab, body};
use crate::proxies::{Access, Kind, RealProxy};

#[tokio::test]
async fn process_contacts_what_check_lists_and_nothing_else() {
    let Some(proxy) = RealProxy::start(Kind::Tiny, Access::Open).await else { return };
    let mut lab = Lab::with(&["crm"], Options { transport: Transport::Tls, ..Options::default() }).await;
    let ca_file = lab.directory.path().join("zoom.pem");
    fs::write(&ca_file, lab.zoom.authority().expect("it is encrypted")).expect("written");
    lab.subscription_lines = format!("ca_file = {ca_file:?}\nproxy = \"{}\"\n", proxy.url("http"));
    let front = Front::before(&lab, Clients::Anybody).await;
    front.configure(&mut lab, "");
    front.write(&lab);
    let calls = lab.directory.path().join("calls");
    let Some(command) = watched(lab.command(&["run"]), &calls) else { return };
    let bridge = Bridge::start(command).await;
    bridge.until_ready().await;
    for event in 0..3 {
        lab.zoom.push(&body(event)).await;
        lab.handler("crm").has_taken(event + 1).await;
    }
    let before = lab.zoom.counts().accepted;
    assert_eq!(lab.zoom.drop_sockets("reset".parse().expect("a cut")), 1);
    lab.zoom.wait_for(|counts| counts.accepted > before).await;
    bridge.signal("HUP");
    bridge.logged("the configuration was read again").await;
    bridge.stop().await;

    let (code, out, err) = lab.run(&["check", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let document: Value = serde_json::from_str(&out).expect("json");
    let places = document["egress"].as_array().expect("a list");
    let address = |place: &Value| format!("{}:{}", place["host"].as_str().expect("text"), place["port"]);
    let direct: BTreeSet<String> = places.iter().filter(|place| place["through"].is_null()).map(address).collect();
    let through: BTreeSet<String> = places.iter().filter(|place| !place["through"].is_null()).map(address).collect();
    assert_eq!(through, [lab.zoom.addr().to_string()].into());
    assert_eq!(direct, [front.address(), format!("127.0.0.1:{}", proxy.port)].into());
    assert_eq!(contacted(&calls).await, direct);
}

#[tokio::test]
async fn event_for_an_address_that_is_not_allowed_waits_until_it_is() {
    let mut lab = Lab::new(&["crm"]).await;
    lab.more_configuration = "[egress]\nallow = [\"10.0.0.0/8\"]\n".to_owned();
    let by_name = lab.handler("crm").url().replace("127.0.0.1", "localhost");
    let write = |lab: &Lab| {
        lab.write_configuration(&["crm"]);
        let text = fs::read_to_string(lab.file()).expect("written");
        fs::write(lab.file(), text.replace(&lab.handler("crm").url(), &by_name)).expect("written");
    };
    write(&lab);
    let bridge = Bridge::start(lab.command(&["run"])).await;
    bridge.until_ready().await;
    lab.zoom.push(&body(1)).await;
    bridge.until("/api/v1/status", |_, text| text.contains("address not allowed")).await;
    assert_eq!(lab.handler("crm").requests(), 0);
    lab.assert_nothing_forgotten();

    lab.more_configuration = "[egress]\nallow = [\"10.0.0.0/8\", \"127.0.0.0/8\"]\n".to_owned();
    write(&lab);
    bridge.signal("HUP");
    lab.handler("crm").has_taken(1).await;
    bridge.stop().await;
}

#[tokio::test]
async fn url_that_can_never_be_allowed_is_refused_at_once() {
    let lab = Lab::new(&["crm"]).await;
    for (url, words) in [
        ("https://169.254.169.254/latest", "169.254.169.254 is a link-local address"),
        ("https://[::ffff:100.100.100.200]/", "metadata"),
        ("https://0xa9.0xfe.0xa9.0xfe/", "169.254.169.254"),
    ] {
        lab.write_configuration(&["crm"]);
        let text = fs::read_to_string(lab.file()).expect("written").replace(&lab.handler("crm").url(), url);
        fs::write(lab.file(), text).expect("written");
        let (code, _, err) = lab.run(&["run"]).await;
        assert!(code == 78 && err.contains(words) && err.contains("url"), "{err}");
    }
}

/// Runs the same command, and writes down every connection that it opens. Where that cannot be done, the test that
/// calls is skipped with a word, and fails where `CI` is set.
fn watched(command: Command, calls: &Path) -> Option<Command> {
    match std::process::Command::new("strace").arg("-V").output() {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && std::env::var_os("CI").is_none() => {
            eprintln!("skipped: strace cannot be started: {error}");
            return None;
        }
        Err(error) => panic!("strace cannot be started: {error}"),
    }
    let inner = command.as_std();
    let mut outer = Command::new("strace");
    // The bridge stays the child; whoever watches it is a process beside.
    outer.args(["-D", "-f", "-q", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-e", "signal=none", "-o"]).arg(calls);
    outer.arg(inner.get_program()).args(inner.get_args()).env_clear().kill_on_drop(true);
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(outer)
}

/// Returns every address of another host, or another socket of this one, that was named in a call.
async fn contacted(calls: &Path) -> BTreeSet<String> {
    let text = loop {
        let text = fs::read_to_string(calls).expect("written");
        if text.lines().last().is_some_and(|line| line.ends_with("+++ exited with 0 +++")) {
            break text;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let between = |line: &str, start: &str, end: &str| {
        let (_, rest) = line.split_once(start)?;
        Some(rest.split_once(end)?.0.to_owned())
    };
    let address = |line: &str| -> String {
        let port = between(line, "port=htons(", ")").expect("a port").parse().expect("a number");
        let v4 = between(line, "inet_addr(\"", "\")");
        let ip = v4.or_else(|| between(line, "inet_pton(AF_INET6, \"", "\"")).expect("an address");
        SocketAddr::new(ip.parse().expect("an address"), port).to_string()
    };
    text.lines().filter(|line| line.contains("sa_family=AF_INET")).map(address).collect()
}
