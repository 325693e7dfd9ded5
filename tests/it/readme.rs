//! The README says what is so: names in it are those of the program, and blocks of configuration load.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use zoomhook::cli::Cli;
use zoomhook::config::source::{Environment, File, Flags, Sources};
use zoomhook::config::{self, LogFormat, Purpose, problem::Problems};

use crate::lab::{Lab, body};

/// Is a key that no table has; the refusal of it lists those that there are.
const NO_KEY: &str = "zzzzzzzz";

#[test]
fn every_block_of_configuration_loads() {
    let blocks = blocks("toml");
    assert!(blocks.len() >= 3, "{blocks:#?}");
    for block in blocks {
        let purpose = if block.contains("[[subscription]]") { Purpose::Run } else { Purpose::Operate };
        let loaded = load(&block, purpose);
        assert!(loaded.is_ok(), "{block}\n{}", loaded.expect_err("refused"));
    }
}

#[test]
fn every_example_of_a_key_loads() {
    for (table, rows) in reference() {
        for (key, cells) in rows {
            let example = code(cells.last().expect("an example")).join(" ");
            // What a table needs beside the key, unless it is the key.
            let needed: &[&str] = match table.as_str() {
                "[[subscription]]" if key == "url" => &["client_id", "client_secret"],
                "[[subscription]]" => &["id", "client_id", "client_secret"],
                "[[destination]]" => &["name", "url", "secret_token"],
                _ => &[],
            };
            let beside = match key.as_str() {
                "next_secret_token" => "on_refused = 'try_next'\n",
                "switch_at" | "on_refused" => "next_secret_token = { env = 'A' }\n",
                "client_cert" if table == "[[destination]]" => "client_key = 'a'\n",
                "client_key" if table == "[[destination]]" => "client_cert = 'a'\n",
                "proxy_credentials" => "proxy = 'http://a:1'\n",
                _ => "",
            };
            let mut text = format!("{table}\n{key} = {example}\n{beside}");
            let others = needed.iter().filter(|needed| **needed != key);
            text.extend(others.map(|needed| format!("{needed} = {}\n", stand_in(needed))));
            text.push_str(match table.as_str() {
                "[[subscription]]" => "[[destination]]\nname = 'a'\nurl = 'https://a/'\nsecret_token = { env = 'A' }",
                "[[destination]]" => "[[subscription]]\nid = 'a'\nclient_id = 'a'\nclient_secret = { env = 'A' }",
                // An address that others can reach needs the token, which its own row shows.
                "[admin]" if key == "listen" || key == "viewer_token" => "token = { env = 'A' }",
                // Certificates come with their keys.
                "[admin]" if key == "tls_cert" => "tls_key = 'a'",
                "[admin]" if key == "tls_key" => "tls_cert = 'a'",
                "[admin]" if key == "client_ca_file" => "tls_cert = 'a'\ntls_key = 'a'",
                "[admin]" if key == "client_cert" => "client_key = 'a'",
                "[admin]" if key == "client_key" => "client_cert = 'a'",
                _ => "",
            });
            let purpose = if table.starts_with("[[") { Purpose::Run } else { Purpose::Operate };
            let loaded = load(&text, purpose);
            assert!(loaded.is_ok(), "{text}\n{}", loaded.expect_err("refused"));
        }
    }
}

#[test]
fn every_key_is_described_and_every_described_key_exists() {
    let reference = reference();
    let mut text = String::new();
    for table in reference.keys() {
        text.push_str(&format!("{table}\n{NO_KEY} = 1\n"));
    }
    let problems = load(&text, Purpose::Run).expect_err("unknown keys").problems;
    for (table, rows) in &reference {
        let name = table.trim_matches(['[', ']']);
        let place = [format!("{name}: {NO_KEY}"), format!("{name}.{NO_KEY}")];
        let problem = problems.iter().find(|problem| place.contains(&problem.path)).expect("a refusal");
        let known = problem.message.strip_prefix("unknown key: expected one of ").expect("a list");
        let known: BTreeSet<&str> = known.split(", ").collect();
        let described: BTreeSet<&str> = rows.keys().map(String::as_str).collect();
        assert_eq!(described, known, "{table}");
    }
    let problem = &load(&format!("{NO_KEY} = 1"), Purpose::Operate).expect_err("an unknown table").problems[0];
    let tables = problem.message.strip_prefix("unknown key: expected one of ").expect("a list");
    assert_eq!(tables.split(", ").count(), reference.len(), "{tables}");
}

#[tokio::test]
async fn every_metric_is_described_and_every_described_metric_exists() {
    let described: BTreeSet<String> = rows(&section("## Metrics")).into_keys().collect();

    // A family without a sample is not on the page, so that the declarations are looked at, too.
    let source = fs::read_to_string(root().join("src/telemetry/metrics.rs")).expect("readable");
    let declared = source.split(".register(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let declared: BTreeSet<String> =
        declared.map(|name| format!("zoomhook_{name}")).chain(["process_start_time_seconds".to_owned()]).collect();
    let stems = described.iter().map(|name| name.trim_end_matches("_total").trim_end_matches("_info").to_owned());
    assert_eq!(stems.collect::<BTreeSet<_>>(), declared);

    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(1).await;
    let (_, page) = bridge.get("/metrics").await;
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let exposed = types.map(|(name, kind)| match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    });
    let exposed: BTreeSet<String> = exposed.collect();
    assert!(exposed.len() > 15, "{page}");
    assert!(exposed.is_subset(&described), "not described: {:?}", exposed.difference(&described));
    bridge.stop().await;
}

#[test]
fn every_command_is_described() {
    let described: BTreeSet<String> = rows(&section("## Command line")).into_keys().collect();
    let mut commands = BTreeSet::new();
    collect(&Cli::command(), "", &mut commands);
    assert!(commands.is_subset(&described), "not described: {:?}", commands.difference(&described));
    let gone = described.difference(&commands).filter(|name| name.starts_with("zoomhook"));
    assert_eq!(gone.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_example_of_a_command_is_understood() {
    let shells = [blocks("sh"), blocks("console")].concat().join("\n");
    let mut lines: Vec<String> = shells.lines().filter_map(typed).map(str::to_owned).collect();
    lines.extend(rows(&section("## Command line")).values().flat_map(|cells| code(cells.last().expect("an example"))));
    let lines: Vec<_> = lines.iter().filter(|line| line.starts_with("zoomhook ")).collect();
    assert!(lines.len() > 20, "{lines:#?}");
    for line in lines {
        let words = line.split_whitespace().map(|word| word.trim_matches('\''));
        let understood = Cli::command().try_get_matches_from(words);
        assert!(understood.is_ok(), "{line}\n{}", understood.expect_err("refused"));
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    let section = section("## Promises");
    let sources = sources();
    let promises: Vec<&str> = (1..=6).map(|number| item(&section, number)).collect();
    for promise in promises {
        let names: Vec<String> = code(promise).into_iter().filter(|name| name.matches('_').count() >= 3).collect();
        assert!(names.len() >= 3, "{promise}");
        for name in names {
            assert!(sources.iter().any(|source| source.contains(&format!("fn {name}("))), "no test is called {name}");
        }
    }
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let readme = readme();
    let anchors: BTreeSet<String> = readme.lines().filter_map(anchor).collect();
    let targets: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(targets.len() > 20, "{targets:?}");
    for target in targets.into_iter().filter(|target| !target.starts_with("https://")) {
        match target.strip_prefix('#') {
            Some(name) => assert!(anchors.contains(name), "no heading for #{name}"),
            None => assert!(root().join(target).exists(), "no file {target}"),
        }
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("readable")
}

/// Returns what stands below a heading, up to the next of its rank.
pub(crate) fn section(heading: &str) -> String {
    let readme = readme();
    let (_, rest) = readme.split_once(&format!("\n{heading}\n")).expect("the heading");
    let rank = heading.split(' ').next().unwrap_or_default();
    rest.split(&format!("\n{rank} ")).next().unwrap_or_default().to_owned()
}

/// Returns the fenced blocks in a language.
fn blocks(language: &str) -> Vec<String> {
    let readme = readme();
    let open = format!("\n```{language}\n");
    readme.split(&open).skip(1).filter_map(|rest| Some(rest.split("\n```").next()?.to_owned())).collect()
}

/// Returns the tables of the configuration reference: heading, key, cells.
fn reference() -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let section = section("## Configuration");
    let headings = section.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    headings.map(|table| (table.to_owned(), rows(&self::section(&format!("### `{table}`"))))).collect()
}

/// Returns the rows of the tables in a text whose first cell is code, under that code.
pub(crate) fn rows(text: &str) -> BTreeMap<String, Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|cells| (code(&cells[0]).remove(0), cells)).collect()
}

/// Returns what stands between backticks.
pub(crate) fn code(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns a command as it is typed, without prompt and comment; the version at the end of a status is none.
fn typed(line: &str) -> Option<&str> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let is_command = line.starts_with("zoomhook ") && !line.contains(", up ");
    is_command.then(|| line.split(" #").next().unwrap_or_default())
}

/// Returns the item of a numbered list.
fn item(list: &str, number: usize) -> &str {
    let (_, rest) = list.split_once(&format!("\n{number}. ")).expect("an item");
    let next = [format!("\n{}. ", number + 1), "\n\n".to_owned()];
    next.iter().filter_map(|end| rest.find(end)).min().map_or(rest, |end| &rest[..end])
}

/// Returns the anchor that GitHub gives a heading.
pub(crate) fn anchor(line: &str) -> Option<String> {
    let title = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))?;
    let kept = title
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .collect::<String>();
    Some(kept.replace(' ', "-"))
}

/// Makes a value for a key that a table needs.
fn stand_in(key: &str) -> &'static str {
    match key {
        "url" => "'https://a/'",
        "secret_token" | "client_secret" => "{ env = 'A' }",
        _ => "'a'",
    }
}

/// Loads a configuration; every variable and every file that it names is there.
fn load(text: &str, purpose: Purpose) -> Result<config::Loaded, Problems> {
    let mut environment = Environment::default();
    let variables: BTreeSet<&str> =
        text.split("env = ").skip(1).filter_map(|rest| rest.split(&['"', '\''][..]).nth(1)).collect();
    // Keys of Standard Webhooks are base64.
    let value = |name: &str| match name {
        name if name.ends_with("_WHSEC") => "d2hzZWM=".to_owned(),
        name if name.ends_with("_CREDENTIALS") => "user:password".to_owned(),
        name => format!("https-{name}"),
    };
    let file: String = variables.iter().map(|name| format!("{name}='{}'\n", value(name))).collect();
    environment.add_file(&file).expect("variables");
    let sources = Sources {
        file: Some(File { path: PathBuf::from("README.md"), text: text.to_owned() }),
        environment,
        flags: Flags::default(),
        log_format: LogFormat::Json,
        read: &|path| {
            let pem: &[u8] = b"-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----";
            Ok(if path.starts_with("/run/secrets") { b"secret".to_vec() } else { pem.to_vec() })
        },
        // Keys of the spool have their length.
        fetch: &|_, _| Ok(format!("{:064x}", 0xfeed).into_bytes().into()),
    };
    config::load(&sources, purpose)
}

/// Collects the commands that do something, with those above them.
fn collect(command: &clap::Command, above: &str, into: &mut BTreeSet<String>) {
    let name = format!("{above}{}", command.get_name());
    let below: Vec<_> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
    // One that does something by itself, too, as `gaps` does.
    if below.is_empty() || command.get_arguments().next().is_some() {
        into.insert(name.clone());
    }
    below.into_iter().for_each(|below| collect(below, &format!("{name} "), into));
}

/// Returns the text of every source file, tests included.
fn sources() -> Vec<String> {
    let (mut texts, mut folders) = (Vec::new(), vec![root().join("src"), root().join("tests/it")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                texts.push(fs::read_to_string(path).expect("text"));
            }
        }
    }
    texts
}
