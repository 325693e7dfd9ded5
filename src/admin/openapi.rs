//! The OpenAPI document of the port, made from the same table as its router.
//!
//! What can be asked stands in one table of [`Operation`]s (`operations` in `admin`). Paths, methods and refusals are
//! said there; parameters, bodies and answers are read off the handlers' own signatures (`shape`), and what the layers
//! around them answer is added to each. The document is made when it is asked for, and kept nowhere: few ask.
//!
//! It is that of the very bridge that is asked: where that has no token, the document asks for none.

mod operation;
pub(super) mod shape;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

pub(super) use self::operation::{Access, Operation, ask, router};
use self::shape::{PROBLEM, Schemas, Shape};
use super::auth::Guard;
use super::problem::{Code, Document};

/// The version of the specification.
const OPENAPI: &str = "3.1.0";
/// What holds for every operation.
const DESCRIPTION: &str = "Health, metrics, and what a bridge received and delivered. Refusals are problem documents \
    (RFC 9457) with a stable `code`. A path that is not here answers 404 with `not_found`, and one that is asked with \
    another method 405 with `method_not_allowed`. `HEAD` is answered wherever `GET` is. A request whose head has more \
    than 16 kB is answered with 431 and no document. Members may be added to answers; requests are read strictly.";
/// Who may ask for what, by the name of the token to show.
const OPERATOR: &str = "operator";
const VIEWER: &str = "viewer";
/// What any operation may be refused for by the layers around it.
const BY_LAYERS: [Code; 6] =
    [Code::BadRequest, Code::BadBody, Code::SlowBody, Code::TooLarge, Code::Internal, Code::Timeout];

/// Answers the document.
pub(super) async fn show(State(guard): State<Guard>) -> Json<Map<String, Value>> {
    Json(document(&super::operations(), &guard))
}

/// Makes the document of these operations behind this guard.
pub(super) fn document(operations: &[Operation], guard: &Guard) -> Map<String, Value> {
    let mut schemas = Schemas::default();
    let problem = schemas.told::<Document<'_>>();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        let method = operation.method.as_str().to_ascii_lowercase();
        let described = described(operation, guard, &problem, &mut schemas);
        paths.entry(operation.path).or_default().insert(method, described);
    }
    let scheme = |description: &str| json!({ "type": "http", "scheme": "bearer", "description": description });
    let document = json!({
        "openapi": OPENAPI,
        "info": {
            "title": "zoomhook",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        // Where the document came from.
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas.into_definitions(),
            "securitySchemes": {
                OPERATOR: scheme("The token of `admin.token`: may look at everything, and change it."),
                VIEWER: scheme("The token of `admin.viewer_token`: may look at everything but payloads."),
            },
        },
    });
    match document {
        Value::Object(document) => document,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn described(operation: &Operation, guard: &Guard, problem: &Value, schemas: &mut Schemas) -> Value {
    let mut shape = Shape::new(schemas);
    (operation.describe)(&mut shape);
    shape.refuses(operation.refusals);
    shape.refuses(&BY_LAYERS);
    let changes = !operation.method.is_safe();
    if operation.access == Access::Guarded {
        shape.refuses(&[Code::Busy]);
        shape.refuses(guard.refusals());
        if changes {
            shape.refuses(&[Code::NotJson]);
        }
        if changes && matches!(guard, Guard::Token(..)) {
            shape.refuses(&[Code::OperatorOnly]);
        }
    }
    let Shape { parameters, body, mut answers, codes, .. } = shape;
    let mut by_status: BTreeMap<StatusCode, Vec<&str>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(code.word());
    }
    for (status, codes) in by_status {
        let refusal = json!({ "allOf": [problem, { "properties": { "code": { "enum": codes } } }] });
        let answer = answers
            .entry(status.as_u16().to_string())
            .or_insert_with(|| json!({ "description": status.canonical_reason(), "content": {} }));
        answer["content"][PROBLEM] = json!({ "schema": refusal });
    }
    let mut described = json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag()],
        "security": security(operation, guard),
        "responses": answers,
    });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = body {
        described["requestBody"] = body;
    }
    described
}

/// Says which tokens an operation asks for; an empty one says that none is needed.
fn security(operation: &Operation, guard: &Guard) -> Vec<Value> {
    let who: &[&str] = match operation.method {
        Method::GET => &[OPERATOR, VIEWER],
        _ => &[OPERATOR],
    };
    let tokens = who.iter().map(|name| json!({ *name: [] }));
    match (operation.access, guard) {
        (Access::Open, _) => Vec::new(),
        (Access::Guarded, Guard::Token(..)) => tokens.collect(),
        (Access::Guarded, Guard::LoopbackHost | Guard::CertifiedHost(_) | Guard::Nothing) => {
            tokens.chain([json!({})]).collect()
        }
    }
}

#[cfg(test)]
mod tests;
