//! A full spool is a state, loud and accounted for; what is deleted for good is deleted at the operator's word.

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use zoomhook::simulator::fault::Cut;

use crate::lab::{Bridge, Lab, body};
use crate::receiver::Answer;

/// The smallest `max_size` that a configuration may have.
const MAX_SIZE: &str = "max_size = \"64MiB\"\nretention = \"0s\"\n";
/// Size of an event that fills it fast.
const BODY: usize = 200_000;
/// More of them than the spool, the queue before it and the buffers of a socket hold.
const EVENTS: usize = 700;

#[tokio::test]
async fn full_spool_loses_nothing_that_was_read_where_it_refuses() {
    full_spool_loses_nothing_that_was_read("when_full = \"refuse\"").await;
}

#[tokio::test]
async fn full_spool_loses_nothing_that_was_read_where_delivered_events_go_first() {
    full_spool_loses_nothing_that_was_read("when_full = \"drop_delivered_first\"").await;
}

async fn full_spool_loses_nothing_that_was_read(policy: &str) {
    let mut lab = Lab::new(&["crm"]).await;
    let (bridge, pushing) = filled(&mut lab, policy).await;
    bridge.until("/readyz", |status, text| status == 503 && text.contains("of its max_size of 67.1 MB")).await;
    bridge.until("/metrics", |_, text| text.contains("zoomhook_spool_writable 0")).await;
    assert!(
        bridge.status().await["summary"]
            .as_str()
            .is_some_and(|text| text.starts_with("Nothing is lost yet, but events will be"))
    );

    lab.zoom.drop_sockets(Cut::Reset);
    pushing.await.expect("no panic");
    lab.handler("crm").answer(Answer::Status(200));
    bridge.until_ready().await;
    bridge.logged("the spool takes events again").await;
    let read = events_read(&bridge).await;
    assert!(read < EVENTS, "the rest was lost with the socket");
    lab.handler("crm").has_taken(read).await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(read + 1).await;
    let log = bridge.stop().await;
    assert_eq!(accepted(&lab), read + 1, "every event that was read was stored");
    let gap = lab.gaps().into_iter().find(|gap| gap.reason.contains("connection lost"));
    assert!(gap.is_some_and(|gap| gap.closed_at.is_some()), "the loss is accounted for: {:?}", lab.gaps());
    assert!(!log.contains("had to go to make room"), "nothing that was not delivered went");
}

#[tokio::test]
async fn subscription_that_changes_while_the_spool_is_full_loses_nothing_that_was_read() {
    let mut lab = Lab::new(&["crm"]).await;
    let (bridge, pushing) = filled(&mut lab, "when_full = \"refuse\"").await;
    lab.subscription_lines = "group = \"other\"".to_owned();
    lab.write_configuration(&["crm"]);
    let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    pushing.await.expect("no panic");
    lab.handler("crm").answer(Answer::Status(200));
    bridge.until_ready().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken_body(body(1).as_bytes()).await;
    let read = events_read(&bridge).await;
    bridge.stop().await;
    assert_eq!(accepted(&lab), read, "the socket that follows stores what the one before it had read");
}

#[tokio::test]
async fn orphaned_destination_is_listed_purged_on_request_and_forgotten_everywhere() {
    let lab = Lab::new(&["old", "stays"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("old").answer(Answer::Status(404));
    lab.zoom.push(&body(0)).await;
    bridge.until("/api/v1/dead", |_, text| text.contains("status 404")).await;
    bridge.post("/api/v1/destinations/old/pause", &json!({})).await;
    lab.zoom.push_all(&[body(1), body(2), body(3)]).await;
    lab.handler("stays").has_taken(4).await;
    assert_eq!(bridge.get("/api/v1/orphans").await.1, r#"{"orphans":[]}"#);
    let (code, refused) = bridge.post("/api/v1/orphans/old/purge", &json!({})).await;
    assert_eq!((code, &refused["code"]), (409, &"destination_configured".into()), "{refused}");

    lab.write_configuration(&["stays"]);
    assert_eq!(bridge.post("/api/v1/reload", &json!({})).await.0, 200);
    lab.zoom.push(&body(4)).await;
    lab.handler("stays").has_taken(5).await;
    let sentence = "old: no longer configured, 3 events waiting";
    bridge.until("/api/v1/status", |_, text| text.contains(sentence)).await;
    bridge.until("/metrics", |_, text| text.contains("zoomhook_deliveries_orphaned 3\n")).await;
    let (code, out, err) = lab.run(&["orphans", "list"]).await;
    assert!(code == 0 && out.contains("old") && !out.contains("stays"), "{out}{err}");
    let (_, counted) = bridge.post("/api/v1/orphans/old/purge", &json!({ "dry_run": true })).await;
    assert_eq!((&counted["pending"], &counted["dead"], &counted["dry_run"]), (&3.into(), &1.into(), &true.into()));
    let (_, purged) = bridge.post("/api/v1/orphans/old/purge", &json!({})).await;
    assert_eq!((&purged["pending"], &purged["complete"]), (&3.into(), &true.into()), "{purged}");
    assert!(!bridge.get("/api/v1/status").await.1.contains("\"name\":\"old\""));
    let (_, metrics) = bridge.get("/metrics").await;
    assert!(metrics.contains("zoomhook_deliveries_orphaned 0\n") && !metrics.contains("\"old\""), "{metrics}");
    assert_eq!(bridge.post("/api/v1/orphans/old/purge", &json!({})).await.0, 404);
    bridge.stop().await;
    assert_eq!(lab.handler("old").requests(), 1);
}

#[tokio::test]
async fn destination_that_returns_gets_what_waited_for_it_and_nothing_that_came_meanwhile() {
    let lab = Lab::new(&["crm", "well"]).await;
    let bridge = lab.live_bridge().await;
    bridge.post("/api/v1/destinations/crm/pause", &json!({})).await;
    lab.zoom.push(&body(1)).await;
    lab.handler("well").has_taken(1).await;
    lab.write_configuration(&["well"]);
    bridge.post("/api/v1/reload", &json!({})).await;
    lab.zoom.push(&body(2)).await;
    lab.handler("well").has_taken(2).await;
    bridge.stop().await;

    // It is the spool that remembers, not the process.
    let bridge = lab.live_bridge().await;
    bridge.post("/api/v1/destinations/crm/resume", &json!({})).await;
    lab.zoom.push(&body(3)).await;
    lab.handler("crm").has_taken(2).await;
    bridge.stop().await;
    assert!(!lab.handler("crm").has(body(2).as_bytes()));
}

#[tokio::test]
async fn dead_letters_and_parked_frames_are_purged_with_and_without_a_bridge() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Status(404));
    lab.zoom.push_all(&[body(1), body(2), "no JSON, canary-payload".to_owned()]).await;
    bridge.until("/api/v1/dead", |_, text| text.matches("status 404").count() == 2).await;
    bridge.until("/api/v1/events?parked=true", |_, text| text.contains("\"parked\":\"")).await;
    let purge = async |path, request: Value| bridge.post(path, &request).await;
    assert_eq!(purge("/api/v1/dead/purge", json!({})).await.0, 400, "nothing is chosen");
    assert_eq!(purge("/api/v1/dead/purge", json!({ "destination": "cmr" })).await.0, 404);
    assert_eq!(purge("/api/v1/dead/purge", json!({ "all": true, "dry_run": true })).await.1["dead"], 2);
    let of_cause = async |cause| purge("/api/v1/dead/purge", json!({ "cause": cause, "dry_run": true })).await.1;
    assert_eq!((&of_cause("status 404").await["dead"], &of_cause("status 4").await["dead"]), (&2.into(), &0.into()));
    assert_eq!(purge("/api/v1/dead/purge", json!({ "events": [1] })).await.1["dead"], 1);
    assert_eq!(purge("/api/v1/events/purge", json!({})).await.0, 400);
    assert_eq!(purge("/api/v1/events/purge", json!({ "parked": true })).await.1["parked"], 1);
    bridge.stop().await;

    let (code, out, err) = lab.run(&["dead", "purge", "--all"]).await;
    assert!(code == 0 && out.contains("1 dead letter would be purged; --yes"), "{out}{err}");
    let (code, out, err) = lab.run(&["dead", "purge", "--cause", "status 410", "--yes"]).await;
    assert!(code == 0 && out.contains("nothing to purge: there are those of `status 404` (1)"), "{out}{err}");
    let (code, out, err) = lab.run(&["dead", "purge", "--cause", "status 404", "--yes"]).await;
    assert!(code == 0 && out.contains("1 dead letter purged"), "{out}{err}");
    let (code, out, err) = lab.run(&["events", "purge", "--parked", "--yes", "--json"]).await;
    assert!(code == 0 && out.contains("\"parked\": 0"), "{out}{err}");
    let (code, _, err) = lab.run(&["orphans", "purge", "crm", "--yes"]).await;
    assert!(code == 1 && err.contains("`crm` is configured"), "{err}");
    let audited: i64 = rusqlite::Connection::open(lab.spool())
        .and_then(|spool| {
            spool.query_row("SELECT count(*) FROM audit WHERE action LIKE 'purge%'", [], |row| row.get(0))
        })
        .expect("a spool");
    assert_eq!(audited, 3, "a command that has counted nothing asks for no purge");
}

/// Starts a bridge whose handler takes nothing, and pushes events until its spool is full and the socket is not read.
async fn filled(lab: &mut Lab, policy: &str) -> (Bridge, JoinHandle<usize>) {
    lab.spool_lines = format!("{MAX_SIZE}{policy}");
    lab.destination_lines =
        "body = \"verbatim\"\nretry = [\"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\"]"
            .to_owned();
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Status(503));
    let zoom = lab.zoom.clone();
    let bodies: Vec<String> = (0..EVENTS).map(large).collect();
    let pushing = tokio::spawn(async move { zoom.push_all(&bodies).await });
    bridge.logged("the spool takes no events: it is full").await;
    bridge.until("/readyz", |_, text| text.contains("not read while the spool takes no events")).await;
    (bridge, pushing)
}

fn large(number: usize) -> String {
    format!(r#"{{"event":"e","n":{number},"payload":"canary-payload {}"}}"#, "x".repeat(BODY))
}

/// Returns how many events were read from the socket.
async fn events_read(bridge: &Bridge) -> usize {
    let (_, page) = bridge.get("/metrics").await;
    let families = page.lines().filter(|line| line.starts_with("zoomhook_events_received_total{subscription=\"main\""));
    let counts = families.filter_map(|line| line.split(' ').nth(1)?.parse::<usize>().ok());
    counts.reduce(|sum, count| sum + count).expect("the counts")
}

/// Returns how many events the spool has ever taken.
fn accepted(lab: &Lab) -> usize {
    let spool = rusqlite::Connection::open(lab.spool()).expect("a spool");
    spool.query_row("SELECT value FROM meta WHERE key = 'last_event'", [], |row| row.get(0)).expect("a number")
}
