//! What happens, as it happens: server-sent events for those who watch, and the history behind them.
//!
//! One sampler serves all listeners. Every second it reads the counters into the [`History`]; while somebody listens
//! it also makes the status document, once for all of them, and what a slow listener misses is replaced by what is
//! true now. How many may listen, and that a stream ends with the port, is the business of `limits`.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Handles;
use super::history::{Counters, History, Rates, Reading, Stretch};
use super::openapi::shape::{JSON, Output, Shape};
use super::status::{self, DestinationReport, Report};
use crate::event::EventId;
use crate::spool::record::EventQuery;
use crate::telemetry::metrics::ByDestinationOutcome;

/// Time from one reading to the next.
const TICK: Duration = Duration::from_secs(1);
/// Backlogs are read from the spool once in so many ticks while nobody listens.
const BACKLOG_TICKS: u32 = 15;
/// How often a stream with nothing to say shows that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Minutes that a listener is told of: the one under way, and how the one before it ended.
const FRESH: usize = 2;

/// Is the sampler and those who listen to it.
pub(super) struct Live {
    handles: Arc<Handles>,
    history: Mutex<History>,
    snapshots: watch::Sender<Arc<str>>,
    /// Makes the sampler tell at once what it would tell at its next tick.
    wake: Notify,
    stop: CancellationToken,
}

/// Is what listeners are told.
#[derive(Serialize, JsonSchema)]
struct Snapshot {
    status: Report,
    rates: Rates,
    history: Stretch,
    /// The newest event that is stored, so that a list can tell whether it is complete; 0 when there is none.
    newest_event: EventId,
}

impl<S> Output for Sse<S> {
    fn describe(shape: &mut Shape<'_>) {
        let snapshot = shape.told::<Snapshot>();
        let schema = json!({ "type": "string", "contentMediaType": JSON, "contentSchema": snapshot });
        let means = "Server-sent events named `snapshot`, each with a document of that name as its data.";
        shape.answers(StatusCode::OK, means, "text/event-stream", schema);
    }
}

impl Live {
    /// Begins with an empty history; sampling ends when `stop` is cancelled.
    pub(super) fn new(handles: Arc<Handles>, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            handles,
            history: Mutex::default(),
            snapshots: watch::Sender::new("".into()),
            wake: Notify::new(),
            stop,
        })
    }

    /// Samples until the port ends.
    pub(super) async fn sample(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tick = 0_u32;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.wake.notified() => {}
                _ = ticks.tick() => tick = tick.wrapping_add(1),
            }
            if self.snapshots.receiver_count() > 0 {
                self.publish().await;
            } else {
                let backlogs = if tick.is_multiple_of(BACKLOG_TICKS) { self.backlogs().await } else { Vec::new() };
                self.record(&backlogs);
            }
        }
    }

    async fn publish(&self) {
        let status = status::current(&self.handles).await;
        let backlog = |report: &DestinationReport| Some((report.name.clone(), report.backlog.as_ref()?.pending));
        self.record(&status.destinations.iter().filter_map(backlog).collect::<Vec<_>>());
        let (rates, history) = {
            let history = self.history();
            (history.rates(), history.last(FRESH))
        };
        let newest_event = self.newest().await;
        match serde_json::to_string(&Snapshot { status, rates, history, newest_event }) {
            Ok(text) => drop(self.snapshots.send_replace(text.into())),
            Err(error) => debug!(%error, "a snapshot could not be written"),
        }
    }

    /// Reads what waits for each destination; nothing when the spool cannot be read, which the status says.
    async fn backlogs(&self) -> Vec<(Box<str>, u64)> {
        let rows = self.handles.spool.read(|view| view.destinations()).await.unwrap_or_default();
        rows.into_iter().map(|row| (row.name, row.pending)).collect()
    }

    async fn newest(&self) -> EventId {
        let query = EventQuery { limit: 1, ..EventQuery::default() };
        let newest = self.handles.spool.read(move |view| view.events(&query)).await.unwrap_or_default();
        newest.first().map_or(EventId(0), |event| event.id)
    }

    fn record(&self, backlogs: &[(Box<str>, u64)]) {
        let (board, metrics) = (self.handles.board.load(), &self.handles.metrics);
        let attempts = |name: &Arc<str>, outcome| {
            metrics.attempts.get_or_create(&ByDestinationOutcome { destination: name.to_string(), outcome }).get()
        };
        let reading = Reading {
            subscriptions: board
                .subscriptions
                .iter()
                .map(|(name, _)| (Arc::clone(name), metrics.received_by(name)))
                .collect(),
            destinations: board
                .destinations
                .iter()
                .map(|(name, _)| Counters {
                    name: Arc::clone(name),
                    delivered: attempts(name, "delivered"),
                    failed: attempts(name, "retry") + attempts(name, "refused"),
                    backlog: backlogs.iter().find(|(known, _)| **known == **name).map(|(_, pending)| *pending),
                })
                .collect(),
        };
        self.history().record(self.handles.clock.now(), reading);
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells what is so now, and again about every second, until either side ends it.
pub(super) async fn listen(
    State(live): State<Arc<Live>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let receiver = live.snapshots.subscribe();
    live.wake.notify_one();
    let snapshots = stream::unfold(receiver, async |mut receiver| {
        receiver.changed().await.ok()?;
        let snapshot = Arc::clone(&receiver.borrow_and_update());
        Some((Ok(Event::default().event("snapshot").data(&*snapshot)), receiver))
    });
    Sse::new(snapshots).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Answers the minutes that are kept.
pub(super) async fn history(State(live): State<Arc<Live>>) -> Json<Stretch> {
    Json(live.history().all())
}
