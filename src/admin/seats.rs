//! Who holds a connection to the port, and whose turn it is.
//!
//! There are few seats: the port must not use up what deliveries need. So that nobody keeps others waiting, a
//! connection whose peer is on turn (to send its request whole, or to take its answer) loses its seat when that
//! takes too long, or sooner when a newcomer needs it: at once if it is one of many from the same address. Requests under way and streams keep theirs; `limits` sees to
//! it that these alone never fill the table, so that a newcomer, a health check above all, always finds a seat.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Connections that are open at once. A console takes up to six, a scraper and a health check one each; the usual
/// limit of file descriptors, 1024, is left to the handlers.
pub(super) const SEATS: usize = 28;
/// How long a peer may take over its turn: a large answer over a slow line needs some of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a peer has its turn for sure, even if newcomers wait: a TLS handshake around the world, and a request.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Is the table of seats; clones share it.
#[derive(Clone, Default)]
pub(super) struct Seats(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    last: u64,
    taken: BTreeMap<u64, Entry>,
}

struct Entry {
    /// Where the peer is; `None` on this machine's socket.
    address: Option<IpAddr>,
    turn: Turn,
    since: Instant,
    lost: CancellationToken,
}

/// Says who has to do something next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The peer: to send a request, or to take an answer.
    Peer,
    /// The bridge: to make an answer.
    Bridge,
    /// Both, for as long as they like; the bridge says something now and then, and the peer takes it.
    Stream,
}

impl Entry {
    fn peer_since(&self, now: Instant) -> Option<Duration> {
        match self.turn {
            Turn::Peer => Some(now.saturating_duration_since(self.since)),
            Turn::Bridge | Turn::Stream => None,
        }
    }

    fn is_late(&self, now: Instant) -> bool {
        match self.turn {
            Turn::Peer | Turn::Stream => now.saturating_duration_since(self.since) > PATIENCE,
            Turn::Bridge => false,
        }
    }
}

impl Seats {
    /// Gives a seat to a connection that was accepted from this address; the peer is on turn.
    pub(super) fn take(&self, address: Option<IpAddr>, now: Instant) -> Seat {
        let lost = CancellationToken::new();
        let mut table = self.lock();
        table.last += 1;
        let number = table.last;
        table.taken.insert(number, Entry { address, turn: Turn::Peer, since: now, lost: lost.clone() });
        Seat(Arc::new(Held { seats: self.clone(), number, lost }))
    }

    /// Tells whether a newcomer would find a seat: a free one, or one of a peer that had its time.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let table = self.lock();
        table.taken.len() < SEATS || table.longest(now).is_some()
    }

    /// Makes sure that one more connection fits; takes the seat of the peer that keeps the port waiting longest, if
    /// need be, and tells whether it did.
    pub(super) fn make_room(&self, now: Instant) -> bool {
        let mut table = self.lock();
        if table.taken.len() < SEATS {
            return false;
        }
        let Some(number) = table.longest(now) else { return false };
        table.remove(number);
        true
    }

    /// Takes the seats of peers whose patience has run out, and tells how many.
    pub(super) fn sweep(&self, now: Instant) -> u64 {
        let mut table = self.lock();
        let late: Vec<u64> =
            table.taken.iter().filter(|(_, entry)| entry.is_late(now)).map(|(number, _)| *number).collect();
        for number in &late {
            table.remove(*number);
        }
        late.len() as u64
    }

    /// Returns how many seats are taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().taken.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Returns the seat of the peer that is on turn for the longest time, and longer than its grace. An address that
    /// has more than half of the seats on turn has no grace: nobody floods the port to keep others waiting.
    fn longest(&self, now: Instant) -> Option<u64> {
        let crowd = self.crowd();
        let waiting = self.taken.iter().filter_map(|(number, entry)| {
            let (age, crowds) = (entry.peer_since(now)?, Some(entry.address) == crowd);
            (crowds || age >= GRACE).then_some((age, Reverse(*number)))
        });
        waiting.max().map(|(_, Reverse(number))| number)
    }

    /// Returns the address that has more than half of the seats on turn.
    fn crowd(&self) -> Option<Option<IpAddr>> {
        let mut counts = BTreeMap::<Option<IpAddr>, usize>::new();
        for entry in self.taken.values().filter(|entry| entry.turn == Turn::Peer) {
            *counts.entry(entry.address).or_default() += 1;
        }
        counts.into_iter().find_map(|(address, count)| (count > SEATS / 2).then_some(address))
    }

    fn remove(&mut self, number: u64) {
        if let Some(entry) = self.taken.remove(&number) {
            entry.lost.cancel();
        }
    }
}

/// Is the seat of one connection; it is free again when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Seat(Arc<Held>);

struct Held {
    seats: Seats,
    number: u64,
    lost: CancellationToken,
}

impl Seat {
    /// Says that the request is there as a whole; the peer is on turn again when what is returned is dropped, whatever
    /// the answer came to.
    pub(super) fn answering(&self) -> Answering {
        self.turn(Turn::Bridge);
        Answering(self.clone())
    }

    /// Says that the answer goes on until what is returned is dropped.
    pub(super) fn streaming(&self) -> Streaming {
        self.turn(Turn::Stream);
        Streaming(self.clone())
    }

    /// Waits until the seat is lost.
    pub(super) async fn lost(&self) {
        self.0.lost.cancelled().await;
    }

    fn turn(&self, turn: Turn) {
        if let Some(entry) = self.0.seats.lock().taken.get_mut(&self.0.number) {
            entry.turn = turn;
            entry.since = Instant::now();
        }
    }
}

/// Keeps the bridge on turn.
pub(super) struct Answering(Seat);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.turn(Turn::Peer);
    }
}

/// Keeps a stream going.
pub(super) struct Streaming(Seat);

impl Streaming {
    /// Says that the peer has taken another part.
    pub(super) fn goes_on(&self) {
        self.0.turn(Turn::Stream);
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.turn(Turn::Peer);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.seats.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn newcomer_gets_the_seat_of_the_peer_that_waits_longest() {
        let seats = Seats::default();
        let first = seats.take(address(0), Instant::now());
        advance(GRACE).await;
        let others: Vec<Seat> = (1..SEATS).map(|nth| seats.take(address(nth), Instant::now())).collect();
        assert!(seats.has_room(Instant::now()));
        assert!(seats.make_room(Instant::now()));
        assert!(is_lost(&first));
        assert!(!others.iter().any(is_lost));
        assert_eq!(seats.taken(), SEATS - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn peer_has_its_grace_whoever_waits() {
        let seats = Seats::default();
        let taken: Vec<Seat> = (0..SEATS).map(|nth| seats.take(address(nth), Instant::now())).collect();
        assert!(!seats.has_room(Instant::now()));
        assert!(!seats.make_room(Instant::now()));
        advance(GRACE).await;
        assert!(seats.has_room(Instant::now()));
        drop(taken);
        assert_eq!(seats.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_under_way_and_streams_keep_their_seats() {
        let seats = Seats::default();
        let taken: Vec<Seat> = (0..SEATS).map(|nth| seats.take(address(nth), Instant::now())).collect();
        let (answered, streamed) = taken.split_at(SEATS / 2);
        let mut answering: Vec<Answering> = answered.iter().map(Seat::answering).collect();
        let mut streaming: Vec<Streaming> = streamed.iter().map(Seat::streaming).collect();
        advance(PATIENCE).await;
        assert!(!seats.has_room(Instant::now()));
        assert_eq!(seats.sweep(Instant::now()), 0);
        drop(answering.pop());
        drop(streaming.pop());
        advance(GRACE).await;
        let displaced =
            [(); 3].map(|()| seats.make_room(Instant::now()).then(|| seats.take(address(0), Instant::now())));
        assert_eq!(displaced.map(|seat| seat.is_some()), [true, true, false], "those whose answer nobody takes");
    }

    #[tokio::test(start_paused = true)]
    async fn peers_and_streams_that_stand_still_are_given_up() {
        let seats = Seats::default();
        let [idle, stream, alive, ours] = [(); 4].map(|()| seats.take(address(0), Instant::now()));
        let (_stands, goes_on, _works) = (stream.streaming(), alive.streaming(), ours.answering());
        advance(PATIENCE).await;
        goes_on.goes_on();
        advance(Duration::from_millis(1)).await;
        assert_eq!(seats.sweep(Instant::now()), 2);
        assert_eq!([&idle, &stream, &alive, &ours].map(is_lost), [true, true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn flood_from_one_address_takes_the_seats_of_its_own_alone() {
        let seats = Seats::default();
        let other = seats.take(address(1), Instant::now());
        let flood: Vec<Seat> = (1..SEATS).map(|_| seats.take(address(0), Instant::now())).collect();
        let mut newcomers = Vec::new();
        for newcomer in [address(2), address(3), address(0), address(0)] {
            assert!(seats.has_room(Instant::now()));
            assert!(seats.make_room(Instant::now()));
            newcomers.push(seats.take(newcomer, Instant::now()));
        }
        assert_eq!(flood.iter().map(is_lost).collect::<Vec<_>>(), [vec![true; 4], vec![false; SEATS - 5]].concat());
        assert!(!is_lost(&other) && !newcomers.iter().any(is_lost));
    }

    fn address(nth: usize) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, u8::try_from(nth).expect("few")]))
    }

    fn is_lost(seat: &Seat) -> bool {
        seat.0.lost.is_cancelled()
    }
}
