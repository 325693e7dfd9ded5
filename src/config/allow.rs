//! Where destinations may be: a list of hosts and networks, and addresses that nobody delivers to by chance.
//!
//! A name is checked with each address that it has when a connection is made, so that it cannot be pointed elsewhere
//! after the check. Private addresses are where handlers are. Link-local ones, and those at which clouds hand out
//! credentials, have to be listed one by one, or by a network that holds nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use super::host::HostPattern;
use super::proxy::{Outbound, ProxyProtocol};

/// Networks of a link, and addresses at which clouds describe their machines: of AWS (link-local, and by IPv6), Google
/// (by IPv6), Alibaba, Azure and Oracle, as their documentation has them.
const SPECIAL: [IpNet; 7] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 200), 32)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(168, 63, 129, 16), 32)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 192), 32)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128)),
];

/// Says where destinations may be; by default everywhere but at special addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    /// The hosts and networks; `None` where no list is given.
    pub patterns: Option<Vec<HostPattern>>,
}

/// Says why a connection must not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Neither the name nor the address is on the list.
    #[error("{0} is not in egress.allow")]
    NotListed(String),
    /// It is an address that has to be listed by itself.
    #[error("{0} is a link-local address or one of a cloud's metadata: list it in egress.allow if it is meant")]
    Special(String),
}

impl AllowList {
    /// Tells whether a host may be connected to at this address.
    ///
    /// # Errors
    /// When it may not.
    pub fn judge(&self, host: &str, address: IpAddr) -> Result<(), Forbidden> {
        let named = if host.parse::<IpAddr>().is_ok() { address.to_string() } else { format!("{host} ({address})") };
        let meant = meant(address);
        if let Some(special) = SPECIAL.iter().find(|special| meant.iter().any(|address| special.contains(address)))
            && !self.lists_itself(special, &meant)
        {
            return Err(Forbidden::Special(named));
        }
        let Some(patterns) = &self.patterns else { return Ok(()) };
        let listed = patterns.iter().any(|pattern| pattern.has_name(host) || pattern.has_address(address));
        if listed { Ok(()) } else { Err(Forbidden::NotListed(named)) }
    }

    /// Passes on the addresses of a host that it may be connected to at.
    ///
    /// # Errors
    /// When it has addresses, and none may be connected to.
    pub(crate) fn sift(&self, host: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
        let (mut allowed, mut forbidden) = (Vec::new(), None);
        for address in addresses {
            match self.judge(host, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(reason) => forbidden = Some(reason),
            }
        }
        match forbidden {
            Some(reason) if allowed.is_empty() => Err(reason),
            Some(_) | None => Ok(allowed),
        }
    }

    /// Tells what is known of a URL before any name is resolved: whether its address, where it holds one, may be
    /// connected to, and whether its name may be given to a proxy that resolves names.
    ///
    /// # Errors
    /// When it may not, or when no address that its name could have would be allowed.
    pub fn judge_url(&self, url: &Url, outbound: &Outbound) -> Result<(), Forbidden> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.judge(&address.to_string(), address.into()),
            Some(Host::Ipv6(address)) => self.judge(&address.to_string(), address.into()),
            Some(Host::Domain(name)) => {
                let Some(patterns) = &self.patterns else { return Ok(()) };
                let resolved_here = outbound.proxy_for(url).is_none_or(|proxy| proxy.protocol == ProxyProtocol::Socks5);
                let by_address = resolved_here && patterns.iter().any(|it| matches!(it, HostPattern::Network(_)));
                let allowed = by_address || patterns.iter().any(|pattern| pattern.has_name(name));
                if allowed { Ok(()) } else { Err(Forbidden::NotListed(name.to_owned())) }
            }
            None => Ok(()),
        }
    }

    /// Tells whether a special address is listed by a network that holds nothing but such.
    fn lists_itself(&self, special: &IpNet, meant: &[IpAddr]) -> bool {
        self.patterns.iter().flatten().any(|pattern| match pattern {
            HostPattern::Network(network) => {
                special.contains(network) && meant.iter().any(|address| network.contains(address))
            }
            HostPattern::Any | HostPattern::Name(_) | HostPattern::Below(_) => false,
        })
    }
}

/// Returns an address and, where it stands for an IPv4 address, that one: mapped (RFC 4291), by NAT64 (RFC 6052, 8215),
/// or by 6to4 (RFC 3056).
fn meant(address: IpAddr) -> Vec<IpAddr> {
    let address = address.to_canonical();
    let IpAddr::V6(v6) = address else { return vec![address] };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let inside = match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] | [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, _, _, _] => Some((g, h)),
        [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    let v4 = inside.map(|(high, low)| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into());
    std::iter::once(address).chain(v4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::proxy::{Proxy, Userinfo, Way};

    fn list(patterns: &[&str]) -> AllowList {
        AllowList { patterns: Some(patterns.iter().map(|text| HostPattern::new(text).expect(text)).collect()) }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    const SPECIAL_ADDRESSES: [&str; 13] = [
        "169.254.169.254",
        "169.254.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "fe80::1",
        "febf::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ];

    #[test]
    fn special_addresses_are_refused_whatever_name_leads_there() {
        for text in SPECIAL_ADDRESSES {
            for allow in [AllowList::default(), list(&["*"]), list(&["crm.internal"]), list(&["0.0.0.0/0", "::/0"])] {
                let refused = allow.judge("crm.internal", address(text));
                assert!(matches!(refused, Err(Forbidden::Special(_))), "{text}: {refused:?}");
            }
        }
    }

    #[test]
    fn special_addresses_are_allowed_where_they_are_listed_by_themselves() {
        let networks =
            ["169.254.0.0/16", "100.100.100.200", "168.63.129.16", "fe80::/10", "fd00:ec2::/32", "64:ff9b::/96"];
        let allow = list(&[&networks[..5], &["::/0"]].concat());
        for text in SPECIAL_ADDRESSES {
            assert_eq!(allow.judge("crm.internal", address(text)), Ok(()), "{text}");
        }
        assert!(list(&["169.254.1.0/24"]).judge("a", address("169.254.169.254")).is_err());
    }

    #[test]
    fn private_addresses_are_the_normal_case() {
        for text in ["10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "::1", "fd12::1", "100.64.0.1", "8.8.8.8"] {
            assert_eq!(AllowList::default().judge("crm.internal", address(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn list_is_met_by_name_or_by_address() {
        let allow = list(&["*.internal", "10.0.0.0/8"]);
        assert_eq!(allow.judge("crm.internal", address("8.8.8.8")), Ok(()));
        assert_eq!(allow.judge("crm.example", address("10.1.2.3")), Ok(()));
        assert_eq!(allow.judge("crm.example", address("::ffff:10.1.2.3")), Ok(()));
        let refused = allow.judge("crm.example", address("8.8.8.8")).expect_err("neither");
        assert_eq!(refused.to_string(), "crm.example (8.8.8.8) is not in egress.allow");
    }

    #[test]
    fn name_that_a_proxy_resolves_must_be_listed_by_name() {
        let allow = list(&["*.internal", "10.0.0.0/8"]);
        let url: Url = "https://crm.example/".parse().expect("a URL");
        let through = |proxy: &str| {
            let way = Way::Proxy(Proxy::new(proxy, Userinfo::Refused).expect("a proxy"));
            allow.judge_url(&url, &Outbound { way, no_proxy: Vec::new() })
        };
        assert_eq!(allow.judge_url(&url, &Outbound::DIRECT), Ok(()), "its address decides");
        assert_eq!(through("socks5://proxy:1080"), Ok(()), "it is resolved here");
        for proxy in ["http://proxy:3128", "socks5h://proxy:1080"] {
            assert!(through(proxy).is_err(), "{proxy}");
        }
        assert!(list(&["*.internal"]).judge_url(&url, &Outbound::DIRECT).is_err(), "no address of it could be allowed");
    }
}
