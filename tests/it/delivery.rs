//! At least once, byte for byte; one destination never harms another.

use std::time::Duration;

use zoomhook::spool::record::DeliveryState;

use crate::lab::{Lab, bodies, bytes, corpus};
use crate::receiver::Answer;

#[tokio::test]
async fn every_event_reaches_every_destination_byte_for_byte() {
    let lab = Lab::new(&["crm", "audit"]).await;
    let bridge = lab.live_bridge().await;
    let sent = bodies(0..200);
    assert_eq!(lab.zoom.push_all(&sent).await, 1);
    for (_, handler) in &lab.handlers {
        handler.has_taken(200).await;
        assert!(bytes(&sent).iter().all(|body| handler.has(body)));
        assert_eq!(handler.taken().values().sum::<u32>(), 200, "nothing came twice");
    }
    bridge.stop().await;
    lab.assert_nothing_forgotten();
}

#[tokio::test]
async fn every_body_of_the_corpus_arrives_unchanged() {
    let mut lab = Lab::new(&["crm"]).await;
    lab.destination_lines = "body = \"verbatim\"".to_owned();
    let bridge = lab.live_bridge().await;
    let corpus: Vec<String> = corpus();
    assert!(corpus.len() >= 120, "{} bodies", corpus.len());
    lab.zoom.push_all(&corpus).await;
    lab.handler("crm").has_taken(corpus.len()).await;
    for body in &corpus {
        assert!(lab.handler("crm").has(body.as_bytes()), "changed on its way: {body}");
    }
    bridge.stop().await;
}

#[tokio::test]
async fn filters_choose_what_a_destination_gets() {
    let mut lab = Lab::new(&["crm"]).await;
    lab.destination_lines = "events = [\"meeting.*\"]\nexclude = [\"meeting.ended\"]".to_owned();
    let bridge = lab.live_bridge().await;
    let event = |kind: &str| format!(r#"{{"event":"{kind}","payload":{{}}}}"#);
    for kind in ["meeting.ended", "user.created", "meeting.started"] {
        lab.zoom.push(&event(kind)).await;
    }
    lab.handler("crm").has_taken(1).await;
    assert!(lab.handler("crm").has(event("meeting.started").as_bytes()));
    bridge.stop().await;
    assert_eq!(lab.rows().len(), 3, "all of it is stored");
    assert_eq!(lab.handler("crm").requests(), 1);
}

#[tokio::test]
async fn handler_that_is_down_costs_nothing_and_its_neighbour_notices_nothing() {
    for fault in [Answer::Status(503), Answer::Hang, Answer::Cut] {
        let mut lab = Lab::new(&["broken", "well"]).await;
        lab.destination_lines =
            "timeout = \"300ms\"\nretry = [\"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\"]".to_owned();
        let bridge = lab.live_bridge().await;
        lab.handler("broken").answer(fault);
        let sent = bodies(0..100);
        lab.zoom.push_all(&sent).await;
        lab.handler("well").has_taken(100).await;
        assert_eq!(lab.handler("broken").taken().len(), 0);
        lab.handler("broken").has_seen(1).await;
        bridge.until("/api/v1/status", |_, text| text.contains("broken: failing")).await;
        let status = bridge.status().await.to_string();
        let words = match fault {
            Answer::Status(_) => "status 503",
            Answer::Hang => "timeout",
            Answer::Cut | Answer::Slow(_) => "answer cut off",
        };
        assert!(status.contains(words), "{status}");
        lab.handler("broken").answer(Answer::Status(200));
        lab.handler("broken").has_taken(100).await;
        bridge.stop().await;
        lab.assert_nothing_forgotten();
        assert_eq!(lab.handler("well").taken().values().sum::<u32>(), 100, "each once");
    }
}

#[tokio::test]
async fn storm_of_refusals_burns_nothing_and_is_said_in_words() {
    let lab = Lab::new(&["crm", "well"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Status(401));
    lab.zoom.push_all(&bodies(0..500)).await;
    lab.handler("well").has_taken(500).await;
    bridge.until("/api/v1/status", |_, text| text.contains("held back, next probe")).await;
    bridge.until("/metrics", |_, text| text.contains("zoomhook_breaker_open{destination=\"crm\"} 1")).await;
    bridge.until("/api/v1/dead", |_, text| text.contains("\"dead\":[]")).await;
    lab.handler("crm").answer(Answer::Status(200));
    lab.handler("crm").has_taken(500).await;
    bridge.stop().await;
    lab.assert_nothing_forgotten();
}

#[tokio::test]
async fn paused_destination_accumulates_across_a_restart_and_is_resumed_by_one_command() {
    let lab = Lab::new(&["crm", "well"]).await;
    let bridge = lab.live_bridge().await;
    let (code, answer) = bridge.post("/api/v1/destinations/crm/pause", &serde_json::json!({})).await;
    assert_eq!((code, &answer["paused"]), (200, &true.into()));
    lab.zoom.push_all(&bodies(0..5)).await;
    lab.handler("well").has_taken(5).await;
    bridge.stop().await;
    let bridge = lab.live_bridge().await;
    lab.zoom.push_all(&bodies(5..10)).await;
    lab.handler("well").has_taken(10).await;
    bridge.until("/api/v1/status", |_, text| text.contains("crm: paused since")).await;
    assert_eq!(lab.handler("crm").requests(), 0);
    assert_eq!(bridge.post("/api/v1/destinations/nobody/pause", &serde_json::json!({})).await.0, 404);
    bridge.post("/api/v1/destinations/crm/resume", &serde_json::json!({})).await;
    lab.handler("crm").has_taken(10).await;
    bridge.stop().await;
}

#[tokio::test]
async fn refused_events_are_kept_and_go_out_again_by_one_command() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Status(401));
    lab.zoom.push_all(&bodies(0..10)).await;
    lab.handler("crm").has_seen(10).await;
    bridge.until("/api/v1/dead", |_, text| text.matches("status 401").count() == 10).await;
    lab.handler("crm").answer(Answer::Status(200));
    let (status, answer) = bridge.post("/api/v1/dead/replay", &serde_json::json!({ "all": true })).await;
    assert_eq!((status, &answer["count"]), (200, &10.into()), "{answer}");
    lab.handler("crm").has_taken(10).await;
    bridge.stop().await;
    let delivered = |row: &zoomhook::spool::record::EventRow| row.deliveries[0].state == DeliveryState::Delivered;
    assert!(lab.rows().iter().all(delivered));
}

#[tokio::test]
async fn slow_handler_does_not_grow_the_memory_of_the_bridge() {
    let mut lab = Lab::new(&["slow"]).await;
    lab.destination_lines = "concurrency = 2".to_owned();
    let bridge = lab.live_bridge().await;
    lab.handler("slow").answer(Answer::Slow(Duration::from_secs(1)));
    // 40 000 events of 1 kB are 40 MB; what the bridge holds of them in memory is bounded.
    let filler = "x".repeat(1000);
    for chunk in 0..40 {
        let bodies: Vec<String> = (0..1000)
            .map(|n| format!(r#"{{"event":"e","n":{},"canary":"canary-payload {filler}"}}"#, chunk * 1000 + n))
            .collect();
        lab.zoom.push_all(&bodies).await;
    }
    bridge
        .until("/metrics", |_, text| {
            text.contains("zoomhook_events_received_total{subscription=\"main\",family=\"other\"} 40000")
        })
        .await;
    let peak = bridge.peak_bytes();
    assert!(peak < 64 << 20, "{} MiB", peak >> 20);
    bridge.kill().await;
}

#[tokio::test]
async fn rate_lets_a_burst_through_and_holds_the_rest() {
    let mut lab = Lab::new(&["crm", "well"]).await;
    lab.destination_lines = "rate = \"1/h burst 3\"".to_owned();
    let bridge = lab.live_bridge().await;
    lab.zoom.push_all(&bodies(0..10)).await;
    lab.handler("crm").has_taken(3).await;
    lab.handler("well").has_taken(3).await;
    bridge.until("/metrics", |_, text| text.contains("deliveries_pending{destination=\"crm\"} 7")).await;
    assert_eq!((lab.handler("crm").requests(), lab.handler("well").requests()), (3, 3));
    // Without the limit the others follow: nothing was lost.
    lab.destination_lines = String::new();
    lab.write_configuration(&["crm", "well"]);
    bridge.signal("HUP");
    lab.handler("crm").has_taken(10).await;
    lab.handler("well").has_taken(10).await;
    bridge.stop().await;
}

#[tokio::test]
async fn expired_events_are_dead_letters_without_a_request_and_can_be_replayed() {
    let mut lab = Lab::new(&["crm"]).await;
    lab.destination_lines = "ttl = { \"meeting.*\" = \"1s\", \"*\" = \"24h\" }".to_owned();
    let bridge = lab.live_bridge().await;
    bridge.post("/api/v1/destinations/crm/pause", &serde_json::json!({})).await;
    let other = r#"{"event":"recording.completed","payload":{}}"#.to_owned();
    lab.zoom.push_all(&[bodies(0..3), vec![other.clone()]].concat()).await;
    bridge.until("/api/v1/status", |_, text| text.contains("4 events waiting, oldest 2 s old")).await;
    bridge.post("/api/v1/destinations/crm/resume", &serde_json::json!({})).await;
    lab.handler("crm").has_taken(1).await;
    bridge.until("/api/v1/dead", |_, text| text.matches("\"reason\":\"expired\"").count() == 3).await;
    assert!(lab.handler("crm").has(other.as_bytes()));
    assert_eq!(lab.handler("crm").requests(), 1);
    let counted = "zoomhook_dead_letters_total{destination=\"crm\",cause=\"expired\"} 3";
    assert!(bridge.get("/metrics").await.1.contains(counted));
    assert!(bridge.get("/api/v1/status").await.1.contains("3 events expired since the start"));
    bridge.post("/api/v1/dead/replay", &serde_json::json!({ "all": true })).await;
    lab.handler("crm").has_taken(4).await;
    bridge.stop().await;
}

#[tokio::test]
async fn handler_that_answers_the_url_validation_again_gets_its_events() {
    let mut lab = Lab::new(&["crm"]).await;
    lab.destination_lines = "probe = \"validation\"".to_owned();
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Status(401));
    lab.zoom.push_all(&bodies(0..100)).await;
    lab.handler("crm").has_been_asked(2).await;
    bridge.until("/api/v1/status", |_, text| text.contains("url validation answered with status 401")).await;
    let touched = lab.handler("crm").requests();
    assert!(touched < 100, "{touched} requests");
    lab.handler("crm").has_been_asked(3).await;
    assert_eq!(lab.handler("crm").requests(), touched, "a probe touches no event");
    lab.handler("crm").answer(Answer::Status(200));
    lab.handler("crm").has_taken(100).await;
    bridge.stop().await;
}
