//! Scenarios: each plays one promise with made-up time.

mod contention;
mod refusal;

use super::*;

const MIDDLE: f64 = 0.5;
/// The first delay, unshifted.
const SOON: Duration = RETRY_DELAY.0;

#[test]
fn fetches_a_token_then_connects_then_waits_for_the_first_frame() {
    let mut scene = Scene::new();
    assert_eq!(scene.actions(), [connecting(""), Action::FetchToken(Freshness::Cached)]);
    scene.input(Input::Token);
    assert_eq!(scene.actions(), [Action::Connect]);
    scene.input(Input::Heard);
    assert_eq!(scene.actions(), [], "a frame that does not accept is no acceptance");
}

#[test]
fn first_heartbeat_follows_success_at_once_and_the_next_within_25_to_30_s() {
    for (jitter, expected) in [(0.0, 30.0), (0.5, 27.5), (0.999_999, 25.0)] {
        let mut scene = Scene::new();
        scene.jitter = jitter;
        scene.connect();
        assert_eq!(scene.step(), Duration::ZERO);
        assert_eq!(scene.actions(), [Action::SendHeartbeat]);
        scene.input(Input::Heard);
        let wait = scene.step().as_secs_f64();
        assert!((wait - expected).abs() < 0.001, "{wait}");
        assert_eq!(scene.actions(), [Action::SendHeartbeat]);
    }
}

#[test]
fn acceptance_closes_the_gap_and_shows_a_live_link() {
    let mut scene = Scene::new();
    scene.input(Input::Token);
    scene.actions();
    scene.input(Input::Accepted);
    let shown = Action::Show { link: Link::Live, reason: "".into(), next_try: None };
    assert_eq!(scene.actions(), [Action::Count(Tally::Accepted), Action::CloseGap, shown]);
}

#[test]
fn event_before_build_connection_counts_as_acceptance() {
    let mut scene = Scene::new();
    scene.input(Input::Token);
    scene.input(Input::Event);
    assert_eq!(scene.link(), Link::Live);
    scene.input(Input::Accepted);
    assert_eq!(scene.actions(), [], "the late acceptance changes nothing");
}

#[test]
fn hanging_token_endpoint_costs_15_s() {
    let mut scene = Scene::new();
    scene.actions();
    assert_eq!(scene.step(), Duration::from_secs(15));
    let actions = scene.actions();
    assert_eq!(actions[..2], [Action::Abort, Action::Count(Tally::TimedOut)]);
    assert_eq!(scene.shown(&actions).0, Link::Waiting);
}

#[test]
fn one_deadline_covers_everything_up_to_the_first_frame() {
    let mut scene = Scene::new();
    scene.input(Input::Token);
    scene.actions();
    scene.pass(14);
    scene.input(Input::Heard);
    assert_eq!(scene.step(), Duration::from_secs(1));
    let actions = scene.actions();
    assert_eq!(actions[..2], [Action::Abort, Action::Count(Tally::TimedOut)]);
    assert_eq!(scene.shown(&actions), (Link::Waiting, "zoom did not accept the socket within 15 s".to_owned()));
}

#[test]
fn silent_link_is_dead_after_two_unanswered_heartbeats() {
    let mut scene = Scene::new();
    scene.connect();
    scene.beat_and_answer();
    let heard = scene.now;
    scene.step();
    assert_eq!(scene.actions(), [Action::SendHeartbeat]);
    scene.step();
    assert_eq!(scene.actions(), [Action::SendHeartbeat]);
    scene.step();
    assert_eq!(scene.now - heard, SILENCE);
    let actions = scene.actions();
    assert_eq!(actions[..2], [Action::Abort, Action::Count(Tally::HeartbeatMissed)]);
    assert_eq!(actions[2], Action::OpenGap { reason: "no answer to heartbeats for 60 s".into() });
}

#[test]
fn silence_after_an_hour_of_life_is_noticed() {
    let mut scene = Scene::new();
    scene.connect();
    for _ in 0..130 {
        scene.beat_and_answer();
    }
    let heard = scene.now;
    scene.run_until(Link::Waiting);
    assert_eq!(scene.now - heard, SILENCE);
}

#[test]
fn any_frame_is_life() {
    for input in [|| Input::Heard, || Input::Event] {
        let mut scene = Scene::new();
        scene.connect();
        for _ in 0..100 {
            scene.step();
            assert_eq!(scene.actions(), [Action::SendHeartbeat]);
            scene.input(input());
        }
    }
}

#[test]
fn heartbeat_that_is_refused_is_no_life() {
    let mut scene = Scene::new();
    scene.connect();
    scene.beat_and_answer();
    let heard = scene.now;
    scene.step();
    scene.input(Input::HeartbeatRefused);
    scene.run_until(Link::Waiting);
    assert_eq!(scene.now - heard, SILENCE);
}

#[test]
fn late_timer_after_a_suspended_machine_asks_before_it_gives_up() {
    let mut scene = Scene::new();
    scene.connect();
    scene.beat_and_answer();
    scene.pass(2 * 3600);
    assert_eq!(scene.actions(), [Action::SendHeartbeat]);
    let asked = scene.now;
    scene.run_until(Link::Waiting);
    assert_eq!(scene.now - asked, ANSWER_TIME);
}

#[test]
fn link_that_answers_after_a_suspended_machine_stays() {
    let mut scene = Scene::new();
    scene.connect();
    scene.beat_and_answer();
    scene.pass(2 * 3600);
    scene.input(Input::Heard);
    scene.actions();
    scene.beat_and_answer();
    scene.beat_and_answer();
}

#[test]
fn late_timer_while_waiting_leads_to_one_try() {
    let mut scene = Scene::new();
    scene.fail("no route");
    scene.actions();
    scene.pass(2 * 3600);
    assert_eq!(scene.actions(), [connecting("no route"), Action::FetchToken(Freshness::Cached)]);
}

#[test]
fn every_close_that_we_did_not_ask_for_leads_to_another_try() {
    for code in [None, Some(1000), Some(1001), Some(1008), Some(1011), Some(1012), Some(1013), Some(4001)] {
        let mut scene = Scene::new();
        scene.connect();
        scene.input(Input::Ended(End::Closed { code, words: "Bye".into() }));
        assert_eq!(scene.link(), Link::Waiting, "{code:?}");
        assert_eq!(scene.step(), SOON);
        assert!(scene.actions().contains(&Action::FetchToken(Freshness::Cached)));
    }
}

#[test]
fn proxy_that_gives_no_connection_is_counted_apart_and_asked_again() {
    let mut scene = Scene::new();
    scene.input(Input::Token);
    scene.actions();
    let fault = crate::net::proxy::ProxyFault::Credentials;
    scene.input(Input::Failed(Fault::Proxy { fault, reason: "the proxy wants credentials".into() }));
    let actions = scene.actions();
    assert!(actions.contains(&Action::Count(Tally::Proxy(fault))) && !actions.contains(&Action::Count(Tally::Failed)));
    let told = |action: &Action| matches!(action, Action::Show { link: Link::Waiting, reason, .. } if reason.contains("proxy"));
    assert!(actions.iter().any(told), "{actions:?}");
}

#[test]
fn close_before_the_first_frame_is_a_failed_try() {
    let mut scene = Scene::new();
    scene.input(Input::Token);
    scene.actions();
    scene.close(1000);
    let actions = scene.actions();
    assert!(actions.contains(&Action::Count(Tally::Failed)));
    assert_eq!(scene.shown(&actions).1, "closed by zoom: 1000 Bye before it accepted the socket");
}

#[test]
fn delay_doubles_to_a_minute_and_tries_never_end() {
    let mut scene = Scene::new();
    let mut delays = Vec::new();
    for _ in 0..1000 {
        scene.fail("no route");
        delays.push(scene.step().as_millis());
    }
    assert_eq!(delays[..10], [250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    assert_eq!(delays.last(), Some(&60_000));
}

#[test]
fn delay_begins_anew_only_after_a_link_that_lasted() {
    for (lasted, expected) in [(29, SOON * 8), (30, SOON)] {
        let mut scene = Scene::new();
        for _ in 0..3 {
            scene.fail("no route");
            scene.step();
        }
        scene.connect();
        scene.live_for(lasted);
        scene.input(Input::Ended(End::Broken { reason: "protocol error".into() }));
        assert_eq!(scene.step(), expected, "{lasted} s");
    }
}

#[test]
fn stalled_spool_makes_silence_no_evidence_of_death() {
    let mut scene = Scene::new();
    scene.connect();
    scene.input(Input::Event);
    scene.input(Input::Stalled);
    scene.actions();
    for _ in 0..100 {
        scene.step();
        assert_eq!(scene.actions(), [Action::SendHeartbeat], "heartbeats go on");
    }
    scene.input(Input::Resumed);
    let resumed = scene.now;
    scene.run_until(Link::Waiting);
    assert!(scene.now - resumed >= SILENCE, "the time since then counts again");
}

#[test]
fn stalled_spool_holds_back_the_next_try() {
    let mut scene = Scene::new();
    scene.connect();
    scene.input(Input::Stalled);
    scene.close(1006);
    scene.actions();
    assert_eq!(scene.session.poll_timeout(), None);
    scene.pass(3600);
    scene.input(Input::Resumed);
    assert_eq!(scene.step(), Duration::ZERO);
    assert!(scene.actions().contains(&Action::FetchToken(Freshness::Cached)));
}

#[test]
fn gap_is_opened_once_and_closed_once() {
    let mut scene = Scene::new();
    let mut entries = Vec::new();
    scene.fail("no route");
    scene.step();
    scene.fail("no route");
    scene.step();
    entries.extend(scene.actions());
    scene.connect_noting(&mut entries);
    scene.close(1000);
    scene.step();
    entries.extend(scene.actions());
    scene.fail("no route");
    scene.step();
    scene.connect_noting(&mut entries);
    entries.retain(|action| matches!(action, Action::OpenGap { .. } | Action::CloseGap));
    let open = |reason: &str| Action::OpenGap { reason: reason.into() };
    assert_eq!(entries, [open("no route"), Action::CloseGap, open("closed by zoom: 1000 Bye"), Action::CloseGap]);
}

#[test]
fn stop_says_goodbye_and_waits_a_moment_for_the_last_events() {
    for answered in [true, false] {
        let mut scene = Scene::new();
        scene.connect();
        scene.input(Input::Stop);
        assert_eq!(scene.actions(), [Action::Close]);
        scene.input(Input::Event);
        assert_eq!(scene.actions(), []);
        if answered {
            scene.close(1000);
        } else {
            assert_eq!(scene.step(), FAREWELL_DEADLINE);
        }
        let gap = Action::OpenGap { reason: "zoomhook stopped".into() };
        assert_eq!(scene.actions(), [Action::Abort, gap, stopped()]);
    }
}

#[test]
fn stop_is_the_only_end() {
    let mut scene = Scene::new();
    scene.fail("no route");
    scene.actions();
    assert!(!scene.session.is_stopped());
    scene.input(Input::Stop);
    assert_eq!(scene.actions(), [Action::Abort, stopped()], "the gap is open already");
    assert!(scene.session.is_stopped());
    assert_eq!(scene.session.poll_timeout(), None);
    for input in [Input::Stop, Input::Accepted, Input::Resumed] {
        scene.input(input);
    }
    scene.pass(3600);
    assert_eq!(scene.actions(), []);
}

#[test]
fn news_that_comes_too_late_changes_nothing() {
    let late = [
        || Input::Token,
        || Input::Failed(Fault::Hiccup { reason: "late".into() }),
        || Input::Accepted,
        || Input::Event,
        || Input::Heard,
        || Input::Refused { words: "late".into() },
        || Input::Ended(End::Cut { reason: "late".into() }),
    ];
    for input in late {
        let mut scene = Scene::new();
        scene.fail("no route");
        scene.actions();
        scene.input(input());
        assert_eq!(scene.actions(), []);
        assert_eq!(scene.step(), SOON);
    }
}

/// Plays the shell, with time that passes on request.
struct Scene {
    session: Session,
    now: Instant,
    jitter: f64,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        Self { session: Session::new("main".into(), now), now, jitter: MIDDLE }
    }

    fn input(&mut self, input: Input) {
        self.session.handle_input(input, self.now, self.jitter);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.session.poll_action()).collect()
    }

    /// Lets time pass up to the next timeout and tells how much did.
    fn step(&mut self) -> Duration {
        let due = self.session.poll_timeout().expect("something is waited for");
        let passed = due.saturating_duration_since(self.now);
        self.now += passed;
        self.session.handle_timeout(self.now, self.jitter);
        passed
    }

    /// Lets time pass without looking at the timeouts in between.
    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.session.handle_timeout(self.now, self.jitter);
    }

    /// Goes from the fetch of a token to a live link.
    fn connect(&mut self) {
        self.connect_noting(&mut Vec::new());
    }

    fn connect_noting(&mut self, actions: &mut Vec<Action>) {
        self.input(Input::Token);
        self.input(Input::Accepted);
        actions.extend(self.actions());
        assert!(matches!(self.session.state, State::Live(_)));
    }

    /// Hears something every second.
    fn live_for(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass(1);
            self.input(Input::Heard);
        }
        self.actions();
    }

    fn beat_and_answer(&mut self) {
        self.step();
        assert_eq!(self.actions(), [Action::SendHeartbeat]);
        self.input(Input::Heard);
    }

    /// Lets the fetch of a token fail.
    fn fail(&mut self, reason: &str) {
        self.input(Input::Failed(Fault::Hiccup { reason: reason.into() }));
        assert!(matches!(self.session.state, State::Waiting { .. }));
    }

    fn refuse(&mut self, words: &str) {
        self.input(Input::Refused { words: words.into() });
    }

    fn cut(&mut self) {
        self.input(Input::Ended(End::Cut { reason: "connection reset".into() }));
    }

    fn close(&mut self, code: u16) {
        self.input(Input::Ended(End::Closed { code: Some(code), words: "Bye".into() }));
    }

    /// Steps until this link is shown.
    fn run_until(&mut self, wanted: Link) {
        for _ in 0..10 {
            let actions = self.actions();
            if actions.iter().any(|action| matches!(action, Action::Show { link, .. } if *link == wanted)) {
                return;
            }
            self.step();
        }
        panic!("never {wanted:?}");
    }

    /// Returns the link that was shown last.
    fn link(&mut self) -> Link {
        let actions = self.actions();
        self.shown(&actions).0
    }

    fn shown(&self, actions: &[Action]) -> (Link, String) {
        let shown = actions.iter().rev().find_map(|action| {
            let Action::Show { link, reason, .. } = action else { return None };
            Some((*link, reason.to_string()))
        });
        shown.expect("a link is shown")
    }
}

fn connecting(reason: &str) -> Action {
    Action::Show { link: Link::Connecting, reason: reason.into(), next_try: None }
}

fn stopped() -> Action {
    Action::Show { link: Link::Stopped, reason: "zoomhook stopped".into(), next_try: None }
}
