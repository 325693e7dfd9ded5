//! Stands in for the exporter of traces in a build without the feature `otel`, whose configuration asks for none.

use std::convert::Infallible;
use std::future::Ready;

use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::config::traces::Traces;

/// Is an exporter that there is none of.
pub(crate) enum Exporter {}

impl Exporter {
    /// Makes none.
    pub(crate) fn connect(_traces: Option<&Traces>, _metrics: &Metrics) -> Result<Option<Self>, Infallible> {
        Ok(None)
    }

    /// Cannot be asked.
    pub(crate) fn run(self, _stop: CancellationToken) -> Ready<()> {
        match self {}
    }
}
