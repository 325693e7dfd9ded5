//! Whom a configuration talks to: what a firewall must let out.

use std::collections::BTreeMap;

use serde::Serialize;
use url::Url;

use super::Config;
use super::authorization::Auth;
use super::proxy::{Outbound, Proxy};

/// Is one place that the bridge may contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Egress {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// For what, and for whom.
    pub purpose: String,
    /// The proxy that is asked for the connection; `None` where it is opened from this machine.
    pub through: Option<String>,
}

/// Lists every host and port that may be contacted, each once; proxies, too.
pub fn egress(config: &Config) -> Vec<Egress> {
    let subscriptions = config.subscriptions.iter().flat_map(|it| {
        let (socket, tokens) =
            (format!("socket of subscription {}", it.name), format!("tokens of subscription {}", it.name));
        [(&it.url, &it.outbound, socket), (&it.token_url, &it.outbound, tokens)]
    });
    let destinations = config.destinations.iter().flat_map(|it| {
        let tokens = match &it.auth {
            Auth::OAuth(oauth) => Some((&oauth.token_url, &it.outbound, format!("tokens of destination {}", it.name))),
            Auth::None | Auth::VerificationToken(_) | Auth::Basic { .. } | Auth::Bearer(_) | Auth::Header { .. } => {
                None
            }
        };
        tokens.into_iter().chain([(&it.url, &it.outbound, format!("destination {}", it.name))])
    });
    let mut places = Places::default();
    for (url, outbound, purpose) in subscriptions.chain(destinations) {
        places.add(url, outbound, purpose);
    }
    if let Some(traces) = &config.traces {
        places.add(&traces.endpoint, &Outbound::DIRECT, "traces".to_owned());
    }
    let list = places.0.into_iter();
    list.map(|((host, port, through), purposes)| Egress { host, port, purpose: purposes.join(", "), through }).collect()
}

#[derive(Default)]
struct Places(BTreeMap<(String, u16, Option<String>), Vec<String>>);

impl Places {
    fn add(&mut self, url: &Url, outbound: &Outbound, purpose: String) {
        let host = url.host_str().expect("http and ws URLs have a host").to_owned();
        let port = url.port_or_known_default().expect("http and ws URLs have a port");
        let proxy = outbound.proxy_for(url);
        if let Some(proxy) = proxy {
            let asked = self.0.entry((proxy.host.to_string(), proxy.port, None)).or_default();
            asked.push(format!("proxy for {purpose}"));
        }
        self.0.entry((host, port, proxy.map(Proxy::to_string))).or_default().push(purpose);
    }
}
