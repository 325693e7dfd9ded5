//! The spool of a million events, made by a bridge and filled behind its back.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rusqlite::{Connection, OpenFlags, Statement, params};
use zoomhook::event::text::summary::{Summary, block_of};
use zoomhook::event::text::{self, Facts};

use crate::bridge::Bridge;

/// The destinations: `crm` and `bi` want everything, `audit` wants meetings.
pub(crate) const DESTINATIONS: [&str; 3] = ["crm", "audit", "bi"];

const MILLION: i64 = 1_000_000;
/// Gaps, and rows of the audit table.
const ENTRIES: i64 = 50_000;
/// Milliseconds between two events: a million in three days.
const PACE: i64 = 259;
/// What is made anew when it changes: the contents of the spool.
const EDITION: &str = "2";
/// The first is the first event's alone.
const TYPES: [&str; 8] = [
    "first.of.all",
    "meeting.started",
    "meeting.participant_joined",
    "meeting.participant_left",
    "meeting.ended",
    "recording.completed",
    "phone.callee_ringing",
    "user.updated",
];
const CAUSES: [&str; 4] =
    ["status 404", "timeout after 12 attempts in 72 h", "status 503 after 12 attempts", "expired"];

/// Returns the spool; makes it where there is none, which takes some seconds.
pub(crate) fn million() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lists");
    let (path, mark) = (directory.join("zoomhook.db"), directory.join("edition"));
    if std::fs::read_to_string(&mark).is_ok_and(|edition| edition == EDITION) {
        return path;
    }
    eprintln!("making a million events in {}", directory.display());
    // What is there may be half of one.
    let _ = std::fs::remove_dir_all(&directory);
    let bridge = Bridge::on(&path);
    while !is_ready(&path) {
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(bridge);
    fill(&path).expect("the tables");
    std::fs::write(&mark, EDITION).expect("written");
    path
}

/// Tells whether the bridge has told its spool of the destinations.
fn is_ready(path: &Path) -> bool {
    let spool = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a file");
    let count = spool.query_row("SELECT count(*) FROM destinations", [], |row| row.get::<_, usize>(0));
    count.is_ok_and(|count| count == DESTINATIONS.len())
}

fn fill(path: &Path) -> rusqlite::Result<()> {
    let mut spool = Connection::open(path)?;
    spool.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970").as_millis();
    let began = i64::try_from(now).expect("earlier than the year 292 million") - MILLION * PACE;
    let transaction = spool.transaction()?;
    {
        let mut event = transaction.prepare(
            "INSERT INTO events (id, kind, subscription, request_id, digest, event_ts, received_at, size, parked, text)
             VALUES (?1, ?2, 'main', ?3, randomblob(32), ?4, ?4, ?5, ?6, ?7)",
        )?;
        let mut body = transaction.prepare("INSERT INTO bodies (event, body) VALUES (?1, ?2)")?;
        let mut delivery = transaction.prepare(
            "INSERT INTO deliveries (destination, event, state, attempts, due, since, settled_at, outcome)
             SELECT id, ?2, ?3, 1, ?4, ?5, ?5, ?6 FROM destinations WHERE name = ?1",
        )?;
        let mut summary_of_block =
            transaction.prepare("INSERT INTO summaries (block, facts, text) VALUES (?1, ?2, ?3)")?;
        let mut summary = Summary::default();
        for id in 1..=MILLION {
            let at = began + id * PACE;
            let kind = kind(id);
            let text_of_body = payload(id, kind);
            let parked = (id % 1000 == 999 || id == 2).then_some("content is not json");
            let request_id = format!("{:08x}_0000_4000_8000_{id:012x}", id * 2_654_435_761 % 0xffff_ffff);
            let text = text::of(text_of_body.as_bytes());
            event.execute(params![id, kind, request_id, at, text_of_body.len(), parked, text])?;
            body.execute(params![id, text_of_body.as_bytes()])?;
            let number = id.unsigned_abs();
            summary.add(Facts { id: number, kind, request_id: &request_id }, &text);
            if block_of(number) != block_of(number + 1) {
                summary_of_block.execute(params![block_of(number), summary.facts(), summary.text()])?;
                summary = Summary::default();
            }
            if parked.is_none() {
                deliveries(&mut delivery, id, kind, at)?;
            }
        }
    }
    transaction.execute_batch(&format!(
        "UPDATE meta SET value = {MILLION} WHERE key IN ('last_event', 'events');
         UPDATE meta SET value = (SELECT count(*) FROM events WHERE parked IS NOT NULL) WHERE key = 'parked';
         UPDATE destinations SET paused_at = {began},
           pending = (SELECT count(*) FROM deliveries d WHERE d.destination = id AND d.state < 2),
           dead = (SELECT count(*) FROM deliveries d WHERE d.destination = id AND d.state = 3);
         INSERT INTO dead_causes SELECT destination, outcome, count(*) FROM deliveries WHERE state = 3 GROUP BY 1, 2;
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ENTRIES})
           INSERT INTO gaps (subscription, opened_at, closed_at, reason)
             SELECT 'main', {began} + n * 5000, {began} + n * 5000 + 900, 'connection lost' FROM n;
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ENTRIES})
           INSERT INTO audit (at, who, action, detail, hash)
             SELECT {began} + n * 5000, 'operator', 'pause', 'destination crm', randomblob(32) FROM n;"
    ))?;
    transaction.commit()
}

fn kind(id: i64) -> &'static str {
    if id == 1 { TYPES[0] } else { TYPES[1 + usize::try_from(id * 7 % 11).expect("small") % 7] }
}

/// Names what an event names: one of 50,000 meetings of 500 hosts, and a participant who never comes again.
fn payload(id: i64, kind: &str) -> String {
    let topic = if id == 1 { "Grundsteinlegung".to_owned() } else { format!("Wöchentliche Sitzung {}", id % 2000) };
    let meeting = random(id.unsigned_abs()) % 50_000;
    let number = 80_000_000_000 + random(meeting) % 10_000_000_000;
    let uuid = STANDARD.encode(bytes(id.unsigned_abs() << 1));
    let host = URL_SAFE_NO_PAD.encode(bytes(meeting % 500));
    let user = 16_778_240 + id % 1_000_000;
    let participant = u128::from_be_bytes(bytes((id.unsigned_abs() << 1) | 1));
    format!(
        r#"{{"event":"{kind}","payload":{{"account_id":"acme","object":{{"id":"{number}","uuid":"{uuid}","host_id":"{host}","topic":"{topic}","participant":{{"user_id":"{user}","participant_uuid":"{participant:032X}"}}}}}}}}"#
    )
}

/// Returns a number without a pattern: the same for the same seed.
fn random(seed: u64) -> u64 {
    let mixed = (seed.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn bytes(seed: u64) -> [u8; 16] {
    ((u128::from(random(seed)) << 64) | u128::from(random(!seed))).to_be_bytes()
}

/// 20 000 dead letters of `crm`, the first event's among them; 1 000 events that `audit` waits for; for `bi` 100 000 dead
/// letters of one bad day and 100 000 retries; all others delivered.
fn deliveries(delivery: &mut Statement<'_>, id: i64, kind: &str, at: i64) -> rusqlite::Result<()> {
    let cause = CAUSES[usize::try_from(id / 50 % 4).expect("small")];
    let (delivered, dead) = ((2, 0, "status 200"), (3, 0, cause));
    let crm = if id % 50 == 7 || id == 1 { dead } else { delivered };
    let bi = match id {
        200_000..300_000 => dead,
        id if id % 10 == 0 => (1, at + 7_200_000 + id % 977, "status 503"),
        _ => delivered,
    };
    let mut insert = |name: &str, (state, due, outcome): (i64, i64, &str)| {
        delivery.execute(params![name, id, state, due, at, outcome]).map(drop)
    };
    insert("crm", crm)?;
    if kind.starts_with("meeting.") {
        insert("audit", if id > MILLION - 1800 { (0, 0, "") } else { delivered })?;
    }
    insert("bi", bi)
}
