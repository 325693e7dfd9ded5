//! The tables. Times are milliseconds since 1970, in UTC.

use std::path::Path;

use rusqlite::Connection;

use super::{explain, meta};
use crate::spool::SpoolError;

/// Format of the tables below; a file with a higher number is refused, one with a lower number is brought to it.
const FORMAT: i64 = 3;
/// The format since which events have a text, and dead letters are counted.
const TEXTS: i64 = 2;
/// The format since which blocks of events are summarised.
const SUMMARIES: i64 = 3;

/// Marks the file as a spool, for `file` and for us: "zmhk".
const APPLICATION_ID: i64 = 0x7a6d_686b;

/// `events` is slim so that listing a million of them reads little; `bodies` holds the payloads.
/// `events.text` is what they are searched by: see [`text`](crate::event::text). It is null where the body is sealed, and
/// where the event was stored before there were texts.
/// `deliveries.state`: 0 fresh, 1 retry, 2 delivered, 3 dead; `due` is 0 for fresh ones.
/// A destination's number is never given again: reports about it may still be on their way when it is forgotten.
/// The open index is what a lane pages by; delivered rows, the great majority, are not in it. That of retries tells the
/// oldest of them, which are kept in the order in which they are due. Those of dead letters hold all that a list, a
/// group or a replay looks at; `dead_causes` counts them, so that nobody has to, whoever writes.
/// `deliveries.outcome` is null until an attempt was made, the first or the first since a replay.
/// `destinations.wants` is the filter of the configuration; `fills` has a row while a new destination is given what
/// was received before it.
/// `bodies.key` names the key of a body that is sealed; a sealed `attempts.excerpt` is a blob, a plain one a text.
/// `audit` is a chain: see [`audit`](super::audit). The triggers keep mistakes out, the hashes tell of what was no mistake.
const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  subscription TEXT NOT NULL,
  request_id TEXT NOT NULL,
  digest BLOB NOT NULL,
  event_ts INTEGER,
  received_at INTEGER NOT NULL,
  size INTEGER NOT NULL,
  parked TEXT,
  text TEXT
);
CREATE INDEX events_parked ON events (id) WHERE parked IS NOT NULL;
CREATE TABLE bodies (event INTEGER PRIMARY KEY, key BLOB, body BLOB NOT NULL);
CREATE INDEX bodies_sealed ON bodies (key) WHERE key IS NOT NULL;
CREATE TABLE repeats (event INTEGER NOT NULL, at INTEGER NOT NULL, subscription TEXT NOT NULL);
CREATE INDEX repeats_event ON repeats (event);
CREATE TABLE deliveries (
  destination INTEGER NOT NULL,
  event INTEGER NOT NULL,
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  due INTEGER NOT NULL,
  since INTEGER NOT NULL,
  settled_at INTEGER,
  outcome TEXT,
  replays INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (destination, event)
) WITHOUT ROWID;
CREATE INDEX deliveries_open ON deliveries (destination, state, due, event) WHERE state < 2;
CREATE INDEX deliveries_dead ON deliveries (event, destination, outcome) WHERE state = 3;
CREATE INDEX deliveries_dead_causes ON deliveries (destination, outcome, event, settled_at) WHERE state = 3;
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  event INTEGER NOT NULL,
  destination INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  at INTEGER NOT NULL,
  elapsed_ms INTEGER NOT NULL,
  cause TEXT NOT NULL,
  excerpt BLOB NOT NULL
);
CREATE INDEX attempts_event ON attempts (event);
CREATE TABLE destinations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  wants TEXT NOT NULL,
  pending INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  delivered INTEGER NOT NULL DEFAULT 0,
  paused_at INTEGER,
  orphaned_at INTEGER,
  breaker_since INTEGER,
  breaker_probe_at INTEGER,
  breaker_probes INTEGER
);
CREATE TABLE fills (
  destination INTEGER PRIMARY KEY,
  since INTEGER,
  after INTEGER NOT NULL,
  until INTEGER NOT NULL,
  filled INTEGER NOT NULL
);
CREATE TABLE subscriptions (
  name TEXT PRIMARY KEY,
  alive_at INTEGER,
  last_event_at INTEGER,
  gaps INTEGER NOT NULL DEFAULT 0,
  gap_ms INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE gaps (
  id INTEGER PRIMARY KEY,
  subscription TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  closed_at INTEGER,
  reason TEXT NOT NULL,
  last_event_at INTEGER,
  acknowledged_at INTEGER,
  acknowledged_by TEXT,
  note TEXT
);
CREATE UNIQUE INDEX gaps_open ON gaps (subscription) WHERE closed_at IS NULL;
CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  who TEXT NOT NULL,
  action TEXT NOT NULL,
  detail TEXT NOT NULL,
  hash BLOB NOT NULL
);
CREATE TABLE audit_anchor (id INTEGER NOT NULL, hash BLOB NOT NULL);
CREATE TABLE audit_tasks (
  begun INTEGER PRIMARY KEY,
  who TEXT NOT NULL,
  action TEXT NOT NULL,
  done TEXT NOT NULL
);
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'rows of the audit table are never changed'); END;
CREATE TRIGGER audit_goes_from_its_front BEFORE DELETE ON audit WHEN old.id > (SELECT id FROM audit_anchor)
BEGIN SELECT raise(ABORT, 'rows of the audit table go from its front, once the anchor says so'); END;
INSERT INTO audit_anchor VALUES (0, zeroblob(32));
INSERT INTO meta VALUES ('last_event', 0), ('events', 0), ('parked', 0);
";

/// What counts and finds at once what is many.
const COUNTS: &str = "
CREATE INDEX deliveries_retries ON deliveries (destination, event) WHERE state = 1;
CREATE INDEX deliveries_dead_times ON deliveries (destination, outcome, settled_at) WHERE state = 3;
CREATE TABLE dead_causes (
  destination INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (destination, outcome)
) WITHOUT ROWID;
";

/// Brings tables of format 1 to format 2: no event is written, and each delivery read once.
const TO_TEXTS: &str = "ALTER TABLE events ADD COLUMN text TEXT;
INSERT INTO dead_causes SELECT destination, outcome, count(*) FROM deliveries WHERE state = 3 GROUP BY 1, 2;
UPDATE meta SET value = 2 WHERE key = 'format';";

/// What a search passes over events by: see [`blocks`](super::blocks).
const BLOCKS: &str = "CREATE TABLE summaries (block INTEGER PRIMARY KEY, facts BLOB NOT NULL, text BLOB NOT NULL);";
/// Brings tables of format 2 to format 3: no row is read. Dead letters were counted by triggers.
const TO_SUMMARIES: &str = "DROP TRIGGER IF EXISTS delivery_comes_dead;
DROP TRIGGER IF EXISTS delivery_dies;
DROP TRIGGER IF EXISTS delivery_lives_again;
DROP TRIGGER IF EXISTS dead_delivery_goes;
UPDATE meta SET value = 3 WHERE key = 'format';";

/// Makes the tables in a new file, brings older ones to this format, and refuses a file that is not ours or too new.
pub(super) fn migrate(connection: &Connection, path: &Path) -> Result<(), SpoolError> {
    if is_empty(connection).map_err(|error| explain(path, error))? {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(COUNTS)?;
        transaction.execute_batch(BLOCKS)?;
        transaction.execute("INSERT INTO meta VALUES ('format', ?1)", [FORMAT])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
    }
    check(connection, path)?;
    if !has_texts(connection)? {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(COUNTS)?;
        transaction.execute_batch(TO_TEXTS)?;
        transaction.commit()?;
    }
    if !has_summaries(connection)? {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(BLOCKS)?;
        transaction.execute_batch(TO_SUMMARIES)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Tells whether events have a text in this file.
pub(super) fn has_texts(connection: &Connection) -> Result<bool, SpoolError> {
    Ok(meta(connection, "format")?.unwrap_or(0) >= TEXTS)
}

/// Tells whether blocks of events are summarised in this file.
pub(super) fn has_summaries(connection: &Connection) -> Result<bool, SpoolError> {
    Ok(meta(connection, "format")?.unwrap_or(0) >= SUMMARIES)
}

/// Refuses a file that is not ours or too new.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), SpoolError> {
    let application: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|error| explain(path, error))?;
    if application != APPLICATION_ID {
        let is_empty = is_empty(connection).map_err(|error| explain(path, error))?;
        let reason = match is_empty {
            true => "it is empty as yet: a bridge that starts on it makes it one".to_owned(),
            false => "it is an SQLite file of another program".to_owned(),
        };
        return Err(SpoolError::NotASpool { path: path.to_owned(), reason });
    }
    let found = meta(connection, "format")?.unwrap_or(0);
    if found > FORMAT {
        return Err(SpoolError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    Ok(())
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).map(|count| count == 0)
}
