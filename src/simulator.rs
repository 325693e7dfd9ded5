//! A Zoom to practise on: the token endpoint, the socket and the faults of the real one, on loopback.
//!
//! ```text
//! POST /oauth/token ──token──▶ tokens ◀──is it good?──┐
//! GET /ws ──────────socket──▶ 101, first frame ───────┴──seat──▶ hub ◀──push── traffic, tests, /_control/events
//! POST /_control/..., drills ▶ faults (watched by every socket), rate, drops
//! ```
//!
//! It behaves as captured from Zoom: the upgrade always succeeds and the first frame decides; a newer socket of a
//! subscription evicts the older one; what happens while no socket is live is never sent. [`Faults`] make it misbehave
//! and can be changed while it runs, by hand or by the timed steps of a [`drill`]. Everything that clients do is kept in
//! a log that tests can wait for.

pub mod certificate;
pub mod drill;
pub mod fault;
pub mod handler;
pub mod log;
pub mod template;
pub mod traffic;

mod control;
mod dice;
mod door;
mod flow;
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
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use self::certificate::{CertificateError, Identity};
use self::door::Rooms;
use self::fault::{Cut, Faults, FlowFault};
use self::flow::Flow;
use self::hub::{Batch, Hub};
use self::log::{Account, Counts, Entry, Happening, Log};
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
    /// What clients speak.
    pub transport: Transport,
}

/// Says whether connections are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// `http` and `ws`.
    #[default]
    Plain,
    /// `https` and `wss`, with a certificate of an authority that is made at the start.
    Tls,
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
            transport: Transport::Plain,
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
    /// There is no certificate to show.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
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
    identity: Option<Identity>,
    flow: Flow,
    faults: watch::Sender<Faults>,
    rate: watch::Sender<f64>,
    /// Whether any client has come, whatever was made of it.
    knocked: watch::Sender<bool>,
    /// Refusals in turn so far.
    refusals: AtomicUsize,
    log: Log,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Simulator {
    /// Opens the port. Connections wait until [`Simulator::run`] accepts them.
    ///
    /// # Errors
    /// When the address is not loopback or cannot be listened on, or no certificate can be made.
    pub async fn bind(options: Options) -> Result<Self, BindError> {
        let (listener, addr) = listen(options.listen).await?;
        let identity = match options.transport {
            Transport::Plain => None,
            Transport::Tls => Some(Identity::make()?),
        };
        let clock = Clock::system();
        Ok(Self(Arc::new(Inner {
            listener,
            addr,
            tokens: Mutex::new(Tokens::new(options.seed)),
            hub: Hub::default(),
            identity,
            flow: Flow::default(),
            faults: watch::Sender::new(options.faults.clone()),
            rate: watch::Sender::new(options.traffic.as_ref().map_or(0.0, |traffic| traffic.rate)),
            knocked: watch::Sender::new(false),
            refusals: AtomicUsize::new(0),
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
        let zoom = Router::new()
            .route("/oauth/token", post(token::answer))
            .route("/ws", get(socket::upgrade))
            .layer(from_fn_with_state(self.clone(), door::knock));
        let rooms = Rooms {
            all: zoom.merge(control::router()).with_state(self.clone()),
            control: control::router().fallback(control::plain_text).with_state(self.clone()),
        };
        let enter = |tcp| door::enter(self.clone(), rooms.clone(), tcp);
        let traffic = async {
            if let Some(traffic) = self.0.options.traffic.clone() {
                traffic::pump(self, traffic, self.0.options.seed).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = server::serve(&self.0.listener, enter, &stop) => {}
            () = flow::run(self) => {}
            () = traffic => {}
        }
        stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.log.missed(self.0.flow.give_up());
    }

    /// Returns the address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Returns the options that it was bound with.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Returns the certificate that clients must trust, in PEM form, when connections are encrypted.
    pub fn authority(&self) -> Option<&str> {
        self.0.identity.as_ref().map(|identity| identity.authority.as_str())
    }

    /// Returns the URL of the token endpoint.
    pub fn token_url(&self) -> Url {
        let scheme = match self.0.options.transport {
            Transport::Plain => "http",
            Transport::Tls => "https",
        };
        self.url(scheme, "/oauth/token")
    }

    /// Returns the URL of a subscription's socket, without a token, as Zoom's Marketplace shows it.
    pub fn ws_url(&self, subscription: &str) -> Url {
        let scheme = match self.0.options.transport {
            Transport::Plain => "ws",
            Transport::Tls => "wss",
        };
        let mut url = self.url(scheme, "/ws");
        url.query_pairs_mut().append_pair("subscriptionId", subscription);
        url
    }

    fn url(&self, scheme: &str, path: &str) -> Url {
        let text = format!("{scheme}://{}{path}", self.0.addr);
        text.parse().expect("a socket address is a host and a port")
    }

    /// Sends an event to the live sockets of every subscription and says how many took it.
    ///
    /// Waits while a client reads more slowly than events come. A fault that holds events back makes it none.
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

    /// Sends events, or holds them back when a fault says so.
    async fn send<T: AsRef<str>>(&self, subscription: Option<&str>, bodies: &[T]) -> usize {
        let flow = self.0.faults.borrow().flow;
        match flow {
            None => return self.deliver(subscription, bodies).await,
            Some(FlowFault::Withheld) => self.0.log.missed(bodies.len() as u64),
            Some(fault) => {
                self.0.flow.hold(fault, subscription, bodies, self.0.clock.instant());
                // The fault may have gone since it was read, and with it what would let these go.
                if self.0.faults.borrow().flow != flow {
                    self.0.flow.release(self.0.clock.instant());
                }
            }
        }
        0
    }

    async fn deliver<T: AsRef<str>>(&self, subscription: Option<&str>, bodies: &[T]) -> usize {
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

    /// Replaces the faults, for live sockets too. Events that a fault held back go out when that one goes.
    pub fn set_faults(&self, faults: Faults) {
        let (on, flow) = (faults.texts(), faults.flow);
        if self.0.faults.send_replace(faults).flow != flow {
            self.0.flow.release(self.0.clock.instant());
        }
        self.0.log.write(Happening::Faults { on });
    }

    /// Changes the rate of the events that come by themselves, if any do; 0 makes them pause.
    pub fn set_rate(&self, rate: f64) {
        self.0.rate.send_replace(rate);
    }

    /// Ends every live socket and says how many there were.
    pub fn drop_sockets(&self, cut: Cut) -> usize {
        self.0.hub.end(None, cut)
    }

    /// Ends the live sockets of one subscription and says how many there were.
    pub fn drop_sockets_of(&self, subscription: &str, cut: Cut) -> usize {
        self.0.hub.end(Some(subscription), cut)
    }

    /// Returns the entries of the log from number `from` on, as far as they are kept, and the number of the next one.
    pub fn log(&self, from: u64) -> (Vec<Entry>, u64) {
        self.0.log.since(from)
    }

    /// Waits until the log has an entry of number `from`.
    pub async fn logged(&self, from: u64) {
        self.0.log.beyond(from).await;
    }

    /// Returns what clients did since the start, added up.
    pub fn account(&self) -> Account {
        self.0.log.account()
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

    /// Waits until the first client comes.
    async fn knocked(&self) {
        let mut knocked = self.0.knocked.subscribe();
        knocked.wait_for(|knocked| *knocked).await.expect("the sender is in self");
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
