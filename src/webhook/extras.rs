//! Headers that a destination asks for beside Zoom's: made ready once, added to each of its requests.

use http::{HeaderName, HeaderValue};

use super::authorization::{self, sensitive};
use super::request::Outgoing;
use super::standard::StandardSigner;
use crate::config::Destination;
use crate::config::authorization::{Header, HeaderText};
use crate::event::RequestId;
use crate::telemetry::spans::Sampled;

/// Header by which a trace goes on in the handler (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Adds the headers of one destination.
pub struct Extras {
    fixed: Vec<(HeaderName, HeaderValue)>,
    standard: Option<StandardSigner>,
    traceparent: bool,
}

impl Extras {
    /// Makes ready what a destination asks for; `None` if that is nothing.
    pub fn of(destination: &Destination) -> Option<Self> {
        let fixed: Vec<_> =
            authorization::header(&destination.auth).into_iter().chain(destination.headers.iter().map(fixed)).collect();
        let standard = destination.standard_webhooks_secret.as_ref().map(StandardSigner::new);
        let traceparent = destination.traceparent;
        let asks = !fixed.is_empty() || standard.is_some() || traceparent;
        asks.then_some(Self { fixed, standard, traceparent })
    }

    /// Adds them to a request that has Zoom's headers; `span` is the id of this one attempt, and not zero.
    pub fn add(&self, outgoing: &mut Outgoing, request_id: RequestId, span: u64, sampled: Sampled) {
        for (name, value) in &self.fixed {
            outgoing.headers.insert(name, value.clone());
        }
        if self.traceparent {
            // The trace of an event is its request id, so that each is found by the other. It is marked as sampled, unless
            // it is known not to be: unmarked, the usual libraries in handlers would record nothing of it.
            let flags = match sampled {
                Sampled::Yes => "01",
                Sampled::No => "00",
            };
            let value = format!("00-{}-{span:016x}-{flags}", request_id.uuid().simple());
            outgoing.headers.insert(TRACEPARENT, HeaderValue::try_from(value).expect("digits make a header value"));
        }
        if let Some(standard) = &self.standard {
            standard.sign(outgoing);
        }
    }
}

fn fixed(header: &Header) -> (HeaderName, HeaderValue) {
    let value = match &header.value {
        HeaderText::Plain(text) => HeaderValue::try_from(text).expect("the configuration takes header values only"),
        HeaderText::Secret(secret) => sensitive(secret.expose()),
    };
    (header.name.clone(), value)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::config::authorization::Auth;
    use crate::config::secret::{Base64Secret, Secret};
    use crate::webhook::signature::Signer;

    #[test]
    fn destination_that_asks_for_nothing_gets_nothing() {
        assert!(Extras::of(&destination()).is_none());
    }

    #[test]
    fn what_is_asked_for_comes_after_zooms_own_headers() {
        let destination = Destination {
            auth: Auth::Bearer(Secret::new("s3cret")),
            headers: vec![
                header("x-tenant", HeaderText::Plain("7".to_owned())),
                header("x-api-key", HeaderText::Secret(Secret::new("key"))),
            ],
            traceparent: true,
            ..destination()
        };
        let extras = Extras::of(&destination).expect("something");
        let outgoing = request(&extras, 1_785_368_934, 0xab);
        let added: Vec<_> = outgoing
            .headers
            .iter()
            .skip(6)
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        assert_eq!(
            added,
            [
                "authorization: Bearer s3cret",
                "x-tenant: 7",
                "x-api-key: key",
                "traceparent: 00-123456789abc4def8123456789abcdef-00000000000000ab-01",
            ]
        );
        assert_eq!(outgoing.headers["x-zm-request-id"], "12345678_9abc_4def_8123_456789abcdef");
    }

    #[test]
    fn attempts_share_the_trace_and_the_webhook_id_and_nothing_else_that_is_added() {
        let secret = Base64Secret::new(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let destination = Destination { standard_webhooks_secret: secret, traceparent: true, ..destination() };
        let extras = Extras::of(&destination).expect("something");
        let (first, second) = (request(&extras, 1_785_368_934, 1), request(&extras, 1_785_368_939, 2));
        assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"]);
        for changed in ["webhook-timestamp", "webhook-signature", "traceparent"] {
            assert_ne!(first.headers[changed], second.headers[changed], "{changed}");
        }
        let trace = |outgoing: &Outgoing| outgoing.headers["traceparent"].to_str().expect("text")[3..35].to_owned();
        assert_eq!(trace(&first), trace(&second));
        assert_eq!(first.headers["webhook-timestamp"], first.headers["x-zm-request-timestamp"]);
    }

    #[test]
    fn trace_that_is_not_recorded_is_not_asked_of_the_handler_either() {
        let extras = Extras::of(&Destination { traceparent: true, ..destination() }).expect("something");
        let mut outgoing = request(&extras, 1_785_368_934, 1);
        extras.add(&mut outgoing, RequestId::new(Uuid::from_u128(7)), 2, Sampled::No);
        let expected = "00-00000000000000000000000000000007-0000000000000002-00";
        assert_eq!(outgoing.headers["traceparent"], expected);
    }

    fn request(extras: &Extras, second: i64, span: u64) -> Outgoing {
        let id = RequestId::new(Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef));
        let signer = Signer::new(&Secret::new("bridge-test-secret"));
        let now = Timestamp::from_second(second).expect("a time");
        let mut outgoing = Outgoing::signed(Bytes::from_static(b"{}"), id, &signer, now);
        extras.add(&mut outgoing, id, span, Sampled::Yes);
        outgoing
    }

    fn header(name: &'static str, value: HeaderText) -> Header {
        Header { name: HeaderName::from_static(name), value }
    }

    fn destination() -> Destination {
        Destination::new("crm", "https://crm.internal/".parse().expect("a url"), Secret::new("bridge-test-secret"))
    }
}
