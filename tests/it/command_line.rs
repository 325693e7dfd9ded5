//! What a shell gets: one clear sentence, an exit code, and no secret.

use crate::lab::{Bridge, Lab, VIEWER_TOKEN, body};
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
async fn place_where_no_spool_can_be_is_refused_by_check_and_run() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    let other = lab.directory.path().join("other.txt");
    std::fs::write(&other, "something else, and longer than the first bytes").expect("written");
    let below = other.join("zoomhook.db");
    for (place, words) in [
        (lab.directory.path(), "is a directory: name a file in it"),
        (&other, "is no spool, but a file of another kind"),
        (&below, "is no directory, so"),
        (std::path::Path::new("/dev/full"), "is no regular file"),
    ] {
        for command in ["check", "run"] {
            let (code, _, err) = lab.run(&[command, "--spool", &place.display().to_string()]).await;
            assert_eq!(code, 78, "{command} {}: {err}", place.display());
            assert!(err.contains("spool.path: ") && err.contains(words), "{command} {}: {err}", place.display());
        }
    }
}

#[tokio::test]
async fn names_that_mean_memory_elsewhere_are_files_like_others() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    for name in [":memory:", "file:q.db?mode=memory"] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(name);
        let mut command = lab.command(&["run", "--spool", name, "--listen", "off"]);
        let mut child = command.current_dir(folder.path()).spawn().expect("it starts");
        while !std::fs::read(&file).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3")) {
            assert!(child.try_wait().expect("a child").is_none(), "{name}: it ended");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        child.kill().await.expect("killed");
    }
}

#[tokio::test]
async fn probe_asks_zoom_for_a_token_and_each_handler_for_its_validation() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    lab.handler("crm").answer(Answer::Status(503));
    let (code, out, _) = lab.run(&["check", "--probe"]).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("503") && out.ends_with("\n1 of 2 FAILED\n"), "{out}");
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
async fn delivery_that_waits_says_what_holds_it_with_and_without_a_bridge() {
    let lab = Lab::new(&["crm", "audit"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("audit").answer(Answer::Status(503));
    let listen = bridge.admin.to_string();
    let (code, _, err) = lab.run(&["pause", "crm", "--listen", &listen]).await;
    assert_eq!(code, 0, "{err}");
    for n in 1..=30 {
        lab.zoom.push(&body(n)).await;
    }
    bridge.until("/api/v1/destinations/audit", |_, text| text.contains("\"breaker\":{")).await;
    let (_, destination) = bridge.get("/api/v1/destinations/audit").await;
    assert!(destination.contains("\"next_retry_at\":null"), "the probe comes first: {destination}");
    let (code, out, err) = lab.run(&["events", "show", "30", "--listen", &listen]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("held: crm is paused since ") && !out.contains("not attempted yet"), "{out}");
    assert!(out.contains("held: the breaker of audit is open since ") && out.contains("next probe "), "{out}");
    let (_, out, _) = lab.run(&["events", "show", "30", "--json", "--listen", &listen]).await;
    let document: serde_json::Value = serde_json::from_str(&out).expect("json");
    let by: Vec<_> = document["held"].as_array().expect("a list").iter().map(|held| held["by"].clone()).collect();
    assert_eq!(by, ["pause", "breaker"]);
    let (_, out, _) = lab.run(&["resume", "audit", "--listen", &listen]).await;
    assert!(out.starts_with("audit is resumed, but nothing goes out yet, 30 events waiting: the breaker"), "{out}");
    bridge.stop().await;

    let (_, out, _) = lab.run(&["status"]).await;
    let first = out.lines().next().unwrap_or_default();
    assert!(first.contains("waiting: 30 events for crm (paused) and 30 events for audit."), "{out}");
    let (_, out, _) = lab.run(&["events", "show", "30"]).await;
    assert!(out.contains("held: crm is paused since ") && out.contains("held: no bridge is running"), "{out}");
    let (_, out, _) = lab.run(&["resume", "crm"]).await;
    assert!(out.contains("but nothing goes out yet, 30 events waiting: no bridge is running; start it"), "{out}");

    lab.handler("audit").answer(Answer::Status(200));
    lab.write_configuration(&["audit"]);
    let bridge = Bridge::start(lab.command(&["run"])).await;
    bridge.until_ready().await;
    let (_, out, _) = lab.run(&["events", "show", "30", "--listen", &bridge.admin.to_string()]).await;
    assert!(out.contains("held: crm is no longer configured since "), "{out}");
    bridge.stop().await;
}

#[tokio::test]
async fn choice_that_fits_nothing_says_what_there_is_and_leaves_no_row() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.handler("crm").answer(Answer::Status(404));
    lab.zoom.push(&body(1)).await;
    bridge.until("/api/v1/dead", |_, text| text.contains("status 404")).await;
    let listen = bridge.admin.to_string();
    assert_each_says_what_there_is(&lab, &["--listen", &listen]).await;
    bridge.stop().await;
    assert_each_says_what_there_is(&lab, &[]).await;
    let (_, out, _) = lab.run(&["audit", "list"]).await;
    assert_eq!(out, "nobody changed anything\n");
}

async fn assert_each_says_what_there_is(lab: &Lab, options: &[&str]) {
    for (arguments, words) in [
        (&["dead", "replay", "--cause", "status 40"][..], "no dead letter fits: there are those of `status 404` (1)\n"),
        (&["dead", "replay", "--type", "meetings.*"], "did you mean meeting.*?\n"),
        (
            &["dead", "purge", "--type", "meeting.strated", "--yes"],
            "nothing to purge: there are those of `status 404` (1); no event type",
        ),
        (
            &["dead", "list", "--cause", "nope", "--destination", "crm"],
            "no dead letters: crm has those of `status 404` (1)\n",
        ),
        (&["events", "replay", "--type", "meeting.strated"], "did you mean meeting.started?\n"),
        (&["events", "list", "--type", "meeting.strated"], "no events; no event type that is known here fits"),
    ] {
        let (code, out, err) = lab.run(&[arguments, options].concat()).await;
        assert!(code == 0 && out.contains(words), "{options:?} {arguments:?}: {out}{err}");
    }
}

#[tokio::test]
async fn bridge_and_its_spool_file_tell_the_same_byte_for_byte() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.bridge_with_viewer_and_dead_letter().await;
    for change in ["pause", "resume"] {
        assert_eq!(bridge.post(&format!("/api/v1/destinations/crm/{change}"), &serde_json::json!({})).await.0, 200);
    }
    let listen = bridge.admin.to_string();
    let elsewhere = lab.directory.path().join("elsewhere.db").display().to_string();
    for line in [
        "events list --json",
        "events list --type meeting.* --destination crm --state dead --since 1h --until 2100-01-01T00:00:00Z --before 9 --limit 1 --json",
        "events list --parked --json",
        "events list --text überBLICK --json",
        "events list --text no-such-text --limit 3 --json",
        "events show 1 --json",
        "events show 1 --raw",
        "dead list --json",
        "dead list --type meeting.* --since 1h --json",
        "dead list --cause status_404 --destination crm --before 9 --limit 1 --json",
        "gaps --limit 3 --json",
        "orphans list --json",
        "audit list --json",
        "audit list --before 2 --limit 1 --json",
    ] {
        // One word of a command line may hold a blank.
        let words: Vec<String> = line.split(' ').map(|word| word.replace("status_", "status ")).collect();
        let with = |options: [&str; 2]| words.iter().map(String::clone).chain(options.map(str::to_owned)).collect();
        let asked: Vec<String> = with(["--listen", &listen]);
        let asked: Vec<&str> = asked.iter().map(String::as_str).chain(["--spool", &elsewhere]).collect();
        let (code, from_bridge, err) = lab.run(&asked).await;
        assert_eq!(code, 0, "{line}: {err}");
        let read: Vec<String> = with(["--listen", "off"]);
        let (code, from_file, err) = lab.run(&read.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(code, 0, "{line}: {err}");
        assert_eq!(from_bridge, from_file, "{line}");
        assert!(
            from_bridge.contains("404")
                || from_bridge.contains("meeting.started")
                || from_bridge.contains("\"pause\"")
                || from_bridge.contains("[]")
                || line.starts_with("gaps"),
            "{line}: {from_bridge}"
        );
    }
    bridge.stop().await;
}

#[tokio::test]
async fn viewer_is_told_that_payloads_are_hidden() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.bridge_with_viewer_and_dead_letter().await;
    let listen = bridge.admin.to_string();
    let look = async |arguments: &[&str]| {
        let arguments = [arguments, &["--listen", &listen]].concat();
        let output = lab.command(&arguments).env("LAB_ADMIN_TOKEN", VIEWER_TOKEN).output().await.expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = look(&["events", "show", "1"]).await;
    assert!(code == Some(0) && out.contains("hidden, as are answers of handlers"), "{out}{err}");
    crate::lab::assert_no_canary(&out);
    let (code, out, err) = look(&["events", "show", "1", "--raw"]).await;
    assert!(code == Some(1) && out.is_empty() && err.contains("shows bodies to operators only"), "{out}{err}");
    let (code, out, err) = look(&["dead", "list"]).await;
    assert!(code == Some(0) && out.contains("status 404"), "{out}{err}");
    let (code, _, err) = look(&["pause", "crm"]).await;
    assert!(code == Some(1) && err.contains("refuses: "), "{err}");
    bridge.stop().await;
}

#[tokio::test]
async fn reading_says_which_of_bridge_and_spool_failed_and_what_to_do() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.bridge_with_viewer_and_dead_letter().await;
    let listen = bridge.admin.to_string();
    let elsewhere = lab.directory.path().join("elsewhere.db").display().to_string();
    for command in
        [&["events", "list"][..], &["events", "show", "1"], &["dead", "list"], &["gaps"], &["orphans", "list"]]
    {
        // Somebody who refuses is not got round by way of the file.
        let mut refused = lab.command(&[command, &["--listen", &listen]].concat());
        let output = refused.env("LAB_ADMIN_TOKEN", "wrong").output().await.expect("it runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && err.contains("asks for another admin token: set "), "{err}");

        let (code, out, err) = lab.run(&[command, &["--listen", "127.0.0.1:1", "--spool", &elsewhere]].concat()).await;
        assert!(code == 1 && out.is_empty(), "{command:?}: {out}");
        for words in ["no bridge answers on 127.0.0.1:1", "there is no spool at", "name it with --spool or --config"] {
            assert!(err.contains(words), "{command:?}: no {words:?} in {err}");
        }
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    for command in [&["events", "list"][..], &["dead", "list"], &["dead", "replay", "--dry-run"]] {
        let (code, out, err) =
            lab.run(&[command, &["--since", "1h", "--until", "2h", "--listen", &listen]].concat()).await;
        assert!(code == 2 && out.is_empty() && err.contains("--until: "), "{command:?}: {out}{err}");
    }
    let (status, problem) = bridge.get("/api/v1/events?since=2099-01-01").await;
    assert!(status == 400 && problem.contains("since: 2099-01-01 00:00:00 UTC is still to come"), "{problem}");
    let (_, _, err) = lab.run(&["events", "list", "--destination", "crn", "--listen", &listen]).await;
    assert!(err.contains(" refuses: no destination is called crn: did you mean crm?"), "{err}");
    let (_, _, err) = lab.run(&["events", "list", "--destination", "crn", "--listen", "off"]).await;
    assert!(err.contains("cannot list events: no destination is called crn: did you mean crm?"), "{err}");
    bridge.stop().await;
}

#[tokio::test]
async fn bridge_that_cannot_be_asked_is_not_called_stopped() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let (code, out, err) = lab.run(&["status", "--listen", "off"]).await;
    assert!(code == 1 && out.is_empty() && err.contains("a bridge works on the spool"), "{out}{err}");
    for asked in [
        &["pause", "crm"][..],
        &["resume", "crm"],
        &["dead", "replay", "--all"],
        &["dead", "purge", "--all", "--yes"],
        &["orphans", "purge", "crm", "--yes"],
        &["gaps", "ack", "1", "--note", "seen"],
        &["spool", "rekey"],
        &["log-level", "debug"],
    ] {
        for listen in ["off", "127.0.0.1:1"] {
            let (code, out, err) = lab.run(&[asked, &["--listen", listen]].concat()).await;
            assert!(
                code == 1 && out.is_empty() && err.contains("a bridge works on the spool"),
                "{asked:?}: {out}{err}"
            );
            assert!(err.contains("give --listen with") && !err.contains("end that one"), "{asked:?}: {err}");
        }
    }
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
