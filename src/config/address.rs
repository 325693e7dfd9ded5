//! The rules that every URL of a configuration obeys, and the two forms in which one may be shown.

use url::{Host, ParseError, Url};

/// Is said of a port that is none.
const PORT: &str = "the port of the URL is none: expected a number from 1 to 65535";

/// Is stood in for what may be a key.
pub(crate) const MASK: &str = "***";

/// Says which protocol a URL must speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `https`, or `http` towards loopback.
    Http,
    /// `wss`, or `ws` towards loopback.
    WebSocket,
}

impl Protocol {
    fn schemes(self) -> (&'static str, &'static str) {
        match self {
            Self::Http => ("https", "http"),
            Self::WebSocket => ("wss", "ws"),
        }
    }
}

/// Reads a URL; what is wrong is said without a word of the URL, which may hold a key.
pub(crate) fn parse(text: &str, protocol: Protocol) -> Result<Url, String> {
    let (secure, plain) = protocol.schemes();
    let expected = || format!("expected a URL that begins with {secure}://, or with {plain}:// towards this machine");
    let begins = [secure, plain].iter().any(|scheme| text.starts_with(&format!("{scheme}://")));
    let mut url = Url::parse(text).map_err(|error| match fault(error) {
        Some(fault) if begins => fault.to_owned(),
        Some(_) | None => expected(),
    })?;
    if url.scheme() != secure && url.scheme() != plain {
        return Err(expected());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL must not hold a user name or a password: take out what stands before the @".to_owned());
    }
    if url.scheme() == plain && !is_loopback(&url) {
        return Err(format!("{plain}:// is allowed towards this machine (loopback) only: use {secure}://"));
    }
    if url.port() == Some(0) {
        return Err(PORT.to_owned());
    }
    url.set_fragment(None);
    Ok(url)
}

/// Says which part of a URL is at fault, where that is known.
fn fault(error: ParseError) -> Option<&'static str> {
    let is_host = matches!(
        error,
        ParseError::IdnaError
            | ParseError::InvalidDomainCharacter
            | ParseError::InvalidIpv4Address
            | ParseError::InvalidIpv6Address
    );
    match error == ParseError::InvalidPort {
        true => Some(PORT),
        false => is_host.then_some("the host of the URL is neither a name nor an address"),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            // Names below it are resolved by whoever the system asks, and not always to this machine.
            name == "localhost"
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

/// Writes a URL with the values of its query masked: handlers behind gateways take keys there.
pub(crate) fn masked(url: &Url) -> String {
    let Some(query) = url.query() else { return url.to_string() };
    let part = |part: &str| match part.split_once('=') {
        Some((name, _)) => format!("{name}={MASK}"),
        None => MASK.to_owned(),
    };
    let mut shown = url.clone();
    shown.set_query(Some(&query.split('&').map(part).collect::<Vec<_>>().join("&")));
    shown.to_string()
}

/// Makes a name from host and port alone: path and query may hold a key, and names are logged.
pub(super) fn name(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let text = match url.port() {
        Some(port) => format!("{host}-{port}"),
        None => host,
    };
    let legal = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    // 48 leave room for a number behind it.
    let name: String = text.chars().map(legal).take(48).collect();
    name.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(text: &str) -> Result<Url, String> {
        parse(text, Protocol::Http)
    }

    #[test]
    fn part_that_is_at_fault_is_named() {
        for (text, words) in [
            ("http://127.0.0.1:99999/", "the port of the URL is none"),
            ("https://crm.internal:0/", "the port of the URL is none"),
            ("https://exa mple.com/", "the host of the URL is neither"),
            ("https://[::1/", "the host of the URL is neither"),
            ("ftp://exa mple.com/", "expected a URL that begins with https://"),
            ("crm.internal", "expected a URL that begins with https://"),
        ] {
            let error = http(text).expect_err(text);
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }

    #[test]
    fn plain_http_goes_to_this_machine_only() {
        for here in
            ["localhost", "LOCALHOST:3000", "localhost.", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"]
        {
            assert!(http(&format!("http://{here}/hook")).is_ok(), "{here}");
        }
        for there in [
            "crm.internal",
            "10.0.0.1",
            "127.0.0.1.nip.io",
            "localhost.example.com",
            "crm.localhost",
            "[::2]",
            "0.0.0.0",
        ] {
            let error = http(&format!("http://{there}/hook")).expect_err(there);
            assert!(error.contains("use https://"), "{error}");
            assert!(http(&format!("https://{there}/hook")).is_ok(), "{there}");
        }
    }

    #[test]
    fn only_the_protocol_at_hand_is_taken() {
        for wrong in ["", "localhost:3000/hook", "/hook", "ftp://localhost/", "wss://ws.zoom.us/ws", "https://"] {
            assert!(http(wrong).expect_err(wrong).contains("begins with https://"), "{wrong}");
        }
        assert!(parse("https://ws.zoom.us/ws", Protocol::WebSocket).expect_err("http").contains("wss://"));
        assert!(parse("ws://127.0.0.1:9/ws", Protocol::WebSocket).is_ok());
    }

    #[test]
    fn user_and_password_are_refused_and_not_repeated() {
        for url in ["https://canary:pw@h/", "https://canary@h/", "https://:canary@h/", "http://canary:pw@crm.internal/"]
        {
            let error = http(url).expect_err("user information");
            assert!(error.contains("user name or a password") && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn query_values_are_masked() {
        let cases = [
            ("https://h/a?code=canary&x=1", "https://h/a?code=***&x=***"),
            ("https://h/a?canary", "https://h/a?***"),
            ("https://h/a", "https://h/a"),
        ];
        for (url, shown) in cases {
            assert_eq!(masked(&http(url).expect("a URL")), shown);
        }
    }

    #[test]
    fn names_come_from_host_and_port_alone() {
        let cases = [
            ("http://localhost:3000/webhook?code=x", "localhost-3000"),
            ("https://CRM.internal/hook", "crm-internal"),
            ("http://[::1]:8080/", "1--8080"),
        ];
        for (url, expected) in cases {
            assert_eq!(name(&http(url).expect("a URL")), expected);
        }
    }
}
