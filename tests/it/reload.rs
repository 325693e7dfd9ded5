//! SIGHUP and the API read the configuration again: all or nothing, and what did not change goes on.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::json;
use zoomhook::simulator::fault::Cut;

use crate::lab::{Lab, body};
use crate::receiver::Answer;

#[tokio::test]
async fn destinations_come_and_go_while_the_socket_stays_up() {
    let lab = Lab::new(&["first", "second"]).await;
    lab.write_configuration(&["first"]);
    let bridge = crate::lab::Bridge::start(lab.command(&["run"])).await;
    bridge.until_ready().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("first").has_taken(1).await;

    lab.write_configuration(&["first", "second"]);
    bridge.signal("HUP");
    bridge.logged("the configuration was read again").await;
    lab.zoom.push(&body(2)).await;
    lab.handler("first").has_taken(2).await;
    lab.handler("second").has_taken(1).await;
    assert!(!lab.handler("second").has(body(1).as_bytes()), "a new destination starts from now");

    lab.write_configuration(&["second"]);
    let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    lab.zoom.push(&body(3)).await;
    lab.handler("second").has_taken(2).await;
    assert_eq!(lab.handler("first").requests(), 2);
    let (_, metrics) = bridge.get("/metrics").await;
    assert!(metrics.contains("destination=\"second\"") && !metrics.contains("destination=\"first\""), "{metrics}");
    assert_eq!(lab.zoom.counts().accepted, 1, "the socket stayed up");
    bridge.stop().await;
}

#[tokio::test]
async fn configuration_with_problems_changes_nothing_and_names_each() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let good = std::fs::read_to_string(lab.file()).expect("written");
    std::fs::write(lab.file(), format!("{good}\ncolour = 1\nconcurrency = 0\n")).expect("written");
    let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
    assert_eq!(status, 422, "{answer}");
    let text = answer.to_string();
    assert!(text.contains("colour") && text.contains("concurrency"), "{text}");
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;

    // Whoever looks later sees it, too: a restart would not come up.
    let (code, out, _) = lab.run(&["status", "--listen", &bridge.admin.to_string()]).await;
    assert!(code == 1 && out.contains("configuration: refused at the reload of ") && out.contains("colour"), "{out}");
    assert!(bridge.get("/metrics").await.1.contains("\nzoomhook_config_reload_success 0\n"));
    std::fs::write(lab.file(), good).expect("written");
    let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(bridge.status().await["configuration"], json!(null));
    assert!(bridge.get("/metrics").await.1.contains("\nzoomhook_config_reload_success 1\n"));
    bridge.stop().await;
}

#[tokio::test]
async fn live_socket_is_not_given_up_for_credentials_that_bring_no_token() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let good = std::fs::read_to_string(lab.file()).expect("written");
    let mistyped = good.replace("client_secret = { env = \"LAB_CLIENT_SECRET\" }", "client_secret = \"mistyped\"");
    let another = good.replace("client_id = \"demo-client\"", "client_id = \"another-client\"");
    for bad in [mistyped, another] {
        std::fs::write(lab.file(), format!("{bad}\ntimeout = \"9s\"\n")).expect("written");
        let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
        let text = answer.to_string();
        assert!(status == 422 && text.contains("its socket stays open as it is"), "{status} {text}");
        let refused = bridge.status().await["configuration"].to_string();
        assert!(refused.contains("check client_id, client_secret and account_id"), "{refused}");
    }
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    assert_eq!((lab.zoom.counts().accepted, lab.zoom.counts().live()), (1, 1), "it is the first socket still");
    assert!(lab.gaps().iter().all(|gap| gap.closed_at.is_some()), "{:?}", lab.gaps());

    std::fs::write(lab.file(), good).expect("written");
    assert_eq!(bridge.post("/api/v1/reload", &json!({})).await.0, 200);
    assert_eq!(lab.zoom.counts().accepted, 1);
    bridge.stop().await;
}

#[tokio::test]
async fn what_an_open_socket_does_not_need_does_not_cost_it_and_its_next_connection_has_it() {
    let mut lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let token_url = lab.zoom.token_url().to_string();
    // Neither another token nor another socket, as the last one: the same token endpoint under another name.
    let cases = [
        ("group = \"twins\"", 1),
        ("no_proxy = [\"x.example\"]", 1),
        ("tls_min_version = \"1.3\"", 1),
        ("grant = \"account_credentials\"", 1),
    ];
    for (line, tokens) in cases {
        lab.subscription_lines = line.to_owned();
        lab.write_configuration(&["crm"]);
        let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
        assert_eq!(status, 200, "{line}: {answer}");
        assert_eq!((lab.zoom.counts().accepted, lab.zoom.counts().tokens), (1, tokens), "{line}");
    }
    let text = std::fs::read_to_string(lab.file()).expect("written");
    std::fs::write(lab.file(), text.replace(&token_url, &token_url.replace("127.0.0.1", "localhost")))
        .expect("written");
    let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((lab.zoom.counts().accepted, lab.zoom.counts().tokens), (1, 2), "its token is there when it is needed");
    lab.zoom.drop_sockets(Cut::Close(1012));
    lab.zoom.wait_for(|counts| counts.accepted == 2).await;
    bridge.until_ready().await;
    assert_eq!(lab.zoom.counts().tokens, 2, "and it is the one that is used");
    bridge.stop().await;
}

#[tokio::test]
async fn socket_of_another_app_or_account_takes_the_place_of_the_open_one_with_the_token_that_was_fetched_first() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let text = std::fs::read_to_string(lab.file()).expect("written");
    let url = lab.zoom.ws_url(&lab.zoom.options().subscriptions[0]).to_string();
    std::fs::write(lab.file(), text.replace(&url, &url.replace("127.0.0.1", "localhost"))).expect("written");
    let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    lab.zoom.wait_for(|counts| counts.accepted == 2).await;
    bridge.until_ready().await;
    assert_eq!(lab.zoom.counts().tokens, 1, "the credentials are the same");
    bridge.stop().await;
}

#[tokio::test]
async fn socket_that_is_not_live_is_tried_at_once_with_what_was_mended() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    let good = std::fs::read_to_string(lab.file()).expect("written");
    let mistyped = good.replace("client_secret = { env = \"LAB_CLIENT_SECRET\" }", "client_secret = \"mistyped\"");
    std::fs::write(lab.file(), &mistyped).expect("written");
    let bridge = crate::lab::Bridge::start(lab.command(&["run"])).await;
    bridge.logged("is parked").await;
    // Still wrong: there is nothing to lose, and nothing is waited for.
    std::fs::write(lab.file(), mistyped.replace("\"mistyped\"", "\"mistyped again\"")).expect("written");
    assert_eq!(bridge.post("/api/v1/reload", &json!({})).await.0, 200);
    std::fs::write(lab.file(), good).expect("written");
    assert_eq!(bridge.post("/api/v1/reload", &json!({})).await.0, 200);
    bridge.until_ready().await;
    bridge.stop().await;
}

#[tokio::test]
async fn destination_that_returns_waits_for_its_requests_that_are_in_flight() {
    let lab = Lab::new(&["first", "second"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("second").answer(Answer::Slow(Duration::from_secs(1)));
    lab.zoom.push(&body(1)).await;
    lab.handler("second").has_seen(1).await;
    for names in [&["first"][..], &["first", "second"]] {
        lab.write_configuration(names);
        let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
        assert_eq!(status, 200, "{answer}");
    }
    lab.zoom.push(&body(2)).await;
    lab.handler("second").has_taken(2).await;
    assert_eq!(lab.handler("second").requests(), 2, "the event in flight was not posted beside itself");
    bridge.stop().await;
}

#[tokio::test]
async fn file_that_everybody_may_write_is_refused_by_run_check_and_reload() {
    let mut lab = Lab::new(&["crm"]).await;
    let ca_file = lab.directory.path().join("house.pem");
    std::fs::write(&ca_file, crate::port::Authority::new().0.pem()).expect("written");
    lab.destination_lines = format!("ca_file = {ca_file:?}");
    let bridge = lab.live_bridge().await;
    let file = lab.file();
    for path in [&file, &ca_file] {
        let mode = |mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
        mode(0o666);
        let cure = format!("chmod o-w {}", path.display());
        std::fs::write(&file, std::fs::read_to_string(&file).expect("written") + "timeout = \"9s\"\n")
            .expect("written");
        let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
        assert!(status == 422 && answer.to_string().contains(&cure), "{answer}");
        for command in ["check", "run"] {
            let (code, _, err) = lab.run(&[command]).await;
            assert!(code == 78 && err.contains(&cure), "{command}: {code} {err}");
        }
        mode(0o664);
        lab.write_configuration(&["crm"]);
        let (code, _, err) = lab.run(&["check"]).await;
        assert_eq!(code, 0, "the group may: {err}");
    }
    // The bridge goes on with what it had.
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    bridge.stop().await;
}
