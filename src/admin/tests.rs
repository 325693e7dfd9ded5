use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::caller::Caller;
use super::input::{self, Params};
use super::*;
use crate::telemetry::metrics::ByReason;

#[tokio::test]
async fn without_the_token_only_the_health_paths_answer() {
    let guard = || Guard::Token(Secret::new("canary-token"), Some(Secret::new("canary-viewer")));
    for path in ["/echo", "/nowhere", "/metrics"] {
        let answer = ask(guard(), request(Method::GET, path)).await;
        answer.is_problem(StatusCode::UNAUTHORIZED, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert!(!answer.text.contains("canary"), "{}", answer.text);
    }
    assert_eq!(ask(guard(), request(Method::GET, "/livez")).await.status, StatusCode::OK);
    let mut shown = request(Method::GET, "/echo");
    shown.headers_mut().insert("authorization", HeaderValue::from_static("Bearer canary-token"));
    assert_eq!(ask(guard(), shown).await.status, StatusCode::OK);
}

#[tokio::test]
async fn viewer_looks_and_changes_nothing() {
    let guard = || Guard::Token(Secret::new("canary-token"), Some(Secret::new("canary-viewer")));
    let shown = |mut request: Request, token: &'static str| {
        request.headers_mut().insert("authorization", HeaderValue::from_static(token));
        request
    };
    let get = |token| ask(guard(), shown(request(Method::GET, "/who"), token));
    assert_eq!(get("Bearer canary-viewer").await.text, "viewer");
    assert_eq!(get("Bearer canary-token").await.text, "operator");
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let refused = ask(guard(), shown(request(method, "/body"), "Bearer canary-viewer")).await;
        refused.is_problem(StatusCode::FORBIDDEN, "operator_only");
    }
    let taken = Request::post("/body").header("content-type", "application/json").body(Body::from("{}"));
    let taken = ask(guard(), shown(taken.expect("a request"), "Bearer canary-token")).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text);
}

#[tokio::test]
async fn guessing_a_token_is_counted_and_locks_nobody_out() {
    const GUESSES: u64 = 1000;
    let metrics = Arc::new(Metrics::new());
    let gate = Gate::new(Guard::Token(Secret::new("canary-token"), None), Arc::clone(&metrics));
    let limits = Limits::new(Arc::clone(&metrics), CancellationToken::new());
    let router = layered(Router::new().route("/who", get(async || "you")), gate, limits);
    let ask = |token: String| {
        let request = Request::get("/who").header("authorization", token).body(Body::empty());
        router.clone().oneshot(request.expect("a request"))
    };
    for guess in 0..GUESSES {
        let answer = ask(format!("Bearer {guess}")).await.expect("a router cannot fail");
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(ask("Bearer canary-token".to_owned()).await.expect("a router cannot fail").status(), StatusCode::OK);
    let refusals = metrics.admin_refusals.get_or_create(&ByReason { reason: "unauthorized" }).get();
    assert_eq!(refusals, GUESSES);
}

#[tokio::test]
async fn page_that_rebinds_its_name_to_loopback_is_refused() {
    let mut rebound = request(Method::GET, "/echo");
    rebound.headers_mut().insert("host", HeaderValue::from_static("evil.example:8686"));
    ask(Guard::LoopbackHost, rebound).await.is_problem(StatusCode::FORBIDDEN, "host_refused");
    assert_eq!(ask(Guard::LoopbackHost, request(Method::GET, "/echo")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn form_posted_across_origins_is_refused() {
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let mut form = request(Method::POST, "/body");
        form.headers_mut().remove("content-type");
        if let Some(content_type) = content_type {
            form.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
        }
        ask(Guard::LoopbackHost, form).await.is_problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json");
    }
}

#[tokio::test]
async fn method_that_a_path_does_not_have_is_told_whatever_its_content_type() {
    for (method, path, allowed) in [(Method::PUT, "/echo", "GET,HEAD"), (Method::DELETE, "/body", "POST")] {
        let mut request = request(method, path);
        request.headers_mut().remove("content-type");
        let answer = ask(Guard::LoopbackHost, request).await;
        answer.is_problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
        assert_eq!(answer.header("allow"), allowed);
    }
}

#[tokio::test]
async fn who_has_nothing_to_say_says_nothing_or_an_empty_object() {
    let ask_with = async |body: &'static str| {
        let mut request = request(Method::POST, "/nothing");
        *request.body_mut() = Body::from(body);
        ask(Guard::LoopbackHost, request).await
    };
    for body in ["", "{}", " {} "] {
        assert_eq!(ask_with(body).await.status, StatusCode::OK, "{body:?}");
    }
    for body in ["[]", "null", " ", "{\"dry_run\":true}", "{"] {
        ask_with(body).await.is_problem(StatusCode::BAD_REQUEST, "bad_body");
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let get = |path| request(Method::GET, path);
    let post = |body: String| {
        Request::post("/body")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Body::from(body))
            .expect("a request")
    };
    let cases = [
        (get("/nowhere"), StatusCode::NOT_FOUND, "not_found"),
        (request(Method::DELETE, "/echo"), StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        (get("/echo?limt=5"), StatusCode::BAD_REQUEST, "bad_query"),
        (get("/echo?limit=five"), StatusCode::BAD_REQUEST, "bad_query"),
        (get("/event/x"), StatusCode::BAD_REQUEST, "bad_query"),
        (get("/event/-1"), StatusCode::BAD_REQUEST, "bad_query"),
        (get("/event/+1"), StatusCode::BAD_REQUEST, "bad_query"),
        (get("/event/9223372036854775808"), StatusCode::BAD_REQUEST, "bad_query"),
        (get("/named/%ff"), StatusCode::BAD_REQUEST, "bad_query"),
        (get("/panic"), StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        (post("{".to_owned()), StatusCode::BAD_REQUEST, "bad_body"),
        (post("[]".to_owned()), StatusCode::BAD_REQUEST, "bad_body"),
        (post("[1]".to_owned()), StatusCode::BAD_REQUEST, "bad_body"),
        (post(r#"{"limit":1,"canary":2}"#.to_owned()), StatusCode::BAD_REQUEST, "bad_body"),
        (post(format!("\"{}\"", "x".repeat(limits::BODY_BYTES))), StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
    ];
    for (request, status, code) in cases {
        let answer = ask(Guard::LoopbackHost, request).await;
        answer.is_problem(status, code);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none';"));
    }
}

#[tokio::test]
async fn no_answer_allows_another_origin_anything_and_pages_may_allow_themselves_more() {
    let ask_from = async |method: Method, path| {
        let mut request = request(method, path);
        request.headers_mut().insert("origin", HeaderValue::from_static("https://evil.example"));
        request.headers_mut().insert("access-control-request-method", HeaderValue::from_static("POST"));
        ask(Guard::LoopbackHost, request).await
    };
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST] {
        for path in ["/echo", "/body", "/nowhere", "/livez"] {
            let answer = ask_from(method.clone(), path).await;
            let allows = answer.headers.keys().any(|name| name.as_str().starts_with("access-control-"));
            assert!(!allows, "{method} {path}: {:?}", answer.headers);
            for (name, value) in [
                ("x-frame-options", "DENY"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-resource-policy", "same-origin"),
                ("cross-origin-opener-policy", "same-origin"),
            ] {
                assert_eq!(answer.header(name), value, "{method} {path}");
            }
        }
    }
    let page = ask_from(Method::GET, "/page").await;
    assert_eq!(page.header("content-security-policy"), "script-src 'self'");
}

#[tokio::test]
async fn head_and_options_are_answered_without_a_body_or_with_what_may_be_asked() {
    let head = ask(Guard::LoopbackHost, request(Method::HEAD, "/echo")).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(head.header("content-type"), "application/json");
    for (path, allowed) in [("/echo", "GET,HEAD"), ("/body", "POST")] {
        let options = ask(Guard::LoopbackHost, request(Method::OPTIONS, path)).await;
        options.is_problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
        assert_eq!(options.header("allow"), allowed);
    }
}

#[tokio::test]
async fn unknown_parameter_is_named() {
    let answer = ask(Guard::LoopbackHost, request(Method::GET, "/echo?limt=5")).await;
    let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
    assert!(detail.starts_with("limt: unknown field `limt`, expected `limit`"), "{detail}");
    let answer = ask(Guard::LoopbackHost, request(Method::GET, "/echo?limit=five")).await;
    assert_eq!(answer.json()["detail"], "limit: invalid digit found in string");
}

#[tokio::test]
async fn refused_configuration_lists_every_problem() {
    let problems = vec!["destination.crm.url: expected https".to_owned(), "log.level: expected info".to_owned()];
    let answer = Answer::of(Problem::ConfigurationRefused(problems).into_response()).await;
    answer.is_problem(StatusCode::UNPROCESSABLE_ENTITY, "configuration_refused");
    assert_eq!(answer.json()["problems"][1], "log.level: expected info");
}

#[tokio::test(start_paused = true)]
async fn answer_that_takes_too_long_is_given_up() {
    ask(Guard::LoopbackHost, request(Method::GET, "/hang"))
        .await
        .is_problem(StatusCode::SERVICE_UNAVAILABLE, "timeout");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo {
    limit: Option<u64>,
}

/// Puts the real layers around routes that need no spool.
async fn ask(guard: Guard, request: Request) -> Answer {
    let routes = Router::new()
        .route("/livez", get(async || "alive"))
        .route("/who", get(async |caller: Caller| caller.to_string()))
        .route("/echo", get(async |Params(echo): Params<Echo>| axum::Json(json!({ "limit": echo.limit }))))
        .route("/page", get(async || ([("content-security-policy", "script-src 'self'")], "page")))
        .route("/event/{id}", get(async |input::Id(id): input::Id| id.to_string()))
        .route("/named/{name}", get(async |input::Named(name): input::Named| name))
        .route("/body", post(async |input::Body(echo): input::Body<Echo>| axum::Json(json!({ "limit": echo.limit }))))
        .route("/nothing", post(async |_: input::Nothing| "done"))
        .route("/panic", get(async || if true { panic!("canary") } else { "" }))
        .route("/hang", get(async || std::future::pending::<()>().await));
    let limits = Limits::new(Arc::default(), CancellationToken::new());
    let response =
        layered(routes, Gate::new(guard, Arc::default()), limits).oneshot(request).await.expect("a router cannot fail");
    Answer::of(response).await
}

fn request(method: Method, path: &str) -> Request {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:8686")
        .header("content-type", "application/json")
        .body(Body::empty())
        .expect("a request")
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("a body");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Self { status: parts.status, headers: parts.headers, text }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("a JSON document")
    }

    fn is_problem(&self, status: StatusCode, code: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let document = self.json();
        assert_eq!(document["code"], code);
        assert_eq!(document["status"], status.as_u16());
        assert!(document["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{document}");
        assert!(!self.text.contains("canary") || code == "bad_body", "{}", self.text);
    }
}
