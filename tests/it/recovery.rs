//! What the spool has accepted arrives, whatever happens to the process.

use serde_json::Value;

use crate::lab::{Lab, bodies, body};
use crate::receiver::Answer;

/// Events of the burst, as the largest of Zoom's town halls brings them in a minute.
const BURST: usize = 20_000;

#[tokio::test]
async fn accepted_events_survive_kill_9() {
    let lab = Lab::new(&["slow", "fast"]).await;
    let mut bridge = lab.live_bridge().await;
    lab.handler("slow").answer(Answer::Slow(std::time::Duration::from_millis(5)));
    let mut sent = 0;
    // Killed at several moments of the burst, each a little later than the last.
    for round in 1..=4 {
        let zoom = lab.zoom.clone();
        let batch = bodies(sent..sent + BURST / 4);
        sent += batch.len();
        let pushing = tokio::spawn(async move { zoom.push_all(&batch).await });
        lab.handler("fast").has_taken((round - 1) * 1000 + 500 * round).await;
        bridge.kill().await;
        pushing.await.expect("no panic");
        bridge = lab.live_bridge().await;
    }
    let accepted = lab.rows();
    lab.handler("slow").answer(Answer::Status(200));
    for (_, handler) in &lab.handlers {
        handler.has_taken(accepted.len()).await;
    }
    bridge.stop().await;
    let mut view = lab.view();
    for row in &accepted {
        let body = view.event(row.id).expect("readable").expect("stored").body;
        assert!(lab.handlers.iter().all(|(_, handler)| handler.has(&body)), "event {} is lost", row.id);
    }
    assert!(accepted.len() > 4000, "the burst came through: {}", accepted.len());
}

#[tokio::test]
async fn time_without_a_process_is_a_gap_and_nothing_looks_well_meanwhile() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    bridge.kill().await;
    let (code, out, _) = lab.run(&["status"]).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.to_lowercase().contains("no bridge is running"), "{out}");

    let bridge = lab.live_bridge().await;
    bridge.stop().await;
    let gaps = &lab.gaps()[1..];
    let seen: Vec<_> = gaps.iter().rev().map(|gap| (&*gap.reason, gap.closed_at.is_some())).collect();
    assert_eq!(seen, [("first start", true), ("zoomhook was not running", true)]);
    assert!(gaps[0].last_event_at.is_some());
}

#[tokio::test]
async fn second_bridge_on_the_same_spool_is_refused_in_words() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let (code, _, err) = lab.run(&["run"]).await;
    assert_eq!(code, 1);
    let reason = "is in use by another process";
    let told = |line: &&str| line.starts_with("zoomhook: ") && line.contains(reason);
    let logged = |line: &&str| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        line["level"] == "ERROR" && line.to_string().contains(reason)
    };
    assert_eq!((err.lines().filter(told).count(), err.lines().filter(logged).count()), (1, 1), "{err}");
    bridge.stop().await;
}

#[tokio::test]
async fn repeated_event_is_delivered_once_across_a_restart() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    bridge.stop().await;
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    lab.zoom.push(&body(2)).await;
    lab.handler("crm").has_taken(2).await;
    bridge.stop().await;
    assert_eq!(lab.handler("crm").requests(), 2);
    assert_eq!(lab.rows().iter().map(|row| row.repeats).sum::<u32>(), 2);
}
