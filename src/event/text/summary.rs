//! ◆ What the events of a block may be found by, in so few bytes that a search passes over blocks without reading them.
//!
//! A summary is two sets of bits: one for what anybody sees of an event, one for its text. Every four bytes in a row of a
//! word set one bit, and a word that is looked for may be in the block only if all of its own are set. So a summary never
//! denies what is there; it may stand for what is not, and then the events are looked at. Who sees no payloads is
//! answered by the first set alone: how long that takes, and where it stops, tells nothing of the other.
//!
//! The bits are kept in files: to set others is another format.

use super::{Facts, Word, Words, fold, is_folded};

/// Events of a block. Each names about a hundred bytes that no other does: those of 256 set a quarter of the bits.
pub const BLOCK: u64 = 256;
/// Bytes for types and request ids.
const FACTS_BYTES: usize = 1000;
/// Bytes for texts. With the others they are a page of the file, less what the engine needs.
const TEXT_BYTES: usize = 7000;
/// Bytes that are taken together. Of fewer there are so few that a block has them all; more do not fit a short word.
const GRAM: usize = 4;
/// Bytes of a request id that are taken together: as many as one is looked for by, at least.
const HEAD: usize = super::REQUEST_ID;
/// Spread what is hashed over the bits; a head sets one for each of them.
const SPREADS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

/// Is a summary in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    facts: Box<[u8]>,
    text: Box<[u8]>,
}

/// Is a summary that was kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The number of its block.
    pub block: u64,
    /// See [`Summary::facts`].
    pub facts: &'a [u8],
    /// See [`Summary::text`]; `None` where texts are not searched.
    pub text: Option<&'a [u8]>,
}

/// Returns the number of the block that an event is in.
pub fn block_of(event: u64) -> u64 {
    event / BLOCK
}

impl Default for Summary {
    fn default() -> Self {
        Self { facts: [0; FACTS_BYTES].into(), text: [0; TEXT_BYTES].into() }
    }
}

impl Summary {
    /// Adds an event, with its text where it has one.
    pub fn add(&mut self, facts: Facts<'_>, text: &str) {
        set_all(&mut self.facts, facts.kind);
        if !is_folded(facts.kind) {
            set_all(&mut self.facts, &fold(facts.kind));
        }
        for bit in head(facts.request_id).into_iter().flatten() {
            set(&mut self.facts, bit);
        }
        set_all(&mut self.text, text);
    }

    /// Returns the bits of types and request ids.
    pub fn facts(&self) -> &[u8] {
        &self.facts
    }

    /// Returns the bits of texts.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

impl Kept<'_> {
    /// Tells whether an event of the block may fit, as [`Words::fit`] tells of one.
    pub fn may_fit(&self, words: &Words) -> bool {
        words.words.iter().all(|word| self.may_hold(word))
    }

    fn may_hold(&self, word: &Word) -> bool {
        let begins_request_id = || {
            word.request_id
                .as_deref()
                .and_then(head)
                .is_some_and(|bits| bits.into_iter().all(|bit| has(self.facts, bit)))
        };
        self.text.is_some_and(|text| has_all(text, &word.folded))
            || word.event.is_some_and(|event| block_of(event) == self.block)
            || has_all(self.facts, &word.folded)
            || begins_request_id()
    }
}

fn set_all(bits: &mut [u8], text: &str) {
    // No word goes beyond a space.
    for word in text.as_bytes().split(u8::is_ascii_whitespace) {
        for gram in grams(word) {
            set(bits, gram);
        }
    }
}

fn has_all(bits: &[u8], word: &str) -> bool {
    grams(word.as_bytes()).all(|gram| has(bits, gram))
}

/// Returns what every four bytes of a word come to.
fn grams(word: &[u8]) -> impl Iterator<Item = u32> {
    word.array_windows::<GRAM>().map(|gram| spread(u32::from_le_bytes(*gram).into(), SPREADS[0]))
}

/// Returns what the beginning of a request id comes to.
fn head(request_id: &str) -> Option<[u32; SPREADS.len()]> {
    let head = u64::from_le_bytes(*request_id.as_bytes().first_chunk::<HEAD>()?);
    Some(SPREADS.map(|by| spread(head, by)))
}

fn spread(hashed: u64, by: u64) -> u32 {
    (hashed.wrapping_mul(by) >> 32) as u32
}

fn set(bits: &mut [u8], hash: u32) {
    let (byte, bit) = place(bits.len(), hash);
    bits[byte] |= bit;
}

/// Tells whether a bit is set. What is too short was not written by this program, and denies nothing.
fn has(bits: &[u8], hash: u32) -> bool {
    let (byte, bit) = place(bits.len(), hash);
    bits.get(byte).is_none_or(|found| found & bit != 0)
}

fn place(bytes: usize, hash: u32) -> (usize, u8) {
    let place = (bytes as u64 * 8 * u64::from(hash)) >> 32;
    ((place / 8) as usize, 1 << (place % 8))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Is an event as the tests know it: number, type, request id, text.
    type Told = (u64, String, String, String);

    #[test]
    fn full_block_is_passed_over_by_most_that_is_not_in_it() {
        let events: Vec<Told> = (0..BLOCK).map(told).collect();
        let summary = summary(&events);
        let (passed, looked_for) = (4000..6000).filter(|seed| id(*seed) > 0).fold((0, 0), |(passed, all), seed| {
            let word = format!("{:011}", id(seed) % 100_000_000_000);
            (passed + usize::from(!may_fit(&summary, &word, true)), all + 1)
        });
        assert!(passed * 100 > looked_for * 97, "{passed} of {looked_for} numbers");
        for word in ["nirgends", "zahnarzt", "31a16e38-5003", "99999"] {
            assert!(!may_fit(&summary, word, true), "{word}");
        }
        for word in
            ["sitzung", "wochentliche 7", "meeting.PART", "17", "zzz", &events[9].2[..8], &events[200].3[30..40]]
        {
            assert!(may_fit(&summary, word, true), "{word}");
        }
    }

    #[test]
    fn who_sees_no_payloads_is_answered_the_same_whatever_they_hold() {
        let told: Vec<Told> = (0..BLOCK).map(told).collect();
        let silent: Vec<Told> = told.iter().cloned().map(|(id, kind, of, _)| (id, kind, of, String::new())).collect();
        let [telling, silent_ones] = [&told, &silent].map(|events| summary(events));
        for word in ["sitzung", "wochentliche", "meeting", "17", "nirgends", &told[9].2[..8], &told[9].3[30..40]] {
            assert_eq!(may_fit(&telling, word, false), may_fit(&silent_ones, word, false), "{word}");
        }
        assert!(!may_fit(&telling, "sitzung", false));
        assert!(may_fit(&telling, "meeting", false));
    }

    #[test]
    fn bits_are_where_files_have_them() {
        let mut summary = Summary::default();
        let facts = Facts { id: 7, kind: "user.updated", request_id: "31a16e38_5003_4ea6_84ec_a77d2be62c9c" };
        summary.add(facts, "stand\n8608");
        let set = |bits: &[u8]| -> Vec<usize> {
            (0..bits.len() * 8).filter(|bit| bits[bit / 8] & (1 << (bit % 8)) != 0).collect()
        };
        assert_eq!(set(summary.text()), [2200, 26_619, 39_908]);
        assert_eq!(set(summary.facts()), [524, 1314, 1688, 2526, 3321, 3981, 3983, 4565, 4809, 5137, 6206, 6871]);
    }

    #[test]
    fn damaged_summary_denies_nothing() {
        let words = "nirgends".parse().expect("words");
        assert!(Kept { block: 0, facts: &[], text: Some(&[]) }.may_fit(&words));
        assert!(Kept { block: 0, facts: &[], text: None }.may_fit(&words));
    }

    proptest! {
        #[test]
        fn what_an_event_is_found_by_is_never_denied(
            texts in proptest::collection::vec("\\PC{0,40}", 1..4),
            kind in "[a-zA-ZäÄ._]{1,20}|\\PC{1,20}",
            from in 0..40_usize,
            length in 1..20_usize,
            other in "[a-z0-9._]{1,6}",
        ) {
            let facts = Facts { id: 4711, kind: &kind, request_id: "31a16e38_5003_4ea6_84ec_a77d2be62c9c" };
            let text = fold(&texts.join("\n"));
            let mut summary = Summary::default();
            summary.add(facts, &text);
            let part = |of: &str| of.chars().skip(from).take(length).collect::<String>();
            let parts = [part(&text), part(&kind), part(facts.request_id), format!("{other} {}", part(&text)), other];
            for words in parts.iter().filter_map(|part| part.parse::<Words>().ok()) {
                for (text, bits) in [(&*text, Some(summary.text())), ("", None)] {
                    let kept = Kept { block: block_of(facts.id), facts: summary.facts(), text: bits };
                    prop_assert!(!words.fit(facts, text) || kept.may_fit(&words), "{}", words);
                }
            }
        }
    }

    fn summary(events: &[Told]) -> Summary {
        let mut summary = Summary::default();
        for (id, kind, request_id, text) in events {
            summary.add(Facts { id: *id, kind, request_id }, text);
        }
        summary
    }

    fn may_fit(summary: &Summary, words: &str, sees_payloads: bool) -> bool {
        let text = sees_payloads.then(|| summary.text());
        Kept { block: 0, facts: summary.facts(), text }.may_fit(&words.parse().expect("words"))
    }

    /// Returns an event with a topic and ids as Zoom's are: those of meeting, host and participant.
    fn told(n: u64) -> Told {
        let kind = ["meeting.started", "meeting.participant_joined", "user.updated"][(n % 3) as usize];
        let number = 80_000_000_000 + id(n) % 10_000_000_000;
        let text = format!(
            "wochentliche sitzung {}\n{number}\n{:016x}{:06x}\n{}\n{:016x}{:016x}",
            n % 50,
            id(n + 1000),
            id(n) % 0xff_ffff,
            16_778_240 + n,
            id(n + 2000),
            id(n + 3000)
        );
        (n, kind.to_owned(), format!("{:08x}_5003_4ea6_84ec_a77d2be62c9c", id(n) as u32), text)
    }

    /// Returns a number without a pattern.
    fn id(n: u64) -> u64 {
        let mixed = (n + 1).wrapping_mul(SPREADS[0]);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(SPREADS[1]);
        mixed ^ (mixed >> 27)
    }
}
