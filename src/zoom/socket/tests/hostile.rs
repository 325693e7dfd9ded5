//! A Zoom, or whoever sits between, that means harm: each costs a socket at most, and memory within the limits.

use tokio::io::AsyncWriteExt as _;

use super::*;

/// Is the first byte of a frame: whether it is the last of its message, a compression bit, and what it is.
const TEXT: u8 = 0x01;
const CONTINUED: u8 = 0x00;
const LAST: u8 = 0x80;
const COMPRESSED: u8 = 0x40;

#[tokio::test(start_paused = true)]
async fn event_in_a_fragment_for_every_byte_is_one_event() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    let body = format!(r#"{{"event":"many","payload":"{}"}}"#, "x".repeat(20_000));
    let text = message(&body);
    let mut bytes = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        let kind = if at == 0 { TEXT } else { CONTINUED };
        let last = if at + 1 == text.len() { LAST } else { 0 };
        bytes.extend([kind | last, 1, byte]);
    }
    let (stored, ()) = tokio::join!(scene.stored(), zoom.raw(&bytes));
    assert_eq!(stored, event(&body));
}

#[tokio::test(start_paused = true)]
async fn message_that_never_ends_is_given_up_at_the_limit_or_when_nothing_whole_was_heard_in_time() {
    for (fragment, limit) in [(64 << 10, "message too long: "), (0, "")] {
        let mut scene = Scene::start();
        let mut zoom = scene.accept().await;
        scene.link(Link::Live).await;
        let mut frame = vec![CONTINUED, 127];
        frame.extend((fragment as u64).to_be_bytes());
        frame.resize(frame.len() + fragment, b'x');
        let mut sent = 0_usize;
        let mut first = frame.clone();
        first[0] = TEXT;
        let flood = async {
            let stream = zoom.0.get_mut();
            let mut next = &first;
            while stream.write_all(next).await.is_ok() {
                sent += next.len();
                next = &frame;
                if fragment == 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        let (status, ()) = tokio::join!(scene.link(Link::Waiting), flood);
        assert!(status.reason.starts_with(limit), "{}", status.reason);
        // What is written beyond the limit stands in the buffers between.
        assert!(sent <= (9 << 20), "{sent} bytes were taken");
        assert!(scene.seconds() <= 75, "{} s", scene.seconds());
        let _zoom = scene.accept().await;
        scene.link(Link::Live).await;
    }
}

#[tokio::test(start_paused = true)]
async fn length_that_no_memory_has_is_refused_before_any_is_taken() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    scene.link(Link::Live).await;
    let mut frame = vec![TEXT | LAST, 127];
    frame.extend((u64::MAX >> 1).to_be_bytes());
    zoom.raw(&frame).await;
    let status = scene.link(Link::Waiting).await;
    assert!(status.reason.starts_with("message too long: 9223372036854775807 bytes"), "{}", status.reason);
    assert_eq!(status.malformed, 1);
}

#[tokio::test(start_paused = true)]
async fn frames_that_break_the_protocol_cost_the_socket_and_are_counted() {
    let frames: [(&str, &[u8]); 6] = [
        ("compressed without having agreed on it", &[TEXT | LAST | COMPRESSED, 2, 0xaa, 0x00]),
        ("text that is no UTF-8", &[TEXT | LAST, 2, 0xff, 0xfe]),
        ("a continuation of nothing", &[CONTINUED | LAST, 1, b'x']),
        ("a message within another", &[TEXT, 1, b'x', TEXT | LAST, 1, b'y']),
        ("a ping in fragments", &[0x09, 1, b'x']),
        ("an opcode of the future", &[0x83, 0]),
    ];
    for (what, frame) in frames {
        let mut scene = Scene::start();
        let mut zoom = scene.accept().await;
        scene.link(Link::Live).await;
        zoom.raw(frame).await;
        let status = scene.link(Link::Waiting).await;
        assert_eq!((status.malformed, scene.malformed()), (1, 1), "{what}: {}", status.reason);
        let mut zoom = scene.accept().await;
        scene.link(Link::Live).await;
        zoom.event(STARTED).await;
        scene.status(|status| status.events == 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn flood_of_control_frames_delays_no_event_and_piles_up_no_answers() {
    const PINGS: usize = 50_000;
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    let mut bytes = Vec::new();
    for _ in 0..PINGS {
        bytes.extend([0x89, 4, b'p', b'i', b'n', b'g', 0x8a, 0]);
    }
    bytes.extend(unmasked(&message(STARTED)));
    // Nobody reads the answers meanwhile.
    let (stored, ()) = tokio::join!(scene.stored(), zoom.raw(&bytes));
    assert_eq!(stored, event(STARTED));
    // The pipe between holds 64 KiB of them, at ten bytes each, and the socket 16 more; what did not fit was not kept.
    let mut answers = 0;
    while let Ok(Some(frame)) = timeout(Duration::from_secs(1), zoom.0.next()).await {
        let frame = frame.expect("a frame");
        if frame.is_pong() {
            answers += 1;
        } else {
            assert_eq!(frame, Frame::text(r#"{"module":"heartbeat"}"#));
        }
    }
    assert!(answers > 0 && answers * 10 <= (64 << 10) + (17 << 10), "{answers} answers");
    assert_eq!(scene.status.borrow().link, Link::Live);
}

impl Zoom {
    /// Writes bytes, whatever they are.
    async fn raw(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.expect("an open socket");
    }
}
