//! What operators change is told in a chain that a shell, a script of others and the log can hold to account.

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::readme;

#[tokio::test]
async fn audit_is_verified_beside_a_running_bridge_and_its_log_bears_witness() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    for action in ["pause", "resume"] {
        assert_eq!(bridge.post(&format!("/api/v1/destinations/crm/{action}"), &json!({})).await.0, 200);
    }
    bridge.signal("HUP");
    bridge.until("/api/v1/audit", |_, text| text.contains("\"who\":\"SIGHUP\"")).await;

    let (code, out, err) = lab.run(&["audit", "verify"]).await;
    assert!(code == 0 && out.starts_with("every row fits: 3 rows; the last is 3:"), "{out}{err}");
    let kept = out.trim_end().rsplit(' ').next().expect("a link").to_owned();
    let (_, hash) = kept.split_once(':').expect("a hash");
    bridge.logged(hash).await;
    let (code, out, err) = lab.run(&["audit", "list"]).await;
    assert!(code == 0 && ["SIGHUP", "reload", "resume", "pause"].iter().all(|word| out.contains(word)), "{out}{err}");
    bridge.stop().await;

    // Somebody who may write the file takes a row out, and seals nothing anew.
    let forger = rusqlite::Connection::open(lab.spool()).expect("a spool");
    forger.execute_batch("DROP TRIGGER audit_goes_from_its_front; DELETE FROM audit WHERE id = 2").expect("forged");
    let (code, out, err) = lab.run(&["audit", "verify", "--json"]).await;
    let document: Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, &document["intact"], &document["misfit"]), (1, &json!(false), &json!(2)));
    assert!(err.contains("row 2 is missing: row 3 follows row 1"), "{err}");
    // And one who seals what follows anew is told by what the log has.
    forger.execute("DELETE FROM audit WHERE id = 3", []).expect("forged");
    assert_eq!(lab.run(&["audit", "verify"]).await.0, 0);
    let (code, _, err) = lab.run(&["audit", "verify", "--kept", &kept]).await;
    assert!(code == 1 && err.contains("row 3, whose hash was kept, is gone"), "{err}");
}

/// As the README has it, so that nobody needs this program to verify.
#[tokio::test]
async fn export_is_verified_by_the_script_of_the_readme() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    bridge.stop().await;
    for action in ["pause", "resume", "pause"] {
        assert_eq!(lab.run(&[action, "crm"]).await.0, 0);
    }
    let (code, out, err) = lab.run(&["audit", "export"]).await;
    assert!(code == 0 && out.lines().count() == 3, "{out}{err}");
    let section = readme::section("### Audit");
    let script = section.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a script");
    let forged = out.replacen("resume", "pause", 1);
    let shortened: String =
        out.lines().filter(|line| !line.contains("resume")).map(|line| format!("{line}\n")).collect();
    for (export, fits) in [(&out, true), (&forged, false), (&shortened, false)] {
        let Some(verified) = python(script, export).await else {
            assert!(std::env::var_os("CI").is_none(), "python3 is needed to run the script of the README");
            eprintln!("skipped: export_is_verified_by_the_script_of_the_readme: no python3 here");
            return;
        };
        assert_eq!(verified, fits, "{export}");
    }
}

/// Runs a script over an export, and tells whether it is content; `None` where there is no Python.
async fn python(script: &str, export: &str) -> Option<bool> {
    use tokio::io::AsyncWriteExt as _;
    let mut command = tokio::process::Command::new("python3");
    command.args(["-c", script]).stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take().expect("piped");
    // It may have left at the first row that does not fit.
    let _ = stdin.write_all(export.as_bytes()).await;
    drop(stdin);
    Some(child.wait().await.expect("it ends").success())
}
