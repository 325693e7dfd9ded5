//! What each event costs before it is sent: `cargo bench --bench micro`.
//!
//! The spool of `store` lies under `target`, and is synced: its times are those of a disk.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use zoomhook::clock::Clock;
use zoomhook::config;
use zoomhook::config::secret::Secret;
use zoomhook::event::{Digest, Received, text};
use zoomhook::spool::Spool;
use zoomhook::telemetry::metrics::Metrics;
use zoomhook::webhook::canonical::Form;
use zoomhook::webhook::signature::Signer;
use zoomhook::zoom::message;

/// A body as events are in the median, and one of 1.5 kB with escapes, decimals and texts that are not ASCII.
const SMALL: &str = include_str!("../../fixtures/events/meeting/meeting.started.json");

fn large() -> String {
    let participant = r#"{"user_id":"16778240","user_name":"Jörg Müller — 週次 🚀","participant_uuid":"55555AAAiAAAAAiAiAiiAii","email":"joerg@example.com","registrant_id":"abcdefghij0-klmnopq23456","note":"a \"quoted\" word\nand a line","join_time":"2026-07-30T09:00:00Z","score":0.25,"ids":[1,2,3],"flags":{"host":true,"muted":false,"role":null}}"#;
    format!(
        r#"{{"event":"meeting.participant_data","payload":{{"account_id":"AAAAAABBBBBB","object":{{"id":"86084701483","uuid":"de+IDqR9/NA/J1==","participants":[{}]}}}},"event_ts":1785369357392}}"#,
        [participant; 4].join(",")
    )
}

fn bodies() -> [(&'static str, String); 2] {
    let large = large();
    assert!((1400..1700).contains(&large.len()), "{} bytes", large.len());
    [("small", SMALL.to_owned()), ("1.5 kB", large)]
}

fn canonical(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("canonical");
    for (name, body) in bodies() {
        assert_eq!(Form::of(body.as_bytes()), Form::Fixed);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("fixed", name), |bencher| {
            bencher.iter(|| Form::of(black_box(body.as_bytes())));
        });
        let spaced = body.replace("\":", "\": ");
        group.bench_function(BenchmarkId::new("rewritten", name), |bencher| {
            bencher.iter(|| Form::of(black_box(spaced.as_bytes())));
        });
    }
}

fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (name, body) in bodies() {
        let content = serde_json::to_string(&body).expect("a string");
        let frame = format!(r#"{{"module":"message","content":{content},"header":{{}}}}"#);
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| message::parse(black_box(frame.as_bytes()))));
    }
}

fn digest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    for (name, body) in bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| Digest::of(black_box(body.as_bytes()))));
    }
}

fn search_text(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search text");
    for (name, body) in bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| text::of(black_box(body.as_bytes()))));
    }
}

fn signature(criterion: &mut Criterion) {
    let signer = Signer::new(&Secret::new("bridge-test-secret"));
    let mut group = criterion.benchmark_group("signature");
    for (name, body) in bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| signer.sign(black_box("1785368934"), black_box(body.as_bytes())));
        });
    }
}

/// Hands events to the writer at once, and waits until all are durable. How many commits that takes is the writer's
/// choice: while it syncs one, the next gathers.
fn store(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let runtime = Runtime::new().expect("a runtime");
    let settings = settings(directory.path());
    let clock = Clock::system();
    let (spool, writer) = Spool::open(&settings, clock.clone(), Arc::new(Metrics::new())).expect("a spool");
    let handle = runtime.handle().clone();
    let thread = std::thread::spawn(move || writer.run(&handle));
    let received = Received {
        subscription: "main".into(),
        kind: "meeting.participant_data".into(),
        event_ts: Some(1_785_369_357_392),
        received_at: clock.now(),
        body: Bytes::from(large()),
        parked: None,
    };
    let appender = spool.appender();
    let mut group = criterion.benchmark_group("store");
    // Each round is kept: the file grows by it.
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for count in [1_u64, 64, 512] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    for _ in 0..count {
                        appender.append(received.clone()).await.expect("open");
                    }
                    spool.flush().await.expect("open");
                });
            });
        });
    }
    group.finish();
    runtime.block_on(spool.close()).expect("open");
    thread.join().expect("no panic");
}

/// Nothing but the recognition of repeats is switched off: every body is the same.
fn settings(directory: &Path) -> config::Spool {
    config::Spool {
        path: directory.join("zoomhook.db"),
        retention: config::Spool::RETENTION,
        max_size: config::Spool::MAX_SIZE,
        when_full: config::WhenFull::Refuse,
        repeat_window: Duration::ZERO,
        audit_retention: None,
        encryption_key: None,
        old_encryption_keys: Vec::new(),
    }
}

criterion_group!(micro, canonical, frame, digest, search_text, signature, store);
criterion_main!(micro);
