//! Secrets come from where they are kept, go where they must, and are seen nowhere else.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::lab::{ADMIN_TOKEN, Bridge, Lab, SECRET_TOKEN, assert_no_canary, body, write_private};

/// Kept where the configuration says, each in another way.
const FROM_FILE: &str = "canary-from-file";
const FROM_CREDENTIAL: &str = "canary-from-credential";
const FROM_COMMAND: &str = "canary-from-command";

#[tokio::test]
async fn secrets_of_every_origin_are_used_and_leak_nowhere() {
    let mut lab = Lab::new(&["crm"]).await;
    let folder = lab.directory.path().to_owned();
    write_private(&folder.join("file"), FROM_FILE);
    write_private(&folder.join("credential"), FROM_CREDENTIAL);
    write_private(&folder.join("kept"), FROM_COMMAND);
    let script = folder.join("print");
    // What a program sees of us, it could leak.
    let seen = folder.join("seen");
    let text = format!(
        "#!/bin/sh\ncat /proc/self/environ /proc/$$/environ /proc/$$/cmdline /proc/$PPID/cmdline > {}\ncat {}\n",
        seen.display(),
        folder.join("kept").display()
    );
    write_private(&script, &text);
    lab.destination_lines = format!(
        "auth = {{ bearer = {{ command = [\"sh\", \"{}\"], timeout = \"30s\" }} }}\n\
         headers = {{ x-file = {{ file = \"{}\" }}, x-credential = {{ credential = \"credential\" }} }}",
        script.display(),
        folder.join("file").display()
    );
    lab.write_configuration(&["crm"]);
    let mut command = lab.command(&["run"]);
    command.env("PATH", "/usr/bin:/bin").env("CREDENTIALS_DIRECTORY", &folder);
    let bridge = Bridge::start(command).await;
    bridge.until_ready().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    let sent = |name: &str| lab.handler("crm").header(name);
    assert_eq!(sent("x-file"), FROM_FILE);
    // One that is read again comes into force.
    write_private(&folder.join("file"), &format!("{FROM_FILE}-2"));
    assert_eq!(bridge.post("/api/v1/reload", &json!({})).await.0, 200);
    lab.zoom.push(&body(2)).await;
    lab.handler("crm").has_taken(2).await;
    assert_eq!(sent("x-file"), format!("{FROM_FILE}-2"));
    assert_eq!(
        (sent("x-credential"), sent("authorization")),
        (FROM_CREDENTIAL.into(), format!("Bearer {FROM_COMMAND}"))
    );

    assert_clean("what a program sees", &read(&seen));
    assert_clean("the arguments", &read(Path::new(&format!("/proc/{}/cmdline", bridge.pid()))));
    for path in [
        "/metrics",
        "/readyz",
        "/api/v1/status",
        "/api/v1/destinations",
        "/api/v1/events",
        "/api/v1/audit",
        "/api/v1/log",
        "/api/v1/gaps",
        "/api/v1/dead",
        "/api/v1/orphans",
    ] {
        assert_clean(path, &bridge.get(path).await.1);
    }
    // A program that fails says things; none of it is told, and the old configuration stays in force.
    write_private(&script, &format!("echo {FROM_COMMAND}; echo {FROM_COMMAND} >&2; exit 7"));
    let (status, refused) = bridge.post("/api/v1/reload", &json!({})).await;
    assert!(status == 422 && refused.to_string().contains("the command sh failed, exit status: 7"), "{refused}");
    assert_clean("a refusal", &refused.to_string());
    let (code, out, err) = lab.run(&["check"]).await;
    assert_ne!(code, 0);
    assert_clean("check", &(out + &err));
    assert_clean("the log", &bridge.stop().await);
}

#[tokio::test]
async fn secrets_that_everybody_may_read_are_refused_with_what_mends_it() {
    let mut lab = Lab::new(&["crm"]).await;
    let path = lab.directory.path().join("token");
    std::fs::write(&path, SECRET_TOKEN).expect("written");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("set");
    lab.destination_lines = format!("headers = {{ x-key = {{ file = \"{}\" }} }}", path.display());
    lab.write_configuration(&["crm"]);
    let mend = format!("(mode 0644): chmod 600 {}", path.display());
    let variables = path.to_str().expect("text");
    for arguments in [&["check"][..], &["run"], &["check", "--env-file", variables]] {
        let (code, _, err) = lab.run(arguments).await;
        assert!(code == 78 && err.contains(&mend), "{arguments:?}: {err}");
    }
}

/// Who owns the files of a process in `/proc` is whoever may look into its memory.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_is_dumped_for_nobody_and_looked_into_by_root_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let is_root = rustix::process::getuid().is_root();
    // As somebody else than root, where we are: of what is root's, nothing could be told.
    let own = if is_root { 65534 } else { rustix::process::getuid().as_raw() };
    for (variable, owner) in [("", 0), ("1", own)] {
        let (mut simulator, _output) = simulator(folder.path(), variable, is_root.then_some(own)).await;
        let pid = simulator.id().expect("running");
        for file in ["mem", "environ"] {
            let found = std::fs::metadata(format!("/proc/{pid}/{file}")).expect("it runs").uid();
            assert_eq!(found, owner, "{file} with ZOOMHOOK_CORE_DUMPS={variable:?}");
        }
        let aborted = std::process::Command::new("kill").args(["-ABRT", &pid.to_string()]).status().expect("kill runs");
        assert!(aborted.success());
        let status = simulator.wait().await.expect("it ended");
        assert_eq!(status.signal(), Some(6), "{status}");
        assert!(!(variable.is_empty() && status.core_dumped()), "{status}");
    }
}

/// Starts a process that lives until it is killed, and may dump as much as it likes.
#[cfg(target_os = "linux")]
async fn simulator(folder: &Path, variable: &str, user: Option<u32>) -> (Child, impl Sized) {
    let line = format!("ulimit -c unlimited; exec {} simulate --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_zoomhook"));
    let mut command = Command::new("sh");
    command.args(["-c", &line]).env_clear().env("ZOOMHOOK_CORE_DUMPS", variable).current_dir(folder).kill_on_drop(true);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    // Either says when it listens; `sh` is no more then.
    let (mut out, mut err) = (BufReader::new(out).lines(), BufReader::new(err).lines());
    let line = tokio::select! {
        Ok(Some(line)) = out.next_line() => line,
        Ok(Some(line)) = err.next_line() => line,
    };
    assert!(!line.contains("ulimit") && !line.contains("enied"), "{line}");
    // It would end if nobody read it any more.
    (child, (out, err))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("readable")).into_owned()
}

/// Searches for every secret that the test has.
fn assert_clean(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what} says nothing");
    assert_no_canary(text);
    for canary in [FROM_FILE, FROM_CREDENTIAL, FROM_COMMAND, ADMIN_TOKEN, SECRET_TOKEN] {
        assert!(!text.contains(canary), "{what} holds {canary}");
    }
}
