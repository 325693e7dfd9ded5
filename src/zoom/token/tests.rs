//! The cache and the endpoint against a scripted server on loopback.

mod proxied;

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use url::Url;

use super::*;
use crate::config::Grant;
use crate::config::host::HostPattern;
use crate::config::proxy::Outbound;
use crate::config::tls::{TlsRules, TlsVersion};

const GOOD: (u16, &str) = (200, r#"{"access_token":"t0ken","token_type":"bearer","expires_in":3600,"scope":"a b"}"#);
const BAD_SECRET: (u16, &str) = (400, r#"{"reason":"Invalid client_id or client_secret","error":"invalid_client"}"#);
const BAD_GRANT: (u16, &str) = (400, r#"{"reason":"unsupported grant type","error":"unsupported_grant_type"}"#);

#[tokio::test]
async fn account_grant_is_a_form_with_basic_credentials() {
    let endpoint = Scripted::start([GOOD]).await;
    assert_eq!(endpoint.source(Grant::Auto, Some("acc")).token(None).await, Ok(Secret::new("t0ken")));
    let [request] = endpoint.requests().try_into().expect("one request");
    assert_eq!(request.body, "grant_type=account_credentials&account_id=acc");
    // id:s3cret
    assert_eq!(request.headers["authorization"], "Basic aWQ6czNjcmV0");
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(request.uri.query(), None);
}

#[tokio::test]
async fn client_grant_names_no_account() {
    for (grant, account) in [(Grant::Auto, None), (Grant::ClientCredentials, Some("acc"))] {
        let endpoint = Scripted::start([GOOD]).await;
        endpoint.source(grant, account).token(None).await.expect("a token");
        assert_eq!(endpoint.requests()[0].body, "grant_type=client_credentials");
    }
}

#[tokio::test]
async fn auto_tries_the_other_grant_once_and_remembers_it() {
    let no_life = (200, r#"{"access_token":"t0ken"}"#);
    let bad_request = (400, r#"{"reason":"Bad Request","error":"invalid_request"}"#);
    for refusal in [BAD_GRANT, bad_request] {
        let endpoint = Scripted::start([refusal, no_life, GOOD]).await;
        let source = endpoint.source(Grant::Auto, Some("acc"));
        let token = source.token(None).await.expect("a token");
        source.token(Some(&token)).await.expect("another token");
        let grants: Vec<_> = endpoint.requests().iter().map(|request| request.body.clone()).collect();
        let account = "grant_type=account_credentials&account_id=acc";
        let client = "grant_type=client_credentials";
        assert_eq!(grants, [account, client, client]);
    }
}

#[tokio::test]
async fn fixed_grant_is_not_exchanged_for_another() {
    let endpoint = Scripted::start([BAD_GRANT]).await;
    let error = endpoint.source(Grant::AccountCredentials, Some("acc")).token(None).await.expect_err("no token");
    assert_eq!(error, credentials("unsupported grant type"));
    assert_eq!(endpoint.requests().len(), 1);
}

#[tokio::test]
async fn when_both_grants_fail_the_first_answer_counts() {
    let endpoint =
        Scripted::start([(400, r#"{"reason":"Account does not exist","error":"invalid_request"}"#), BAD_GRANT]).await;
    let error = endpoint.source(Grant::Auto, Some("acc")).token(None).await.expect_err("no token");
    assert_eq!(error, credentials("Account does not exist"));
}

#[tokio::test]
async fn answers_that_only_the_operator_can_mend() {
    let cases = [
        (BAD_SECRET, "Invalid client_id or client_secret"),
        ((401, BAD_SECRET.1), "Invalid client_id or client_secret"),
        ((401, r#"{"error":"invalid_client"}"#), "invalid_client"),
        ((403, r#"{"code":403,"message":"app disabled"}"#), "app disabled"),
        ((400, r#"{"reason":"","error":"","message":"no\nlines s3cret"}"#), "no lines ***"),
        ((401, ""), "HOST answers 401"),
    ];
    for (answer, reason) in cases {
        let endpoint = Scripted::start([answer]).await;
        let error = endpoint.source(Grant::ClientCredentials, None).token(None).await.expect_err("no token");
        assert_eq!(error, credentials(&reason.replace("HOST", &endpoint.host())), "{answer:?}");
    }
}

#[tokio::test]
async fn answers_that_may_be_better_in_a_moment() {
    let cases = [
        ((500, ""), "HOST answers 500"),
        ((502, "<html><body>s3cret</body></html>"), "HOST answers 502 with an html page instead of a token"),
        ((403, " <!DOCTYPE html>"), "HOST answers 403 with an html page instead of a token"),
        ((200, "<html>"), "HOST answers 200 with an html page instead of a token"),
        ((200, "{}"), "HOST answers 200 without a token"),
        ((200, r#"{"access_token":""}"#), "HOST answers 200 without a token"),
        ((200, r#"{"access_token":5}"#), "HOST answers 200 without a token"),
        ((200, r#"{"error":"odd"}"#), "HOST answers 200: odd"),
        ((429, r#"{"code":429,"message":"slow down"}"#), "HOST answers 429: slow down"),
        ((302, ""), "HOST answers 302 and points elsewhere; check token_url"),
    ];
    for (answer, reason) in cases {
        let endpoint = Scripted::start([answer]).await;
        let error = endpoint.source(Grant::ClientCredentials, None).token(None).await.expect_err("no token");
        assert_eq!(error, TokenError::Hiccup { reason: reason.replace("HOST", &endpoint.host()).into() }, "{answer:?}");
    }
}

#[tokio::test]
async fn endless_answer_is_cut_off() {
    let endless: &'static str = "x".repeat(10 << 20).leak();
    let endpoint = Scripted::start([(500, endless)]).await;
    let error = endpoint.source(Grant::ClientCredentials, None).token(None).await.expect_err("no token");
    assert_eq!(error.to_string(), format!("{} answers 500", endpoint.host()));
}

#[tokio::test]
async fn unreachable_endpoint_is_a_hiccup_that_names_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let source =
        source(&TokenCache::new(clock(), Arc::default()), &format!("http://{address}/oauth"), Grant::Auto, None);
    let error = source.token(None).await.expect_err("no token").to_string();
    assert!(error.starts_with(&format!("no token from {address}: ")) && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn retry_after_holds_for_all_who_share_the_credentials() {
    let endpoint = Scripted::start([(429, "2026-07-29T12:30:00Z"), GOOD]).await;
    let first = endpoint.source(Grant::ClientCredentials, None);
    let second = endpoint.source(Grant::ClientCredentials, None);
    let until = "2026-07-29T12:30:00Z".parse().expect("an instant");
    for source in [first, second] {
        match source.token(None).await {
            Err(TokenError::Throttled { until: told, .. }) => assert_eq!(told, until),
            other => panic!("not throttled: {other:?}"),
        }
    }
    assert_eq!(endpoint.requests().len(), 1);
}

#[tokio::test]
async fn retry_after_of_a_clock_that_was_set_back_since_holds_nobody_up() {
    let endpoint = Scripted::start([(429, "2026-07-29T12:30:00Z"), GOOD]).await;
    let source = endpoint.source(Grant::ClientCredentials, None);
    source.token(None).await.expect_err("throttled");
    source.clock.set_back(86_400_000);
    source.token(None).await.expect("a token");
}

#[tokio::test]
async fn concurrent_requests_are_one() {
    let endpoint = Scripted::start([GOOD]).await;
    let gate = endpoint.close_gate();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let source = endpoint.source(Grant::ClientCredentials, None);
            tokio::spawn(async move { source.token(None).await })
        })
        .collect();
    endpoint.asked().await;
    gate.notify_one();
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), Ok(Secret::new("t0ken")));
    }
    assert_eq!(endpoint.requests().len(), 1);
}

#[tokio::test]
async fn concurrent_requests_share_an_error() {
    let endpoint = Scripted::start([BAD_SECRET]).await;
    let gate = endpoint.close_gate();
    let sources: Vec<_> = (0..8).map(|_| endpoint.source(Grant::ClientCredentials, None)).collect();
    let all = futures_util::future::join_all(sources.iter().map(|source| source.token(None)));
    let (outcomes, ()) = tokio::join!(all, async {
        endpoint.asked().await;
        gate.notify_one();
    });
    assert!(outcomes.iter().all(|outcome| *outcome == Err(credentials("Invalid client_id or client_secret"))));
    assert_eq!(endpoint.requests().len(), 1);
}

#[tokio::test]
async fn cancelled_request_leaves_the_next_one_free() {
    let endpoint = Scripted::start([GOOD]).await;
    let gate = endpoint.close_gate();
    let source = endpoint.source(Grant::ClientCredentials, None);
    let task = tokio::spawn({
        let source = source.clone();
        async move { source.token(None).await }
    });
    endpoint.asked().await;
    task.abort();
    assert!(task.await.expect_err("aborted").is_cancelled());
    gate.notify_one();
    gate.notify_one();
    endpoint.script.answers.lock().expect("no panic").push_back(GOOD);
    assert_eq!(source.token(None).await, Ok(Secret::new("t0ken")));
}

#[tokio::test]
async fn other_credentials_get_their_own_token() {
    let endpoint = Scripted::start([GOOD, (200, r#"{"access_token":"other"}"#)]).await;
    endpoint.source(Grant::ClientCredentials, Some("one")).token(None).await.expect("a token");
    let other = endpoint.source(Grant::ClientCredentials, Some("two"));
    assert_eq!(other.token(None).await, Ok(Secret::new("other")));
}

#[tokio::test]
async fn successor_of_a_refused_token_is_used_for_a_while() {
    let tokens = [r#"{"access_token":"first"}"#, r#"{"access_token":"second"}"#, r#"{"access_token":"third"}"#];
    let endpoint = Scripted::start(tokens.map(|body| (200, body))).await;
    let source = endpoint.source(Grant::Auto, None);
    let token = source.token(None).await.expect("a token");
    let second = source.token(Some(&token)).await.expect("another token");
    for _ in 0..3 {
        assert_eq!(source.token(Some(&second)).await, Ok(Secret::new("second")));
    }
    assert_eq!(endpoint.requests().len(), 2);
    tokio::time::pause();
    tokio::time::advance(REPLACED_FOR).await;
    tokio::time::resume();
    assert_eq!(source.token(Some(&second)).await, Ok(Secret::new("third")));
}

#[tokio::test]
async fn way_to_the_endpoint_makes_no_other_token_and_a_grant_only_where_it_must() {
    let fresh = (200, r#"{"access_token":"fresh"}"#);
    let endpoint = Scripted::start([GOOD, fresh, BAD_SECRET]).await;
    let changed = |change: fn(&mut Subscription)| {
        let mut other = subscription(&format!("http://{}/oauth/token", endpoint.address), Grant::Auto, Some("acc"));
        change(&mut other);
        endpoint.cache.source(&other, &Roots::load()).expect("a client")
    };
    let first = changed(|_| {});
    let shared: [fn(&mut Subscription); 3] = [
        |it| it.tls.min_version = TlsVersion::Tls13,
        |it| it.outbound.no_proxy = vec![HostPattern::new("zoom.us").expect("a host")],
        |it| it.grant = Grant::AccountCredentials,
    ];
    assert_eq!(first.token(None).await, Ok(Secret::new("t0ken")));
    for change in shared {
        assert_eq!(changed(change).token(None).await, Ok(Secret::new("t0ken")));
    }
    assert_eq!(endpoint.requests().len(), 1);
    // That grant is not known to work. All share what comes of it: it may have put the first one out of force.
    let by_client = changed(|it| it.grant = Grant::ClientCredentials);
    assert_eq!(by_client.token(None).await, Ok(Secret::new("fresh")));
    assert_eq!(first.token(None).await, Ok(Secret::new("fresh")));
    // What fails for one leaves the others their token.
    let by_account = changed(|it| it.grant = Grant::AccountCredentials);
    assert_eq!(by_account.token(None).await, Err(credentials("Invalid client_id or client_secret")));
    assert_eq!(first.token(None).await, Ok(Secret::new("fresh")));
    assert_eq!(endpoint.requests().len(), 3);
}

#[tokio::test]
async fn refused_token_is_replaced_only_once() {
    let endpoint = Scripted::start([GOOD, (200, r#"{"access_token":"fresh"}"#)]).await;
    let source = endpoint.source(Grant::ClientCredentials, None);
    let refused = source.token(None).await.expect("a token");
    for _ in 0..3 {
        assert_eq!(source.token(Some(&refused)).await, Ok(Secret::new("fresh")));
    }
    assert_eq!(endpoint.requests().len(), 2);
}

#[tokio::test]
async fn token_is_not_used_shortly_before_its_end() {
    // Seconds of life as the answer names them, and how long the token is used.
    let cases = [("3600", 3540), (r#""3600""#, 3540), ("20", 10), ("null", 3540), ("-1", 3540)];
    for (life, used) in cases {
        let answer = format!(r#"{{"access_token":"t0ken","expires_in":{life}}}"#);
        let endpoint = Scripted::start([(200, answer.leak() as &str)]).await;
        let source = endpoint.source(Grant::ClientCredentials, None);
        source.token(None).await.expect("a token");
        let cached = source.way.entry.lock().await;
        let fetched = cached.token.as_ref().expect("a token");
        let left = fetched.good_until.duration_since(source.clock.now()).as_secs_f64();
        assert!((left - f64::from(used)).abs() < 5.0, "{life}: {left}");
    }
}

#[test]
fn nothing_shows_the_token() {
    let fetched = Fetched { value: Secret::new("canary"), good_until: Timestamp::MAX };
    assert!(!format!("{fetched:?}").contains("canary"));
}

struct Scripted {
    address: std::net::SocketAddr,
    cache: TokenCache,
    script: Arc<Script>,
}

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<(u16, &'static str)>>,
    requests: Mutex<Vec<Request>>,
    asked: Notify,
    gate: Mutex<Option<Arc<Notify>>>,
}

#[derive(Clone, Debug)]
struct Request {
    uri: Uri,
    headers: HeaderMap,
    body: String,
}

impl Scripted {
    async fn start<const N: usize>(answers: [(u16, &'static str); N]) -> Self {
        let script = Arc::new(Script { answers: Mutex::new(answers.into()), ..Script::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, cache: TokenCache::new(clock(), Arc::default()), script }
    }

    fn host(&self) -> String {
        self.address.to_string()
    }

    fn source(&self, grant: Grant, account: Option<&str>) -> TokenSource {
        source(&self.cache, &format!("http://{}/oauth/token", self.address), grant, account)
    }

    fn requests(&self) -> Vec<Request> {
        self.script.requests.lock().expect("no panic").clone()
    }

    /// Holds answers back until the returned one is notified.
    fn close_gate(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.script.gate.lock().expect("no panic") = Some(Arc::clone(&gate));
        gate
    }

    /// Waits for the next request to arrive.
    async fn asked(&self) {
        self.script.asked.notified().await;
    }
}

/// Answers from the script; a body of a 429 that is no JSON goes into `retry-after`.
async fn answer(State(script): State<Arc<Script>>, uri: Uri, headers: HeaderMap, body: String) -> Response<Body> {
    script.requests.lock().expect("no panic").push(Request { uri, headers, body });
    script.asked.notify_one();
    let gate = script.gate.lock().expect("no panic").clone();
    if let Some(gate) = gate {
        gate.notified().await;
    }
    let (status, body) = script.answers.lock().expect("no panic").pop_front().expect("a scripted answer");
    let response = Response::builder().status(status);
    let throttled = status == 429 && !body.starts_with('{');
    let response = if throttled { response.header("retry-after", body) } else { response };
    response.body(Body::from(body)).expect("a response")
}

fn source(cache: &TokenCache, token_url: &str, grant: Grant, account: Option<&str>) -> TokenSource {
    cache.source(&subscription(token_url, grant, account), &Roots::load()).expect("a client")
}

fn subscription(token_url: &str, grant: Grant, account: Option<&str>) -> Subscription {
    Subscription {
        name: "main".into(),
        url: Url::parse("ws://127.0.0.1/ws?subscriptionId=sub").expect("a url"),
        id: "sub".into(),
        token_url: Url::parse(token_url).expect("a url"),
        grant,
        account_id: account.map(Box::from),
        client_id: "id".into(),
        client_secret: Secret::new("s3cret"),
        group: "main".into(),
        ca_file: None,
        tls: TlsRules::DEFAULT,
        outbound: Outbound::DIRECT,
    }
}

fn clock() -> Clock {
    Clock::anchored("2026-07-29T12:00:00Z".parse().expect("an instant"))
}

fn credentials(reason: &str) -> TokenError {
    TokenError::Credentials { reason: reason.into() }
}
