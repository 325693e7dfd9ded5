//! When certificates expire: a value that is not on the page before it is known.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
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
    /// Zoom, where the tokens of a subscription come from.
    SocketToken(String),
    /// The handler of a destination.
    Handler(String),
    /// The endpoint that a destination has its tokens from.
    HandlerToken(String),
    /// The collector of traces.
    Collector,
    /// Nobody yet: it stands in a file that this side uses.
    File {
        /// `admin`, `zoom`, `destinations` or `traces`.
        side: &'static str,
        /// The file, as the configuration names it.
        file: String,
    },
}

impl Certificate {
    /// Returns the side that has to do with it, and the name and value of the label that says whose it is.
    pub(crate) fn labels(&self) -> (&'static str, Option<(&'static str, &str)>) {
        match self {
            Self::Admin => ("admin", None),
            Self::Socket(name) => ("socket", Some(("subscription", name))),
            Self::SocketToken(name) => ("token", Some(("subscription", name))),
            Self::Handler(name) => ("handler", Some(("destination", name))),
            Self::HandlerToken(name) => ("token", Some(("destination", name))),
            Self::Collector => ("collector", None),
            Self::File { side, file } => (side, Some(("file", file))),
        }
    }
}

impl EncodeLabelSet for Certificate {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let (side, owner) = self.labels();
        ("side", side).encode(encoder.encode_label())?;
        owner.map_or(Ok(()), |owner| owner.encode(encoder.encode_label()))
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("the certificate of the admin port"),
            Self::Socket(name) => write!(f, "the certificate that subscription {name} is shown at its socket"),
            Self::SocketToken(name) => write!(f, "the certificate that subscription {name} is shown at its token_url"),
            Self::Handler(name) => write!(f, "the certificate that the handler of destination {name} shows"),
            Self::HandlerToken(name) => write!(f, "the certificate that destination {name} is shown at its token_url"),
            Self::Collector => f.write_str("the certificate that the collector of traces shows"),
            Self::File { file, .. } => write!(f, "a certificate in {file}"),
        }
    }
}

/// Holds when a certificate expires, in seconds since 1970, once one was seen; clones share it.
#[derive(Clone, Debug)]
pub struct Expiry(Arc<ArcSwap<AtomicI64>>);

impl Expiry {
    /// Takes note of the certificate that is in use now.
    pub fn set(&self, at: Timestamp) {
        self.0.load().store(at.as_second(), Ordering::Relaxed);
    }

    /// Returns when it expires, if one was seen.
    pub(crate) fn get(&self) -> Option<Timestamp> {
        let seconds = Some(self.seconds()).filter(|seconds| *seconds != NOT_SEEN)?;
        Timestamp::from_second(seconds).ok()
    }

    /// Shows from now on what `other` shows: those who share a connection share its certificate.
    pub(crate) fn follow(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// Shows nothing until another certificate is seen.
    pub(crate) fn forget(&self) {
        self.follow(&Self::default());
    }

    fn seconds(&self) -> i64 {
        self.0.load().load(Ordering::Relaxed)
    }
}

impl Default for Expiry {
    fn default() -> Self {
        Self(Arc::new(ArcSwap::from_pointee(AtomicI64::new(NOT_SEEN))))
    }
}

impl TypedMetric for Expiry {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Expiry {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.seconds() {
            NOT_SEEN => Ok(()),
            seconds => encoder.encode_gauge(&seconds),
        }
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_share_a_connection_show_its_certificate_and_forget_it_alone() {
        let (first, second, shared) = (Expiry::default(), Expiry::default(), Expiry::default());
        first.follow(&shared);
        second.follow(&shared);
        assert_eq!((first.get(), second.get()), (None, None));
        shared.clone().set(Timestamp::UNIX_EPOCH);
        assert_eq!((first.get(), second.get()), (Some(Timestamp::UNIX_EPOCH), Some(Timestamp::UNIX_EPOCH)));
        first.forget();
        assert_eq!((first.get(), second.get()), (None, Some(Timestamp::UNIX_EPOCH)));
    }
}
