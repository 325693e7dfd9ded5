//! The addresses of a name, looked at each time that a connection is made: one that is pointed elsewhere later leads
//! nowhere.

use std::error::Error;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::config::allow::{AllowList, Forbidden};
use crate::net;

/// Resolves the names of one client, and passes on the addresses that are allowed.
#[derive(Clone)]
pub(crate) struct Guard {
    allow: Option<AllowList>,
}

impl Guard {
    /// Passes on what a list allows, or, without one, whatever a name leads to, as for those of Zoom's side.
    pub(crate) fn new(allow: Option<AllowList>) -> Self {
        Self { allow }
    }

    fn sift(&self, name: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
        match &self.allow {
            Some(allow) => allow.sift(name, addresses),
            None => Ok(addresses),
        }
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
        Guard::new(Some(AllowList { patterns }))
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
    fn without_a_list_every_address_is_passed_on() {
        assert!(Guard::new(None).sift("zoom.example", addresses(&["169.254.1.1"])).is_ok());
    }
}
