//! The service unit allows what the program needs and little else, and the program needs no more than that.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Output};
use std::time::Duration;

use zoomhook::cli::options::EXIT_CONFIG;
use zoomhook::config::Config;

use crate::lab::{Bridge, Lab, body};
use crate::prometheus::missing;
use crate::readme::root;

const UNIT: &str = "deploy/systemd/zoomhook.service";
/// Is the exposure that is too much, in tenths, as `systemd-analyze security` counts it.
const EXPOSURE: &str = "--threshold=19";
/// Is nobody, on every Linux.
const NOBODY: u32 = 65534;
/// Makes everything read-only but the spool directory, and goes on as nobody without a single capability.
const CONFINE: &str = r#"set -e
spool=$1 directory=$2; shift 2
mount -t tmpfs -o mode=0700 tmpfs "$spool"
if [ "$(id -ru)" = 0 ] && setpriv --reuid=65534 --regid=65534 --clear-groups true 2>/dev/null; then
  chown 65534:65534 "$spool"; user="--reuid=65534 --regid=65534 --clear-groups"
fi
for place in / "$(findmnt -no TARGET -T "$directory")"; do mount -o remount,bind,ro "$place"; done
if (: > "$directory/probe") 2>/dev/null; then echo "the file system is writable" >&2; exit 1; fi
exec setpriv $user --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
"#;

#[test]
fn service_unit_is_valid_and_its_exposure_is_below_two() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = read(UNIT).replace("/usr/local/bin/zoomhook", env!("CARGO_BIN_EXE_zoomhook"));
    let unit = folder.path().join("zoomhook.service");
    fs::write(&unit, text).expect("written");
    let unit = unit.to_str().expect("text");
    let Some(verified) = analyze(&["verify", "--recursive-errors=no", unit]) else { return };
    let said = said(&verified);
    // It says on standard error, and with success, that it does not know a key.
    assert!(verified.status.success() && !said.contains("zoomhook.service"), "{said}");

    let security = ["security", "--offline=true", EXPOSURE, unit];
    let judged = analyze(&security).expect("it ran before");
    assert!(judged.status.success(), "{}", self::said(&judged));
    let lax = read(UNIT).lines().filter(|line| !line.contains("SystemCall")).collect::<Vec<_>>().join("\n");
    fs::write(unit, lax).expect("written");
    assert!(!analyze(&security).expect("it ran before").status.success(), "a unit that allows every system call");
}

#[test]
fn spool_is_in_one_place_for_the_unit_the_image_and_the_command_line() {
    let value = |file: &str, key: &str| {
        let text = read(file);
        let found = text.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        found.map(str::to_owned).unwrap_or_else(|| panic!("{file} has no {key}"))
    };
    let example: toml::Table = read("deploy/zoomhook.toml").parse().expect("TOML");
    let path = example["spool"]["path"].as_str().expect("a path");
    assert_eq!(path, format!("{}/zoomhook.db", value(UNIT, "WorkingDirectory")));
    assert_eq!(path, value("deploy/docker/Dockerfile", "ZOOMHOOK_SPOOL"));
    // A variable of the unit would go before what the command line reads.
    assert!(!read(UNIT).contains("ZOOMHOOK_SPOOL"));
}

#[test]
fn service_unit_knows_how_the_program_starts_and_ends() {
    let value = |key: &str| {
        let unit = read(UNIT);
        let values: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
        let [value] = values[..] else { panic!("{key}: {values:?}") };
        value.to_owned()
    };
    let seconds = value("TimeoutStopSec").strip_suffix('s').and_then(|it| it.parse().ok()).expect("seconds");
    // The spool has some seconds of its own after the grace period.
    assert!(Duration::from_secs(seconds) >= 2 * Config::GRACE, "{seconds} s");
    assert_eq!(value("RestartPreventExitStatus"), EXIT_CONFIG.to_string());
    assert_eq!(value("LimitCORE"), "0");
    let start = value("ExecStart");
    let line: Vec<&str> = start.split_whitespace().collect();
    let understood = <zoomhook::cli::Cli as clap::CommandFactory>::command().try_get_matches_from(line);
    assert!(understood.is_ok(), "{start}");
}

#[tokio::test]
async fn nobody_on_a_read_only_system_needs_the_spool_directory_alone() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    let directory = lab.directory.path();
    // Others must be able to reach program and configuration.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("ours");
    let program = directory.join("zoomhook");
    fs::copy(env!("CARGO_BIN_EXE_zoomhook"), &program).expect("copied");
    let spool = directory.join("spool");
    fs::create_dir(&spool).expect("made");

    let is_root = fs::metadata("/proc/self").expect("a process").uid() == 0;
    let namespaces: &[&str] = if is_root { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    if let Err(error) = allowed(namespaces) {
        return missing("unshare (of file systems)", &error).unwrap_or_default();
    }
    let run = lab.command(&["run"]);
    let run = run.as_std();
    let mut confined = tokio::process::Command::new("unshare");
    confined.args(namespaces).args(["--", "/bin/sh", "-c", CONFINE, "sh"]).args([&spool, directory]).arg(&program);
    confined.args(run.get_args()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").kill_on_drop(true);
    confined.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let bridge = Bridge::start(confined).await;
    bridge.until_ready().await;

    let status = fs::read_to_string(format!("/proc/{}/status", bridge.pid())).expect("it runs");
    let values = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    if is_root {
        assert_eq!(values("Uid:"), [NOBODY.to_string(), NOBODY.to_string(), NOBODY.to_string(), NOBODY.to_string()]);
    }
    for capabilities in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        assert_eq!(values(capabilities), ["0000000000000000"], "{capabilities}");
    }
    assert_eq!(values("NoNewPrivs:"), ["1"]);

    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    // Reads that sort, writes of an operator, and a checkpoint at the end need no other place either.
    let (code, events) = bridge.get("/api/v1/events").await;
    assert!(code == 200 && events.contains("meeting.started"), "{events}");
    let (code, answer) = bridge.post("/api/v1/destinations/crm/pause", &serde_json::json!({})).await;
    assert_eq!(code, 200, "{answer}");
    let log = bridge.stop().await;
    let bad = log.lines().find(|line| line.contains("\"ERROR\"") || line.contains("Read-only"));
    assert!(bad.is_none(), "{bad:?}");
}

/// Tells whether this machine lets its users make namespaces.
fn allowed(namespaces: &[&str]) -> std::io::Result<()> {
    let tried = Command::new("unshare").args(namespaces).args(["--", "mount", "--make-rprivate", "/"]).output()?;
    if tried.status.success() { Ok(()) } else { Err(std::io::Error::other(said(&tried))) }
}

fn analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => missing("systemd-analyze", &error),
    }
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).expect("readable")
}
