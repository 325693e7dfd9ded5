//! ◆ How much a destination is sent, and until when: rates and times to live.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::filter::Pattern;

/// Units of a rate: what is written, and how long it is.
const UNITS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("m", Duration::from_secs(60)), ("h", Duration::from_secs(3600))];
/// The default of a burst is what so much time allows: more than a timer is late, less than a handler feels.
const BURST: Duration = Duration::from_millis(100);
/// More attempts, in a unit of time or at once, are no limit.
const MOST: u32 = 1_000_000;

/// Is the most attempts that a destination is sent: so many in each unit of time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    unit: (&'static str, Duration),
    burst: u32,
}

/// Says that a text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a rate such as `50/s`, `600/m` or `50/s burst 100`")]
pub struct NotARate;

impl Rate {
    /// Returns the time between two attempts that go on for ever, never too short by a part of a nanosecond.
    pub fn interval(self) -> Duration {
        let nanos = self.unit.1.as_nanos().div_ceil(u128::from(self.count));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns how many attempts may start at once after a time of rest; at least one.
    pub fn burst(self) -> u32 {
        self.burst
    }
}

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| digits && (1..=MOST).contains(number)).ok_or(NotARate)
        };
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(number(burst)?)),
            None => (text, None),
        };
        let (count, unit) = rate.split_once('/').ok_or(NotARate)?;
        let unit = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(NotARate)?;
        let mut rate = Self { count: number(count)?, unit, burst: 1 };
        let default = BURST.as_nanos() / rate.interval().as_nanos();
        rate.burst = burst.unwrap_or(u32::try_from(default).unwrap_or(MOST).max(1));
        Ok(rate)
    }
}

/// Shows the rate as a configuration has it, its burst spelled out.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} burst {}", self.count, self.unit.0, self.burst)
    }
}

/// Says how old an event may be when it is attempted, by its type. The default limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ttl {
    /// The most specific first. A handful: a walk over them is cheaper than a look into a map.
    rules: Vec<(Pattern, Duration)>,
}

impl Ttl {
    /// Takes the rules in any order: of those that fit an event the most specific holds, which is its whole name, else
    /// the longest prefix, else `*`.
    pub fn new(mut rules: Vec<(Pattern, Duration)>) -> Self {
        let breadth = |pattern: &Pattern| match pattern {
            Pattern::Exact(_) => (0, 0),
            Pattern::Prefix(prefix) => (1, usize::MAX - prefix.len()),
            Pattern::All => (2, 0),
        };
        rules.sort_by_key(|(pattern, _)| breadth(pattern));
        Self { rules }
    }

    /// Returns how old an event of this type may be; `None` means any age.
    pub fn of(&self, kind: &str) -> Option<Duration> {
        self.rules.iter().find(|(pattern, _)| pattern.matches(kind)).map(|(_, ttl)| *ttl)
    }

    /// Returns the rules, the most specific first.
    pub fn rules(&self) -> &[(Pattern, Duration)] {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read_as_written() {
        for (text, interval, burst) in [
            ("50/s", Duration::from_millis(20), 5),
            ("600/m", Duration::from_millis(100), 1),
            ("1/h", Duration::from_secs(3600), 1),
            ("1000/s burst 1", Duration::from_millis(1), 1),
            ("50/s burst 100", Duration::from_millis(20), 100),
            ("3/s", Duration::from_nanos(333_333_334), 1),
        ] {
            let rate: Rate = text.parse().expect("a rate");
            assert_eq!((rate.interval(), rate.burst()), (interval, burst), "{text}");
        }
        for text in [
            "",
            "50",
            "/s",
            "0/s",
            "50/d",
            "50/",
            "-1/s",
            "+1/s",
            "50/s burst",
            "50/s burst 0",
            "50/s  burst 1",
            "1.5/s",
            "50 / s",
            "50/s burst 1 burst 1",
            "1000001/s",
            "1/s burst 1000001",
            "99999999999/s",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(NotARate), "{text}");
        }
    }

    #[test]
    fn most_specific_pattern_says_how_long_an_event_lives() {
        let patterns = ["*", "meeting.*", "meeting.participant_*", "meeting.started", "m*"];
        let rules: Vec<(Pattern, Duration)> = (1..)
            .zip(patterns)
            .map(|(seconds, text)| (text.parse().expect("a pattern"), Duration::from_secs(seconds)))
            .collect();
        let reversed = rules.iter().rev().cloned().collect();
        for ttl in [Ttl::new(rules), Ttl::new(reversed)] {
            let seconds = |kind| ttl.of(kind).map(|ttl| ttl.as_secs());
            assert_eq!(seconds("meeting.started"), Some(4));
            assert_eq!(seconds("meeting.participant_joined"), Some(3));
            assert_eq!(seconds("meeting.ended"), Some(2));
            assert_eq!(seconds("message.sent"), Some(5));
            assert_eq!(seconds(""), Some(1));
        }
        assert_eq!(Ttl::default().of("meeting.started"), None);
    }

    proptest! {
        #[test]
        fn printed_rates_read_back(count in 1..=MOST, unit in 0..3_usize, burst in 1..=MOST) {
            let rate = Rate { count, unit: UNITS[unit], burst };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }
}
