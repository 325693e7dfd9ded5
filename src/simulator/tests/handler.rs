use super::super::handler::verification::Rejection;
use super::super::handler::{Answer, Handler, Options};
use super::*;

/// Runs a sample handler for one test and posts to it.
struct Sample(Handler);

impl Sample {
    async fn start() -> Self {
        let handler = Handler::bind(Options::default()).await.unwrap();
        let running = handler.clone();
        tokio::spawn(async move { running.run(CancellationToken::new()).await });
        Self(handler)
    }

    /// Posts a body, signed now with `secret`; the answer is empty when the connection ends without one.
    async fn post(&self, body: &str, secret: &str) -> String {
        let url = self.0.url();
        let mut stream = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap())).await.unwrap();
        let timestamp = jiff::Timestamp::now().as_second().to_string();
        let signature = signature(secret, &timestamp, body);
        let request = format!(
            "POST /webhook HTTP/1.1\r\nhost: handler\r\nconnection: close\r\nx-zm-request-id: r1\r\nx-zm-request-timestamp: {timestamp}\r\n\
             x-zm-signature: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len(),
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn signature(secret: &str, timestamp: &str, body: &str) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("v0:{timestamp}:{body}").as_bytes());
    format!("v0={}", hex::encode(mac.finalize().into_bytes()))
}

const SECRET: &str = "demo-secret-token";

#[tokio::test]
async fn signed_delivery_is_accepted_and_recorded() {
    let sample = Sample::start().await;
    assert!(sample.post(BODY, SECRET).await.starts_with("HTTP/1.1 200"));
    sample.post(BODY, SECRET).await;
    let (deliveries, next) = sample.0.deliveries(0);
    assert_eq!((deliveries.len(), next), (2, 2));
    let first = &deliveries[0];
    assert_eq!((&*first.event, &*first.request_id, first.event_ts), ("meeting.started", "r1", Some(1)));
    assert_eq!((first.verified, first.digest), (Ok(()), crate::event::Digest::of(BODY.as_bytes())));
    assert_eq!((first.attempt, deliveries[1].attempt), (1, 2));
}

#[tokio::test]
async fn forged_delivery_is_answered_401_and_uses_up_no_script() {
    let sample = Sample::start().await;
    sample.0.answer_next([Answer::Status(503)]);
    assert!(sample.post(BODY, "other").await.starts_with("HTTP/1.1 401"));
    assert_eq!(sample.0.deliveries(0).0[0].verified, Err(Rejection::Forged));
    assert!(sample.post(BODY, SECRET).await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn script_is_played_in_order_and_then_the_usual_answer() {
    let sample = Sample::start().await;
    let late = Answer::Late(Duration::from_millis(1), 204);
    sample.0.answer_next([Answer::Status(503), late, Answer::Close, Answer::Cut]);
    sample.0.answer_always(Answer::Status(202));
    assert!(sample.post(BODY, SECRET).await.starts_with("HTTP/1.1 503"));
    assert!(sample.post(BODY, SECRET).await.starts_with("HTTP/1.1 204"));
    assert_eq!(sample.post(BODY, SECRET).await, "");
    let cut = sample.post(BODY, SECRET).await;
    assert!(cut.contains("content-length: 1000") && cut.ends_with("half of an an"), "{cut}");
    assert!(sample.post(BODY, SECRET).await.starts_with("HTTP/1.1 202"));
}

#[tokio::test]
async fn largest_event_is_taken() {
    let sample = Sample::start().await;
    let body = format!(r#"{{"event":"a","padding":"{}"}}"#, "x".repeat(4 << 20));
    assert!(sample.post(&body, SECRET).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn hanging_handler_records_the_delivery() {
    let sample = Sample::start().await;
    sample.0.answer_next([Answer::Hang]);
    tokio::select! {
        answer = sample.post(BODY, SECRET) => panic!("{answer}"),
        () = sample.0.beyond(0) => {}
    }
    assert_eq!(sample.0.deliveries(0).0[0].answer, Answer::Hang);
}

#[tokio::test]
async fn url_validation_is_answered() {
    let sample = Sample::start().await;
    let body = r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1,"event":"endpoint.url_validation"}"#;
    let answer = sample.post(body, SECRET).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let answer: Value = serde_json::from_str(body).unwrap();
    assert_eq!(answer["plainToken"], "qgg8vlvZRS6UYooatFL8Aw");
    assert_eq!(answer["encryptedToken"].as_str().unwrap().len(), 64);
}
