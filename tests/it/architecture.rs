//! The shape of the house: who may see whom, and which files stay pure.

use std::fs;
use std::path::{Path, PathBuf};

/// Chapters that everybody may see, and that see each other alone.
const LEAVES: [&str; 10] =
    ["clock", "config", "event", "json", "net", "retry_after", "schema", "telemetry", "tls", "wording"];

/// What each chapter sees beside the leaves and itself.
const SEES: [(&str, &[&str]); 9] = [
    ("spool", &[]),
    ("webhook", &[]),
    ("zoom", &["spool::Appender", "spool::Closed"]),
    ("dispatch", &["spool", "webhook"]),
    ("simulator", &["webhook"]),
    ("admin", &["spool", "dispatch::status", "zoom::status"]),
    ("app", &["admin", "dispatch", "spool", "webhook", "zoom"]),
    // What the fuzzer starts.
    ("fuzzing", &["admin", "spool", "webhook", "zoom"]),
    ("cli", &["admin", "app", "dispatch::retry", "dispatch::status", "simulator", "spool", "webhook", "zoom"]),
];

/// Files in which the same arguments always give the same result.
const PURE: &[&str] = &[
    "admin/held.rs",
    "admin/history.rs",
    "admin/sentence.rs",
    "app/effect.rs",
    "cli/send/judgement.rs",
    "cli/top/metrics.rs",
    "cli/top/picture.rs",
    "cli/top/sample.rs",
    "config/address.rs",
    "config/allow.rs",
    "config/authorization.rs",
    "config/check.rs",
    "config/cursor.rs",
    "config/egress.rs",
    "config/encryption.rs",
    "config/filter.rs",
    "config/host.rs",
    "config/levels.rs",
    "config/limits.rs",
    "config/problem.rs",
    "config/proxy.rs",
    "config/quantity.rs",
    "config/reference.rs",
    "config/secret.rs",
    "config/show.rs",
    "config/tls.rs",
    "dispatch/breaker.rs",
    "dispatch/expiry.rs",
    "dispatch/key.rs",
    "dispatch/order.rs",
    "dispatch/rate.rs",
    "dispatch/retry.rs",
    "dispatch/schedule.rs",
    "event.rs",
    "event/family.rs",
    "event/text.rs",
    "event/text/summary.rs",
    "json.rs",
    "retry_after.rs",
    "schema.rs",
    "simulator/drill/expect.rs",
    "simulator/fault.rs",
    "simulator/template.rs",
    "simulator/template/edit.rs",
    "simulator/traffic/meetings.rs",
    "spool/audit.rs",
    "spool/repeats.rs",
    "spool/writer/room.rs",
    "webhook/authorization.rs",
    "webhook/canonical.rs",
    "webhook/canonical/members.rs",
    "webhook/canonical/number.rs",
    "webhook/canonical/output.rs",
    "webhook/canonical/text.rs",
    "webhook/diagnosis.rs",
    "webhook/diagnosis/headers.rs",
    "webhook/diagnosis/rewrite.rs",
    "webhook/extras.rs",
    "webhook/keyring.rs",
    "webhook/mac.rs",
    "webhook/request.rs",
    "webhook/signature.rs",
    "webhook/standard.rs",
    "webhook/validation.rs",
    "webhook/verdict.rs",
    "wording.rs",
    "zoom/message.rs",
    "zoom/reconnect.rs",
    "zoom/session.rs",
];

/// Words that a pure file has no use for.
const IMPURE: [&str; 12] = [
    "async ",
    ".await",
    "tokio::",
    "reqwest::",
    "std::fs",
    "std::net::Tcp",
    "std::thread",
    "Instant::now",
    "Timestamp::now",
    "SystemTime",
    "new_v4",
    "std::env",
];

#[test]
fn chapters_see_only_what_they_may() {
    let mut wrong = Vec::new();
    for file in sources() {
        let chapter = chapter(&file);
        if ["lib", "main"].contains(&chapter.as_str()) {
            continue;
        }
        let allowed = SEES.iter().find(|(name, _)| *name == chapter).map(|(_, sees)| *sees);
        assert!(allowed.is_some() || LEAVES.contains(&chapter.as_str()), "{chapter} is not in the plan");
        for path in uses(&code(&file)) {
            let seen = path.split("::").next().unwrap_or_default();
            let fine = seen == chapter
                || LEAVES.contains(&seen)
                || allowed.unwrap_or_default().iter().any(|may| path == *may || path.starts_with(&format!("{may}::")));
            if !fine {
                wrong.push(format!("{} sees {path}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_files_know_no_clock_no_chance_and_no_world() {
    for name in PURE {
        let file = source_folder().join(name);
        assert!(file.exists(), "{name} has gone");
        let code = code(&file);
        for word in IMPURE {
            assert!(!code.contains(word), "{name} knows {word:?}");
        }
    }
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    for file in sources() {
        let lines = fs::read_to_string(&file).expect("readable").lines().count();
        assert!(lines <= 500, "{} has {lines} lines", file.display());
    }
}

#[test]
fn backoff_is_confined_to_one_file() {
    let users: Vec<PathBuf> = sources().into_iter().filter(|file| code(file).contains("use backoff")).collect();
    assert_eq!(users, [source_folder().join("zoom/reconnect.rs")]);
}

#[test]
fn cryptography_is_named_where_a_feature_of_the_build_can_exchange_it() {
    // Beside these there are digests of what is no secret, and the certificate of the simulator.
    for (name, users) in [
        ("crypto::ring", &["tls/provider.rs"][..]),
        ("aws_lc_rs", &["spool/seal.rs", "tls/provider.rs", "webhook/mac.rs"]),
        ("use ring", &["spool/seal.rs"]),
        ("use hmac", &["webhook/mac.rs"]),
    ] {
        let mut found: Vec<String> = sources()
            .into_iter()
            .filter(|file| code(file).contains(name))
            .map(|file| file.strip_prefix(source_folder()).expect("below").display().to_string())
            .filter(|file| !file.starts_with("simulator"))
            .collect();
        found.sort();
        assert_eq!(found, users, "{name}");
    }
}

#[test]
fn ways_out_are_few_and_each_is_held_to_the_same_rules() {
    // Names that open a connection or resolve a name, and who may use them. The operator's own port is no way out:
    // `cli/bridge.rs` asks it, and `admin/door.rs` looks whether another bridge has its socket. `net/shortage.rs` opens a
    // socket to see whether there can be one, and sends nothing.
    let clients = ["telemetry/otlp.rs", "zoom/token/endpoint.rs"];
    let and_shell = ["cli/bridge.rs", clients[0], clients[1]];
    let ways: [(&str, &[&str]); 15] = [
        ("TcpStream::connect", &["net.rs"]),
        ("lookup_host", &["net.rs"]),
        ("to_socket_addrs", &[]),
        ("ToSocketAddrs", &[]),
        ("TcpSocket", &[]),
        ("UdpSocket", &["net/shortage.rs"]),
        ("UnixDatagram", &[]),
        ("UnixStream::connect", &["admin/door.rs"]),
        ("Client::builder", &and_shell),
        ("Client::new", &[]),
        ("connect_async", &[]),
        ("client_async", &[]),
        ("into_client_request", &["zoom/dial/upgrade.rs"]),
        ("client::conn::http1", &["webhook/client/connection.rs"]),
        ("socket2", &[]),
    ];
    for (name, users) in ways {
        let mut found: Vec<String> = sources()
            .into_iter()
            .filter(|file| code(file).contains(name))
            .map(|file| file.strip_prefix(source_folder()).expect("below").display().to_string())
            .collect();
        found.sort();
        assert_eq!(found, users, "{name}");
    }
    // Names are resolved by `net`, nobody is redirected, and a proxy is one that the configuration names.
    for client in clients {
        let code = code(&source_folder().join(client));
        for rule in ["Client::builder", ".dns_resolver(Guard::", "Policy::none()", ".tls_backend_preconfigured("] {
            assert!(code.contains(rule), "{client}: {rule}");
        }
        assert!(code.contains(".proxy(net::proxy::for_reqwest(") || code.contains(".no_proxy()"), "{client}");
    }
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Returns every source file but those that hold tests alone.
fn sources() -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![source_folder()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                files.push(path);
            }
        }
    }
    let in_tests = |file: &PathBuf| file.components().any(|part| part.as_os_str() == "tests");
    files.retain(|file| !in_tests(&file.strip_prefix(source_folder()).expect("below").to_owned()));
    files
}

/// Returns what is compiled outside tests, without comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("readable");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn chapter(file: &Path) -> String {
    let inside = file.strip_prefix(source_folder()).expect("below");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns every path below `crate` that the code names, with the groups of `use` spread out one level.
fn uses(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let path: String = rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
        match path.strip_suffix("::") {
            Some(stem) => {
                let group = rest[path.len()..].trim_start_matches('{').split('}').next().unwrap_or_default();
                paths.extend(group.split(',').map(|name| format!("{stem}::{}", name.trim())));
            }
            None if path.is_empty() => {
                let group = rest.trim_start_matches('{').split('}').next().unwrap_or_default();
                paths.extend(group.split(',').map(|name| name.trim().to_owned()));
            }
            None => paths.push(path),
        }
    }
    paths
}
