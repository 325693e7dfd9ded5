//! ◆ Where traces are sent, and how many of them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use super::address;
use super::allow::AllowList;
use super::authorization::Header;
use crate::event::RequestId;

/// Says where traces are sent; `Debug` masks the query of the URL.
#[derive(Clone, PartialEq)]
pub struct Traces {
    /// Where the collector takes OTLP over HTTP.
    pub endpoint: Url,
    /// What requests to it carry, such as a key.
    pub headers: Vec<Header>,
    /// How many traces are sent (default: all).
    pub sample: Sample,
    /// Certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Where the collector may be: the list of `[egress]`.
    pub allow: AllowList,
}

impl Traces {
    /// Is where collectors take traces that are not told otherwise, by the specification of OTLP.
    pub const PATH: &str = "/v1/traces";
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces")
            .field("endpoint", &address::masked(&self.endpoint))
            .field("headers", &self.headers)
            .field("sample", &self.sample)
            .field("ca_file", &self.ca_file)
            .field("allow", &self.allow)
            .finish()
    }
}

/// Is a share of all traces. Whether a trace is in it follows from its id alone: every span of it, and every process,
/// says the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    percent: f64,
}

/// Says that a text is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a share such as `10%`, more than 0% and at most 100%")]
pub struct NotASample;

impl Sample {
    /// Is every trace.
    pub const ALL: Self = Self { percent: 100.0 };
    /// The bits of a trace id that chance alone decides, by W3C Trace Context: the last 56. The first ones of a UUID are
    /// partly fixed.
    const RANDOM: u32 = 56;

    /// Tells whether the trace of this event is in it.
    pub fn takes(self, id: RequestId) -> bool {
        let all = 1_u64 << Self::RANDOM;
        let random = id.uuid().as_u128() as u64 & (all - 1);
        (random as f64) < self.percent / 100.0 * all as f64
    }
}

impl FromStr for Sample {
    type Err = NotASample;

    fn from_str(text: &str) -> Result<Self, NotASample> {
        let number = text.strip_suffix('%').ok_or(NotASample)?;
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let percent = number.parse().ok().filter(|percent| plain && *percent > 0.0 && *percent <= 100.0);
        percent.map(|percent| Self { percent }).ok_or(NotASample)
    }
}

/// Shows the share as a configuration has it.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn share_reads_back_what_it_prints() {
        for text in ["100%", "10%", "0.1%"] {
            assert_eq!(text.parse::<Sample>().map(|sample| sample.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "10", "0%", "101%", "-1%", "inf%", "1e1%", "NaN%", "%"] {
            assert_eq!(text.parse::<Sample>(), Err(NotASample), "{text}");
        }
    }

    #[test]
    fn share_is_taken_of_real_ids_and_of_each_always_alike() {
        let ids: Vec<RequestId> = (0..20_000).map(|_| RequestId::new(Uuid::new_v4())).collect();
        let taken = |percent: &str| {
            let sample: Sample = percent.parse().expect("a share");
            ids.iter().filter(|id| sample.takes(**id)).count()
        };
        assert_eq!(taken("100%"), ids.len());
        // Eight standard deviations.
        assert!((1660..=2340).contains(&taken("10%")), "{}", taken("10%"));
        let (less, more): (Sample, Sample) = ("10%".parse().expect("a share"), "50%".parse().expect("a share"));
        assert!(ids.iter().all(|id| !less.takes(*id) || more.takes(*id)), "a larger share holds a smaller one");
    }
}
