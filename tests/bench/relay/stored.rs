//! Spools that hold much before the bridge starts: the bridge stores one event, and SQL makes it many.
//!
//! They are made once and kept below `target`, until the bridge is built anew or they are a day old.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, OpenFlags};

use crate::cases::{Case, Load, Stored};
use crate::process::Problem;
use crate::run::Stage;

const FOLDER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/spools");
/// Older ones hold events that are given up for their age.
const KEPT: Duration = Duration::from_hours(24);
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the path of a case's spool: what it holds is copied into `directory`, unless the case leaves it as it is.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn spool(case: &Case, directory: &Path) -> Result<PathBuf, Problem> {
    let own = directory.join("zoomhook.db");
    let name = match case.stored {
        Stored::Nothing => return Ok(own),
        Stored::Fresh(count) => format!("fresh-{count}.db"),
        Stored::Due(count) => format!("due-{count}.db"),
        Stored::Dead(count) => format!("dead-{count}.db"),
    };
    let kept = Path::new(FOLDER).join(name);
    if !is_current(&kept) {
        make(case, &kept)?;
    }
    if case.load == Load::Nothing {
        return Ok(kept);
    }
    let copied = fs::copy(&kept, &own).and_then(|_| File::open(&own)?.sync_all());
    copied.map_err(|error| format!("{} cannot be copied: {error}", kept.display()))?;
    Ok(own)
}

fn is_current(path: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Some((made, built)) = changed(path).zip(changed(Path::new(env!("CARGO_BIN_EXE_zoomhook")))) else {
        return false;
    };
    made > built && SystemTime::now().duration_since(made).is_ok_and(|age| age < KEPT)
}

fn make(case: &Case, path: &Path) -> Result<(), Problem> {
    eprintln!("  making {}", path.display());
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
    let first = directory.path().join("zoomhook.db");
    store_one(case, directory.path(), &first)?;
    let filled = Connection::open(&first).and_then(|spool| fill(&spool, case.stored));
    filled.map_err(|error| format!("{} cannot be filled: {error}", first.display()))?;
    // Those of an earlier one may be there.
    for beside in ["", "-wal", "-shm", ".lock"] {
        let _ = fs::remove_file(format!("{}{beside}", path.display()));
    }
    fs::create_dir_all(FOLDER)
        .and_then(|()| fs::rename(&first, path))
        // What is still to be written would hold up the syncs of the bridge.
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(|error| error.to_string())
}

/// Lets the bridge store one event, as the first destination of the case would have it, and ends it at once.
fn store_one(case: &Case, directory: &Path, spool: &Path) -> Result<(), Problem> {
    let mut stage = Stage::set(&Case::of_one_event(case.handlers.len()), directory, spool)?;
    for _ in 0..2 {
        stage.zoom.line(PATIENCE)?;
        stage.zoom.go_on()?;
    }
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let opened = Connection::open_with_flags(spool, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let count = opened.and_then(|spool| spool.query_row("SELECT count(*) FROM deliveries", [], |row| row.get(0)));
        if count.is_ok_and(|count: usize| count == case.handlers.len()) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("the bridge stored nothing".to_owned())
}

/// Makes many of the one event, each with a body of its own, and leaves them to the first destination.
fn fill(spool: &Connection, stored: Stored) -> rusqlite::Result<()> {
    let count = stored.count();
    let numbers = format!("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {})", count - 1);
    spool.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         PRAGMA cache_size = -100000; BEGIN",
    )?;
    let (pending, dead, state) = match stored {
        Stored::Nothing | Stored::Fresh(_) => (count, 0, "state = 0"),
        Stored::Due(_) => (count, 0, "state = 1, attempts = 1, due = since, outcome = 'status 503'"),
        Stored::Dead(_) => (0, count, "state = 3, attempts = 9, settled_at = since, outcome = 'status 404'"),
    };
    let outcome = match stored {
        Stored::Dead(_) => "'status ' || (404 + n % 3)",
        Stored::Nothing | Stored::Fresh(_) | Stored::Due(_) => "outcome",
    };
    spool.execute_batch(&format!("DELETE FROM deliveries WHERE destination > 1; UPDATE deliveries SET {state}"))?;
    let body = "CAST(replace(CAST(body AS TEXT), '\"id\":\"0000000000\"', printf('\"id\":\"%010d\"', n)) AS BLOB)";
    let request_id = "printf('%08x_0000_4000_8000_%012x', n, n)";
    for (table, key, changed) in [
        ("events", "id", &[("request_id", request_id), ("digest", "randomblob(32)")][..]),
        ("bodies", "event", &[("body", body)]),
        ("deliveries", "event", &[("outcome", outcome)]),
    ] {
        let columns = columns(spool, table)?;
        let value = |column: &String| match changed.iter().find(|(name, _)| name == column) {
            _ if column == key => "n + 1".to_owned(),
            Some((_, value)) => (*value).to_owned(),
            None => column.clone(),
        };
        let values: Vec<String> = columns.iter().map(value).collect();
        spool.execute_batch(&format!(
            "{numbers} INSERT INTO {table} ({}) SELECT {} FROM n, (SELECT * FROM {table} WHERE {key} = 1)",
            columns.join(", "),
            values.join(", ")
        ))?;
    }
    spool.execute_batch(&format!(
        "UPDATE meta SET value = {count} WHERE key IN ('last_event', 'events');
         UPDATE destinations SET pending = 0;
         UPDATE destinations SET pending = {pending}, dead = {dead} WHERE id = 1;
         INSERT INTO dead_causes SELECT destination, outcome, count(*) FROM deliveries WHERE state = 3 GROUP BY 1, 2;
         COMMIT; PRAGMA journal_mode = WAL"
    ))
}

fn columns(spool: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    spool.prepare("SELECT name FROM pragma_table_info(?1)")?.query_map([table], |row| row.get(0))?.collect()
}
