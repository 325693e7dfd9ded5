//! What requests say, read strictly: what is not understood is refused by name, never passed over.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::request::Parts;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::document::{PAGE, PAGE_MOST, row_number};
use super::problem::Problem;
use crate::event::EventId;
use crate::schema::ROW_MOST;
use crate::wording::{check_interval, parse_moment};

/// Reads the parameters of a query.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(params) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let text = rejection.body_text();
            let detail = text.split_once(": ").map_or(text.as_str(), |(_, detail)| detail);
            Problem::BadQuery(detail.to_owned())
        })?;
        Ok(Self(params))
    }
}

/// Reads the number in a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Id(pub(super) i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Named(text) = Named::from_request_parts(parts, state).await?;
        match text.parse() {
            Ok(id) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Self(id)),
            Ok(_) | Err(_) => Err(Problem::BadQuery(format!("the id in the path is a number from 0 to {ROW_MOST}"))),
        }
    }
}

/// Reads the name in a path.
#[derive(Debug)]
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named = Path::from_request_parts(parts, state).await;
        let Path(name) = named.map_err(|_| Problem::BadQuery("the name in the path is no text in UTF-8".to_owned()))?;
        Ok(Self(name))
    }
}

/// Is the body of a request that has nothing to say: an empty object, which may be left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl<S: Send + Sync> FromRequest<S> for Nothing {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|_| Problem::Internal)?;
        if bytes.is_empty() { Ok(Self {}) } else { object(&bytes) }
    }
}

/// Reads a JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // The limits have read it already.
        let bytes = Bytes::from_request(request, state).await.map_err(|_| Problem::Internal)?;
        object(&bytes).map(Self)
    }
}

fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Without their names, values would be taken in the order in which a type happens to have its fields.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(Problem::BadBody("expected an object".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| Problem::BadBody(error.to_string()))
}

/// Reads one parameter from its text.
pub(super) fn parse<T>(name: &str, text: Option<&str>) -> Result<Option<T>, Problem>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let wrong = |error: T::Err| Problem::BadQuery(format!("{name}: {error}"));
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

/// Reads since when, and until when; between them something can have happened.
pub(super) fn interval(
    since: Option<&str>,
    until: Option<&str>,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Option<Timestamp>), Problem> {
    let (since, until) = (moment("since", since, now)?, moment("until", until, now)?);
    check_interval(since, until, now).map_err(Problem::BadQuery)?;
    Ok((since, until))
}

/// Reads a time or an age.
fn moment(name: &str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    text.map(|text| parse_moment(text, now).map_err(|error| Problem::BadQuery(format!("{name}: {error}")))).transpose()
}

/// Reads the size of a page.
pub(super) fn limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(PAGE) {
        limit @ 1..=PAGE_MOST => Ok(limit),
        _ => Err(Problem::BadQuery(format!("limit: expected a number from 1 to {PAGE_MOST}"))),
    }
}

/// Reads the cursor of a page.
pub(super) fn before(before: Option<u64>) -> Result<Option<EventId>, Problem> {
    before.map(|id| row_number("before", id).map(EventId)).transpose().map_err(Problem::BadQuery)
}
