//! What is measured.

use crate::receiver::Handler;
use crate::receiver::Handler::{Behind, Closes, Hangs, Nowhere, Refusing, Slow, Well};

/// Is one thing to measure.
pub(crate) struct Case {
    pub(crate) name: String,
    /// The handlers, each a destination of its own.
    pub(crate) handlers: Vec<Handler>,
    pub(crate) load: Load,
    /// What the spool holds before the bridge starts.
    pub(crate) stored: Stored,
    /// Events that are sent and delivered before those that are counted.
    pub(crate) warm: u64,
    /// How many types of events there are. With more than one, each destination wants the one of its number.
    pub(crate) kinds: u64,
    /// How much longer each sync of the disk takes, in milliseconds.
    pub(crate) sync_ms: u64,
    pub(crate) console: Console,
    /// Lines that the configuration of the spool has.
    pub(crate) spool: &'static str,
    /// The case that it is compared with.
    pub(crate) against: Option<String>,
}

/// Is how events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// As fast as they are taken.
    Blast { count: u64 },
    /// At a pace.
    Paced { rate: u64, seconds: u64 },
    /// None: the bridge starts, and its lists are read.
    Nothing,
}

/// Is what a spool holds for the first destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Nothing,
    /// Events that were never attempted.
    Fresh(u64),
    /// Events whose retry is due.
    Due(u64),
    /// Dead letters, of three causes.
    Dead(u64),
}

/// Tells whether somebody looks at the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Console {
    Closed,
    Open,
}

const FEW: u64 = 100_000;
const MANY: u64 = 1_000_000;
/// Enough that connections are open and the caches are warm.
const WARM: u64 = 2000;
/// What a case of isolation is loaded with: well below what a machine can, so that only the neighbour is felt.
const CALM: Load = Load::Paced { rate: 500, seconds: 10 };
const SEALED: &str = "encryption_key = \"5LbKw0XtVZ0m0cQbqk0m6l7m1v9Qm6m4jHqB3p8cTzE=\"\n";

/// What the cases of isolation are compared with.
pub(crate) const ALONE: &str = "beside nobody";
/// What the variants of a blast are compared with.
pub(crate) const BLAST: &str = "blast, 1 destination";

/// Returns all of them, in the order in which a run goes through them.
pub(crate) fn cases() -> Vec<Case> {
    let blast = |count| Load::Blast { count };
    let mut cases = vec![
        case(BLAST, &[Well], blast(200_000)),
        case("blast, 3 destinations", &[Well; 3], blast(100_000)),
        case("blast, 10 destinations", &[Well; 10], blast(30_000)),
        Case { spool: SEALED, ..case("blast, encrypted", &[Well], blast(200_000)) }.against(BLAST),
        Case { console: Console::Open, ..case("blast, console open", &[Well], blast(200_000)) }.against(BLAST),
        Case { sync_ms: 5, ..case("blast, sync 5 ms", &[Well], blast(50_000)) }.against(BLAST),
        Case { sync_ms: 50, ..case("blast, sync 50 ms", &[Well], blast(50_000)) }.against(BLAST),
    ];
    for destinations in [1, 3, 10] {
        for rate in [100, 1000] {
            let name =
                format!("paced, {rate}/s, {destinations} destination{}", if destinations > 1 { "s" } else { "" });
            cases.push(case(&name, &vec![Well; destinations], Load::Paced { rate, seconds: 10 }));
        }
    }
    for sync_ms in [5, 50] {
        let name = format!("paced, 1000/s, sync {sync_ms} ms");
        cases.push(Case { sync_ms, ..case(&name, &[Well], Load::Paced { rate: 1000, seconds: 10 }) });
    }
    cases.push(calm(ALONE, &[Well]));
    for (name, other) in [
        ("beside one that hangs", Hangs),
        ("beside one that takes 20 s", Slow),
        ("beside one that closes", Closes),
        ("beside one without a name", Nowhere),
    ] {
        cases.push(calm(name, &[Well, other]).against(ALONE));
    }
    cases.extend(growth());
    cases
}

/// Returns those that show what grows with what.
fn growth() -> Vec<Case> {
    let mut cases = Vec::new();
    for (stored, count) in [("100 000", FEW), ("1 000 000", MANY)] {
        let name = |what: &str| what.replace("N", stored);
        cases.push(
            Case { stored: Stored::Due(count), ..calm(&name("beside N own retries"), &[Refusing]) }.against(ALONE),
        );
        // Over before the smaller backlog is, so that all of it comes while the other catches up.
        let meanwhile = Load::Paced { rate: 200, seconds: 2 };
        let case = case(&name("catch-up, N waiting"), &[Behind, Well], meanwhile);
        let case = Case { stored: Stored::Fresh(count), warm: 0, ..case };
        cases.push(if count == FEW { case } else { case.against("catch-up, 100 000 waiting") });
    }
    for destinations in [1_u64, 10, 50] {
        let handlers = vec![Well; destinations as usize];
        let case = case(&format!("matching 1 of {destinations}"), &handlers, Load::Blast { count: 100_000 });
        let case = Case { kinds: destinations, ..case };
        cases.push(if destinations == 1 { case } else { case.against("matching 1 of 1") });
    }
    let start = |name, stored| Case { stored, warm: 0, ..case(name, &[Hangs], Load::Nothing) };
    cases.push(start("start, nothing waiting", Stored::Nothing));
    cases.push(start("start, 1 000 000 waiting", Stored::Fresh(MANY)));
    cases.push(start("start, 1 000 000 retries", Stored::Due(MANY)));
    cases.push(start("start, 1000 dead", Stored::Dead(1000)));
    cases.push(start("start, 1 000 000 dead", Stored::Dead(MANY)).against("start, 1000 dead"));
    cases
}

fn case(name: &str, handlers: &[Handler], load: Load) -> Case {
    Case {
        name: name.to_owned(),
        handlers: handlers.to_vec(),
        load,
        stored: Stored::Nothing,
        warm: WARM,
        kinds: 1,
        sync_ms: 0,
        console: Console::Closed,
        spool: "",
        against: None,
    }
}

/// A handler that fails is met for the first time while it is counted.
fn calm(name: &str, handlers: &[Handler]) -> Case {
    Case { warm: 0, ..case(name, handlers, CALM) }
}

impl Case {
    /// Returns the case of one event, which none of so many handlers ever answers.
    pub(crate) fn of_one_event(handlers: usize) -> Self {
        Self { warm: 0, ..case("", &vec![Hangs; handlers], Load::Blast { count: 1 }) }
    }

    fn against(self, base: &str) -> Self {
        Self { against: Some(base.to_owned()), ..self }
    }

    /// Returns how many deliveries one event makes that are counted.
    pub(crate) fn takers(&self) -> u64 {
        let takers = self.handlers.iter().filter(|handler| handler.takes()).count() as u64;
        takers / self.kinds
    }
}

impl Stored {
    /// Returns how many events it is.
    pub(crate) fn count(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Fresh(count) | Self::Due(count) | Self::Dead(count) => count,
        }
    }
}
