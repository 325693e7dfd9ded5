//! A new file of what can be read of a damaged one, which stays beside it.
//!
//! Each table is read in the order of its keys; where that fails, it goes on with the first row behind that can be read.
//! Deliveries that wait, and dead letters, stand in indices, too: those that their table does not give are taken from
//! there. An event that is lost itself is made anew from its body, if somebody waits for it or has it as a dead letter;
//! without a body its delivery comes to a dead letter, and is told. What is counted is counted anew.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params, params_from_iter};
use serde::Deserialize;

use super::behind::behind;
use super::file::{beside, connect, explain, lock, private_file, set_up, spare};
use super::{WRITER_CACHE_KIB, audit, schema};
use crate::clock::Clock;
use crate::event::{Digest, text};
use crate::spool::SpoolError;
use crate::spool::recovery::Recovered;
use crate::wording::counted;

/// Page cache of the new file, in KiB: rows go to many places of its indices.
const CACHE_KIB: i32 = 64 << 10;

/// Tables whose rows have a number, and the column that is it.
const NUMBERED: [(&str, &str); 11] = [
    ("events", "id"),
    ("bodies", "event"),
    ("repeats", "rowid"),
    ("attempts", "id"),
    ("destinations", "id"),
    ("fills", "destination"),
    ("gaps", "id"),
    ("audit", "id"),
    ("audit_anchor", "rowid"),
    ("audit_tasks", "begun"),
    ("summaries", "block"),
];

/// What the index of waiting deliveries knows of one, and what that of dead letters does.
const INDEXED: [(&str, &str); 2] = [
    (
        "SELECT destination, event, state, due, NULL, NULL FROM deliveries INDEXED BY deliveries_open WHERE state < 2",
        "waiting",
    ),
    (
        "SELECT destination, event, 3, 0, settled_at, outcome FROM deliveries INDEXED BY deliveries_dead_causes
         WHERE state = 3",
        "dead",
    ),
];

/// Finds events that are lost and needed, since when, and what is left of them.
const LOST: &str = "
SELECT d.event, min(d.since), b.key, b.body FROM deliveries d LEFT JOIN bodies b ON b.event = d.event
  WHERE d.state <> 2 AND NOT EXISTS (SELECT 1 FROM events WHERE id = d.event) GROUP BY d.event";
/// Which subscription it came through is not known; most spools have one.
const ANEW: &str = "
INSERT INTO events (id, kind, subscription, request_id, digest, event_ts, received_at, size, text)
  VALUES (?1, ?2, coalesce((SELECT min(name) FROM subscriptions), ''), ?3, ?4, ?5, ?6, ?7, ?8)";
/// Takes what is left of events that nobody needs, and counts the rest.
const COUNT: &str = "
DELETE FROM deliveries WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = deliveries.event);
DELETE FROM attempts WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = attempts.event);
DELETE FROM repeats WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = repeats.event);
DELETE FROM bodies WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = bodies.event);
INSERT INTO dead_causes SELECT destination, outcome, count(*) FROM deliveries WHERE state = 3 GROUP BY 1, 2;
UPDATE destinations SET
  pending = (SELECT count(*) FROM deliveries WHERE destination = destinations.id AND state < 2),
  dead = (SELECT count(*) FROM deliveries WHERE destination = destinations.id AND state = 3);
UPDATE meta SET value = (SELECT count(*) FROM events) WHERE key = 'events';
UPDATE meta SET value = (SELECT count(*) FROM events WHERE parked IS NOT NULL) WHERE key = 'parked';
UPDATE meta SET value = max(value, (SELECT coalesce(max(id), 0) FROM events)) WHERE key = 'last_event';";

/// Is what a body says of itself.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    event: Option<String>,
    event_ts: Option<i64>,
}

/// Makes a new file of what can be read, and puts it in the place of the damaged one, which is kept beside it.
pub(in crate::spool) fn recover(path: &Path, who: &str, clock: &Clock) -> Result<Recovered, SpoolError> {
    let failed = |source| SpoolError::Open { path: path.to_owned(), source };
    // A link stays one: its file is replaced.
    let path = &path.canonicalize().map_err(failed)?;
    let _lock = lock(path)?;
    let old = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_CACHE_KIB)?;
    // What is in its log stays there: nothing of the damaged file is touched.
    old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if let Err(error) = schema::check(&old, path)
        && !error.is_damage()
    {
        return Err(error);
    }
    // Where nothing says which tables there are, none can be read.
    old.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(|error| explain(path, error))?;
    let new_path = beside(path, ".recovered");
    remove(&new_path).map_err(failed)?;
    let made = make(&old, &new_path, who, clock);
    drop(old);
    let mut recovered = match made {
        Ok(recovered) => recovered,
        Err(error) => {
            // Its room may be what was missing.
            let _ = remove(&new_path);
            return Err(error);
        }
    };
    recovered.kept = put_in_place(path, &new_path, clock.now()).map_err(failed)?;
    Ok(recovered)
}

fn make(old: &Connection, path: &Path, who: &str, clock: &Clock) -> Result<Recovered, SpoolError> {
    let now = clock.now();
    let failed = |source| SpoolError::Open { path: path.to_owned(), source };
    private_file(path)?;
    let new = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, CACHE_KIB)?;
    set_up(&new)?;
    schema::migrate(&new, path)?;
    // A file that is not whole is thrown away: nothing has to be taken back, and it is synced once, at its end.
    new.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    new.pragma_update(None, "synchronous", "OFF")?;
    let transaction = new.unchecked_transaction()?;
    let mut recovered = copy(old, &transaction, now)?;
    recovered.made_anew = make_events(&transaction, clock)?;
    transaction.execute_batch(COUNT)?;
    let count = |sql: &str| transaction.query_row(sql, [], |row| row.get(0));
    recovered.events = count("SELECT count(*) FROM events")?;
    recovered.without_body =
        count("SELECT count(*) FROM events e WHERE NOT EXISTS (SELECT 1 FROM bodies WHERE event = e.id)")?;
    recovered.waiting = count("SELECT coalesce(sum(pending), 0) FROM destinations")?;
    audit::append(&transaction, now, who, "recover", &recovered.to_string())?;
    transaction.commit()?;
    new.pragma_update(None, "synchronous", "FULL")?;
    new.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    new.close().map_err(|(_, error)| error)?;
    File::open(path).and_then(|file| file.sync_all()).map_err(failed)?;
    Ok(recovered)
}

/// Makes those events anew that are lost and needed; returns how many.
fn make_events(new: &Connection, clock: &Clock) -> Result<u64, SpoolError> {
    let mut write = new.prepare_cached(ANEW)?;
    let mut statement = new.prepare_cached(LOST)?;
    let mut rows = statement.query([])?;
    let mut made = 0;
    while let Some(row) = rows.next()? {
        let (id, since, sealed): (u64, i64, Option<Vec<u8>>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let body = row.get::<_, Option<Vec<u8>>>(3)?.unwrap_or_default();
        // Of a sealed body nothing is known here; nor does it open without its digest.
        let plain = if sealed.is_none() { &body[..] } else { &[] };
        let Named { event, event_ts } = serde_json::from_slice(plain).unwrap_or_default();
        let text = sealed.is_none().then(|| text::of(plain));
        let (request, digest) = (clock.request_id().to_string(), Digest::of(plain));
        write.execute(params![id, event.unwrap_or_default(), request, digest.0, event_ts, since, body.len(), text])?;
        made += 1;
    }
    Ok(made)
}

/// Copies what can be read of every table.
fn copy(old: &Connection, new: &Connection, now: Timestamp) -> Result<Recovered, SpoolError> {
    let mut recovered = Recovered::default();
    let mut damaged = |table: &str, places: u64| {
        if places > 0 {
            recovered.damaged.push(format!("{table} in {}", counted(places, "place")).into());
        }
    };
    new.execute_batch("DELETE FROM audit_anchor")?;
    for (table, key) in NUMBERED {
        damaged(table, copy_table(old, new, table, (key, ""))?);
    }
    let destinations: Vec<i64> =
        new.prepare("SELECT id FROM destinations")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut places = 0;
    for destination in destinations {
        places += copy_table(old, new, "deliveries", ("event", &format!("destination = {destination} AND")))?;
    }
    damaged("deliveries", places);
    for (sql, what) in INDEXED {
        damaged(&format!("the index of {what} deliveries"), copy_indexed(old, new, sql, now)?);
    }
    for table in ["meta", "subscriptions"] {
        damaged(table, copy_named(old, new, table)?);
    }
    // No number of a destination is given again, though the one that had it is forgotten.
    let given: rusqlite::Result<i64> =
        old.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'destinations'", [], |row| row.get(0));
    if let Ok(given) = given {
        new.execute("DELETE FROM sqlite_sequence WHERE name = 'destinations'", [])?;
        new.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('destinations', ?1)", [given])?;
    }
    Ok(recovered)
}

/// Copies the rows of a table in the order of a key that is a number; returns in how many places there was damage.
fn copy_table(old: &Connection, new: &Connection, table: &str, (key, within): (&str, &str)) -> Result<u64, SpoolError> {
    let Some(columns) = columns(old, table)? else { return Ok(0) };
    let next = |from: u64| -> Result<Option<u64>, SpoolError> {
        let sql = format!("SELECT {key} FROM {table} WHERE {within} {key} >= ?1 ORDER BY {key} LIMIT 1");
        Ok(old.prepare_cached(&sql)?.query_row([from], |row| row.get(0)).optional()?)
    };
    let (mut from, mut places) = (0_u64, 0);
    loop {
        let sql = format!("SELECT {key}, {columns} FROM {table} WHERE {within} {key} >= ?1 ORDER BY {key}");
        let mut last = from.checked_sub(1);
        let copied = copy_rows(old, new, &sql, from, &insert(table, &columns), |key| last = Some(key));
        match copied {
            Ok(()) => return Ok(places),
            Err(error) if error.is_damage() || error.is_unread() => places += 1,
            Err(error) => return Err(error),
        }
        match behind(last.map_or(0, |last| last + 1), next) {
            Ok(Some(passed)) => from = passed + 1,
            Ok(None) => return Ok(places),
            // Nothing behind it can be read.
            Err(error) if error.is_damage() || error.is_unread() => return Ok(places),
            Err(error) => return Err(error),
        }
    }
}

/// Copies rows whose first column is their key, and tells the key of each.
fn copy_rows(
    old: &Connection,
    new: &Connection,
    select: &str,
    from: u64,
    insert: &str,
    mut copied: impl FnMut(u64),
) -> Result<(), SpoolError> {
    let mut write = new.prepare_cached(insert)?;
    let mut statement = old.prepare_cached(select)?;
    let columns = statement.column_count();
    let mut rows = statement.query([from])?;
    while let Some(row) = rows.next()? {
        let values = (1..columns).map(|column| row.get::<_, Value>(column)).collect::<Result<Vec<_>, _>>()?;
        write.execute(params_from_iter(values))?;
        copied(row.get(0)?);
    }
    Ok(())
}

/// Adds the deliveries that an index knows and the table does not; returns whether there was damage, as a number.
fn copy_indexed(old: &Connection, new: &Connection, sql: &str, now: Timestamp) -> Result<u64, SpoolError> {
    let mut write = new.prepare_cached(
        "INSERT OR IGNORE INTO deliveries (destination, event, state, attempts, due, since, settled_at, outcome)
         SELECT ?1, ?2, ?3, 0, ?4, coalesce((SELECT received_at FROM events WHERE id = ?2), ?5, ?7), ?5, ?6
         WHERE EXISTS (SELECT 1 FROM destinations WHERE id = ?1)",
    )?;
    let mut statement = old.prepare_cached(sql)?;
    let mut read = || -> Result<(), SpoolError> {
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let values = (0..6).map(|column| row.get::<_, Value>(column)).collect::<Result<Vec<_>, _>>()?;
            write.execute(params_from_iter(values.into_iter().chain([now.as_millisecond().into()])))?;
        }
        Ok(())
    };
    is_damaged(read())
}

/// Copies rows whose key is a name, up to the first that cannot be read; returns whether there is one, as a number.
fn copy_named(old: &Connection, new: &Connection, table: &str) -> Result<u64, SpoolError> {
    let Some(columns) = columns(old, table)? else { return Ok(0) };
    // The format is that of the new file.
    let select = match table {
        "meta" => format!("SELECT 0, {columns} FROM meta WHERE key <> 'format' AND ?1 = 0"),
        _ => format!("SELECT 0, {columns} FROM {table} WHERE ?1 = 0"),
    };
    is_damaged(copy_rows(old, new, &select, 0, &insert(table, &columns), |_| ()))
}

fn is_damaged(read: Result<(), SpoolError>) -> Result<u64, SpoolError> {
    match read {
        Ok(()) => Ok(0),
        Err(error) if error.is_damage() || error.is_unread() => Ok(1),
        Err(error) => Err(error),
    }
}

/// Names the columns that a table has in the old file; `None` where it has no such table.
fn columns(old: &Connection, table: &str) -> Result<Option<String>, SpoolError> {
    let names: Vec<String> = old
        .prepare_cached("SELECT name FROM pragma_table_info(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok((!names.is_empty()).then(|| names.join(", ")))
}

/// Rows that are there already, and values that cannot be, are left out; what the new file began with is replaced.
fn insert(table: &str, columns: &str) -> String {
    let verb = if table == "meta" { "REPLACE" } else { "IGNORE" };
    let places = vec!["?"; columns.split(", ").count()].join(", ");
    format!("INSERT OR {verb} INTO {table} ({columns}) VALUES ({places})")
}

/// Gives the new file the name of the old one, which is kept with its log under another; returns that name.
fn put_in_place(path: &Path, new: &Path, now: Timestamp) -> std::io::Result<PathBuf> {
    let kept = spare(&beside(path, &format!(".damaged-{}", now.strftime("%Y%m%dT%H%M%SZ"))));
    std::fs::rename(path, &kept)?;
    let log = beside(path, "-wal");
    if log.exists() {
        std::fs::rename(&log, beside(&kept, "-wal"))?;
    }
    // It belongs to no file any more; the engine makes it anew.
    let _ = std::fs::remove_file(beside(path, "-shm"));
    std::fs::rename(new, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(kept)
}

fn remove(path: &Path) -> std::io::Result<()> {
    for end in ["", "-wal", "-shm"] {
        match std::fs::remove_file(beside(path, end)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
