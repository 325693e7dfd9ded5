//! ◆ How counts and times are written for people, and how people write times.
//!
//! Every surface (status sentences, tables, log summaries) says them in the same way, always in UTC.

use std::fmt::Display;

use jiff::civil::{DateTime, Time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Two slips of the finger are still the same word.
const TYPO: usize = 2;

/// Clocks of two machines may differ by so much.
const SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Says that a text is neither a time nor an age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAMoment {
    /// It begins as a date does.
    #[error(
        "no calendar has this day, or no clock this time: write `2026-07-30` or `2026-07-30 08:00` (UTC), or `2026-07-30T10:00:00+02:00`"
    )]
    NoSuchDay,
    /// It begins with a number and has a colon, as a time of day does.
    #[error(
        "no clock shows this: write a time of day (UTC, the last one that has been) as `08:00` or `08:00:59`, from `00:00` to `23:59:59`"
    )]
    NoSuchTime,
    /// It looks like neither.
    #[error(
        "expected a time such as `2026-07-30T10:00:00+02:00`, `2026-07-30 08:00` (UTC) or `08:00` (UTC, the last one that has been), or an age such as `24h`"
    )]
    Unknown,
}

/// Writes a number with its thousands grouped: `12,345`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Writes a number with its noun: `1 event`, `2,000 events`.
pub fn counted(n: u64, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(n))
}

/// Writes how long something took or lasts: `350 ms`, `12 s`, `4 min`, `3 h 20 min`, `2 d 4 h`.
pub fn span(duration: SignedDuration) -> String {
    let duration = duration.max(SignedDuration::ZERO);
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        s if s < MINUTE => format!("{s} s"),
        s if s < HOUR => format!("{} min", s / MINUTE),
        s if s < 2 * DAY => two(s / HOUR, "h", s % HOUR / MINUTE, "min"),
        s => two(s / DAY, "d", s % DAY / HOUR, "h"),
    }
}

fn two(big: i64, big_unit: &str, small: i64, small_unit: &str) -> String {
    match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    }
}

/// Writes how long ago something was: `4 min ago`, `just now`.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let passed = now.duration_since(at);
    if passed < SignedDuration::from_secs(1) { "just now".to_owned() } else { format!("{} ago", span(passed)) }
}

/// Writes how soon something comes: `in 12 s`, `now`.
pub fn until(at: Timestamp, now: Timestamp) -> String {
    let left = at.duration_since(now);
    if left < SignedDuration::from_secs(1) { "now".to_owned() } else { format!("in {}", span(left)) }
}

/// Writes when the next of something comes: `next try in 12 s`, `next try due`.
pub fn next(what: &str, at: Timestamp, now: Timestamp) -> String {
    let left = at.duration_since(now);
    if left < SignedDuration::from_secs(1) {
        format!("next {what} due")
    } else {
        format!("next {what} in {}", span(left))
    }
}

/// Writes a time of day, with its date unless that is today's: `10:02:11 UTC`.
pub fn time(at: Timestamp, now: Timestamp) -> String {
    let day = |t: Timestamp| t.as_second().div_euclid(DAY);
    let format = if day(at) == day(now) { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M:%S UTC" };
    at.strftime(format).to_string()
}

/// Writes a time and how long ago it was: `10:02:11 UTC (4 min ago)`.
pub fn time_ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", time(at, now), ago(at, now))
}

/// Writes since when something lasts, and how long that is: `10:02:11 UTC (4 min)`.
pub fn since(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", time(at, now), span(now.duration_since(at)))
}

/// Writes a size: `950 B`, `1.5 kB`, `3.2 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"kB");
    // 999.95 would be shown as 1000.0.
    while value >= 999.95 {
        let Some(next) = units.next() else { break };
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Joins words as a sentence does: `a`, `a and b`, `a, b and c`.
pub fn list<T: Display>(words: &[T]) -> String {
    match words {
        [] => String::new(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(T::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

/// Finds the name that was meant by one that is not known: a slip or two away.
pub fn meant<'a, T: AsRef<str>>(text: &str, known: &'a [T]) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(&text.to_lowercase(), known);
    known.iter().map(AsRef::as_ref).min_by_key(distance).filter(|known| distance(known) <= TYPO)
}

/// Reads a moment: an RFC 3339 time, a time in UTC as this program writes it (`2026-07-30 10:02:11 UTC`, and
/// `10:02:11`, the last one that has been), or how long ago it was (`2h`, `1d 12h`, `90 min`).
///
/// # Errors
/// When the text is none of them.
pub fn parse_moment(text: &str, now: Timestamp) -> Result<Timestamp, NotAMoment> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    if let Some(at) = parse_utc(text.strip_suffix("UTC").unwrap_or(text).trim_end(), now) {
        return Ok(at);
    }
    // An age may hold a clock, as `1d 07:30:00` does: a slip in a time must not become one.
    match text.as_bytes() {
        [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-', ..] => return Err(NotAMoment::NoSuchDay),
        [b'0'..=b'9', rest @ ..] if rest.contains(&b':') => return Err(NotAMoment::NoSuchTime),
        _ if text.contains(':') => return Err(NotAMoment::Unknown),
        _ => {}
    }
    let age: Span = text.parse().map_err(|_| NotAMoment::Unknown)?;
    let age = age.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| NotAMoment::Unknown)?;
    if age.is_negative() {
        return Err(NotAMoment::Unknown);
    }
    now.checked_sub(age).map_err(|_| NotAMoment::Unknown)
}

/// Says why nothing can have happened between two moments, where both are given or the first is still to come.
///
/// # Errors
/// In words that begin with the name of the one at fault.
pub fn check_interval(since: Option<Timestamp>, until: Option<Timestamp>, now: Timestamp) -> Result<(), String> {
    let Some(since) = since else { return Ok(()) };
    if since.duration_since(now) > SKEW {
        return Err(format!("since: {} is still to come", time(since, now)));
    }
    match until.filter(|until| *until <= since) {
        Some(until) => {
            let (since, until) = (time(since, now), time(until, now));
            Err(format!("until: {until} is not after {since} (since): nothing lies between them"))
        }
        None => Ok(()),
    }
}

/// Reads a date, a date with a time, or a time of today; of yesterday where it is still to come today.
fn parse_utc(text: &str, now: Timestamp) -> Option<Timestamp> {
    // An offset or a zone that is not understood must not be passed over, nor a leap second made of a slip.
    let is_plain = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | 'T' | ' '));
    if !is_plain || text.contains(":60") {
        return None;
    }
    let of_day = |time: Time| {
        let today = Offset::UTC.to_datetime(now).date();
        let at = today.to_datetime(time);
        match Offset::UTC.to_timestamp(at) {
            Ok(moment) if moment > now => today.yesterday().map(|yesterday| yesterday.to_datetime(time)),
            Ok(_) | Err(_) => Ok(at),
        }
    };
    let moment = if text.contains('-') {
        text.parse::<DateTime>()
    } else if text.contains(':') {
        text.parse().and_then(of_day)
    } else {
        return None;
    };
    Offset::UTC.to_timestamp(moment.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (65_536, "65,536"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!(counted(1, "event"), "1 event");
        assert_eq!(counted(2000, "event"), "2,000 events");
    }

    #[test]
    fn spans_show_what_matters() {
        let cases = [
            (-5_000, "0 ms"),
            (350, "350 ms"),
            (1_999, "1 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (3_599_000, "59 min"),
            (3_600_000, "1 h"),
            (12_000_000, "3 h 20 min"),
            (86_400_000, "24 h"),
            (172_800_000, "2 d"),
            (187_200_000, "2 d 4 h"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(SignedDuration::from_millis(ms)), text, "{ms}");
        }
    }

    #[test]
    fn times_name_their_day_unless_it_is_today() {
        let now = at("2026-07-30T10:06:11Z");
        assert_eq!(time_ago(at("2026-07-30T10:02:11Z"), now), "10:02:11 UTC (4 min ago)");
        assert_eq!(time_ago(at("2026-07-29T23:59:59Z"), now), "2026-07-29 23:59:59 UTC (10 h 6 min ago)");
        assert_eq!(ago(at("2026-07-30T10:06:12Z"), now), "just now");
        assert_eq!(until(at("2026-07-30T10:06:23Z"), now), "in 12 s");
        assert_eq!(until(at("2026-07-30T10:06:11Z"), now), "now");
        assert_eq!(next("try", at("2026-07-30T10:06:23Z"), now), "next try in 12 s");
        for due in ["2026-07-30T10:06:11Z", "2026-07-30T10:02:11Z"] {
            assert_eq!(next("probe", at(due), now), "next probe due");
        }
    }

    #[test]
    fn sizes_keep_one_decimal() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_999, "1.0 MB"), (3_200_000_000, "3.2 GB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn words_are_joined_as_in_a_sentence() {
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b"]), "a and b");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }

    #[test]
    fn name_that_was_meant_is_a_slip_or_two_away() {
        let known = ["crm", "audit"];
        for (text, name) in [("crmm", Some("crm")), ("Audti", Some("audit")), ("billing", None), ("", None)] {
            assert_eq!(meant(text, &known), name, "{text}");
        }
        assert_eq!(meant::<&str>("crm", &[]), None);
    }

    #[test]
    fn time_that_was_printed_can_be_typed() {
        let now = at("2026-07-30T10:06:11Z");
        for moment in ["2026-07-30T00:00:00Z", "2026-07-30T10:02:11Z", "2026-07-28T23:59:59Z"] {
            assert_eq!(parse_moment(&time(at(moment), now), now), Ok(at(moment)));
        }
    }

    #[test]
    fn moments_are_times_or_ages() {
        let now = at("2026-07-30T10:00:00Z");
        let cases = [
            ("2026-07-30T09:00:00Z", "2026-07-30T09:00:00Z"),
            ("2026-07-30T09:00:00+02:00", "2026-07-30T07:00:00Z"),
            ("2h", "2026-07-30T08:00:00Z"),
            ("90min", "2026-07-30T08:30:00Z"),
            ("1d 12h", "2026-07-28T22:00:00Z"),
            ("2026-07-30 09:59:58 UTC", "2026-07-30T09:59:58Z"),
            ("2026-07-29 22:15", "2026-07-29T22:15:00Z"),
            ("2026-07-29", "2026-07-29T00:00:00Z"),
            ("09:59:58 UTC", "2026-07-30T09:59:58Z"),
            ("09:30", "2026-07-30T09:30:00Z"),
            ("23:30", "2026-07-29T23:30:00Z"),
            ("10:00", "2026-07-30T10:00:00Z"),
        ];
        for (text, moment) in cases {
            assert_eq!(parse_moment(text, now), Ok(at(moment)), "{text}");
        }
        for text in
            ["", "yesterday", "2", "-2h", "2h ago", "1mo", "12", "20260730", "1h -5m", "P1DT07:30:00", "999999999d"]
        {
            assert_eq!(parse_moment(text, now), Err(NotAMoment::Unknown), "{text}");
        }
    }

    #[test]
    fn slip_in_a_time_is_no_age() {
        let now = at("2026-07-30T10:00:00Z");
        for text in [
            "07:30:99",
            "07:30:60",
            "24:00",
            "24:00:00",
            "24:61",
            "99:99:99",
            "00:90:00",
            "7:30",
            "1:30:00",
            "1d 07:30:00",
            "07:30 AM",
            "10:00Z",
            "10:00+02:00",
            "10:00:00,5",
        ] {
            assert_eq!(parse_moment(text, now), Err(NotAMoment::NoSuchTime), "{text}");
        }
        for text in [
            "2026-02-30",
            "2026-13-01",
            "2026-07-30 25:00",
            "2026-07-30 24:00",
            "2026-7-3",
            "2026-07-30 10:00 CET",
            "2026-07-30T10:00:00[Europe/Berlin]",
            "2026-W31-4",
        ] {
            assert_eq!(parse_moment(text, now), Err(NotAMoment::NoSuchDay), "{text}");
        }
    }

    #[test]
    fn interval_that_can_hold_nothing_is_refused_by_name() {
        let now = at("2026-07-30T10:00:00Z");
        let check = |since: &str, until: &str| {
            let read = |text: &str| (!text.is_empty()).then(|| parse_moment(text, now).expect("a moment"));
            check_interval(read(since), read(until), now)
        };
        for (since, until) in [("", ""), ("2h", ""), ("", "2099-01-01"), ("2h", "1h"), ("2h", "2099-01-01")] {
            assert_eq!(check(since, until), Ok(()), "{since} {until}");
        }
        assert_eq!(check("2026-07-30T23:30:00Z", ""), Err("since: 23:30:00 UTC is still to come".to_owned()));
        let empty = "until: 08:00:00 UTC is not after 09:00:00 UTC (since): nothing lies between them".to_owned();
        assert_eq!(check("1h", "2h"), Err(empty));
        assert!(check("1h", "1h").is_err());
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }
}
