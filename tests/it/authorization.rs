//! Secret tokens that are replaced, and headers that handlers ask for, through the whole program.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use zoomhook::config::secret::Secret;
use zoomhook::webhook::signature::Signer;

use crate::lab::{Bridge, Lab, body, write_private};

/// Both hold the canary that the lab looks for.
const OLD: &str = "canary-secret-token";
const NEXT: &str = "canary-secret-token-next";

#[tokio::test]
async fn secret_that_a_handler_replaced_burns_nothing_and_is_told_once() {
    let (mut lab, handler) = lab().await;
    lab.configure(&handler, "next_secret_token = { file = \"NEXT\" }\non_refused = \"try_next\"");
    let bridge = live(&lab).await;
    lab.zoom.push(&body(1)).await;
    handler.has_taken(1).await;
    handler.knows(NEXT);
    for n in 2..=5 {
        lab.zoom.push(&body(n)).await;
        handler.has_taken(n).await;
    }
    let status = bridge.status().await;
    assert!(status["destinations"][0]["status"]["next_secret_since"].is_string(), "{status:#}");
    assert!(status.to_string().contains("make it the secret_token"), "{status:#}");

    // A restart finds out again.
    let log = bridge.stop().await;
    assert_eq!(log.matches("takes next_secret_token, which signs from now on").count(), 1, "{log}");
    let bridge = live(&lab).await;
    lab.zoom.push(&body(6)).await;
    handler.has_taken(6).await;
    bridge.stop().await;
    let rows = lab.rows();
    assert!(rows.len() == 6 && rows.iter().all(|row| row.deliveries[0].attempts == 1), "one attempt each");
}

#[tokio::test]
async fn reload_replaces_secret_authorization_and_headers_for_what_comes() {
    let (mut lab, handler) = lab().await;
    lab.configure(&handler, "");
    let bridge = live(&lab).await;
    lab.zoom.push(&body(1)).await;
    handler.has_taken(1).await;

    handler.knows(NEXT);
    lab.configure(
        &handler,
        &format!(
            "next_secret_token = {{ file = \"NEXT\" }}\nswitch_at = 2026-01-01T00:00:00Z\ntraceparent = true\n\
             headers = {{ x-tenant = \"7\", x-key = {{ file = \"NEXT\" }} }}\n\
             standard_webhooks_secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
             auth = {{ oauth = {{ token_url = \"{}\", client_id = \"me\", client_secret = {{ file = \"NEXT\" }} }} }}",
            handler.token_url
        ),
    );
    lab.write_configuration(&[]);
    let (status, answer) = bridge.post("/api/v1/reload", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    lab.zoom.push(&body(2)).await;
    handler.has_taken(2).await;

    let [first, second] = &handler.taken()[..] else { panic!("two requests") };
    for name in ["authorization", "x-tenant", "traceparent", "webhook-id"] {
        assert!(!first.contains_key(name), "{name} before it was asked for");
    }
    let text = |name: &str| second[name].to_str().expect("text").to_owned();
    assert_eq!((text("authorization").as_str(), text("x-tenant").as_str()), ("Bearer issued", "7"));
    assert_eq!(text("x-key"), NEXT);
    assert_eq!(text("webhook-id"), text("x-zm-request-id"));
    let trace = text("x-zm-request-id").replace('_', "");
    assert!(text("traceparent").starts_with(&format!("00-{trace}-")), "{}", text("traceparent"));
    bridge.stop().await;
}

#[tokio::test]
async fn commands_use_the_secret_in_force_and_what_the_handler_asks_for() {
    let (mut lab, handler) = lab().await;
    handler.knows(NEXT);
    handler.asks_for("Basic bWU6Y2FuYXJ5LXNlY3JldC10b2tlbi1uZXh0");
    let basic = "auth = { basic = { username = \"me\", password = { file = \"NEXT\" } } }";
    for takeover in ["switch_at = 2026-01-01T00:00:00Z", "on_refused = \"try_next\""] {
        lab.configure(&handler, &format!("next_secret_token = {{ file = \"NEXT\" }}\n{takeover}\n{basic}"));
        lab.write_configuration(&[]);
        let (_, out, err) = lab.run(&["check", "--probe"]).await;
        assert!(out.contains("destination `crm`: the handler answered its url validation, and has next"), "{out}{err}");
        assert!(!out.contains("canary"), "{out}");
        let (code, out, err) = lab.run(&["send", "meeting.started", "--destination", "crm"]).await;
        assert!(code == 0 && !out.contains("canary"), "{out}{err}");
        let (code, out, err) = lab.run(&["send", "--url-validation", "--destination", "crm"]).await;
        assert_eq!(code, 0, "{out}{err}");

        let path = lab.directory.path().join("body.json");
        std::fs::write(&path, "{}").expect("written");
        for (secret, expected) in [(NEXT, 0), ("another", 1)] {
            let signature = Signer::new(&Secret::new(secret)).sign("1785368934", b"{}");
            let claim = ["verify", "--signature", &signature, "--timestamp", "1785368934", "--destination", "crm"];
            let (code, out, err) = lab.run(&[&claim[..], &["--body", path.to_str().expect("text")]].concat()).await;
            assert_eq!(code, expected, "{out}{err}");
        }
    }
    let (code, _, err) = lab.run(&["send", "meeting.started", "--destination", "nobody"]).await;
    assert!(code == 2 && err.contains("--destination: expected crm"), "{err}");
}

async fn lab() -> (Lab, Handler) {
    let lab = Lab::new(&[]).await;
    write_private(&lab.directory.path().join("next"), NEXT);
    (lab, Handler::start().await)
}

async fn live(lab: &Lab) -> Bridge {
    let bridge = lab.bridge().await;
    bridge.until_ready().await;
    bridge
}

impl Lab {
    /// Puts one destination into the configuration; `NEXT` stands for the file of the next secret.
    fn configure(&mut self, handler: &Handler, lines: &str) {
        let next = self.directory.path().join("next").display().to_string();
        self.more_configuration = format!(
            "[[destination]]\nname = \"crm\"\nurl = \"{}\"\nsecret_token = {{ env = \"LAB_SECRET_TOKEN\" }}\n{}\n",
            handler.url,
            lines.replace("NEXT", &next)
        );
    }
}

/// Is a handler that refuses what is not signed with its secret, and gives tokens.
struct Handler {
    url: String,
    token_url: String,
    state: Arc<Knowledge>,
}

struct Knowledge {
    secret: Mutex<&'static str>,
    authorization: Mutex<Option<&'static str>>,
    taken: watch::Sender<Vec<HeaderMap>>,
}

impl Handler {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Knowledge {
            secret: Mutex::new(OLD),
            authorization: Mutex::new(None),
            taken: watch::Sender::new(Vec::new()),
        });
        let token = || async { Json(json!({ "access_token": "issued", "token_type": "bearer", "expires_in": 3600 })) };
        let router = Router::new().route("/token", post(token)).fallback(take).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url: format!("http://{address}/webhook"), token_url: format!("http://{address}/token"), state }
    }

    fn knows(&self, secret: &'static str) {
        *self.state.secret.lock().expect("no panic") = secret;
    }

    fn asks_for(&self, authorization: &'static str) {
        *self.state.authorization.lock().expect("no panic") = Some(authorization);
    }

    async fn has_taken(&self, requests: usize) {
        self.state.taken.subscribe().wait_for(|taken| taken.len() >= requests).await.expect("alive");
    }

    fn taken(&self) -> Vec<HeaderMap> {
        self.state.taken.borrow().clone()
    }
}

async fn take(State(state): State<Arc<Knowledge>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let signer = Signer::new(&Secret::new(*state.secret.lock().expect("no panic")));
    let asked_for = *state.authorization.lock().expect("no panic");
    let genuine = signer.verify(&text("x-zm-request-timestamp"), &body, &text("x-zm-signature"));
    if !genuine || asked_for.is_some_and(|authorization| authorization != text("authorization")) {
        return (StatusCode::UNAUTHORIZED, format!("you sent {}", text("authorization")));
    }
    let question: Option<Value> = serde_json::from_slice(&body).ok();
    if let Some(plain) = question.as_ref().and_then(|question| question["payload"]["plainToken"].as_str()) {
        let encrypted = signer.validation_token(plain);
        return (StatusCode::OK, json!({ "plainToken": plain, "encryptedToken": encrypted }).to_string());
    }
    state.taken.send_modify(|taken| taken.push(headers));
    (StatusCode::OK, String::new())
}
