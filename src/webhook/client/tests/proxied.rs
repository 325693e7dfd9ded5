//! Deliveries and their tokens through proxies that mean harm.

use tokio::time::Instant;

use super::*;
use crate::config::authorization::OAuth;
use crate::net::proxy::ProxyFault;
use crate::net::proxy::tests::hostile::{Blame, Harm, HostileProxy, harms};

/// The clock that stands still moves on to the next timer, which may be a trickling proxy's.
const MARGIN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn hostile_proxy_is_told_apart_from_the_handler_within_bounds() {
    for harm in harms().iter().filter(|harm| !harm.takes_time()) {
        let proxy = HostileProxy::start(harm).await;
        let error = send(&behind(&proxy)).await.expect_err("no answer");
        judge(harm, &error.cause(), &error.to_string());
        assert_eq!(proxy.connections(), 1, "{}: {error}", harm.name);
        proxy.is_left_alone(harm.name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn proxy_that_never_answers_is_called_so_in_bounded_time() {
    for harm in harms().iter().filter(|harm| harm.takes_time()) {
        let proxy = HostileProxy::start(harm).await;
        let begun = Instant::now();
        let error = send(&behind(&proxy)).await.expect_err("no answer");
        judge(harm, &error.cause(), &error.to_string());
        let taken = begun.elapsed();
        assert!(taken < Destination::STEADY_TIMEOUT + MARGIN, "{}: {taken:?}", harm.name);
        assert_eq!(proxy.connections(), 1, "{}: {error}", harm.name);
        proxy.is_left_alone(harm.name).await;
    }
}

#[tokio::test]
async fn token_of_a_handler_through_a_hostile_proxy_is_given_up_within_bounds() {
    for harm in harms().iter().filter(|harm| !harm.takes_time()) {
        let proxy = HostileProxy::start(harm).await;
        let error = send(&asking_for_a_token(&proxy)).await.expect_err("no answer");
        assert!(matches!(error.cause(), Cause::Token(_)), "{}: {error}", harm.name);
        judge_words(harm, &error.to_string());
        assert_eq!(proxy.connections(), 1, "{}: {error}", harm.name);
        proxy.is_left_alone(harm.name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn token_of_a_handler_is_not_waited_for_without_end() {
    for harm in harms().iter().filter(|harm| harm.takes_time()) {
        let proxy = HostileProxy::start(harm).await;
        let begun = Instant::now();
        let error = send(&asking_for_a_token(&proxy)).await.expect_err("no answer");
        assert!(matches!(error.cause(), Cause::Token(_)), "{}: {error}", harm.name);
        judge_words(harm, &error.to_string());
        let taken = begun.elapsed();
        assert!(taken < Destination::STEADY_TIMEOUT + MARGIN, "{}: {taken:?}", harm.name);
        proxy.is_left_alone(harm.name).await;
    }
}

fn judge(harm: &Harm, cause: &Cause, words: &str) {
    let expected = match harm.blame {
        Blame::Proxy(fault) => Cause::Proxy(fault),
        // Which one depends on what comes out of the proxy.
        Blame::Tls => {
            assert!(matches!(cause, Cause::Tls(_)), "{:?}: {}: {words}", harm.protocol, harm.name);
            *cause
        }
        Blame::Target => Cause::Timeout,
    };
    assert_eq!(*cause, expected, "{:?}: {}: {words}", harm.protocol, harm.name);
    judge_words(harm, words);
}

/// A failure names the proxy exactly where it is the proxy's.
fn judge_words(harm: &Harm, words: &str) {
    let names_it = words.contains("the proxy 127.0.0.1:");
    assert_eq!(names_it, matches!(harm.blame, Blame::Proxy(_)), "{:?}: {}: {words}", harm.protocol, harm.name);
    let silent = harm.blame == Blame::Proxy(ProxyFault::Silent);
    assert_eq!(words.contains("has not answered"), silent, "{}: {words}", harm.name);
}

fn behind(proxy: &HostileProxy) -> Destination {
    let ca_file = Some(proxy.ca_file());
    Destination { outbound: proxy.outbound(), ca_file, ..destination("https://crm.invalid/hook") }
}

fn asking_for_a_token(proxy: &HostileProxy) -> Destination {
    let oauth = OAuth {
        token_url: "https://login.invalid/token".parse().expect("a URL"),
        client_id: "bridge".into(),
        client_secret: Secret::new("canary"),
    };
    Destination { auth: Auth::OAuth(oauth), ..behind(proxy) }
}
