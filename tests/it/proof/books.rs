//! Accounting over three logs that know nothing of each other: the simulator's, the spool, and the handlers'.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::Value;
use zoomhook::simulator::Simulator;
use zoomhook::simulator::log::Happening;
use zoomhook::spool::record::GapRow;

use crate::lab::{Bridge, Lab, bodies, body};

/// Events that are sent with one flush.
const BATCH: usize = 10;
/// Times in the spool are whole milliseconds.
const GRAIN: SignedDuration = SignedDuration::from_millis(1);

/// Holds what was given to the simulator, by the socket that took it.
#[derive(Default)]
pub(super) struct Books {
    sockets: Vec<Socket>,
    next: usize,
    /// How the bridge's clock went, if not as ours.
    steps: Vec<Step>,
}

/// Is a time from which on the bridge's clock goes in one way.
struct Step {
    since: Timestamp,
    shown: Timestamp,
    times: i32,
    /// By how much less it may have shown.
    error: SignedDuration,
}

/// Is what was sent over one socket, in order.
struct Socket {
    number: u64,
    batches: Vec<Batch>,
}

struct Batch {
    numbers: Range<usize>,
    began: Timestamp,
    /// When all of it was written, or its socket had ended.
    at: Timestamp,
}

/// Is an event as the spool holds it.
pub(super) struct Stored {
    pub(super) id: i64,
    pub(super) received_at: Timestamp,
    pub(super) body: Bytes,
}

/// Is what the books come to.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Events that the simulator wrote to a socket.
    pub(super) written: usize,
    /// Events in the spool.
    pub(super) stored: usize,
    /// Events that were written, and lost with their socket inside a recorded gap.
    pub(super) in_gaps: usize,
    /// Requests beyond the first for an event, over all handlers.
    pub(super) repeated: usize,
    /// By destination.
    pub(super) destinations: HashMap<String, Deliveries>,
}

/// Is where events stand with one destination.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    pub(super) waiting: usize,
    pub(super) delivered: usize,
    pub(super) dead: usize,
}

impl Books {
    /// Sends so many events, or fewer if the socket goes; tells how many were taken for it. Nobody else may send.
    pub(super) async fn send(&mut self, zoom: &Simulator, events: usize) -> usize {
        let number = newest_socket(zoom);
        if self.sockets.last().is_none_or(|socket| socket.number != number) {
            self.sockets.push(Socket { number, batches: Vec::new() });
        }
        let end = self.next + events;
        let begin = self.next;
        while self.next < end {
            let numbers = self.next..end.min(self.next + BATCH);
            let began = Timestamp::now();
            let taken = zoom.push_all(&bodies(numbers.clone())).await;
            self.next = numbers.end;
            if taken == 0 {
                return numbers.start - begin;
            }
            let pushed = self.next as u64;
            zoom.wait_for(|counts| counts.sent + counts.missed >= pushed).await;
            let socket = self.sockets.last_mut().expect("just pushed");
            socket.batches.push(Batch { numbers, began, at: Timestamp::now() });
        }
        events
    }

    /// Takes note that the bridge's clock is so far ahead from now on.
    pub(super) fn set_clock(&mut self, ahead: SignedDuration) {
        let since = Timestamp::now();
        self.steps.push(Step { since, shown: since + ahead, times: 1, error: SignedDuration::ZERO });
    }

    /// Takes note of a clock that goes so many times as fast.
    pub(super) async fn follow_clock(&mut self, bridge: &Bridge, times: i32) {
        let since = Timestamp::now();
        let shown = bridge.status().await["at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
        let error = Timestamp::now().duration_since(since) * times;
        self.steps.push(Step { since, shown, times, error });
    }

    /// Tells the latest that the bridge's clock can have shown when ours showed this.
    pub(super) fn shown(&self, at: Timestamp) -> Timestamp {
        let step = self.steps.iter().rfind(|step| step.since <= at);
        step.map_or(at, |step| step.shown + at.duration_since(step.since) * step.times)
    }

    fn error(&self) -> SignedDuration {
        self.steps.iter().map(|step| step.error).max().unwrap_or_default() + GRAIN
    }

    /// Waits until all that is stored is delivered, and closes the books with the bridge running: see [`Self::balance`].
    ///
    /// What `zoomhook status` says must agree with them, and its exit code with what it says.
    pub(super) async fn close(&mut self, lab: &Lab, bridge: &Bridge) -> Account {
        bridge.until_ready().await;
        // Where one event more is stored, everything is that was read before.
        let last = body(self.next);
        assert_eq!(self.send(&lab.zoom, 1).await, 1, "the socket is live");
        for (_, handler) in &lab.handlers {
            handler.has_taken_body(last.as_bytes()).await;
        }
        let stored = stored(lab).len();
        for (_, handler) in &lab.handlers {
            handler.has_taken(stored).await;
        }
        bridge.until("/api/v1/status", |code, text| code == 200 && !has_pending(text)).await;
        let account = self.balance(lab);
        self.assert_status_is_true(lab, bridge, &account).await;
        account
    }

    /// Adds everything up. Nothing is lost if all of this is so:
    ///
    /// - Of the events that were written to a socket, those that the spool holds are the first ones, in their order.
    ///   Those after them were in flight when the socket ended: a recorded gap begins no later than the event was written
    ///   or the last one ahead of it was read, and lasts at least until it was sent.
    /// - The spool holds nothing else, and each event once, byte for byte.
    /// - Every stored event has a delivery for every destination. If that is settled as delivered, the handler has the
    ///   body; if it waits or is dead, the body is still kept.
    /// - Handlers have nothing that the spool has not.
    pub(super) fn balance(&self, lab: &Lab) -> Account {
        let mut account = Account::default();
        let (stored, gaps) = (stored(lab), lab.gaps());
        let by_body: HashMap<&[u8], &Stored> = stored.iter().map(|event| (&event.body[..], event)).collect();
        assert_eq!(by_body.len(), stored.len(), "an event is stored twice");
        let (mut lost, mut known) = (Vec::new(), 0);
        for socket in &self.sockets {
            let written = written(&lab.zoom, socket.number);
            let numbers =
                socket.batches.iter().flat_map(|batch| batch.numbers.clone().map(move |number| (number, batch)));
            let (mut last, mut missing) = (None::<&Stored>, None);
            for (at, (number, batch)) in numbers.enumerate() {
                let Some(event) = by_body.get(body(number).as_bytes()).copied() else {
                    missing = missing.or(Some(number));
                    if at < written {
                        account.written += 1;
                        let written_at = self.shown(batch.at);
                        let from = last.map_or(written_at, |last| last.received_at.max(written_at));
                        let until = self.shown(batch.began) - self.error();
                        let covered = gaps.iter().any(|gap| covers(gap, from, until));
                        account.in_gaps += usize::from(covered);
                        lost.extend((!covered).then_some(number));
                    }
                    continue;
                };
                assert!(missing.is_none(), "event {number} was stored, and {missing:?} before it was not");
                assert!(last.is_none_or(|last| last.id < event.id), "event {number} was stored out of its order");
                account.written += 1;
                known += 1;
                last = Some(event);
            }
        }
        assert!(lost.is_empty(), "lost and in no gap: {lost:?}\n{gaps:#?}");
        assert_eq!(stored.len(), known, "the spool holds what was never sent");
        account.stored = stored.len();
        self.balance_deliveries(lab, &stored, &mut account);
        account
    }

    fn balance_deliveries(&self, lab: &Lab, stored: &[Stored], account: &mut Account) {
        let states = states(lab);
        let bodies: HashSet<&Bytes> = stored.iter().map(|event| &event.body).collect();
        for (name, handler) in &lab.handlers {
            let taken = handler.taken();
            let deliveries = account.destinations.entry((*name).to_owned()).or_default();
            for Stored { id, body, .. } in stored {
                match states.get(&((*name).to_owned(), *id)) {
                    Some(0 | 1) => deliveries.waiting += 1,
                    Some(2) => {
                        assert!(taken.contains_key(body), "event {id} is called delivered, and {name} never took it");
                        deliveries.delivered += 1;
                    }
                    Some(3) => deliveries.dead += 1,
                    other => panic!("event {id} is lost to {name}: state {other:?}"),
                }
            }
            assert!(taken.keys().all(|body| bodies.contains(body)), "{name} took what was never stored");
            account.repeated += taken.values().map(|times| *times as usize - 1).sum::<usize>();
        }
    }

    async fn assert_status_is_true(&self, lab: &Lab, bridge: &Bridge, account: &Account) {
        let (code, out, err) = lab.run(&["status", "--json", "--listen", &bridge.admin.to_string()]).await;
        let status: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        let live = lab.zoom.counts().live() == 1;
        assert_eq!(status["subscriptions"][0]["status"]["link"] == "live", live, "{status:#}");
        assert_eq!(status["open_gaps"].as_array().expect("a list").is_empty(), live, "{status:#}");
        assert_eq!((&status["running"], &status["spool"]["writable"]), (&true.into(), &true.into()));
        assert_eq!(status["destinations"].as_array().expect("a list").len(), account.destinations.len());
        for destination in status["destinations"].as_array().expect("a list") {
            let backlog = &destination["backlog"];
            let deliveries = &account.destinations[destination["name"].as_str().expect("a name")];
            assert_eq!(backlog["pending"], deliveries.waiting, "{status:#}");
            assert_eq!(backlog["delivered"], deliveries.delivered, "{status:#}");
            assert_eq!(backlog["dead"], deliveries.dead, "{status:#}");
        }
        let summary = status["summary"].as_str().expect("a sentence");
        assert_eq!(summary.starts_with("Nothing is being lost"), live, "{summary}");
        assert_eq!((code == 0, live), (status["ok"] == true, status["level"] != "losing"), "{status:#}");
    }
}

/// Tells whether a gap begins at the one time at the latest, and lasts until the other at least.
fn covers(gap: &GapRow, from: Timestamp, until: Timestamp) -> bool {
    gap.opened_at <= from && gap.closed_at.is_none_or(|closed_at| until <= closed_at)
}

fn has_pending(status: &str) -> bool {
    let status: Value = serde_json::from_str(status).expect("json");
    let destinations = status["destinations"].as_array().expect("a list");
    destinations.iter().any(|destination| destination["backlog"]["pending"] != 0)
}

/// Returns the number of the socket that was accepted last.
fn newest_socket(zoom: &Simulator) -> u64 {
    let entries = zoom.log(0).0.into_iter().rev();
    let mut sockets = entries.filter_map(|entry| {
        let Happening::Accepted { socket, .. } = entry.what else { return None };
        Some(socket)
    });
    sockets.next().expect("a socket")
}

/// Returns how many events the simulator wrote to a socket.
fn written(zoom: &Simulator, number: u64) -> usize {
    let mut before = 0;
    for entry in zoom.log(0).0 {
        if let Happening::Closed { socket, events, .. } = entry.what {
            if socket == number {
                return events as usize;
            }
            before += events;
        }
    }
    (zoom.counts().sent - before) as usize
}

/// Returns what the spool holds, in its order, without the program's help.
pub(super) fn stored(lab: &Lab) -> Vec<Stored> {
    let spool = Connection::open(lab.spool()).expect("a spool");
    let sql = "SELECT e.id, e.received_at, b.body FROM events e JOIN bodies b ON b.event = e.id ORDER BY e.id";
    let mut statement = spool.prepare(sql).expect("the tables");
    let rows = statement.query_map([], |row| {
        let received_at = Timestamp::from_millisecond(row.get(1)?).expect("a time");
        Ok(Stored { id: row.get(0)?, received_at, body: Bytes::from(row.get::<_, Vec<u8>>(2)?) })
    });
    rows.and_then(Iterator::collect).expect("readable")
}

/// Returns where each event stands with each destination.
fn states(lab: &Lab) -> HashMap<(String, i64), i64> {
    let spool = Connection::open(lab.spool()).expect("a spool");
    let sql = "SELECT n.name, d.event, d.state FROM deliveries d JOIN destinations n ON n.id = d.destination";
    let mut statement = spool.prepare(sql).expect("the tables");
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)));
    rows.and_then(Iterator::collect).expect("readable")
}

#[tokio::test]
async fn books_notice_what_is_missing() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    let mut books = Books::default();
    books.send(&lab.zoom, 20).await;
    books.close(&lab, &bridge).await;
    bridge.stop().await;
    let spool = Connection::open(lab.spool()).expect("a spool");
    let forgeries = [
        ("UPDATE bodies SET event = -7 WHERE event = 7", "before it was not"),
        ("UPDATE bodies SET event = -event WHERE event > 10", "lost and in no gap: [10, 11, 12"),
        ("UPDATE deliveries SET event = -7 WHERE event = 7", "event 7 is lost to crm"),
        ("UPDATE bodies SET body = x'78' WHERE event = 7", "before it was not"),
    ];
    for (forgery, complaint) in forgeries {
        let undo = "UPDATE bodies SET event = abs(event); UPDATE deliveries SET event = abs(event)";
        spool.execute_batch(&format!("{undo}; {forgery}")).expect("the tables");
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| books.balance(&lab)));
        let said = said.expect_err("something is wrong").downcast::<String>().expect("words");
        assert!(said.contains(complaint), "{forgery}: {said}");
    }
}
