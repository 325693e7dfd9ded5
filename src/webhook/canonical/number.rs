//! Numbers: `Number::toString` of ECMAScript, and whether what it writes has the value that it was given.

use std::fmt;
use std::io::Write as _;
use std::ops::RangeInclusive;

use smallvec::SmallVec;

/// No two decimals of up to so many digits are the same double (`DBL_DIG` of C): the shortest one that JavaScript
/// finds for the double is the one that was given.
const ALWAYS_KEPT: usize = 15;
/// Where that holds: between the powers of ten at which doubles lose digits and at which they end.
const NORMAL: RangeInclusive<i64> = -300..=300;

/// Is a short text; 26 characters are the most that JavaScript writes for a number.
type Text = SmallVec<[u8; 32]>;

/// Returns how many bytes the number that begins here has, by the grammar of JSON.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let digits = |at: usize| bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let some_digits = |at: usize| Some(digits(at)).filter(|count| *count > 0);
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    at += if bytes.get(at) == Some(&b'0') { 1 } else { some_digits(at)? };
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        at += some_digits(at)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at += some_digits(at)?;
    }
    Some(at)
}

/// Tells whether a number is one of those that need no second look: a short integer.
pub(super) fn is_plain(literal: &[u8]) -> bool {
    let digits = literal.strip_prefix(b"-").unwrap_or(literal);
    literal != b"-0" && digits.len() <= ALWAYS_KEPT && digits.iter().all(u8::is_ascii_digit)
}

/// Writes a number as JavaScript does; `None` when that has another value, or is `null`.
///
/// ECMAScript asks for the fewest digits that name the double, of those for the nearest to it, and of two that are as
/// near for the even one. Rust finds how many, but rounds a tie up; with the number of digits given it rounds to even.
pub(super) fn spell(literal: &[u8]) -> Option<Text> {
    let literal = str::from_utf8(literal).ok()?;
    let Some(given) = Decimal::of(literal) else { return Some(Text::from_slice(b"0")) };
    if given.digits.len() <= ALWAYS_KEPT && NORMAL.contains(&given.point) {
        return Some(given.layout());
    }
    let double: f64 = literal.parse().ok()?;
    if !double.is_finite() {
        return None;
    }
    let fewest = Decimal::of(formatted(&mut [0; 32], format_args!("{double:e}")))?.digits.len();
    let written = Decimal::of(formatted(&mut [0; 32], format_args!("{double:.*e}", fewest - 1)))?;
    (written == given).then(|| written.layout())
}

/// Formats a double in scientific notation without allocating.
fn formatted<'a>(buffer: &'a mut [u8; 32], number: fmt::Arguments<'_>) -> &'a str {
    let mut rest = &mut buffer[..];
    rest.write_fmt(number).expect("17 digits, two signs, a point and an exponent of three digits fit");
    let length = 32 - rest.len();
    str::from_utf8(&buffer[..length]).expect("they are ASCII")
}

/// Is an exact decimal other than zero: `0.digits` times ten to the power of `point`.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    /// Without zeros at either end.
    digits: Text,
    point: i64,
}

impl Decimal {
    /// Reads a number of the grammar of JSON; `None` for zero.
    fn of(literal: &str) -> Option<Self> {
        let (negative, unsigned) = match literal.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, literal),
        };
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        let leading = digits().take_while(|digit| *digit == b'0').count();
        let mut digits: Text = digits().skip(leading).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return None;
        }
        // A larger exponent than this type holds is that of no double.
        let exponent = exponent.parse().unwrap_or(i64::MAX);
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
        Some(Self { negative, digits, point: point.saturating_add(exponent) })
    }

    /// Writes it as `Number::toString` does.
    fn layout(&self) -> Text {
        let Self { negative, digits, point } = self;
        let mut text = Text::new();
        if *negative {
            text.push(b'-');
        }
        match (usize::try_from(*point), point) {
            (Ok(whole @ 1..=21), _) if whole >= digits.len() => {
                text.extend_from_slice(digits);
                text.resize(text.len() + whole - digits.len(), b'0');
            }
            (Ok(whole @ 1..=21), _) => {
                text.extend_from_slice(&digits[..whole]);
                text.push(b'.');
                text.extend_from_slice(&digits[whole..]);
            }
            (_, -5..=0) => {
                text.extend_from_slice(b"0.");
                text.extend((*point..0).map(|_| b'0'));
                text.extend_from_slice(digits);
            }
            (Ok(_) | Err(_), _) => {
                text.push(digits[0]);
                if digits.len() > 1 {
                    text.push(b'.');
                    text.extend_from_slice(&digits[1..]);
                }
                text.extend(format!("e{:+}", point - 1).bytes());
            }
        }
        text
    }
}
