//! All the rules at once: from the tree of values to a [`Config`] that cannot be wrong.

mod admin;
mod authorization;
mod destination;
mod egress;
mod proxy;
mod subscription;
mod tls;
mod traces;

use std::time::Duration;

use url::Url;

use super::address::{self, Protocol};
use super::cursor::Cursor;
use super::encryption::EncryptionKey;
use super::entry::Entry;
use super::file::{self, Table};
use super::problem::{Problem, Problems};
use super::review::Review;
use super::source::Sources;
use super::{Config, Log, LogFormat, Spool, WhenFull, environment};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Says what a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To hold sockets and deliver: there must be a subscription and a destination.
    Run,
    /// To look after a spool or a running bridge: subscriptions, destinations and keys of the spool are passed over, so
    /// that an operator's shell needs none of their secrets, and come out empty.
    Operate,
    /// The same, but for payloads that are encrypted: the keys of the spool are needed.
    Unlock,
}

/// Is a configuration without a mistake.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where it came from: the file, or the environment.
    pub origin: String,
    /// The configuration.
    pub config: Config,
    /// What deserves a second look.
    pub warnings: Vec<Problem>,
}

/// Makes the configuration out of file, environment and flags: flag before variable before file before default.
///
/// # Errors
/// With everything that is wrong; a mistake in the syntax of the file hides the others.
pub fn load(sources: &Sources<'_>, purpose: Purpose) -> Result<Loaded, Problems> {
    let origin = sources.origin();
    let mut table = match &sources.file {
        None => Table::new(),
        Some(file) => match file::parse(&file.text) {
            Ok(table) => table,
            Err(problem) => {
                let log_format = sources.log_format_without_file();
                return Err(Problems { origin, problems: vec![problem], warnings: Vec::new(), log_format });
            }
        },
    };
    environment::complete(&mut table, sources, purpose);
    let review = Review::new(sources);
    let mut log_format = sources.log_format;
    let config = root(Cursor::root(&review, table), purpose, &mut log_format);
    let (problems, warnings) = review.into_findings();
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { origin, config, warnings }),
        Some(_) | None => Err(Problems { origin, problems, warnings, log_format }),
    }
}

/// Applies every rule; `log_format` becomes what the configuration says, which is known even where the rest is wrong.
fn root(mut root: Cursor<'_>, purpose: Purpose, log_format: &mut LogFormat) -> Option<Config> {
    let tls = tls::defaults(root.section("tls"));
    let allow = egress::allow(root.section("egress"));
    let (subscriptions, destinations) = match purpose {
        Purpose::Run => (subscription::all(&mut root, &tls), destination::all(&mut root, &tls, allow.as_ref())),
        Purpose::Operate | Purpose::Unlock => {
            root.skip("subscription");
            root.skip("destination");
            (Some(Vec::new()), Some(Vec::new()))
        }
    };
    let spool = spool(root.section("spool"), purpose);
    let admin = admin::admin(root.section("admin"), purpose);
    let log = log(root.section("log"), *log_format);
    *log_format = log.format;
    let traces = traces::traces(&mut root, purpose, allow.as_ref());
    let grace = shutdown(root.section("shutdown"));
    root.finish();
    Some(Config {
        subscriptions: subscriptions?,
        destinations: destinations?,
        tls,
        allow: allow?,
        spool,
        admin: admin?,
        log,
        traces: traces?,
        grace,
    })
}

fn spool(mut cursor: Cursor<'_>, purpose: Purpose) -> Spool {
    let path = cursor.take("path").and_then(Entry::plain);
    let retention = cursor.take("retention").and_then(|entry| entry.duration(Duration::ZERO..=366 * DAY));
    // Less than this is less than the write-ahead log takes beside it; more is beyond SQLite.
    let max_size = cursor.take("max_size").and_then(|entry| entry.size(64 << 20..=256 << 40));
    let when_full = cursor.take("when_full").and_then(|entry| entry.choice(WhenFull::WORDS));
    let repeat_window = cursor.take("repeat_window").and_then(|entry| entry.duration(Duration::ZERO..=7 * DAY));
    let audit_retention = cursor.take("audit_retention").and_then(|entry| entry.duration(DAY..=36_600 * DAY));
    let (encryption_key, old_encryption_keys) = match purpose {
        Purpose::Run | Purpose::Unlock => encryption_keys(&mut cursor),
        Purpose::Operate => {
            cursor.skip("encryption_key");
            cursor.skip("old_encryption_keys");
            (None, Vec::new())
        }
    };
    cursor.finish();
    let default = Spool::new(path.unwrap_or_else(|| Spool::PATH.to_owned()));
    Spool {
        retention: retention.unwrap_or(default.retention),
        max_size: max_size.unwrap_or(default.max_size),
        when_full: when_full.unwrap_or(default.when_full),
        repeat_window: repeat_window.unwrap_or(default.repeat_window),
        audit_retention,
        encryption_key,
        old_encryption_keys,
        ..default
    }
}

fn encryption_keys(cursor: &mut Cursor<'_>) -> (Option<EncryptionKey>, Vec<EncryptionKey>) {
    let key = |entry: Entry<'_>| {
        let place = entry.place();
        let key = EncryptionKey::new(&entry.secret()?);
        key.or_else(|| place.fail(EncryptionKey::FORM))
    };
    let current = cursor.take("encryption_key").and_then(key);
    let Some(list) = cursor.take("old_encryption_keys") else { return (current, Vec::new()) };
    let mut old: Vec<EncryptionKey> = Vec::new();
    for entry in list.list("secrets").unwrap_or_default() {
        let place = entry.place();
        if let Some(key) = key(entry) {
            if current.as_ref() == Some(&key) || old.contains(&key) {
                place.fail::<()>("the same key stands before it");
            }
            old.push(key);
        }
    }
    (current, old)
}

fn log(mut cursor: Cursor<'_>, format: LogFormat) -> Log {
    let chosen = cursor.take("format").and_then(|entry| entry.choice(LogFormat::WORDS));
    let level = cursor.take("level").and_then(|entry| entry.levels());
    cursor.finish();
    Log { format: chosen.unwrap_or(format), level: level.unwrap_or(Log::LEVEL) }
}

fn shutdown(mut cursor: Cursor<'_>) -> Duration {
    let grace = cursor.take("grace").and_then(|entry| entry.duration(Duration::ZERO..=10 * MINUTE));
    cursor.finish();
    grace.unwrap_or(Config::GRACE)
}

fn url(entry: Entry<'_>, protocol: Protocol) -> Option<Url> {
    let place = entry.place();
    let text = entry.text()?;
    match address::parse(&text, protocol) {
        Ok(url) => {
            if text.contains('#') {
                place.warn("what stands behind the # of a URL is never sent: take it out, or write %23 for a #");
            }
            Some(url)
        }
        Err(message) => place.fail(message),
    }
}
