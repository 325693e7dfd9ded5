//! The parts that a reload can change: sockets and lanes.
//!
//! A reload is all or nothing. First everything that can fail is done for the new configuration, beside
//! what runs; only then are tasks stopped, changed and started. What did not change is not touched: its
//! socket stays up, its requests go on. A socket that is live is given up, or told to connect otherwise, only once there
//! is a token for what comes after it.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Reread;
use super::effect::{Effect, effect};
use super::tasks::Tasks;
use crate::admin::board::{Board, Refused};
use crate::clock::Clock;
use crate::config::{Config, Destination, Subscription, fingerprint};
use crate::dispatch::{self, lane::Lane, lane::Settings};
use crate::spool::{Destined, Routes, Spool};
use crate::telemetry::metrics::Metrics;
use crate::tls::Roots;
use crate::tls::inventory::{InUse, shown_to};
use crate::webhook::client::{Client, client};
use crate::wording::counted;
use crate::zoom;
use crate::zoom::access::Access;
use crate::zoom::socket::{Socket, Unsent};
use crate::zoom::status::Link;
use crate::zoom::token::{TokenCache, TokenError};

/// Holds what runs, and what it takes to start more of it.
pub(super) struct Parts {
    spool: Spool,
    clock: Clock,
    metrics: Arc<Metrics>,
    tokens: TokenCache,
    sockets: HashMap<Arc<str>, RunningSocket>,
    lanes: HashMap<Arc<str>, RunningLane>,
    certificates: watch::Sender<InUse>,
    /// The ends of lanes that were taken out and may have requests in flight.
    leaving: HashMap<Arc<str>, CancellationToken>,
}

struct RunningSocket {
    subscription: Subscription,
    access: watch::Sender<Arc<Access>>,
    status: watch::Receiver<zoom::status::Status>,
    stop: CancellationToken,
    ended: CancellationToken,
    /// What the spool did not take until it ended.
    unsent: oneshot::Receiver<Unsent>,
}

struct RunningLane {
    destination: Destination,
    settings: watch::Sender<Arc<Settings<Client>>>,
    status: watch::Receiver<dispatch::status::Status>,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// Is a configuration of which everything that can fail has been done.
pub(super) struct Prepared {
    fingerprint: u64,
    subscriptions: Vec<Subscription>,
    destinations: Vec<Destination>,
    certificates: InUse,
    /// Of subscriptions that are new, or changed in what their socket is made with.
    sockets: Vec<Reached>,
    /// Of destinations that are new or changed.
    clients: HashMap<Arc<str>, Client>,
}

/// Is a subscription whose socket is to be made otherwise.
struct Reached {
    subscription: Subscription,
    access: Arc<Access>,
    effect: Effect,
    /// Its socket was live when the configuration was read.
    was_live: bool,
}

impl RunningSocket {
    fn is_live(&self) -> bool {
        self.status.borrow().link == Link::Live
    }
}

impl Parts {
    /// Begins the names of sockets' tasks.
    pub(super) const SOCKET: &str = "the socket of subscription ";
    /// Begins the names of lanes' tasks.
    pub(super) const LANE: &str = "the lane of destination ";

    pub(super) fn new(spool: Spool, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let tokens = TokenCache::new(clock.clone(), Arc::clone(&metrics));
        Self {
            spool,
            clock,
            metrics,
            tokens,
            sockets: HashMap::new(),
            lanes: HashMap::new(),
            certificates: watch::Sender::default(),
            leaving: HashMap::new(),
        }
    }

    /// Tells which certificates are in use.
    pub(super) fn certificates(&self) -> watch::Receiver<InUse> {
        self.certificates.subscribe()
    }

    /// Builds the sockets and clients that a configuration needs and that do not run yet.
    pub(super) fn prepare(&self, config: &Config, roots: &Roots) -> anyhow::Result<Prepared> {
        let mut sockets = Vec::new();
        for subscription in &config.subscriptions {
            let running = self.sockets.get(&subscription.name);
            let effect = running.map_or(Effect::NewSocket, |running| effect(&running.subscription, subscription));
            if effect != Effect::None {
                let access = Access::new(subscription, roots, &self.tokens, &self.clock, &self.metrics)
                    .with_context(|| format!("subscription {:?}", subscription.name))?;
                let was_live = running.is_some_and(RunningSocket::is_live);
                sockets.push(Reached {
                    subscription: subscription.clone(),
                    access: Arc::new(access),
                    effect,
                    was_live,
                });
            }
        }
        let mut clients = HashMap::new();
        for destination in &config.destinations {
            let runs = self.lanes.get(&destination.name).is_some_and(|known| known.destination == *destination);
            if !runs {
                let made = client(destination, &self.watching(roots, destination), &self.clock);
                let made = made.with_context(|| format!("destination {:?}", destination.name))?;
                clients.insert(Arc::clone(&destination.name), made);
            }
        }
        let (subscriptions, destinations) = (config.subscriptions.clone(), config.destinations.clone());
        let (fingerprint, certificates) = (fingerprint(config), InUse::of(config));
        Ok(Prepared { fingerprint, subscriptions, destinations, certificates, sockets, clients })
    }

    /// Returns the roots for a destination, by which the ends of the certificates are noted that it meets.
    fn watching(&self, roots: &Roots, destination: &Destination) -> Roots {
        shown_to(destination).fold(roots.clone(), |roots, (certificate, url)| {
            roots.watching(url, self.metrics.certificate_expiry.get_or_create_owned(&certificate))
        })
    }

    /// Makes sure that there is a token for each live socket that is to be made otherwise: what Zoom would send it until
    /// somebody mends the file would be lost.
    async fn prove(&self, prepared: &Prepared) -> Result<(), Vec<String>> {
        let proofs = prepared.sockets.iter().filter(|reached| reached.was_live).map(async |reached| {
            let error = reached.access.prove().await.err()?;
            Some(unproven(&reached.subscription.name, &error))
        });
        let problems: Vec<String> = join_all(proofs).await.into_iter().flatten().collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Puts a configuration in force; fails only when the spool has closed.
    pub(super) async fn apply(
        &mut self,
        prepared: Prepared,
        tasks: &mut Tasks,
        board: &ArcSwap<Board>,
    ) -> anyhow::Result<()> {
        let Prepared { fingerprint, subscriptions, destinations, certificates, sockets, clients } = prepared;
        let opening = self.hand_on(sockets);
        let stays = |name: &Arc<str>| {
            subscriptions.iter().any(|s| s.name == *name) && opening.iter().all(|new| new.subscription.name != *name)
        };
        let gone: Vec<RunningSocket> =
            self.sockets.extract_if(|name, _| !stays(name)).map(|(_, running)| running).collect();
        for running in &gone {
            running.stop.cancel();
        }
        // Its last word to the ledger must not come after the first of its successor.
        let mut unsent = HashMap::new();
        for mut running in gone {
            running.ended.cancelled().await;
            unsent.extend(running.unsent.try_recv().ok().map(|left| (running.subscription.name, left)));
        }
        self.leaving.retain(|_, ended| !ended.is_cancelled());
        for (name, running) in self.lanes.extract_if(|name, _| !destinations.iter().any(|new| new.name == *name)) {
            running.stop.cancel();
            self.leaving.insert(name, running.ended);
        }
        self.route(&subscriptions, &destinations, clients, tasks).await?;
        for Reached { subscription, access, .. } in opening {
            let (name, access) = (Arc::clone(&subscription.name), watch::Sender::new(access));
            let (appender, clock) = (self.spool.appender(), self.clock.clone());
            let (mut socket, status) = Socket::new(name, access.subscribe(), appender, clock, &self.metrics);
            if let Some(left) = unsent.remove(&subscription.name) {
                socket.inherit(left);
            }
            let stop = CancellationToken::new();
            let name = format!("{}{}", Self::SOCKET, subscription.name);
            let cut = tasks.cut();
            let running = socket.run(stop.clone());
            let (leave, unsent) = oneshot::channel();
            let ended = tasks.spawn(name, stop.clone(), async move {
                tokio::select! {
                    left = running => {
                        // Nobody is there any more to whom it could be left when the process ends.
                        let _ = left.map(|left| leave.send(left));
                    }
                    () = cut.cancelled() => {}
                }
            });
            let running = RunningSocket { subscription, access, status, stop, ended, unsent };
            self.sockets.insert(Arc::clone(&running.subscription.name), running);
        }
        for subscription in subscriptions.iter().cloned() {
            if let Some(running) = self.sockets.get_mut(&subscription.name) {
                running.subscription = subscription;
            }
        }
        self.certificates.send_replace(certificates);
        board.store(Arc::new(self.board(&subscriptions, &destinations)));
        self.metrics.config_hash.set(fingerprint as f64);
        Ok(())
    }

    /// Hands what a live socket can go on with to it, for its next connection, and returns the others, which take the
    /// place of theirs: without a live socket there is nothing to lose, and the next try comes at once.
    fn hand_on(&self, sockets: Vec<Reached>) -> Vec<Reached> {
        let mut opening = Vec::new();
        for reached in sockets {
            match self.sockets.get(&reached.subscription.name) {
                Some(running) if reached.effect == Effect::NextConnection && reached.was_live && running.is_live() => {
                    running.access.send_replace(reached.access);
                    tracing::info!(
                        subscription.name = &*reached.subscription.name,
                        "the socket of subscription `{}` stays open: what changed holds from its next connection",
                        reached.subscription.name
                    );
                }
                Some(_) | None => opening.push(reached),
            }
        }
        opening
    }

    /// Tells the spool who wants what, changes the lanes that stay and starts those that are new.
    async fn route(
        &mut self,
        subscriptions: &[Subscription],
        destinations: &[Destination],
        mut clients: HashMap<Arc<str>, Client>,
        tasks: &mut Tasks,
    ) -> anyhow::Result<()> {
        let routes = Routes {
            subscriptions: subscriptions.iter().map(|s| (Arc::clone(&s.name), Arc::clone(&s.group))).collect(),
            destinations: destinations
                .iter()
                .map(|d| Destined { name: Arc::clone(&d.name), filter: d.filter.clone(), start: d.start })
                .collect(),
        };
        let mut feeds: HashMap<_, _> = self.spool.route(routes).await?.into_iter().collect();
        for destination in destinations {
            let name = &destination.name;
            let Some(client) = clients.remove(name) else { continue };
            let settings = Arc::new(Settings::new(destination, client));
            if let Some(running) = self.lanes.get_mut(name) {
                running.settings.send_replace(settings);
                running.destination = destination.clone();
            } else if let Some(feed) = feeds.remove(name) {
                let settings = watch::Sender::new(settings);
                let (lane, status) = Lane::new(
                    Arc::clone(name),
                    feed,
                    self.spool.clone(),
                    self.clock.clone(),
                    settings.subscribe(),
                    &self.metrics,
                );
                let (stop, cut) = (CancellationToken::new(), tasks.cut());
                let (predecessor, spool, stopped) = (self.leaving.remove(name), self.spool.clone(), stop.clone());
                let ended = tasks.spawn(format!("{}{name}", Self::LANE), stop.clone(), async move {
                    // What is in flight still must not meet the same event, nor the next one about its thing.
                    if let Some(predecessor) = predecessor {
                        predecessor.cancelled().await;
                        // The disk must tell what it reported.
                        let _ = spool.reports_durable().await;
                    }
                    lane.run(stopped, cut).await;
                });
                let running = RunningLane { destination: destination.clone(), settings, status, stop, ended };
                self.lanes.insert(Arc::clone(name), running);
            }
        }
        Ok(())
    }

    fn board(&self, subscriptions: &[Subscription], destinations: &[Destination]) -> Board {
        let socket = |s: &Subscription| Some((Arc::clone(&s.name), self.sockets.get(&s.name)?.status.clone()));
        let lane = |d: &Destination| Some((Arc::clone(&d.name), self.lanes.get(&d.name)?.status.clone()));
        Board {
            refused: None,
            started: true,
            subscriptions: subscriptions.iter().filter_map(socket).collect(),
            destinations: destinations.iter().filter_map(lane).collect(),
        }
    }

    /// Reads the configuration again and puts it in force; answers what changed, or every problem.
    pub(super) async fn reload(
        &mut self,
        running: &mut Config,
        reread: &Reread,
        tasks: &mut Tasks,
        board: &ArcSwap<Board>,
    ) -> Result<String, Vec<String>> {
        let outcome = async {
            // Files may be on a slow disk, and programs that print secrets take their time.
            let reread = Arc::clone(reread);
            let new =
                tokio::task::spawn_blocking(move || reread()).await.map_err(|error| vec![error.to_string()])??;
            let prepared = self.prepare(&new, &Roots::load()).map_err(|error| vec![format!("{error:#}")])?;
            self.prove(&prepared).await?;
            let summary = summary(running, &new);
            self.apply(prepared, tasks, board).await.map_err(|error| vec![format!("{error:#}")])?;
            *running = new;
            Ok(summary)
        };
        let outcome: Result<String, Vec<String>> = outcome.await;
        self.metrics.config_reload_success.set(outcome.is_ok().into());
        match &outcome {
            Ok(summary) => tracing::info!("the configuration was read again: {summary}"),
            Err(problems) => {
                tracing::error!(
                    problems = %problems.join("; "),
                    "the new configuration has problems, the old one stays in force"
                );
                let refused = Refused { at: self.clock.now(), problems: problems.clone() };
                board.store(Arc::new(Board { refused: Some(refused), ..Board::clone(&board.load()) }));
            }
        }
        outcome
    }

    /// Asks every socket to close.
    pub(super) fn stop_sockets(&mut self) {
        for (_, running) in self.sockets.drain() {
            running.stop.cancel();
        }
    }

    /// Asks every lane to let its requests end.
    pub(super) fn stop_lanes(&mut self) {
        for (_, running) in self.lanes.drain() {
            running.stop.cancel();
        }
    }
}

/// Says why the socket of a subscription is not given up for its new settings.
fn unproven(name: &str, error: &TokenError) -> String {
    let why = match error {
        TokenError::Credentials { reason } => {
            format!("zoom refuses the new credentials ({reason}); check client_id, client_secret and account_id")
        }
        TokenError::Throttled { .. } | TokenError::Proxy { .. } | TokenError::Hiccup { .. } => {
            format!("there is no token with the new settings ({error})")
        }
    };
    format!("subscription {name:?}: {why}; its socket stays open as it is")
}

/// Says what a new configuration changes, and what of it waits for the next start.
fn summary(old: &Config, new: &Config) -> String {
    let (subscriptions, destinations) = (new.subscriptions.len() as u64, new.destinations.len() as u64);
    let mut text =
        format!("{} and {} in force", counted(subscriptions, "subscription"), counted(destinations, "destination"));
    let later: Vec<&str> = [
        ("[spool]", old.spool != new.spool),
        ("[admin]", old.admin != new.admin),
        ("[log]", old.log != new.log),
        ("[traces]", old.traces != new.traces),
    ]
    .into_iter()
    .filter_map(|(table, changed)| changed.then_some(table))
    .collect();
    if !later.is_empty() {
        text.push_str(&format!("; what changed in {} takes effect at the next start", later.join(" and ")));
    }
    text
}
