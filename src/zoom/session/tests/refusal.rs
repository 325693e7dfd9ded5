//! What Zoom refuses is tried again at a pace that its cause deserves.

use super::*;

#[test]
fn refused_token_is_replaced_once_and_at_once_then_backed_off() {
    let mut scene = Scene::new();
    scene.input(Input::Token);
    scene.actions();
    scene.refuse("Invalid Token");
    let gap = Action::OpenGap { reason: "token refused: Invalid Token".into() };
    let again = connecting("token refused: Invalid Token");
    let fetch = Action::FetchToken(Freshness::Renewed);
    assert_eq!(scene.actions(), [Action::Abort, Action::Count(Tally::Refused), gap, again, fetch.clone()]);
    scene.input(Input::Token);
    scene.actions();
    scene.refuse("Invalid Token");
    let actions = scene.actions();
    let (link, reason) = scene.shown(&actions);
    assert_eq!(link, Link::Waiting);
    assert!(reason.contains("Invalid Token") && reason.contains("`main`"), "{reason}");
    assert_eq!(scene.step(), SOON);
    assert!(scene.actions().contains(&fetch));
}

#[test]
fn token_that_was_accepted_is_used_again() {
    let mut scene = Scene::new();
    scene.input(Input::Token);
    scene.refuse("Invalid Token");
    scene.connect();
    scene.close(1006);
    scene.step();
    assert!(scene.actions().contains(&Action::FetchToken(Freshness::Cached)));
}

#[test]
fn fresh_tokens_refused_again_and_again_park_the_link() {
    let mut scene = Scene::new();
    scene.input(Input::Token);
    scene.refuse("");
    for _ in 1..REFUSALS {
        scene.input(Input::Token);
        scene.refuse("");
        assert_eq!(scene.link(), Link::Waiting);
        scene.step();
    }
    scene.input(Input::Token);
    scene.refuse("");
    assert_eq!(scene.link(), Link::Parked);
    assert_eq!(scene.step(), Duration::from_secs(60));
}

#[test]
fn refusal_of_a_live_link_does_not_loop_without_a_delay() {
    let mut scene = Scene::new();
    scene.connect();
    scene.refuse("Token expired");
    assert_eq!(scene.link(), Link::Waiting);
    assert_eq!(scene.step(), SOON);
    assert!(scene.actions().contains(&Action::FetchToken(Freshness::Renewed)));
}

#[test]
fn wrong_credentials_park_the_link_loudly_and_slowly() {
    let mut scene = Scene::new();
    let mut delays = Vec::new();
    for _ in 0..6 {
        scene.input(Input::Failed(Fault::Credentials { reason: "Invalid client_id or client_secret".into() }));
        let actions = scene.actions();
        let (link, reason) = scene.shown(&actions);
        assert_eq!(link, Link::Parked);
        assert!(reason.starts_with("zoom refuses the credentials: Invalid client_id or client_secret; check "));
        assert!(reason.ends_with("of subscription `main`"), "{reason}");
        delays.push(scene.step().as_secs());
    }
    assert_eq!(delays, [60, 120, 240, 480, 900, 900]);
}

#[test]
fn corrected_credentials_bring_the_link_back() {
    let mut scene = Scene::new();
    scene.input(Input::Failed(Fault::Credentials { reason: "no".into() }));
    scene.step();
    scene.connect();
    scene.live_for(60);
    scene.input(Input::Ended(End::Broken { reason: "protocol error".into() }));
    scene.step();
    scene.input(Input::Failed(Fault::Credentials { reason: "no".into() }));
    assert_eq!(scene.step(), Duration::from_secs(60), "the slow delay has begun anew as well");
}

#[test]
fn rejected_subscription_parks_the_link() {
    let mut scene = Scene::new();
    scene.input(Input::Token);
    scene.input(Input::Failed(Fault::Rejected { status: 404 }));
    let actions = scene.actions();
    let (link, reason) = scene.shown(&actions);
    assert_eq!(link, Link::Parked);
    assert!(reason.contains("404") && reason.contains("`main`"), "{reason}");
}

#[test]
fn status_about_the_token_renews_it_once_then_parks() {
    let mut scene = Scene::new();
    scene.input(Input::Token);
    scene.input(Input::Failed(Fault::Unauthorized { status: 401 }));
    assert!(scene.actions().contains(&Action::FetchToken(Freshness::Renewed)));
    scene.input(Input::Token);
    scene.input(Input::Failed(Fault::Unauthorized { status: 401 }));
    assert_eq!(scene.link(), Link::Parked);
}

#[test]
fn throttled_try_waits_at_least_as_long_as_it_was_told() {
    for (wait, expected) in [(600, 600), (0, 1)] {
        let mut scene = Scene::new();
        let wait = Duration::from_secs(wait);
        scene.input(Input::Failed(Fault::Throttled { wait, reason: "zoom limits token requests".into() }));
        assert_eq!(scene.link(), Link::Waiting);
        assert_eq!(scene.step(), Duration::from_secs(expected));
    }
}

#[test]
fn token_that_came_in_place_of_a_refused_one_is_used_until_it_is_refused_too() {
    let mut scene = Scene::new();
    scene.actions();
    scene.input(Input::Token);
    scene.refuse("Token is invalid");
    assert!(scene.actions().contains(&Action::FetchToken(Freshness::Renewed)));
    scene.input(Input::Token);
    scene.fail("no route");
    scene.actions();
    scene.step();
    assert!(scene.actions().contains(&Action::FetchToken(Freshness::Cached)), "nobody has refused it");
    scene.input(Input::Token);
    scene.refuse("Token is invalid");
    scene.actions();
    scene.step();
    assert!(scene.actions().contains(&Action::FetchToken(Freshness::Renewed)));
}
