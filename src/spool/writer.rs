//! The writer: one thread that owns the write connection.

mod commit;
mod down;
mod operator;
mod purge;
mod replay;
mod room;

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::commit::Aside;
use self::down::Down;
use self::purge::Purge;
use self::replay::{Backlog, Reply};
use self::room::{Room, weight};
use super::erasure::Progress;
use super::feed::{Feed, Outlet};
use super::queue::Permit;
use super::record::{DestinationId, Opened, Pause};
use super::repeats::Repeats;
use super::replay::Request;
use super::settlement::Settlement;
use super::store::{Batch, Change, Identity, LedgerEntry, NewEvent, Part, Repeat, Store};
use super::turns::Turns;
use super::{Health, Readers, SpoolError};
use crate::clock::Clock;
use crate::config::filter::EventFilter;
use crate::config::{self, Start};
use crate::event::{Digest, Event, EventId, Received};
use crate::telemetry::metrics::{ByWhat, Metrics};

/// Commands in one commit: enough that the sync costs little for each, few enough that none waits long.
const BATCH: usize = 2048;
/// How long a settlement may wait for an event to ride with.
const FLUSH: Duration = Duration::from_millis(20);
/// Newest events whose digests are read at start: enough for twins that follow each other, little to read.
const REMEMBERED: usize = 16_384;
/// Types whose destinations are remembered; Zoom has about 650.
const KNOWN_KINDS: usize = 4096;

/// Is what the writer is asked to do.
pub(crate) enum Command {
    /// Store an event.
    Append(Received, Permit),
    /// Store the report of an attempt, and say when it is durable.
    Settle(Settlement, Option<oneshot::Sender<()>>),
    /// The socket was live at this time.
    Alive { subscription: Arc<str>, at: Timestamp },
    /// No socket is live since this time.
    GapOpened { subscription: Arc<str>, at: Timestamp, reason: Box<str>, permit: Permit },
    /// A socket is live again.
    GapClosed { subscription: Arc<str>, at: Timestamp, permit: Permit },
    /// Hand events out in this way from now on; answers with the feeds that are new.
    Route { routes: Routes, reply: oneshot::Sender<Vec<(Arc<str>, Feed)>> },
    /// Make deliveries again, step by step; answers with what watches it.
    Replay { request: Request, reply: Reply },
    /// Take one step of an erasure; answers how far it has come.
    Erase { progress: Progress, reply: oneshot::Sender<Result<Progress, SpoolError>> },
    /// The breaker of a destination opened, waits longer, or closed; say when that is durable. Dead letters that were
    /// refused on the way to it are due again.
    Breaker { destination: DestinationId, opened: Option<Opened>, revived: Vec<EventId>, reply: oneshot::Sender<()> },
    /// Pause or resume a destination; answers whether there is one of this name.
    Pause { name: Box<str>, pause: Pause, who: Box<str>, reply: oneshot::Sender<Result<bool, SpoolError>> },
    /// Make a change that only the store is concerned with.
    Change(Change),
    /// Say when all that came before is durable.
    Flush { reply: oneshot::Sender<()> },
    /// End when all that came before is durable.
    Close,
}

impl Command {
    /// Tells whether this may wait a little, so that many share one sync.
    fn is_patient(&self) -> bool {
        match self {
            Self::Settle(_, None) | Self::Alive { .. } => true,
            Self::Append(..)
            | Self::Settle(_, Some(_))
            | Self::GapOpened { .. }
            | Self::GapClosed { .. }
            | Self::Route { .. }
            | Self::Replay { .. }
            | Self::Erase { .. }
            | Self::Breaker { .. }
            | Self::Pause { .. }
            | Self::Change(_)
            | Self::Flush { .. }
            | Self::Close => false,
        }
    }
}

/// Says who wants what.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// Subscriptions by name, each with the group in which repeats are recognised.
    pub subscriptions: Vec<(Arc<str>, Arc<str>)>,
    /// Destinations.
    pub destinations: Vec<Destined>,
}

/// Is a destination as the spool sees it.
#[derive(Clone, Debug)]
pub struct Destined {
    /// Its name.
    pub name: Arc<str>,
    /// Its choice of events.
    pub filter: EventFilter,
    /// With what it begins, if the spool does not know it yet.
    pub start: Start,
}

/// Is a destination that is routed to.
struct Route {
    id: DestinationId,
    name: Arc<str>,
    filter: EventFilter,
    outlet: Outlet,
}

/// Is the writer before its thread has started.
pub struct Writer {
    store: Box<dyn Store>,
    commands: mpsc::Receiver<Command>,
    report: watch::Sender<Health>,
    turns: Turns,
    readers: Readers,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// The last event that has a number.
    last: EventId,
    routes: Vec<Route>,
    groups: HashMap<Arc<str>, Arc<str>>,
    down: Down,
    /// Who wants events of a type: positions in `routes`, and their numbers.
    by_kind: HashMap<Box<str>, Wanted>,
    repeats: Repeats,
    purge: Purge,
    backlog: Backlog,
    room: Room,
    aside: Aside,
}

#[derive(Clone, Default)]
struct Wanted {
    routes: Arc<[usize]>,
    ids: Arc<[DestinationId]>,
}

/// Is what a batch owes to others once it is durable.
#[derive(Default)]
struct Promises {
    permits: Vec<Permit>,
    /// Whoever waits until all that came before is durable.
    flushed: Vec<oneshot::Sender<()>>,
    /// Whoever waits until a report is durable, with its position in the batch; `None` for a breaker's.
    reported: Vec<(Option<usize>, oneshot::Sender<()>)>,
    /// Who wants each event of the batch, as positions in the routes.
    wanted_by: Vec<Arc<[usize]>>,
}

impl Promises {
    /// Breaks those that rest on reports that the batch went without: whoever waits is told by the end of the wait.
    fn break_those(&mut self, without: &BTreeSet<Part>) {
        self.reported.retain(|(nth, _)| nth.is_none_or(|nth| !without.contains(&Part::Report(nth))));
    }

    fn keep(self) {
        for reply in self.flushed.into_iter().chain(self.reported.into_iter().map(|(_, reply)| reply)) {
            // Whoever asked may have gone.
            let _ = reply.send(());
        }
    }
}

/// Is what can only be done between two batches.
enum Barrier {
    Route(Routes, oneshot::Sender<Vec<(Arc<str>, Feed)>>),
    Replay(Request, Reply),
    Erase(Progress, oneshot::Sender<Result<Progress, SpoolError>>),
    Pause(Box<str>, Pause, Box<str>, oneshot::Sender<Result<bool, SpoolError>>),
    Change(Change),
    Close,
}

impl Writer {
    pub(super) fn new(
        mut store: Box<dyn Store>,
        commands: mpsc::Receiver<Command>,
        settings: &config::Spool,
        (report, turns): (watch::Sender<Health>, Turns),
        readers: Readers,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SpoolError> {
        let last = store.last_event()?;
        let (now, instant) = (clock.now(), clock.instant());
        let span = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        metrics.spool_writable.set(1);
        // An alert on a counter that is not there yet would stay blind.
        for what in ["dead", "parked"] {
            metrics.spool_dropped.get_or_create_owned(&ByWhat { what });
        }
        for what in ["report", "revival", "history"] {
            metrics.spool_unwritten.get_or_create_owned(&ByWhat { what });
        }
        if let Err(error) = store.end_tasks(now) {
            tracing::warn!(%error, "what broke off with the last process is not told in the audit table yet");
        }
        let mut writer = Self {
            store,
            commands,
            report,
            turns,
            readers,
            clock,
            metrics,
            last,
            routes: Vec::new(),
            groups: HashMap::new(),
            down: Down::default(),
            by_kind: HashMap::new(),
            repeats: Repeats::new(span(settings.repeat_window), now),
            purge: Purge::new(span(settings.retention), settings.audit_retention.map(span), instant),
            backlog: Backlog::default(),
            room: Room::new(settings.max_size, settings.when_full),
            aside: Aside::default(),
        };
        writer.measure();
        Ok(writer)
    }

    /// Works until it is asked to end, or everybody has gone. Blocks: it has a thread of its own, and uses
    /// the runtime for its timers only.
    pub fn run(mut self, runtime: &Handle) {
        let mut commands = Vec::with_capacity(BATCH);
        runtime.block_on(async { while self.turn(&mut commands).await.is_continue() {} });
    }

    /// Takes what has arrived, or waits for it, and does what is due beside; breaks when it has ended.
    pub(super) async fn turn(&mut self, commands: &mut Vec<Command>) -> ControlFlow<()> {
        let deadline = self.wake_at();
        let received = self.receive(commands, deadline).await;
        self.turns.begin();
        match received {
            Some(0) => {
                self.finish();
                return ControlFlow::Break(());
            }
            Some(_) => {
                self.gather(commands).await;
                self.work(commands)?;
            }
            None => {}
        }
        self.step_backlog();
        self.look_after_room();
        self.turns.end();
        ControlFlow::Continue(())
    }

    /// Takes what has arrived: how many commands, or `None` when none came in time.
    async fn receive(&mut self, commands: &mut Vec<Command>, deadline: Instant) -> Option<usize> {
        let room = BATCH - commands.len();
        tokio::time::timeout_at(deadline, self.commands.recv_many(commands, room)).await.ok()
    }

    /// Lets patient commands wait for company.
    async fn gather(&mut self, commands: &mut Vec<Command>) {
        let deadline = self.clock.instant() + FLUSH;
        let mut seen = 0;
        while commands.len() < BATCH && commands[seen..].iter().all(Command::is_patient) {
            seen = commands.len();
            match self.receive(commands, deadline).await {
                Some(0) | None => return,
                Some(_) => {}
            }
        }
    }

    fn work(&mut self, commands: &mut Vec<Command>) -> ControlFlow<()> {
        let mut rest = commands.drain(..);
        while rest.len() > 0 {
            let mut batch = Batch::default();
            let mut promises = Promises::default();
            let barrier = self.take(&mut rest, &mut batch, &mut promises);
            self.conclude(batch, promises);
            match barrier {
                Some(Barrier::Route(routes, reply)) => self.route(routes, reply),
                Some(Barrier::Replay(request, reply)) => self.begin_replay(request, reply),
                Some(Barrier::Erase(progress, reply)) => {
                    // Whoever asked may have gone, and would ask for no further step.
                    if let Err(Ok(progress)) = reply.send(self.erase(progress))
                        && !progress.complete
                    {
                        self.break_off(progress.audit, "nobody waited for it any more");
                    }
                }
                Some(Barrier::Pause(name, pause, who, reply)) => {
                    let _ = reply.send(self.pause(&name, pause, &who));
                }
                Some(Barrier::Change(change)) => change(self.store.as_mut(), self.clock.now()),
                Some(Barrier::Close) => {
                    self.finish();
                    return ControlFlow::Break(());
                }
                None => {}
            }
        }
        ControlFlow::Continue(())
    }

    /// Moves commands into the batch, up to the first that needs the batch behind it, or the event with which the spool
    /// may be full.
    fn take(
        &mut self,
        rest: &mut impl Iterator<Item = Command>,
        batch: &mut Batch,
        promises: &mut Promises,
    ) -> Option<Barrier> {
        let mut room = self.room.left();
        for command in rest {
            let Some(command) = self.admit(command) else { continue };
            match command {
                Command::Append(received, permit) => {
                    promises.permits.push(permit);
                    room = room.saturating_sub(weight(&received.body));
                    batch.heard(&received.subscription, received.received_at);
                    self.append(received, batch, promises);
                    if room == 0 {
                        return None;
                    }
                }
                Command::Settle(settlement, reply) => {
                    promises.reported.extend(reply.map(|reply| (Some(batch.settlements.len()), reply)));
                    batch.settlements.push(settlement);
                }
                Command::Alive { subscription, at } => batch.ledger.push(LedgerEntry::Alive { subscription, at }),
                Command::GapOpened { subscription, at, reason, permit } => {
                    promises.permits.push(permit);
                    self.down.opened(&subscription, self.clock.moment());
                    batch.ledger.push(LedgerEntry::GapOpened { subscription, at, reason });
                }
                Command::GapClosed { subscription, at, permit } => {
                    promises.permits.push(permit);
                    let since = self.down.closed(&subscription, at, self.clock.moment());
                    batch.ledger.push(LedgerEntry::GapClosed { subscription, at, since });
                }
                Command::Breaker { destination, opened, revived, reply } => {
                    batch.ledger.push(LedgerEntry::Breaker { destination, opened, revived });
                    promises.reported.push((None, reply));
                }
                Command::Flush { reply } => promises.flushed.push(reply),
                Command::Route { routes, reply } => return Some(Barrier::Route(routes, reply)),
                Command::Replay { request, reply } => return Some(Barrier::Replay(request, reply)),
                Command::Erase { progress, reply } => return Some(Barrier::Erase(progress, reply)),
                Command::Pause { name, pause, who, reply } => return Some(Barrier::Pause(name, pause, who, reply)),
                Command::Change(change) => return Some(Barrier::Change(change)),
                Command::Close => return Some(Barrier::Close),
            }
        }
        None
    }

    fn append(&mut self, received: Received, batch: &mut Batch, promises: &mut Promises) {
        let Received { subscription, kind, event_ts, received_at, body, parked } = received;
        let digest = self.readers.keys.digest(&body);
        let group = self.groups.get(&subscription).unwrap_or(&subscription).clone();
        let known = self.repeat_of(&group, digest, received_at, batch);
        // A frame that was not understood was delivered to nobody: an event with the same body is no repeat of it.
        if let Some(of) = known.filter(|of| parked.is_some() || !of.parked).map(|of| of.id) {
            self.metrics.events_repeated.inc();
            batch.repeats.push(Repeat { of, subscription, at: received_at });
            return;
        }
        self.last = EventId(self.last.0 + 1);
        self.repeats.remember(&group, digest, self.last, received_at);
        let wanted = if parked.is_none() { self.wanted(&kind) } else { Wanted::default() };
        let request_id = self.clock.request_id();
        let event =
            Event { id: self.last, request_id, subscription, kind, event_ts, received_at, body, unreadable: None };
        batch.events.push(NewEvent { event: Arc::new(event), digest, parked, destinations: wanted.ids });
        promises.wanted_by.push(wanted.routes);
    }

    /// Returns the event that had this body first, once it is proven.
    fn repeat_of(&mut self, group: &str, digest: Digest, now: Timestamp, batch: &Batch) -> Option<Identity> {
        let candidate = self.repeats.candidate(group, digest)?;
        let in_batch = batch.events.binary_search_by_key(&candidate, |new| new.event.id);
        let identity = match in_batch.map(|position| &batch.events[position]) {
            Ok(NewEvent { event, digest, parked, .. }) => Identity {
                id: candidate,
                digest: *digest,
                subscription: (*event.subscription).into(),
                received_at: event.received_at,
                parked: parked.is_some(),
            },
            // What cannot be read cannot be proven: the event is delivered, perhaps once too often.
            Err(_) => self.store.identity(candidate).ok().flatten()?,
        };
        let same_group =
            self.groups.get(&*identity.subscription).map_or(&*identity.subscription, |group| group) == group;
        let proven = identity.digest == digest && same_group && self.repeats.covers(identity.received_at, now);
        proven.then_some(identity)
    }

    fn wanted(&mut self, kind: &str) -> Wanted {
        if let Some(wanted) = self.by_kind.get(kind) {
            return wanted.clone();
        }
        let routes = self.routes.iter().enumerate().filter(|(_, route)| route.filter.wants(kind));
        let (routes, ids): (Vec<_>, Vec<_>) = routes.map(|(position, route)| (position, route.id)).unzip();
        let wanted = Wanted { routes: routes.into(), ids: ids.into() };
        if self.by_kind.len() >= KNOWN_KINDS {
            self.by_kind.clear();
        }
        self.by_kind.insert(kind.into(), wanted.clone());
        wanted
    }

    fn hand_out(&mut self, batch: &Batch, promises: &Promises) {
        for (new, wanted_by) in batch.events.iter().zip(&promises.wanted_by) {
            for position in wanted_by.iter() {
                self.routes[*position].outlet.hand(&new.event);
            }
        }
    }

    fn route(&mut self, routes: Routes, reply: oneshot::Sender<Vec<(Arc<str>, Feed)>>) {
        // Those that it was made for are positions in the routes as they were.
        self.unstick();
        let now = self.clock.now();
        let new: Vec<Arc<str>> = routes
            .subscriptions
            .iter()
            .filter(|(name, _)| !self.groups.contains_key(name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        self.persist(|store| store.begin(&new, now));
        new.iter().for_each(|name| self.down.opened(name, self.clock.moment()));
        let registered = self.persist(|store| store.register(&routes.destinations));
        let names: Vec<Arc<str>> = routes.destinations.iter().map(|destined| Arc::clone(&destined.name)).collect();
        self.persist(|store| store.configured(&names, now));
        self.groups = routes.subscriptions.into_iter().collect();
        let mut known: HashMap<Arc<str>, Route> =
            self.routes.drain(..).map(|route| (Arc::clone(&route.name), route)).collect();
        let mut feeds = Vec::new();
        for (Destined { name, filter, start: _ }, stored) in routes.destinations.into_iter().zip(registered) {
            let route = match known.remove(&name) {
                Some(route) => Route { filter, ..route },
                None => {
                    let (outlet, feed) = Outlet::open(stored, self.last, self.readers.clone());
                    feeds.push((Arc::clone(&name), feed));
                    Route { id: stored.id, name, filter, outlet }
                }
            };
            self.routes.push(route);
            if stored.is_filling {
                self.backlog.fill(stored.id);
            }
        }
        self.by_kind.clear();
        // Whoever asked may have gone. Sockets open while the digests are read; what they send waits behind that.
        let _ = reply.send(feeds);
        self.remember_newest();
    }

    /// Reads the digests that were stored before this process started, once the groups are known.
    fn remember_newest(&mut self) {
        let now = self.clock.now();
        match self.store.newest(REMEMBERED, self.repeats.since(now)) {
            Ok(newest) => {
                for Identity { id, digest, subscription, received_at, .. } in newest.into_iter().rev() {
                    if self.repeats.covers(received_at, now) {
                        let group = self.groups.get(&*subscription).map_or(&*subscription, |group| group);
                        self.repeats.remember(group, digest, id, received_at);
                    }
                }
            }
            Err(error) => tracing::warn!(error = %error, "repeats of earlier events will not be recognised"),
        }
    }
}
