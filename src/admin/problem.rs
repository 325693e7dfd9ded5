//! Refusals: problem documents of RFC 9457. The `code` is what programs may rely on.

use std::any::Any;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
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
    /// A gap is to be acknowledged that was before, and its note is to stay.
    GapAcknowledged(String),
    /// A destination is configured whose backlog was to be deleted.
    DestinationConfigured(String),
    /// What is kept was to be brought to a key that is not in force.
    OtherKey(String),
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
    /// The same, for a change that waits for the spool and may come about yet.
    Unconfirmed,
    /// A fault of the bridge itself.
    Internal,
}

/// Names the kind of a refusal; programs may rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    /// The query or the path holds something wrong.
    BadQuery,
    /// The body holds something wrong.
    BadBody,
    /// The request can be read in two ways, or is none of this port.
    BadRequest,
    /// No token was shown, or another one.
    Unauthorized,
    /// Without a token, `host` must name this machine.
    HostRefused,
    /// A viewer asks for a change.
    OperatorOnly,
    /// There is no such thing.
    NotFound,
    /// The spool never had a destination of this name.
    UnknownDestination,
    /// The path is not for this method.
    MethodNotAllowed,
    /// The body did not come in time.
    SlowBody,
    /// More than 100 deliveries would be replayed, and that was not confirmed.
    NotConfirmed,
    /// The gap lasts still.
    GapOpen,
    /// The gap was acknowledged before, and its note was not to be replaced.
    GapAcknowledged,
    /// The destination is configured: nothing of it can be deleted.
    DestinationConfigured,
    /// Another encryption key is in force than what is kept was to be brought to.
    OtherKey,
    /// The body has more than 64 kB.
    TooLarge,
    /// The content type is not JSON.
    NotJson,
    /// The new configuration has problems; the old one stays in force.
    ConfigurationRefused,
    /// A fault of the bridge itself.
    Internal,
    /// Too many requests or replays are under way.
    Busy,
    /// As many streams are open as there may be.
    TooManyStreams,
    /// The spool cannot be read or written.
    SpoolUnavailable,
    /// The bridge is about to stop.
    Stopping,
    /// There was no answer in time.
    Timeout,
}

impl Code {
    /// Returns the status of answers that have it.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadQuery | Self::BadBody | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::HostRefused | Self::OperatorOnly => StatusCode::FORBIDDEN,
            Self::NotFound | Self::UnknownDestination => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::NotConfirmed
            | Self::GapOpen
            | Self::GapAcknowledged
            | Self::DestinationConfigured
            | Self::OtherKey => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ConfigurationRefused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy | Self::TooManyStreams | Self::SpoolUnavailable | Self::Stopping | Self::Timeout => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Returns its name.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::BadQuery => "bad_query",
            Self::BadBody => "bad_body",
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::HostRefused => "host_refused",
            Self::OperatorOnly => "operator_only",
            Self::NotFound => "not_found",
            Self::UnknownDestination => "unknown_destination",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::SlowBody => "slow_body",
            Self::NotConfirmed => "not_confirmed",
            Self::GapOpen => "gap_open",
            Self::GapAcknowledged => "gap_acknowledged",
            Self::DestinationConfigured => "destination_configured",
            Self::OtherKey => "other_key",
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::ConfigurationRefused => "configuration_refused",
            Self::Internal => "internal",
            Self::Busy => "busy",
            Self::TooManyStreams => "too_many_streams",
            Self::SpoolUnavailable => "spool_unavailable",
            Self::Stopping => "stopping",
            Self::Timeout => "timeout",
        }
    }
}

/// Is the answer to a request that was refused (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Document<'a> {
    /// What the status means.
    title: &'a str,
    /// The status of the answer.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    code: Code,
    /// What is wrong, and what would be right.
    detail: &'a str,
    /// Every problem of a configuration that was refused.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [String],
}

impl Problem {
    fn parts(&self) -> (Code, &str) {
        match self {
            Self::Unauthorized => (Code::Unauthorized, "send `authorization: Bearer` with the admin token"),
            Self::HostRefused => (
                Code::HostRefused,
                "without an admin token only requests to localhost, 127.0.0.1, [::1] or a name of the port's certificate are answered",
            ),
            Self::OperatorOnly => {
                (Code::OperatorOnly, "the token shown is that of viewers, who change nothing; send the operator's")
            }
            Self::NotJson => (Code::NotJson, "send `content-type: application/json`"),
            Self::NotFound(detail) => (Code::NotFound, detail),
            Self::MethodNotAllowed => (Code::MethodNotAllowed, "the path is not for this method"),
            Self::BadQuery(detail) => (Code::BadQuery, detail),
            Self::BadBody(detail) => (Code::BadBody, detail),
            Self::UnknownDestination(detail) => (Code::UnknownDestination, detail),
            Self::NotConfirmed => (
                Code::NotConfirmed,
                "this would replay more than 100 deliveries: count them with `\"dry_run\": true`, then ask with `\"confirmed\": true`",
            ),
            Self::TooManyReplays => (Code::Busy, "too many replays are under way: ask again when one of them is done"),
            Self::GapOpen => (Code::GapOpen, "the gap lasts still; acknowledge it when a socket is live again"),
            Self::GapAcknowledged(detail) => (Code::GapAcknowledged, detail),
            Self::DestinationConfigured(detail) => (Code::DestinationConfigured, detail),
            Self::OtherKey(detail) => (Code::OtherKey, detail),
            Self::TooLarge => (Code::TooLarge, "a body may have 64 kB"),
            Self::SlowBody => (Code::SlowBody, "the body did not come within 10 s"),
            Self::BadRequest(detail) => (Code::BadRequest, detail),
            Self::Busy => (Code::Busy, "too many requests are under way; ask again"),
            Self::TooManyStreams => (Code::TooManyStreams, "as many streams are open as there may be; close one"),
            Self::ConfigurationRefused(_) => {
                (Code::ConfigurationRefused, "the new configuration has problems; the old one stays in force")
            }
            Self::Spool(detail) => (Code::SpoolUnavailable, detail),
            Self::Stopping => (Code::Stopping, "the bridge is about to stop"),
            Self::Timeout => (Code::Timeout, "no answer within 30 s; ask for less"),
            Self::Unconfirmed => (
                Code::Timeout,
                "not done within 30 s, and it may be done yet, once the spool takes changes: see `zoomhook status`, and \
                 `zoomhook audit list` before you ask again",
            ),
            Self::Internal => (Code::Internal, "a fault of the bridge itself; its log says more"),
        }
    }

    /// Returns the stable code.
    pub(super) fn code(&self) -> &'static str {
        self.parts().0.word()
    }

    fn problems(&self) -> &[String] {
        if let Self::ConfigurationRefused(problems) = self { problems } else { &[] }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, detail) = self.parts();
        let status = code.status();
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
            | SpoolError::Damaged { .. }
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

#[cfg(test)]
mod tests {
    use schemars::SchemaGenerator;

    use super::*;

    #[test]
    fn codes_have_one_name_for_documents_and_metrics() {
        let schema = Code::json_schema(&mut SchemaGenerator::default()).to_value();
        let known: Vec<&str> =
            schema["oneOf"].as_array().expect("codes").iter().filter_map(|code| code["const"].as_str()).collect();
        assert!(known.len() > 20, "{schema:#}");
        let problem = Problem::Stopping.parts().0;
        assert_eq!(serde_json::to_value(problem).expect("a name"), problem.word());
        for problem in [Problem::NotJson, Problem::Spool(String::new()), Problem::TooManyReplays, Problem::Internal] {
            let code = problem.parts().0;
            assert_eq!(serde_json::to_value(code).expect("a name"), code.word());
            assert!(known.contains(&code.word()), "{code:?}");
        }
    }
}
