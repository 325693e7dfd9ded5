//! The bridge of a run: the real writer, its lanes, and what an operator and a configuration do to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::Pace;
use super::action::{Action, Mood, Setup};
use super::book::{DELIVERED, Rows};
use super::disk::{Disk, checkpoint, kill};
use super::handler::{Client, client};
use super::world::{RETENTION, WINDOW, World, Wreck, bodies_are_whole};
use crate::clock::Clock;
use crate::config::{self, Ordering};
use crate::dispatch::lane::{Lane, Settings};
use crate::event::Received;
use crate::spool::erasure::Erasure;
use crate::spool::feed::Feed;
use crate::spool::record::{DeadQuery, DestinationId, Pause};
use crate::spool::replay::{Request, Scope, Selection, Stage};
use crate::spool::{Destined, Health, Readers, Routes, Spool, Writer};
use crate::telemetry::metrics::Metrics;

const KINDS: [&str; 2] = ["meeting.started", "user.created"];
const NAMES: [&str; 3] = ["a", "b", "c"];
/// How long everything may take once nothing fails any more: the longest delay that a clock that was set back leaves.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);

/// Is one run.
pub(super) struct Run {
    world: World,
    clock: Clock,
    metrics: Arc<Metrics>,
    setups: BTreeMap<u64, Setup>,
    operators: u32,
    bridge: Bridge,
}

/// Is one life of the bridge.
struct Bridge {
    path: PathBuf,
    spool: Spool,
    writer: JoinHandle<()>,
    lanes: BTreeMap<u64, Running>,
    /// Lanes that were taken out and let their requests end.
    leaving: BTreeMap<u64, JoinHandle<()>>,
    /// Every lane of this life.
    all: Vec<AbortHandle>,
    cut: CancellationToken,
}

struct Running {
    destination: DestinationId,
    settings: watch::Sender<Arc<Settings<Client>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Run {
    /// Starts a bridge on a new file in this directory.
    pub(super) async fn start(directory: &Path, template: &Path, world: World, clock: Clock) -> Self {
        let path = directory.join("spool.db");
        std::fs::copy(template, &path).expect("copied");
        let metrics = Arc::new(Metrics::new());
        let rows = Rows::read(&Connection::open(&path).expect("opens")).expect("a spool");
        let bridge = Bridge::start(path, &world, &clock, &metrics, &[rows]);
        let mut run = Self { world, clock, metrics, setups: BTreeMap::new(), operators: 0, bridge };
        run.route().await;
        run
    }

    /// Lets something happen.
    pub(super) async fn act(&mut self, action: Action) {
        self.world.lock().say(|| format!("{action:?}"));
        match action {
            Action::Events { kind, thing, count } => {
                for nth in 0..count {
                    let thing = thing.or((count > 4).then_some(nth % 7));
                    let n = self.world.lock().give(KINDS[kind as usize], thing);
                    self.append(n).await;
                }
            }
            Action::Repeat(ago) => {
                let given = self.world.lock().given.len();
                if let Some(n) = given.checked_sub(1 + ago as usize) {
                    self.append(n).await;
                }
            }
            Action::Flush => self.flush().await,
            Action::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            Action::Handler(destination, mood) => self.world.lock().moods[destination as usize] = mood,
            Action::Kill(chance) => {
                self.bridge.abort().await;
                if self.world.lock().wreck.is_none() {
                    let wreck = kill(&self.bridge.path, &self.world, chance);
                    self.world.lock().wreck = Some(wreck);
                }
            }
            Action::PowerCut(writes, tear) => self.world.lock().power_cut = Some((writes, tear)),
            Action::Fault(fault, writes) => self.world.lock().fault = Some((fault, writes)),
            Action::Clock(seconds) => {
                self.clock.set_back(-seconds * 1000);
                self.world.lock().clock_was_set = true;
            }
            Action::Configure(destination, setup) => {
                self.setups.insert(destination, setup);
                self.route().await;
            }
            Action::Remove(destination) => {
                if self.setups.remove(&destination).is_some() {
                    self.route().await;
                }
            }
            Action::Pause(destination) => self.pause(destination, Pause::On).await,
            Action::Resume(destination) => self.pause(destination, Pause::Off).await,
            Action::ReplayDead(destination) => {
                let destination = destination.map(|number| NAMES[number as usize].into());
                self.replay(Scope::Dead { destination, cause: None }).await;
            }
            Action::ReplayHad(destination) => {
                let destination = destination.map(|number| NAMES[number as usize].into());
                self.replay(Scope::Had { destination }).await;
            }
            Action::ReplayTo(destination) => self.replay(Scope::To(NAMES[destination as usize].into())).await,
            Action::PurgeDead(destination) => {
                let destination = Some(NAMES[destination as usize].to_owned());
                self.erase(Erasure::Dead(DeadQuery { destination, limit: 5, ..DeadQuery::default() })).await;
            }
            Action::PurgeOrphan(destination) => {
                self.erase(Erasure::Orphan { destination: NAMES[destination as usize].into() }).await;
            }
            Action::Checkpoint { torn } => {
                if self.world.lock().wreck.is_none() {
                    let wreck = checkpoint(&self.bridge.path, &self.world, torn);
                    self.world.lock().wreck = wreck;
                }
            }
            Action::Restart => self.stop().await,
            Action::Cut => {
                self.bridge.cut.cancel();
                self.stop().await;
            }
        }
        self.recover().await;
    }

    /// Lets everything go well, waits until all is delivered or dead, and looks once more.
    pub(super) async fn end(&mut self) {
        {
            let mut world = self.world.lock();
            (world.fault, world.power_cut) = (None, None);
            world.moods = [Mood::Well; 3];
            world.say(|| "all is well".to_owned());
        }
        for destination in 0..NAMES.len() as u64 {
            self.pause(destination, Pause::Off).await;
        }
        self.flush().await;
        let began = tokio::time::Instant::now();
        while !self.is_settled() {
            if began.elapsed() > PATIENCE {
                let rows = self.world.lock().rows.clone();
                self.world.lock().hold(Err(format!("what waits is not delivered: {rows:?}")));
                break;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        self.flush().await;
        self.check_health();
        self.stop().await;
        self.recover().await;
        self.bridge.abort().await;
        let mut world = self.world.lock();
        let checked = world.requests_are_bounded().and(world.nothing_is_lost()).and(bodies_are_whole(&world));
        world.hold(checked);
    }

    fn is_settled(&self) -> bool {
        let world = self.world.lock();
        let configured = |id: i64| {
            world
                .rows
                .destinations
                .get(&id)
                .is_some_and(|known| self.setups.keys().any(|number| NAMES[*number as usize] == known.name))
        };
        world.violation.is_some()
            || world.rows.deliveries.iter().all(|((id, _), row)| row.state >= DELIVERED || !configured(*id))
    }

    fn check_health(&self) {
        let health = self.bridge.spool.news_of_health().borrow().clone();
        if health != Health::Writable {
            self.world.lock().hold(Err(format!("nothing fails, and the spool says {health:?}")));
        }
    }

    async fn append(&self, n: usize) {
        let (kind, body) = {
            let world = self.world.lock();
            (world.given[n].kind, world.given[n].body.clone())
        };
        let received = Received {
            subscription: "main".into(),
            kind: kind.into(),
            event_ts: None,
            received_at: self.clock.now(),
            body,
            parked: None,
        };
        if self.bridge.spool.appender().append(received).await.is_ok() {
            self.world.lock().appended.push(n);
        }
    }

    /// What was sent before is durable then: all of it is there, as itself or as a repeat.
    async fn flush(&self) {
        if self.bridge.spool.flush().await.is_err() {
            return;
        }
        let mut world = self.world.lock();
        let (mut appended, mut stored) = (world.appended.clone(), world.stored.clone());
        appended.sort_unstable();
        stored.sort_unstable();
        if appended != stored {
            world.hold(Err(format!("{appended:?} were acknowledged as durable, {stored:?} were stored")));
        }
        world.durable.extend(appended);
    }

    async fn pause(&mut self, destination: u64, pause: Pause) {
        let who = self.operator();
        if let Ok(true) = self.bridge.spool.pause(NAMES[destination as usize], pause, &who).await {
            self.world.lock().audited.push(who);
        }
    }

    async fn replay(&mut self, scope: Scope) {
        let who = self.operator();
        let request = Request { selection: Selection::all(scope), rate: None, who: who.clone().into() };
        let Ok(mut progress) = self.bridge.spool.replay(request).await else { return };
        while progress.borrow().stage == Stage::Running && progress.changed().await.is_ok() {}
        if progress.borrow().counts.replayed > 0 {
            self.world.lock().audited.push(who);
            self.world.lock().count("replays");
        }
    }

    async fn erase(&mut self, what: Erasure) {
        let who = self.operator();
        if let Ok((erased, _)) = self.bridge.spool.erase(what, &who, PATIENCE).await {
            let mut world = self.world.lock();
            world.audited.push(who);
            if erased.total() > 0 {
                world.count("purges");
            }
        }
    }

    fn operator(&mut self) -> String {
        self.operators += 1;
        format!("operator {}", self.operators)
    }

    /// Puts the destinations in force, as a reload does.
    async fn route(&mut self) {
        let destined = |(number, setup): (&u64, &Setup)| {
            let destination = setup.destination(NAMES[*number as usize]);
            Destined { name: destination.name, filter: destination.filter, start: destination.start }
        };
        let destinations: Vec<Destined> = self.setups.iter().map(destined).collect();
        self.world.lock().next_routes =
            destinations.iter().map(|one| (one.name.to_string(), one.filter.clone())).collect();
        let bridge = &mut self.bridge;
        let gone: Vec<u64> = bridge.lanes.keys().copied().filter(|number| !self.setups.contains_key(number)).collect();
        for number in gone {
            let Some(Running { stop, task, destination, .. }) = bridge.lanes.remove(&number) else { continue };
            stop.cancel();
            bridge.leaving.insert(number, task);
            self.world.lock().strict.remove(&destination.0);
        }
        let routes = Routes { subscriptions: vec![("main".into(), "main".into())], destinations };
        let Ok(feeds) = bridge.spool.route(routes).await else { return };
        let mut feeds: BTreeMap<String, Feed> =
            feeds.into_iter().map(|(name, feed)| (name.to_string(), feed)).collect();
        for (number, setup) in &self.setups {
            let name = NAMES[*number as usize];
            if let Some(running) = bridge.lanes.get(number) {
                if setup.ordering != Ordering::Strict {
                    self.world.lock().strict.remove(&running.destination.0);
                }
                running.settings.send_replace(settings(&self.world, *number, running.destination, setup));
            } else if let Some(feed) = feeds.remove(name) {
                let destination = feed.destination();
                if setup.ordering == Ordering::Strict {
                    self.world.lock().strict.insert(destination.0);
                }
                let settings = watch::Sender::new(settings(&self.world, *number, destination, setup));
                let (spool, clock) = (bridge.spool.clone(), self.clock.clone());
                let (lane, _) = Lane::new(name.into(), feed, spool, clock, settings.subscribe(), &self.metrics);
                let (stop, cut) = (CancellationToken::new(), bridge.cut.clone());
                let (predecessor, spool) = (bridge.leaving.remove(number), bridge.spool.clone());
                let stopped = stop.clone();
                let task = tokio::spawn(async move {
                    if let Some(predecessor) = predecessor {
                        let _ = predecessor.await;
                        let _ = spool.reports_durable().await;
                    }
                    lane.run(stopped, cut).await;
                });
                bridge.all.push(task.abort_handle());
                bridge.lanes.insert(*number, Running { destination, settings, stop, task });
            }
        }
    }

    /// Stops in order.
    async fn stop(&mut self) {
        let bridge = &mut self.bridge;
        for running in bridge.lanes.values() {
            running.stop.cancel();
        }
        let lanes = std::mem::take(&mut bridge.lanes).into_values().map(|running| running.task);
        for task in lanes.chain(std::mem::take(&mut bridge.leaving).into_values()) {
            let _ = task.await;
        }
        let _ = bridge.spool.close().await;
        let _ = (&mut bridge.writer).await;
        let mut world = self.world.lock();
        if world.wreck.is_none() {
            // Nothing is left behind by an orderly stop.
            let (mut appended, mut stored) = (world.appended.clone(), world.stored.clone());
            appended.sort_unstable();
            stored.sort_unstable();
            if appended != stored {
                world.hold(Err(format!("{appended:?} were given, and {stored:?} stored at the end")));
            }
            world.durable.extend(appended);
            world.count("restarts");
            world.wreck = Some(Wreck { path: bridge.path.clone(), may_hold: vec![world.rows.clone()] });
        }
    }

    /// Starts anew where the bridge has ended.
    async fn recover(&mut self) {
        while let Some(wreck) = self.take_wreck() {
            self.bridge.abort().await;
            let Wreck { path, may_hold } = wreck;
            self.world.lock().say(|| "starts anew".to_owned());
            self.bridge = Bridge::start(path, &self.world, &self.clock, &self.metrics, &may_hold);
            self.route().await;
        }
    }

    fn take_wreck(&self) -> Option<Wreck> {
        self.world.lock().wreck.take()
    }
}

impl Bridge {
    fn start(path: PathBuf, world: &World, clock: &Clock, metrics: &Arc<Metrics>, may_hold: &[Rows]) -> Self {
        let disk = Disk::open(&path, world).expect("what a crash leaves can be opened");
        let look = Connection::open(&path).expect("opens");
        {
            let mut world = world.lock();
            world.starts += 1;
            world.open(look, may_hold).expect("readable");
            world.audit_is_complete();
            world.appended.clear();
            world.stored.clear();
            world.strict.clear();
        }
        let settings = config::Spool {
            retention: RETENTION.unsigned_abs(),
            repeat_window: WINDOW.unsigned_abs(),
            ..config::Spool::new(&path)
        };
        let pace = Pace(world.clone());
        let mut readers = Readers::of(&path, Arc::default());
        readers.pace = Some(pace.clone());
        let (spool, writer) =
            Spool::on(Box::new(disk), readers, &settings, clock.clone(), Arc::clone(metrics)).expect("readable");
        let writer = tokio::spawn(work(writer, pace));
        let (lanes, leaving) = (BTreeMap::new(), BTreeMap::new());
        Self { path, spool, writer, lanes, leaving, all: Vec::new(), cut: CancellationToken::new() }
    }

    /// Ends at once, whatever is under way.
    async fn abort(&mut self) {
        let lanes = std::mem::take(&mut self.lanes).into_values().map(|running| running.task);
        let tasks: Vec<_> = lanes.chain(std::mem::take(&mut self.leaving).into_values()).collect();
        for lane in &self.all {
            lane.abort();
        }
        self.writer.abort();
        for task in tasks {
            let _ = task.await;
        }
        while !self.all.iter().all(AbortHandle::is_finished) {
            tokio::task::yield_now().await;
        }
        if !self.writer.is_finished() {
            let _ = (&mut self.writer).await;
        }
    }
}

/// Does what the writer's thread does, with pauses as a slow disk makes them.
async fn work(mut writer: Writer, pace: Pace) {
    let mut commands = Vec::new();
    while writer.turn(&mut commands).await.is_continue() {
        pace.rest().await;
    }
}

fn settings(world: &World, number: u64, destination: DestinationId, setup: &Setup) -> Arc<Settings<Client>> {
    let client = client(world, number as usize, destination.0, setup.ordering);
    Arc::new(Settings::new(&setup.destination(NAMES[number as usize]), client))
}
