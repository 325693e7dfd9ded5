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
use crate::simulator::log::Happening;
use crate::simulator::traffic::Meetings;

/// When the handler begins to fail: once a newcomer has seen how it is when all is well.
const HANDLER_FAULT: Duration = Duration::from_secs(12);
/// When the socket is cut: once the retries are through.
const SOCKET_FAULT: Duration = Duration::from_secs(20);
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
    cut_at: Option<Timestamp>,
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
    pub(super) fn new(simulator: Simulator, handler: Handler, clock: Clock, seed: u64) -> Self {
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
            cut_at: None,
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
            Fault::Handler if elapsed >= HANDLER_FAULT => {
                screen.note("The handler now answers 503 twice. zoomhook keeps the events and tries again.")?;
                self.handler.answer_next([Answer::Status(503), Answer::Status(503)]);
                self.next = Fault::Socket;
            }
            Fault::Socket if elapsed >= SOCKET_FAULT => {
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
        let (entries, seen) = self.simulator.log(self.seen_log);
        self.seen_log = seen;
        for entry in entries {
            if let (Happening::Accepted { .. }, Some(cut_at)) = (entry.what, self.cut_at) {
                let seconds = entry.at.duration_since(cut_at).as_secs_f64();
                let missed = self.totals.missed;
                self.cut_at = None;
                screen.note(&format!(
                    "Connected again after {seconds:.1} s. The gap is recorded, so nobody has to guess: {missed} events fell into it."
                ))?;
            }
        }
        Ok(())
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
