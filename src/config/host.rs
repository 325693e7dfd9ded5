//! Patterns of hosts: names, what is below a name, and networks.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use url::Host;

/// Stands for every host.
const ANY: &str = "*";

/// Is a pattern of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// This name.
    Name(Box<str>),
    /// The names below this one.
    Below(Box<str>),
    /// The addresses of this network; one address is a network, too.
    Network(IpNet),
}

impl HostPattern {
    /// Reads a pattern: `crm.internal`, `*.internal`, `10.0.0.0/8`, `10.1.2.3` or `*`.
    pub fn new(text: &str) -> Option<Self> {
        if text == ANY {
            return Some(Self::Any);
        }
        if let Some(network) = network(text) {
            return Some(Self::Network(network));
        }
        match text.strip_prefix("*.") {
            Some(parent) => name(parent).map(Self::Below),
            None => name(text).map(Self::Name),
        }
    }

    /// Tells whether a host of this name is meant; the name of an address is no name.
    pub fn has_name(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.');
        match self {
            Self::Any => true,
            Self::Name(known) => name.eq_ignore_ascii_case(known),
            Self::Below(parent) => is_below(name, parent),
            Self::Network(_) => false,
        }
    }

    /// Tells whether a host at this address is meant.
    pub fn has_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Network(network) => network.contains(&address.to_canonical()),
            Self::Name(_) | Self::Below(_) => false,
        }
    }

    /// Tells whether the host of a URL is meant.
    pub(crate) fn has_host(&self, host: &Host<&str>) -> bool {
        match host {
            Host::Domain(name) => self.has_name(name),
            Host::Ipv4(address) => self.has_address((*address).into()),
            Host::Ipv6(address) => self.has_address((*address).into()),
        }
    }
}

/// Writes the pattern as it is read.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str(ANY),
            Self::Name(name) => f.write_str(name),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => network.addr().fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

fn network(text: &str) -> Option<IpNet> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(address.to_canonical().into()),
        Err(_) => text.parse().ok(),
    }
}

fn name(text: &str) -> Option<Box<str>> {
    let text = text.trim_end_matches('.');
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_name = text.split('.').all(|label| !label.is_empty() && label.chars().all(legal));
    // A last label of digits is a mistyped address: no name ends so (RFC 3696, section 2).
    let is_address = text.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    (is_name && !is_address).then(|| text.to_ascii_lowercase().into())
}

fn is_below(name: &str, parent: &str) -> bool {
    let Some(at) = name.len().checked_sub(parent.len()) else { return false };
    name.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(parent)) && name[..at].ends_with('.') && at > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::new(text).expect(text)
    }

    #[test]
    fn names_are_met_whole_and_by_what_is_below() {
        assert!(pattern("crm.internal").has_name("CRM.internal."));
        assert!(!pattern("crm.internal").has_name("a.crm.internal"));
        for (name, met) in [("a.internal", true), ("b.A.INTERNAL", true), ("internal", false), ("evilinternal", false)]
        {
            assert_eq!(pattern("*.internal").has_name(name), met, "{name}");
        }
        assert!(!pattern("*.internal").has_name(".internal"));
        assert!(pattern("*").has_name("anything"));
    }

    #[test]
    fn networks_are_met_by_addresses_in_every_form() {
        let address = |text: &str| text.parse::<IpAddr>().expect(text);
        assert!(pattern("10.0.0.0/8").has_address(address("10.200.0.1")));
        assert!(pattern("10.0.0.0/8").has_address(address("::ffff:10.200.0.1")));
        assert!(!pattern("10.0.0.0/8").has_address(address("11.0.0.1")));
        assert!(pattern("fd00::/8").has_address(address("fd12::1")));
        assert!(pattern("10.1.2.3").has_address(address("10.1.2.3")));
        assert!(!pattern("10.0.0.0/8").has_name("10.0.0.1"), "an address is no name");
    }

    #[test]
    fn patterns_are_written_as_they_are_read() {
        for text in ["*", "crm.internal", "*.internal", "10.0.0.0/8", "10.1.2.3", "fd00::/8", "::1"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "*crm", "a.*.b", "10.0.0.0/33", "10.0.0.256", "https://crm", "crm:443", "a b", "a..b", "*."] {
            assert_eq!(HostPattern::new(text), None, "{text}");
        }
    }
}
