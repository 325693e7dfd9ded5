//! What was delivered or given up goes out again when an operator says so, and a newcomer gets the past.

use std::time::Duration;

use serde_json::{Value, json};
use zoomhook::spool::record::DeliveryState;

use crate::lab::{Lab, bodies, body};
use crate::receiver::Answer;

#[tokio::test]
async fn new_consumer_gets_the_last_day_exactly_once_each_and_live_events_too() {
    let lab = Lab::new(&["crm", "new"]).await;
    lab.write_configuration(&["crm"]);
    let before = lab.zoom.counts().accepted;
    let bridge = crate::lab::Bridge::start(lab.command(&["run"])).await;
    lab.zoom.wait_for(|counts| counts.accepted > before).await;
    bridge.until_ready().await;
    let past = bodies(0..300);
    lab.zoom.push_all(&past).await;
    lab.handler("crm").has_taken(300).await;

    lab.write_configuration(&["crm", "new"]);
    assert_eq!(bridge.post("/api/v1/reload", &json!({})).await.0, 200);
    // To the millisecond, as times are kept: what comes from here on is none of the replay's business.
    let now = jiff::Timestamp::from_millisecond(jiff::Timestamp::now().as_millisecond()).expect("a time");
    let choice = json!({"to": "new", "since": "24h", "until": now});
    let (code, refusal) = bridge.post("/api/v1/events/replay", &choice).await;
    assert_eq!((code, &refusal["code"]), (409, &json!("not_confirmed")));
    let (code, would) = bridge.post("/api/v1/events/replay", &with(&choice, "dry_run")).await;
    assert_eq!((code, &would["count"], &would["dry_run"]), (200, &json!(300), &json!(true)));
    assert_eq!(lab.handler("new").requests(), 0, "nothing was changed");

    let live = bodies(300..400);
    let confirmed = with(&choice, "confirmed");
    let (replayed, _) = tokio::join!(bridge.post("/api/v1/events/replay", &confirmed), lab.zoom.push_all(&live));
    assert!([200, 202].contains(&replayed.0), "{replayed:?}");
    lab.handler("new").has_taken(400).await;
    bridge.stop().await;
    assert_eq!(lab.handler("new").taken().values().sum::<u32>(), 400, "nothing came twice");
    for body in &past {
        assert_eq!(lab.handler("new").replays(body), [Some("1".to_owned())]);
        assert_eq!(lab.handler("crm").replays(body), [None]);
    }
    assert!(live.iter().all(|body| lab.handler("new").replays(body) == [None]));
}

#[tokio::test]
async fn dead_letters_are_grouped_by_cause_and_replayed_by_it() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    for (status, number) in [(404, 1), (410, 2), (404, 3)] {
        lab.handler("crm").answer(Answer::Status(status));
        lab.zoom.push(&body(number)).await;
        let dead = format!("\"event\":{number}");
        bridge.until("/api/v1/dead", |_, text| text.contains(&dead)).await;
    }
    let (code, groups) = bridge.get("/api/v1/dead/groups").await;
    let groups: Value = serde_json::from_str(&groups).expect("json");
    assert_eq!((code, &groups["groups"][0]["cause"]), (200, &json!("status 404")));
    assert_eq!((&groups["groups"][0]["count"], &groups["groups"][1]["count"]), (&json!(2), &json!(1)));

    lab.handler("crm").answer(Answer::Status(200));
    let listen = bridge.admin.to_string();
    let cause = ["dead", "replay", "--cause", "status 404", "--listen", &listen];
    let (code, out, err) = lab.run(&[&cause[..], &["--dry-run"]].concat()).await;
    assert!(code == 0 && out.starts_with("2 dead letters would be made due again\ndo it: zoomhook dead"), "{out}{err}");
    assert_eq!(lab.handler("crm").requests(), 3, "a dry run changes nothing");
    let (code, out, err) = lab.run(&cause).await;
    assert!(code == 0 && out == "2 dead letters made due again\n", "{out}{err}");
    lab.handler("crm").has_taken(2).await;
    let (_, audit) = bridge.get("/api/v1/audit").await;
    assert!(audit.contains("\"who\":\"operator at 127.0.0.1") && audit.contains("2 made due"), "{audit}");
    bridge.stop().await;
    let again = Some("1".to_owned());
    assert_eq!([1, 3].map(|n| lab.handler("crm").replays(&body(n))), [vec![None, again.clone()], vec![None, again]]);
    assert!(!lab.handler("crm").has(body(2).as_bytes()), "another cause stays");
}

#[tokio::test]
async fn many_are_replayed_only_on_confirmation_with_and_without_a_bridge() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.zoom.push_all(&bodies(0..150)).await;
    lab.handler("crm").has_taken(150).await;
    let listen = bridge.admin.to_string();
    let asked = ["events", "replay", "--type", "meeting.*", "--since", "1h", "--listen", &listen];
    refuses(&lab, &asked).await;
    bridge.stop().await;
    refuses(&lab, &asked).await;
    assert_eq!(lab.handler("crm").requests(), 150);
    let (code, out, err) = lab.run(&[&asked[..], &["--yes", "--rate", "1000", "--json"]].concat()).await;
    let done: Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, &done["count"], &done["done"]), (0, &json!(150), &json!(true)), "{err}");
    let bridge = lab.live_bridge().await;
    lab.handler("crm").has_seen(300).await;
    bridge.stop().await;
    assert!(lab.rows().iter().all(|row| row.deliveries[0].state == DeliveryState::Delivered));
}

#[tokio::test]
async fn event_that_is_named_and_not_there_is_said_with_and_without_a_bridge() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.bridge_with_viewer_and_dead_letter().await;
    let listen = bridge.admin.to_string();
    let absent = [
        (&["dead", "replay", "999"][..], "no dead letter of event 999 fits"),
        (&["dead", "replay", "999", "998", "--dry-run", "--json"], "no dead letter of the events 999 and 998 fits"),
        (&["dead", "purge", "999", "--json"], "no dead letter of event 999 fits"),
        (&["dead", "purge", "999", "--yes"], "no dead letter of event 999 fits"),
        (&["events", "replay", "999"], "no delivery of event 999 fits"),
        (&["events", "show", "999"], "no event"),
    ];
    for (asked, said) in absent {
        told(&lab, &listen, asked, said).await;
    }
    lab.handler("crm").answer(Answer::Status(200));
    let out = told(&lab, &listen, &["dead", "replay", "1", "999"], "no dead letter of event 999 fits").await;
    assert_eq!(out, "1 dead letter made due again\n", "what is there is done");
    bridge.until("/api/v1/events/1", |_, text| text.contains("\"delivered\"")).await;
    bridge.stop().await;
    for (asked, said) in absent {
        told(&lab, &listen, asked, said).await;
    }
    let out = told(&lab, &listen, &["events", "replay", "1", "999"], "no delivery of event 999 fits").await;
    assert_eq!(out, "1 delivery made due again\n", "what is there is done");
}

/// Checks that a command ends with 1 and these words, and returns what it printed.
async fn told(lab: &Lab, listen: &str, asked: &[&str], said: &str) -> String {
    let (code, out, err) = lab.run(&[asked, &["--listen", listen]].concat()).await;
    assert!(code == 1 && err.contains(said), "{asked:?}: {code}\n{out}{err}");
    out
}

#[tokio::test]
async fn newcomer_that_begins_at_the_beginning_survives_kill_9_without_loss_or_repetition_of_the_fill() {
    const KEPT: usize = 3000;
    let mut lab = Lab::new(&["crm", "late"]).await;
    lab.destination_lines = "start = \"beginning\"".to_owned();
    lab.write_configuration(&["crm"]);
    let before = lab.zoom.counts().accepted;
    let bridge = crate::lab::Bridge::start(lab.command(&["run"])).await;
    lab.zoom.wait_for(|counts| counts.accepted > before).await;
    lab.zoom.push_all(&bodies(0..KEPT)).await;
    lab.handler("crm").has_taken(KEPT).await;
    bridge.stop().await;

    // Nothing is delivered to it, so that the rows of the fill can be counted.
    lab.handler("late").answer(Answer::Hang);
    lab.write_configuration(&["crm", "late"]);
    let filled = || {
        let rows = lab.view().destinations().expect("readable");
        rows.iter().find(|row| &*row.name == "late").map_or(0, |row| row.pending)
    };
    let mut cut_short = Vec::new();
    // Killed a little later each time, until it is through.
    for goal in (1..=6).map(|sixth| sixth * KEPT as u64 / 6) {
        let bridge = crate::lab::Bridge::start(lab.command(&["run"])).await;
        while filled() < goal {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bridge.kill().await;
        cut_short.push(filled());
    }
    cut_short.retain(|filled| *filled < KEPT as u64);
    lab.handler("late").answer(Answer::Status(200));
    let bridge = lab.live_bridge().await;
    lab.handler("late").has_taken(KEPT).await;
    bridge.stop().await;
    assert!(!cut_short.is_empty(), "it was never cut short");
    let rows = lab.rows();
    for row in rows.iter().filter(|row| row.id.0 <= KEPT as u64) {
        let late = row.deliveries.iter().find(|row| &*row.destination == "late").expect("filled");
        assert_eq!((late.state, late.replays), (DeliveryState::Delivered, 0));
    }
    assert!((0..KEPT).all(|n| lab.handler("late").replays(&body(n)).iter().all(Option::is_none)));
    let connection = rusqlite::Connection::open(lab.spool()).expect("a spool");
    let fills: Vec<String> = connection
        .prepare("SELECT detail FROM audit WHERE action = 'fill'")
        .expect("a table")
        .query_map([], |row| row.get(0))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("text");
    assert!(fills.iter().any(|detail| detail.starts_with(&format!("{KEPT} first deliveries"))), "{fills:?}");
}

/// Checks that a replay is counted, shown and not done.
async fn refuses(lab: &Lab, asked: &[&str]) {
    let (code, out, err) = lab.run(asked).await;
    assert!(
        code == 1 && out.starts_with("150 deliveries would be made due again\ndo it: zoomhook events replay"),
        "{out}"
    );
    assert!(out.trim_end().ends_with("--yes") && err.contains("nothing was changed"), "{out}{err}");
}

fn with(choice: &Value, word: &str) -> Value {
    let mut choice = choice.clone();
    choice[word] = json!(true);
    choice
}
