//! Proxies: which one a connection goes through, if any.
//!
//! Where the environment decides, it does so as it does for curl: `https_proxy`, else `all_proxy`, small letters before
//! capitals, and what `no_proxy` names goes directly.

use std::fmt;

use url::{Host, Url};

use super::host::HostPattern;
use super::secret::Secret;

/// Says how connections leave this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbound {
    /// Through what.
    pub way: Way,
    /// Hosts that are connected to directly all the same.
    pub no_proxy: Vec<HostPattern>,
}

/// Says through what connections leave.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// Through nothing.
    Direct,
    /// Through what the variables of the environment named when they were read.
    Environment {
        /// The proxy, if they name one.
        proxy: Option<Proxy>,
        /// What they except from it.
        no_proxy: Vec<HostPattern>,
    },
    /// Through this proxy.
    Proxy(Proxy),
}

impl Way {
    /// Is how a configuration writes the first of them.
    pub(super) const NONE: &str = "none";
    /// Is how a configuration writes the second of them.
    pub(super) const ENVIRONMENT: &str = "environment";
}

impl Outbound {
    /// Is the way without a proxy.
    pub const DIRECT: Self = Self { way: Way::Direct, no_proxy: Vec::new() };

    /// Returns the proxy, if there is one for any URL.
    pub fn proxy(&self) -> Option<&Proxy> {
        match &self.way {
            Way::Direct => None,
            Way::Environment { proxy, .. } => proxy.as_ref(),
            Way::Proxy(proxy) => Some(proxy),
        }
    }

    /// Returns the proxy for a URL, if there is one. What is not encrypted stays on this machine, where no proxy can
    /// reach it: its own loopback is another one.
    pub fn proxy_for(&self, url: &Url) -> Option<&Proxy> {
        let (proxy, excepted) = match &self.way {
            Way::Direct => return None,
            Way::Environment { proxy, no_proxy } => (proxy.as_ref()?, &no_proxy[..]),
            Way::Proxy(proxy) => (proxy, &[][..]),
        };
        let host = url.host()?;
        let is_plain = matches!(url.scheme(), "http" | "ws");
        let is_excepted = excepted.iter().chain(&self.no_proxy).any(|pattern| pattern.has_host(&host));
        (!is_plain && !is_excepted).then_some(proxy)
    }
}

/// Is a proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// What it speaks.
    pub protocol: ProxyProtocol,
    /// Its name or address, without brackets.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// What it wants to see.
    pub credentials: Option<ProxyCredentials>,
}

/// Is user name and password for a proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyCredentials {
    /// The user name; as telling as the password, where tokens are used as such.
    pub user: Secret,
    /// The password.
    pub password: Secret,
}

/// Says what a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// HTTP, with CONNECT (RFC 9110, section 9.3.6).
    Http,
    /// SOCKS 5 (RFC 1928); names are resolved on this machine.
    Socks5,
    /// SOCKS 5; names are resolved by the proxy.
    Socks5h,
}

impl ProxyProtocol {
    const SCHEMES: [(&'static str, Self); 3] =
        [("http", Self::Http), ("socks5", Self::Socks5), ("socks5h", Self::Socks5h)];

    /// Returns how a URL spells it.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }
}

/// Says whether the URL of a proxy may hold user name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Userinfo {
    /// As is the custom in variables of the environment.
    Taken,
    /// Not in a configuration: it has a key for them.
    Refused,
}

impl Proxy {
    /// Reads the URL of a proxy; what is wrong is said without a word of the URL, which may hold a password.
    pub(super) fn new(text: &str, userinfo: Userinfo) -> Result<Self, String> {
        const EXPECTED: &str = "expected a proxy such as \"http://proxy.internal:3128\", \"socks5://proxy.internal:1080\" or \"socks5h://...\"";
        // As curl has it: what does not name its protocol speaks HTTP.
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let explicit_port = port(&text);
        let url = Url::parse(&text).map_err(|_| EXPECTED.to_owned())?;
        let Some((_, protocol)) = ProxyProtocol::SCHEMES.into_iter().find(|(scheme, _)| *scheme == url.scheme()) else {
            return Err(match url.scheme() {
                "https" => "the way to a proxy is not encrypted, what goes through it is: write http://".to_owned(),
                _ => EXPECTED.to_owned(),
            });
        };
        let host = match url.host() {
            // Only the web's own schemes have their hosts read further.
            Some(Host::Domain(name)) if !name.is_empty() => name.to_ascii_lowercase(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Domain(_)) | None => return Err(EXPECTED.to_owned()),
        };
        let port = explicit_port.ok_or("the proxy needs a port, such as :3128 or :1080: there is no usual one")?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("a proxy is a host and a port: take out what stands behind them".to_owned());
        }
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            _ if userinfo == Userinfo::Refused => {
                return Err("take out what stands before the @, and use proxy_credentials for it".to_owned());
            }
            (user, password) => Some(ProxyCredentials {
                user: Secret::new(decoded(user)?),
                password: Secret::new(decoded(password.unwrap_or_default())?),
            }),
        };
        Ok(Self { protocol, host: host.into(), port, credentials })
    }

    /// Writes host and port, with brackets where they are needed.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Writes the URL, without the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol.scheme(), self.authority())
    }
}

impl ProxyCredentials {
    /// Takes `user:password`.
    pub(super) fn new(text: &Secret) -> Option<Self> {
        let (user, password) = text.expose().split_once(':')?;
        // SOCKS has one byte for the length of each (RFC 1929).
        let fits = |text: &str| text.len() <= 255;
        (!user.is_empty() && fits(user) && fits(password))
            .then(|| Self { user: Secret::new(user), password: Secret::new(password) })
    }
}

/// Reads the names that a `no_proxy` excepts, each with what is below it; answers those that are none, too.
pub(super) fn exceptions(text: &str) -> (Vec<HostPattern>, Vec<String>) {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        match exception(word) {
            Some(patterns) => known.extend(patterns),
            None => unknown.push(word.to_owned()),
        }
    }
    (known, unknown)
}

/// Reads one name that a `no_proxy` excepts, with what is below it; the point before a name may stand or not.
pub(super) fn exception(word: &str) -> Option<Vec<HostPattern>> {
    let bare = word.strip_prefix("*.").or_else(|| word.strip_prefix('.')).unwrap_or(word);
    Some(match HostPattern::new(bare)? {
        HostPattern::Name(name) => vec![HostPattern::Name(name.clone()), HostPattern::Below(name)],
        other @ (HostPattern::Any | HostPattern::Below(_) | HostPattern::Network(_)) => vec![other],
    })
}

/// Finds the port that a URL spells out: a parsed URL drops one that is usual for its scheme.
fn port(text: &str) -> Option<u16> {
    let authority = text.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let (_, port) = host.rsplit_once(':')?;
    port.parse().ok().filter(|port| *port != 0)
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = tail.get(..2).filter(|_| *first == b'%').and_then(|two| hex::decode(two).ok());
        match hex {
            Some(byte) => {
                bytes.extend(byte);
                rest = &tail[2..];
            }
            None => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).map_err(|_| "its user name or password is not text (UTF-8)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Result<Proxy, String> {
        Proxy::new(text, Userinfo::Taken)
    }

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    #[test]
    fn proxies_are_read_and_written() {
        for text in ["http://proxy.internal:3128", "socks5://10.0.0.1:1080", "socks5h://[fd00::1]:1080", "http://p:80"]
        {
            assert_eq!(proxy(text).expect(text).to_string(), text);
        }
        assert_eq!(proxy("proxy.internal:3128").expect("HTTP").to_string(), "http://proxy.internal:3128");
    }

    #[test]
    fn credentials_come_from_variables_and_are_shown_nowhere() {
        let known = proxy("http://us%3Aer:canary%40@proxy:3128").expect("a proxy");
        let credentials = known.credentials.as_ref().expect("credentials");
        assert_eq!((credentials.user.expose(), credentials.password.expose()), ("us:er", "canary@"));
        assert!(!format!("{known:?}{known}").contains("canary"), "{known:?}");
        let refused = Proxy::new("http://user:canary@proxy:3128", Userinfo::Refused).expect_err("in a configuration");
        assert!(refused.contains("proxy_credentials") && !refused.contains("canary"), "{refused}");
    }

    #[test]
    fn what_is_no_proxy_is_refused_with_what_would_be_right() {
        let cases = [
            ("https://proxy:3128", "write http://"),
            ("http://proxy", "needs a port"),
            ("socks4://proxy:1080", "socks5"),
            ("http://proxy:3128/canary", "a host and a port"),
            ("http://canary canary:1", "expected a proxy"),
        ];
        for (text, words) in cases {
            let error = proxy(text).expect_err(text);
            assert!(error.contains(words) && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn exceptions_hold_for_names_what_is_below_and_networks() {
        let (no_proxy, unknown) = exceptions("example.com,.internal 10.0.0.0/8, 192.168.1.1,wrong:80");
        assert_eq!(unknown, ["wrong:80"]);
        let proxy = proxy("http://proxy:3128").ok();
        let outbound = Outbound { way: Way::Environment { proxy, no_proxy }, no_proxy: Vec::new() };
        let direct = [
            "https://example.com/",
            "https://a.example.com",
            "https://internal",
            "wss://b.internal:1/",
            "https://10.9.9.9",
            "https://192.168.1.1/",
            "http://localhost/",
            "ws://127.0.0.1/",
        ];
        for direct in direct {
            assert_eq!(outbound.proxy_for(&url(direct)), None, "{direct}");
        }
        for through in ["https://example.org", "https://notexample.com", "wss://ws.zoom.us/ws", "https://11.0.0.1"] {
            assert!(outbound.proxy_for(&url(through)).is_some(), "{through}");
        }
    }

    #[test]
    fn star_excepts_everything() {
        let way = Way::Proxy(proxy("http://proxy:3128").expect("a proxy"));
        let outbound = Outbound { way, no_proxy: exceptions("*").0 };
        assert_eq!(outbound.proxy_for(&url("https://zoom.us/")), None);
    }
}
