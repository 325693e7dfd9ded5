//! The request of one attempt: Zoom's headers, and a body.
//!
//! Names and values are as captured from Zoom's own deliveries. Not set here: `host` and
//! `content-length`, which the client writes from the URL and the body.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

use super::signature::Signer;
use crate::event::{Event, RequestId};

/// Header with the time of the attempt, in Unix seconds; handlers refuse requests that are minutes old.
pub const TIMESTAMP: &str = "x-zm-request-timestamp";
/// Header with the signature over timestamp and body.
pub const SIGNATURE: &str = "x-zm-signature";
/// Header by which handlers recognise repeats: the same on every attempt for an event.
pub const REQUEST_ID: &str = "x-zm-request-id";
/// Header that is opaque to handlers; some log it.
pub const TRACKING_ID: &str = "x-zm-trackingid";

/// Header that tells how often a delivery was replayed; first deliveries and their retries come without it.
pub const REPLAY: &str = "x-zoomhook-replay";

/// Room for the seven headers set here and the three that the client adds.
const HEADERS: usize = 10;

/// Is one attempt, ready to be sent to a destination's URL.
#[derive(Clone)]
pub struct Outgoing {
    /// Every header that is not derived from the connection or the length of the body.
    pub headers: HeaderMap,
    /// The body, exactly as it is sent.
    pub body: Bytes,
}

impl Outgoing {
    /// Makes an attempt to deliver `event` as `body`, its own or [another form](super::canonical) of it, with timestamp
    /// and signature of `now`.
    pub fn new(event: &Event, body: Bytes, signer: &Signer, now: Timestamp) -> Self {
        Self::signed(body, event.request_id, signer, now)
    }

    /// Tells the handler that the delivery was replayed, if it was.
    pub fn replayed(mut self, times: u32) -> Self {
        if times > 0 {
            self.headers.insert(REPLAY, times.into());
        }
        self
    }

    /// Makes an attempt to send any body under any request id.
    pub(crate) fn signed(body: Bytes, request_id: RequestId, signer: &Signer, now: Timestamp) -> Self {
        let timestamp = now.as_second().to_string();
        let signature = signer.sign(&timestamp, &body);
        // The identifier within the tracking id is the request id again, so that retries share it.
        let tracking_id = format!("v=2.0;clid=us02;rid=WEB_{}", request_id.uuid().simple());

        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert(USER_AGENT, HeaderValue::from_static("Zoom Marketplace/1.0a"));
        headers.insert(TIMESTAMP, value(timestamp));
        headers.insert(SIGNATURE, value(signature));
        headers.insert(REQUEST_ID, value(request_id.to_string()));
        headers.insert(TRACKING_ID, value(tracking_id));
        Self { headers, body }
    }
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits, letters and punctuation make a header value")
}

// Payloads must not reach a log by way of `{:?}`.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("request_id", &self.headers.get(REQUEST_ID))
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::config::secret::Secret;
    use crate::event::EventId;

    const BODY: &[u8] = br#"{"event":"meeting.started","payload":{"account_id":"AAAAAABBBBBBCCCCCC1234","object":{"id":"86084701483","uuid":"de+IDqR9/NA/J1==","topic":"Standup"}},"event_ts":1785369357392}"#;

    #[test]
    fn headers_are_those_captured_from_zoom() {
        let outgoing = Outgoing::new(&event(), event().body, &signer(), at(1_785_368_934));
        let headers: Vec<_> =
            outgoing.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        assert_eq!(
            headers,
            [
                "content-type: application/json; charset=utf-8",
                "user-agent: Zoom Marketplace/1.0a",
                "x-zm-request-timestamp: 1785368934",
                "x-zm-signature: v0=01c18e89ac9fa937c0c91dc69d2813cd9fc884d326628ce6a3d33ccac7e32e96",
                "x-zm-request-id: 12345678_9abc_4def_8123_456789abcdef",
                "x-zm-trackingid: v=2.0;clid=us02;rid=WEB_123456789abc4def8123456789abcdef",
            ]
        );
    }

    #[test]
    fn attempts_differ_in_timestamp_and_signature_only() {
        let (first, second) = (
            Outgoing::new(&event(), event().body, &signer(), at(1_785_368_934)),
            Outgoing::new(&event(), event().body, &signer(), at(1_785_368_939)),
        );
        assert_eq!(first.body, second.body);
        let different: Vec<_> = first
            .headers
            .iter()
            .filter(|(name, value)| second.headers.get(*name) != Some(*value))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(different, [TIMESTAMP, SIGNATURE]);
    }

    #[test]
    fn replays_are_counted_and_first_deliveries_say_nothing_of_it() {
        let outgoing = || Outgoing::new(&event(), event().body, &signer(), at(0));
        assert_eq!(outgoing().replayed(2).headers[REPLAY], "2");
        assert_eq!(outgoing().replayed(0).headers, outgoing().headers);
    }

    #[test]
    fn body_is_shared_not_copied() {
        let event = event();
        assert_eq!(Outgoing::new(&event, event.body.clone(), &signer(), at(0)).body.as_ptr(), event.body.as_ptr());
    }

    #[test]
    fn debug_shows_neither_payload_nor_signature() {
        let shown = format!("{:?}", Outgoing::new(&event(), event().body, &signer(), at(1_785_368_934)));
        assert!(!shown.contains("Standup") && !shown.contains("v0="), "{shown}");
    }

    fn event() -> Event {
        Event {
            id: EventId(1),
            request_id: RequestId::new(Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef)),
            subscription: "main".into(),
            kind: "meeting.started".into(),
            event_ts: Some(1_785_369_357_392),
            received_at: Timestamp::UNIX_EPOCH,
            body: Bytes::from_static(BODY),
            unreadable: None,
        }
    }

    fn signer() -> Signer {
        Signer::new(&Secret::new("bridge-test-secret"))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }
}
