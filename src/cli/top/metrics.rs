//! ◆ What `top` reads of the metrics page.

use std::collections::BTreeMap;

/// Holds the counts of one destination since the bridge started.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attempts {
    /// Attempts that a handler accepted.
    pub(super) delivered: u64,
    /// Attempts that failed, whatever comes of the event.
    pub(super) failed: u64,
    /// Attempts by how long they took: the upper bound in microseconds, and how many took no longer.
    pub(super) times: BTreeMap<u64, u64>,
}

/// Reads the attempts of every destination.
pub(super) fn attempts(page: &str) -> BTreeMap<String, Attempts> {
    let mut all: BTreeMap<String, Attempts> = BTreeMap::new();
    for line in page.lines() {
        let Some((name, labels, value)) = parts(line) else { continue };
        let Some(destination) = label(labels, "destination") else { continue };
        match name {
            "zoomhook_attempts_total" => {
                let counts = all.entry(destination.to_owned()).or_default();
                let delivered = label(labels, "outcome") == Some("delivered");
                *(if delivered { &mut counts.delivered } else { &mut counts.failed }) += value;
            }
            "zoomhook_attempt_seconds_bucket" => {
                let bound = match label(labels, "le") {
                    Some("+Inf") => Some(u64::MAX),
                    Some(bound) => bound.parse::<f64>().ok().map(|seconds| (seconds * 1e6).round() as u64),
                    None => None,
                };
                let counts = all.entry(destination.to_owned()).or_default();
                if let Some(bound) = bound {
                    *counts.times.entry(bound).or_default() += value;
                }
            }
            _ => {}
        }
    }
    all
}

/// Takes a line apart: name, labels, value.
fn parts(line: &str) -> Option<(&str, &str, u64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, rest) = rest.split_once("} ")?;
    let value: f64 = rest.split(' ').next()?.parse().ok()?;
    Some((name, labels, value as u64))
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

impl Attempts {
    /// Tells in seconds how long so many of a hundred attempts took at most since an earlier moment, as far as the
    /// buckets tell; what is beyond the last bound counts as long as that.
    pub(super) fn quantile(&self, earlier: &Self, hundredths: u64) -> Option<f64> {
        let since = |(bound, count): (&u64, &u64)| (*bound, count - earlier.times.get(bound).copied().unwrap_or(0));
        let buckets: Vec<(u64, u64)> = self.times.iter().map(since).collect();
        let (_, all) = *buckets.last().filter(|(_, all)| *all > 0)?;
        let rank = all as f64 * hundredths as f64 / 100.0;
        let (mut below, mut before) = (0, 0);
        for (bound, count) in buckets {
            if count as f64 >= rank && bound < u64::MAX {
                // Within a bucket they are taken to be spread evenly.
                let share = (rank - before as f64) / (count - before).max(1) as f64;
                return Some((below as f64 + share * (bound - below) as f64) / 1e6);
            }
            if bound < u64::MAX {
                (below, before) = (bound, count);
            }
        }
        Some(below as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{ByDestination, ByDestinationOutcome, Metrics};

    #[test]
    fn page_of_this_version_is_understood() {
        let metrics = Metrics::new();
        let destination = || "crm".to_owned();
        for (outcome, count) in [("delivered", 7), ("retry", 2), ("refused", 1)] {
            let label = ByDestinationOutcome { destination: destination(), outcome };
            metrics.attempts.get_or_create(&label).inc_by(count);
        }
        let times = metrics.attempt_seconds.get_or_create(&ByDestination { destination: destination() }).clone();
        (0..100).for_each(|_| times.observe(0.004));
        let all = attempts(&metrics.render().expect("a page"));
        let crm = &all["crm"];
        assert_eq!((all.len(), crm.delivered, crm.failed), (1, 7, 3));
        assert_eq!(crm.times[&u64::MAX], 100);
        let median = crm.quantile(&Attempts::default(), 50).expect("a time");
        assert!((0.0025..=0.005).contains(&median), "{median}");
    }

    #[test]
    fn quantiles_are_of_what_happened_since() {
        let of = |times: &[(u64, u64)]| Attempts { times: times.iter().copied().collect(), ..Attempts::default() };
        let earlier = of(&[(1_000, 50), (10_000, 50), (u64::MAX, 50)]);
        let later = of(&[(1_000, 50), (10_000, 150), (u64::MAX, 152)]);
        let quantile = |hundredths| later.quantile(&earlier, hundredths);
        assert_eq!(quantile(50), Some((1_000.0 + 0.51 * 9_000.0) / 1e6));
        assert_eq!(quantile(99), Some(0.01), "beyond the last bound");
        assert_eq!(earlier.quantile(&earlier, 50), None, "nothing happened");
        assert_eq!(Attempts::default().quantile(&Attempts::default(), 50), None);
    }

    #[test]
    fn lines_of_other_kinds_are_passed_over() {
        assert_eq!(
            attempts("# TYPE a counter\na 1\nb{x=\"y\"} z\nzoomhook_attempts_total{le=\"1\"} 1\n# EOF\n").len(),
            0
        );
    }
}
