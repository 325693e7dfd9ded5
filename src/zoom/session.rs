//! The machine that keeps one socket alive.
//!
//! ```text
//!            ┌─────────── due ◀── Waiting ◀──────────────┐
//!            ▼                       ▲                   │
//!  start ─▶ Fetching ── token ─▶ Connecting ── first ─▶ Live
//!                                    │   accepting frame
//!                                    └─ refused: once more with a fresh token
//! ```
//!
//! It decides; `socket.rs` carries out. Time and jitter (at least 0, less than 1) come in as arguments.
//!
//! - The first frame decides whether Zoom takes the socket, not the upgrade.
//! - Every end of a socket leads to another try. The one state without a timer is `Stopped`, and
//!   `Waiting` while the spool does not take events.
//! - Silence is no evidence while the spool stalls: then it is we who do not read.
//! - A live socket is given up only after a heartbeat of ours had its time to be answered: when the
//!   machine was suspended and the timer is hours late, it asks before it gives up.

mod signal;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signal::Eviction;
pub(crate) use signal::{Action, End, Fault, Freshness, Input, Tally};

use super::reconnect::Delays;
use super::status::Link;

/// How long a token may take.
pub(super) const TOKEN_DEADLINE: Duration = Duration::from_secs(15);
/// How long everything from the TCP connection to the first frame may take. Handshakes that never end
/// and sockets that open and stay silent have both been reported.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);
/// Zoom's documentation asks for a heartbeat every 30 s; jitter takes up to 5 s off.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
const HEARTBEAT_SPREAD: Duration = Duration::from_secs(5);
/// A socket that is silent for so long, across two heartbeats, is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// The least time in which a heartbeat may be answered, however late it was sent.
const ANSWER_TIME: Duration = Duration::from_secs(20);
/// How long Zoom may take to close its side when we stop, in which its last events are still read.
const FAREWELL_DEADLINE: Duration = Duration::from_millis(1500);
/// Ordinary delay before the next try: short at first, for what Zoom says meanwhile is lost.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// The least delay after a request that was one too many, if nothing longer was asked for.
const THROTTLED_LEAST: Duration = Duration::from_secs(1);
/// Delay where only the operator can help. Zoom may disable apps whose requests keep failing.
const PARKED_DELAY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));
/// Delay while somebody else holds the same subscription: each try evicts the other one.
const CONTENDED_DELAY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5 * 60));
/// The ordinary delay begins anew after a link that lasted so long: a bad token also opens a socket.
const STEADY_AFTER: Duration = Duration::from_secs(30);
/// A link that is closed sooner than this looks like an eviction.
pub(super) const EVICTED_WITHIN: Duration = Duration::from_secs(60);
/// So many evictions in a row are no accident.
const EVICTIONS: u32 = 3;
/// So many sockets in a row that lived shortly are told as contended too, although a device on the way may have cut
/// them: Zoom's way to evict is not published. The next try is not put off for that.
const SHORT_LIVES: u32 = 6;
/// So many refusals of fresh tokens in a row are not about the token.
const REFUSALS: u32 = 5;

/// Keeps one socket alive.
pub(crate) struct Session {
    name: Arc<str>,
    state: State,
    actions: VecDeque<Action>,
    /// Which token the next try uses.
    freshness: Freshness,
    /// A token was refused, and none was accepted since: a cached one is one that came in its place.
    renewed: bool,
    /// Why the last try or the last link failed; empty before the first failure.
    reason: Box<str>,
    gap: Gap,
    spool: Spool,
    evictions: u32,
    /// How many sockets in a row were closed as evicted ones are, or were cut.
    short_lives: u32,
    refusals: u32,
    retry: Delays,
    parked: Delays,
    contended: Delays,
}

enum State {
    Fetching { until: Instant },
    Connecting { until: Instant },
    Live(Live),
    Waiting { until: Instant },
    Closing { until: Instant },
    Stopped,
}

struct Live {
    since: Instant,
    heard: Instant,
    next_heartbeat: Instant,
    /// When the first heartbeat was sent that nothing followed.
    unanswered: Option<Instant>,
}

#[derive(PartialEq)]
enum Gap {
    Open,
    None,
}

#[derive(PartialEq)]
enum Spool {
    Takes,
    Stalls,
}

impl Live {
    /// Returns when the link is dead unless something is heard.
    fn dead_at(&self) -> Option<Instant> {
        self.unanswered.map(|sent| (self.heard + SILENCE).max(sent + ANSWER_TIME))
    }
}

impl Session {
    /// Begins with the first try; `name` is the subscription's, for the words to the operator.
    pub(crate) fn new(name: Arc<str>, now: Instant) -> Self {
        let doubling = |(first, longest)| Delays::doubling(first, longest);
        let mut session = Self {
            name,
            state: State::Fetching { until: now },
            actions: VecDeque::new(),
            freshness: Freshness::Cached,
            renewed: false,
            reason: Box::default(),
            gap: Gap::None,
            spool: Spool::Takes,
            evictions: 0,
            short_lives: 0,
            refusals: 0,
            retry: doubling(RETRY_DELAY),
            parked: doubling(PARKED_DELAY),
            contended: doubling(CONTENDED_DELAY),
        };
        session.start(now);
        session
    }

    /// Takes note of something that happened.
    pub(crate) fn handle_input(&mut self, input: Input, now: Instant, jitter: f64) {
        match input {
            Input::Token => self.token(now),
            Input::Failed(fault) => self.failed(fault, now, jitter),
            Input::Accepted | Input::Event => self.accepted(now),
            Input::Refused { words } => self.refused(&words, now, jitter),
            Input::Heard => self.heard(now),
            // It came from Zoom, but says that this session is not served: silence goes on.
            Input::HeartbeatRefused => {}
            Input::Ended(end) => self.ended(end, now, jitter),
            Input::Stalled => self.spool = Spool::Stalls,
            Input::Resumed => self.resumed(now),
            Input::Stop => self.stop(now),
        }
    }

    /// Takes note that time has passed; harmless when nothing is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, jitter: f64) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match &mut self.state {
            State::Fetching { .. } => {
                let reason = format!("no token within {} s", TOKEN_DEADLINE.as_secs());
                self.give_up(Tally::TimedOut, &reason, now, jitter);
            }
            State::Connecting { .. } => {
                let reason = format!("zoom did not accept the socket within {} s", CONNECT_DEADLINE.as_secs());
                self.give_up(Tally::TimedOut, &reason, now, jitter);
            }
            State::Live(live) if self.spool == Spool::Takes && live.dead_at().is_some_and(|dead| dead <= now) => {
                let since = live.since;
                let reason = format!("no answer to heartbeats for {} s", SILENCE.as_secs());
                self.forget_evictions();
                self.actions.push_back(Action::Abort);
                self.actions.push_back(Action::Count(Tally::HeartbeatMissed));
                self.lost(&reason, since, now, jitter);
            }
            State::Live(live) => {
                live.beat(now, jitter);
                self.actions.push_back(Action::SendHeartbeat);
            }
            State::Waiting { .. } => self.start(now),
            State::Closing { .. } => self.stopped(),
            State::Stopped => {}
        }
    }

    /// Returns when [`Self::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Fetching { until } | State::Connecting { until } | State::Closing { until } => Some(*until),
            State::Live(live) => match live.dead_at() {
                Some(dead) if self.spool == Spool::Takes => Some(dead.min(live.next_heartbeat)),
                Some(_) | None => Some(live.next_heartbeat),
            },
            // Another socket would not be read either.
            State::Waiting { until } => (self.spool == Spool::Takes).then_some(*until),
            State::Stopped => None,
        }
    }

    /// Returns the next thing to do, oldest first.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Tells whether a socket waits to be accepted.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
    }

    /// Tells whether this is the end, as it was asked for.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    fn start(&mut self, now: Instant) {
        self.state = State::Fetching { until: now + TOKEN_DEADLINE };
        self.actions.push_back(Action::Show { link: Link::Connecting, reason: self.reason.clone(), next_try: None });
        self.actions.push_back(Action::FetchToken(self.freshness));
    }

    fn token(&mut self, now: Instant) {
        if let State::Fetching { .. } = self.state {
            // It is used until it is refused too: a new one may put others out of force.
            self.freshness = Freshness::Cached;
            self.state = State::Connecting { until: now + CONNECT_DEADLINE };
            self.actions.push_back(Action::Connect);
        }
    }

    fn accepted(&mut self, now: Instant) {
        match &mut self.state {
            State::Live(live) => live.hear(now),
            State::Connecting { .. } => {
                // The first heartbeat is due at once.
                self.state = State::Live(Live { since: now, heard: now, next_heartbeat: now, unanswered: None });
                self.renewed = false;
                self.refusals = 0;
                self.parked.reset();
                self.gap = Gap::None;
                self.actions.push_back(Action::Count(Tally::Accepted));
                self.actions.push_back(Action::CloseGap);
                self.actions.push_back(Action::Show { link: Link::Live, reason: Box::default(), next_try: None });
            }
            State::Fetching { .. } | State::Waiting { .. } | State::Closing { .. } | State::Stopped => {}
        }
    }

    fn heard(&mut self, now: Instant) {
        if let State::Live(live) = &mut self.state {
            live.hear(now);
        }
    }

    fn resumed(&mut self, now: Instant) {
        self.spool = Spool::Takes;
        // Whatever came meanwhile lies unread: the silence was ours.
        self.heard(now);
    }

    fn failed(&mut self, fault: Fault, now: Instant, jitter: f64) {
        let (State::Fetching { .. } | State::Connecting { .. }) = self.state else { return };
        match fault {
            Fault::Hiccup { reason } => self.give_up(Tally::Failed, &reason, now, jitter),
            Fault::Proxy { fault, reason } => self.give_up(Tally::Proxy(fault), &reason, now, jitter),
            Fault::Throttled { wait, reason } => {
                self.actions.push_back(Action::Count(Tally::Failed));
                let delay = self.retry.next(jitter).max(wait).max(THROTTLED_LEAST);
                self.wait(Link::Waiting, &reason, &reason, now + delay);
            }
            Fault::Credentials { reason } => {
                self.actions.push_back(Action::Count(Tally::Failed));
                let advice = format!(
                    "zoom refuses the credentials: {reason}; check client_id, client_secret and account_id of subscription `{}`",
                    self.name
                );
                self.park(&format!("credentials refused: {reason}"), &advice, now, jitter);
            }
            Fault::Unauthorized { status } if !self.renewed => {
                self.renew(&format!("token refused with status {status}"), now);
            }
            Fault::Unauthorized { status } | Fault::Rejected { status } => {
                if matches!(fault, Fault::Unauthorized { .. }) {
                    self.refuse_token();
                }
                self.actions.push_back(Action::Count(Tally::Refused));
                let advice = format!(
                    "zoom answers {status} instead of opening the socket; check the id or url of subscription `{}`",
                    self.name
                );
                self.park(&format!("subscription refused with status {status}"), &advice, now, jitter);
            }
        }
    }

    fn refused(&mut self, words: &str, now: Instant, jitter: f64) {
        let short = if words.is_empty() { "token refused".to_owned() } else { format!("token refused: {words}") };
        match (&self.state, self.renewed) {
            (State::Live(live), _) => {
                let since = live.since;
                self.refuse_token();
                self.forget_evictions();
                self.actions.push_back(Action::Abort);
                self.lost(&short, since, now, jitter);
            }
            (State::Connecting { .. }, false) => {
                self.actions.push_back(Action::Abort);
                self.renew(&short, now);
            }
            (State::Connecting { .. }, true) => {
                self.refuse_token();
                self.actions.push_back(Action::Abort);
                self.actions.push_back(Action::Count(Tally::Refused));
                self.refusals += 1;
                let advice = format!(
                    "zoom refuses the socket: {words}; check the id of subscription `{}`, and that its app is active \
                     and has the scope marketplace:write:websocket_connection",
                    self.name
                );
                if self.refusals < REFUSALS {
                    let delay = self.retry.next(jitter);
                    self.wait(Link::Waiting, &short, &advice, now + delay);
                } else {
                    self.park(&short, &advice, now, jitter);
                }
            }
            (State::Fetching { .. } | State::Waiting { .. } | State::Closing { .. } | State::Stopped, _) => {}
        }
    }

    fn ended(&mut self, end: End, now: Instant, jitter: f64) {
        match &self.state {
            State::Live(live) => {
                let since = live.since;
                match end.eviction() {
                    Eviction::Likely => {
                        self.evictions += 1;
                        self.short_lives += 1;
                    }
                    Eviction::Possible => self.short_lives += 1,
                    Eviction::Unlikely => self.forget_evictions(),
                }
                self.lost(&end.words(), since, now, jitter);
            }
            State::Connecting { .. } => {
                let reason = format!("{} before it accepted the socket", end.words());
                self.give_up(Tally::Failed, &reason, now, jitter);
            }
            State::Closing { .. } => self.stopped(),
            State::Fetching { .. } | State::Waiting { .. } | State::Stopped => {}
        }
    }

    fn stop(&mut self, now: Instant) {
        match self.state {
            State::Live(_) => {
                self.state = State::Closing { until: now + FAREWELL_DEADLINE };
                self.actions.push_back(Action::Close);
            }
            State::Fetching { .. } | State::Connecting { .. } | State::Waiting { .. } => self.stopped(),
            State::Closing { .. } | State::Stopped => {}
        }
    }

    fn stopped(&mut self) {
        let reason = "zoomhook stopped";
        self.state = State::Stopped;
        self.actions.push_back(Action::Abort);
        self.open_gap(reason);
        self.actions.push_back(Action::Show { link: Link::Stopped, reason: reason.into(), next_try: None });
    }

    /// Tries once more at once, with a token that is not the one that was refused.
    fn renew(&mut self, reason: &str, now: Instant) {
        self.actions.push_back(Action::Count(Tally::Refused));
        self.refuse_token();
        self.reason = reason.into();
        self.open_gap(reason);
        self.start(now);
    }

    fn refuse_token(&mut self) {
        self.freshness = Freshness::Renewed;
        self.renewed = true;
    }

    /// Ends a try that came to nothing.
    fn give_up(&mut self, tally: Tally, reason: &str, now: Instant, jitter: f64) {
        self.actions.push_back(Action::Abort);
        self.actions.push_back(Action::Count(tally));
        let delay = self.retry.next(jitter);
        self.wait(Link::Waiting, reason, reason, now + delay);
    }

    /// Ends a link that was live since then.
    fn lost(&mut self, reason: &str, since: Instant, now: Instant, jitter: f64) {
        let lasted = now.saturating_duration_since(since);
        if lasted >= EVICTED_WITHIN {
            self.forget_evictions();
            self.contended.reset();
        }
        if lasted >= STEADY_AFTER && self.short_lives < SHORT_LIVES {
            self.retry.reset();
        }
        if self.evictions >= EVICTIONS {
            let advice = format!(
                "zoom closed {} sockets in a row soon after it accepted them: something else is connected to \
                 subscription `{}` and takes its events; stop it, or give each its own subscription",
                self.evictions, self.name
            );
            let delay = self.contended.next(jitter);
            return self.wait(Link::Contended, reason, &advice, now + delay);
        }
        let delay = self.retry.next(jitter);
        if self.short_lives >= SHORT_LIVES {
            let advice = format!(
                "{} sockets in a row ended soon after zoom accepted them ({reason}): a device on the way cuts them, or \
                 something else is connected to subscription `{}`",
                self.short_lives, self.name
            );
            return self.wait(Link::Contended, reason, &advice, now + delay);
        }
        self.wait(Link::Waiting, reason, reason, now + delay);
    }

    fn forget_evictions(&mut self) {
        self.evictions = 0;
        self.short_lives = 0;
    }

    /// Waits long, for the operator.
    fn park(&mut self, short: &str, advice: &str, now: Instant, jitter: f64) {
        let delay = self.parked.next(jitter);
        self.wait(Link::Parked, short, advice, now + delay);
    }

    fn wait(&mut self, link: Link, short: &str, advice: &str, until: Instant) {
        self.state = State::Waiting { until };
        self.reason = advice.into();
        self.open_gap(short);
        self.actions.push_back(Action::Show { link, reason: advice.into(), next_try: Some(until) });
    }

    fn open_gap(&mut self, reason: &str) {
        if mem::replace(&mut self.gap, Gap::Open) == Gap::None {
            self.actions.push_back(Action::OpenGap { reason: reason.into() });
        }
    }
}

impl Live {
    fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.unanswered = None;
    }

    fn beat(&mut self, now: Instant, jitter: f64) {
        self.next_heartbeat = now + HEARTBEAT_INTERVAL - HEARTBEAT_SPREAD.mul_f64(jitter);
        self.unanswered.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests;
