//! Sockets through proxies that mean harm.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;
use crate::net::proxy::tests::hostile::{Blame, Harm, HostileProxy, harms};
use crate::tls::client_config;

/// How long the session waits for a socket.
const DEADLINE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn hostile_proxy_is_told_apart_from_zoom_within_bounds() {
    for harm in harms().iter().filter(|harm| !harm.takes_time()) {
        let proxy = HostileProxy::start(harm).await;
        let fault = open(&proxy).await.expect("it ends by itself");
        judge(harm, fault);
        assert_eq!(proxy.connections(), 1, "{}", harm.name);
        proxy.is_left_alone(harm.name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn proxy_that_never_answers_is_called_so_before_the_session_gives_up() {
    for harm in harms().iter().filter(|harm| harm.takes_time()) {
        let proxy = HostileProxy::start(harm).await;
        let begun = Instant::now();
        match open(&proxy).await {
            Some(fault) => {
                judge(harm, fault);
                assert!(begun.elapsed() < DEADLINE, "{}: {:?}", harm.name, begun.elapsed());
            }
            None => assert_eq!(harm.blame, Blame::Target, "{}", harm.name),
        }
        proxy.is_left_alone(harm.name).await;
    }
}

fn judge(harm: &Harm, fault: Fault) {
    let (blame, reason) = match &fault {
        Fault::Proxy { fault, reason } => (Blame::Proxy(*fault), reason),
        Fault::Hiccup { reason } => (Blame::Tls, reason),
        Fault::Throttled { .. } | Fault::Credentials { .. } | Fault::Unauthorized { .. } | Fault::Rejected { .. } => {
            panic!("{}: {fault:?}", harm.name)
        }
    };
    assert_eq!(blame, harm.blame, "{:?}: {}: {reason}", harm.protocol, harm.name);
    let expected = if blame == Blame::Tls { "no tls with ws.zoom.invalid" } else { "the proxy 127.0.0.1:" };
    assert!(reason.starts_with(expected) && !reason.contains("canary"), "{}: {reason}", harm.name);
}

/// Opens a socket, which comes to nothing; `None` when only the session's deadline would end it.
async fn open(proxy: &HostileProxy) -> Option<Fault> {
    let target = Target {
        url: Url::parse("wss://ws.zoom.invalid/ws?subscriptionId=sub").expect("a URL"),
        outbound: proxy.outbound(),
        tls: Arc::new(client_config(Some(&proxy.ca_file())).expect("roots")),
        clock: Clock::system(),
    };
    let opened = timeout(DEADLINE, dial(Arc::new(target), Secret::new("canary"))).await;
    opened.ok().map(|opened| opened.expect_err("no socket"))
}
