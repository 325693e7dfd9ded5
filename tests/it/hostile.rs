//! Peers that mean harm, at both ends of the bridge: what they cost stays within bounds, and others notice nothing.
//!
//! What one attempt and one socket bear is tried beside the code, in `hostile.rs` of their tests, and what strangers can
//! do to the operator's port in those of `admin::listener`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use zoomhook::simulator::fault::Faults;

use crate::lab::{Lab, bodies, body};
use crate::readme::root;

#[tokio::test]
async fn handler_that_floods_interim_answers_costs_a_few_attempts_and_the_others_nothing() {
    const EVENTS: usize = 300;
    const CONCURRENCY: usize = 4;
    let mut lab = Lab::new(&["good"]).await;
    let flood = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = flood.local_addr().expect("an address");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = flood.accept().await.expect("a connection");
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                assert!(socket.read(&mut [0; 4096]).await.expect("a request") > 0);
                let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n".repeat(64);
                while socket.write_all(&interim).await.is_ok() {}
            });
        }
    });
    lab.more_configuration = format!(
        "[[destination]]\nname = \"evil\"\nurl = \"http://{address}/\"\nsecret_token = {{ env = \"LAB_SECRET_TOKEN\" }}\n\
         timeout = \"100ms\"\nconcurrency = {CONCURRENCY}\n"
    );
    let bridge = lab.live_bridge().await;
    let before = bridge.peak_bytes();
    let events = bodies(0..EVENTS);
    lab.zoom.push_all(&events).await;
    lab.handler("good").has_taken(EVENTS).await;
    bridge.until("/metrics", |_, page| page.contains("zoomhook_breaker_open{destination=\"evil\"} 1")).await;
    let grown = bridge.peak_bytes() - before;
    assert!(grown < (24 << 20), "{grown} bytes more");
    // The window of the breaker, what was under way as it opened, and a probe; not one for each event.
    let attempts = connections.load(Ordering::Relaxed);
    assert!(attempts > 0 && attempts <= 40 + CONCURRENCY, "{attempts} attempts");
    let (_, page) = bridge.get("/metrics").await;
    assert!(page.contains("zoomhook_breaker_open{destination=\"good\"} 0"), "{page}");
    bridge.kill().await;
    let rows = lab.rows();
    assert_eq!(rows.len(), EVENTS);
    assert!(rows.iter().all(|row| row.deliveries.iter().any(|it| &*it.destination == "evil")), "one was forgotten");
}

#[tokio::test]
async fn zoom_whose_events_are_made_to_explode_is_relayed_within_bounded_memory() {
    const SIZE: usize = 3 << 20;
    let wrap =
        |payload: String| format!(r#"{{"event":"meeting.started","payload":{payload},"event_ts":1785369357392}}"#);
    let list = |item: &str| format!("[{}{item}]", format!("{item},").repeat(SIZE / (item.len() + 1)));
    let keys = |name: fn(usize) -> String| {
        let members: Vec<String> = (0..SIZE / 12).map(|number| format!("\"{}\":1", name(number))).collect();
        format!("{{{}}}", members.join(","))
    };
    let explosive = [
        ("depth", "[".repeat(SIZE / 2) + &"]".repeat(SIZE / 2)),
        ("depth of objects", "{\"a\":".repeat(SIZE / 7) + "1" + &"}".repeat(SIZE / 7)),
        ("one text", format!("\"{}\"", "x".repeat(SIZE))),
        ("escapes", format!("\"{}\"", r"\u0001".repeat(SIZE / 6))),
        ("one number", "9".repeat(SIZE)),
        ("one fraction", format!("0.{}1", "0".repeat(SIZE))),
        ("exponents", list("1e-99999999")),
        ("empty things", list("[]")),
        ("many keys", keys(|number| format!("k{number:06}"))),
        ("one key again and again", keys(|_| "same567".to_owned())),
        ("indices, the last one first", keys(|number| format!("{:07}", 9_999_999 - number))),
    ];
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let before = bridge.peak_bytes();
    for (count, (what, payload)) in explosive.iter().enumerate() {
        assert_eq!(lab.zoom.push(&wrap(payload.clone())).await, 1, "{what}: no socket");
        lab.handler("crm").has_taken(count + 1).await;
    }
    let grown = bridge.peak_bytes() - before;
    assert!(grown < (128 << 20), "{} MiB more", grown >> 20);
    // And it goes on as if nothing had been.
    lab.zoom.push(&body(1)).await;
    lab.handler("crm").has_taken(explosive.len() + 1).await;
    assert_eq!((lab.zoom.counts().accepted, lab.gaps().len()), (1, 1), "the socket outlived them");
    bridge.stop().await;
}

#[tokio::test]
async fn garbage_between_events_is_counted_and_loses_none_of_them() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let mut faults = Faults::default();
    for fault in ["frame-garbage", "frame-text", "frame-unknown", "frame-fragmented"] {
        faults.set(fault).expect("a fault");
    }
    lab.zoom.set_faults(faults);
    let events = bodies(0..500);
    lab.zoom.push_all(&events).await;
    lab.handler("crm").has_taken(events.len()).await;
    // One that is no JSON and one whose content is none before each; unknown modules are none of our business.
    let malformed = format!("zoomhook_frames_malformed_total{{subscription=\"main\"}} {}\n", 2 * events.len());
    bridge.until("/metrics", |_, page| page.contains(&malformed)).await;
    bridge.stop().await;
    lab.assert_nothing_forgotten();
}

#[tokio::test]
async fn oversized_question_is_refused_or_answered_with_one_page_within_bounded_memory() {
    const EVENTS: usize = 3000;
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    lab.zoom.push_all(&bodies(0..EVENTS)).await;
    lab.handler("crm").has_taken(EVENTS).await;
    let before = bridge.peak_bytes();
    for limit in ["18446744073709551615", "99999999999999999999", "1000000", "-1", "1e9"] {
        let (status, text) = bridge.get(&format!("/api/v1/events?limit={limit}")).await;
        let events = text.matches("\"request_id\"").count();
        assert!((status == 400 || status == 200) && events <= 1000, "{limit}: {status} with {events} events");
    }
    let long = "a".repeat(32 << 10);
    for path in [
        format!("/api/v1/events?kind={long}"),
        format!("/api/v1/events?{}", "x=1&".repeat(8 << 10)),
        format!("/{long}"),
    ] {
        let (status, text) = bridge.get(&path).await;
        assert!(matches!(status, 400 | 404 | 414 | 431) && text.len() < 4096, "{status} {} bytes", text.len());
    }
    let grown = bridge.peak_bytes() - before;
    assert!(grown < (16 << 20), "{} MiB more", grown >> 20);
    bridge.stop().await;
}

#[test]
fn tokens_and_secrets_are_compared_in_one_place_which_takes_the_same_time_wherever_they_differ() {
    let secret = fs::read_to_string(root().join("src/config/secret.rs")).expect("readable");
    let compare = secret.split("impl PartialEq for Secret").nth(1).and_then(|rest| rest.split("\n}").next());
    let compare = compare.expect("a comparison of its own");
    assert!(compare.contains(".ct_eq(") && !compare.contains("=="), "{compare}");
    let (before, _) = secret.split_once("pub struct Secret").expect("a declaration");
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    assert!(!attributes.contains("PartialEq"), "{attributes}");
    // What is taken out of a secret is not compared by other means.
    let mut seen = 0;
    each_source(&root().join("src"), &mut |path, text| {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| line.contains(".expose()")) {
            seen += 1;
            let compared =
                ["==", "!=", ".cmp(", "eq_ignore", "starts_with", "ends_with"].iter().any(|it| line.contains(it));
            assert!(!compared, "{}: {line}", path.display());
        }
    });
    assert!(seen > 5, "{seen} places");
}

fn each_source(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_test = path.ends_with("tests") || path.ends_with("tests.rs");
        if path.is_dir() && !is_test {
            each_source(&path, look);
        } else if path.extension().is_some_and(|end| end == "rs") && !is_test {
            look(&path, &fs::read_to_string(&path).expect("readable"));
        }
    }
}
