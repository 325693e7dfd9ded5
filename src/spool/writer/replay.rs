//! Replays and fills beside the commits: a step after each, so that no event waits for more than one of them.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::Writer;
use crate::spool::SpoolError;
use crate::spool::record::DestinationId;
use crate::spool::replay::{Progress, Replay, Request, Scope, Stage};
use crate::spool::store::Filled;
use crate::wording::counted;

/// Deliveries that one step makes due: some milliseconds of work.
const STEP: usize = 500;
/// Replays and fills that may be under way: they come from people.
const WAITING: usize = 16;
/// How long a fill waits after a step that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Is where the answer to a request for a replay goes.
pub(in crate::spool) type Reply = oneshot::Sender<Result<watch::Receiver<Progress>, SpoolError>>;

/// Holds what is to be done; each gets a step in turn, so that a short replay does not wait for a long one.
#[derive(Default)]
pub(super) struct Backlog {
    tasks: VecDeque<Task>,
    /// Not before this, after a failure.
    again_at: Option<Instant>,
}

enum Task {
    /// Makes deliveries again for an operator, who may watch.
    Replay(Box<Replay>, watch::Sender<Progress>),
    /// Gives a new destination what was received before it.
    Fill(DestinationId),
}

impl Backlog {
    /// Returns when the next step is due: at once, while there is work.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        (!self.tasks.is_empty()).then(|| self.again_at.unwrap_or(now))
    }

    /// Takes note that a destination has yet to get some of what was received before it.
    pub(super) fn fill(&mut self, destination: DestinationId) {
        let is_known = |task: &Task| matches!(task, Task::Fill(known) if *known == destination);
        if !self.tasks.iter().any(is_known) {
            self.tasks.push_back(Task::Fill(destination));
        }
    }
}

impl Writer {
    /// Begins a replay.
    pub(super) fn begin_replay(&mut self, request: Request, reply: Reply) {
        if self.backlog.tasks.len() >= WAITING {
            // Whoever asked may have gone.
            let _ = reply.send(Err(SpoolError::Busy));
            return;
        }
        let (progress, watched) = watch::channel(Progress::default());
        let replay = Replay::new(request, self.clock.now(), self.last);
        self.backlog.tasks.push_back(Task::Replay(Box::new(replay), progress));
        let _ = reply.send(Ok(watched));
    }

    /// Takes one step of what is to be done, if it is time. A disk that takes no events is left alone.
    pub(super) fn step_backlog(&mut self) {
        let instant = self.clock.instant();
        if self.is_stuck() || self.backlog.next_at(instant).is_none_or(|at| at > instant) {
            return;
        }
        self.backlog.again_at = None;
        match self.backlog.tasks.pop_front() {
            Some(Task::Replay(replay, progress)) => self.step_replay(replay, progress),
            Some(Task::Fill(destination)) if self.room.is_full() => {
                self.backlog.tasks.push_back(Task::Fill(destination));
                // Replays may go on: what they make due again takes no room.
                let is_fill = |task: &Task| matches!(task, Task::Fill(_));
                self.backlog.again_at = self.backlog.tasks.iter().all(is_fill).then(|| instant + AGAIN);
            }
            Some(Task::Fill(destination)) => self.step_fill(destination, instant),
            None => {}
        }
    }

    fn step_replay(&mut self, mut replay: Box<Replay>, progress: watch::Sender<Progress>) {
        let adds_deliveries = matches!(replay.request.selection.scope, Scope::To(_));
        let stepped = if adds_deliveries && self.room.is_full() {
            Err("the spool is full".into())
        } else {
            self.store.replay(&mut replay, STEP, self.clock.now()).map_err(|error| error.to_string())
        };
        match stepped {
            Ok(due) => due.into_iter().for_each(|(destination, at)| self.became_due(destination, at)),
            Err(error) => {
                tracing::error!(%error, "a replay broke off: give it again once the spool takes events");
                self.break_off(replay.audit, &error);
                let stage = Stage::Failed(error.into());
                // What the failed step counted was not written.
                progress.send_modify(|known| known.stage = stage);
                return;
            }
        }
        self.measure();
        progress.send_replace(replay.progress.clone());
        match replay.progress.stage {
            Stage::Running => self.backlog.tasks.push_back(Task::Replay(replay, progress)),
            Stage::Done => tell(&replay),
            Stage::Failed(_) => {}
        }
    }

    /// Tells in the audit table that a change broke off; where that fails, the next process does.
    pub(super) fn break_off(&mut self, begun: Option<i64>, reason: &str) {
        let Some(begun) = begun else { return };
        if let Err(error) = self.store.end_task(begun, Some(reason), self.clock.now()) {
            tracing::warn!(%error, "that a change broke off is told in the audit table at the next start");
        }
    }

    fn step_fill(&mut self, destination: DestinationId, instant: Instant) {
        let now = self.clock.now();
        match self.store.fill(destination, STEP, now) {
            Ok(filled) => {
                self.measure();
                self.became_due(destination, now);
                match filled {
                    Filled::Partly => self.backlog.tasks.push_back(Task::Fill(destination)),
                    Filled::Complete { events } => {
                        if let Some(route) = self.routes.iter().find(|route| route.id == destination) {
                            let (name, kept) = (&route.name, counted(events, "kept event"));
                            tracing::info!(destination.name = %name, "{name} is new, and was given {kept}");
                        }
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "a new destination does not get what was kept, trying again");
                self.backlog.tasks.push_back(Task::Fill(destination));
                self.backlog.again_at = Some(instant + AGAIN);
            }
        }
    }

    fn became_due(&self, destination: DestinationId, at: Timestamp) {
        if let Some(route) = self.routes.iter().find(|route| route.id == destination) {
            route.outlet.became_due(at);
        }
    }
}

/// Says in the log what a replay did, if it did anything.
fn tell(replay: &Replay) {
    let Progress { counts, .. } = &replay.progress;
    if counts.replayed > 0 {
        let deliveries = counts.replayed;
        tracing::info!(who = %replay.request.who, deliveries, "replayed: {}", replay.request.selection);
    }
}
