//! The headers of Standard Webhooks, beside Zoom's: for handlers that verify by that library.
//!
//! As its specification 1.0.0 has it, `webhook-signature` is `v1,` and the base64 HMAC-SHA256 of
//! `<webhook-id>.<webhook-timestamp>.<body>`; the id is the same on every attempt, the timestamp that of the attempt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};

use super::mac::Mac;
use super::request::{Outgoing, REQUEST_ID, TIMESTAMP};
use crate::config::secret::Base64Secret;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const AT: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Signs by the rules of Standard Webhooks.
#[derive(Clone)]
pub(super) struct StandardSigner(Mac);

impl StandardSigner {
    /// Prepares the key.
    pub(super) fn new(secret: &Base64Secret) -> Self {
        Self(Mac::new(&secret.expose()))
    }

    /// Adds the three headers to a request that has Zoom's: the id and the timestamp are the same as there.
    pub(super) fn sign(&self, outgoing: &mut Outgoing) {
        let (id, at) = (outgoing.headers[REQUEST_ID].clone(), outgoing.headers[TIMESTAMP].clone());
        let tag = self.0.tag(&[id.as_bytes(), b".", at.as_bytes(), b".", &outgoing.body]);
        let signature = format!("v1,{}", STANDARD.encode(tag));
        outgoing.headers.insert(ID, id);
        outgoing.headers.insert(AT, at);
        outgoing.headers.insert(SIGNATURE, HeaderValue::try_from(signature).expect("base64 makes a header value"));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::config::secret::Secret;

    /// Is the vector in the library's own tests.
    #[test]
    fn signature_is_the_one_of_the_published_vector() {
        let secret = Base64Secret::new(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).expect("a key");
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("msg_p5jXN8AQM9LWM0D4loKWxJek"));
        headers.insert(TIMESTAMP, HeaderValue::from_static("1614265330"));
        let mut outgoing = Outgoing { headers, body: br#"{"test": 2432232314}"#.as_slice().into() };
        StandardSigner::new(&secret).sign(&mut outgoing);
        assert_eq!(outgoing.headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(outgoing.headers["webhook-id"], "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(outgoing.headers["webhook-timestamp"], "1614265330");
    }
}
