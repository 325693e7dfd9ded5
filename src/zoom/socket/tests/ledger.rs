//! What may have been missed stands in the ledger.

use super::*;

#[tokio::test(start_paused = true)]
async fn sign_of_life_is_stored_while_something_is_heard() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    for second in 0..12 {
        tokio::time::sleep_until(scene.started + Duration::from_millis(second * 1000 + 500)).await;
        zoom.send(ALIVE).await;
    }
    tokio::time::sleep_until(scene.started + Duration::from_secs(50)).await;
    let alive: Vec<_> = std::iter::from_fn(|| scene.stored_already()).collect();
    assert_eq!(alive, [0, 5, 10].map(|at_s| Stored::Alive { at_s }));
}

#[tokio::test(start_paused = true)]
async fn lost_socket_opens_a_gap_that_the_next_one_closes() {
    let mut scene = Scene::start();
    let zoom = scene.accept().await;
    scene.link(Link::Live).await;
    drop(zoom);
    let _zoom = scene.accept().await;
    assert_eq!(scene.stored().await, Stored::GapClosed);
    let gap = Stored::GapOpened { at_s: 0, reason: "connection lost without a close".into() };
    assert_eq!(scene.stored_but_alive().await, gap);
    assert_eq!(scene.stored_but_alive().await, Stored::GapClosed);
}

#[tokio::test(start_paused = true)]
async fn failed_try_opens_a_gap_too() {
    let mut scene = Scene::start();
    drop(scene.dialed().await);
    let reason = "connection lost without a close before it accepted the socket".into();
    assert_eq!(scene.stored().await, Stored::GapOpened { at_s: 0, reason });
}

#[tokio::test(start_paused = true)]
async fn gap_of_a_socket_that_was_lost_unread_begins_with_the_stall() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    scene.stall(&mut zoom).await;
    // What lies unread says nothing of the time in which it lay there.
    zoom.event(STARTED).await;
    zoom.close(CloseCode::Again).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let reason = "closed by zoom: 1013 Bye".to_owned();
    assert_eq!(scene.stored_after_the_stall().await, Stored::GapOpened { at_s: 0, reason });
}

#[tokio::test(start_paused = true)]
async fn gap_of_a_socket_that_outlived_a_stall_begins_when_it_was_last_heard() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    scene.stall(&mut zoom).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    scene.drain();
    while scene.seconds() < 720 {
        zoom.heartbeat().await;
        zoom.send(ALIVE).await;
    }
    let heard_at = scene.seconds();
    zoom.close(CloseCode::Again).await;
    let reason = "closed by zoom: 1013 Bye".to_owned();
    assert_eq!(scene.stored_after_the_stall().await, Stored::GapOpened { at_s: heard_at, reason });
}

#[tokio::test(start_paused = true)]
async fn gap_of_a_socket_that_was_lost_while_the_process_was_stopped_begins_when_it_was_last_heard() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    zoom.heartbeat().await;
    scene.link(Link::Live).await;
    scene.drain();
    zoom.event(STARTED).await;
    zoom.close(CloseCode::Again).await;
    // Nothing runs between the frames and this.
    tokio::time::advance(Duration::from_secs(60)).await;
    let reason = "closed by zoom: 1013 Bye".to_owned();
    assert_eq!(scene.stored_but_alive().await, event(STARTED));
    assert_eq!(scene.stored_but_alive().await, Stored::GapOpened { at_s: 0, reason });
}

#[tokio::test(start_paused = true)]
async fn clock_that_is_set_back_hides_neither_a_gap_nor_a_crash() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    zoom.heartbeat().await;
    zoom.send(ALIVE).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.drain();
    scene.clock.set_back(10_000);
    zoom.heartbeat().await;
    zoom.send(ALIVE).await;
    let Stored::Alive { at_s: heard_at } = scene.stored().await else { panic!("no sign of life is stored") };
    assert!((15..=20).contains(&heard_at), "{heard_at}");
    scene.clock.set_back(10_000);
    let stored = scene.stored_but_alive().await;
    let Stored::GapOpened { at_s, .. } = stored else { panic!("no gap: {stored:?}") };
    assert_eq!(at_s, heard_at - 10, "as the clock shows it that will tell when the gap ends");
}

#[tokio::test(start_paused = true)]
async fn socket_that_is_replaced_while_the_spool_stalls_leaves_its_event_and_its_gap_to_the_next() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    scene.stall(&mut zoom).await;
    scene.stop.cancel();
    let unsent = (&mut scene.task).await.expect("no panic");
    let Scene { clock, appender, commands, .. } = scene;
    let mut scene = Scene::after(Some(unsent.expect("the spool takes nothing")), clock, appender, commands);
    let _zoom = scene.accept().await;
    scene.link(Link::Live).await;
    let mut stored = Vec::new();
    while stored.iter().filter(|it| **it == Stored::GapClosed).count() < 2 {
        stored.push(scene.stored_but_alive().await);
    }
    let events = stored.iter().filter(|it| matches!(it, Stored::Event { .. })).count();
    assert_eq!(events, 6, "the one that waited is among them");
    let reason = "zoomhook stopped".to_owned();
    assert_eq!(stored[stored.len() - 2..], [Stored::GapOpened { at_s: 0, reason }, Stored::GapClosed]);
}

#[tokio::test(start_paused = true)]
async fn sign_of_life_is_stored_at_once_when_the_last_one_lies_ahead_of_a_clock_that_was_set_back() {
    let mut scene = Scene::start();
    let mut zoom = scene.accept().await;
    for _ in 0..5 {
        zoom.heartbeat().await;
        zoom.send(ALIVE).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.drain();
    scene.clock.set_back(40_000);
    zoom.heartbeat().await;
    zoom.send(ALIVE).await;
    let stored = scene.stored().await;
    assert!(matches!(stored, Stored::Alive { at_s } if at_s < 120), "{stored:?}");
}
