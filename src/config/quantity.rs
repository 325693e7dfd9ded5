//! Durations and sizes as people write them: `"250ms"`, `"72h"`, `"2GiB"`.

use std::time::Duration;

/// Units of time in milliseconds, the largest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Other names that people give to units of time.
const TIME_WORDS: [(&str, &str); 17] = [
    ("day", "d"),
    ("days", "d"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("msec", "ms"),
    ("millisecond", "ms"),
    ("milliseconds", "ms"),
];

/// Units of size in bytes, the largest first.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &TIMES).map(Duration::from_millis)
}

/// Writes a duration in the largest unit that holds it whole; parts of a millisecond are cut.
pub(crate) fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 { "0s".to_owned() } else { format(millis, &TIMES) }
}

/// Reads a size: a whole number and one of `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// Writes a size in bytes in the largest unit that holds it whole.
pub(crate) fn format_size(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { format(bytes, &SIZES) }
}

/// Returns the duration that was meant by a text that is none: `10s` by `10 s`, `5S` or `5 sec`.
pub(crate) fn meant_duration(text: &str) -> Option<String> {
    meant(text, &TIMES, &TIME_WORDS)
}

/// Returns the size that was meant by a text that is none: `2GB` by `2 GB` or `2gb`.
pub(crate) fn meant_size(text: &str) -> Option<String> {
    meant(text, &SIZES, &[])
}

/// Puts number and unit together, where nothing but a blank, capitals or another name of the unit is wrong.
fn meant(text: &str, units: &[(&str, u64)], words: &[(&str, &'static str)]) -> Option<String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let exact = units.iter().find(|(name, _)| *name == unit).map(|(name, _)| *name);
    let alike = || units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(name, _)| *name);
    let word = || words.iter().find(|(word, _)| word.eq_ignore_ascii_case(unit)).map(|(_, name)| *name);
    let meant = format!("{number}{}", exact.or_else(alike).or_else(word)?);
    parse(&meant, units).map(|_| meant)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Needs an amount above zero and a last unit of 1.
fn format(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().find(|(_, factor)| amount.is_multiple_of(*factor));
    let (unit, factor) = fits.expect("the last unit divides everything");
    format!("{}{unit}", amount / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        let cases = [
            ("250ms", Some(250)),
            ("10s", Some(10_000)),
            ("1m", Some(60_000)),
            ("72h", Some(259_200_000)),
            ("3d", Some(259_200_000)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("+1s", None),
            ("10 s", None),
            ("10S", None),
            ("1h30m", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        let cases = [
            ("512KiB", Some(512 << 10)),
            ("2GiB", Some(2 << 30)),
            ("2GB", Some(2_000_000_000)),
            ("1kB", Some(1000)),
            ("7B", Some(7)),
            ("2G", None),
            ("GiB", None),
            ("20000000TiB", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_was_meant_is_told_where_only_the_spelling_is_wrong() {
        for (text, meant) in [
            ("10 s", Some("10s")),
            (" 10s ", Some("10s")),
            ("5S", Some("5s")),
            ("3D", Some("3d")),
            ("10min", Some("10m")),
            ("2 Hours", Some("2h")),
            ("250 msec", Some("250ms")),
            ("10", None),
            ("s", None),
            ("1.5 h", None),
            ("1h 30m", None),
            ("99999999999999999999 s", None),
        ] {
            assert_eq!(meant_duration(text).as_deref(), meant, "{text}");
        }
        for (text, meant) in [
            ("2 GB", Some("2GB")),
            ("2gb", Some("2GB")),
            ("2 gib", Some("2GiB")),
            ("512 KB", Some("512kB")),
            ("2G", None),
        ] {
            assert_eq!(meant_size(text).as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn the_largest_whole_unit_is_printed() {
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        assert_eq!(format_duration(Duration::from_secs(72 * 3600)), "3d");
        assert_eq!(format_duration(Duration::ZERO), "0s");
        assert_eq!(format_size(8 << 30), "8GiB");
        assert_eq!(format_size(2_000_000_000), "2GB");
        assert_eq!(format_size(0), "0B");
    }

    proptest! {
        #[test]
        fn printed_durations_read_back(millis: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn printed_sizes_read_back(bytes: u64) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
    }
}
