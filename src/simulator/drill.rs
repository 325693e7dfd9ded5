//! Drills: a file says what Zoom does and when, so that fail-over can be proved without Zoom.
//!
//! The clock of a drill starts with the first word of a client. Then every step happens at its time, whatever the
//! client makes of it, and at the end the [`expect`]ations are judged by what was seen on this side alone.

pub mod expect;
mod file;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

pub use self::file::BadDrill;

use self::expect::{Expect, Verdict, Watch};
use super::fault::{Cut, Faults};
use super::log::{Account, Counts};
use super::traffic::meetings::Meetings;
use super::{Options, Simulator, traffic::Traffic};

/// Events of one batch of a step.
const BATCH: u64 = 256;

/// Is a script of timed steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Drill {
    /// Its name.
    pub name: Box<str>,
    /// What it proves, in a sentence.
    pub about: Box<str>,
    /// How long it lasts from the first word of a client on.
    pub duration: Duration,
    /// The subscriptions of the app, where the drill needs its own.
    pub subscriptions: Vec<Arc<str>>,
    /// How long a token is good.
    pub token_life: Option<Duration>,
    /// Events per second at the start.
    pub rate: f64,
    /// Faults that are on from the start.
    pub faults: Faults,
    /// What happens, in the order of time.
    pub steps: Vec<Step>,
    /// What must have come of it.
    pub expect: Expect,
}

/// Is what happens at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When, from the first word of a client on.
    pub at: Duration,
    /// Says it in plain words.
    pub say: Option<Box<str>>,
    /// What is done, in this order.
    pub actions: Vec<Action>,
}

/// Is one thing that a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Replaces every fault by these.
    Faults(Faults),
    /// Ends the live sockets of one subscription, or all.
    Drop(Cut, Option<Arc<str>>),
    /// Changes the rate of events.
    Rate(f64),
    /// Sends so many events at once.
    Send(u64),
    /// Sends one event, byte for byte.
    Event(Box<str>),
}

/// Is what a drill came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// How long it lasted from the first word of a client on.
    pub lasted: Duration,
    /// What was counted.
    pub counts: Counts,
    /// What clients did.
    pub account: Account,
    /// One for each expectation, in the order of the manual.
    pub verdicts: Vec<Verdict>,
}

/// Says how a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At its time.
    Complete,
    /// Before its time.
    Interrupted,
}

impl Report {
    /// Tells whether the drill came to its end and all was as expected.
    pub fn passed(&self) -> bool {
        self.ending == Ending::Complete && self.verdicts.iter().all(|verdict| verdict.passed)
    }
}

impl Drill {
    /// Reads the text of a drill file.
    ///
    /// # Errors
    /// When it is no TOML, has an unknown key or a value that does not fit, or a step that cannot happen.
    pub fn parse(text: &str) -> Result<Self, BadDrill> {
        file::parse(text)
    }

    /// Puts what the drill wants to be so from the start into `options`.
    pub fn prepare(&self, options: &mut Options) {
        if !self.subscriptions.is_empty() {
            options.subscriptions.clone_from(&self.subscriptions);
        }
        options.token_life = self.token_life.unwrap_or(options.token_life);
        options.faults = self.faults.clone();
        options.traffic = Some(Traffic::meetings(self.rate));
    }

    /// Plays the drill on a running simulator, until its time is over or `token` is cancelled. Tells each step after it
    /// has happened.
    pub async fn play(
        &self,
        zoom: &Simulator,
        token: &CancellationToken,
        mut tell: impl FnMut(&Step) + Send,
    ) -> Report {
        let begun = tokio::select! {
            () = zoom.knocked() => Some(zoom.0.clock.instant()),
            () = token.cancelled() => None,
        };
        let Some(begun) = begun else {
            return self.report(zoom, &Watch::default(), Ending::Interrupted, Duration::ZERO);
        };
        let mut player = Player {
            zoom,
            watch: Watch::default(),
            seen: 0,
            // Not the seed of the traffic, whose bodies would come a second time.
            meetings: Meetings::new(zoom.0.options.seed ^ 1),
        };
        let steps = async {
            for step in &self.steps {
                player.wait(begun + step.at).await;
                // What a client that reads nothing has not taken by the end, it never will.
                let _ = timeout_at(begun + self.duration, player.perform(step)).await;
                tell(step);
            }
            player.wait(begun + self.duration).await;
        };
        let ending = tokio::select! {
            () = steps => Ending::Complete,
            () = token.cancelled() => Ending::Interrupted,
        };
        player.look();
        player.watch.end(zoom.0.clock.now());
        self.report(zoom, &player.watch, ending, begun.elapsed())
    }

    fn report(&self, zoom: &Simulator, watch: &Watch, ending: Ending, lasted: Duration) -> Report {
        let (counts, account) = (zoom.counts(), zoom.account());
        let verdicts = self.expect.judge(watch, &counts, &account);
        Report { ending, lasted, counts, account, verdicts }
    }
}

struct Player<'a> {
    zoom: &'a Simulator,
    watch: Watch,
    seen: u64,
    meetings: Meetings,
}

impl Player<'_> {
    /// Watches what clients do until a moment comes.
    async fn wait(&mut self, until: Instant) {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until) => return self.look(),
                () = self.zoom.logged(self.seen) => self.look(),
            }
        }
    }

    fn look(&mut self) {
        let (entries, seen) = self.zoom.log(self.seen);
        self.seen = seen;
        entries.iter().for_each(|entry| self.watch.see(entry));
    }

    async fn perform(&mut self, step: &Step) {
        for action in &step.actions {
            match action {
                Action::Faults(faults) => self.zoom.set_faults(faults.clone()),
                Action::Drop(cut, Some(subscription)) => drop(self.zoom.drop_sockets_of(subscription, *cut)),
                Action::Drop(cut, None) => drop(self.zoom.drop_sockets(*cut)),
                Action::Rate(rate) => self.zoom.set_rate(*rate),
                Action::Send(count) => self.send(*count).await,
                Action::Event(body) => drop(self.zoom.push(body).await),
            }
        }
    }

    async fn send(&mut self, count: u64) {
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            let now = self.zoom.0.clock.now();
            let bodies: Vec<String> = (0..batch).map(|_| self.meetings.next(now)).collect();
            self.zoom.push_all(&bodies).await;
            left -= batch;
        }
    }
}
