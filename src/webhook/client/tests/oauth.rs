//! Requests with a token from the handler's own endpoint.

use super::*;
use crate::config::authorization::OAuth;
use crate::webhook::request::{SIGNATURE, TIMESTAMP};

#[tokio::test]
async fn token_is_asked_for_as_zoom_does_it_and_kept() {
    let mut endpoint = Handler::start([token("t1")]).await;
    let mut handler = Handler::start([Act::Answer(OK.into()), Act::Answer(OK.into())]).await;
    let client = connected(&authorized(&handler, &endpoint)).expect("a client");
    for _ in 0..2 {
        assert_eq!(client.clone().oneshot(outgoing()).await.expect("an answer").status, 200);
        let request = handler.requests.recv().await.expect("a request").bytes;
        assert_eq!(header(&request, "authorization"), "Bearer t1");
        assert!(signer().verify(header(&request, TIMESTAMP), BODY, header(&request, SIGNATURE)));
    }
    let asked = endpoint.requests.recv().await.expect("a request").bytes;
    assert!(split(&asked).0.starts_with("POST /hook?key=canary HTTP/1.1\r\n"));
    assert_eq!(header(&asked, "authorization"), "Basic em9vbWhvb2s6Y2FuYXJ5LXNlY3JldA==");
    assert_eq!(header(&asked, "content-type"), "application/x-www-form-urlencoded");
    assert_eq!(split(&asked).1, b"grant_type=client_credentials");
    assert!(endpoint.requests.try_recv().is_err(), "asked again for nothing");
}

#[tokio::test]
async fn token_is_asked_for_once_by_all_who_wait_for_it() {
    let mut endpoint = Handler::start([token("t1")]).await;
    let answers: Vec<_> = (0..8).map(|_| Act::Answer(OK.into())).collect();
    let handler = Handler::start(answers).await;
    // The handler takes one connection at a time, so that requests must follow each other on one.
    let client = connected(&Destination { concurrency: 1, ..authorized(&handler, &endpoint) }).expect("a client");
    let sent = (0..8).map(|_| client.clone().oneshot(outgoing()));
    for answer in futures_util::future::join_all(sent).await {
        assert_eq!(answer.expect("an answer").status, 200);
    }
    endpoint.requests.recv().await.expect("a request");
    assert!(endpoint.requests.try_recv().is_err(), "asked more than once");
}

#[tokio::test]
async fn refused_token_is_replaced_once_and_the_request_repeated() {
    let mut endpoint = Handler::start([token("t1"), token("t2"), token("t3")]).await;
    let acts = [status(401), Act::Answer(OK.into()), status(401), status(401)];
    let mut handler = Handler::start(acts).await;
    let client = connected(&authorized(&handler, &endpoint)).expect("a client");
    assert_eq!(client.clone().oneshot(outgoing()).await.expect("an answer").status, 200);
    assert_eq!(client.oneshot(outgoing()).await.expect("an answer").status, 401, "once is enough");
    let mut shown = Vec::new();
    while let Ok(request) = handler.requests.try_recv() {
        shown.push(header(&request.bytes, "authorization").to_owned());
    }
    assert_eq!(shown, ["Bearer t1", "Bearer t2", "Bearer t2", "Bearer t3"]);
    for _ in 0..3 {
        endpoint.requests.recv().await.expect("a request");
    }
    assert!(endpoint.requests.try_recv().is_err());
}

#[tokio::test]
async fn endpoint_that_gives_the_same_token_again_has_the_last_word() {
    let endpoint = Handler::start([token("t1"), token("t1")]).await;
    let mut handler = Handler::start([status(401)]).await;
    let answer = send(&authorized(&handler, &endpoint)).await.expect("an answer");
    assert_eq!(answer.status, 401);
    handler.requests.recv().await.expect("a request");
    assert!(handler.requests.try_recv().is_err(), "the same request again");
}

#[tokio::test]
async fn token_is_asked_for_anew_shortly_before_its_end() {
    let mut endpoint = Handler::start([token("t1"), token("t2")]).await;
    let acts: Vec<_> = (0..3).map(|_| Act::Answer(OK.into())).collect();
    let mut handler = Handler::start(acts).await;
    let client = connected(&authorized(&handler, &endpoint)).expect("a client");
    let mut shown = Vec::new();
    for step in [0, 3539, 1] {
        // The clock stands still for no longer than the step, so that no timeout fires by it.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(step)).await;
        tokio::time::resume();
        client.clone().oneshot(outgoing()).await.expect("an answer");
        let request = handler.requests.recv().await.expect("a request").bytes;
        shown.push(header(&request, "authorization").to_owned());
    }
    assert_eq!(shown, ["Bearer t1", "Bearer t1", "Bearer t2"]);
    endpoint.requests.recv().await.expect("a request");
    endpoint.requests.recv().await.expect("a second request");
}

#[tokio::test]
async fn failing_endpoint_is_a_cause_of_its_own_that_names_it_and_no_secret() {
    let answers = [
        (answer(401, r#"{"error":"invalid_client","error_description":"canary"}"#), "answers 401: invalid_client"),
        (answer(500, "canary-secret"), "answers 500"),
        (answer(200, "{}"), "answers 200 without a token"),
        (answer(200, r#"{"access_token":"two\nlines"}"#), "gives a token that does not fit into a header"),
        (answer(302, ""), "answers 302"),
        (Act::AnswerAndClose(Vec::new()), "answer cut off"),
    ];
    for (act, words) in answers {
        let endpoint = Handler::start([act]).await;
        let mut handler = Handler::start([]).await;
        let error = failure(&authorized(&handler, &endpoint)).await;
        assert_eq!(error.cause(), Cause::Token(None), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("no token from token_url: {}: ", endpoint.addr)), "{text}");
        assert!(text.contains(words) && !format!("{text} {error:?}").contains("canary"), "{text}");
        assert!(handler.requests.try_recv().is_err(), "a request without a token");
    }
}

#[tokio::test]
async fn endpoint_that_hangs_is_given_up_by_its_own_cause() {
    let mut endpoint = Handler::start([Act::AnswerAndHang(b"HTTP/1.1 200 OK\r\n".into())]).await;
    let handler = Handler::start([]).await;
    let destination = authorized(&handler, &endpoint);
    let attempt = tokio::spawn(async move { failure(&destination).await });
    endpoint.requests.recv().await.expect("a request");
    tokio::time::pause();
    tokio::time::advance(Destination::STEADY_TIMEOUT).await;
    let error = attempt.await.expect("no panic");
    assert_eq!(error, SendError::Token { tls: None, words: format!("{}: timeout", endpoint.addr) });
}

#[tokio::test]
async fn token_that_a_handler_echoes_is_not_kept() {
    let endpoint = Handler::start([token("canary")]).await;
    let handler = Handler::start([answer(403, "you sent Bearer canary")]).await;
    let answer = send(&authorized(&handler, &endpoint)).await.expect("an answer");
    assert_eq!(answer.excerpt, "you sent Bearer ***");
}

fn authorized(handler: &Handler, endpoint: &Handler) -> Destination {
    let auth = Auth::OAuth(OAuth {
        token_url: endpoint.destination().url,
        client_id: "zoomhook".into(),
        client_secret: Secret::new("canary-secret"),
    });
    Destination { auth, ..handler.destination() }
}

fn token(value: &str) -> Act {
    answer(200, &format!(r#"{{"access_token":"{value}","token_type":"bearer","expires_in":3600}}"#))
}

fn status(status: u16) -> Act {
    answer(status, "")
}

fn answer(status: u16, body: &str) -> Act {
    Act::Answer(format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
}
