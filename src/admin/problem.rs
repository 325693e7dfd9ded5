//! Refusals: problem documents of RFC 9457. The `code` is what programs may rely on.

use std::any::Any;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::document::ListError;
use crate::spool::{Closed, SpoolError};

/// Says why a request was not answered as asked.
#[derive(Debug)]
pub(super) enum Problem {
    /// No token was shown, or another one.
    Unauthorized,
    /// `Host` names another machine.
    HostRefused,
    /// A viewer asks for a change.
    OperatorOnly,
    /// A change was asked for in another form than JSON.
    NotJson,
    /// There is no such thing.
    NotFound(String),
    /// The path is not for this method.
    MethodNotAllowed,
    /// The query or the path holds something wrong.
    BadQuery(String),
    /// The body holds something wrong.
    BadBody(String),
    /// A destination is named that the spool never had.
    UnknownDestination(String),
    /// A replay of many deliveries was not confirmed.
    NotConfirmed,
    /// Too many replays are under way.
    TooManyReplays,
    /// A gap is to be acknowledged that lasts still.
    GapOpen,
    /// A destination is configured whose backlog was to be deleted.
    DestinationConfigured(String),
    /// The body is too large.
    TooLarge,
    /// The body did not come in time.
    SlowBody,
    /// The request can be read in two ways, or is none of this port.
    BadRequest(&'static str),
    /// Too many requests are under way.
    Busy,
    /// Too many streams are open.
    TooManyStreams,
    /// The new configuration has these problems; the old one stays.
    ConfigurationRefused(Vec<String>),
    /// The spool cannot be read.
    Spool(String),
    /// The bridge is about to stop.
    Stopping,
    /// The answer took too long.
    Timeout,
    /// A fault of the bridge itself.
    Internal,
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [String],
}

impl Problem {
    fn parts(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "unauthorized", "send `authorization: Bearer` with the admin token")
            }
            Self::HostRefused => (
                StatusCode::FORBIDDEN,
                "host_refused",
                "without an admin token only requests to localhost, 127.0.0.1 or [::1] are answered",
            ),
            Self::OperatorOnly => (
                StatusCode::FORBIDDEN,
                "operator_only",
                "the token shown is that of viewers, who change nothing; send the operator's",
            ),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "send `content-type: application/json`"),
            Self::NotFound(detail) => (StatusCode::NOT_FOUND, "not_found", detail),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path is not for this method")
            }
            Self::BadQuery(detail) => (StatusCode::BAD_REQUEST, "bad_query", detail),
            Self::BadBody(detail) => (StatusCode::BAD_REQUEST, "bad_body", detail),
            Self::UnknownDestination(detail) => (StatusCode::NOT_FOUND, "unknown_destination", detail),
            Self::NotConfirmed => (
                StatusCode::CONFLICT,
                "not_confirmed",
                "this would replay more than 100 deliveries: count them with `\"dry_run\": true`, then ask with `\"confirmed\": true`",
            ),
            Self::TooManyReplays => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many replays are under way: ask again when one of them is done",
            ),
            Self::GapOpen => {
                (StatusCode::CONFLICT, "gap_open", "the gap lasts still; acknowledge it when a socket is live again")
            }
            Self::DestinationConfigured(detail) => (StatusCode::CONFLICT, "destination_configured", detail),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "a body may have 64 kB"),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "slow_body", "the body did not come within 10 s"),
            Self::BadRequest(detail) => (StatusCode::BAD_REQUEST, "bad_request", detail),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests are under way; ask again"),
            Self::TooManyStreams => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_streams",
                "as many streams are open as there may be; close one",
            ),
            Self::ConfigurationRefused(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "configuration_refused",
                "the new configuration has problems; the old one stays in force",
            ),
            Self::Spool(detail) => (StatusCode::SERVICE_UNAVAILABLE, "spool_unavailable", detail),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping", "the bridge is about to stop"),
            Self::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout", "no answer within 30 s; ask for less"),
            Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "a fault of the bridge itself; its log says more")
            }
        }
    }

    /// Returns the stable code.
    pub(super) fn code(&self) -> &'static str {
        self.parts().1
    }

    fn problems(&self) -> &[String] {
        if let Self::ConfigurationRefused(problems) = self { problems } else { &[] }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, detail) = self.parts();
        let busy = matches!(self, Self::Busy | Self::TooManyReplays);
        let title = status.canonical_reason().unwrap_or_default();
        let document = Document { title, status: status.as_u16(), code, detail, problems: self.problems() };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if busy {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Configured(_) => Self::DestinationConfigured(error.to_string()),
            SpoolError::Busy => Self::TooManyReplays,
            SpoolError::InUse(_)
            | SpoolError::Newer { .. }
            | SpoolError::Missing(_)
            | SpoolError::Open { .. }
            | SpoolError::NotASpool { .. }
            | SpoolError::Engine(_)
            | SpoolError::Removed(_)
            | SpoolError::Closed(_)
            | SpoolError::Sealed { .. }
            | SpoolError::NoRandomness
            | SpoolError::Interrupted => Self::Spool(error.to_string()),
        }
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::UnknownDestination { .. } => Self::UnknownDestination(error.to_string()),
            ListError::Spool(error) => error.into(),
        }
    }
}

impl From<Closed> for Problem {
    fn from(Closed: Closed) -> Self {
        Self::Stopping
    }
}

/// Answers for a handler that panicked; the panic's text stays in the log.
pub(super) fn of_panic(_: Box<dyn Any + Send>) -> Response {
    Problem::Internal.into_response()
}
