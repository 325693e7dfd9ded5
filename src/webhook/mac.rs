//! HMAC-SHA256: by RustCrypto, or by AWS-LC in a build with that feature, so that signatures come from the same module
//! as TLS.

#[cfg(feature = "aws-lc")]
use aws_lc_rs::hmac;
#[cfg(not(feature = "aws-lc"))]
use hmac::{Hmac, KeyInit as _, Mac as _};
#[cfg(not(feature = "aws-lc"))]
use sha2::Sha256;

/// Is a key that is prepared once.
#[derive(Clone)]
#[cfg(not(feature = "aws-lc"))]
pub(super) struct Mac(Hmac<Sha256>);

#[cfg(not(feature = "aws-lc"))]
impl Mac {
    /// Prepares a key of any length.
    pub(super) fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// Returns the tag of a message that comes in parts.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Is a key that is prepared once.
#[derive(Clone)]
#[cfg(feature = "aws-lc")]
pub(super) struct Mac(hmac::Key);

#[cfg(feature = "aws-lc")]
impl Mac {
    /// Prepares a key of any length.
    pub(super) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Returns the tag of a message that comes in parts.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = hmac::Context::with_key(&self.0);
        for part in parts {
            mac.update(part);
        }
        mac.sign().as_ref().try_into().expect("a tag of SHA-256 has 32 bytes")
    }
}
