//! ◆ Spans as messages of OTLP, with the names of OpenTelemetry's semantic conventions (HTTP, messaging, database).

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans, Status};
use prost::Message as _;

use crate::telemetry::spans::{Span, Work};

/// Makes the request that exports spans.
pub(super) fn request(spans: &[Span]) -> ExportTraceServiceRequest {
    let version = env!("CARGO_PKG_VERSION");
    let resource = Resource {
        attributes: vec![text("service.name", "zoomhook"), text("service.version", version)],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "zoomhook".to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans =
        ScopeSpans { scope: Some(scope), spans: spans.iter().map(span).collect(), ..ScopeSpans::default() };
    let resource_spans =
        ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

/// Reads from a collector's answer how many spans it did not take.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

fn span(span: &Span) -> otlp::Span {
    let Span { request_id, event, id, parent, began, ended, work } = span;
    let mut attributes = vec![
        text("messaging.message.id", &request_id.to_string()),
        number("zoomhook.event.id", i64::try_from(event.0).unwrap_or(i64::MAX)),
    ];
    let (name, kind, error) = match work {
        Work::Receive { subscription, kind, size } => {
            attributes.extend([
                text("messaging.system", "zoom"),
                text("messaging.operation.name", "receive"),
                text("messaging.operation.type", "receive"),
                text("messaging.destination.name", subscription),
                number("messaging.message.body.size", i64::try_from(*size).unwrap_or(i64::MAX)),
                text("zoomhook.event.type", kind),
            ]);
            (format!("receive {subscription}"), SpanKind::Consumer, None)
        }
        Work::Commit { batch } => {
            attributes.extend([
                text("db.system.name", "sqlite"),
                text("db.operation.name", "COMMIT"),
                number("zoomhook.commit.events", i64::try_from(*batch).unwrap_or(i64::MAX)),
            ]);
            ("commit".to_owned(), SpanKind::Internal, None)
        }
        Work::Post { to, attempts, answer } => {
            attributes.extend([
                text("zoomhook.destination", &to.destination),
                text("http.request.method", "POST"),
                text("url.full", &to.url),
                text("server.address", &to.host),
            ]);
            attributes.extend(to.port.map(|port| number("server.port", port.into())));
            if *attempts > 0 {
                attributes.push(number("http.request.resend_count", (*attempts).into()));
            }
            let error = match answer {
                Ok(status) => {
                    attributes.push(number("http.response.status_code", (*status).into()));
                    (!(200..300).contains(status)).then(|| status.to_string())
                }
                Err(cause) => Some(cause.to_string()),
            };
            ("POST".to_owned(), SpanKind::Client, error)
        }
    };
    attributes.extend(error.as_deref().map(|error| text("error.type", error)));
    otlp::Span {
        trace_id: request_id.uuid().as_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        name,
        kind: kind.into(),
        start_time_unix_nano: nanos(*began),
        end_time_unix_nano: nanos(*ended),
        attributes,
        status: error.map(|_| Status { code: StatusCode::Error.into(), ..Status::default() }),
        ..otlp::Span::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A clock that stood before 1970 is shown as then.
fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
    use url::Url;
    use uuid::Uuid;

    use super::*;
    use crate::event::{EventId, RequestId};
    use crate::telemetry::spans::Receiver;

    #[test]
    fn post_that_failed_says_how_by_the_conventions_and_shows_no_key() {
        let url: Url = "https://crm.internal/zoom?key=canary".parse().expect("a url");
        let to = Arc::new(Receiver::new(&"crm".into(), &url));
        let post = |attempts, answer| shown(Work::Post { to: Arc::clone(&to), attempts, answer });
        let failed = post(2, Ok(503));
        for attribute in [
            "zoomhook.destination=crm",
            "http.request.method=POST",
            "url.full=https://crm.internal/zoom",
            "server.address=crm.internal",
            "server.port=443",
            "http.request.resend_count=2",
            "http.response.status_code=503",
            "error.type=503",
        ] {
            assert!(failed.split_whitespace().any(|shown| shown == attribute), "{attribute} is not in {failed}");
        }
        assert!(!failed.contains("canary"), "{failed}");
        assert!(post(0, Err("timeout".into())).ends_with("error.type=timeout"));
        let taken = post(0, Ok(200));
        assert!(!taken.contains("error.type") && !taken.contains("resend_count"), "{taken}");
    }

    #[test]
    fn ids_are_bytes_in_the_order_of_the_header() {
        let sent = span(&of(Work::Commit { batch: 3 }));
        assert_eq!(hex::encode(sent.trace_id), "123456789abc4def8123456789abcdef");
        assert_eq!(
            (hex::encode(sent.span_id), hex::encode(sent.parent_span_id)),
            ("00000000000000ab".to_owned(), String::new())
        );
        assert_eq!((sent.start_time_unix_nano, sent.end_time_unix_nano), (1_000_000_000, 2_000_000_000));
    }

    #[test]
    fn spans_that_a_collector_rejects_are_counted() {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        assert_eq!((rejected(&answer), rejected(b""), rejected(b"{}")), (3, 0, 0));
    }

    fn of(work: Work) -> Span {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let request_id = RequestId::new(Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef));
        Span { request_id, event: EventId(7), id: 0xab, parent: None, began: at(1), ended: at(2), work }
    }

    fn shown(work: Work) -> String {
        let value = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => panic!("{other:?}"),
        };
        let attributes = span(&of(work)).attributes.into_iter();
        attributes
            .map(|attribute| format!("{}={}", attribute.key, value(attribute.value)))
            .collect::<Vec<_>>()
            .join(" ")
    }
}
