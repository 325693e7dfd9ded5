//! Keys that encrypt what the spool keeps.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::secret::Secret;

/// Is a key of 256 bits; `Debug` shows stars.
#[derive(Clone)]
pub struct EncryptionKey(Zeroizing<[u8; Self::BYTES]>);

impl EncryptionKey {
    /// Bytes of a key.
    pub const BYTES: usize = 32;
    /// Is how a key is written.
    pub(super) const FORM: &str = "an encryption key is 32 random bytes, in base64 or as 64 hexadecimal digits, as `openssl rand -base64 32` makes them";

    /// Takes 32 bytes in base64 or hexadecimal digits.
    pub fn new(text: &Secret) -> Option<Self> {
        let mut key = Zeroizing::new([0; Self::BYTES]);
        let text = text.expose();
        if text.len() == 2 * Self::BYTES {
            hex::decode_to_slice(text, &mut *key).ok()?;
        } else {
            // Decoding makes sure of the room that it may need, which is a little more than it uses.
            let mut decoded = Zeroizing::new([0; Self::BYTES + 3]);
            let length = STANDARD.decode_slice(text, &mut *decoded).ok()?;
            key.copy_from_slice(decoded.get(..length).filter(|bytes| bytes.len() == Self::BYTES)?);
        }
        // What somebody wrote to fill the place protects nothing.
        let is_filler = key.iter().all(|byte| *byte == key[0]);
        (!is_filler).then_some(Self(key))
    }

    /// Returns the key. Whoever calls this keeps it out of logs and errors.
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for EncryptionKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for EncryptionKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_read_in_base64_and_hexadecimal_digits_and_shown_to_nobody() {
        let bytes: Vec<u8> = (0..32).collect();
        for text in [STANDARD.encode(&bytes), hex::encode(&bytes), hex::encode_upper(&bytes)] {
            let key = EncryptionKey::new(&Secret::new(text.as_str())).expect("a key");
            assert_eq!(key.expose()[..], bytes[..]);
            assert_eq!(format!("{key:?}"), "***");
        }
    }

    #[test]
    fn what_is_no_key_of_256_bits_is_refused() {
        let long = STANDARD.encode([1; 33]);
        for text in ["", "short", &"0".repeat(64), &"g".repeat(64), &"A".repeat(43), &long, &hex::encode([7; 32])] {
            assert_eq!(EncryptionKey::new(&Secret::new(text)), None, "{text}");
        }
    }
}
