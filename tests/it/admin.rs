//! The operator's port of a running bridge.

use serde_json::{Value, json};

use crate::lab::{Lab, VIEWER_TOKEN, body};
use crate::receiver::Answer;

#[tokio::test]
async fn readiness_follows_the_socket() {
    let lab = Lab::new(&["crm"]).await;
    lab.zoom.set_faults({
        let mut faults = zoomhook::simulator::fault::Faults::default();
        faults.set("connect-status=503").expect("a fault");
        faults
    });
    let bridge = lab.bridge().await;
    bridge.until("/readyz", |status, text| status == 503 && text.contains("main") && text.contains("503")).await;
    assert_eq!(bridge.get("/livez").await.0, 200, "alive all the same");
    lab.zoom.set_faults(Default::default());
    bridge.until_ready().await;
    bridge.stop().await;
}

#[tokio::test]
async fn port_asks_for_its_token() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    for path in ["/metrics", "/api/v1/status", "/api/v1/events", "/api/v1/dead", "/api/v1/gaps"] {
        let (code, answer) = anonymous(bridge.admin, path).await;
        assert_eq!(code, 401, "{path}: {answer}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(anonymous(bridge.admin, path).await.0, 200, "{path}");
    }
    bridge.stop().await;
}

#[tokio::test]
async fn event_can_be_found_and_read_with_all_that_happened_to_it() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Status(404));
    lab.zoom.push(&body(7)).await;
    bridge.until("/api/v1/dead", |_, text| text.contains("status 404")).await;
    let (code, list) = bridge.get("/api/v1/events?type=meeting.*&state=dead").await;
    assert_eq!(code, 200);
    let list: serde_json::Value = serde_json::from_str(&list).expect("json");
    let id = &list["events"][0]["id"];
    let (code, detail) = bridge.get(&format!("/api/v1/events/{id}")).await;
    assert_eq!(code, 200);
    let detail: serde_json::Value = serde_json::from_str(&detail).expect("json");
    assert_eq!(detail["body"].as_str(), Some(body(7).as_str()));
    assert_eq!(detail["attempts"][0]["cause"], "status 404");
    assert_eq!(bridge.get("/api/v1/events/999").await.0, 404);
    assert_eq!(bridge.get("/api/v1/events?colour=red").await.0, 400);
    bridge.stop().await;
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    let delivered = "zoomhook_attempts_total{destination=\"crm\",outcome=\"delivered\"} 1";
    bridge.until("/metrics", |_, text| text.contains(delivered)).await;
    let (_, text) = bridge.get("/metrics").await;
    for line in [
        "zoomhook_socket_live{subscription=\"main\"} 1",
        "zoomhook_events_received_total{subscription=\"main\",family=\"meeting\"} 1",
        "zoomhook_events_received_total{subscription=\"main\",family=\"phone\"} 0",
        "zoomhook_event_lag_seconds_count{subscription=\"main\"} 1",
        "zoomhook_delivery_seconds_count{destination=\"crm\"} 1",
        "zoomhook_reconnect_seconds_count{subscription=\"main\"} 1",
        "zoomhook_gaps_total{subscription=\"main\"} 1",
        "zoomhook_gap_open{subscription=\"main\"} 0",
        "zoomhook_oldest_pending_seconds{destination=\"crm\"} 0.0",
        "zoomhook_spool_writable 1",
        "zoomhook_spool_max_bytes 8589934592",
        "zoomhook_connects_total{subscription=\"main\",outcome=\"accepted\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "complete");
    bridge.stop().await;
}

#[tokio::test]
async fn viewer_sees_no_payload_and_changes_nothing() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.bridge_with_viewer_and_dead_letter().await;
    let seen = bridge.get("/api/v1/events/1").await.1;
    assert!(seen.contains("canary-payload") && seen.contains("\"digest\":"), "the operator sees it: {seen}");
    let viewer = |method: &str, path: &str| {
        let method = method.parse().expect("a method");
        client().request(method, format!("http://{}{path}", bridge.admin)).bearer_auth(VIEWER_TOKEN)
    };
    for path in
        ["status", "events", "events/1", "dead", "dead/groups", "gaps", "audit", "destinations", "subscriptions"]
    {
        let answer = viewer("GET", &format!("/api/v1/{path}")).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let text = answer.text().await.expect("text");
        crate::lab::assert_no_canary(&text);
        assert!(!text.contains("digest"), "a digest would prove a guess: {text}");
    }
    let guess = "/api/v1/events?q=canary-payload";
    assert!(bridge.get(guess).await.1.contains("\"id\":1"), "the operator finds it");
    let answer = viewer("GET", guess).send().await.expect("an answer").text().await.expect("text");
    assert_eq!(answer, r#"{"events":[],"next":null}"#, "a guess is not confirmed");
    for path in [
        "destinations/crm/pause",
        "destinations/crm/probe",
        "dead/replay",
        "events/replay",
        "dead/purge",
        "gaps/1/acknowledge",
        "reload",
    ] {
        let answer = viewer("POST", &format!("/api/v1/{path}")).json(&json!({})).send().await.expect("an answer");
        assert_eq!(answer.status(), 403, "{path}");
        assert!(answer.text().await.expect("text").contains("\"operator_only\""), "{path}");
    }
    assert_eq!(lab.handler("crm").requests(), 1);
    bridge.stop().await;
}

#[tokio::test]
async fn gap_that_was_dealt_with_is_spoken_of_no_more_and_the_audit_says_by_whom() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    // The ledger closes the gap a moment after the socket is live.
    bridge.until("/api/v1/status", |_, text| text.contains("there was 1 gap")).await;
    let acknowledge = async |gap: &str, note: &str| {
        let (status, answer) = bridge.post(&format!("/api/v1/gaps/{gap}/acknowledge"), &json!({ "note": note })).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(acknowledge("1", "").await, (400, "bad_body".to_owned()));
    assert_eq!(acknowledge("99", "x").await, (404, "not_found".to_owned()));
    assert_eq!(acknowledge("first", "x").await, (400, "bad_query".to_owned()));
    assert_eq!(acknowledge("1", "nothing happened yet").await, (200, String::new()));
    assert_eq!(acknowledge("1", "another").await, (409, "gap_acknowledged".to_owned()), "the first is not lost");
    let summary = bridge.status().await["summary"].to_string();
    assert!(!summary.contains("gap"), "{summary}");
    let (_, gaps) = bridge.get("/api/v1/gaps").await;
    assert!(gaps.contains("nothing happened yet") && gaps.contains("operator at 127.0.0.1"), "{gaps}");

    bridge.post("/api/v1/destinations/crm/pause", &json!({})).await;
    bridge.post("/api/v1/reload", &json!({})).await;
    bridge.until("/api/v1/audit", |_, text| text.contains("reload")).await;
    let page = |text: &str| serde_json::from_str::<Value>(text).expect("json");
    let first = page(&bridge.get("/api/v1/audit?limit=2").await.1);
    let second = page(&bridge.get(&format!("/api/v1/audit?limit=2&before={}", first["next"])).await.1);
    let rows =
        [first["audit"].as_array(), second["audit"].as_array()].map(|rows| rows.expect("a list").clone()).concat();
    let actions: Vec<_> = rows.iter().map(|row| row["action"].as_str().expect("a word")).collect();
    assert_eq!(actions, ["reload", "pause", "acknowledge_gap"]);
    assert!(rows.iter().all(|row| row["who"] == "operator at 127.0.0.1"), "{rows:?}");
    assert_eq!(second["next"], Value::Null);

    // An open gap says nothing of its cost yet.
    lab.zoom.set_faults({
        let mut faults = zoomhook::simulator::fault::Faults::default();
        faults.set("connect-status=503").expect("a fault");
        faults
    });
    lab.zoom.drop_sockets("reset".parse().expect("a cut"));
    bridge.until("/api/v1/status", |_, text| text.contains("\"open_gaps\":[{")).await;
    assert_eq!(acknowledge("2", "x").await, (409, "gap_open".to_owned()));
    bridge.stop().await;
    let (code, out, err) = lab.run(&["gaps", "ack", "1", "--note", "OPS-12"]).await;
    assert!(code == 1 && out.is_empty() && err.contains("by operator at 127.0.0.1: nothing happened yet;"), "{err}");
    let (code, out, err) = lab.run(&["gaps", "ack", "1", "--note", "OPS-12", "--replace"]).await;
    assert_eq!((code, out.as_str()), (0, "gap 1 is noted as dealt with\n"), "{err}");
    let (_, out, _) = lab.run(&["gaps"]).await;
    assert!(out.contains("OPS-12") && !out.contains("nothing happened yet"), "{out}");
    let (_, out, _) = lab.run(&["audit", "list"]).await;
    assert!(out.contains("OPS-12, in place of the note of operator at 127.0.0.1: nothing happened yet"), "{out}");
    let (code, _, err) = lab.run(&["gaps", "ack", "2", "--note", "x"]).await;
    assert!(code == 1 && err.contains("gap 2 lasts still"), "{err}");
}

#[tokio::test]
async fn each_destination_and_subscription_can_be_looked_at_and_its_handler_asked() {
    let lab = Lab::new(&["crm", "audit"]).await;
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    let path = "/api/v1/destinations/crm";
    bridge.until(path, |_, text| text.contains("\"delivered\":1")).await;
    let one: Value = serde_json::from_str(&bridge.get(path).await.1).expect("json");
    assert!(one["status"]["last_success_at"].is_string() && one["level"] == "fine", "{one}");
    let all: Value = serde_json::from_str(&bridge.get("/api/v1/destinations").await.1).expect("json");
    let names: Vec<_> = all["destinations"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["crm", "audit"]);
    let (_, subscriptions) = bridge.get("/api/v1/subscriptions").await;
    assert!(subscriptions.contains("\"link\":\"live\""), "{subscriptions}");
    assert_eq!(bridge.get("/api/v1/destinations/nobody").await.0, 404);

    let (status, answer) = bridge.post("/api/v1/destinations/crm/probe", &json!({})).await;
    assert_eq!((status, &answer["ok"]), (200, &Value::Bool(true)), "{answer}");
    lab.handler("crm").answer(Answer::Status(500));
    let (status, answer) = bridge.post("/api/v1/destinations/crm/probe", &json!({})).await;
    assert_eq!((status, &answer["ok"]), (200, &Value::Bool(false)), "{answer}");
    assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains("url validation")), "{answer}");
    assert_eq!((lab.handler("crm").validations(), lab.handler("crm").requests()), (2, 1), "each asks once");
    let (status, answer) = bridge.post("/api/v1/destinations/nobody/probe", &json!({})).await;
    assert_eq!((status, &answer["code"]), (404, &Value::from("unknown_destination")));
    bridge.stop().await;
}

async fn anonymous(admin: std::net::SocketAddr, path: &str) -> (u16, String) {
    let response = client().get(format!("http://{admin}{path}")).send().await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("text"))
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(zoomhook::tls::client_config(None).expect("roots"))
        .no_proxy()
        .build()
        .expect("a client")
}

#[tokio::test]
async fn stream_tells_what_happens_and_ends_with_the_port() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let url = format!("http://{}/api/v1/stream", bridge.admin);
    let mut stream = client().get(url).bearer_auth(crate::lab::ADMIN_TOKEN).send().await.expect("an answer");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    let mut text = String::new();
    while !text.contains("\"delivered\":[1]") || !text.contains("\"newest_event\":1") {
        let chunk = stream.chunk().await.expect("it goes on").expect("more");
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
    assert!(text.starts_with("event: snapshot\ndata: {\"status\":{\"ok\":"), "{text}");
    assert!(!text.contains("canary-payload"), "{text}");
    let history: Value = serde_json::from_str(&bridge.get("/api/v1/history").await.1).expect("json");
    let received = history["received"].as_array().expect("a list").iter().filter_map(Value::as_u64).sum::<u64>();
    assert_eq!((received, &history["destinations"][0]["name"]), (1, &json!("crm")));
    bridge.signal("TERM");
    while stream.chunk().await.expect("it ends in order").is_some() {}
    assert!(bridge.ended().await.0.success());
}

#[tokio::test]
async fn console_is_served_to_anybody_and_knows_nothing() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let page = client().get(format!("http://{}/", bridge.admin)).send().await.expect("an answer");
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers()["x-frame-options"], "DENY");
    assert_eq!(page.headers()["cache-control"], "no-cache");
    let text = page.text().await.expect("text");
    crate::lab::assert_no_canary(&text);
    assert!(!text.contains("crm"), "no name from the configuration");
    bridge.stop().await;
}
