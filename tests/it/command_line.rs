//! What a shell gets: one clear sentence, an exit code, and no secret.

use crate::lab::{Lab, body};
use crate::receiver::Answer;

#[tokio::test]
async fn wrong_configuration_is_refused_at_once_with_every_problem() {
    let lab = Lab::new(&["crm"]).await;
    std::fs::write(lab.file(), "[[subscription]]\nname = \"main\"\ncolour = 1\n[spool]\nretention = \"soon\"\n")
        .expect("written");
    for command in ["run", "check"] {
        let (code, out, err) = lab.run(&[command]).await;
        assert_eq!(code, 78, "{out}{err}");
        for word in ["colour", "retention", "client_id", "destination"] {
            assert!(err.contains(word), "{command} does not name {word}: {err}");
        }
    }
}

#[tokio::test]
async fn check_shows_the_configuration_without_its_secrets_and_every_host() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    let (code, out, err) = lab.run(&["check"]).await;
    assert_eq!(code, 0, "{err}");
    crate::lab::assert_no_canary(&out);
    assert!(out.contains(&lab.zoom.addr().to_string()) && out.contains("***"), "{out}");
    let (code, out, _) = lab.run(&["check", "--json"]).await;
    assert_eq!(code, 0);
    let document: serde_json::Value = serde_json::from_str(&out).expect("json");
    assert_eq!(document["ok"], true);
}

#[tokio::test]
async fn probe_asks_zoom_for_a_token_and_each_handler_for_its_validation() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    lab.handler("crm").answer(Answer::Status(503));
    let (code, out, _) = lab.run(&["check", "--probe"]).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("503"), "{out}");
    assert_eq!(lab.zoom.counts().tokens, 1);
    crate::lab::assert_no_canary(&out);
}

#[tokio::test]
async fn reading_commands_work_with_and_without_a_bridge() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Status(404));
    lab.zoom.push(&body(1)).await;
    bridge.until("/api/v1/dead", |_, text| text.contains("status 404")).await;
    assert_readable(&lab).await;
    bridge.kill().await;
    assert_readable(&lab).await;

    // Without a bridge, a replay is noted in the spool and goes out at the next start.
    lab.handler("crm").answer(Answer::Status(200));
    let (code, out, err) = lab.run(&["dead", "replay", "--all"]).await;
    assert!(code == 0 && out.contains("1 dead letter made due again"), "{out}{err}");
    let bridge = lab.live_bridge().await;
    lab.handler("crm").has_taken(1).await;
    bridge.stop().await;
}

#[tokio::test]
async fn bridge_that_cannot_be_asked_is_not_called_stopped() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let (code, out, err) = lab.run(&["status", "--listen", "off"]).await;
    assert!(code == 1 && out.is_empty() && err.contains("a bridge works on the spool"), "{out}{err}");
    bridge.stop().await;
    let beside = std::fs::metadata(lab.spool().with_extension("db-wal")).map_or(0, |file| file.len());
    assert_eq!(beside, 0, "one file is left, complete in itself");
    let (code, out, _) = lab.run(&["status", "--listen", "off"]).await;
    assert!(code == 1 && out.contains("No bridge is running"), "{out}");
}

async fn assert_readable(lab: &Lab) {
    let (code, out, err) = lab.run(&["events", "list"]).await;
    assert!(code == 0 && out.contains("meeting.started"), "{out}{err}");
    let (code, out, err) = lab.run(&["events", "show", "1", "--raw"]).await;
    assert_eq!((code, out.as_str()), (0, body(1).as_str()), "{err}");
    let (code, out, err) = lab.run(&["dead", "list"]).await;
    assert!(code == 0 && out.contains("status 404"), "{out}{err}");
    let (code, out, err) = lab.run(&["gaps"]).await;
    assert!(code == 0 && out.contains("first start"), "{out}{err}");
}

#[tokio::test]
async fn version_and_status_claim_fips_mode_in_a_build_for_it_and_in_no_other() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_zoomhook")).arg("--version").output().await;
    let text = String::from_utf8(output.expect("it starts").stdout).expect("text");
    let status = bridge.status().await;
    assert!(text.contains("cryptography: "), "{text}");
    assert_eq!(text.contains("FIPS mode"), cfg!(feature = "fips"), "{text}");
    assert_eq!(status["fips"], cfg!(feature = "fips"), "{status}");
    assert!(text.trim_end().ends_with(status["cryptography"].as_str().expect("text")), "{text}");
    bridge.stop().await;
}
