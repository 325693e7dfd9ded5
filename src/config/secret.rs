//! Secrets: values that show themselves to nobody who does not ask by name.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Is a secret value; `Debug` shows stars.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        // Copied, and the first one wiped: a string that is boxed may leave its old place behind as it was.
        let value = Zeroizing::new(value.into());
        Self(SecretString::from(value.as_str()))
    }

    /// Returns the value. Whoever calls this keeps it out of logs and errors.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Compares in constant time (for values of equal length).
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for Secret {}

/// Makes the value of a header of these parts, in memory that is wiped when the last who has it lets it go; `None` where
/// no header can carry it.
pub(crate) fn header_value(parts: &[&str]) -> Option<HeaderValue> {
    let length = parts.iter().map(|part| part.len()).sum();
    // It never grows: what it grew out of would not be wiped.
    let mut line = Zeroizing::new(Vec::with_capacity(length));
    parts.iter().for_each(|part| line.extend_from_slice(part.as_bytes()));
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(line)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Makes the text of Basic credentials (RFC 7617), behind the word `Basic`.
pub(crate) fn basic_pair(user: &str, password: &Secret) -> Zeroizing<String> {
    let pair = Zeroizing::new([user, password.expose()].join(":"));
    Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pair.as_bytes()))
}

/// Takes keys with and without padding: both are handed out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Is a key that is written in base64, as Standard Webhooks has it; `Debug` shows stars.
#[derive(Clone, Debug, PartialEq)]
pub struct Base64Secret(Secret);

impl Base64Secret {
    /// May stand before the base64.
    pub(super) const PREFIX: &str = "whsec_";

    /// Takes a text that is base64, with or without `whsec_` before it.
    pub fn new(text: &Secret) -> Option<Self> {
        let text = text.expose();
        let text = text.strip_prefix(Self::PREFIX).unwrap_or(text);
        let is_key = BASE64.decode(text).is_ok_and(|key| !key.is_empty());
        is_key.then(|| Self(Secret::new(text)))
    }

    /// Returns the key. Whoever calls this keeps it out of logs and errors.
    pub fn expose(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(BASE64.decode(self.0.expose()).expect("it was base64 when it was made"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_stars() {
        assert_eq!(format!("{:?}", Some(Secret::new("canary"))), "Some(***)");
    }

    #[test]
    fn header_of_a_secret_is_shown_to_nobody_and_shared_by_its_copies() {
        let value = header_value(&["Basic ", basic_pair("a", &Secret::new("canary")).as_str()]).expect("a value");
        assert_eq!(value, "Basic YTpjYW5hcnk=");
        assert_eq!(format!("{value:?}"), "Sensitive");
        assert_eq!(value.clone().as_bytes().as_ptr(), value.as_bytes().as_ptr(), "what is copied is wiped by nobody");
        assert_eq!(header_value(&["a\nb"]), None);
    }

    #[test]
    fn equal_secrets_are_equal() {
        assert_eq!(Secret::new("a"), Secret::new("a"));
        assert_ne!(Secret::new("a"), Secret::new("b"));
        assert_ne!(Secret::new("a"), Secret::new("ab"));
    }

    #[test]
    fn base64_is_taken_with_and_without_prefix_and_padding() {
        for text in ["whsec_Y2FuYXJ5MQ==", "Y2FuYXJ5MQ==", "whsec_Y2FuYXJ5MQ"] {
            let key = Base64Secret::new(&Secret::new(text)).expect(text);
            assert_eq!(**key.expose(), *b"canary1");
            assert!(!format!("{key:?}").contains("Y2Fu"), "{key:?}");
        }
        for text in ["", "whsec_", "whsec_*", "not base64"] {
            assert_eq!(Base64Secret::new(&Secret::new(text)), None, "{text}");
        }
    }
}
