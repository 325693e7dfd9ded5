use std::collections::BTreeSet;

use super::*;
use crate::config::secret::Secret;

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = whole(&Guard::LoopbackHost);
    let mut referred = BTreeSet::new();
    references(&document, &mut referred);
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let known: BTreeSet<String> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    assert_eq!(referred, known);
    assert!(known.len() > 40, "{known:?}");
    // A number at its end is what a second type of the same name is given.
    assert!(schemas.keys().all(|name| !name.ends_with(|c: char| c.is_ascii_digit())), "{:?}", schemas.keys());
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_what_its_path_names() {
    let document = whole(&Guard::LoopbackHost);
    let mut names = BTreeSet::new();
    for (path, method, operation) in all(&document) {
        let name = operation["operationId"].as_str().expect("a name");
        assert!(names.insert(name.to_owned()), "{name} twice");
        let in_path: Vec<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        let named: Vec<&str> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(in_path, named, "{path}");
        assert_eq!(operation.get("requestBody").is_some(), method != "get", "{method} {path}");
        assert!(operation["responses"].get("200").is_some(), "{path}");
        for (status, answer) in operation["responses"].as_object().expect("answers") {
            assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{path} {status}");
        }
    }
    assert_eq!(names.len(), super::super::operations().len());
}

#[test]
fn every_parameter_and_member_says_what_it_is() {
    let document = whole(&Guard::LoopbackHost);
    let mut silent = Vec::new();
    for (path, _, operation) in all(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" && parameter["description"].as_str().is_none() {
                silent.push(format!("{path} {}", parameter["name"]));
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        if schema["description"].as_str().is_none() {
            silent.push(name.clone());
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn document_asks_for_what_the_bridge_asks_for() {
    let token = Guard::Token(Secret::new("canary-token"), None);
    let document = whole(&token);
    assert!(!document.to_string().contains("canary"));
    let status = |operation: &Value, status: &str| operation["responses"].get(status).is_some();
    for (path, method, operation) in all(&document) {
        let open = path == "/livez" || path == "/readyz";
        assert_eq!(status(operation, "401"), !open, "{path}");
        assert_eq!(status(operation, "403"), method != "get", "{method} {path}");
        let expected = match (open, method) {
            (true, _) => json!([]),
            (false, "get") => json!([{ "operator": [] }, { "viewer": [] }]),
            (false, _) => json!([{ "operator": [] }]),
        };
        assert_eq!(operation["security"], expected, "{method} {path}");
    }
    for (path, _, operation) in all(&whole(&Guard::LoopbackHost)) {
        let open = path == "/livez" || path == "/readyz";
        assert_eq!((status(operation, "401"), status(operation, "403")), (false, !open), "{path}");
        let tokens = operation["security"].as_array().expect("a list");
        assert!(open || tokens.last() == Some(&json!({})), "{path}: {tokens:?}");
    }
}

fn whole(guard: &Guard) -> Value {
    document(&super::super::operations(), guard).into()
}

/// Returns path, method and operation of each.
fn all(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            let operations = item.as_object().expect("operations");
            operations.iter().map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(reference) if name == "$ref" => _ = found.insert(reference.clone()),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_)
                    | Value::Object(_) => references(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
