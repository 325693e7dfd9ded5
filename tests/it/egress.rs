//! Whom the process contacts: those that the configuration names, at addresses that it allows.

mod estate;
mod resolver;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use self::estate::{Estate, Resolver, SUBSCRIPTIONS};
use crate::lab::{Bridge, Lab, body};

#[tokio::test]
async fn process_contacts_what_check_lists_and_nothing_else() {
    contacts_are_those_of_check(None).await;
}

/// Lets a bridge have to do with everybody that it can have to do with, and compares whom it contacts with what `check`
/// prints: there is nobody else, and nobody is on the list for nothing. Every connection of the process is counted by the
/// system, and every name by the server that is asked for it. `collector` is where one of traces listens.
pub(crate) async fn contacts_are_those_of_check(collector: Option<SocketAddr>) {
    let Some(estate) = Estate::build(collector).await else { return };
    let Estate { lab, .. } = &estate;
    let calls = lab.directory.path().join("calls");
    let Some(command) = estate.watched(lab.command(&["run"]), &calls) else { return };
    let bridge = Bridge::start(command).await;
    bridge.until_ready().await;
    for event in 0..3 {
        lab.zoom.push(&body(event)).await;
        for (_, handler) in &lab.handlers {
            handler.has_taken(event + 1).await;
        }
    }
    let before = lab.zoom.counts().accepted;
    assert_eq!(lab.zoom.drop_sockets("reset".parse().expect("a cut")), SUBSCRIPTIONS.len());
    lab.zoom.wait_for(|counts| counts.accepted == before + SUBSCRIPTIONS.len() as u64).await;
    bridge.signal("HUP");
    bridge.logged("the configuration was read again").await;
    bridge.stop().await;

    let (code, out, err) = lab.run(&["check", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    let document: Value = serde_json::from_str(&out).expect("json");
    let (mut direct, mut through) = (BTreeSet::new(), BTreeSet::new());
    for place in document["egress"].as_array().expect("a list") {
        let text = |key: &str| place[key].as_str().map(str::to_owned);
        let to = format!("{}:{}", text("host").expect("text"), place["port"]);
        match text("through") {
            None => direct.insert(to),
            Some(proxy) => through.insert((proxy, to)),
        };
    }
    assert_eq!((&direct, &through), (&estate.direct, &estate.through), "what is printed is what was configured");
    // Each name has an address of its own; a lookup of any other name would be a packet to a name server, too.
    let mut addresses: BTreeSet<String> = direct.iter().map(|place| estate.address(place)).collect();
    // A proxy that is `socks5` is asked for addresses, the others for names.
    let looked_up = through.iter().filter(|(proxy, _)| proxy.starts_with("socks5://")).map(|(_, place)| place);
    let names = direct.iter().chain(looked_up).map(|place| place.rsplit_once(':').expect("a port").0);
    let names: BTreeSet<String> = names.filter(|name| name.parse::<IpAddr>().is_err()).map(str::to_owned).collect();
    if let Resolver::Counting(server) = &estate.resolver {
        assert_eq!(server.asked(), names, "those of others are for their proxies to ask for");
        addresses.insert(server.address.to_string());
    }
    assert_eq!(contacted(&calls).await, addresses);
    for (proxy, place) in &through {
        assert!(estate.has_passed(proxy, place), "nobody asked {proxy} for {place}");
    }

    // The list is made without a word to anybody, and what tries the rest has to do with those on it.
    for (arguments, silent) in [(&["check", "--json"], true), (&["check", "--probe"], false)] {
        let calls = lab.directory.path().join("more-calls");
        let Some(mut command) = estate.watched(lab.command(arguments), &calls) else { return };
        let output = command.output().await.expect("it starts");
        assert!(output.status.success(), "{output:?}");
        let contacted = contacted(&calls).await;
        assert!(contacted.is_empty() == silent && contacted.is_subset(&addresses), "{arguments:?}: {contacted:?}");
        if let Resolver::Counting(server) = &estate.resolver {
            let asked = server.asked();
            assert!(asked.is_empty() == silent && asked.is_subset(&names), "{arguments:?}: {asked:?}");
        }
    }
}

#[tokio::test]
async fn lookup_of_a_name_is_seen() {
    let Some(estate) = Estate::build(None).await else { return };
    let calls = estate.lab.directory.path().join("calls");
    let mut lookup = Command::new("getent");
    lookup.args(["hosts", "elsewhere.example"]).env("PATH", "/usr/bin:/bin");
    let Some(mut command) = estate.watched(lookup, &calls) else { return };
    assert!(!command.output().await.expect("it starts").status.success(), "nobody knows the name");
    assert_eq!(contacted(&calls).await, [estate.resolver.address().to_string()].into());
    if let Resolver::Counting(server) = &estate.resolver {
        assert_eq!(server.asked(), ["elsewhere.example".to_owned()].into());
    }
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

/// Returns every address of another host, or another socket of this one, that was named in a call.
async fn contacted(calls: &Path) -> BTreeSet<String> {
    let text = loop {
        let text = fs::read_to_string(calls).expect("written");
        if text.lines().last().is_some_and(|line| line.contains("+++ exited with ") && line.ends_with(" +++")) {
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
