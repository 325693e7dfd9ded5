//! Spans: one trace for each event, from the frame to the answers of its handlers.
//!
//! ```text
//! receive ──▶ commit ──┬──▶ POST   crm, first attempt
//!                      ├──▶ POST   crm, its retry, hours later
//!                      └──▶ POST   audit
//! ```
//!
//! The trace of an event is its request id, and the spans of its receipt and its commit have the halves of that for
//! their ids. So a retry that another process makes days later has the right parent, and nothing is kept for it. The
//! span of a POST has the id that the handler is told in `traceparent`: what it records continues it.
//!
//! Recording never waits: what the exporter (feature `otel`) is too slow for is dropped and counted.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use url::Url;

use crate::clock::Clock;
use crate::config::traces::Sample;
use crate::event::{Event, EventId, RequestId};

/// Spans that wait for the exporter: some seconds of a busy bridge, about a megabyte.
#[cfg(feature = "otel")]
const WAITING: usize = 8192;

/// Is one thing that was done for an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The request id of the event, which names the trace.
    pub request_id: RequestId,
    /// Its position in the spool.
    pub event: EventId,
    /// The id of the span, not zero.
    pub id: u64,
    /// The span that it was done for.
    pub parent: Option<u64>,
    /// When it began.
    pub began: Timestamp,
    /// When it was done.
    pub ended: Timestamp,
    /// What was done.
    pub work: Work,
}

/// Says what was done in a span. There is no payload in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// The frame was read, and became durable.
    Receive {
        /// Through which subscription.
        subscription: Arc<str>,
        /// The type of the event; empty when it names none.
        kind: Box<str>,
        /// Size of the body in bytes.
        size: usize,
    },
    /// It was written, with others.
    Commit {
        /// Events in the same transaction.
        batch: usize,
    },
    /// A request was made.
    Post {
        /// To whom.
        to: Arc<Receiver>,
        /// Attempts that were made before.
        attempts: u32,
        /// The status, or why there is none in a word or two.
        answer: Result<u16, Box<str>>,
    },
}

/// Is whom requests of a destination go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// The destination's name.
    pub destination: Arc<str>,
    /// The URL without its query, where gateways take keys.
    pub url: String,
    /// The host of it.
    pub host: String,
    /// The port of it.
    pub port: Option<u16>,
}

impl Receiver {
    /// Names whom a destination's requests go to.
    pub fn new(destination: &Arc<str>, url: &Url) -> Self {
        let mut shown = url.clone();
        shown.set_query(None);
        Self {
            destination: Arc::clone(destination),
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default(),
            url: shown.into(),
        }
    }
}

/// Tells whether a trace is recorded, and so what handlers are told of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// It is, or this bridge records none and leaves it to them.
    Yes,
    /// It is not among those that are.
    No,
}

/// Takes spans; clones share the queue. By default nobody wants any.
#[derive(Clone, Debug, Default)]
pub struct Spans(Arc<OnceLock<Queue>>);

#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<Span>,
    sample: Sample,
    dropped: Counter,
}

/// Is a request that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// What it is recorded by, if it is.
    recorded: Option<(u64, Timestamp)>,
    sampled: Sampled,
}

impl Begun {
    /// Returns the id of the span, made now where it is not recorded, and whether the trace is.
    pub fn context(self, clock: &Clock) -> (u64, Sampled) {
        (self.recorded.map_or_else(|| clock.span_id(), |(id, _)| id), self.sampled)
    }
}

impl Spans {
    /// Records this share of the traces from now on, and returns the queue that it puts them into.
    #[cfg(feature = "otel")]
    pub(super) fn record(&self, sample: Sample, dropped: Counter) -> mpsc::Receiver<Span> {
        let (sender, waiting) = mpsc::channel(WAITING);
        // Asked again, it goes on with the queue that it has; the new one ends at once.
        let _ = self.0.set(Queue { sender, sample, dropped });
        waiting
    }

    /// Records that events became durable, in a commit that began and has ended.
    pub fn stored<'a>(&self, events: impl ExactSizeIterator<Item = &'a Event>, began: Timestamp, clock: &Clock) {
        let Some(queue) = self.0.get() else { return };
        let (batch, ended) = (events.len(), clock.now());
        for event in events.filter(|event| queue.sample.takes(event.request_id)) {
            let (receive, commit) = (receive_id(event.request_id), commit_id(event.request_id));
            let work = Work::Receive {
                subscription: Arc::clone(&event.subscription),
                kind: event.kind.clone(),
                size: event.body.len(),
            };
            let span = |id, parent, began, work| Span {
                request_id: event.request_id,
                event: event.id,
                id,
                parent,
                began,
                ended,
                work,
            };
            queue.put(span(receive, None, event.received_at, work));
            queue.put(span(commit, Some(receive), began, Work::Commit { batch }));
        }
    }

    /// Begins a request for an event.
    pub fn begin(&self, id: RequestId, clock: &Clock) -> Begun {
        match self.0.get() {
            None => Begun { recorded: None, sampled: Sampled::Yes },
            Some(queue) if queue.sample.takes(id) => {
                Begun { recorded: Some((clock.span_id(), clock.now())), sampled: Sampled::Yes }
            }
            Some(_) => Begun { recorded: None, sampled: Sampled::No },
        }
    }

    /// Records what came of a request.
    pub fn posted(
        &self,
        begun: Begun,
        event: &Event,
        to: &Arc<Receiver>,
        attempts: u32,
        answer: impl FnOnce() -> Result<u16, Box<str>>,
        clock: &Clock,
    ) {
        let (Some(queue), Some((id, began))) = (self.0.get(), begun.recorded) else { return };
        let work = Work::Post { to: Arc::clone(to), attempts, answer: answer() };
        let parent = Some(commit_id(event.request_id));
        let (request_id, event) = (event.request_id, event.id);
        queue.put(Span { request_id, event, id, parent, began, ended: clock.now(), work });
    }
}

impl Queue {
    fn put(&self, span: Span) {
        if self.sender.try_send(span).is_err() {
            self.dropped.inc();
        }
    }
}

/// Returns the second half of a UUID, which is not zero: its upper bits tell the variant.
fn receive_id(id: RequestId) -> u64 {
    id.uuid().as_u64_pair().1
}

/// Returns the first half of a UUID, which is not zero: four of its bits tell the version.
fn commit_id(id: RequestId) -> u64 {
    id.uuid().as_u64_pair().0
}
