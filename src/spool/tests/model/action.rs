//! What can happen in a run, and the dice that choose it.

use std::time::Duration;

use crate::clock::mix;
use crate::config::authorization::{NextSecretToken, Takeover};
use crate::config::limits::Ttl;
use crate::config::secret::Secret;
use crate::config::{Destination, Ordering, Probe, Retry, Spool, Start, WhenFull};

/// Destinations that a run may have.
pub(super) const DESTINATIONS: u64 = 3;
/// The most attempts that any of the retry lists makes.
pub(super) const MOST_ATTEMPTS: u32 = 4;

/// Throws the dice of a run: the same seed throws the same.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// Throws a number below this one.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % end
    }

    /// Is true once in so many throws.
    pub(super) fn once_in(&mut self, throws: u64) -> bool {
        self.below(throws) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub(super) fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most + 1))
    }
}

/// Is how a handler behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    Slow,
    Down,
    Busy,
    Gone,
    Unauthorized,
    Absent,
    Hangs,
    Cuts,
    Stale,
    Mixed,
}

const MOODS: [Mood; 12] = [
    Mood::Well,
    Mood::Well,
    Mood::Slow,
    Mood::Down,
    Mood::Busy,
    Mood::Gone,
    Mood::Unauthorized,
    Mood::Absent,
    Mood::Hangs,
    Mood::Cuts,
    Mood::Stale,
    Mood::Mixed,
];

/// Is what a disk does to the next writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No room for events; reports still fit.
    FullForEvents,
    Full,
    ReadOnly,
    Broken,
}

/// Is what a power cut leaves of the bytes that the last write had begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tear {
    /// All of them.
    Whole,
    /// The file ends among them.
    Truncated,
    /// The old bytes, or zeros, from somewhere among them on.
    Short,
    /// Some sectors of them.
    Holes,
    /// Chance bytes from somewhere among them on.
    Garbage,
}

/// Is how a destination is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) ordering: Ordering,
    /// Things that are held apart in strict order.
    pub(super) apart: usize,
    pub(super) filter: &'static str,
    concurrency: usize,
    delays: &'static [u64],
    ttl: Option<u64>,
    most: Option<u32>,
    probe: Probe,
    two_secrets: bool,
    rate: Option<&'static str>,
    start: Start,
}

impl Setup {
    fn thrown(dice: &mut Dice) -> Self {
        let orders = [Ordering::Object, Ordering::Strict, Ordering::Strict, Ordering::None];
        Self {
            ordering: dice.pick(&orders),
            apart: dice.pick(&[1, 2, 1000]),
            filter: dice.pick(&["*", "*", "meeting.*", "user.created"]),
            concurrency: dice.pick(&[1, 2, 8]),
            delays: dice.pick(&[&[1, 4, 9], &[2, 2, 2], &[30], &[]]),
            ttl: dice.once_in(6).then_some(5),
            most: dice.once_in(6).then_some(2),
            probe: dice.pick(&[Probe::Event, Probe::Event, Probe::Validation]),
            two_secrets: dice.once_in(4),
            rate: dice.once_in(6).then_some("5/s"),
            start: dice.pick(&[Start::Now, Start::Now, Start::Beginning]),
        }
    }

    pub(super) fn destination(&self, name: &str) -> Destination {
        let url = "http://127.0.0.1:1/".parse().expect("a URL");
        let mut destination = Destination::new(name, url, Secret::new("first"));
        destination.filter = self.filter.parse().expect("a choice");
        destination.ordering = self.ordering;
        destination.concurrency = self.concurrency;
        destination.retry = Retry::List(self.delays.iter().copied().map(Duration::from_secs).collect());
        destination.max_attempts = self.most;
        destination.probe = self.probe;
        destination.start = self.start;
        destination.rate = self.rate.map(|rate| rate.parse().expect("a rate"));
        if let Some(seconds) = self.ttl {
            destination.ttl = Ttl::new(vec![("*".parse().expect("a pattern"), Duration::from_secs(seconds))]);
        }
        if self.two_secrets {
            let takeover = Takeover::WhenRefused;
            destination.next_secret_token = Some(NextSecretToken { token: Secret::new("second"), takeover });
        }
        destination
    }
}

/// Is one thing that happens; destinations, kinds and things are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// So many events of a kind, about one thing or each about another.
    Events {
        kind: u64,
        thing: Option<u64>,
        count: u64,
    },
    /// The body that came so many events ago comes again.
    Repeat(u64),
    /// So many large events, each about another thing.
    Bulk(u64),
    /// So many frames that are not JSON.
    Parked(u64),
    Flush,
    /// The socket is live again, or no more.
    Up,
    Down,
    /// So many milliseconds pass.
    Wait(u64),
    Handler(u64, Mood),
    /// The process dies between two writes, with so many bytes of chance behind the log.
    Kill(u64),
    /// The power fails in the midst of a write, so many writes from now.
    PowerCut(u32, Tear),
    Fault(Fault, u32),
    /// The clock is set, by so many seconds.
    Clock(i64),
    /// A destination is configured so, or is new.
    Configure(u64, Setup),
    Remove(u64),
    /// A destination is taken out while requests are in flight, and is back after so many milliseconds.
    Return(u64, Setup, u64),
    Pause(u64),
    Resume(u64),
    ReplayDead(Option<u64>),
    ReplayHad(Option<u64>),
    ReplayTo(u64),
    PurgeDead(u64),
    PurgeOrphan(u64),
    PurgeParked,
    /// An orderly stop, and a start with another key, or none.
    Key(Option<u8>),
    /// What is kept is brought to the key in force.
    Rekey,
    /// Another program copies the log back; the power may fail at that.
    Checkpoint {
        torn: bool,
    },
    /// An orderly stop, and a start.
    Restart,
    /// A stop that cuts requests short, and a start.
    Cut,
}

/// Is what holds for a whole run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) max_size: u64,
    pub(super) when_full: WhenFull,
    pub(super) key: Option<u8>,
}

impl Scene {
    /// Throws it; one run in four has little room.
    pub(super) fn thrown(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5ce_e5ce);
        let is_narrow = dice.once_in(4);
        let max_size = if is_narrow { (300 + dice.below(300)) << 10 } else { Spool::MAX_SIZE };
        let when_full = dice.pick(&[WhenFull::Refuse, WhenFull::DropDeliveredFirst]);
        Self { max_size, when_full, key: dice.pick(&[None, None, None, Some(1)]) }
    }

    pub(super) fn is_narrow(&self) -> bool {
        self.max_size < Spool::MAX_SIZE
    }
}

/// Throws what happens in a run. Every run begins with destinations and ends with whatever is left to be done.
pub(super) fn script(seed: u64) -> Vec<Action> {
    let mut dice = Dice::new(seed);
    let mut actions = Vec::new();
    for destination in 0..=dice.below(DESTINATIONS) {
        let destination = destination.min(DESTINATIONS - 1);
        actions.push(Action::Configure(destination, Setup::thrown(&mut dice)));
    }
    for _ in 0..6 + dice.below(18) {
        actions.push(thrown(&mut dice));
    }
    actions
}

fn thrown(dice: &mut Dice) -> Action {
    let destination = dice.below(DESTINATIONS);
    match dice.below(100) {
        0..22 => {
            let thing = (!dice.once_in(4)).then(|| dice.below(3));
            let count = if dice.once_in(12) { 20 + dice.below(20) } else { 1 + dice.below(4) };
            Action::Events { kind: dice.below(2), thing, count }
        }
        22..24 => Action::Bulk(1 + dice.below(40)),
        24..26 => Action::Parked(1 + dice.below(3)),
        26..30 => Action::Repeat(dice.below(6)),
        30..35 => Action::Flush,
        35..37 => Action::Down,
        37..39 => Action::Up,
        39..52 => Action::Wait(dice.pick(&[1, 20, 100, 1000, 5000, 30_000, 90_000])),
        52..66 => Action::Handler(destination, dice.pick(&MOODS)),
        66..69 => Action::Kill(dice.pick(&[0, 0, 1, 100, 5000])),
        69..74 => {
            let tears = [Tear::Whole, Tear::Truncated, Tear::Short, Tear::Holes, Tear::Garbage];
            Action::PowerCut(1 + dice.below(6) as u32, dice.pick(&tears))
        }
        74..77 => {
            let faults = [Fault::FullForEvents, Fault::Full, Fault::ReadOnly, Fault::Broken];
            Action::Fault(dice.pick(&faults), 1 + dice.below(5) as u32)
        }
        77..79 => Action::Clock(dice.pick(&[-7200, -1800, -60, -2, 2, 60, 1800])),
        79..82 => Action::Configure(destination, Setup::thrown(dice)),
        82 => Action::Return(destination, Setup::thrown(dice), dice.pick(&[0, 1, 30, 2000])),
        83..85 => Action::Remove(destination),
        85..87 => Action::Pause(destination),
        87..89 => Action::Resume(destination),
        89 => Action::ReplayDead((!dice.once_in(2)).then_some(destination)),
        90 => Action::ReplayHad((!dice.once_in(2)).then_some(destination)),
        91 => Action::ReplayTo(destination),
        92..94 => Action::PurgeDead(destination),
        94 => Action::PurgeOrphan(destination),
        95 => dice.pick(&[
            Action::PurgeParked,
            Action::Key(None),
            Action::Key(Some(1)),
            Action::Key(Some(2)),
            Action::Rekey,
        ]),
        96 => Action::Checkpoint { torn: dice.once_in(2) },
        97..99 => Action::Restart,
        _ => Action::Cut,
    }
}
