//! The operator's port of a running bridge.

use crate::lab::{Lab, body};
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
        "zoomhook_events_received_total{subscription=\"main\"} 1",
        "zoomhook_spool_writable 1",
        "zoomhook_connects_total{subscription=\"main\",outcome=\"accepted\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "complete");
    bridge.stop().await;
}

async fn anonymous(admin: std::net::SocketAddr, path: &str) -> (u16, String) {
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(zoomhook::tls::client_config(None).expect("roots"))
        .no_proxy()
        .build()
        .expect("a client");
    let response = http.get(format!("http://{admin}{path}")).send().await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("text"))
}
