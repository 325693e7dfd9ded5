//! The rules on whole configurations.

mod anything;
mod environment;
mod shown;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::problem::{Problem, Problems};
use super::reference::Stored;
use super::source::{Environment, File, Flags, Sources};
use super::*;

/// Is in every secret that the tests hand out, and must be in nothing that they are shown.
const CANARY: &str = "canary";

const VARIABLES: [(&str, &str); 11] = [
    ("ZOOM_ACCOUNT_ID", "account"),
    ("ZOOM_CLIENT_ID", "client"),
    ("ZOOM_CLIENT_SECRET", "canary-client-secret"),
    ("ZOOM_SUBSCRIPTION_ID", "subscription"),
    ("OTHER_SUBSCRIPTION_ID", "other-subscription"),
    ("CRM_SECRET_TOKEN", "canary-token"),
    ("ADMIN_TOKEN", "canary-admin"),
    ("STANDARD_SECRET", "whsec_canaryMDEyMzQ1Njc4OWFiY2Rl"),
    ("PASTED_URL", "wss://ws.zoom.us/ws?subscriptionId=from-url"),
    ("PROXY_CREDENTIALS", "bridge:canary-proxy"),
    ("EMPTY", ""),
];

const FILES: [(&str, &[u8]); 15] = [
    ("/run/secrets/spool_key", b"canary/canary/canary/canary/canary/canary0M=\n"),
    ("/run/secrets/old_spool_key", b"canary/canary/canary/canary/canary/canary1M=\n"),
    ("/run/credentials/zoomhook.service/zoom_client_secret", b"canary-credential\n"),
    ("vault read -field=value secret/crm", b"canary-command\n"),
    ("vault read -field=value secret/binary", b"canary\xff"),
    ("/run/secrets/zoom_client_secret", b"canary-file\n"),
    ("/run/secrets/crm_secret_token", b"canary-file\r\n"),
    ("/run/secrets/admin_token", b"canary-file"),
    ("/run/secrets/empty", b"\n"),
    ("/run/secrets/two_lines", b"canary-one\ncanary-two\n"),
    ("/run/secrets/binary", b"canary\xff"),
    ("/etc/ssl/proxy.pem", b"-----BEGIN CERTIFICATE-----"),
    ("/etc/ssl/internal.pem", b"-----BEGIN CERTIFICATE-----"),
    ("/etc/ssl/admin.pem", b"-----BEGIN CERTIFICATE-----"),
    ("/etc/ssl/admin.key", b"-----BEGIN PRIVATE KEY-----"),
];

const ZOOM: &[(&str, &str)] = &[
    ("ZOOM_ACCOUNT_ID", "account"),
    ("ZOOM_CLIENT_ID", "client"),
    ("ZOOM_CLIENT_SECRET", "canary-client-secret"),
    ("ZOOM_SUBSCRIPTION_ID", "subscription"),
    ("ZOOM_WEBHOOK_SECRET_TOKEN", "canary-token"),
];

#[test]
fn valid_files_load_with_the_warnings_that_they_announce() {
    let mismatches = fixtures("valid").into_iter().filter_map(|(path, text)| match load_file(&text) {
        Ok(loaded) => mismatch(&path, &announced(&text, "# warns: "), &loaded.warnings),
        Err(problems) => Some(format!("{}: {problems}", path.display())),
    });
    assert_eq!(mismatches.collect::<Vec<_>>().join("\n"), "");
}

#[test]
fn invalid_files_say_everything_that_is_wrong_and_nothing_else() {
    let mismatches = fixtures("invalid").into_iter().filter_map(|(path, text)| match load_file(&text) {
        Ok(_) => Some(format!("{}: it loads", path.display())),
        Err(problems) => mismatch(&path, &announced(&text, "# expect: "), &problems.problems),
    });
    assert_eq!(mismatches.collect::<Vec<_>>().join("\n"), "");
}

#[test]
fn the_example_loads() {
    let text = std::fs::read_to_string(repository("deploy/zoomhook.toml")).expect("the example");
    let variables = VARIABLES.into_iter().chain([("ZOOM_WEBHOOK_SECRET_TOKEN", "canary-token")]);
    let loaded = load(&sources(Some(&text), variables, Flags::default()), Purpose::Run).expect("right");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn every_default_that_the_example_shows_is_the_default() {
    let text = std::fs::read_to_string(repository("deploy/zoomhook.toml")).expect("the example");
    let examples = [
        "# exclude =",
        "# ca_file =",
        "# proxy_credentials =",
        "# zoom_ca_file =",
        "# allow =",
        "# destinations_ca_file =",
        "# token =",
        "# viewer_token =",
        "# next_secret_token =",
        "# switch_at =",
        "# on_refused =",
        "# headers =",
        "# standard_webhooks_secret =",
        "# rate =",
        "# ttl =",
        "# max_attempts =",
        "# max_age =",
        "# audit_retention =",
        "# encryption_key =",
        "# old_encryption_keys =",
        "# tls_",
        "# client_ca_file =",
        "# client_",
    ];
    let is_default = |line: &str| {
        let key = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")).map_or("", |(key, _)| key);
        !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && !examples.iter().any(|example| line.starts_with(example))
    };
    let spelled: Vec<_> =
        text.lines().map(|line| if is_default(line) { line.trim_start_matches("# ") } else { line }).collect();
    let variables = || VARIABLES.into_iter().chain([("ZOOM_WEBHOOK_SECRET_TOKEN", "canary-token")]);
    let with = |text: &str| {
        let mut sources = sources(Some(text), variables(), Flags::default());
        sources.log_format = LogFormat::Json;
        show(&load(&sources, Purpose::Run).expect("right").config)
    };
    assert!(spelled.len() == text.lines().count() && spelled.contains(&"grace = \"15s\""));
    assert_eq!(with(&spelled.join("\n")), with(&text));
}

#[cfg(not(feature = "otel"))]
#[test]
fn build_that_sends_no_traces_says_so_where_some_are_asked_for() {
    let text = "[traces]\nendpoint = 'http://127.0.0.1:4318'\nsampel = '10%'\n";
    let problems = load_file(text).expect_err("refused").to_string();
    assert!(
        problems.contains("traces (line 1): this build sends no traces: take the section out, or build"),
        "{problems}"
    );
    assert!(problems.contains("did you mean sample?"), "{problems}");
}

/// Tells what differs between the problems that a file announces and those that were found.
fn mismatch(path: &Path, expected: &[&str], found: &[Problem]) -> Option<String> {
    let found: Vec<_> = found.iter().map(Problem::to_string).collect();
    let missing = expected.iter().find(|text| !found.iter().any(|problem| problem.contains(**text)));
    let extra = found.iter().find(|problem| !expected.iter().any(|text| problem.contains(text)));
    let same = missing.is_none() && extra.is_none() && expected.len() == found.len();
    (!same).then(|| format!("{}: missing {missing:?}, extra {extra:?}, found {found:#?}", path.display()))
}

fn announced<'a>(text: &'a str, mark: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(mark)).collect()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(repository("fixtures/config").join(name)).expect("a fixture")
}

fn fixtures(folder: &str) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(repository("fixtures/config").join(folder)).expect("fixtures");
    let read = entries.map(|entry| {
        let path = entry.expect("a fixture").path();
        let text = std::fs::read_to_string(&path).expect("a fixture");
        (path, text)
    });
    let sorted: BTreeMap<_, _> = read.collect();
    assert!(sorted.len() >= 10, "fixtures are missing");
    sorted.into_iter().collect()
}

fn to(urls: &[&str]) -> Flags {
    Flags { to: urls.iter().map(|url| (*url).to_owned()).collect(), ..Flags::default() }
}

fn load_file(text: &str) -> Result<Loaded, Problems> {
    load(&sources(Some(text), VARIABLES, Flags::default()), Purpose::Run)
}

fn environment_alone(variables: &[(&'static str, &'static str)], flags: Flags) -> Result<Loaded, Problems> {
    load(&sources(None, variables.iter().copied(), flags), Purpose::Run)
}

fn sources<I>(file: Option<&str>, variables: I, flags: Flags) -> Sources<'static>
where
    I: IntoIterator<Item = (&'static str, &'static str)>,
{
    Sources {
        file: file.map(|text| File { path: "zoomhook.toml".into(), text: text.to_owned() }),
        environment: variables.into_iter().collect(),
        flags,
        log_format: LogFormat::Text,
        read: &read,
        fetch: &fetched,
    }
}

fn fetched(stored: &Stored, _: &Environment) -> Result<Zeroizing<Vec<u8>>, String> {
    let path = match stored {
        Stored::File(path) => path.clone(),
        Stored::Credential(name) => Path::new("/run/credentials/zoomhook.service").join(name),
        Stored::Command(program) => PathBuf::from(program.line.join(" ")),
    };
    match read(&path) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(format!("the file {} cannot be read: {error}", path.display())),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = FILES.iter().find(|(name, _)| Path::new(name) == path);
    file.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
}
