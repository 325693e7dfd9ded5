//! Alerts, dashboard and runbook: about metrics that exist, and proven by a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::CommandFactory as _;
use serde_json::Value;
use zoomhook::cli::Cli;
use zoomhook::simulator::fault::Faults;

use crate::lab::Lab;
use crate::prometheus::{Prometheus, missing};
use crate::readme::{anchor, code, root, rows, section};

const ALERTS: &str = "deploy/prometheus/alerts.yml";
const ALERTS_TEST: &str = "deploy/prometheus/alerts_test.yml";
const DASHBOARD: &str = "deploy/grafana/zoomhook.json";
const RUNBOOK: &str = "deploy/runbook.md";

#[test]
fn rules_are_valid_and_fire_when_their_tests_say() {
    for arguments in [["check", "rules", ALERTS], ["test", "rules", ALERTS_TEST]] {
        let Some(Output { status, stdout, stderr }) = promtool(&arguments) else { return };
        let said = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(status.success() && said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn every_metric_in_the_pictures_is_one_of_the_program() {
    let declared: BTreeSet<String> = rows(&section("## Metrics")).into_keys().collect();
    for (file, least) in [(ALERTS, 15), (ALERTS_TEST, 15), (DASHBOARD, 30), (RUNBOOK, 0)] {
        let text = read(file);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<&str> =
            words.filter(|word| word.starts_with("zoomhook_") || *word == "process_start_time_seconds").collect();
        assert!(named.len() >= least, "{file}: {named:?}");
        for name in named {
            let stems = ["_bucket", "_sum", "_count"].map(|end| name.strip_suffix(end));
            let known = stems.into_iter().flatten().chain([name]).any(|name| declared.contains(name));
            assert!(known, "{file}: there is no metric {name}");
        }
    }
}

#[test]
fn every_alert_says_what_to_do_and_has_its_section_and_its_test() {
    let (alerts, runbook, tests) = (alerts(), read(RUNBOOK), read(ALERTS_TEST));
    assert!(alerts.len() >= 15, "{alerts:?}");
    for (name, rule) in &alerts {
        let severity = ["severity: critical", "severity: warning"].iter().filter(|severity| rule.contains(**severity));
        assert_eq!(severity.count(), 1, "{rule}");
        let link = format!("runbook_url: \"runbook.md#{}\"", name.to_lowercase());
        for part in ["summary: \"", "description: \"", &link] {
            assert!(rule.contains(part), "{part} is missing:\n{rule}");
        }
        let section = runbook.split(&format!("\n## {name}\n")).nth(1).unwrap_or_else(|| panic!("no section {name}"));
        let section = section.split("\n## ").next().unwrap_or_default();
        for part in ["**Means**", "**At risk:**", "**See it:**", "**Do:**"] {
            assert_eq!(section.matches(part).count(), 1, "{name}: {part}");
        }
        let severity = if rule.contains("severity: critical") { "critical" } else { "warning" };
        let firing = format!("labels: 'ALERTS{{alertname=\"{name}\",alertstate=\"firing\",severity=\"{severity}\"");
        assert!(tests.contains(&firing), "no test sees {name} ({severity}) fire");
    }
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    let gone = sections.filter(|section| !alerts.iter().any(|(name, _)| name == section));
    assert_eq!(gone.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn every_command_and_every_link_of_the_runbook_leads_somewhere() {
    let runbook = read(RUNBOOK);
    let texts = [runbook.clone(), read(ALERTS).replace("{{ $labels.destination }}", "crm")];
    let commands: Vec<String> =
        texts.iter().flat_map(|text| code(text)).filter(|it| it.starts_with("zoomhook ")).collect();
    assert!(commands.len() > 30, "{commands:#?}");
    for command in commands {
        let understood = Cli::command().try_get_matches_from(command.split_whitespace());
        assert!(understood.is_ok(), "{command}\n{}", understood.expect_err("refused"));
    }
    let anchors: BTreeSet<String> = runbook.lines().filter_map(anchor).collect();
    let targets: Vec<&str> = runbook.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(targets.len() > 5, "{targets:?}");
    for target in targets {
        match target.strip_prefix('#') {
            Some(name) => assert!(anchors.contains(name), "no heading for #{name}"),
            None => assert!(root().join("deploy").join(target).exists(), "no file {target}"),
        }
    }
}

#[test]
fn dashboard_asks_the_chosen_prometheus_and_hides_no_panel_behind_another() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 38), "of Grafana 10");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert!(variables.iter().any(|variable| variable["name"] == "datasource" && variable["type"] == "datasource"));
    let panels = dashboard["panels"].as_array().expect("panels");
    let titles = panels.iter().filter(|panel| panel["type"] == "row").map(|row| row["title"].as_str());
    let questions =
        ["Is anything being lost?", "Is it arriving?", "Is each destination healthy?", "Is there room?"].map(Some);
    assert_eq!(titles.collect::<Vec<_>>(), questions);
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "two panels with one id: {panel}");
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{panel}");
        for (x, y) in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(places.insert((x, y)), "two panels in one place: {panel}");
        }
        if panel["type"] != "row" {
            let sources = [&panel["datasource"]].into_iter().chain(targets(panel).map(|target| &target["datasource"]));
            assert!(sources.into_iter().all(|source| source["uid"] == "${datasource}"), "{panel}");
        }
    }
}

#[tokio::test]
async fn alert_fires_in_a_real_prometheus_when_the_socket_is_lost_and_ends_when_it_is_back() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let directory = tempfile::tempdir().expect("a directory");
    let rules = directory.path().join("alerts.yml");
    fs::write(&rules, without_patience(&read(ALERTS))).expect("written");
    let Some(prometheus) = Prometheus::start(directory.path(), bridge.admin, &rules).await else { return };

    prometheus.until("zoomhook_socket_live{subscription=\"main\"} == 1", |found| found == 1).await;
    prometheus.until("up{job=\"zoomhook\"} == 1", |found| found == 1).await;
    let firing = "ALERTS{alertstate=\"firing\",alertname!~\"ZoomhookDown|ZoomhookGap\"}";
    assert_eq!(prometheus.ask(firing).await.expect("an answer").len(), 0, "all is well");
    for expression in expressions(&dashboard()) {
        let answer = prometheus.ask(&expression).await;
        assert!(answer.is_ok(), "{expression}\n{answer:?}");
    }

    let mut faults = Faults::default();
    faults.set("connect-status=503").expect("a fault");
    lab.zoom.set_faults(faults);
    assert_eq!(lab.zoom.drop_sockets("reset".parse().expect("a cut")), 1);
    let down =
        "ALERTS{alertname=\"ZoomhookSocketDown\",alertstate=\"firing\",subscription=\"main\",severity=\"critical\"}";
    prometheus.until(down, |found| found == 1).await;
    lab.zoom.set_faults(Faults::default());
    prometheus.until(down, |found| found == 0).await;
    prometheus.end().await;
    bridge.stop().await;
}

/// Returns the rules with nothing to wait for: how long each waits is what the unit tests of the rules check.
fn without_patience(rules: &str) -> String {
    let kept = rules.lines().filter(|line| !line.trim_start().starts_with("for: "));
    kept.map(|line| format!("{line}\n")).collect()
}

fn promtool(arguments: &[&str]) -> Option<Output> {
    match Command::new("promtool").args(arguments).current_dir(root()).output() {
        Ok(output) => Some(output),
        Err(error) => missing("promtool", &error),
    }
}

fn read(file: &str) -> String {
    let path: PathBuf = Path::new(root()).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the rules by name; a name can have two, of different severity.
fn alerts() -> Vec<(String, String)> {
    let text = read(ALERTS);
    let rules = text.split("- alert: ").skip(1);
    rules.map(|rule| (rule.lines().next().unwrap_or_default().to_owned(), rule.to_owned())).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).expect("JSON")
}

fn targets(panel: &Value) -> impl Iterator<Item = &Value> {
    panel["targets"].as_array().into_iter().flatten()
}

/// Returns what the panels ask, with every variable chosen.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let asked = panels.flat_map(targets).map(|target| target["expr"].as_str().expect("a question"));
    let chosen = [("$__rate_interval", "1m"), ("$__range", "1h")];
    let chosen = chosen.into_iter().chain(["$instance", "$subscription", "$destination"].map(|name| (name, ".*")));
    let chosen: Vec<_> = chosen.collect();
    asked.map(|text| chosen.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))).collect()
}
