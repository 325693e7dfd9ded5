//! What the person on call has at hand: an exit code to rely on, pictures that follow the bridge, and a shell that helps.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::lab::{Bridge, Lab, body};
use crate::receiver::Answer;

#[tokio::test]
async fn exit_code_of_status_says_whether_all_is_well() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let listen = bridge.admin.to_string();
    let (code, out, err) = lab.run(&["status", "--listen", &listen]).await;
    assert!(code == 0 && out.starts_with("Nothing is being lost: "), "{out}{err}");

    lab.handler("crm").answer(Answer::Status(404));
    lab.zoom.push(&body(1)).await;
    bridge.until("/api/v1/dead", |_, text| text.contains("status 404")).await;
    let (code, out, _) = lab.run(&["status", "--listen", &listen, "--json"]).await;
    let document: Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, &document["ok"], &document["level"]), (1, &Value::from(false), &Value::from("degraded")));

    // A file that is broken hides nothing that flags tell.
    let good = std::fs::read_to_string(lab.file()).expect("written");
    std::fs::write(lab.file(), "[[subscription]\n").expect("written");
    let mut asked = lab.command(&["status", "--listen", &listen]);
    let output = asked.env("ZOOMHOOK_ADMIN_TOKEN", crate::lab::ADMIN_TOKEN).output().await.expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.code() == Some(1) && out.starts_with("Nothing is being lost, but crm"), "{out}{err}");
    assert!(err.contains(": 1 problem") && err.contains("ends with 78"), "{err}");
    let (code, out, err) = lab.run(&["status", "--listen", "127.0.0.1:1", "--spool", "/nonexistent/z.db"]).await;
    assert!(code == 78 && out.is_empty(), "{out}{err}");
    std::fs::write(lab.file(), good).expect("written");

    bridge.stop().await;
    let (code, out, _) = lab.run(&["status", "--listen", &listen]).await;
    assert!(code == 1 && out.starts_with("No bridge is running on "), "{out}");
}

#[tokio::test]
async fn status_that_cannot_be_told_is_never_well_and_says_what_to_do() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    let (code, out, err) = lab.run(&["status"]).await;
    assert!(code == 1 && out.is_empty(), "{out}");
    for words in ["it cannot be told whether events are being lost", "there is no spool at", "name it with --spool"] {
        assert!(err.contains(words), "no {words:?} in {err}");
    }
    let (code, out, _) = lab.run(&["status", "--json"]).await;
    let document: Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, &document["ok"], &document["level"]), (1, &Value::from(false), &Value::from("unknown")));

    let bridge = lab.live_bridge().await;
    let listen = bridge.admin.to_string();
    let mut command = lab.command(&["status", "--listen", &listen]);
    let output = command.env("LAB_ADMIN_TOKEN", "wrong").output().await.expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains("asks for another admin token: set "), "{err}");
    bridge.stop().await;

    let newer = rusqlite::Connection::open(lab.spool()).expect("a spool");
    newer.execute("UPDATE meta SET value = 99 WHERE key = 'format'", []).expect("written");
    for command in ["status", "gaps"] {
        let (code, _, err) = lab.run(&[command]).await;
        assert!(code == 1 && err.contains("run a newer zoomhook"), "{command}: {err}");
    }
}

#[tokio::test]
async fn watching_goes_on_while_the_bridge_is_away() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let mut watch = Watch::start(&lab, &bridge, &["status", "--watch", "200ms", "--json"]);
    let document = watch.next().await;
    assert_eq!((&document["running"], &document["ok"]), (&Value::Bool(true), &Value::Bool(true)));
    let (listen, command) = (bridge.admin.to_string(), lab.command(&["run", "--listen", &bridge.admin.to_string()]));
    bridge.stop().await;
    watch.until(|document| document["running"] == false).await;
    let bridge = Bridge::start(command).await;
    assert_eq!(bridge.admin.to_string(), listen);
    watch.until(|document| document["ok"] == true).await;
    watch.interrupt().await;
    bridge.stop().await;
}

#[tokio::test]
async fn top_shows_rates_of_what_moves() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let mut watch = Watch::start(&lab, &bridge, &["top", "--every", "200ms", "--json"]);
    let first = watch.next().await;
    assert_eq!(
        (&first["level"], &first["destinations"][0]["delivered_per_second"]),
        (&Value::from("fine"), &Value::Null)
    );
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    let moves = |line: &Value, rate: &str| line[rate].as_f64().is_some_and(|rate| rate > 0.0);
    watch
        .until(|document| {
            let (main, crm) = (&document["subscriptions"][0], &document["destinations"][0]);
            moves(main, "received_per_second") && moves(crm, "delivered_per_second") && moves(crm, "p99_seconds")
        })
        .await;
    watch.interrupt().await;
    bridge.stop().await;
}

#[tokio::test]
async fn reader_that_leaves_ends_a_command_quietly() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let listen = bridge.admin.to_string();
    for arguments in [&["status", "--watch", "200ms"][..], &["top", "--every", "200ms"], &["simulate", "--help"]] {
        let mut command = match arguments {
            ["simulate", ..] => zoomhook(arguments),
            _ => lab.command(&[arguments, &["--listen", &listen]].concat()),
        };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert!(lines.next_line().await.expect("text").is_some(), "{arguments:?}");
        drop(lines);
        let output = child.wait_with_output().await.expect("it ends");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && err.is_empty(), "{arguments:?}: {}: {err}", output.status);
    }
    bridge.stop().await;
}

#[tokio::test]
async fn terminal_is_given_back_as_it_was() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let (binary, listen) = (env!("CARGO_BIN_EXE_zoomhook"), bridge.admin);
    let line = format!(
        "stty cols 80 rows 24; {binary} status --watch 200ms --config {} --listen {listen}; stty -a",
        lab.file().display()
    );
    let mut command = lab.command(&[]);
    let environment: Vec<_> =
        command.as_std_mut().get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    // `script` (util-linux) gives it a terminal; the key is typed once the first picture is there.
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    for (name, value) in environment {
        if let Some(value) = value {
            script.env(name, value);
        }
    }
    let mut child = script.spawn().expect("script (util-linux) is there");
    let mut typed = child.stdin.take().expect("piped");
    let mut screen = BufReader::new(child.stdout.take().expect("piped"));
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains("ended by q or Ctrl-C") {
        assert!(screen.read_until(b'\n', &mut shown).await.expect("bytes") > 0, "{}", String::from_utf8_lossy(&shown));
    }
    tokio::io::AsyncWriteExt::write_all(&mut typed, b"q").await.expect("typed");
    tokio::io::AsyncReadExt::read_to_end(&mut screen, &mut shown).await.expect("the rest");
    let shown = String::from_utf8_lossy(&shown);
    let (_, drawn) = shown.split_once("\x1b[?1049h").expect("another screen");
    let (drawn, after) = drawn.split_once("\x1b[?7h\x1b[?25h\x1b[?1049l").expect("the first screen again");
    assert!(drawn.contains("Nothing is being lost"), "{drawn}");
    assert!(after.contains(" icanon") && after.contains(" echo "), "{after}");
    bridge.stop().await;
}

#[tokio::test]
async fn wrong_name_is_answered_with_the_one_that_was_meant() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let listen = bridge.admin.to_string();
    let (code, _, err) = lab.run(&["pause", "crn", "--listen", &listen]).await;
    assert!(code == 1 && err.contains("did you mean crm?"), "{err}");
    bridge.stop().await;
    let (code, _, err) = lab.run(&["pause", "crn"]).await;
    assert!(code == 1 && err.contains("did you mean crm?"), "{err}");
}

#[tokio::test]
async fn bash_completes_commands_and_options() {
    let asked = |words: &str, position: usize| {
        let function = "f=$(complete -p zoomhook | sed 's/.*-F \\([^ ]*\\).*/\\1/')";
        format!(
            "source <(\"$Z\" completions bash); {function}; COMP_WORDS=({words}); COMP_CWORD={position}; \
             $f zoomhook \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        )
    };
    for (words, position, expected) in
        [("zoomhook st", 1, "status"), ("zoomhook events sh", 2, "show"), ("zoomhook status --wa", 2, "--watch")]
    {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &asked(words, position)]).env("Z", env!("CARGO_BIN_EXE_zoomhook"));
        let Output { stdout, stderr, .. } = bash.output().await.expect("bash is there");
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert_eq!((out.trim(), &*err), (expected, ""), "{words}");
    }
}

#[tokio::test]
async fn manual_is_set_without_a_complaint() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    let Output { status, .. } = zoomhook(&["man", path]).output().await.expect("it runs");
    assert!(status.success());
    let pages: Vec<_> = std::fs::read_dir(path).expect("a folder").map(|page| page.expect("a page").path()).collect();
    assert!(pages.len() > 15, "{pages:?}");
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("text");
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{}", page.display());
        let groff = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-Kutf8"]).arg(&page).output().await;
        // Without groff the page is as it was looked at above.
        let Ok(Output { stdout, stderr, .. }) = groff else { continue };
        assert_eq!(String::from_utf8_lossy(&stderr), "", "{}", page.display());
        assert!(String::from_utf8_lossy(&stdout).contains("Print help"), "{}", page.display());
    }
}

#[tokio::test]
async fn demo_that_is_cut_short_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("its own");
    let mut command = zoomhook(&["demo", "--rate", "20"]);
    let mut child = command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    loop {
        let line = lines.next_line().await.expect("text").expect("it goes on");
        if line.contains("handler says 503") {
            break;
        }
    }
    // What failed waits for its retry, so that the first signal does not end it at once.
    interrupt(&child);
    while child.try_wait().expect("a child").is_none() {
        interrupt(&child);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(child.wait().await.expect("ended").code(), Some(130));
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

fn zoomhook(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zoomhook"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn interrupt(child: &Child) {
    if let Some(pid) = child.id() {
        std::process::Command::new("kill").args(["-INT", &pid.to_string()]).status().expect("kill runs");
    }
}

/// Is a command that prints a document a line, until it is interrupted.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(lab: &Lab, bridge: &Bridge, arguments: &[&str]) -> Self {
        let listen = bridge.admin.to_string();
        let mut command = lab.command(&[arguments, &["--listen", &listen]].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    async fn next(&mut self) -> Value {
        let line = self.lines.next_line().await.expect("text").expect("it goes on");
        serde_json::from_str(&line).expect("a document a line")
    }

    /// Reads on until a document is so; the test runner ends a test that never gets there.
    async fn until(&mut self, so: impl Fn(&Value) -> bool) {
        while !so(&self.next().await) {}
    }

    async fn interrupt(mut self) {
        interrupt(&self.child);
        assert!(self.child.wait().await.expect("ended").success());
    }
}
