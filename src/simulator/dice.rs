//! Repeatable randomness: the same seed throws the same numbers for ever.

/// Throws numbers from a seed (the SplitMix64 sequence).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Throws any number.
    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Throws a number from `low` to `high`, `high` excluded.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low)
    }

    /// Picks one of `items`, which are not empty.
    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.between(0, items.len() as u64) as usize]
    }

    /// Throws `length` characters of the URL-safe base64 alphabet.
    pub(super) fn text(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(self.pick(BASE64_URL))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_throws_the_same() {
        assert_eq!(Dice::new(7).text(40), Dice::new(7).text(40));
        assert_ne!(Dice::new(7).text(40), Dice::new(8).text(40));
    }

    #[test]
    fn throws_cover_their_range_and_no_more() {
        let mut dice = Dice::new(1);
        let throws: std::collections::BTreeSet<u64> = (0..200).map(|_| dice.between(3, 9)).collect();
        assert_eq!(throws.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8]);
    }
}
