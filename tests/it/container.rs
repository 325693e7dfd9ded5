//! The image and its neighbours, as far as they can be looked at without a container: what is built from what, and the
//! commands of the compose file at work with each other.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Component, Path};
use std::process::Stdio;

use clap::CommandFactory as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use zoomhook::cli::Cli;

use crate::lab::Bridge;
use crate::prometheus::missing;
use crate::readme::root;

const DOCKERFILE: &str = "deploy/docker/Dockerfile";
const COMPOSE: &str = "deploy/compose.yml";

#[test]
fn image_has_no_root_no_shell_and_bases_of_a_version() {
    let text = read(DOCKERFILE);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let after = |word: &str| -> Vec<&str> { lines.iter().filter_map(|line| line.strip_prefix(word)).collect() };
    let bases: BTreeMap<&str, &str> = after("ARG ").iter().filter_map(|line| line.split_once('=')).collect();
    for from in after("FROM ") {
        let name = from.split_whitespace().next().and_then(|it| it.strip_prefix("${")?.strip_suffix('}'));
        let (_, tag) = bases[name.expect("a base that can be named")].rsplit_once(':').expect("a tag");
        assert_ne!(tag, "latest", "{from}");
    }
    // The toolchain is one that can build the program.
    let wanted = format!("rust:{}-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(bases["RUST"].starts_with(&wanted), "{bases:?}");
    assert!(bases["BASE"].contains("distroless"), "{bases:?}");

    let last = text.rsplit("\nFROM ").next().expect("a stage");
    assert!(!last.contains("\nRUN "), "there is no shell to run it");
    let users = after("USER ");
    let [user] = users[..] else { panic!("{users:?}") };
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    assert!(last.contains(&format!("--chown={user} ")), "the spool directory is the user's");
    let words = |line: &str| serde_json::from_str::<Vec<String>>(line).expect("a list: no shell reads it");
    let command = [words(after("ENTRYPOINT ")[0]), words(after("CMD ")[0])].concat();
    assert_eq!(command[0], "/usr/local/bin/zoomhook");
    assert_understood(&command);
}

#[test]
fn image_is_built_from_files_that_the_build_gets() {
    let ignore = read("deploy/docker/Dockerfile.dockerignore");
    let given: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for needed in ["Cargo.toml", "Cargo.lock", "src"] {
        assert!(given.contains(&needed), "{needed}");
    }
    let manifest = read("Cargo.toml");
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"'));
    let included = included(&root().join("src"));
    assert!(included.iter().any(|path| path.starts_with("fixtures/")), "{included:?}");
    for path in paths.map(str::to_owned).chain(included) {
        assert!(given.iter().any(|given| path == *given || path.starts_with(&format!("{given}/"))), "{path}");
    }
}

#[test]
fn services_have_no_rights_and_time_to_end() {
    let services = services();
    assert_eq!(services.keys().map(String::as_str).collect::<Vec<_>>(), ["handler", "simulator", "zoomhook"]);
    for (name, service) in &services {
        for line in ["read_only: true", "cap_drop: [ALL]", "security_opt: [\"no-new-privileges:true\"]"] {
            assert!(service.lines.contains(line), "{name}: {line}");
        }
        if name != "zoomhook" {
            assert!(service.lines.contains("network_mode: \"service:zoomhook\""), "{name} is on the same loopback");
        }
    }
    let unit = read("deploy/systemd/zoomhook.service");
    let seconds = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("a timeout");
    assert!(services["zoomhook"].lines.contains(&format!("stop_grace_period: {seconds}\n")));
    for name in ["zoomhook", "simulator"] {
        let command = [vec!["zoomhook".to_owned()], services[name].command.clone()].concat();
        assert_understood(&command);
    }
}

#[tokio::test]
async fn commands_of_the_compose_file_work_with_each_other() {
    let services = services();
    let directory = tempfile::tempdir().expect("a directory");
    // Others may use the ports of the file on this machine.
    let [zoom, handler] = [(); 2].map(|()| {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address").port().to_string()
    });
    let moved = |text: &str| text.replace("8787", &zoom).replace("3000", &handler);
    // Files that a volume puts at the root are here; `env` finds programs.
    let here = |word: &str| match word.strip_prefix('/') {
        Some(file) => root().join("deploy").join(file).to_str().expect("text").to_owned(),
        None => moved(word),
    };
    let prepare = |name: &str, program: &str| {
        let service = &services[name];
        let mut command = Command::new(program);
        command.args(service.command.iter().map(|word| here(word)));
        command.env_clear().envs(service.environment.iter().map(|(name, value)| (name, moved(value))));
        command.current_dir(directory.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    };

    let mut node = prepare("handler", "env");
    node.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdout(Stdio::piped());
    let mut node = node.spawn().expect("env starts");
    let mut heard = BufReader::new(node.stdout.take().expect("piped")).lines();
    let Some(line) = heard.next_line().await.expect("text") else {
        return missing("Node.js", &std::io::Error::from(std::io::ErrorKind::NotFound)).unwrap_or_default();
    };
    assert_eq!(line, format!("listening on 127.0.0.1:{handler}"));
    let mut simulator = prepare("simulator", env!("CARGO_BIN_EXE_zoomhook"));
    simulator.args(["--listen", &format!("127.0.0.1:{zoom}")]).stdout(Stdio::null());
    let _simulator = simulator.spawn().expect("it starts");
    let mut bridge = prepare("zoomhook", env!("CARGO_BIN_EXE_zoomhook"));
    bridge.env("ZOOMHOOK_SPOOL", directory.path().join("zoomhook.db")).env("ZOOMHOOK_LOG_FORMAT", "json");
    bridge.args(["--listen", "127.0.0.1:0"]);
    let bridge = Bridge::start(bridge).await;

    for _ in 0..3 {
        let line = heard.next_line().await.expect("text").expect("it goes on");
        assert!(line.contains("bytes), request "), "{line}");
    }
    // The handler refuses what is not signed, and answers the validation.
    let url = format!("http://127.0.0.1:{handler}/webhook");
    let http = crate::lab::client();
    for signature in ["", "v0=00"] {
        let request = http.post(&url).header("x-zm-signature", signature).body("{}");
        assert_eq!(request.send().await.expect("an answer").status(), 401);
    }
    let destination = format!("/api/v1/destinations/localhost-{handler}/probe");
    let (code, answer) = bridge.post(&destination, &serde_json::json!({})).await;
    assert!(code == 200 && answer["ok"] == true, "{code} {answer}");
    bridge.signal("TERM");
    let (status, log) = bridge.ended().await;
    assert!(status.success(), "{log}");
}

struct Service {
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Its lines, without their indentation.
    lines: String,
}

/// Reads the services of the compose file, which has one line for each value.
fn services() -> BTreeMap<String, Service> {
    let text = read(COMPOSE);
    let part = text.split("\nservices:\n").nth(1).and_then(|rest| rest.split("\nvolumes:\n").next()).expect("services");
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    let (mut name, mut key) = (String::new(), String::new());
    for line in part.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty()) {
        let trimmed = line.trim_start();
        let value = |text: &str| text.trim().trim_matches('"').to_owned();
        match line.len() - trimmed.len() {
            2 => {
                name = trimmed.trim_end_matches(':').to_owned();
                let empty = Service { command: Vec::new(), environment: BTreeMap::new(), lines: String::new() };
                services.insert(name.clone(), empty);
                continue;
            }
            4 => key = trimmed.split(':').next().unwrap_or_default().to_owned(),
            _ => {}
        }
        let service = services.get_mut(&name).expect("a service");
        service.lines.push_str(&format!("{trimmed}\n"));
        match (trimmed.strip_prefix("command: "), key.as_str(), trimmed.split_once(": ")) {
            (Some(words), _, _) => service.command = serde_json::from_str(words).expect("a list of words"),
            (None, "environment", Some((name, text))) => {
                service.environment.insert(name.to_owned(), value(text));
            }
            (None, _, _) => {}
        }
    }
    services
}

/// Returns the files that the sources take in at compile time, from the root; the ends of names that are put together
/// are left out.
fn included(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(included(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("readable");
            for rest in
                text.split("include_").skip(1).filter(|rest| rest.starts_with("str!(") || rest.starts_with("bytes!("))
            {
                let name = rest.split('"').nth(1).expect("a name");
                let mut place = path.parent().expect("a folder").to_path_buf();
                for step in Path::new(name).components() {
                    if step == Component::ParentDir {
                        assert!(place.pop(), "{name}");
                    } else {
                        place.push(step);
                    }
                }
                found.push(place.strip_prefix(root()).expect("inside").to_str().expect("text").to_owned());
            }
        }
    }
    found
}

fn assert_understood(command: &[String]) {
    let understood = Cli::command().try_get_matches_from(command);
    assert!(understood.is_ok(), "{command:?}\n{}", understood.expect_err("refused"));
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).expect("readable")
}
