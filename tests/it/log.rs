//! How much is logged changes while the bridge runs, and nothing leaks at any level.

use serde_json::{Value, json};

use crate::lab::{Lab, body};

const RELOADED: &str = "the configuration was read again";

#[tokio::test]
async fn log_level_changes_through_the_api_until_the_next_start() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let reload = async || assert_eq!(bridge.post("/api/v1/reload", &json!({})).await.0, 200);
    let set = async |level: &str| bridge.put("/api/v1/log", &json!({ "level": level })).await;

    // What is below the level is not written: of two reloads, the log has the second alone.
    assert_eq!(set("error").await, (200, json!({ "level": "error", "configured": "trace" })));
    reload().await;
    let levels = "warn,zoomhook::app=info,zoomhook::frames=trace";
    assert_eq!(set(levels).await.0, 200);
    let (_, shown) = bridge.get("/api/v1/log").await;
    assert_eq!(serde_json::from_str::<Value>(&shown).expect("json")["level"], levels);
    reload().await;
    bridge.logged(RELOADED).await;
    assert_eq!(bridge.log().matches(RELOADED).count(), 1, "{}", bridge.log());

    assert_eq!(bridge.log().matches("the log level changes from trace to error").count(), 1, "said before it holds");

    // A part of the program, at its own level.
    let before = bridge.log().matches("read a frame").count();
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    assert_eq!(set("trace").await.0, 200);
    lab.zoom.push(&body(2)).await;
    lab.handler("crm").has_taken(2).await;
    bridge.until("/api/v1/audit", |_, text| text.contains("log_level") && text.contains("warn,zoomhook::app")).await;
    let log = bridge.stop().await;
    assert!(log.matches("read a frame").count() >= before + 2, "{log}");
}

#[tokio::test]
async fn levels_that_mean_nothing_or_could_leak_are_refused() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    for (document, code) in [
        (json!({ "level": "loud" }), "bad_body"),
        (json!({ "level": "info,hyper=trace" }), "bad_body"),
        (json!({ "level": "info", "for": "1h" }), "bad_body"),
        (json!({}), "bad_body"),
    ] {
        let (status, answer) = bridge.put("/api/v1/log", &document).await;
        assert_eq!((status, &answer["code"]), (400, &Value::from(code)), "{document} {answer}");
    }
    assert!(bridge.get("/api/v1/log").await.1.contains("\"level\":\"trace\""));
    bridge.stop().await;
}

#[tokio::test]
async fn command_line_shows_and_changes_the_level_of_a_running_bridge() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let listen = bridge.admin.to_string();
    let (code, out, err) = lab.run(&["log-level", "--listen", &listen]).await;
    assert_eq!((code, out.as_str()), (0, "the bridge logs at trace, as configured\n"), "{err}");
    let (code, out, _) = lab.run(&["log-level", "info,zoomhook::zoom=debug", "--listen", &listen]).await;
    let changed = "the bridge logs at info,zoomhook::zoom=debug until its next start, then at trace again\n";
    assert_eq!((code, out.as_str()), (0, changed));
    bridge.stop().await;
    let (code, _, err) = lab.run(&["log-level", "--listen", &listen]).await;
    assert!(code == 1 && err.contains("no bridge is running"), "{code} {err}");
}

#[tokio::test]
async fn configuration_that_is_refused_is_told_in_the_form_that_its_log_asks_for() {
    let lab = Lab::new(&["crm"]).await;
    // One line of JSON for a log shipper, beside the text for whoever started it by hand.
    for (format, logged) in [("json", 1), ("text", 0)] {
        let text = format!("[log]\nformat = \"{format}\"\nlevel = \"loud\"\n");
        std::fs::write(lab.file(), text).expect("written");
        let (code, out, err) = lab.run(&["run"]).await;
        assert!(code == 78 && out.is_empty(), "{out}{err}");
        let line = |line: &str| serde_json::from_str::<Value>(line).ok();
        let lines: Vec<Value> = err.lines().filter_map(line).collect();
        assert_eq!(lines.len(), logged, "{err}");
        let told = |line: &Value| {
            line["level"] == "ERROR" && line["reason"].as_str().is_some_and(|it| it.contains("log.level"))
        };
        assert!(lines.iter().all(told), "{err}");
        assert!(err.lines().any(|line| line.starts_with("zoomhook:   log.level (line 3): expected a level")), "{err}");
    }
}
