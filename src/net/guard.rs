//! The addresses of a name, looked at each time that a connection is made: one that is pointed elsewhere later leads
//! nowhere.

use std::error::Error;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::config::allow::{AllowList, Forbidden};
use crate::config::proxy::Outbound;
use crate::net;

/// Resolves the names of one client, and passes on the addresses that are allowed.
#[derive(Clone)]
pub(crate) struct Guard {
    /// `None` where names need no pattern and no look, as those of Zoom's side.
    allow: Option<AllowList>,
    /// The proxy, whose name needs no pattern.
    proxy: Option<Box<str>>,
}

impl Guard {
    pub(crate) fn new(allow: &AllowList, outbound: &Outbound) -> Self {
        Self { allow: Some(allow.clone()), proxy: outbound.proxy().map(|proxy| proxy.host.clone()) }
    }

    /// Passes on whatever a name leads to.
    pub(crate) fn open() -> Self {
        Self { allow: None, proxy: None }
    }

    fn sift(&self, name: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
        let Some(allow) = &self.allow else { return Ok(addresses) };
        let any = AllowList::default();
        let allow = if self.proxy.as_deref() == Some(name) { &any } else { allow };
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

    fn guard() -> Guard {
        let patterns = Some(vec![HostPattern::new("10.0.0.0/8").expect("a network")]);
        Guard { proxy: Some("proxy.example".into()), ..Guard::new(&AllowList { patterns }, &Outbound::DIRECT) }
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
        assert!(Guard::open().sift("zoom.example", addresses(&["169.254.1.1"])).is_ok());
    }
}
