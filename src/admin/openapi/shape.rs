//! What a handler takes and answers, read off its signature.
//!
//! Each type that a handler takes as an argument is an [`Input`], and what it returns is an [`Output`]; so the document
//! cannot say anything else than what the compiler has checked.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::admin::caller::Caller;
use crate::admin::input::{Body, Id, Named, Nothing, Params};
use crate::admin::problem::{Code, Problem};
use crate::schema::ROW_MOST;

/// The content type of documents.
pub(in crate::admin) const JSON: &str = "application/json";
/// The content type of refusals.
pub(in crate::admin) const PROBLEM: &str = "application/problem+json";
/// The content type of words.
pub(in crate::admin) const TEXT: &str = "text/plain";
/// Where the schemas stand in the document.
const COMPONENTS: &str = "/components/schemas";

/// Gathers the schemas of every type that is named.
pub(super) struct Schemas {
    /// Of what is asked: members that have a default may be missing.
    asked: SchemaGenerator,
    /// Of what is told: every member is there, unless it is left out when it is empty.
    told: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            let mut settings = SchemaSettings::draft2020_12();
            settings.definitions_path = COMPONENTS.into();
            settings
        };
        Self { asked: settings().for_deserialize().into(), told: settings().for_serialize().into() }
    }
}

impl Schemas {
    /// Returns the schema of a document that is told.
    pub(super) fn told<T: JsonSchema>(&mut self) -> Value {
        self.told.subschema_for::<T>().into()
    }

    /// Returns the schemas that others refer to, by their names.
    pub(super) fn into_definitions(mut self) -> Map<String, Value> {
        let mut definitions = self.told.take_definitions(true);
        definitions.extend(self.asked.take_definitions(true));
        definitions
    }
}

/// Is what one operation takes and answers.
pub(in crate::admin) struct Shape<'a> {
    schemas: &'a mut Schemas,
    pub(super) parameters: Vec<Value>,
    pub(super) body: Option<Value>,
    /// Answers by their status.
    pub(super) answers: BTreeMap<String, Value>,
    pub(super) codes: BTreeSet<Code>,
}

impl<'a> Shape<'a> {
    pub(super) fn new(schemas: &'a mut Schemas) -> Self {
        Self { schemas, parameters: Vec::new(), body: None, answers: BTreeMap::new(), codes: BTreeSet::new() }
    }

    /// Adds reasons for a refusal.
    pub(in crate::admin) fn refuses(&mut self, codes: &[Code]) {
        self.codes.extend(codes);
    }

    /// Adds an answer.
    pub(in crate::admin) fn answers(&mut self, status: StatusCode, means: &str, content_type: &str, schema: Value) {
        let answer = json!({ "description": means, "content": { content_type: { "schema": schema } } });
        self.answers.insert(status.as_u16().to_string(), answer);
    }

    /// Returns the schema of a document that is told.
    pub(in crate::admin) fn told<T: JsonSchema>(&mut self) -> Value {
        self.schemas.told::<T>()
    }

    fn takes_body<T: JsonSchema>(&mut self) {
        let schema = self.schemas.asked.subschema_for::<T>();
        self.body = Some(json!({ "required": true, "content": { JSON: { "schema": schema } } }));
        self.refuses(&[Code::BadBody]);
    }

    fn takes_from_path(&mut self, name: &str, schema: Value) {
        self.parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
        self.refuses(&[Code::BadQuery]);
    }
}

/// Returns the schema of any text.
pub(in crate::admin) fn text() -> Value {
    json!({ "type": "string" })
}

/// Is an argument of a handler.
pub(in crate::admin) trait Input {
    /// Tells what a request has to have for it, and what it is refused for.
    fn describe(shape: &mut Shape<'_>);
}

/// Is what a handler answers.
pub(in crate::admin) trait Output {
    /// Tells how an answer looks.
    fn describe(shape: &mut Shape<'_>);
}

/// Is a handler whose arguments and answer are known; `A` is the types of its arguments.
pub(in crate::admin) trait Described<A> {
    /// Tells what it takes and answers.
    fn describe(shape: &mut Shape<'_>);
}

macro_rules! described {
    ($($input:ident)*) => {
        impl<F, Fut, R, $($input,)*> Described<($($input,)*)> for F
        where
            F: Fn($($input),*) -> Fut,
            Fut: Future<Output = R>,
            R: Output,
            $($input: Input,)*
        {
            fn describe(shape: &mut Shape<'_>) {
                $($input::describe(shape);)*
                R::describe(shape);
            }
        }
    };
}
described!(A);
described!(A B);
described!(A B C);
described!(A B C D);

impl<S> Input for State<S> {
    fn describe(_: &mut Shape<'_>) {}
}

impl Input for Caller {
    fn describe(_: &mut Shape<'_>) {}
}

impl Input for Id {
    fn describe(shape: &mut Shape<'_>) {
        let schema = json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": ROW_MOST });
        shape.takes_from_path("id", schema);
    }
}

impl Input for Named {
    fn describe(shape: &mut Shape<'_>) {
        shape.takes_from_path("name", json!({ "type": "string", "minLength": 1 }));
    }
}

impl<T: JsonSchema> Input for Params<T> {
    fn describe(shape: &mut Shape<'_>) {
        let schema = T::json_schema(&mut shape.schemas.asked).to_value();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            shape.parameters.push(in_query(name, schema.clone()));
        }
        shape.refuses(&[Code::BadQuery]);
    }
}

impl<T: JsonSchema> Input for Body<T> {
    fn describe(shape: &mut Shape<'_>) {
        shape.takes_body::<T>();
    }
}

impl Input for Nothing {
    fn describe(shape: &mut Shape<'_>) {
        // Who sends nothing says so as JSON, like every change.
        shape.takes_body::<Self>();
    }
}

impl<T: JsonSchema> Output for Json<T> {
    fn describe(shape: &mut Shape<'_>) {
        let document = shape.told::<T>();
        shape.answers(StatusCode::OK, "What was asked for.", JSON, document);
    }
}

impl<T: Output> Output for Result<T, Problem> {
    fn describe(shape: &mut Shape<'_>) {
        T::describe(shape);
    }
}

/// Makes a parameter of a member: it may be missing, and is never `null`.
fn in_query(name: &str, schema: Value) -> Value {
    let mut schema = Schema::try_from(schema).unwrap_or_default();
    let description = schema.remove("description");
    if let Some(Value::Array(kinds)) = schema.get("type") {
        let kind = kinds.iter().find(|kind| *kind != "null").cloned().unwrap_or_default();
        schema.insert("type".to_owned(), kind);
    }
    if let Some(Value::Array(either)) = schema.remove("anyOf") {
        let known = either.into_iter().find(|either| either["type"] != "null").unwrap_or_default();
        schema = Schema::try_from(known).unwrap_or_default();
    }
    let mut parameter = json!({ "name": name, "in": "query", "required": false, "schema": schema });
    if let Some(description) = description {
        parameter["description"] = description;
    }
    parameter
}
