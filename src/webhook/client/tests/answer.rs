//! What comes back: whole, cut off, late, or longer than anybody wants.

use http::HeaderName;

use super::*;

#[tokio::test]
async fn answer_is_read_whole_and_the_connection_kept() {
    let last =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 120\r\ncontent-length: 9\r\n\r\nbusy \xff\xfe..".to_vec();
    let empty = b"HTTP/1.1 204 No Content\r\n\r\n".to_vec();
    let mut handler = Handler::start([Act::Answer(OK.into()), Act::Answer(empty), Act::Answer(last)]).await;
    let client = connected(&handler.destination()).expect("a client");

    for (status, retry_after, excerpt) in
        [(200, None, "ok"), (204, None, ""), (503, Some("120"), "busy \u{fffd}\u{fffd}..")]
    {
        let answer = client.clone().oneshot(outgoing()).await.expect("an answer");
        let expected = Answer { status, retry_after: retry_after.map(str::to_owned), excerpt: excerpt.to_owned() };
        assert!(answer == expected, "{answer:?} {:?}", answer.excerpt);
        assert_eq!(handler.requests.recv().await.expect("a request").connection, 1);
    }
}

#[tokio::test]
async fn redirect_is_an_answer_and_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let redirect = format!("HTTP/1.1 {status} Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
        let mut handler = Handler::start([Act::Answer(redirect.into()), Act::Answer(OK.into())]).await;
        assert_eq!(send(&handler.destination()).await.expect("an answer").status, status);
        handler.requests.recv().await.expect("the request");
        assert!(handler.requests.try_recv().is_err(), "a second request after {status}");
    }
}

#[tokio::test]
async fn longer_answer_than_is_read_still_counts_and_costs_its_connection_only() {
    let mut long = b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n".to_vec();
    long.resize(long.len() + 1_048_576, b'x');
    let mut handler = Handler::start([Act::Answer(long), Act::Answer(OK.into())]).await;
    let client = connected(&handler.destination()).expect("a client");

    let answer = client.clone().oneshot(outgoing()).await.expect("an answer");
    assert_eq!((answer.status, answer.excerpt.len()), (200, EXCERPT_MAX));
    let answer = client.oneshot(outgoing()).await.expect("another answer");
    assert_eq!(answer.status, 200);
    handler.requests.recv().await.expect("the first request");
    assert_eq!(handler.requests.recv().await.expect("the second request").connection, 2);
}

#[tokio::test]
async fn hanging_handler_is_a_timeout() {
    for start in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no"] {
        let mut handler = Handler::start([Act::AnswerAndHang(start.into())]).await;
        let destination = handler.destination();
        let attempt = tokio::spawn(async move { failure(&destination).await });
        handler.requests.recv().await.expect("the request");
        tokio::time::pause();
        tokio::time::advance(Destination::STEADY_TIMEOUT).await;
        assert_eq!(attempt.await.expect("no panic"), SendError::Timeout, "{start:?}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn connection_closed_before_the_end_of_the_answer_is_cut() {
    for start in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        "220 mail.example ESMTP\r\n",
    ] {
        let mut handler = Handler::start([Act::AnswerAndClose(start.into())]).await;
        assert_eq!(failure(&handler.destination()).await.cause(), Cause::Cut, "{start}");
        handler.requests.recv().await.expect("the request");
        assert!(handler.requests.try_recv().is_err(), "sent again after {start:?}");
    }
}

#[tokio::test]
async fn answer_that_ends_with_its_connection_is_complete() {
    let handler = Handler::start([Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\n\r\nok".into())]).await;
    let answer = send(&handler.destination()).await.expect("an answer");
    assert_eq!((answer.status, answer.excerpt.as_str()), (200, "ok"));
}

#[tokio::test]
async fn head_of_an_old_server_is_read() {
    for line in ["x-long: one\r\n\ttwo\r\n", "x-spaced : one\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{line}content-length: 2\r\n\r\nok");
        let handler = Handler::start([Act::Answer(answer.into())]).await;
        assert_eq!(send(&handler.destination()).await.expect("an answer").excerpt, "ok", "{line}");
    }
}

#[tokio::test]
async fn answer_that_echoes_what_it_was_sent_is_kept_without_the_secrets() {
    let echo =
        |text: &str| format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{text}", text.len()).into_bytes();
    let ways = [
        (Auth::Bearer(Secret::new("canary")), "you sent Bearer canary"),
        (Auth::VerificationToken(Secret::new("canary")), "you sent canary"),
        (
            Auth::Basic { username: "a".into(), password: Secret::new("canary") },
            "you sent Basic YTpjYW5hcnk= (a:canary)",
        ),
        (Auth::Header { name: HeaderName::from_static("x-key"), value: Secret::new("canary") }, "x-key: canary"),
    ];
    for (auth, text) in ways {
        let handler = Handler::start([Act::Answer(echo(text))]).await;
        let excerpt = send(&Destination { auth, ..handler.destination() }).await.expect("an answer").excerpt;
        assert!(excerpt.contains("***") && !excerpt.contains("canary") && !excerpt.contains("YTpj"), "{excerpt}");
    }
}
