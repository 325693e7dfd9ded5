//! The composition root: builds everything, supervises it, and ends it in order.
//!
//! ```text
//! Config::load ──▶ App::bind ──▶ App::run
//! (pure)           opens the     starts the tasks, obeys reloads and stops,
//!                  fallible      and ends when the first task does
//! ```
//!
//! What [`App::bind`] has opened cannot fail later for a reason that was known at start: the spool is
//! open, the port is bound, every client and socket is built. A task that ends without being asked ends the
//! program, with an error: a bridge that runs on without one of its parts would look healthy.
//!
//! A stop follows the data: sockets close first, then lanes let their requests end, then the spool
//! takes what they reported, and the port goes last. Nothing depends on it: a process that is killed loses
//! nothing that the spool had accepted.

mod certificates;
pub mod descriptors;
mod effect;
mod probe;
mod reload;
mod tasks;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use self::reload::{Parts, Prepared};
use self::tasks::Tasks;
use crate::admin::board::Board;
use crate::admin::liveness::{BEAT, Liveness};
use crate::admin::replay::Replays;
use crate::admin::{self, Certificate, Door, Handles, ReloadRequest};
use crate::clock::Clock;
use crate::config::{Config, Listen};
use crate::spool::{Spool, SpoolError, Writer};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{Exporter, LogLevels};
use crate::tls::Roots;

/// Requests to read the configuration again that may wait: they come from people.
const RELOADS: usize = 4;

/// Requests to ask a handler that may wait: each is taken at once.
const PROBES: usize = 4;

/// How long the spool may take at the end to store what was read, whatever is left of the grace period.
const FLUSH: Duration = Duration::from_secs(5);

/// Reads the configuration again: the new one, or every problem of it.
pub type Reread = Arc<dyn Fn() -> Result<Config, Vec<String>> + Send + Sync>;

/// Says when to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// End in order, within the grace period.
    pub gently: CancellationToken,
    /// End what is left at once.
    pub now: CancellationToken,
}

/// Is a bridge with everything open and nothing running.
pub struct App {
    config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    started_at: Timestamp,
    spool: Spool,
    writer: Writer,
    door: Option<Door>,
    certificate: Option<Arc<Certificate>>,
    parts: Parts,
    prepared: Prepared,
    levels: Option<LogLevels>,
    exporter: Option<Exporter>,
    reloads: (mpsc::Sender<ReloadRequest>, mpsc::Receiver<ReloadRequest>),
}

impl App {
    /// Opens the spool, binds the port, and builds every client and socket.
    ///
    /// # Errors
    /// When any of it cannot be done; nothing has been sent anywhere then.
    pub async fn bind(config: Config, roots: &Roots, levels: Option<LogLevels>) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let metrics = Arc::new(Metrics::new());
        let exporter = Exporter::connect(config.traces.as_ref(), &metrics)?;
        metrics.spool_max_bytes.set(i64::try_from(config.spool.max_size).unwrap_or(i64::MAX));
        let opened = Spool::open(&config.spool, clock.clone(), Arc::clone(&metrics));
        let (spool, writer) = opened.map_err(|error| cannot_open(&config.spool.path, error))?;
        let door = match &config.admin.listen {
            Some(address) => {
                let bound = Door::bind(address).await;
                Some(bound.map_err(|error| cannot_listen(address, error))?)
            }
            None => None,
        };
        let certificate = match config.admin.tls.as_ref().filter(|_| door.is_some()) {
            Some(files) => Some(Arc::new(Certificate::load(files, Arc::clone(&metrics))?)),
            None => None,
        };
        let parts = Parts::new(spool.clone(), clock.clone(), Arc::clone(&metrics));
        let prepared = parts.prepare(&config, roots)?;
        let started_at = clock.now();
        let reloads = mpsc::channel(RELOADS);
        Ok(Self {
            config,
            clock,
            metrics,
            started_at,
            spool,
            writer,
            door,
            certificate,
            parts,
            prepared,
            levels,
            exporter,
            reloads,
        })
    }

    /// Returns where operators come in, if they can, with the port that the system chose.
    pub fn admin_address(&self) -> Option<Listen> {
        self.door.as_ref().and_then(|door| door.address().ok())
    }

    /// Returns a way to ask for the configuration to be read again.
    pub fn reloads(&self) -> mpsc::Sender<ReloadRequest> {
        self.reloads.0.clone()
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// When a part of it ends without being asked, or events could not be stored before the end.
    pub async fn run(self, reread: Reread, stop: Stop) -> anyhow::Result<()> {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"), spool = %self.config.spool.path.display(),
            subscriptions = self.config.subscriptions.len(), destinations = self.config.destinations.len(), "starting"
        );
        let Self {
            config,
            clock,
            metrics,
            started_at,
            spool,
            writer,
            door,
            certificate,
            mut parts,
            prepared,
            levels,
            exporter,
            reloads,
        } = self;
        let (request_reload, mut reload_requests) = reloads;
        let (request_probe, mut probe_requests) = mpsc::channel(PROBES);
        let mut writer_ended = start_writer(writer)?;
        let board = Arc::new(ArcSwap::from_pointee(Board::default()));
        let liveness = Liveness::new(clock.instant());
        let admin_stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.now.clone());
        tasks.spawn("liveness", admin_stop.clone(), beat(liveness.clone(), clock.clone(), admin_stop.clone()));
        let watching =
            certificates::watch(parts.certificates(), Arc::clone(&metrics), clock.clone(), admin_stop.clone());
        tasks.spawn("certificates", admin_stop.clone(), watching);
        if let Some(exporter) = exporter {
            tasks.spawn("exporter of traces", admin_stop.clone(), exporter.run(admin_stop.clone()));
        }
        if let Some(door) = door {
            if let Ok(address) = door.address() {
                tracing::info!(%address, "the admin port is open");
            }
            let (token, viewer_token) = (config.admin.token.clone(), config.admin.viewer_token.clone());
            let handles = Handles {
                clock: clock.clone(),
                spool: spool.clone(),
                board: Arc::clone(&board),
                metrics,
                liveness,
                replays: Replays::default(),
                reload: request_reload,
                probes: request_probe,
                started_at,
                token,
                viewer_token,
                certificate: certificate.clone(),
                levels,
            };
            let serving = admin::serve(door, handles, admin_stop.clone());
            tasks.spawn("admin port", admin_stop.clone(), serving);
        }
        let mut config = config;
        let ended = {
            let work = async {
                parts.apply(prepared, &mut tasks, &board).await?;
                tell_service_manager(&[sd_notify::NotifyState::Ready]);
                loop {
                    tokio::select! {
                        biased;
                        name = tasks.ended_early() => anyhow::bail!("{name} ended without being asked"),
                        Some(ReloadRequest { who, reply }) = reload_requests.recv() => {
                            // Before whoever looks after all certificates is told to look.
                            if let Some(certificate) = &certificate {
                                certificate.refresh();
                            }
                            let answer = parts.reload(&mut config, &reread, &mut tasks, &board).await;
                            if let Ok(summary) = &answer {
                                admin::audit_later(&spool, who, "reload", summary.clone());
                            }
                            // Whoever asked may have gone.
                            let _ = reply.send(answer);
                        }
                        Some(request) = probe_requests.recv() => probe::answer(request, &config.destinations, &clock),
                    }
                }
            };
            // Work waits for the spool, which may take nothing for hours: a stop is heard all the same.
            tokio::select! {
                biased;
                () = stop.gently.cancelled() => Ok(()),
                _ = &mut writer_ended => Err(anyhow::anyhow!("the spool's writer ended")),
                ended = work => ended,
            }
        };
        if let Err(error) = &ended {
            tracing::error!(%error, "stopping");
        }
        tell_service_manager(&[sd_notify::NotifyState::Stopping]);
        let deadline = clock.instant() + config.grace;
        let stored = end(parts, &mut tasks, &spool, writer_ended, deadline, &stop).await;
        admin_stop.cancel();
        tasks.join_all().await;
        ended.and(stored)
    }
}

/// Names the spool where the engine alone has spoken.
fn cannot_open(path: &Path, error: SpoolError) -> anyhow::Error {
    let unnamed = matches!(error, SpoolError::Engine(_));
    let error = anyhow::Error::from(error);
    if unnamed { error.context(format!("cannot start on {} (spool.path)", path.display())) } else { error }
}

/// Says what to do about an address that cannot be listened on.
fn cannot_listen(address: &Listen, error: io::Error) -> anyhow::Error {
    let hint = match (address, error.kind()) {
        (_, io::ErrorKind::AddrInUse) => "is another bridge running? --listen gives this one another address",
        (Listen::Unix(_), io::ErrorKind::NotFound) => "make its directory first, or name another path",
        (Listen::Unix(_), io::ErrorKind::AlreadyExists) => "name another path, or move that file away",
        (_, io::ErrorKind::PermissionDenied) => "the user of the bridge may not: name another with --listen",
        (_, io::ErrorKind::AddrNotAvailable) => "no interface of this machine has this address",
        _ => "name another with --listen",
    };
    anyhow::Error::from(error).context(format!("cannot listen on {address} (admin.listen): {hint}"))
}

/// Ends what moves data, in the order of the data.
async fn end(
    mut parts: Parts,
    tasks: &mut Tasks,
    spool: &Spool,
    writer_ended: oneshot::Receiver<()>,
    deadline: Instant,
    stop: &Stop,
) -> anyhow::Result<()> {
    let in_order = async {
        parts.stop_sockets();
        tasks.join_matching(Parts::SOCKET).await;
        parts.stop_lanes();
        tasks.join_matching(Parts::LANE).await;
    };
    let in_time = tokio::select! {
        done = timeout_at(deadline, in_order) => done.is_ok(),
        () = stop.now.cancelled() => false,
    };
    if !in_time {
        tracing::warn!("requests in flight are cut off; their events are in the spool and go out at the next start");
        stop.now.cancel();
        tasks.join_matching(Parts::SOCKET).await;
        tasks.join_matching(Parts::LANE).await;
    }
    // A second signal has cut the requests short; what was read from the sockets is still to be stored.
    let flushed = async {
        spool.close().await?;
        writer_ended.await.map_err(anyhow::Error::from)
    };
    tokio::select! {
        biased;
        flushed = flushed => flushed.context("the spool ended before everything was stored"),
        () = patience(deadline, stop) => {
            Err(anyhow::anyhow!("the spool did not take what was waiting: events read from zoom are lost"))
        }
    }
}

/// Waits until the spool has had its time: until the deadline, or [`FLUSH`] from now or from a second signal.
async fn patience(deadline: Instant, stop: &Stop) {
    let hurried = async {
        stop.now.cancelled().await;
        sleep(FLUSH).await;
    };
    tokio::select! {
        () = sleep_until(deadline.max(Instant::now() + FLUSH)) => {}
        () = hurried => {}
    }
}

/// Starts the thread that owns the write connection; the receiver ends with it.
fn start_writer(writer: Writer) -> anyhow::Result<oneshot::Receiver<()>> {
    let (ended, watch) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new()
        .name("zoomhook-spool".to_owned())
        .spawn(move || {
            writer.run(&runtime);
            // Dropping it without a word, as a panic does, is noticed as well.
            let _ = ended.send(());
        })
        .context("cannot start the spool's thread")?;
    Ok(watch)
}

/// Shows that the loops turn, to the health check and to a service manager that watches.
async fn beat(liveness: Liveness, clock: Clock, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                liveness.beat(clock.instant());
                tell_service_manager(&[sd_notify::NotifyState::Watchdog]);
            }
        }
    }
}

/// Tells systemd, if it listens (`NOTIFY_SOCKET`).
fn tell_service_manager(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn address_that_cannot_be_listened_on_is_told_with_what_helps() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let cases = [
            (Listen::Unix(folder.path().join("none/admin.sock")), "make its directory first"),
            (Listen::Unix(file), "that is no socket"),
            (Listen::Tcp(taken.local_addr().expect("an address")), "is another bridge running?"),
        ];
        for (listen, words) in cases {
            let error = Door::bind(&listen).await.err().expect("refused");
            let told = format!("{:#}", cannot_listen(&listen, error));
            assert!(told.contains(words), "{told}");
        }
    }
}
