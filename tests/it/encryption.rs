//! Payloads are encrypted at rest: in the whole program, with keys that go, come back and change while it runs.

use serde_json::{Value, json};

use crate::lab::{Bridge, Lab, body, write_private};
use crate::receiver::Answer;

#[tokio::test]
async fn event_whose_key_is_gone_is_told_loudly_and_delivered_when_it_is_back() {
    let mut lab = Lab::new(&["crm"]).await;
    write_private(&lab.directory.path().join("one"), &key('1'));
    write_private(&lab.directory.path().join("two"), &key('2'));
    let folder = lab.directory.path().display().to_string();
    let with = |current: &str| format!("encryption_key = {{ file = \"{folder}/{current}\" }}");

    lab.spool_lines = with("one");
    lab.handler("crm").answer(Answer::Status(503));
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_seen(1).await;
    bridge.until("/api/v1/events/1", |_, text| text.contains("status 503")).await;
    bridge.stop().await;

    // Started with another key, it receives and delivers what comes, and says what it cannot read.
    lab.handler("crm").answer(Answer::Status(200));
    lab.spool_lines = with("two");
    let bridge = lab.live_bridge().await;
    assert!(bridge.log().contains("which is not configured"), "{}", bridge.log());
    lab.zoom.push(&body(2)).await;
    lab.handler("crm").has_taken(1).await;
    assert!(lab.handler("crm").has(body(2).as_bytes()));
    bridge.until("/api/v1/dead", |_, text| text.contains("key gone")).await;
    assert_eq!(bridge.status().await["level"], "degraded");
    let (status, refused) = bridge.get("/api/v1/events/1").await;
    assert!(status >= 500 && refused.contains("event 1 cannot be read: its key "), "{status} {refused}");
    let (code, _, err) = lab.run(&["spool", "rekey", "--listen", &bridge.admin.to_string()]).await;
    assert!(code == 1 && err.contains("1 event cannot be read"), "{err}");
    bridge.stop().await;

    lab.spool_lines = format!("{}\nold_encryption_keys = [{{ file = \"{folder}/one\" }}]", with("two"));
    let bridge = lab.live_bridge().await;
    let listen = bridge.admin.to_string();
    let (code, out, err) = lab.run(&["dead", "replay", "--cause", "key gone", "--listen", &listen]).await;
    assert!(code == 0, "{out}{err}");
    lab.handler("crm").has_taken(2).await;
    assert!(lab.handler("crm").has(body(1).as_bytes()), "byte for byte");
    // A key that is in the file only is in force at the next start: whoever believes it was taken would lose the old one.
    let (keys, one) = (lab.spool_lines.clone(), format!("encryption_key = {{ file = \"{folder}/one\" }}"));
    for lines in [&one, ""] {
        lab.spool_lines = lines.to_owned();
        lab.write_configuration(&["crm"]);
        let (code, out, err) = lab.run(&["spool", "rekey", "--listen", &listen]).await;
        assert!(code == 1 && out.is_empty() && err.contains("restart the bridge"), "{out}{err}");
    }
    lab.spool_lines = keys;
    lab.write_configuration(&["crm"]);
    let (code, out, err) = lab.run(&["spool", "rekey", "--listen", &listen]).await;
    assert_eq!((code, out.as_str()), (0, "1 event written anew\n"), "{err}");
    bridge.until("/api/v1/audit", |_, text| text.contains("\"action\":\"rekey\"")).await;
    bridge.stop().await;

    // The old key can go; a shell needs the new one where it shows payloads, and none where it does not.
    lab.spool_lines = with("two");
    lab.write_configuration(&["crm"]);
    let (code, out, err) = lab.run(&["events", "show", "1", "--raw"]).await;
    assert_eq!((code, out), (0, body(1)), "{err}");
    std::fs::remove_file(lab.directory.path().join("two")).expect("removed");
    assert_eq!(lab.run(&["events", "list"]).await.0, 0);
    let (code, _, err) = lab.run(&["events", "show", "1"]).await;
    assert!(code == 78 && err.contains("spool.encryption_key"), "{err}");
}

#[tokio::test]
async fn viewers_change_no_key_and_a_rekeying_goes_on_where_it_was() {
    let lab = Lab::new(&["crm"]).await;
    let bridge: Bridge = lab.bridge_with_viewer_and_dead_letter().await;
    let (status, answer) = bridge.post("/api/v1/spool/rekey", &json!({ "after": 7 })).await;
    assert_eq!((status, &answer["complete"], &answer["rewritten"]), (200, &Value::from(true), &Value::from(0)));
    let (status, answer) = bridge.post("/api/v1/spool/rekey", &json!({ "key": "canary" })).await;
    assert_eq!((status, &answer["code"]), (400, &Value::from("bad_body")));
    let url = format!("http://{}/api/v1/spool/rekey", bridge.admin);
    let viewer = crate::lab::client().post(url).bearer_auth(crate::lab::VIEWER_TOKEN).json(&json!({}));
    assert_eq!(viewer.send().await.expect("an answer").status(), 403);
    bridge.stop().await;
}

/// Makes a key of hexadecimal digits.
fn key(digit: char) -> String {
    format!("{}{}", "ab", digit.to_string().repeat(62))
}
