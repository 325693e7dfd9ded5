//! Replays: asked for, and watched until they are done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Handles;
use super::caller::Caller;
use super::document::check_destination;
use super::document::replay::{Of, ReplayRequest, Replayed, UNCONFIRMED_MOST, survey};
use super::input::{Body, Id};
use super::openapi::shape::{JSON, Output, Shape};
use super::problem::Problem;
use crate::spool::replay::{Progress, Stage};
use crate::wording::counted;

/// How long an answer waits for a replay to be done: most are, and need not be asked about again.
const PATIENCE: Duration = Duration::from_secs(1);
/// Replays that can be asked about, the last that took longer: more than wait at once.
const REMEMBERED: usize = 32;

/// Is how far a replay has come; one that goes on is accepted.
pub(super) struct Answer(Replayed);

/// Remembers the replays that took longer than an answer, each under a number.
#[derive(Default)]
pub(crate) struct Replays(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    last: u64,
    replays: VecDeque<(u64, watch::Receiver<Progress>)>,
}

impl Replays {
    fn remember(&self, progress: watch::Receiver<Progress>) -> u64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.last += 1;
        let id = known.last;
        if known.replays.len() >= REMEMBERED {
            known.replays.pop_front();
        }
        known.replays.push_back((id, progress));
        id
    }

    fn find(&self, id: u64) -> Option<watch::Receiver<Progress>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.replays.iter().find(|(known, _)| *known == id).map(|(_, progress)| progress.clone())
    }
}

/// Makes dead letters due again, or counts those that it would.
pub(super) async fn dead(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Body(request): Body<ReplayRequest>,
) -> Result<Answer, Problem> {
    replay(&handles, caller, Of::Dead, &request).await
}

/// Makes deliveries of events again, or counts those that it would.
pub(super) async fn events(
    State(handles): State<Arc<Handles>>,
    caller: Caller,
    Body(request): Body<ReplayRequest>,
) -> Result<Answer, Problem> {
    replay(&handles, caller, Of::Events, &request).await
}

/// Tells how far a replay has come.
pub(super) async fn show(State(handles): State<Arc<Handles>>, Id(id): Id) -> Result<Answer, Problem> {
    let id = id.unsigned_abs();
    let unknown = "no replay that this bridge remembers has this id; the audit table has them all";
    let watched = handles.replays.find(id).ok_or_else(|| Problem::NotFound(unknown.to_owned()))?;
    let replayed = so_far(watched).await?;
    Ok(Answer(Replayed { id: (!replayed.done).then_some(id), ..replayed }))
}

async fn replay(handles: &Handles, caller: Caller, of: Of, request: &ReplayRequest) -> Result<Answer, Problem> {
    let asked = request.read(of, &caller.to_string(), handles.clock.now()).map_err(Problem::BadBody)?;
    let selection = asked.selection.clone();
    if request.dry_run {
        let counts = handles.spool.search(move |view| Ok(survey(view, &selection, u64::MAX))).await??;
        return Ok(Answer(Replayed::survey(counts)));
    }
    if request.confirmed {
        let check = move |view: &mut dyn crate::spool::View| Ok(check_destination(view, selection.scope.destination()));
        handles.spool.read(check).await??;
    } else {
        let counts = handles.spool.search(move |view| Ok(survey(view, &selection, UNCONFIRMED_MOST))).await??;
        if counts.replayed > UNCONFIRMED_MOST {
            return Err(Problem::NotConfirmed);
        }
    }
    let watched = handles.spool.replay(asked).await?;
    let replayed = so_far(watched.clone()).await?;
    let id = (!replayed.done).then(|| handles.replays.remember(watched));
    Ok(Answer(Replayed { id, ..replayed }))
}

/// Waits a little for a replay to be done, and tells how far it has come.
async fn so_far(mut watched: watch::Receiver<Progress>) -> Result<Replayed, Problem> {
    let is_over = |progress: &Progress| progress.stage != Stage::Running;
    let ended_early = timeout(PATIENCE, watched.wait_for(is_over)).await.is_ok_and(|over| over.is_err());
    let progress = watched.borrow();
    match &progress.stage {
        Stage::Running if ended_early => Err(Problem::Stopping),
        Stage::Running | Stage::Done => Ok(Replayed::so_far(&progress)),
        Stage::Failed(reason) => Err(Problem::Spool(format!(
            "the replay broke off after {}, which stay due: {reason}",
            counted(progress.counts.replayed, "event")
        ))),
    }
}

impl Answer {
    fn status(&self) -> StatusCode {
        if self.0.done { StatusCode::OK } else { StatusCode::ACCEPTED }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status(), Json(self.0)).into_response()
    }
}

impl Output for Answer {
    fn describe(shape: &mut Shape<'_>) {
        let document = shape.told::<Replayed>();
        shape.answers(StatusCode::OK, "The replay is done, or what it would do.", JSON, document.clone());
        shape.answers(StatusCode::ACCEPTED, "The replay goes on: ask how far it has come.", JSON, document);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::replay::Counts;

    #[tokio::test(start_paused = true)]
    async fn replay_that_takes_long_is_answered_and_can_be_asked_about() {
        let (sender, watched) = watch::channel(Progress::default());
        let at = |replayed, stage| Progress {
            counts: Counts { replayed, ..Counts::default() },
            stage,
            ..Progress::default()
        };
        sender.send_replace(at(500, Stage::Running));
        let replayed = so_far(watched.clone()).await.expect("under way");
        assert_eq!((replayed.count, replayed.done), (500, false));
        assert_eq!(Answer(replayed).status(), StatusCode::ACCEPTED);

        let replays = Replays::default();
        let id = replays.remember(watched);
        sender.send_replace(at(900, Stage::Done));
        let replayed = so_far(replays.find(id).expect("remembered")).await.expect("done");
        assert_eq!((replayed.count, replayed.done), (900, true));
        assert_eq!(Answer(replayed).status(), StatusCode::OK);
        assert!(replays.find(id + 1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn replay_that_broke_off_or_was_cut_short_is_not_called_done() {
        let (sender, watched) =
            watch::channel(Progress { stage: Stage::Failed("disk full".into()), ..Progress::default() });
        assert!(matches!(so_far(watched).await, Err(Problem::Spool(detail)) if detail.contains("disk full")));
        let cut_short = sender.subscribe();
        sender.send_replace(Progress::default());
        drop(sender);
        assert!(matches!(so_far(cut_short).await, Err(Problem::Stopping)));
    }

    #[test]
    fn only_the_newest_replays_are_remembered() {
        let replays = Replays::default();
        let (_sender, watched) = watch::channel(Progress::default());
        let ids: Vec<u64> = (0..=REMEMBERED).map(|_| replays.remember(watched.clone())).collect();
        assert!(replays.find(ids[0]).is_none() && replays.find(ids[1]).is_some());
    }
}
