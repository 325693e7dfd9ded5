use super::*;

#[tokio::test]
async fn both_grants_are_served_by_form_and_by_query() {
    let zoom = Zoom::start().await;
    for parameters in ["grant_type=client_credentials", "grant_type=account_credentials&account_id=demo-account"] {
        let (status, _, body) = zoom.ask(parameters).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &answer["token_type"], &answer["expires_in"]), (200, &json!("bearer"), &json!(3600)));
        let head = format!("POST /oauth/token?{parameters} HTTP/1.1\r\n{BASIC}");
        assert_eq!(zoom.http(&head, "").await.0, 200);
    }
    let (entries, _) = zoom.log(0);
    let told: Vec<_> = entries.iter().map(|entry| serde_json::to_value(entry).unwrap()).collect();
    assert_eq!((&told[0]["parameters"], &told[1]["parameters"]), (&json!("form"), &json!("query")));
    assert_eq!((&told[2]["grant"], &told[2]["status"]), (&json!("account_credentials"), &json!(200)));
    assert_eq!((zoom.counts().token_requests, zoom.counts().tokens), (4, 4));
}

#[tokio::test]
async fn refusals_have_the_words_of_zoom() {
    let zoom = Zoom::start().await;
    let wrong = "POST /oauth/token HTTP/1.1\r\nauthorization: Basic b3RoZXI6b3RoZXI=";
    let (status, _, body) = zoom.http(&format!("{wrong}\r\n{FORM}"), "grant_type=client_credentials").await;
    assert_eq!(
        (status, body.as_str()),
        (400, r#"{"error":"invalid_client","reason":"Invalid client_id or client_secret"}"#)
    );

    for (form, reason, error) in [
        ("grant_type=password", "unsupported grant type", "unsupported_grant_type"),
        ("", "unsupported grant type", "unsupported_grant_type"),
        ("grant_type=account_credentials", "Bad Request", "invalid_request"),
        ("grant_type=account_credentials&account_id=other", "Account does not exist", "invalid_request"),
    ] {
        let (status, _, body) = zoom.ask(form).await;
        assert_eq!(
            (status, serde_json::from_str::<Value>(&body).unwrap()),
            (400, json!({"reason": reason, "error": error}))
        );
    }
    let json = format!("POST /oauth/token HTTP/1.1\r\n{BASIC}\r\ncontent-type: application/json");
    let (status, _, body) = zoom.http(&json, r#"{"grant_type":"client_credentials"}"#).await;
    assert!(status == 400 && body.contains("unsupported grant type"), "{body}");
    assert_eq!(zoom.counts().tokens, 0);
}

#[tokio::test]
async fn token_faults_are_answered_as_named() {
    let zoom = Zoom::start().await;
    for (fault, status, inside) in [
        ("token-status=401", 401, "invalid_client"),
        ("token-status=429", 429, "\"code\":429"),
        ("token-status=500", 500, "server_error"),
        ("token-html", 200, "<!doctype html>"),
        ("token-empty", 200, ""),
        ("token-refused=The moon is away", 400, "\"reason\":\"The moon is away\""),
        ("token-refuse-grant=client_credentials", 400, "unsupported grant type"),
    ] {
        zoom.fault(&[fault]);
        let (answered, _, body) = zoom.ask("grant_type=client_credentials").await;
        assert_eq!(answered, status, "{fault}");
        assert!(body.contains(inside) && !body.contains("access_token"), "{fault}: {body}");
    }
    zoom.fault(&["token-bare"]);
    let (_, _, body) = zoom.ask("grant_type=client_credentials").await;
    let answer: serde_json::Map<String, Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(answer.keys().collect::<Vec<_>>(), ["access_token", "token_type"]);

    zoom.fault(&["token-retry-after=seconds:7s"]);
    let (status, head, _) = zoom.ask("grant_type=client_credentials").await;
    assert!(status == 429 && head.contains("retry-after: 7"), "{head}");
    zoom.fault(&["token-refuse-grant=account_credentials"]);
    assert_eq!(zoom.ask("grant_type=client_credentials").await.0, 200);
}

#[tokio::test]
async fn hanging_token_request_is_seen_and_never_answered() {
    let zoom = Zoom::faulty(&["token-hang"]).await;
    tokio::select! {
        answer = zoom.ask("grant_type=client_credentials") => panic!("{answer:?}"),
        counts = zoom.wait_for(|counts| counts.token_requests == 1) => assert_eq!(counts.tokens, 0),
    }
}

#[tokio::test]
async fn expired_token_is_refused() {
    let zoom = Zoom::with(Options { token_life: Duration::ZERO, ..Options::default() }).await;
    let mut client = zoom.upgrade().await;
    assert_eq!(client.json().await["content"], "Invalid Token");
}

#[tokio::test]
async fn new_token_can_cancel_the_ones_before() {
    let zoom = Zoom::start().await;
    let first = zoom.token().await;
    zoom.token().await;
    assert_eq!(zoom.dial(SUBSCRIPTION, &first).await.unwrap().json().await["success"], true);
    zoom.fault(&["token-single"]);
    let last = zoom.token().await;
    assert_eq!(zoom.dial(SUBSCRIPTION, &first).await.unwrap().json().await["content"], "Invalid Token");
    assert_eq!(zoom.dial(SUBSCRIPTION, &last).await.unwrap().json().await["success"], true);
}

#[tokio::test]
async fn client_that_does_not_wait_for_a_slow_token_is_in_the_log() {
    let zoom = Zoom::faulty(&["token-slow=1h"]).await;
    let mut stream = TcpStream::connect(zoom.addr()).await.unwrap();
    let request = format!("POST /oauth/token?grant_type=client_credentials HTTP/1.1\r\nhost: zoom\r\n{BASIC}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    zoom.knocked().await;
    drop(stream);
    zoom.logged(1).await;
    let (entries, _) = zoom.log(1);
    let given_up = Happening::Token { parameters: "query", grant: "client_credentials".into(), status: 0 };
    assert_eq!(entries[0].what, given_up);
}
