//! Encryption of payloads at rest: bodies, and what handlers answered.
//!
//! A body is sealed with AES-256-GCM, by the cryptographic library that TLS uses anyway. A random nonce of 96 bits would
//! be good for some four billion bodies under one key, which a busy bridge reaches in weeks. So every process derives a key
//! of its own from the configured one and a random salt (HKDF-SHA256), and counts its nonces: no two bodies ever share key
//! and nonce, not even when a backup is restored and numbers of events come again.
//!
//! ```text
//! sealed = salt (16 bytes) | counter (8) | ciphertext | tag (16)
//! key    = HKDF-SHA256(salt, configured key, "zoomhook seal 1")      nonce = 0 (4 bytes) | counter
//! ```
//!
//! What a sealed text belongs to, such as number and digest of its event, is authenticated with it: rows that are swapped
//! do not open. The digest is keyed, too, since the plain SHA-256 of a body would prove a guess of it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "aws-lc")]
use aws_lc_rs as library;
use library::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use library::error::Unspecified;
use library::rand::{SecureRandom as _, SystemRandom};
use library::{hkdf, hmac};
#[cfg(not(feature = "aws-lc"))]
use ring as library;

use super::SpoolError;
use crate::config::encryption::EncryptionKey;
use crate::event::{Digest, EventId};

const SALT: usize = 16;
const COUNTER: usize = 8;
/// Derived keys that stay at hand: one for each process that wrote what is being read.
const DERIVED: usize = 16;

/// Names a key without telling it: eight bytes of an HMAC under it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyId(pub(crate) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Says why a sealed text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The key that it was sealed with is not configured.
    KeyGone,
    /// It is not what was sealed, or not in its place.
    Damaged,
}

impl Unreadable {
    /// Returns the reason of the dead letter that comes of it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::KeyGone => "key gone",
            Self::Damaged => "cannot be decrypted",
        }
    }
}

/// Holds the keys that a spool may be read with, and says which one it is written with.
#[derive(Default)]
pub(crate) struct Keys {
    /// The one to write with; without it everything is written as it is.
    current: Option<KeyId>,
    digests: Option<hmac::Key>,
    all: Vec<(KeyId, EncryptionKey)>,
    derived: Mutex<Vec<Derived>>,
}

/// Is the key that one process derived from one of ours.
#[derive(Clone)]
struct Derived {
    id: KeyId,
    salt: [u8; SALT],
    key: Arc<LessSafeKey>,
}

impl Keys {
    /// Takes the key to write with, if there is one, and those that are only read with.
    pub(crate) fn new(current: Option<&EncryptionKey>, old: &[EncryptionKey]) -> Self {
        let all: Vec<_> = current.into_iter().chain(old).map(|key| (key_id(key), key.clone())).collect();
        Self {
            current: current.map(key_id),
            digests: current.map(|key| expand(key, &[], b"zoomhook digest 1", hmac::HMAC_SHA256)),
            all,
            derived: Mutex::default(),
        }
    }

    /// Returns the key that is written with.
    pub(crate) fn current(&self) -> Option<KeyId> {
        self.current
    }

    /// Tells whether this key is among them.
    pub(crate) fn has(&self, id: KeyId) -> bool {
        self.all.iter().any(|(known, _)| *known == id)
    }

    /// Computes the digest by which a body is recognised: keyed where bodies are sealed, else its SHA-256.
    pub(crate) fn digest(&self, body: &[u8]) -> Digest {
        match &self.digests {
            None => Digest::of(body),
            Some(key) => {
                let tag = hmac::sign(key, body);
                Digest(tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
            }
        }
    }

    /// Returns what seals, with a salt of its own; `None` where nothing is sealed.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn sealer(&self) -> Result<Option<Sealer>, SpoolError> {
        let Some(id) = self.current else { return Ok(None) };
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|Unspecified| SpoolError::NoRandomness)?;
        let key = self.derive(id, salt).map_err(|_| SpoolError::NoRandomness)?.key;
        Ok(Some(Sealer { id, salt, key, counter: 0 }))
    }

    /// Opens what was sealed for this context.
    pub(crate) fn open(&self, id: KeyId, context: &[u8], mut sealed: Vec<u8>) -> Result<Vec<u8>, Unreadable> {
        let (salt, rest) = sealed.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let counter = rest.first_chunk().ok_or(Unreadable::Damaged)?;
        let key = self.derive(id, *salt)?.key;
        let opened = key.open_within(nonce(*counter), Aad::from(context), &mut sealed, SALT + COUNTER..);
        let length = opened.map_err(|Unspecified| Unreadable::Damaged)?.len();
        sealed.truncate(length);
        Ok(sealed)
    }

    fn derive(&self, id: KeyId, salt: [u8; SALT]) -> Result<Derived, Unreadable> {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = derived.iter().find(|known| known.id == id && known.salt == salt) {
            return Ok(known.clone());
        }
        let (_, key) = self.all.iter().find(|(known, _)| *known == id).ok_or(Unreadable::KeyGone)?;
        let key = expand::<_, UnboundKey>(key, &salt, b"zoomhook seal 1", &AES_256_GCM);
        let new = Derived { id, salt, key: Arc::new(LessSafeKey::new(key)) };
        if derived.len() >= DERIVED {
            derived.remove(0);
        }
        derived.push(new.clone());
        Ok(new)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("current", &self.current).finish_non_exhaustive()
    }
}

/// Seals; it never uses a nonce twice.
pub(crate) struct Sealer {
    id: KeyId,
    salt: [u8; SALT],
    key: Arc<LessSafeKey>,
    counter: u64,
}

impl Sealer {
    /// Returns the key that it seals with.
    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    /// Seals a text for a context.
    pub(crate) fn seal(&mut self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let counter = self.counter.to_be_bytes();
        let mut sealed = Vec::with_capacity(SALT + COUNTER + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&self.salt);
        sealed.extend_from_slice(&counter);
        sealed.extend_from_slice(plain);
        let (_, text) = sealed.split_at_mut(SALT + COUNTER);
        let tag = self.key.seal_in_place_separate_tag(nonce(counter), Aad::from(context), text);
        sealed.extend_from_slice(tag.expect("a body is shorter than 64 GiB").as_ref());
        sealed
    }
}

/// Says where a body belongs.
pub(crate) fn body_context(event: EventId, digest: Digest) -> [u8; 44] {
    let mut context = [0; 44];
    context[..4].copy_from_slice(b"body");
    context[4..12].copy_from_slice(&event.0.to_be_bytes());
    context[12..].copy_from_slice(&digest.0);
    context
}

/// Says where the beginning of an answer belongs: to an attempt that was made at this time, in milliseconds.
pub(crate) fn excerpt_context(event: EventId, destination: i64, at: i64) -> [u8; 28] {
    let mut context = [0; 28];
    context[..4].copy_from_slice(b"said");
    context[4..12].copy_from_slice(&event.0.to_be_bytes());
    context[12..20].copy_from_slice(&destination.to_be_bytes());
    context[20..].copy_from_slice(&at.to_be_bytes());
    context
}

fn nonce(counter: [u8; COUNTER]) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - COUNTER..].copy_from_slice(&counter);
    Nonce::assume_unique_for_key(nonce)
}

fn key_id(key: &EncryptionKey) -> KeyId {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    let tag = hmac::sign(&key, b"zoomhook key id 1");
    KeyId(*tag.as_ref().first_chunk().expect("HMAC-SHA256 has 32 bytes"))
}

/// Derives what a use needs from a configured key.
fn expand<L: hkdf::KeyType, K: for<'a> From<hkdf::Okm<'a, L>>>(
    key: &EncryptionKey,
    salt: &[u8],
    usage: &[u8],
    length: L,
) -> K {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key.expose());
    let usage = [usage];
    let derived = secret.expand(&usage, length);
    derived.expect("32 bytes are within what HKDF gives").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    #[test]
    fn what_is_sealed_opens_with_its_key_in_its_place_and_nowhere_else() {
        let keys = keys(Some(1), &[]);
        let mut sealer = keys.sealer().expect("randomness").expect("a key");
        let (here, there) = (body_context(EventId(1), Digest([7; 32])), body_context(EventId(2), Digest([7; 32])));
        let sealed = sealer.seal(&here, b"canary");
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        assert_eq!(keys.open(sealer.id(), &here, sealed.clone()), Ok(b"canary".to_vec()));
        assert_eq!(keys.open(sealer.id(), &there, sealed.clone()), Err(Unreadable::Damaged), "another row");
        for position in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[position] ^= 1;
            assert_eq!(keys.open(sealer.id(), &here, forged), Err(Unreadable::Damaged), "byte {position}");
            assert_eq!(keys.open(sealer.id(), &here, sealed[..position].to_vec()), Err(Unreadable::Damaged));
        }
        let other = self::keys(Some(2), &[]);
        assert_eq!(other.open(sealer.id(), &here, sealed.clone()), Err(Unreadable::KeyGone));
        assert_eq!(
            self::keys(Some(2), &[1]).open(sealer.id(), &here, sealed),
            Ok(b"canary".to_vec()),
            "an old key reads"
        );
    }

    #[test]
    fn no_two_texts_share_key_and_nonce() {
        let keys = keys(Some(1), &[]);
        let mut sealers = [(); 2].map(|()| keys.sealer().expect("randomness").expect("a key"));
        let heads = [0, 0, 1].map(|number: usize| sealers[number].seal(b"", b"the same")[..SALT + COUNTER].to_vec());
        assert!(heads[0] != heads[1] && heads[0] != heads[2] && heads[0][..SALT] == heads[1][..SALT]);
        assert_ne!(heads[0][..SALT], heads[2][..SALT], "each process salts for itself");
    }

    #[test]
    fn digest_is_keyed_where_bodies_are_sealed() {
        let body = b"{}";
        assert_eq!(keys(None, &[1]).digest(body), Digest::of(body));
        let digests = [1, 2].map(|seed| keys(Some(seed), &[]).digest(body));
        assert!(digests[0] != digests[1] && !digests.contains(&Digest::of(body)));
        assert_eq!(keys(Some(1), &[2]).digest(body), digests[0]);
    }

    #[test]
    fn derived_keys_that_stay_at_hand_are_few_and_the_others_are_derived_anew() {
        let keys = keys(Some(1), &[]);
        let sealed: Vec<Vec<u8>> =
            (0..3 * DERIVED).map(|_| keys.sealer().expect("randomness").expect("a key").seal(b"", b"text")).collect();
        let id = keys.current().expect("a key");
        assert!(sealed.into_iter().all(|sealed| keys.open(id, b"", sealed) == Ok(b"text".to_vec())));
        assert_eq!(keys.derived.lock().expect("no panic").len(), DERIVED);
    }

    #[test]
    fn nothing_is_shown_of_a_key() {
        let keys = keys(Some(0xab), &[]);
        let shown = format!("{keys:?}");
        assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
    }

    fn keys(current: Option<u8>, old: &[u8]) -> Keys {
        let key = |seed: u8| {
            let mut bytes = [seed; 32];
            bytes[0] = !seed;
            EncryptionKey::new(&Secret::new(hex::encode(bytes))).expect("a key")
        };
        let old: Vec<EncryptionKey> = old.iter().map(|seed| key(*seed)).collect();
        Keys::new(current.map(key).as_ref(), &old)
    }
}
