//! A Zoom to practise on: the token endpoint, the socket and the faults of the real one, on loopback.
//!
//! ```text
//! POST /oauth/token ──token──▶ tokens ◀──is it good?──┐
//! GET /ws ──────────socket──▶ 101, first frame ───────┴──seat──▶ hub ◀──push── traffic, tests, /_control/events
//! POST /_control/... ───────▶ faults (watched by every socket)
//! ```
//!
//! It behaves as captured from Zoom: the upgrade always succeeds and the first frame decides; a newer socket of a
//! subscription evicts the older one; what happens while no socket is live is never sent. [`Faults`] make it misbehave
//! and can be changed while it runs. Everything that clients do is kept in a log that tests can wait for.

pub mod fault;
pub mod handler;
pub mod log;
pub mod traffic;

mod control;
mod dice;
mod frame;
mod hub;
mod journal;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod token;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use self::fault::{Cut, Faults};
use self::hub::{Batch, Hub};
use self::log::{Counts, Entry, Happening, Log};
use self::token::Tokens;
use self::traffic::Traffic;
use crate::clock::Clock;
use crate::config::secret::Secret;

/// Says what the simulator knows and does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens: a loopback address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The only account that has an app.
    pub account_id: String,
    /// The client id of the app.
    pub client_id: String,
    /// The client secret of the app.
    pub client_secret: Secret,
    /// The ids of the app's subscriptions; each gets every event.
    pub subscriptions: Vec<Arc<str>>,
    /// How long a token is good.
    pub token_life: Duration,
    /// Determines tokens and events.
    pub seed: u64,
    /// Events that come by themselves.
    pub traffic: Option<Traffic>,
    /// Faults that are on from the start.
    pub faults: Faults,
}

impl Default for Options {
    /// Any free port, one subscription, tokens of an hour, no events, no faults.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            account_id: "demo-account".to_owned(),
            client_id: "demo-client".to_owned(),
            client_secret: Secret::new("demo-secret"),
            subscriptions: vec!["demo-subscription".into()],
            token_life: Duration::from_secs(3600),
            seed: 1,
            traffic: None,
            faults: Faults::default(),
        }
    }
}

/// Says why a server of this chapter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address can be reached from elsewhere.
    #[error("cannot listen on {0}: expected a loopback address such as 127.0.0.1:8787")]
    NotLoopback(SocketAddr),
    /// The operating system refuses.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
}

/// Is a handle on one simulator; clones are handles on the same one.
#[derive(Clone)]
pub struct Simulator(Arc<Inner>);

struct Inner {
    listener: TcpListener,
    addr: SocketAddr,
    options: Options,
    clock: Clock,
    tokens: Mutex<Tokens>,
    hub: Hub,
    faults: watch::Sender<Faults>,
    log: Log,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Simulator {
    /// Opens the port. Connections wait until [`Simulator::run`] accepts them.
    ///
    /// # Errors
    /// When the address is not loopback or cannot be listened on.
    pub async fn bind(options: Options) -> Result<Self, BindError> {
        let (listener, addr) = listen(options.listen).await?;
        let clock = Clock::system();
        Ok(Self(Arc::new(Inner {
            listener,
            addr,
            tokens: Mutex::new(Tokens::new(options.seed)),
            hub: Hub::default(),
            faults: watch::Sender::new(options.faults.clone()),
            log: Log::new(clock.clone()),
            clock,
            options,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })))
    }

    /// Serves until `token` is cancelled, then closes every socket with 1001. A simulator runs once.
    pub async fn run(&self, token: CancellationToken) {
        let stop = self.0.stop.clone();
        let _stopped_when_dropped = stop.clone().drop_guard();
        let router = Router::new()
            .route("/oauth/token", post(token::answer))
            .route("/ws", get(socket::upgrade))
            .merge(control::router())
            .with_state(self.clone());
        let traffic = async {
            if let Some(traffic) = self.0.options.traffic {
                traffic::pump(self, traffic, self.0.options.seed).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = server::serve(&self.0.listener, &router, &stop) => {}
            () = traffic => {}
        }
        stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Returns the address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Returns the options that it was bound with.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Returns the URL of the token endpoint.
    pub fn token_url(&self) -> Url {
        self.url("http", "/oauth/token")
    }

    /// Returns the URL of a subscription's socket, without a token, as Zoom's Marketplace shows it.
    pub fn ws_url(&self, subscription: &str) -> Url {
        let mut url = self.url("ws", "/ws");
        url.query_pairs_mut().append_pair("subscriptionId", subscription);
        url
    }

    fn url(&self, scheme: &str, path: &str) -> Url {
        let text = format!("{scheme}://{}{path}", self.0.addr);
        text.parse().expect("a socket address is a host and a port")
    }

    /// Sends an event to the live sockets of every subscription and says how many took it.
    ///
    /// Waits while a client reads more slowly than events come.
    pub async fn push(&self, body: &str) -> usize {
        self.send(None, &[body]).await
    }

    /// Sends an event to the live sockets of one subscription and says how many took it.
    pub async fn push_to(&self, subscription: &str, body: &str) -> usize {
        self.send(Some(subscription), &[body]).await
    }

    /// Sends events to the live sockets of every subscription, in one batch, and says how many sockets took them.
    pub async fn push_all<T: AsRef<str>>(&self, bodies: &[T]) -> usize {
        self.send(None, bodies).await
    }

    async fn send<T: AsRef<str>>(&self, subscription: Option<&str>, bodies: &[T]) -> usize {
        let mut messages = Vec::with_capacity(bodies.len());
        let frames = self.0.faults.borrow().frames.clone();
        bodies.iter().for_each(|body| frame::event(body.as_ref(), &frames, &mut messages));
        let events = bodies.len() as u64;
        let taken = self.0.hub.send(subscription, Batch { messages, events }).await;
        if taken == 0 {
            self.0.log.missed(events);
        }
        taken
    }

    /// Returns the faults that are on.
    pub fn faults(&self) -> Faults {
        self.0.faults.borrow().clone()
    }

    /// Replaces the faults, for live sockets too.
    pub fn set_faults(&self, faults: Faults) {
        let on = faults.texts();
        self.0.faults.send_replace(faults);
        self.0.log.write(Happening::Faults { on });
    }

    /// Ends every live socket and says how many there were.
    pub fn drop_sockets(&self, cut: Cut) -> usize {
        self.0.hub.end_all(cut)
    }

    /// Returns the entries of the log from number `from` on, as far as they are kept, and the number of the next one.
    pub fn log(&self, from: u64) -> (Vec<Entry>, u64) {
        self.0.log.since(from)
    }

    /// Waits until the log has an entry of number `from`.
    pub async fn logged(&self, from: u64) {
        self.0.log.beyond(from).await;
    }

    /// Returns what was counted since the start.
    pub fn counts(&self) -> Counts {
        *self.0.log.counts().borrow()
    }

    /// Waits until the counts are as `reached` wants them and returns them.
    pub async fn wait_for(&self, reached: impl FnMut(&Counts) -> bool) -> Counts {
        let mut counts = self.0.log.counts();
        *counts.wait_for(reached).await.expect("the sender is in self")
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens on a loopback address.
async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    if !address.ip().is_loopback() {
        return Err(BindError::NotLoopback(address));
    }
    let failed = |source| BindError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}
