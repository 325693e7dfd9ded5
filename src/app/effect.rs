//! What a changed subscription asks of its socket.
//!
//! Zoom sends nothing again: a socket that works is closed for what it cannot do without, and for nothing else.

use crate::config::Subscription;

/// Says how far a change reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The socket has nothing to do with it.
    None,
    /// The next connection is made so, and the open one stays.
    NextConnection,
    /// The open one is of another subscription, account or app: a new one takes its place.
    NewSocket,
}

/// Says how far a change of a subscription reaches, which keeps its name.
pub(super) fn effect(old: &Subscription, new: &Subscription) -> Effect {
    // A key that is added has to be looked at here.
    let Subscription {
        name: _,
        url,
        id,
        token_url,
        grant,
        account_id,
        client_id,
        client_secret,
        // The spool alone asks for it.
        group: _,
        ca_file,
        tls,
        outbound,
    } = new;
    if *url != old.url || *id != old.id || *account_id != old.account_id || *client_id != old.client_id {
        return Effect::NewSocket;
    }
    let is_reached_otherwise = *token_url != old.token_url
        || *grant != old.grant
        || *client_secret != old.client_secret
        || *ca_file != old.ca_file
        || *tls != old.tls
        || *outbound != old.outbound;
    if is_reached_otherwise { Effect::NextConnection } else { Effect::None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Grant;
    use crate::config::host::HostPattern;
    use crate::config::proxy::Outbound;
    use crate::config::secret::Secret;
    use crate::config::tls::{TlsRules, TlsVersion};

    #[test]
    fn each_key_reaches_as_far_as_it_must_and_no_further() {
        type Change = fn(&mut Subscription);
        let url = |text: &str| text.parse().expect("a url");
        let cases: [(&str, Change, Effect); 13] = [
            ("nothing", |_| {}, Effect::None),
            ("group", |it| it.group = "twins".into(), Effect::None),
            ("token_url", |it| it.token_url.set_path("/other"), Effect::NextConnection),
            ("grant", |it| it.grant = Grant::ClientCredentials, Effect::NextConnection),
            ("client_secret", |it| it.client_secret = Secret::new("new"), Effect::NextConnection),
            ("ca_file", |it| it.ca_file = Some("/etc/house.pem".into()), Effect::NextConnection),
            ("tls_min_version", |it| it.tls.min_version = TlsVersion::Tls13, Effect::NextConnection),
            (
                "no_proxy",
                |it| it.outbound = Outbound { no_proxy: vec![pattern()], ..Outbound::DIRECT },
                Effect::NextConnection,
            ),
            ("url", |it| it.url.set_path("/other"), Effect::NewSocket),
            ("id", |it| it.id = "other".into(), Effect::NewSocket),
            ("account_id", |it| it.account_id = None, Effect::NewSocket),
            ("client_id", |it| it.client_id = "other".into(), Effect::NewSocket),
            (
                "client_id and client_secret",
                |it| (it.client_id, it.client_secret) = ("other".into(), Secret::new("new")),
                Effect::NewSocket,
            ),
        ];
        let old = Subscription {
            name: "main".into(),
            url: url("wss://ws.zoom.us/ws?subscriptionId=sub"),
            id: "sub".into(),
            token_url: url("https://zoom.us/oauth/token"),
            grant: Grant::Auto,
            account_id: Some("account".into()),
            client_id: "client".into(),
            client_secret: Secret::new("old"),
            group: "main".into(),
            ca_file: None,
            tls: TlsRules::DEFAULT,
            outbound: Outbound::DIRECT,
        };
        for (key, change, expected) in cases {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(effect(&old, &new), expected, "{key}");
        }
    }

    fn pattern() -> HostPattern {
        HostPattern::new("zoom.us").expect("a host")
    }
}
