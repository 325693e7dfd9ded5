//! Which secret token signs, and what is worth another request at once.

use serde_json::{Value, json};

use super::*;
use crate::config::authorization::{NextSecretToken, Takeover};
use crate::webhook::signature::Signer;

#[tokio::test(start_paused = true)]
async fn next_secret_signs_from_its_moment_on() {
    // Half an hour after the bench begins.
    let at = Timestamp::from_second(1_800_001_800).expect("within range");
    let mut bench = rotating(Takeover::At(at), |_| async { status(200) }).await;
    bench.append("1").await;
    bench.all_settled(1).await;
    assert_eq!(bench.status.borrow().next_secret_since, None);
    tokio::time::sleep(Duration::from_secs(1800)).await;
    bench.append("2").await;
    bench.all_settled(2).await;
    assert_eq!(signed(&bench), ["old", "new"]);
    let status = bench.status.wait_for(|status| status.next_secret_since.is_some()).await.expect("running").clone();
    assert_eq!(status.next_secret_since, Some(at));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refused_secret_gives_way_to_the_next_within_the_attempt_and_from_then_on() {
    let mut bench = rotating(Takeover::WhenRefused, |post| async move { known(&post, "new", 403) }).await;
    bench.append("1").await;
    bench.all_settled(1).await;
    bench.append("2").await;
    bench.all_settled(2).await;
    assert_eq!(signed(&bench), ["old", "new", "new"]);
    assert!(bench.attempts(1).await.is_empty(), "the attempt succeeded");
    assert!(bench.rows().await.iter().all(|row| row.deliveries[0].attempts == 1));
    bench.status.wait_for(|status| status.next_secret_since.is_some()).await.expect("running");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn handler_that_goes_back_to_the_old_secret_is_followed() {
    let secrets = Arc::new(AtomicUsize::new(0));
    let turn = Arc::clone(&secrets);
    let mut bench = rotating(Takeover::WhenRefused, move |post| {
        let secret = ["old", "new", "old"][turn.load(Relaxed)];
        async move { known(&post, secret, 401) }
    })
    .await;
    for n in 1..=3 {
        bench.append(&n.to_string()).await;
        bench.all_settled(n).await;
        secrets.fetch_add(1, Relaxed);
    }
    assert_eq!(signed(&bench), ["old", "old", "new", "new", "old"]);
    assert!(bench.states().await.iter().all(|state| *state == DeliveryState::Delivered));
    bench.append("4").await;
    bench.status.wait_for(|status| status.next_secret_since.is_none()).await.expect("running");
    bench.cut().await;
}

#[tokio::test(start_paused = true)]
async fn handler_that_has_neither_secret_is_asked_twice_and_the_event_is_dead() {
    let bench = rotating(Takeover::WhenRefused, |_| async { status(401) }).await;
    bench.append("1").await;
    bench.append("2").await;
    bench.all_settled(2).await;
    let mut signed = signed(&bench);
    signed.sort_unstable();
    assert_eq!(signed, ["new", "new", "old", "old"], "what was refused is not taken for good");
    assert_eq!(bench.attempts(1).await, ["status 401"]);
    assert_eq!(bench.status.borrow().next_secret_since, None);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn other_refusals_try_no_other_secret() {
    let bench = rotating(Takeover::WhenRefused, |_| async { status(404) }).await;
    bench.append("1").await;
    bench.all_settled(1).await;
    assert_eq!(signed(&bench), ["old"]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn probe_by_url_validation_finds_the_next_secret_too() {
    let mended = Arc::new(AtomicUsize::new(0));
    let answer = Arc::clone(&mended);
    let bench = Bench::with(
        |destination| {
            rotate(destination, Takeover::WhenRefused);
            destination.probe = Probe::Validation;
        },
        move |post| {
            let mended = answer.load(Relaxed) == 1;
            async move { if mended { validated(&post, "new") } else { status(503) } }
        },
    )
    .await;
    for n in 0..30 {
        bench.append(&n.to_string()).await;
    }
    let mut watched = bench.status.clone();
    watched.wait_for(|status| status.breaker.is_some()).await.expect("running");
    mended.store(1, Relaxed);
    bench.all_settled(30).await;
    let seen = bench.seen();
    let first = seen.iter().position(|post| post.body.starts_with(b"{\"payload\":{\"plainToken")).expect("a probe");
    let after: Vec<bool> = seen[first..].iter().map(|post| is_signed(post, "new")).collect();
    assert!(!after[0] && after[1..].iter().all(|new| *new), "{after:?}");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn new_settings_begin_with_the_secret_token_again() {
    let mut bench = rotating(Takeover::WhenRefused, |post| async move { known(&post, "new", 401) }).await;
    bench.append("1").await;
    bench.all_settled(1).await;
    bench.status.wait_for(|status| status.next_secret_since.is_some()).await.expect("running");
    // The operator has done what the log asked for.
    let script = |post: Post| async move { known(&post, "new", 401) };
    bench.set(|destination| destination.secret_token = Secret::new("new"), script);
    bench.append("2").await;
    bench.all_settled(2).await;
    assert_eq!(signed(&bench), ["old", "new", "new"]);
    bench.status.wait_for(|status| status.next_secret_since.is_none()).await.expect("running");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn kept_connection_that_had_ended_costs_one_more_request_and_no_wait() {
    let bench = Bench::start(Retry::Steady, 1, |post: Post| async move {
        if post.nth == 1 { Err(SendError::Stale("closed".to_owned())) } else { status(200) }
    })
    .await;
    bench.append("1").await;
    bench.all_settled(1).await;
    let seen = bench.seen();
    assert_eq!((seen.len(), seen[1].at), (2, seen[0].at));
    assert!(seen[0].request_id == seen[1].request_id && bench.attempts(1).await.is_empty());
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn kept_connections_that_had_ended_are_not_tried_one_after_the_other() {
    let bench =
        Bench::start(Retry::List(Vec::new()), 1, |_| async { Err(SendError::Stale("closed".to_owned())) }).await;
    bench.append("1").await;
    bench.all_settled(1).await;
    assert_eq!(bench.seen().len(), 2);
    assert_eq!(bench.attempts(1).await, ["answer cut off"]);
    bench.stop().await;
}

async fn rotating<F, R>(takeover: Takeover, script: F) -> Bench
where
    F: Fn(Post) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Answer, SendError>> + Send + 'static,
{
    Bench::with(|destination| rotate(destination, takeover), script).await
}

/// Has one request at a time, signed with `old` and then with `new`.
fn rotate(destination: &mut config::Destination, takeover: Takeover) {
    destination.concurrency = 1;
    destination.secret_token = Secret::new("old");
    destination.next_secret_token = Some(NextSecretToken { token: Secret::new("new"), takeover });
}

/// Answers as a handler that knows one secret.
fn known(post: &Post, secret: &str, refusal: u16) -> Result<Answer, SendError> {
    status(if is_signed(post, secret) { 200 } else { refusal })
}

/// Answers as a handler that knows one secret, to URL validations, too.
fn validated(post: &Post, secret: &str) -> Result<Answer, SendError> {
    let mut answer = known(post, secret, 401)?;
    let question: Option<Value> = serde_json::from_slice(&post.body).ok();
    if let Some(plain) = question.as_ref().and_then(|question| question["payload"]["plainToken"].as_str()) {
        let encrypted = Signer::new(&Secret::new(secret)).validation_token(plain);
        answer.excerpt = json!({ "plainToken": plain, "encryptedToken": encrypted }).to_string();
    }
    Ok(answer)
}

fn is_signed(post: &Post, secret: &str) -> bool {
    Signer::new(&Secret::new(secret)).verify(&post.timestamp, &post.body, &post.signature)
}

/// Tells with which secret each request was signed.
fn signed(bench: &Bench) -> Vec<&'static str> {
    let name = |post: &Post| ["old", "new"].into_iter().find(|secret| is_signed(post, secret)).expect("one of the two");
    bench.seen().iter().map(name).collect()
}
