//! The shell around the session: it reads frames, stores events, and carries out what the session decides.
//!
//! One task holds everything, and waits for nothing but the next thing that happens. An event that the
//! spool does not take holds up the reading of frames, never a heartbeat.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace};

use super::access::Access;
use super::dial::dial;
use super::message::{self, Message};
pub use super::outbox::Unsent;
use super::outbox::{Entry, Outbox};
use super::report::Report;
use super::session::{Action, End, Fault, Freshness, Input, Session};
use super::status::{Link, Status};
use super::token::TokenError;
use super::wire::{News, Reading, Wire};
use super::{plain, time_until};
use crate::clock::{Clock, Moment};
use crate::config::secret::Secret;
use crate::event::Received;
use crate::spool::{Appender, Closed};
use crate::telemetry::metrics::Metrics;

/// Pieces of news that are handled between two looks at the time and at the request to stop.
const BATCH: usize = 32;
/// How often those who watch are told of what has been read.
const TICK: Duration = Duration::from_secs(1);
/// A sign of life is stored this often: it bounds what a crash leaves uncertain in the ledger.
const ALIVE_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// A spool that takes longer than this for an event is called stalled.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// The loop turns every [`TICK`]. If it did not for so long, the process was stopped or the machine asleep.
const ABSENT_AFTER: Duration = Duration::from_secs(3);
/// A socket that is still open so long after a stall was open all through it: without an answer to its heartbeats
/// it would have been given up by now.
const PROVEN_AFTER: Duration = Duration::from_secs(90);
/// How long the spool may take what was read last, once the socket is closed.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Is the socket of one subscription.
pub struct Socket {
    name: Arc<str>,
    /// As it is now; a change holds from the next connection.
    access: watch::Receiver<Arc<Access>>,
    outbox: Outbox,
    report: Report,
    clock: Clock,
}

impl Socket {
    /// Makes the socket of a subscription, not open yet, and the status that it will show.
    pub fn new(
        name: Arc<str>,
        access: watch::Receiver<Arc<Access>>,
        appender: Appender,
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> (Self, watch::Receiver<Status>) {
        let outbox = Outbox::new(Arc::clone(&name), appender);
        let (report, status) = Report::new(Arc::clone(&name), Arc::clone(metrics), clock.now(), clock.instant());
        (Self { name, access, outbox, report, clock }, status)
    }

    /// Takes over what the socket before it could not hand to the spool: it goes first.
    pub fn inherit(&mut self, unsent: Unsent) {
        self.outbox = unsent.take();
    }

    /// Keeps the socket open until it is told to stop, or until the spool is closed; returns what the spool did not take
    /// in the end.
    pub async fn run(self, stop: CancellationToken) -> Option<Unsent> {
        let access = self.access.clone();
        self.run_over(stop, move |token| dial(Arc::clone(&access.borrow().target), token)).await
    }

    /// Does so over the sockets that `dial` opens.
    async fn run_over<S, D, F>(self, stop: CancellationToken, dial: D) -> Option<Unsent>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        D: Fn(Secret) -> F,
        F: Future<Output = Result<WebSocketStream<S>, Fault>> + Send + 'static,
    {
        let now = self.clock.instant();
        let mut shell = Shell {
            session: Session::new(Arc::clone(&self.name), now.into_std()),
            wire: Wire::Idle,
            dial,
            token: None,
            spool: Spool::Takes,
            unread: None,
            turned: self.clock.moment(),
            jitter: self.clock.jitter(),
            started: self.clock.moment(),
            next_tick: now + TICK,
            alive_at: None,
            socket: self,
        };
        match shell.run(stop).await {
            Ok(Drained::All) => None,
            Ok(Drained::Not) => Some(Unsent::new(shell.socket.outbox)),
            Err(Closed) => {
                shell.spool_closed();
                None
            }
        }
    }
}

/// Is a socket at work.
struct Shell<S, D> {
    socket: Socket,
    session: Session,
    wire: Wire<S>,
    dial: D,
    /// The token that was used last.
    token: Option<Secret>,
    spool: Spool,
    /// The last time without reading, as long as nothing proves that the socket has outlived it.
    unread: Option<Unread>,
    /// When the loop last turned.
    turned: Moment,
    /// One throw of the dice for each turn of the loop.
    jitter: f64,
    started: Moment,
    next_tick: Instant,
    /// The sign of life that was stored last.
    alive_at: Option<Timestamp>,
}

/// Tells whether the spool has taken the event that was read last.
#[derive(Clone, Copy, PartialEq)]
enum Spool {
    Takes,
    Stalls { since: Instant },
}

/// Tells whether the spool took everything in the end.
enum Drained {
    All,
    Not,
}

/// Is a time in which the socket was not read: the spool stalled, or the process did not run. Had Zoom dropped it
/// meanwhile, that would show only after everything that lay unread, and look as if it had just happened.
#[derive(Clone, Copy)]
struct Unread {
    /// When the socket was last heard before.
    since: Moment,
    proven_at: Instant,
}

impl<S, D, F> Shell<S, D>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: Fn(Secret) -> F,
    F: Future<Output = Result<WebSocketStream<S>, Fault>> + Send + 'static,
{
    async fn run(&mut self, stop: CancellationToken) -> Result<Drained, Closed> {
        let mut stopping = false;
        self.carry_out();
        while !self.session.is_stopped() {
            self.jitter = self.socket.clock.jitter();
            let timer = sleep_until(self.due());
            // Frames before the timer: after a suspended machine they tell whether the link still lives.
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.input(Input::Stop);
                }
                moved = poll_fn(|cx| self.poll(cx)) => moved?,
                () = timer => {}
            }
            self.look_at_the_time();
        }
        self.drain().await
    }

    fn due(&self) -> Instant {
        let due = self.session.poll_timeout().map(Instant::from_std);
        due.map_or(self.next_tick, |due| due.min(self.next_tick))
    }

    /// Moves what can be moved, a batch at most; ready when something did.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.notice_absence();
        let mut moved = Poll::Pending;
        for _ in 0..BATCH {
            if let Poll::Ready(Err(closed)) = self.socket.outbox.poll(cx) {
                return Poll::Ready(Err(closed));
            }
            let reading = match (self.spool, self.socket.outbox.holds_event()) {
                (Spool::Takes, false) => Reading::On,
                // What the first frame says decides about the socket: it is read even so.
                (Spool::Stalls { .. }, true) if self.session.is_connecting() => Reading::On,
                (Spool::Stalls { .. }, true) => Reading::Off,
                (Spool::Takes, true) => {
                    self.spool = Spool::Stalls { since: self.socket.clock.instant() };
                    self.input(Input::Stalled);
                    Reading::Off
                }
                (Spool::Stalls { since }, false) => {
                    self.remember_stall(since);
                    self.spool = Spool::Takes;
                    self.input(Input::Resumed);
                    moved = Poll::Ready(Ok(()));
                    Reading::On
                }
            };
            let Poll::Ready(news) = self.wire.poll(cx, reading) else { break };
            self.take(news);
            moved = Poll::Ready(Ok(()));
        }
        moved
    }

    /// Notices that the process did not run, before anything is read that came meanwhile.
    fn notice_absence(&mut self) {
        let now = self.socket.clock.moment();
        if now.since(self.turned) >= ABSENT_AFTER {
            self.remember_unread();
        }
        self.turned = now;
    }

    fn remember_stall(&mut self, began: Instant) {
        if self.socket.clock.instant().duration_since(began) >= STALLED_AFTER {
            self.remember_unread();
        }
    }

    fn remember_unread(&mut self) {
        let Some(heard) = self.socket.report.last_heard() else { return };
        let since = self.unread.map_or(heard, |unread| unread.since);
        self.unread = Some(Unread { since, proven_at: self.socket.clock.instant() + PROVEN_AFTER });
    }

    fn take(&mut self, news: News) {
        match news {
            News::Token(Ok(token)) => {
                self.token = Some(token);
                self.input(Input::Token);
            }
            News::Token(Err(error)) => {
                let fault = fault(error, self.socket.clock.now());
                self.input(Input::Failed(fault));
            }
            News::Failed(fault) => self.input(Input::Failed(fault)),
            News::Control => self.heard(Input::Heard),
            News::Frame(frame) => self.read(&frame),
            News::Ended(end) => {
                let end = match end {
                    End::Closed { code, words } => End::Closed { code, words: self.plain(&words) },
                    End::Cut { reason } => End::Cut { reason },
                    End::Broken { reason } => {
                        self.socket.report.broken(&reason);
                        End::Broken { reason }
                    }
                };
                self.input(Input::Ended(end));
            }
        }
    }

    /// Makes Zoom's words fit to be shown: they could echo the token.
    fn plain(&self, words: &str) -> Box<str> {
        self.token.as_ref().map_or_else(Box::default, |token| plain(words, token).into())
    }

    fn read(&mut self, frame: &Bytes) {
        let subscription = &*self.socket.name;
        let message = message::parse(frame);
        let (bytes, module) = (frame.len(), message.name());
        trace!(
            target: "zoomhook::frames",
            { subscription.name = subscription, frame.bytes = bytes },
            "read a frame of {bytes} bytes: {module}"
        );
        match message {
            Message::Accepted => self.heard(Input::Accepted),
            Message::Refused { words } => {
                let words = self.plain(&words);
                self.heard(Input::Refused { words });
            }
            Message::HeartbeatAnswered => self.heard(Input::Heard),
            Message::HeartbeatRefused => {
                debug!(subscription.name = subscription, "zoom answered a heartbeat with `success` false");
                self.input(Input::HeartbeatRefused);
            }
            Message::Unknown => {
                debug!(subscription.name = subscription, "zoom sent a frame of a module that means nothing here");
                self.socket.report.unknown();
                self.heard(Input::Heard);
            }
            Message::Event(content) => {
                let received_at = self.socket.clock.now();
                self.heard(if content.parked.is_some() { Input::Heard } else { Input::Event });
                self.socket.report.event(&content, received_at);
                self.socket.outbox.push(Entry::Event(Received {
                    subscription: Arc::clone(&self.socket.name),
                    kind: content.kind,
                    event_ts: content.event_ts,
                    received_at,
                    body: content.body,
                    parked: content.parked,
                }));
            }
        }
    }

    fn heard(&mut self, input: Input) {
        self.socket.report.heard(self.socket.clock.moment());
        self.input(input);
    }

    fn input(&mut self, input: Input) {
        self.session.handle_input(input, self.socket.clock.instant().into_std(), self.jitter);
        self.carry_out();
    }

    fn look_at_the_time(&mut self) {
        let now = self.socket.clock.instant();
        self.session.handle_timeout(now.into_std(), self.jitter);
        self.carry_out();
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            self.tick(now);
        }
    }

    fn tick(&mut self, now: Instant) {
        let stalled = match self.spool {
            Spool::Takes => false,
            Spool::Stalls { since } => now.duration_since(since) >= STALLED_AFTER,
        };
        self.socket.report.stalled(stalled);
        if self.spool == Spool::Takes {
            self.unread = self.unread.filter(|unread| now < unread.proven_at);
        }
        self.socket.report.tick(now);
        // The last sign of life is stored, not the present: what comes after it is not known to be heard.
        let heard_at = self.socket.report.live_at();
        // One that lies ahead was stored before the clock was set back: a crash would hide behind it.
        let due = |heard_at: Timestamp, alive_at: Timestamp| {
            heard_at < alive_at || heard_at.duration_since(alive_at) >= ALIVE_INTERVAL
        };
        if let Some(at) = heard_at
            && self.unread.is_none()
            && self.socket.outbox.is_empty()
            && self.alive_at.is_none_or(|alive_at| due(at, alive_at))
        {
            self.alive_at = Some(at);
            self.socket.outbox.push(Entry::Alive { at });
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::FetchToken(freshness) => self.fetch(freshness),
                Action::Connect => {
                    let token = self.token.clone().expect("the session connects once it was given a token");
                    self.wire = Wire::Opening(Box::pin((self.dial)(token)));
                }
                Action::SendHeartbeat => self.wire.send_heartbeat(),
                Action::Close => self.wire.send_close(),
                Action::Abort => self.wire = Wire::Idle,
                Action::OpenGap { reason } => {
                    let unread = self.unread.take().map(|unread| unread.since);
                    let since = unread.or(self.socket.report.last_heard()).unwrap_or(self.started);
                    let at = since.seen_from(self.socket.clock.moment());
                    self.socket.outbox.push(Entry::GapOpened { at, reason });
                }
                Action::CloseGap => {
                    self.unread = None;
                    self.socket.outbox.push(Entry::GapClosed { at: self.socket.clock.now() });
                }
                Action::Show { link, reason, next_try } => {
                    let (now, instant) = (self.socket.clock.now(), self.socket.clock.instant());
                    let delay = next_try.map(|next| Instant::from_std(next) - instant);
                    self.socket.report.show(link, reason, delay, now, instant);
                }
                Action::Count(tally) => self.socket.report.count(tally),
            }
        }
    }

    fn fetch(&mut self, freshness: Freshness) {
        let tokens = self.socket.access.borrow().tokens.clone();
        let refused = match freshness {
            Freshness::Cached => None,
            Freshness::Renewed => self.token.clone(),
        };
        self.wire = Wire::Fetching(Box::pin(async move { tokens.token(refused.as_ref()).await }));
    }

    /// Waits until the spool has what was read last.
    async fn drain(&mut self) -> Result<Drained, Closed> {
        self.socket.report.tick(self.socket.clock.instant());
        match timeout(DRAIN_DEADLINE, poll_fn(|cx| self.socket.outbox.poll(cx))).await {
            Ok(drained) => drained.map(|()| Drained::All),
            Err(_) => Ok(Drained::Not),
        }
    }

    fn spool_closed(&mut self) {
        let (now, instant) = (self.socket.clock.now(), self.socket.clock.instant());
        self.socket.report.show(Link::Stopped, "the spool is closed".into(), None, now, instant);
    }
}

fn fault(error: TokenError, now: Timestamp) -> Fault {
    match error {
        TokenError::Credentials { reason } => Fault::Credentials { reason },
        TokenError::Throttled { until, reason } => Fault::Throttled { wait: time_until(until, now), reason },
        TokenError::Hiccup { reason } => Fault::Hiccup { reason },
        TokenError::Proxy { fault, reason } => Fault::Proxy { fault, reason },
    }
}

#[cfg(test)]
mod tests;
