//! The rules on proxies, the same for both sides.

use crate::config::cursor::Cursor;
use crate::config::entry::Entry;
use crate::config::host::HostPattern;
use crate::config::proxy::{Outbound, Proxy, ProxyCredentials, Userinfo, Way, exception, exceptions};
use crate::config::review::Place;

/// Are looked at in this order, as curl does for URLs that are encrypted.
const PROXY: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// The same, for what is excepted.
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Says by which way connections go where no key says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usual {
    /// Towards handlers, which are in the same network.
    Direct,
    /// Towards Zoom.
    Environment,
}

/// Reads `proxy`, `proxy_credentials` and `no_proxy`.
pub(super) fn outbound(cursor: &mut Cursor<'_>, usual: Usual) -> Option<Outbound> {
    let place = cursor.place_of("proxy");
    let way = match cursor.take("proxy") {
        Some(entry) => way(entry),
        None if usual == Usual::Direct => Some(Way::Direct),
        None => environment(&place),
    };
    let credentials = cursor.take("proxy_credentials").map(|entry| (entry.place(), credentials(entry)));
    let no_proxy = cursor.take("no_proxy").map_or(Some(Vec::new()), no_proxy);
    let way = match (way?, credentials) {
        (Way::Proxy(proxy), Some((_, credentials))) => Way::Proxy(Proxy { credentials: Some(credentials?), ..proxy }),
        (Way::Direct | Way::Environment { .. }, Some((place, _))) => {
            return place.fail("there is no proxy in the configuration to show them to: set proxy, or take this out");
        }
        (way, None) => way,
    };
    Some(Outbound { way, no_proxy: no_proxy? })
}

fn way(entry: Entry<'_>) -> Option<Way> {
    let place = entry.place();
    match &*entry.text()? {
        Way::NONE => Some(Way::Direct),
        Way::ENVIRONMENT => environment(&place),
        url => match Proxy::new(url, Userinfo::Refused) {
            Ok(proxy) => Some(Way::Proxy(proxy)),
            Err(message) => place.fail(format!("{message}; or \"environment\", or \"none\"")),
        },
    }
}

fn environment(place: &Place<'_>) -> Option<Way> {
    let proxy = match place.first_variable(&PROXY) {
        None => None,
        Some((name, url)) => match Proxy::new(&url, Userinfo::Taken) {
            Ok(proxy) => Some(proxy),
            Err(message) => return place.of_variable(name).fail(message),
        },
    };
    let (no_proxy, unknown) = match place.first_variable(&NO_PROXY) {
        Some((name, text)) => {
            let (known, unknown) = exceptions(&text);
            (known, unknown.into_iter().map(|word| (name, word)).collect())
        }
        None => (Vec::new(), Vec::new()),
    };
    for (name, word) in unknown {
        place
            .of_variable(name)
            .warn(format!("{word:?} is neither a host nor a network, and excepts nothing{}", cure(&word)));
    }
    Some(Way::Environment { proxy, no_proxy })
}

/// Says what to do about one that has a port, as some programs take them.
fn cure(word: &str) -> &'static str {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let host = word.rsplit_once(':').filter(|(_, port)| is_port(port)).map(|(host, _)| host);
    match host.and_then(exception) {
        Some(_) => ": take the port out, and all of its ports are excepted",
        None => "",
    }
}

fn credentials(entry: Entry<'_>) -> Option<ProxyCredentials> {
    let place = entry.place();
    match ProxyCredentials::new(&entry.secret()?) {
        Some(credentials) => Some(credentials),
        None => place.fail("expected user:password, each of at most 255 bytes"),
    }
}

fn no_proxy(entry: Entry<'_>) -> Option<Vec<HostPattern>> {
    let pattern = |entry: Entry<'_>| match exception(entry.as_word().unwrap_or_default()) {
        Some(patterns) => Some(patterns),
        None => entry.mismatch("a host such as \"crm.internal\", a network such as \"10.0.0.0/8\", or \"*\""),
    };
    let read: Vec<_> = entry.list("hosts and networks")?.into_iter().map(pattern).collect();
    read.into_iter().collect::<Option<Vec<_>>>().map(|lists| lists.concat())
}
