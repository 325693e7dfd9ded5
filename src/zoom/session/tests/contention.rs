//! Somebody else on the subscription is told from a bad line.

use super::*;

#[test]
fn three_evictions_in_a_row_are_called_contended() {
    let mut scene = Scene::new();
    for link in [Link::Waiting, Link::Waiting, Link::Contended] {
        scene.connect();
        scene.live_for(20);
        scene.close(1000);
        let actions = scene.actions();
        let (shown, reason) = scene.shown(&actions);
        assert_eq!(shown, link);
        assert_eq!(reason.contains("something else is connected to subscription `main`"), link == Link::Contended);
        scene.step();
    }
}

#[test]
fn resets_are_told_as_contended_late_and_never_put_off_the_next_try_for_minutes() {
    let mut scene = Scene::new();
    let mut delays = Vec::new();
    for nth in 1..=10 {
        scene.connect();
        scene.live_for(20);
        scene.cut();
        let actions = scene.actions();
        let (shown, reason) = scene.shown(&actions);
        assert_eq!(shown, if nth < 6 { Link::Waiting } else { Link::Contended }, "{nth}");
        assert_eq!(reason.contains("a device on the way cuts them"), nth >= 6, "{reason}");
        delays.push(scene.step().as_secs());
    }
    assert_eq!(delays, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
    scene.connect();
    scene.live_for(60);
    scene.cut();
    assert_eq!(scene.link(), Link::Waiting);
    assert_eq!(scene.step(), SOON);
}

#[test]
fn resets_between_evictions_do_not_hide_them() {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.connect();
        scene.close(1000);
        scene.step();
        scene.connect();
        scene.cut();
        scene.step();
    }
    scene.connect();
    scene.close(1000);
    assert_eq!(scene.link(), Link::Contended);
}

#[test]
fn contended_delays_grow_to_minutes() {
    let mut scene = Scene::new();
    let mut delays = Vec::new();
    for _ in 0..9 {
        scene.connect();
        scene.live_for(1);
        scene.close(1000);
        delays.push(scene.step().as_secs());
    }
    assert_eq!(delays, [0, 0, 30, 60, 120, 240, 300, 300, 300]);
}

#[test]
fn link_that_lasts_ends_the_contention() {
    let mut scene = Scene::new();
    for _ in 0..4 {
        scene.connect();
        scene.close(1000);
        scene.step();
    }
    scene.connect();
    scene.live_for(60);
    scene.close(1000);
    assert_eq!(scene.link(), Link::Waiting);
    assert_eq!(scene.step(), SOON);
}

#[test]
fn restarts_of_the_server_are_no_evictions() {
    let mut scene = Scene::new();
    for code in [1000, 1000, 1012, 1000, 1000] {
        scene.connect();
        scene.close(code);
        assert_eq!(scene.link(), Link::Waiting);
        scene.step();
    }
}

#[test]
fn failed_tries_between_evictions_do_not_hide_them() {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.connect();
        scene.close(1000);
        scene.step();
        scene.fail("no route");
        scene.step();
    }
    scene.connect();
    scene.close(1000);
    assert_eq!(scene.link(), Link::Contended);
}
