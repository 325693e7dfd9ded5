//! The addresses of a handler, looked at each time that a connection is made: a name that is pointed elsewhere later
//! leads nowhere.

use std::error::Error;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::config::Destination;
use crate::config::allow::{AllowList, Forbidden};
use crate::net;

/// Resolves the names of one destination, and passes on the addresses that are allowed.
#[derive(Clone)]
pub(super) struct Guard {
    allow: AllowList,
    /// The proxy, whose name is no destination's.
    proxy: Option<Box<str>>,
}

impl Guard {
    pub(super) fn new(destination: &Destination) -> Self {
        let proxy = destination.outbound.proxy().map(|proxy| proxy.host.clone());
        Self { allow: destination.allow.clone(), proxy }
    }

    fn sift(&self, name: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
        let any = AllowList::default();
        let allow = if self.proxy.as_deref() == Some(name) { &any } else { &self.allow };
        allow.sift(name, addresses)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            // The port is that of the URL.
            let addresses = net::resolve(name.as_str(), 0).await?;
            let allowed = guard.sift(name.as_str(), addresses)?;
            Ok::<Addrs, Box<dyn Error + Send + Sync>>(Box::new(allowed.into_iter()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::host::HostPattern;
    use crate::config::secret::Secret;

    fn guard() -> Guard {
        let url = "https://crm.example/".parse().expect("a URL");
        let patterns = Some(vec![HostPattern::new("10.0.0.0/8").expect("a network")]);
        let allow = AllowList { patterns };
        let destination = Destination { allow, ..Destination::new("crm", url, Secret::new("canary")) };
        Guard { proxy: Some("proxy.example".into()), ..Guard::new(&destination) }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 0)).collect()
    }

    #[test]
    fn allowed_addresses_are_passed_on_and_the_others_are_not() {
        let mixed = addresses(&["8.8.8.8", "10.0.0.1", "169.254.169.254", "10.0.0.2"]);
        assert_eq!(guard().sift("crm.example", mixed), Ok(addresses(&["10.0.0.1", "10.0.0.2"])));
        assert_eq!(
            guard().sift("crm.example", Vec::new()),
            Ok(Vec::new()),
            "a name without addresses is another thing"
        );
    }

    #[test]
    fn name_that_is_pointed_elsewhere_later_leads_nowhere() {
        let guard = guard();
        assert!(guard.sift("crm.example", addresses(&["10.0.0.1"])).is_ok());
        for later in ["8.8.8.8", "127.0.0.1", "169.254.169.254", "::ffff:169.254.169.254"] {
            assert!(guard.sift("crm.example", addresses(&[later])).is_err(), "{later}");
        }
    }

    #[test]
    fn proxy_needs_no_pattern_and_is_at_no_special_address() {
        assert!(guard().sift("proxy.example", addresses(&["192.168.1.1"])).is_ok());
        assert!(guard().sift("proxy.example", addresses(&["169.254.169.254"])).is_err());
    }
}
