//! Whole numbers, as they are typed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::schema::ROW_MOST;

/// Reads a whole number.
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected a whole number".to_owned())
}

/// Reads the number of a row of the spool.
pub(super) fn row(text: &str) -> Result<u64, String> {
    within(0..=ROW_MOST)(text)
}

/// Reads a whole number within a range.
pub(super) fn within<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_told_what_would_be_one() {
        assert_eq!(number("41"), Ok(41_u64));
        assert_eq!(number::<u64>("first"), Err("expected a whole number".to_owned()));
        let limit = within(1..=1000_usize);
        assert_eq!(limit("1000"), Ok(1000));
        assert_eq!(row("9223372036854775807"), Ok(ROW_MOST));
        let expected = "expected a whole number from 0 to 9223372036854775807".to_owned();
        assert_eq!(row("9223372036854775808"), Err(expected));
        for text in ["0", "1001", "x", ""] {
            assert_eq!(limit(text), Err("expected a whole number from 1 to 1000".to_owned()));
        }
    }
}
