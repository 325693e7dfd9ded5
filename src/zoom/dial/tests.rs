//! Sockets through proxies that mean harm, and what answers other than 101 mean.

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

#[tokio::test(start_paused = true)]
async fn answer_other_than_101_is_classified_by_its_status() {
    let later = "wants to be left alone until 2026-07-29T12:01:30Z";
    let cases = [
        (200, None, "Hiccup", "ws.zoom.invalid answers 200 instead of opening the socket"),
        (302, None, "Hiccup", "ws.zoom.invalid answers 302 instead of opening the socket"),
        (400, None, "Rejected", "status: 400"),
        (401, Some("90"), "Unauthorized", "status: 401"),
        (403, None, "Unauthorized", "status: 403"),
        (404, None, "Rejected", "status: 404"),
        (408, None, "Hiccup", "answers 408 instead of"),
        (425, None, "Hiccup", "answers 425 instead of"),
        (429, None, "Hiccup", "answers 429 instead of"),
        (429, Some("90"), "Throttled { wait: 90s", later),
        (500, Some("90"), "Hiccup", "answers 500 instead of"),
        (503, None, "Hiccup", "answers 503 instead of"),
        (503, Some("90"), "Throttled { wait: 90s", later),
    ];
    let clock = Clock::anchored("2026-07-29T12:00:00Z".parse().expect("an instant"));
    for (status, retry_after, kind, words) in cases {
        let mut answer = http::Response::builder().status(status).header("location", "wss://ws.zoom.invalid/?canary");
        if let Some(wait) = retry_after {
            answer = answer.header("retry-after", wait);
        }
        let answer = Box::new(answer.body(Some(b"canary".to_vec())).expect("an answer"));
        let fault = format!("{:?}", refusal(&UpgradeError::Declined(answer), "ws.zoom.invalid", &clock));
        assert!(fault.starts_with(kind) && fault.contains(words) && !fault.contains("canary"), "{status}: {fault}");
    }
    let fault = format!("{:?}", refusal(&UpgradeError::Closed, "ws.zoom.invalid", &clock));
    assert!(fault.contains("Hiccup") && fault.contains("ws.zoom.invalid did not open the socket: connection closed"));
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
