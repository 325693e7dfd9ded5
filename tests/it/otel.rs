//! A collector of traces sees each event from its frame to its answer, and costs no event when it does not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::front::Front;
use crate::lab::{Lab, assert_no_canary, body};
use crate::port::Authority;

/// Takes traces, and the requests of a destination; clones are the same one.
#[derive(Clone)]
struct Collector(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    /// What export requests are answered, the last one for ever.
    answers: Mutex<Vec<StatusCode>>,
    /// What the handler answers, the last one for ever.
    handled: Mutex<Vec<StatusCode>>,
    traceparents: Mutex<Vec<String>>,
    spans: watch::Sender<Vec<Span>>,
    delivered: watch::Sender<usize>,
}

impl Collector {
    async fn start(answers: &[u16], handled: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let statuses =
            |codes: &[u16]| codes.iter().rev().map(|code| StatusCode::from_u16(*code).expect("a status")).collect();
        let collector = Self(Arc::new(Inner {
            address: listener.local_addr().expect("bound"),
            answers: Mutex::new(statuses(answers)),
            handled: Mutex::new(statuses(handled)),
            traceparents: Mutex::default(),
            spans: watch::Sender::default(),
            delivered: watch::Sender::default(),
        }));
        let routes = Router::new().route("/v1/traces", post(collect)).route("/webhook", post(handle));
        let router = routes.with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        collector
    }

    /// Adds the collector to a lab, and itself as a destination.
    fn configure(&self, lab: &mut Lab, more: &str) {
        let address = self.0.address;
        lab.more_configuration = format!(
            "[traces]\nendpoint = \"http://{address}\"\nheaders = {{ x-key = {{ env = \"LAB_SECRET_TOKEN\" }} }}\n{more}\n\
             [[destination]]\nname = \"crm\"\nurl = \"http://{address}/webhook?key=canary-payload\"\n\
             secret_token = {{ env = \"LAB_SECRET_TOKEN\" }}\ntraceparent = true\nretry = [\"100ms\", \"100ms\"]\n"
        );
    }

    async fn has_delivered(&self, count: usize) {
        self.0.delivered.subscribe().wait_for(|delivered| *delivered >= count).await.expect("alive");
    }

    async fn spans(&self, count: usize) -> Vec<Span> {
        let mut watched = self.0.spans.subscribe();
        watched.wait_for(|spans| spans.len() >= count).await.expect("alive").clone()
    }
}

fn next(answers: &Mutex<Vec<StatusCode>>) -> StatusCode {
    let mut answers = answers.lock().expect("no panic");
    if answers.len() > 1 { answers.pop().expect("more than one") } else { answers[0] }
}

async fn collect(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-key"], "canary-secret-token");
    let answer = next(&collector.0.answers);
    let request = ExportTraceServiceRequest::decode(body).expect("otlp");
    if answer.is_success() {
        let spans = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        collector.0.spans.send_modify(|all| all.extend(spans.flat_map(|scope| scope.spans)));
    }
    answer
}

async fn handle(State(collector): State<Collector>, headers: HeaderMap) -> StatusCode {
    let header = headers["traceparent"].to_str().expect("text").to_owned();
    collector.0.traceparents.lock().expect("no panic").push(header);
    let answer = next(&collector.0.handled);
    if answer.is_success() {
        collector.0.delivered.send_modify(|delivered| *delivered += 1);
    }
    answer
}

#[tokio::test]
async fn event_is_one_trace_with_its_retry_after_a_restart_and_the_handler_is_told_of_it() {
    let mut lab = Lab::new(&[]).await;
    // What a collector cannot take just then is sent again.
    let collector = Collector::start(&[503, 200], &[503, 200]).await;
    collector.configure(&mut lab, "");
    lab.more_configuration = lab.more_configuration.replace("\"100ms\", ", "\"3s\", ");
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    bridge.until("/api/v1/events/1", |_, text| text.contains("status 503")).await;
    // Three spans, of which none was lost when it ended.
    bridge.stop().await;
    collector.spans(3).await;
    let bridge = lab.live_bridge().await;
    collector.has_delivered(1).await;
    bridge.stop().await;
    let spans = collector.spans(4).await;

    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (receive, commit, posts) = (named("receive main"), named("commit"), named("POST"));
    assert_eq!((receive.len(), commit.len(), posts.len()), (1, 1, 2), "{spans:#?}");
    assert!(receive[0].parent_span_id.is_empty());
    assert_eq!(commit[0].parent_span_id, receive[0].span_id);
    assert!(posts.iter().all(|post| post.parent_span_id == commit[0].span_id));
    assert!(spans.iter().all(|span| span.trace_id == receive[0].trace_id));
    assert!(spans.iter().all(|span| span.start_time_unix_nano <= span.end_time_unix_nano));

    let told = collector.0.traceparents.lock().expect("no panic").clone();
    let header = |post: &&Span| format!("00-{}-{}-01", hex::encode(&post.trace_id), hex::encode(&post.span_id));
    assert_eq!(posts.iter().map(header).collect::<Vec<_>>(), told);
    let request_id = lab.rows()[0].request_id.uuid().simple().to_string();
    assert_eq!(hex::encode(&receive[0].trace_id), request_id);

    let status = |post: &Span| (attribute(post, "http.response.status_code"), attribute(post, "error.type"));
    assert_eq!(status(posts[0]), ("503".to_owned(), "503".to_owned()));
    assert_eq!(status(posts[1]), ("200".to_owned(), String::new()));
    assert_eq!(attribute(posts[1], "http.request.resend_count"), "1");
    assert_eq!(attribute(posts[0], "url.full"), format!("http://{}/webhook", collector.0.address));
    assert_no_canary(&format!("{spans:?}"));
}

#[tokio::test]
async fn collector_that_refuses_costs_spans_which_are_counted_and_no_event() {
    let mut lab = Lab::new(&[]).await;
    let collector = Collector::start(&[400], &[200]).await;
    collector.configure(&mut lab, "");
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    lab.zoom.push(&body(2)).await;
    collector.has_delivered(2).await;
    bridge.until("/metrics", |_, text| text.contains("zoomhook_spans_dropped_total 6")).await;
    let log = bridge.stop().await;
    assert_eq!(log.matches("the collector takes no traces").count(), 1, "{log}");
}

#[tokio::test]
async fn trace_outside_of_the_sample_is_not_sent_and_not_asked_of_the_handler() {
    let mut lab = Lab::new(&[]).await;
    let collector = Collector::start(&[200], &[200]).await;
    collector.configure(&mut lab, "sample = \"0.000001%\"");
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    collector.has_delivered(1).await;
    bridge.stop().await;
    assert!(collector.0.spans.borrow().is_empty());
    let told = collector.0.traceparents.lock().expect("no panic").clone();
    assert!(told.len() == 1 && told[0].ends_with("-00"), "{told:?}");
}

#[tokio::test]
async fn collector_is_among_the_hosts_that_are_shown_and_its_key_is_not() {
    let mut lab = Lab::new(&[]).await;
    let collector = Collector::start(&[200], &[200]).await;
    collector.configure(&mut lab, "sample = \"10%\"");
    lab.write_configuration(&[]);
    let (code, out, err) = lab.run(&["check"]).await;
    assert!(code == 0 && out.contains("traces") && out.contains("sample = \"10%\""), "{out}{err}");
    assert_no_canary(&out);
}

#[tokio::test]
async fn collector_is_contacted_and_listed_with_everybody_else_and_nobody_beside() {
    let collector = Collector::start(&[200], &[200]).await;
    crate::egress::contacts_are_those_of_check(Some(collector.0.address)).await;
    assert!(!collector.0.spans.borrow().is_empty(), "it was sent traces");
}

#[tokio::test]
async fn certificate_of_the_collector_that_is_about_to_expire_is_a_metric_and_a_warning() {
    let mut lab = Lab::new(&[]).await;
    let collector = Collector::start(&[200], &[200]).await;
    let (authority, ca_file) = (Authority::new(), lab.directory.path().join("house.pem"));
    std::fs::write(&ca_file, authority.0.pem()).expect("written");
    let plain = format!("http://{}", collector.0.address);
    let front = Front::named("127.0.0.1", authority.identity("127.0.0.1", 3), &plain).await;
    collector.configure(&mut lab, &format!("ca_file = {ca_file:?}"));
    let endpoint = format!("endpoint = \"{plain}\"");
    lab.more_configuration =
        lab.more_configuration.replace(&endpoint, &format!("endpoint = \"https://{}\"", front.address()));
    let bridge = lab.live_bridge().await;
    lab.zoom.push(&body(1)).await;
    collector.spans(3).await;
    bridge.until("/metrics", |_, page| page.contains("expiry_timestamp_seconds{side=\"collector\"} ")).await;
    bridge.signal("HUP");
    bridge.logged("the certificate that the collector of traces shows expires in 2 d").await;
    bridge.stop().await;
}

fn attribute(span: &Span, key: &str) -> String {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key);
    match attribute.and_then(|attribute| attribute.value.clone()?.value) {
        None => String::new(),
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => panic!("{key}: {other:?}"),
    }
}
