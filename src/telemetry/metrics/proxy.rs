//! Failures of proxies: whose connections came to nothing, and why.

use std::fmt;

use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};

use crate::net::proxy::ProxyFault;

/// Labels what a proxy failed at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ByProxyFailure {
    /// Whose connection it was.
    pub owner: ProxyUser,
    /// Why.
    pub fault: ProxyFault,
}

/// Says whose connections go through a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProxyUser {
    /// A subscription's, for its socket and its tokens.
    Subscription(String),
    /// A destination's.
    Destination(String),
}

impl EncodeLabelSet for ByProxyFailure {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let owner = match &self.owner {
            ProxyUser::Subscription(name) => ("subscription", name.as_str()),
            ProxyUser::Destination(name) => ("destination", name.as_str()),
        };
        owner.encode(encoder.encode_label())?;
        ("reason", self.fault.label()).encode(encoder.encode_label())
    }
}
