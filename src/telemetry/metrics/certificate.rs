//! When certificates expire: a value that is not on the page before it is known.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Stands for a certificate that has not been seen.
const NOT_SEEN: i64 = i64::MIN;

/// Says who shows a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Certificate {
    /// The admin port.
    Admin,
    /// Zoom, at the socket of a subscription.
    Socket(String),
    /// The handler of a destination.
    Handler(String),
    /// Nobody yet: it stands in a file that this side uses.
    File {
        /// `admin`, `zoom`, `destinations` or `traces`.
        side: &'static str,
        /// The file, as the configuration names it.
        file: String,
    },
}

impl EncodeLabelSet for Certificate {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let (side, owner) = match self {
            Self::Admin => ("admin", None),
            Self::Socket(name) => ("socket", Some(("subscription", name.as_str()))),
            Self::Handler(name) => ("handler", Some(("destination", name.as_str()))),
            Self::File { side, file } => (*side, Some(("file", file.as_str()))),
        };
        ("side", side).encode(encoder.encode_label())?;
        owner.map_or(Ok(()), |owner| owner.encode(encoder.encode_label()))
    }
}

/// Holds when a certificate expires, once one was seen; clones share it.
#[derive(Clone, Debug)]
pub struct Expiry(Arc<AtomicI64>);

impl Expiry {
    /// Takes note of the certificate that is in use now.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.as_second(), Ordering::Relaxed);
    }

    /// Returns when it expires, in seconds since 1970, if one was seen.
    #[cfg(test)]
    pub(crate) fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != NOT_SEEN)
    }
}

impl Default for Expiry {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(NOT_SEEN)))
    }
}

impl TypedMetric for Expiry {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Expiry {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.0.load(Ordering::Relaxed) {
            NOT_SEEN => Ok(()),
            seconds => encoder.encode_gauge(&seconds),
        }
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
