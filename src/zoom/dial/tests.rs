//! Sockets through proxies that mean harm.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::net::proxy::tests::hostile::{Blame, Harm, HostileProxy, harms};
use crate::tls::client_config;

/// How long the session waits for a socket.
const DEADLINE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn hostile_proxy_is_told_apart_from_zoom_within_bounds() {
    for harm in harms().iter().filter(|harm| !harm.takes_time()) {
        let proxy = HostileProxy::start(harm).await;
        judge(harm, open(&proxy).await);
        assert_eq!(proxy.connections(), 1, "{}", harm.name);
        proxy.is_left_alone(harm.name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn proxy_that_never_answers_is_called_so_before_the_session_gives_up() {
    for harm in harms().iter().filter(|harm| harm.takes_time()) {
        let proxy = HostileProxy::start(harm).await;
        let begun = Instant::now();
        judge(harm, open(&proxy).await);
        assert!(begun.elapsed() < DEADLINE, "{}: {:?}", harm.name, begun.elapsed());
        proxy.is_left_alone(harm.name).await;
    }
}

fn judge(harm: &Harm, fault: Fault) {
    let (blame, reason) = match &fault {
        Fault::Proxy { fault, reason } => (Blame::Proxy(*fault), reason),
        Fault::Hiccup { reason } if reason.ends_with("no answer within 12 s") => (Blame::Target, reason),
        Fault::Hiccup { reason } => (Blame::Tls, reason),
        Fault::Throttled { .. } | Fault::Credentials { .. } | Fault::Unauthorized { .. } | Fault::Rejected { .. } => {
            panic!("{}: {fault:?}", harm.name)
        }
    };
    assert_eq!(blame, harm.blame, "{:?}: {}: {reason}", harm.protocol, harm.name);
    let is_proxy = matches!(blame, Blame::Proxy(_));
    let expected = if is_proxy { "the proxy 127.0.0.1:" } else { "no tls with ws.zoom.invalid" };
    assert!(reason.starts_with(expected) && !reason.contains("canary"), "{}: {reason}", harm.name);
}

/// Opens a socket, which comes to nothing.
async fn open(proxy: &HostileProxy) -> Fault {
    let url = Url::parse("wss://ws.zoom.invalid/ws?subscriptionId=sub").expect("a URL");
    let tls = Arc::new(client_config(Some(&proxy.ca_file())).expect("roots"));
    let target = Target::new(url, &proxy.outbound(), tls, Clock::system());
    dial(Arc::new(target), Secret::new("canary")).await.expect_err("no socket")
}
