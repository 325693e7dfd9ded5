//! The signature of a request, and the answer to a URL validation: HMAC-SHA256 under the secret token.
//!
//! A request is signed as `v0=` and the lower-case hexadecimal HMAC of `v0:<timestamp>:<body>`, where
//! the timestamp is exactly the text of its header and the body exactly the bytes that are sent. Both
//! rules are from Zoom's documentation.

use subtle::ConstantTimeEq as _;

use super::mac::Mac;
use crate::config::secret::Secret;

/// Signs under one secret token, whose key is prepared once.
#[derive(Clone)]
pub struct Signer(Mac);

impl Signer {
    /// Prepares the key.
    pub fn new(secret_token: &Secret) -> Self {
        Self(Mac::new(secret_token.expose().as_bytes()))
    }

    /// Returns the value of `x-zm-signature` for a body that is sent with this `x-zm-request-timestamp`.
    pub fn sign(&self, timestamp: &str, body: &[u8]) -> String {
        format!("v0={}", self.tag(&[b"v0:", timestamp.as_bytes(), b":", body]))
    }

    /// Tells whether a request carries the right signature; takes the same time wherever it differs.
    pub fn verify(&self, timestamp: &str, body: &[u8], signature: &str) -> bool {
        self.sign(timestamp, body).as_bytes().ct_eq(signature.as_bytes()).into()
    }

    /// Returns the `encryptedToken` that answers the `plainToken` of a URL validation.
    pub fn validation_token(&self, plain_token: &str) -> String {
        self.tag(&[plain_token.as_bytes()])
    }

    /// Returns the HMAC of any message, in hexadecimal.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> String {
        hex::encode(self.0.tag(parts))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;

    use super::*;

    /// The shape of `fixtures/signatures/*.json`.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, untagged)]
    enum Vector {
        Request { secret_token: String, timestamp: String, body: String, signature: String },
        Validation { secret_token: String, plain_token: String, encrypted_token: String },
    }

    #[test]
    fn vectors_of_another_implementation_agree() {
        let mut seen = [0, 0];
        for entry in fs::read_dir("fixtures/signatures").expect("the vectors") {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a readable vector");
            match serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
                Vector::Request { secret_token, timestamp, body, signature } => {
                    let signer = Signer::new(&Secret::new(secret_token));
                    assert_eq!(signer.sign(&timestamp, body.as_bytes()), signature, "{}", path.display());
                    assert!(signer.verify(&timestamp, body.as_bytes(), &signature), "{}", path.display());
                    seen[0] += 1;
                }
                Vector::Validation { secret_token, plain_token, encrypted_token } => {
                    let signer = Signer::new(&Secret::new(secret_token));
                    assert_eq!(signer.validation_token(&plain_token), encrypted_token, "{}", path.display());
                    seen[1] += 1;
                }
            }
        }
        assert!(seen[0] >= 6 && seen[1] >= 1, "vectors are missing: {seen:?}");
    }

    #[test]
    fn any_difference_is_refused() {
        let signer = Signer::new(&Secret::new("right"));
        let signature = signer.sign("1785368934", b"{}");
        assert!(signer.verify("1785368934", b"{}", &signature));
        assert!(!signer.verify("1785368935", b"{}", &signature), "another timestamp");
        assert!(!signer.verify("1785368934", b"{ }", &signature), "another body");
        assert!(!signer.verify("1785368934", b"{}", &signature.to_uppercase()), "upper case");
        assert!(!signer.verify("1785368934", b"{}", &signature[..66]), "one digit short");
        assert!(!signer.verify("1785368934", b"{}", ""), "no signature");
        assert!(!Signer::new(&Secret::new("wrong")).verify("1785368934", b"{}", &signature), "another secret");
    }
}
