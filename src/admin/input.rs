//! What requests say, read strictly: what is not understood is refused by name, never passed over.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::request::Parts;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::document::{PAGE, PAGE_MOST};
use super::problem::Problem;
use crate::event::EventId;
use crate::wording::parse_moment;

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

/// Reads a JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // The limits have read it already.
        let bytes = Bytes::from_request(request, state).await.map_err(|_| Problem::Internal)?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| Problem::BadBody(error.to_string()))
    }
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

/// Reads a time or an age.
pub(super) fn moment(name: &str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    text.map(|text| parse_moment(text, now).map_err(|error| Problem::BadQuery(format!("{name}: {error}")))).transpose()
}

/// Reads the size of a page.
pub(super) fn limit(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(PAGE) {
        limit @ 1..=PAGE_MOST => Ok(limit),
        _ => Err(Problem::BadQuery(format!("limit: expected a number from 1 to {PAGE_MOST}"))),
    }
}

/// Reads the id of an event from a path.
pub(super) fn event_id(text: &str) -> Result<EventId, Problem> {
    text.parse().map(EventId).map_err(|_| Problem::BadQuery("the id of an event is a number".to_owned()))
}
