//! The list of what the program is made of names everything that is in it, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::prometheus::missing;
use crate::readme::root;

#[test]
fn list_has_every_package_that_is_shipped_and_none_that_only_builds_and_tests_need() {
    let Some(list) = list(&[]) else { return };
    let listed: BTreeSet<String> =
        crates(&list).map(|it| format!("{} {}", text(it, "name"), text(it, "version"))).collect();
    let tree = output("cargo", &["tree", "--locked", "-e", "normal", "--prefix", "none"]);
    let shipped =
        tree.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ").replace(" v", " "));
    let shipped: BTreeSet<String> = shipped.filter(|it| !it.starts_with("zoomhook ")).collect();
    assert!(shipped.len() > 100, "{shipped:?}");
    assert_eq!(listed, shipped);
    for name in ["proptest", "insta", "criterion", "tempfile", "cc"] {
        assert!(!listed.iter().any(|it| it.starts_with(&format!("{name} "))), "{name} is not shipped");
    }
}

#[test]
fn every_package_has_its_licence_and_the_hash_of_the_lock_file() {
    let Some(list) = list(&[]) else { return };
    let locked = fs::read_to_string(root().join("Cargo.lock")).expect("readable");
    let field = |entry: &str, name: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(&format!("{name} = \""))?.strip_suffix('"'));
        line.map(str::to_owned)
    };
    let hashes: BTreeMap<String, String> = locked
        .split("[[package]]")
        .filter_map(|it| Some((format!("{} {}", field(it, "name")?, field(it, "version")?), field(it, "checksum")?)))
        .collect();
    for package in crates(&list) {
        let name = format!("{} {}", text(package, "name"), text(package, "version"));
        assert_eq!(package["hashes"][0]["content"].as_str(), hashes.get(&name).map(String::as_str), "{name}");
    }
    for component in components(&list) {
        let licence = text(&component["licenses"][0], "expression");
        let words = licence.split([' ', '(', ')']).filter(|word| !word.is_empty());
        let spdx = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
        assert!(words.clone().count() > 0 && words.clone().all(spdx), "{component}");
    }
}

#[test]
fn what_no_lock_file_names_is_listed_as_it_is() {
    let Some(list) = list(&[]) else { return };
    let version = |name: &str| {
        let found: Vec<_> = components(&list).filter(|it| it["name"] == name).collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        text(found[0], "version").to_owned()
    };
    assert_eq!(version("sqlite"), rusqlite::version(), "the one that this test is linked with");
    let vendored = fs::read_to_string(root().join("src/admin/console/vendor/README.md")).expect("readable");
    for name in ["preact", "htm", "uplot"] {
        assert!(vendored.contains(&format!("| {name} | {} |", version(name))), "{name}");
    }
    let folder = fs::read_dir(root().join("src/admin/console/vendor")).expect("a folder");
    for file in folder.map(|entry| entry.expect("an entry").file_name()) {
        let file = file.to_str().expect("text").to_owned();
        assert!(file == "README.md" || vendored.contains(&format!("`{file}`")), "{file} is described nowhere");
    }
}

#[test]
fn list_is_cyclonedx_joined_up_and_the_same_every_time() {
    let Some(list) = list(&[]) else { return };
    assert_eq!(
        (&list["bomFormat"], &list["specVersion"], &list["version"]),
        (&"CycloneDX".into(), &"1.6".into(), &1.into())
    );
    let serial = text(&list, "serialNumber").strip_prefix("urn:uuid:").expect("a number");
    assert!(uuid::Uuid::parse_str(serial).is_ok(), "{serial}");
    let program = &list["metadata"]["component"];
    assert_eq!((text(program, "type"), text(program, "version")), ("application", env!("CARGO_PKG_VERSION")));
    let mut refs: BTreeSet<&str> = components(&list).map(|it| text(it, "bom-ref")).collect();
    assert_eq!(refs.len(), components(&list).count(), "two of one name");
    refs.insert(text(program, "bom-ref"));
    let dependencies = list["dependencies"].as_array().expect("a list");
    assert_eq!(dependencies.iter().map(|it| text(it, "ref")).collect::<BTreeSet<_>>(), refs);
    let mut reached = BTreeSet::new();
    let mut open = vec![text(program, "bom-ref")];
    while let Some(from) = open.pop() {
        if reached.insert(from) {
            let entry = dependencies.iter().find(|it| it["ref"] == from).expect("an entry");
            open.extend(entry["dependsOn"].as_array().expect("a list").iter().map(|to| to.as_str().expect("text")));
        }
    }
    assert_eq!(reached, refs, "everything is there because something needs it");
    assert_eq!(self::list(&[]), Some(list.clone()));
    let dated = self::list(&[("SOURCE_DATE_EPOCH", "1785369357")]).expect("it ran before");
    assert_eq!(text(&dated["metadata"], "timestamp"), "2026-07-29T23:55:57.000Z");
    assert_eq!(dated["serialNumber"], list["serialNumber"]);
}

fn list(variables: &[(&str, &str)]) -> Option<Value> {
    let script = Command::new("node")
        .arg("deploy/sbom.mjs")
        .current_dir(root())
        .env_remove("SOURCE_DATE_EPOCH")
        .envs(variables.iter().copied())
        .output();
    let output = match script {
        Ok(output) => output,
        Err(error) => return missing("Node.js", &error),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("json"))
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn components(list: &Value) -> impl Iterator<Item = &Value> + Clone {
    list["components"].as_array().expect("a list").iter()
}

fn crates(list: &Value) -> impl Iterator<Item = &Value> {
    components(list).filter(|it| text(it, "purl").starts_with("pkg:cargo/"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}
