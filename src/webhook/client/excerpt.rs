//! The beginning of an answer, kept for the operator, without the secrets that a handler echoes.
//!
//! ```text
//! |<-------- size -------->|<- longest secret ->|
//! ..... Bearer eyJhb...... c4nary ..............|.....
//!       ^ masked           ^ begins within the size: masked, though it ends beyond it
//! ```
//!
//! What is masked is found before anything is cut: a secret across the limit would leave its beginning there.

use http::HeaderMap;

use crate::config::address::MASK;
use crate::config::secret::Secret;

/// Says what is kept of a body.
pub(super) struct Excerpt<'a> {
    /// Bytes of it.
    pub(super) size: usize,
    /// What is masked.
    pub(super) secrets: &'a [Secret],
}

impl Excerpt<'_> {
    /// Returns how many bytes of a body have to be looked at.
    pub(super) fn needs(&self) -> usize {
        let longest = self.secrets.iter().map(|secret| secret.expose().len()).max().unwrap_or_default();
        self.size + longest
    }

    /// Makes the excerpt of a body, or of as much of it as is needed.
    pub(super) fn of(&self, body: &[u8]) -> String {
        if self.secrets.is_empty() {
            return String::from_utf8_lossy(&body[..body.len().min(self.size)]).into_owned();
        }
        let secret = self.covered(body);
        let mut kept = Vec::with_capacity(self.size.min(body.len()));
        for (at, byte) in body.iter().enumerate().take(self.size) {
            match (secret[at], at > 0 && secret[at - 1]) {
                (false, _) => kept.push(*byte),
                (true, false) => kept.extend_from_slice(MASK.as_bytes()),
                (true, true) => {}
            }
        }
        kept.truncate(self.size);
        String::from_utf8_lossy(&kept).into_owned()
    }

    /// Tells of each byte whether it is one of a secret.
    fn covered(&self, body: &[u8]) -> Vec<bool> {
        let mut covered = vec![false; body.len()];
        for secret in self.secrets.iter().map(|secret| secret.expose().as_bytes()).filter(|secret| !secret.is_empty()) {
            for (at, window) in body.windows(secret.len()).enumerate() {
                // Both are the handler's already: it was sent the secret.
                if window == secret {
                    covered[at..at + secret.len()].fill(true);
                }
            }
        }
        covered
    }
}

/// Returns what an answer to this request must not be kept with: `known`, and what its headers keep to themselves, such
/// as a token that an endpoint gave.
pub(super) fn secrets(known: &[Secret], headers: &HeaderMap) -> Vec<Secret> {
    let sensitive = headers.values().filter(|value| value.is_sensitive()).filter_map(|value| value.to_str().ok());
    // `Bearer` is no secret, but what stands behind it.
    let texts = sensitive.map(|text| Secret::new(text.split_once(' ').map_or(text, |(_, rest)| rest)));
    known.iter().cloned().chain(texts).collect()
}

/// Masks secrets in a short text.
pub(super) fn conceal(text: &mut String, secrets: &[Secret]) {
    for secret in secrets {
        if !secret.expose().is_empty() && text.contains(secret.expose()) {
            *text = text.replace(secret.expose(), MASK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 512;

    #[test]
    fn secret_at_any_offset_leaves_no_piece_of_itself() {
        let secret = "0123456789abcdefghijklmnopqrstuv";
        let secrets = [Secret::new("zz"), Secret::new(secret)];
        let excerpt = Excerpt { size: SIZE, secrets: &secrets };
        for offset in 0..SIZE + secret.len() {
            let body = format!("{}{secret}{}", "-".repeat(offset), "-".repeat(SIZE));
            let read = &body.as_bytes()[..body.len().min(excerpt.needs())];
            let kept = excerpt.of(read);
            assert!(!kept.contains(|c: char| c.is_ascii_alphanumeric()), "{offset}: {kept}");
            assert_eq!(kept.contains('*'), offset < SIZE, "{offset}: {kept}");
            assert!(kept.len() <= SIZE, "{offset}");
        }
    }

    #[test]
    fn masks_that_make_room_let_nothing_in_from_beyond_the_limit() {
        let secret = "0123456789".repeat(30);
        let secrets = [Secret::new(secret.as_str())];
        let excerpt = Excerpt { size: SIZE, secrets: &secrets };
        for between in 0..SIZE {
            let body = format!("{secret}{}{secret}", "-".repeat(between));
            let kept = excerpt.of(&body.as_bytes()[..body.len().min(excerpt.needs())]);
            assert!(!kept.contains(|c: char| c.is_ascii_digit()), "{between}: {kept}");
        }
    }

    #[test]
    fn secrets_that_overlap_are_masked_as_a_whole() {
        let secrets = ["abcd", "cdef", ""].map(Secret::new);
        let excerpt = Excerpt { size: SIZE, secrets: &secrets };
        assert_eq!(excerpt.of(b"x abcdef y abcdabcd z"), "x *** y *** z");
    }

    #[test]
    fn headers_that_keep_a_token_to_themselves_are_known() {
        let mut headers = HeaderMap::new();
        let mut value = http::HeaderValue::from_static("Bearer t0ken");
        value.set_sensitive(true);
        headers.insert("authorization", value);
        headers.insert("x-open", http::HeaderValue::from_static("open"));
        assert_eq!(secrets(&[Secret::new("known")], &headers), [Secret::new("known"), Secret::new("t0ken")]);
    }
}
