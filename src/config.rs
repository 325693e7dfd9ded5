//! Configuration: one TOML file, or the environment alone.
//!
//! ```text
//! file ────────┐
//! environment ─┼─▶ one tree of values ──check──▶ Config (types that cannot be wrong)
//! flags ───────┘   each with its place     └───▶ every problem at once, each with its place
//! ```
//!
//! A flag goes before a variable, a variable before the file, the file before the default.
//! [`Sources::gather`](source::Sources::gather) reads the machine; everything behind it is pure.
//!
//! [`Config`] is plain data: no field of it needs a second look by those who use it. Secrets are
//! [`Secret`], which shows itself to nobody who does not ask for it by name; no problem quotes one.

pub(crate) mod address;
mod admin;
pub mod allow;
pub mod authorization;
mod check;
mod cursor;
mod egress;
pub mod encryption;
mod entry;
mod environment;
pub(crate) mod fetch;
mod file;
pub mod filter;
pub mod host;
pub mod levels;
pub mod limits;
pub mod problem;
pub mod proxy;
pub(crate) mod quantity;
pub mod reference;
mod review;
pub mod secret;
mod show;
pub mod source;
pub mod tls;
pub mod traces;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::Level;
use url::Url;

pub use self::admin::{Admin, AdminTls, Listen};
use self::allow::AllowList;
use self::authorization::{Auth, Header, NextSecretToken};
pub use self::check::{Loaded, Purpose, load};
pub use self::egress::{Egress, egress};
use self::encryption::EncryptionKey;
use self::filter::EventFilter;
use self::levels::Levels;
use self::limits::{Rate, Ttl};
use self::proxy::Outbound;
use self::secret::{Base64Secret, Secret};
pub use self::show::{Shown, fingerprint, show};
use self::tls::{TlsDefaults, TlsRules};
use self::traces::Traces;

/// Is everything that the bridge was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The sockets to hold; at least one for `run`.
    pub subscriptions: Vec<Subscription>,
    /// The handlers to deliver to; at least one for `run`.
    pub destinations: Vec<Destination>,
    /// What they ask of TLS in common.
    pub tls: TlsDefaults,
    /// Where destinations may be.
    pub allow: AllowList,
    /// Where events are stored.
    pub spool: Spool,
    /// The operator's port.
    pub admin: Admin,
    /// What is logged, and how.
    pub log: Log,
    /// Where traces are sent, if they are.
    pub traces: Option<Traces>,
    /// How long in-flight deliveries may take to end at a stop (default [`Config::GRACE`]).
    pub grace: Duration,
}

impl Config {
    /// Default of `grace`: one steady timeout and a little more; service managers kill after 90 s.
    pub const GRACE: Duration = Duration::from_secs(15);
}

/// Is one event subscription of Zoom: one socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Its name in logs, metrics and the spool.
    pub name: Arc<str>,
    /// Where the socket is opened: with `subscriptionId`, without `access_token`.
    pub url: Url,
    /// The `subscriptionId` of the URL; one socket for each is all that Zoom allows.
    pub id: Box<str>,
    /// Where tokens come from (default `https://zoom.us/oauth/token`).
    pub token_url: Url,
    /// How tokens are asked for.
    pub grant: Grant,
    /// The account, needed by `account_credentials`.
    pub account_id: Option<Box<str>>,
    /// The app's client id.
    pub client_id: Box<str>,
    /// The app's client secret.
    pub client_secret: Secret,
    /// Repeats are recognised across the subscriptions of one group (default: the own name).
    pub group: Arc<str>,
    /// Certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// What else is asked of TLS.
    pub tls: TlsRules,
    /// How it gets out, for tokens and for the socket (default: as the environment says).
    pub outbound: Outbound,
}

impl Subscription {
    /// Default of `name`, where there is but one.
    pub const NAME: &str = "main";
    /// Is where a bare subscription id is opened: the only host that Zoom documents.
    pub const BASE_URL: &str = "wss://ws.zoom.us/ws";
    /// Is the query parameter that names the subscription.
    pub const ID_PARAMETER: &str = "subscriptionId";
    /// Default of `token_url`.
    pub const TOKEN_URL: &str = "https://zoom.us/oauth/token";
}

/// Is the OAuth grant of a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// `account_credentials` when an account id is set, else `client_credentials`; when refused, the other one.
    Auto,
    /// Server-to-Server apps, older documentation.
    AccountCredentials,
    /// General and Server-to-Server apps, current documentation.
    ClientCredentials,
}

impl Grant {
    /// Is how a configuration writes them.
    pub const WORDS: &[(&str, Self)] = &[
        ("auto", Self::Auto),
        ("account_credentials", Self::AccountCredentials),
        ("client_credentials", Self::ClientCredentials),
    ];
}

/// Is one handler; `Debug` masks the query of its URL, where gateways take keys.
#[derive(Clone, PartialEq)]
pub struct Destination {
    /// Its name in logs, metrics and the spool.
    pub name: Arc<str>,
    /// Where events are posted.
    pub url: Url,
    /// The secret token that signs requests.
    pub secret_token: Secret,
    /// The one that is to replace it.
    pub next_secret_token: Option<NextSecretToken>,
    /// Which events it wants.
    pub filter: EventFilter,
    /// In which form bodies are posted.
    pub body: BodyForm,
    /// When failed attempts are repeated.
    pub retry: Retry,
    /// How long one attempt may take, connection and answer included.
    pub timeout: Duration,
    /// How many requests may be in flight at once.
    pub concurrency: usize,
    /// In what order events about the same thing are delivered.
    pub ordering: Ordering,
    /// With what it begins when it is new to the spool.
    pub start: Start,
    /// How requests prove who sends them, beside their signature.
    pub auth: Auth,
    /// Headers that every request carries.
    pub headers: Vec<Header>,
    /// Signs requests by the rules of Standard Webhooks, too.
    pub standard_webhooks_secret: Option<Base64Secret>,
    /// Whether requests carry a `traceparent` (default: no).
    pub traceparent: bool,
    /// The most attempts in a time (default: as many as the handler takes).
    pub rate: Option<Rate>,
    /// How old an event may be when it is attempted (default: of any age).
    pub ttl: Ttl,
    /// After so many attempts an event is given up, whatever `retry` says (default: what `retry` says).
    pub max_attempts: Option<u32>,
    /// An event of this age is not retried any more, whatever `retry` says (default: what `retry` says).
    pub max_age: Option<Duration>,
    /// How an open breaker finds out that the handler is back.
    pub probe: Probe,
    /// Certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// What else is asked of TLS.
    pub tls: TlsRules,
    /// Where it may be: what holds for all destinations.
    pub allow: AllowList,
    /// How its requests get out (default: directly, whatever the environment says).
    pub outbound: Outbound,
}

impl Destination {
    /// Default of `body`: what handlers accept that verify over the bytes, and those that verify over
    /// `JSON.stringify(req.body)`, as Zoom's published sample does.
    pub const BODY: BodyForm = BodyForm::JavaScript;
    /// Default of `timeout` with the `steady` policy and with explicit lists.
    pub const STEADY_TIMEOUT: Duration = Duration::from_secs(10);
    /// Default of `timeout` with the `zoom` policy: Zoom itself gives a handler three seconds.
    pub const ZOOM_TIMEOUT: Duration = Duration::from_secs(3);
    /// Default of `concurrency`.
    pub const CONCURRENCY: usize = 32;

    /// Makes a destination of which all that may be left out is left out.
    pub fn new(name: impl Into<Arc<str>>, url: Url, secret_token: Secret) -> Self {
        Self {
            name: name.into(),
            url,
            secret_token,
            next_secret_token: None,
            filter: EventFilter::all(),
            body: Self::BODY,
            retry: Retry::Steady,
            timeout: Self::STEADY_TIMEOUT,
            concurrency: Self::CONCURRENCY,
            ordering: Ordering::Object,
            start: Start::Now,
            auth: Auth::None,
            headers: Vec::new(),
            standard_webhooks_secret: None,
            traceparent: false,
            rate: None,
            ttl: Ttl::default(),
            max_attempts: None,
            max_age: None,
            probe: Probe::Event,
            ca_file: None,
            tls: TlsRules::DEFAULT,
            allow: AllowList::default(),
            outbound: Outbound::DIRECT,
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("name", &self.name)
            .field("url", &address::masked(&self.url))
            .field("secret_token", &self.secret_token)
            .field("next_secret_token", &self.next_secret_token)
            .field("filter", &self.filter)
            .field("body", &self.body)
            .field("retry", &self.retry)
            .field("timeout", &self.timeout)
            .field("concurrency", &self.concurrency)
            .field("ordering", &self.ordering)
            .field("start", &self.start)
            .field("auth", &self.auth)
            .field("headers", &self.headers)
            .field("standard_webhooks_secret", &self.standard_webhooks_secret)
            .field("traceparent", &self.traceparent)
            .field("rate", &self.rate)
            .field("ttl", &self.ttl)
            .field("max_attempts", &self.max_attempts)
            .field("max_age", &self.max_age)
            .field("probe", &self.probe)
            .field("ca_file", &self.ca_file)
            .field("tls", &self.tls)
            .field("allow", &self.allow)
            .field("outbound", &self.outbound)
            .finish()
    }
}

/// Says with what a destination begins when it is new to the spool; later it means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes from then on.
    Now,
    /// With everything that is kept.
    Beginning,
    /// With what was received since then and is kept.
    At(Timestamp),
}

impl Start {
    /// Is how a configuration writes them, beside a time.
    pub const WORDS: &[(&str, Self)] = &[("now", Self::Now), ("beginning", Self::Beginning)];
}

/// Says in what order events about the same thing are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// One at a time, in the order of arrival; one that fails steps aside for its retry.
    Object,
    /// One at a time, in the order of arrival; one that fails holds the later ones back.
    Strict,
    /// As they come.
    None,
}

impl Ordering {
    /// Is how a configuration writes them.
    pub const WORDS: &[(&str, Self)] = &[("object", Self::Object), ("strict", Self::Strict), ("none", Self::None)];
}

/// Says how an open breaker finds out that the handler is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// By an event that waits: it closes when one is taken.
    Event,
    /// By Zoom's signed question `endpoint.url_validation`: it closes when the answer is right, and no event is
    /// touched before.
    Validation,
}

impl Probe {
    /// Is how a configuration writes them.
    pub const WORDS: &[(&str, Self)] = &[("event", Self::Event), ("validation", Self::Validation)];
}

/// Says in which form bodies are posted to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// Zoom's bytes, whatever they are.
    Verbatim,
    /// Zoom's bytes where JavaScript would write the same; else what it would write, unless a number changes by that.
    JavaScript,
}

impl BodyForm {
    /// Is how a configuration writes them.
    pub const WORDS: &[(&str, Self)] = &[("verbatim", Self::Verbatim), ("javascript", Self::JavaScript)];
}

/// Says when failed attempts are repeated.
#[derive(Clone, Debug, PartialEq)]
pub enum Retry {
    /// 1 s, 5 s, 15 s, 1 min, 5 min, 15 min, 1 h, then every 3 h until the event is 72 h old.
    Steady,
    /// As Zoom does it: after 5, 20 and 60 minutes, for server and network faults only.
    Zoom,
    /// After each of these delays in turn, then never again.
    List(Vec<Duration>),
}

impl Retry {
    /// Returns how many attempts it makes at most; `None` where age alone ends them.
    pub fn attempts(&self) -> Option<usize> {
        match self {
            Self::Steady => None,
            Self::Zoom => Some(4),
            Self::List(delays) => Some(delays.len() + 1),
        }
    }
}

/// Says where events are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Spool {
    /// The SQLite file.
    pub path: PathBuf,
    /// How long delivered events are kept.
    pub retention: Duration,
    /// The most bytes that it may take.
    pub max_size: u64,
    /// What happens when it has come to that.
    pub when_full: WhenFull,
    /// Within this time a body that was seen before is a repeat; zero switches recognition off.
    pub repeat_window: Duration,
    /// How long rows of the audit table are kept (default: for good).
    pub audit_retention: Option<Duration>,
    /// Encrypts bodies and answers (default: they are kept as they are).
    pub encryption_key: Option<EncryptionKey>,
    /// Other keys that what is kept may be encrypted with.
    pub old_encryption_keys: Vec<EncryptionKey>,
}

impl Spool {
    /// Default of `path`.
    pub const PATH: &str = "./zoomhook.db";
    /// Default of `retention`: a weekend.
    pub const RETENTION: Duration = Duration::from_secs(72 * 3600);
    /// Default of `max_size`: 8 GiB.
    pub const MAX_SIZE: u64 = 8 << 30;
    /// Default of `when_full`: what handlers have already goes before what they have not, and what nobody took goes
    /// before what nobody has seen.
    pub const WHEN_FULL: WhenFull = WhenFull::DropDeliveredFirst;
    /// Default of `repeat_window`.
    pub const REPEAT_WINDOW: Duration = Duration::from_secs(600);

    /// Makes a spool in this file of which all that may be left out is left out.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention: Self::RETENTION,
            max_size: Self::MAX_SIZE,
            when_full: Self::WHEN_FULL,
            repeat_window: Self::REPEAT_WINDOW,
            audit_retention: None,
            encryption_key: None,
            old_encryption_keys: Vec::new(),
        }
    }
}

/// Says what a spool does that has come to its size; what waits for a destination is never dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It takes no more events.
    Refuse,
    /// It drops delivered events before their time, then dead letters and parked frames, the oldest first; when none
    /// is left, it takes no more events.
    DropDeliveredFirst,
}

impl WhenFull {
    /// Is how a configuration writes them.
    pub const WORDS: &[(&str, Self)] = &[("refuse", Self::Refuse), ("drop_delivered_first", Self::DropDeliveredFirst)];
}

/// Says what is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// How much is written.
    pub level: Levels,
}

impl Log {
    /// Default of `level`.
    pub const LEVEL: Levels = Levels::all(Level::INFO);
}

/// Is the form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Is how a configuration writes them.
    pub const WORDS: &[(&str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}
