//! The socket is watched, not trusted; loss is accounted for.

use zoomhook::simulator::Options;
use zoomhook::simulator::fault::{Cut, Faults};

use crate::lab::{Lab, body};

fn faults(texts: &[&str]) -> Faults {
    let mut faults = Faults::default();
    for text in texts {
        faults.set(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    faults
}

#[tokio::test]
async fn every_way_of_losing_a_socket_is_a_gap_and_is_mended() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let cuts = ["1000", "1012", "reset"];
    for (number, cut) in cuts.iter().enumerate() {
        let before = lab.zoom.counts().accepted;
        let cut: Cut = cut.parse().unwrap_or_else(|error| panic!("{cut}: {error}"));
        assert_eq!(lab.zoom.drop_sockets(cut), 1);
        lab.zoom.wait_for(|counts| counts.accepted > before).await;
        lab.zoom.push(&body(number)).await;
        lab.handler("crm").has_taken(number + 1).await;
    }
    bridge.stop().await;
    let gaps = lab.gaps();
    assert_eq!(gaps.len(), 1 + cuts.len() + 1, "the start, each loss, and the stop: {gaps:#?}");
    assert!(gaps[1..].iter().all(|gap| gap.closed_at.is_some()), "{gaps:#?}");
    assert!(gaps[0].closed_at.is_none() && gaps[0].reason.contains("stopped"), "{gaps:#?}");
}

#[tokio::test]
async fn frames_of_every_shape_are_delivered_or_kept() {
    for shape in ["frame-object", "frame-header", "frame-fragmented", "frame-binary", "frame-unknown"] {
        let lab = Lab::with(&["crm"], Options { faults: faults(&[shape]), ..Options::default() }).await;
        let bridge = lab.live_bridge().await;
        lab.zoom.push(&body(1)).await;
        lab.handler("crm").has_taken(1).await;
        assert!(lab.handler("crm").has(body(1).as_bytes()), "{shape}");
        bridge.stop().await;
    }
    let lab = Lab::with(&["crm"], Options { faults: faults(&["open-event-first"]), ..Options::default() }).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").has_taken(1).await;
    bridge.stop().await;
    let lab = Lab::with(&["crm"], Options { faults: faults(&["frame-garbage"]), ..Options::default() }).await;
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    bridge.stop().await;
    assert!(lab.rows().iter().any(|row| row.parked.is_some()), "garbage is kept for the operator");
}

#[tokio::test]
async fn event_of_three_mebibytes_arrives() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let large = format!(r#"{{"event":"e","payload":"{}"}}"#, "é\\n".repeat(3 << 18));
    assert!(large.len() > 3 << 20);
    lab.zoom.push(&large).await;
    lab.handler("crm").has_taken(1).await;
    assert!(lab.handler("crm").has(large.as_bytes()));
    bridge.stop().await;
}

#[tokio::test]
async fn refused_token_is_fetched_anew_and_said_in_words() {
    let lab =
        Lab::with(&["crm"], Options { faults: faults(&["open-refused=Invalid Token"]), ..Options::default() }).await;
    let bridge = lab.bridge().await;
    lab.zoom.wait_for(|counts| counts.refused >= 2 && counts.tokens >= 2).await;
    bridge.until("/readyz", |status, text| status == 503 && text.contains("Invalid Token")).await;
    lab.zoom.set_faults(Faults::default());
    bridge.until_ready().await;
    bridge.stop().await;
}

#[tokio::test]
async fn wrong_secret_parks_the_socket_loudly_and_stored_events_still_go_out() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(crate::receiver::Answer::Status(503));
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_seen(1).await;
    bridge.kill().await;

    lab.zoom.set_faults(faults(&["token-status=400"]));
    lab.handler("crm").answer(crate::receiver::Answer::Status(200));
    let bridge = lab.bridge().await;
    lab.handler("crm").has_taken(1).await;
    bridge.until("/readyz", |status, text| status == 503 && text.contains("Invalid client_id or client_secret")).await;
    bridge.logged("\"level\":\"ERROR\"").await;
    assert_eq!(bridge.get("/livez").await.0, 200);
    bridge.stop().await;
}

#[tokio::test]
async fn token_endpoint_that_misbehaves_is_survived() {
    for fault in ["token-status=500", "token-html", "token-empty", "token-retry-after=iso:2s"] {
        let lab = Lab::with(&["crm"], Options { faults: faults(&[fault]), ..Options::default() }).await;
        let bridge = lab.bridge().await;
        lab.zoom.wait_for(|counts| counts.token_requests >= 1).await;
        bridge.until("/readyz", |status, text| status == 503 && text.contains("main")).await;
        let (_, text) = bridge.get("/readyz").await;
        assert!(!text.contains('<'), "no markup: {text}");
        bridge.stop().await;
    }
}
