//! What one run came to: figures by name.

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) const EVENTS: &str = "events_per_second";
pub(crate) const P50: &str = "p50_ms";
pub(crate) const P99: &str = "p99_ms";
/// Processor time of the bridge, of user and system, in seconds for 10 000 events.
pub(crate) const CPU: &str = "cpu_s_per_10k";
/// Resident memory in MB: once connected with nothing to do, at the moment of the connection, and at most.
pub(crate) const IDLE: &str = "idle_mb";
pub(crate) const AT_START: &str = "start_mb";
pub(crate) const PEAK: &str = "peak_mb";
/// Time from the start of the process to a socket that Zoom has accepted.
pub(crate) const START: &str = "start_ms";
/// Events a second at which a backlog goes out.
pub(crate) const CATCH_UP: &str = "catch_up_per_second";
/// Arrivals of a delivery that had come before.
pub(crate) const REPEATS: &str = "repeats";
/// Time to an answer of the admin port.
pub(crate) const DEAD_LIST: &str = "dead_list_ms";
pub(crate) const DEAD_GROUPS: &str = "dead_groups_ms";
pub(crate) const STATUS: &str = "status_ms";
pub(crate) const METRICS: &str = "metrics_ms";

/// Is what one run came to.
#[derive(Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Figures(BTreeMap<&'static str, f64>);

impl Figures {
    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        self.0.insert(name, value);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Returns the median of each figure.
    pub(crate) fn median(runs: &[Self]) -> Self {
        let names = runs.iter().flat_map(|run| run.0.keys()).copied();
        Self(names.filter_map(|name| Some((name, median(runs.iter().filter_map(|run| run.get(name)))?))).collect())
    }

    /// Writes them in one line.
    pub(crate) fn line(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name} {value:.3}")).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the value in the middle; of an even number, the mean of both.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) { (values[middle - 1] + upper) / 2.0 } else { upper })
}
