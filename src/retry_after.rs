//! The `Retry-After` header in the three forms that are met in the field.
//!
//! Seconds and HTTP dates are standard (RFC 9110, 10.2.3); Zoom's own limits answer with an ISO-8601
//! instant, as its REST documentation shows.

use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// Reads the header: the instant before which the server does not want to be asked again.
///
/// The instant can lie in the past, or absurdly far ahead: whoever waits for it sets the cap.
pub(crate) fn parse(header: &str, now: Timestamp) -> Option<Timestamp> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = header.parse().unwrap_or(i64::MAX);
        return Some(now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX));
    }
    // A weekday that does not fit its date is no reason to ask again at once.
    let http_date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(header);
    let zoned = || header.parse::<Timestamp>();
    // An instant without an offset is meant to be UTC.
    let unzoned = || header.parse::<DateTime>().and_then(|civil| Offset::UTC.to_timestamp(civil));
    http_date.or_else(|_| zoned()).or_else(|_| unzoned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-07-29T23:48:54Z";

    #[test]
    fn every_form_names_its_instant() {
        let cases = [
            ("0", Some(NOW)),
            ("6", Some("2026-07-29T23:49:00Z")),
            (" 6 ", Some("2026-07-29T23:49:00Z")),
            ("Thu, 30 Jul 2026 00:00:00 GMT", Some("2026-07-30T00:00:00Z")),
            ("Mon, 30 Jul 2026 00:00:00 GMT", Some("2026-07-30T00:00:00Z")),
            ("2026-07-30T00:00:00Z", Some("2026-07-30T00:00:00Z")),
            ("2026-07-30T02:00:00+02:00", Some("2026-07-30T00:00:00Z")),
            ("2026-07-30T00:00:00.5Z", Some("2026-07-30T00:00:00.5Z")),
            ("2026-07-30T00:00:00", Some("2026-07-30T00:00:00Z")),
            ("", None),
            ("-5", None),
            ("soon", None),
            ("5 minutes", None),
        ];
        let instant = |text: &str| text.parse::<Timestamp>().expect("an instant");
        for (header, expected) in cases {
            assert_eq!(parse(header, instant(NOW)), expected.map(instant), "{header:?}");
        }
    }

    #[test]
    fn absurd_numbers_are_as_far_ahead_as_time_goes() {
        for header in ["9223372036854775807", "99999999999999999999999999"] {
            assert_eq!(parse(header, Timestamp::UNIX_EPOCH), Some(Timestamp::MAX), "{header}");
        }
    }
}
