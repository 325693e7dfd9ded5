//! Whatever a frame is, it is read, kept or counted.

use super::*;

#[tokio::test(start_paused = true)]
async fn fragments_are_joined() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    let text = message(STARTED);
    let (first, rest) = text.as_bytes().split_at(10);
    let (second, third) = rest.split_at(20);
    let part = |bytes: &[u8], data, last| Frame::Frame(RawFrame::message(bytes.to_vec(), OpCode::Data(data), last));
    zoom.frame(part(first, Data::Text, false)).await;
    zoom.frame(part(second, Data::Continue, false)).await;
    zoom.frame(Frame::Ping(Bytes::new())).await;
    zoom.frame(part(third, Data::Continue, true)).await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    assert_eq!(scene.stored().await, event(STARTED));
}

#[tokio::test(start_paused = true)]
async fn bodies_of_four_mebibytes_are_taken_though_their_frames_are_larger() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    let quotes = format!(r#"{{"event":"big","payload":[{}""]}}"#, r#""","#.repeat((4 << 20) / 3 - 20));
    for body in [quotes, format!(r#"{{"event":"big","payload":"{}"}}"#, "x".repeat(3 << 20))] {
        let (stored, ()) = tokio::join!(scene.stored_but_alive(), zoom.event(&body));
        assert!(stored == event(&body), "the body of {} bytes came out different", body.len());
    }
}

#[tokio::test(start_paused = true)]
async fn message_beyond_the_limit_costs_the_socket_and_is_counted() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    scene.link(Link::Live).await;
    // The peer writes until the socket is gone.
    zoom.0.send(Frame::text("x".repeat(9 << 20))).await.expect_err("a socket that takes it");
    let status = scene.link(Link::Waiting).await;
    assert!(status.reason.starts_with("message too long: 9437184 bytes"), "{}", status.reason);
    assert_eq!((status.malformed, scene.malformed()), (1, 1));
    let _zoom = scene.accept().await;
    scene.link(Link::Live).await;
}

#[tokio::test(start_paused = true)]
async fn binary_frames_are_read_as_text() {
    let mut scene = Scene::start();
    let mut zoom = scene.dialed().await;
    zoom.frame(Frame::binary(ACCEPTED)).await;
    zoom.frame(Frame::binary(message(STARTED))).await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    assert_eq!(scene.stored().await, event(STARTED));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_understood_is_kept_counted_and_harmless() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    zoom.send("garbage").await;
    zoom.frame(Frame::binary(vec![0xff, 0x00])).await;
    zoom.send(r#"{"module":"notice","content":"soon"}"#).await;
    zoom.event("no json").await;
    zoom.event(STARTED).await;
    let parked = |body: &[u8], why| Stored::Event { kind: String::new(), body: body.to_vec(), parked: Some(why) };
    assert_eq!(scene.stored().await, parked(b"garbage", "frame is not a json object"));
    assert_eq!(scene.stored().await, parked(b"\xff\x00", "frame is not text"));
    assert_eq!(scene.stored().await, parked(b"no json", "content is not json"));
    assert_eq!(scene.stored().await, event(STARTED));
    let status = scene.status(|status| status.malformed == 3).await;
    assert_eq!((status.link, status.events, scene.malformed()), (Link::Live, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn garbage_is_no_acceptance() {
    let mut scene = Scene::start();
    let mut zoom = scene.dialed().await;
    zoom.send("garbage").await;
    let status = scene.link(Link::Waiting).await;
    assert_eq!(&*status.reason, "zoom did not accept the socket within 15 s");
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    zoom.heartbeat().await;
    zoom.frame(Frame::Ping(Bytes::from_static(b"there?"))).await;
    assert_eq!(zoom.next().await, Frame::Pong(Bytes::from_static(b"there?")));
}
