//! Strings: each character has one spelling in what `JSON.stringify` writes.
//!
//! `QuoteJSONString` of ECMAScript: quote, backslash and the control characters are escaped, the latter by a letter
//! where there is one; so are surrogates that stand alone. Everything else is itself, DEL and U+2028 too.

use smallvec::SmallVec;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Returns how many bytes come before the first quote, backslash or control character.
///
/// Eight bytes are looked at in one word. A byte of it that is too small for a subtraction borrows from those
/// behind it alone, so the first one found is a true one.
pub(super) fn plain(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word & HIGH_BITS;
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = below(word, 0x20) | equal(b'"') | equal(b'\\');
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

/// Reads the escape that begins here, two of them for a surrogate pair: how many bytes it has, and the code point or
/// lone surrogate that it means.
pub(super) fn escape(bytes: &[u8]) -> Option<(usize, u32)> {
    let code = match bytes.get(1)? {
        same @ (b'"' | b'\\' | b'/') => u32::from(*same),
        b'b' => 0x08,
        b't' => 0x09,
        b'n' => 0x0a,
        b'f' => 0x0c,
        b'r' => 0x0d,
        b'u' => {
            let unit = hexadecimal(bytes)?;
            if let 0xd800..0xdc00 = unit
                && let Some(low @ 0xdc00..0xe000) = hexadecimal(&bytes[6..])
            {
                return Some((12, 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)));
            }
            return Some((6, unit));
        }
        _ => return None,
    };
    Some((2, code))
}

/// Reads `\u` and four digits.
fn hexadecimal(bytes: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = bytes else { return None };
    let digits = digits.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// Writes a code point or a lone surrogate as it stands in a string.
pub(super) fn spell(code: u32) -> SmallVec<[u8; 8]> {
    let letter = match code {
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        0x22 => b'"',
        0x5c => b'\\',
        _ => match char::from_u32(code) {
            Some(character) if code >= 0x20 => {
                return SmallVec::from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Some(_) | None => {
                let digit = |shift: u32| HEX[(code >> shift & 0xf) as usize];
                return SmallVec::from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
        },
    };
    SmallVec::from_slice(&[b'\\', letter])
}
