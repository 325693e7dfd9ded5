use super::*;

const JSON: &str = "content-type: application/json";

#[tokio::test]
async fn faults_are_set_and_read_back() {
    let zoom = Zoom::start().await;
    let list = r#"["token-hang","frame-object"]"#;
    let (status, _, body) = zoom.http(&format!("POST /_control/faults HTTP/1.1\r\n{JSON}"), list).await;
    assert_eq!((status, body.as_str()), (200, list));
    assert_eq!(zoom.faults().token, Some(TokenFault::Hang));
    assert_eq!(zoom.http("GET /_control/faults HTTP/1.1", "").await.2, list);
}

#[tokio::test]
async fn unknown_fault_changes_nothing_and_is_named() {
    let zoom = Zoom::faulty(&["token-html"]).await;
    let (status, _, body) = zoom.http(&format!("POST /_control/faults HTTP/1.1\r\n{JSON}"), r#"["toke"]"#).await;
    assert!(status == 400 && body.contains("no fault is called `toke`"), "{body}");
    assert_eq!(zoom.faults().texts(), ["token-html"]);
}

#[tokio::test]
async fn events_are_pushed_and_sockets_dropped() {
    let zoom = Zoom::start().await;
    let mut client = zoom.connect().await;
    let (_, _, body) = zoom.http("POST /_control/events HTTP/1.1", BODY).await;
    assert_eq!((body.as_str(), client.json().await["content"].as_str()), (r#"{"sockets":1}"#, Some(BODY)));
    let (_, _, body) = zoom.http(&format!("POST /_control/drop HTTP/1.1\r\n{JSON}"), r#"{"as":"1012"}"#).await;
    assert_eq!((body.as_str(), client.close().await.0), (r#"{"dropped":1}"#, 1012));
    let drop = format!("POST /_control/drop HTTP/1.1\r\n{JSON}");
    let (_, _, body) = zoom.http(&drop, r#"{"subscription":"other"}"#).await;
    assert_eq!(body, r#"{"dropped":0}"#);
    for (wrong, inside) in
        [(r#"{"as":"gently"}"#, "`reset` or `silent`"), (r#"{"subscriptions":"a"}"#, "unknown field")]
    {
        let (status, _, body) = zoom.http(&drop, wrong).await;
        assert!(status == 400 && body.contains(inside), "{body}");
    }
    let (status, _, body) = zoom.http(&format!("POST /_control/rate HTTP/1.1\r\n{JSON}"), r#"{"rate":-1}"#).await;
    assert!(status == 400 && body.contains("at least 0"), "{body}");
}

#[tokio::test]
async fn log_tells_what_happened_and_no_secret() {
    let zoom = Zoom::start().await;
    let token = zoom.token().await;
    let mut client = zoom.dial(SUBSCRIPTION, &token).await.unwrap();
    client.json().await;
    let (_, _, body) = zoom.http("GET /_control/log HTTP/1.1", "").await;
    let log: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&log["counts"]["accepted"], &log["entries"][1]["subscription"]), (&json!(1), &json!(SUBSCRIPTION)));
    assert_eq!((&log["requests"]["form"], &log["subscriptions"][SUBSCRIPTION]["sockets"]), (&json!(1), &json!(1)));
    assert!(!body.contains(&token) && !body.contains("demo-secret"), "{body}");
}
