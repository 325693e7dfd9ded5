//! The bridge of a run: the real writer, its lanes, and what an operator and a configuration do to them.

mod asked;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Pace;
use super::action::{Action, Mood, Scene, Setup};
use super::book::{DELIVERED, Rows};
use super::disk::{Disk, checkpoint, kill};
use super::handler::{Client, client};
use super::whole;
use super::world::{Given, RETENTION, State, WINDOW, World, Wreck};
use crate::clock::Clock;
use crate::config::encryption::EncryptionKey;
use crate::config::secret::Secret;
use crate::config::{self, Ordering};
use crate::dispatch::lane::{Lane, Settings};
use crate::event::{EventId, Received};
use crate::spool::erasure::Erasure;
use crate::spool::feed::Feed;
use crate::spool::record::{DeadQuery, DestinationId, Pause};
use crate::spool::replay::{Request, Scope, Selection, Stage};
use crate::spool::seal::Keys;
use crate::spool::sqlite::open_view;
use crate::spool::{Destined, Health, Readers, Routes, Spool, Writer};
use crate::telemetry::metrics::{ByWhat, Metrics};

const KINDS: [&str; 2] = ["meeting.started", "user.created"];
const NAMES: [&str; 3] = ["a", "b", "c"];
/// How long everything may take once nothing fails any more: the longest delay that a clock that was set back leaves.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);
/// The same where no clock was set: the longest delays of a breaker, of a retry, and of a chain of them that gathers.
const SOON: Duration = Duration::from_secs(600);
/// How long what was given may wait for room before an operator looks.
const FLUSHED: Duration = Duration::from_secs(60);

/// Is one run.
pub(super) struct Run {
    world: World,
    clock: Clock,
    metrics: Arc<Metrics>,
    setups: BTreeMap<u64, Setup>,
    operators: u32,
    key: Option<u8>,
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
        let key = world.lock().scene.key;
        let bridge = Bridge::start(path, key, &world, &clock, &metrics, &[rows]);
        let mut run = Self { world, clock, metrics, setups: BTreeMap::new(), operators: 0, key, bridge };
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
                    let n = self.world.lock().give(KINDS[kind as usize], thing, 0);
                    self.append(n).await;
                }
            }
            Action::Bulk(count) => {
                for nth in 0..count {
                    let n = {
                        let mut world = self.world.lock();
                        let padding = 1000 + world.dice.below(12_000) as usize;
                        world.give(KINDS[0], Some(100 + nth), padding)
                    };
                    self.append(n).await;
                }
            }
            Action::Parked(count) => {
                for _ in 0..count {
                    let n = self.world.lock().give_parked();
                    self.append(n).await;
                }
            }
            Action::Up => self.up().await,
            Action::Down => self.down("closed by zoom").await,
            Action::Repeat(ago) => {
                let given = self.world.lock().given.len();
                if let Some(n) = given.checked_sub(1 + ago as usize) {
                    self.append(n).await;
                }
            }
            Action::Flush => _ = self.flush().await,
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
                let mut world = self.world.lock();
                (world.clock_was_set, world.truth.is_vague) = (true, true);
                world.breakers.forget();
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
            Action::Return(destination, setup, millis) => {
                self.world.lock().moods[destination as usize] = Mood::Slow;
                for thing in 0..4 {
                    let n = self.world.lock().give(KINDS[0], Some(thing % 2), 0);
                    self.append(n).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                if self.setups.remove(&destination).is_some() {
                    self.route().await;
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    self.world.lock().count("returns");
                }
                self.setups.insert(destination, setup);
                self.route().await;
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
            Action::PurgeParked => self.erase(Erasure::Parked { until: self.clock.now() }).await,
            Action::Key(key) => {
                self.key = key;
                self.world.lock().key_was_changed = true;
                self.stop().await;
            }
            Action::Rekey => self.rekey().await,
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
        let now = self.clock.now();
        let is_due = {
            let mut world = self.world.lock();
            world.truth.is_live() && world.truth.heard(now.as_millisecond())
        };
        if is_due {
            let _ = self.bridge.spool.appender().alive("main".into(), now).await;
        }
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
        self.make_room().await;
        let patience = {
            let world = self.world.lock();
            if world.clock_was_set || world.disk_failed { PATIENCE } else { SOON }
        };
        let began = Instant::now();
        while !self.is_settled() {
            if began.elapsed() > patience {
                let rows = self.world.lock().rows.clone();
                self.world.lock().hold(Err(format!("what waits is not delivered: {rows:?}")));
                break;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        self.make_room().await;
        self.check_health();
        {
            let mut world = self.world.lock();
            let checked = self.drops_are_counted(&world);
            world.hold(checked);
        }
        self.stop().await;
        self.recover().await;
        self.bridge.abort().await;
        let mut world = self.world.lock();
        let mut view = open_view(&self.bridge.path, Arc::new(keys(self.key))).expect("opens");
        let checked = world
            .requests_are_bounded()
            .and(world.nothing_is_lost())
            .and(whole::bodies(&world, view.as_mut()))
            .and(whole::audit(view.as_mut()));
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
            let mut world = self.world.lock();
            world.strict.remove(&destination.0);
            world.breakers.left(destination.0);
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
                // What its predecessor has in flight is in whatever order that kept.
                if setup.ordering == Ordering::Strict && !bridge.leaving.contains_key(number) {
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
        let says = self.world.lock().dice.once_in(2);
        if says {
            self.down("stopped").await;
        }
        self.world.lock().is_closing = true;
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
            let checked = whole::stored(&world);
            world.hold(checked);
            let appended = world.appended.clone();
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
            self.bridge = Bridge::start(path, self.key, &self.world, &self.clock, &self.metrics, &may_hold);
            self.route().await;
        }
    }

    fn take_wreck(&self) -> Option<Wreck> {
        self.world.lock().wreck.take()
    }
}

impl Bridge {
    fn start(
        path: PathBuf,
        key: Option<u8>,
        world: &World,
        clock: &Clock,
        metrics: &Arc<Metrics>,
        may_hold: &[Rows],
    ) -> Self {
        let keys = Arc::new(keys(key));
        let disk = Disk::open(&path, Arc::clone(&keys), world).expect("what a crash leaves can be opened");
        let look = Connection::open(&path).expect("opens");
        {
            let mut world = world.lock();
            world.starts += 1;
            world.open(look, may_hold).expect("readable");
            world.audit_is_complete();
            world.appended.clear();
            world.stored.clear();
            world.numbered.clear();
            world.strict.clear();
        }
        let Scene { max_size, when_full, .. } = world.lock().scene;
        let settings = config::Spool {
            max_size,
            when_full,
            retention: RETENTION.unsigned_abs(),
            repeat_window: WINDOW.unsigned_abs(),
            ..config::Spool::new(&path)
        };
        let pace = Pace(world.clone());
        let mut readers = Readers::of(&path, keys);
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

/// Returns the keys that a process has: every one, and this to write with.
fn keys(current: Option<u8>) -> Keys {
    let key = |number: u8| {
        let mut bytes = [number; 32];
        bytes[0] = !number;
        EncryptionKey::new(&Secret::new(hex::encode(bytes))).expect("a key")
    };
    let all: Vec<EncryptionKey> = [1, 2].map(key).into();
    Keys::new(current.map(key).as_ref(), &all)
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
    Arc::new(Settings::new(&setup.destination(NAMES[number as usize]), client).holding_apart(setup.apart))
}
