//! Tokens through proxies that mean harm.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::net::proxy::tests::hostile::{Blame, Harm, HostileProxy, harms};

/// How long the session waits for a token.
const DEADLINE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn hostile_proxy_is_told_apart_from_the_token_endpoint_within_bounds() {
    for harm in harms().iter().filter(|harm| !harm.takes_time()) {
        let proxy = HostileProxy::start(harm).await;
        judge(harm, &fetch(&proxy).await);
        // One that gave a good tunnel may be asked all the same, as where TLS ends without a word.
        let most = if harm.blame == Blame::Tls { 2 } else { harm.connections };
        assert!((harm.connections..=most).contains(&proxy.connections()), "{}", harm.name);
        proxy.is_left_alone(harm.name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn proxy_that_never_answers_is_called_so_before_the_session_gives_up() {
    for harm in harms().iter().filter(|harm| harm.takes_time()) {
        let proxy = HostileProxy::start(harm).await;
        let begun = Instant::now();
        judge(harm, &fetch(&proxy).await);
        assert!(begun.elapsed() < DEADLINE, "{}: {:?}", harm.name, begun.elapsed());
        assert_eq!(proxy.connections(), harm.connections, "{}", harm.name);
        proxy.is_left_alone(harm.name).await;
    }
}

fn judge(harm: &Harm, error: &TokenError) {
    let found = match error {
        TokenError::Proxy { fault, .. } => Some(Blame::Proxy(*fault)),
        TokenError::Hiccup { .. } => None,
        TokenError::Credentials { .. } | TokenError::Throttled { .. } => panic!("{}: {error:?}", harm.name),
    };
    let expected = Some(harm.blame).filter(|blame| matches!(blame, Blame::Proxy(_)));
    assert_eq!(found, expected, "{:?}: {}: {error}", harm.protocol, harm.name);
    let text = error.to_string();
    assert!(text.starts_with("no token from zoom.invalid") && !text.contains("s3cret"), "{}: {text}", harm.name);
}

async fn fetch(proxy: &HostileProxy) -> TokenError {
    let outbound = proxy.outbound();
    let subscription = subscription("https://zoom.invalid/oauth/token", Grant::ClientCredentials, None);
    let subscription = Subscription { outbound, ca_file: Some(proxy.ca_file()), ..subscription };
    let cache = TokenCache::new(clock(), Arc::default());
    cache.source(&subscription, &Roots::load()).expect("a client").token(None).await.expect_err("no token")
}
