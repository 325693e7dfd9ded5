//! Encrypted connections to Zoom: its certificate is checked, and what is wrong with it is said in words.

use std::fs;

use zoomhook::simulator::{Options, Transport};

use crate::front::{Clients, Front};
use crate::lab::{Bridge, Lab, body};
use crate::port::Authority;

async fn encrypted() -> Lab {
    Lab::with(&["crm"], Options { transport: Transport::Tls, ..Options::default() }).await
}

#[tokio::test]
async fn event_comes_over_wss_with_a_token_over_https() {
    let mut lab = encrypted().await;
    let ca_file = lab.directory.path().join("ca.pem");
    fs::write(&ca_file, lab.zoom.authority().expect("it is encrypted")).expect("written");
    lab.subscription_lines = format!("ca_file = {:?}", ca_file.display().to_string());
    assert_eq!((lab.zoom.token_url().scheme(), lab.zoom.ws_url("x").scheme()), ("https", "wss"));

    let bridge = lab.live_bridge().await;
    // Large enough for several TLS records.
    let large = body(1).replace("Überblick", &"Ü".repeat(50_000));
    for event in [body(0), large] {
        lab.zoom.push(&event).await;
        lab.handler("crm").has_taken(1).await;
        bridge.until("/api/v1/status", |_, _| lab.handler("crm").has(event.as_bytes())).await;
    }
    let (_, metrics) = bridge.get("/metrics").await;
    let expiry = "zoomhook_certificate_expiry_timestamp_seconds{side=\"socket\",subscription=\"main\"} ";
    let expiry = metrics.lines().find_map(|line| line.strip_prefix(expiry)).expect("it was seen");
    assert!(expiry.parse::<u64>().is_ok_and(|seconds| seconds > 1_800_000_000), "{expiry}");
    // An encrypted socket that is reset is mended like any other.
    let before = lab.zoom.counts().accepted;
    assert_eq!(lab.zoom.drop_sockets("reset".parse().expect("a cut")), 1);
    lab.zoom.wait_for(|counts| counts.accepted > before).await;
    bridge.stop().await;
}

#[tokio::test]
async fn certificate_that_is_about_to_expire_is_a_metric_and_a_warning_whoever_shows_it() {
    let lab = Lab::new(&["crm"]).await;
    let (authority, ca_file) = (Authority::new(), lab.directory.path().join("house.pem"));
    fs::write(&ca_file, authority.0.pem()).expect("written");
    let (zoom, handler) = (lab.zoom.token_url(), lab.handler("crm").url());
    let front =
        async |name: &str, days, url: &str| Front::named("127.0.0.1", authority.identity(name, days), url).await;
    let socket = front("127.0.0.1", 3, zoom.as_str()).await;
    let token = front("127.0.0.1", 4, zoom.as_str()).await;
    let crm = front("127.0.0.1", 5, &handler).await;
    // Of one host, the ports are not told apart.
    let login = front("localhost", 6, zoom.as_str()).await;
    let oauth = format!(
        "\nca_file = {ca_file:?}\nauth = {{ oauth = {{ token_url = \"https://localhost:{}/oauth/token\", \
         client_id = \"demo-client\", client_secret = {{ env = \"LAB_CLIENT_SECRET\" }} }} }}\n",
        login.port()
    );
    lab.write_configuration(&["crm"]);
    let plain = fs::read_to_string(lab.file()).expect("written");
    let zoom = zoom.as_str().trim_end_matches("/oauth/token").trim_start_matches("http://");
    let text = plain
        .replace(&format!("ws://{zoom}"), &format!("wss://{}", socket.address()))
        .replace(&format!("http://{zoom}"), &format!("https://{}", token.address()))
        .replace("account_id =", &format!("ca_file = {ca_file:?}\naccount_id ="))
        .replace(&handler, &format!("https://{}/webhook", crm.address()));
    fs::write(lab.file(), text + &oauth).expect("written");

    let bridge = Bridge::start(lab.command(&["run"])).await;
    bridge.until_ready().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    let shown = [
        ("socket", "subscription=\"main\"", 3, "the certificate that subscription main is shown at its socket"),
        ("token", "subscription=\"main\"", 4, "the certificate that subscription main is shown at its token_url"),
        ("handler", "destination=\"crm\"", 5, "the certificate that the handler of destination crm shows"),
        ("token", "destination=\"crm\"", 6, "the certificate that destination crm is shown at its token_url"),
    ];
    let (_, page) = bridge.get("/metrics").await;
    for (side, owner, days, _) in shown {
        let line = format!("zoomhook_certificate_expiry_timestamp_seconds{{side=\"{side}\",{owner}}} ");
        let end = page.lines().find_map(|it| it.strip_prefix(&line)).unwrap_or_else(|| panic!("{line}\n{page}"));
        let left = end.parse::<i64>().expect("a number") - jiff::Timestamp::now().as_second();
        // Days are those of this test, which takes less than one.
        assert_eq!(left.unsigned_abs().div_ceil(86_400), days, "{line}{end}");
    }
    // A reload has them looked at at once.
    bridge.signal("HUP");
    for (.., days, words) in shown {
        bridge.logged(&format!("{words} expires in {} d", days - 1)).await;
    }

    // Who speaks in plain text shows none.
    fs::write(lab.file(), plain).expect("written");
    bridge.signal("HUP");
    bridge.until("/metrics", |_, page| !page.contains("expiry_timestamp_seconds{side=")).await;
    let log = bridge.stop().await;
    assert_eq!(log.matches("have it renewed by whoever runs that side").count(), shown.len(), "once a day: {log}");
}

#[tokio::test]
async fn certificate_of_an_unknown_authority_keeps_the_bridge_down_and_is_named() {
    let lab = encrypted().await;
    let bridge = lab.bridge().await;
    bridge.until("/readyz", |status, text| status == 503 && text.contains("name its file in ca_file")).await;
    assert_eq!(lab.zoom.counts().token_requests, 0, "the secret has not been sent");
    bridge.stop().await;
}

#[tokio::test]
async fn certificate_of_the_socket_alone_is_named_too() {
    // The token comes in plain text from one Zoom, the socket of the other is encrypted and not trusted.
    let lab = encrypted().await;
    let plain = Lab::new(&[]).await;
    lab.write_configuration(&["crm"]);
    let text = fs::read_to_string(lab.file()).expect("written");
    let text = text.replace(lab.zoom.token_url().as_str(), plain.zoom.token_url().as_str());
    fs::write(lab.file(), text).expect("written");
    let bridge = Bridge::start(lab.command(&["run"])).await;
    bridge.until("/readyz", |status, text| status == 503 && text.contains("no tls with")).await;
    let (_, text) = bridge.get("/readyz").await;
    assert!(text.contains(&lab.zoom.addr().to_string()) && text.contains("name its file in ca_file"), "{text}");
    assert_eq!((plain.zoom.counts().tokens, lab.zoom.counts().accepted), (1, 0));
    bridge.stop().await;
}

#[tokio::test]
async fn handler_gets_the_certificate_that_the_file_holds_and_a_wrong_one_loses_no_event() {
    let mut lab = Lab::new(&["crm"]).await;
    let (right, wrong) = (Authority::new(), Authority::new());
    let (cert, key) = (lab.directory.path().join("client.pem"), lab.directory.path().join("client.key"));
    wrong.write("bridge", &cert, &key);
    let front = Front::before(&lab, Clients::Of(right.0.der().clone())).await;
    front.configure(&mut lab, &format!("client_cert = {cert:?}\nclient_key = {key:?}\n"));
    let bridge = front.bridge(&lab).await;
    bridge.until_ready().await;
    lab.zoom.push(&body(1)).await;
    bridge.until("/api/v1/status", |_, text| text.contains("tls failed: client certificate wanted or refused")).await;
    assert_eq!(lab.handler("crm").requests(), 0);
    let labels = format!("{{side=\"destinations\",file={cert:?}}}");
    bridge.until("/metrics", |_, text| text.contains(&labels)).await;

    // Nobody tells the bridge: the next connection shows what the files hold then.
    right.write("bridge", &cert, &key);
    lab.handler("crm").has_taken(1).await;
    bridge.stop().await;
}

#[tokio::test]
async fn key_that_everybody_can_read_is_refused_by_check_run_and_reload() {
    let mut lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let (cert, key) = (lab.directory.path().join("client.pem"), lab.directory.path().join("client.key"));
    Authority::new().write("bridge", &cert, &key);
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("a mode");
    lab.destination_lines = format!("client_cert = {cert:?}\nclient_key = {key:?}\n");
    lab.write_configuration(&["crm"]);
    let cure = format!("chmod o= {}", key.display());
    let (status, answer) = bridge.post("/api/v1/reload", &serde_json::json!({})).await;
    assert!(status == 422 && answer.to_string().contains(&cure), "{answer}");
    bridge.stop().await;
    for command in ["check", "run"] {
        let (code, _, err) = lab.run(&[command]).await;
        assert!(code != 0 && err.contains(&cure) && err.contains("crm"), "{command}: {err}");
    }
}
