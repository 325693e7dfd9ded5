//! The course of the demo: events at a rate, two faults at their times, and an account of every event.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::screen::Screen;
use crate::clock::Clock;
use crate::event::Digest;
use crate::simulator::Simulator;
use crate::simulator::fault::Cut;
use crate::simulator::handler::{Answer, Delivery, Handler};
use crate::simulator::traffic::meetings::Meetings;
use crate::spool::View;
use crate::spool::record::GapRow;

/// When the handler begins to fail: once a newcomer has seen how it is when all is well.
const HANDLER_FAULT: Duration = Duration::from_secs(12);
/// When the socket is cut: once the retries are through.
const SOCKET_FAULT: Duration = Duration::from_secs(20);
/// Shows both faults and what comes of them; a shorter demo has them earlier.
const WHOLE: Duration = Duration::from_secs(30);
/// Events that may be on their way; more are not sent.
const ON_THE_WAY: usize = 10_000;
/// How long the end waits for retries: the second one of an event comes after five seconds, and a little.
const SETTLE: Duration = Duration::from_secs(8);
/// The shortest time between two batches, which is also the finest that tokio's timer knows.
const TICK: Duration = Duration::from_millis(1);

/// Is the account of the demo.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Events that Zoom sent.
    pub(super) sent: u64,
    /// Events that the handler accepted.
    pub(super) delivered: u64,
    /// Attempts after the first of an event.
    pub(super) retried: u64,
    /// Events that happened while no socket was live.
    pub(super) missed: u64,
    /// Events that the handler refused so far.
    pub(super) waiting: u64,
    /// Events that the handler never saw.
    pub(super) lost: u64,
}

/// Directs simulator and handler and watches what comes through.
pub(super) struct Stage {
    simulator: Simulator,
    handler: Handler,
    clock: Clock,
    meetings: Meetings,
    on_the_way: HashMap<Digest, OnTheWay>,
    totals: Totals,
    next: Fault,
    seen_deliveries: u64,
    seen_log: u64,
    /// The spool as an operator's command reads it.
    spool: Box<dyn View>,
    cut_at: Option<Timestamp>,
    handler_fault: Duration,
    socket_fault: Duration,
}

struct OnTheWay {
    sent_at: Timestamp,
    attempts: u32,
}

/// Is the fault that comes next.
#[derive(Clone, Copy)]
enum Fault {
    Handler,
    Socket,
    None,
}

#[derive(Deserialize)]
struct Named<'a> {
    event: &'a str,
}

impl Stage {
    /// Prepares a course of this length; without one it never ends.
    pub(super) fn new(
        simulator: Simulator,
        handler: Handler,
        clock: Clock,
        seed: u64,
        spool: Box<dyn View>,
        length: Option<Duration>,
    ) -> Self {
        let scale = length.unwrap_or(WHOLE).min(WHOLE).div_duration_f64(WHOLE);
        Self {
            simulator,
            handler,
            clock,
            meetings: Meetings::new(seed),
            on_the_way: HashMap::new(),
            totals: Totals::default(),
            next: Fault::Handler,
            seen_deliveries: 0,
            seen_log: 0,
            spool,
            cut_at: None,
            handler_fault: HANDLER_FAULT.mul_f64(scale),
            socket_fault: SOCKET_FAULT.mul_f64(scale),
        }
    }

    /// Plays until it is dropped.
    pub(super) async fn play(&mut self, rate: f64, screen: &mut Screen) -> io::Result<()> {
        self.simulator.wait_for(|counts| counts.accepted > 0).await;
        let begun = self.clock.instant();
        let mut ticks = interval(Duration::from_secs_f64(1.0 / rate).max(TICK));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut made = 0;
        loop {
            tokio::select! {
                now = ticks.tick() => {
                    let due = ((now - begun).as_secs_f64() * rate) as u64 + 1;
                    // While a fault waits for its moment no events are made.
                    if self.fault(now - begun, screen)? {
                        let room = ON_THE_WAY.saturating_sub(self.on_the_way.len()) as u64;
                        let count = room.min(due - made);
                        if count > 0 {
                            self.send(count, screen).await?;
                        }
                    }
                    made = due;
                }
                () = self.something() => {}
            }
            self.look(screen)?;
        }
    }

    /// Waits until nothing is on its way any more, or for as long as two retries take.
    pub(super) async fn settle(&mut self, screen: &mut Screen) -> io::Result<()> {
        let all = async {
            while !self.on_the_way.is_empty() {
                self.handler.beyond(self.seen_deliveries).await;
                self.look(screen)?;
            }
            Ok(())
        };
        timeout(SETTLE, all).await.unwrap_or(Ok(()))
    }

    /// Waits until a delivery came or something happened to a socket.
    async fn something(&self) {
        tokio::select! {
            () = self.handler.beyond(self.seen_deliveries) => {}
            () = self.simulator.logged(self.seen_log) => {}
        }
    }

    /// Lets the next fault happen when its time has come, and says whether events may go on.
    fn fault(&mut self, elapsed: Duration, screen: &mut Screen) -> io::Result<bool> {
        match self.next {
            Fault::Handler if elapsed >= self.handler_fault => {
                screen.note("The handler now answers 503 twice. zoomhook keeps the events and tries again.")?;
                self.handler.answer_next([Answer::Status(503), Answer::Status(503)]);
                self.next = Fault::Socket;
            }
            Fault::Socket if elapsed >= self.socket_fault => {
                // What is in the wires of a socket when it is cut is gone: wait until nothing is.
                if !self.on_the_way.is_empty() {
                    return Ok(false);
                }
                screen.note("The socket is cut. Zoom keeps nothing for later, so zoomhook reconnects at once.")?;
                self.simulator.drop_sockets(Cut::Reset);
                self.cut_at = Some(self.clock.now());
                self.next = Fault::None;
            }
            Fault::Handler | Fault::Socket | Fault::None => {}
        }
        Ok(true)
    }

    async fn send(&mut self, count: u64, screen: &mut Screen) -> io::Result<()> {
        let sent_at = self.clock.now();
        let bodies: Vec<String> = (0..count).map(|_| self.meetings.next(sent_at)).collect();
        // Entered into the account afterwards: when the demo ends while this waits, nothing was sent.
        if self.simulator.push_all(&bodies).await > 0 {
            let digests = bodies.iter().map(|body| Digest::of(body.as_bytes()));
            self.on_the_way.extend(digests.map(|digest| (digest, OnTheWay { sent_at, attempts: 0 })));
            self.totals.sent += count;
            return Ok(());
        }
        self.totals.missed += count;
        for body in &bodies {
            screen.missed(serde_json::from_str(body).map_or("", |Named { event }| event))?;
        }
        Ok(())
    }

    /// Shows what is new.
    fn look(&mut self, screen: &mut Screen) -> io::Result<()> {
        let (deliveries, seen) = self.handler.deliveries(self.seen_deliveries);
        self.seen_deliveries = seen;
        for delivery in &deliveries {
            self.arrived(delivery, screen)?;
        }
        self.seen_log = self.simulator.log(self.seen_log).1;
        self.look_for_the_gap(screen)
    }

    /// Tells of the gap that the cut has left, as soon as the spool has all of it.
    fn look_for_the_gap(&mut self, screen: &mut Screen) -> io::Result<()> {
        let Some(cut_at) = self.cut_at else { return Ok(()) };
        let gaps = self.spool.gaps(1).map_err(io::Error::other)?;
        // What is older than the cut is the gap before the first start.
        let closed = gaps.first().and_then(|gap| gap.closed_at.map(|closed_at| (gap, closed_at)));
        let Some((gap, closed_at)) = closed.filter(|(_, closed_at)| *closed_at >= cut_at) else { return Ok(()) };
        self.cut_at = None;
        let GapRow { id, opened_at, reason, .. } = gap;
        let seconds = closed_at.duration_since(*opened_at).as_secs_f64();
        screen.note(&format!(
            "Connected again. The spool has recorded gap {id}: {seconds:.1} s without a socket ({reason}), so nobody has to guess."
        ))
    }

    fn arrived(&mut self, delivery: &Delivery, screen: &mut Screen) -> io::Result<()> {
        // Not one of ours, or one that the handler has accepted before.
        let Some(event) = self.on_the_way.get_mut(&delivery.digest) else { return Ok(()) };
        event.attempts += 1;
        self.totals.retried += u64::from(event.attempts > 1);
        match delivery.answer {
            Answer::Status(status) | Answer::Late(_, status) if status < 300 => {
                let took = Duration::try_from(delivery.at.duration_since(event.sent_at)).unwrap_or_default();
                self.totals.delivered += 1;
                self.on_the_way.remove(&delivery.digest);
                screen.delivered(delivery, status, took)
            }
            Answer::Status(status) | Answer::Late(_, status) => screen.refused(delivery, status),
            Answer::Hang | Answer::Close | Answer::Cut => Ok(()),
        }
    }

    /// Closes the account.
    pub(super) fn totals(&self) -> Totals {
        let waiting = self.on_the_way.values().filter(|event| event.attempts > 0).count();
        let lost = self.on_the_way.len() - waiting;
        Totals { waiting: waiting as u64, lost: lost as u64, ..self.totals }
    }
}
