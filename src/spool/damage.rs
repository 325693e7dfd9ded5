//! Spools whose files are damaged, for the fuzzer: what was durable before the damage is there, or the damage is told.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use super::record::EventQuery;
use super::sqlite::Sqlite;
use super::store::{Batch, NewEvent, Store as _};
use super::writer::Destined;
use crate::config::Start;
use crate::config::filter::EventFilter;
use crate::event::{Digest, Event, EventId, RequestId};

/// Events that the spool holds, one from each commit.
const EVENTS: u64 = 6;

/// Is a spool that was left without a clean end.
struct Whole {
    file: Vec<u8>,
    log: Vec<u8>,
    /// How long the log was after each commit.
    ends: Vec<usize>,
}

/// Damages a spool as the bytes say, and opens it in this empty directory.
///
/// The first byte says what is damaged and the next two where; the rest takes the place of what was there.
pub(crate) fn open_damaged(bytes: &[u8], directory: &Path) {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    let path = directory.join("spool.db");
    let whole = WHOLE.get_or_init(|| make(&path));
    let [what, high, low, rest @ ..] = bytes else { return };
    let at = usize::from(u16::from_be_bytes([*high, *low]));
    let (mut file, mut log, mut durable) = (whole.file.clone(), whole.log.clone(), 0);
    match what % 3 {
        // A log that was cut in the midst of a write, with anything behind.
        0 => {
            log.truncate(at * 4);
            durable = whole.ends.iter().filter(|end| **end <= log.len()).count();
            log.extend(rest);
        }
        1 => log = rest.to_vec(),
        _ => {
            let at = at.min(file.len());
            file.splice(at..(at + rest.len()).min(file.len()), rest.iter().copied());
        }
    }
    fs::write(&path, file).expect("written");
    fs::write(directory.join("spool.db-wal"), log).expect("written");
    let ids = read(&path);
    if what % 3 == 0 {
        let ids = ids.expect("a log that was cut is no damage");
        assert!(ids.len() >= durable, "{} of {durable} durable events are there", ids.len());
        assert!(ids.iter().copied().eq(1..=ids.len() as u64), "events are missing among {ids:?}");
        assert!(ids.len() as u64 <= EVENTS, "events came from nowhere: {ids:?}");
    }
}

/// Returns the numbers of the events, each with its body; `None` where the damage was noticed.
fn read(path: &Path) -> Option<Vec<u64>> {
    let mut store = Sqlite::open(path, Arc::default()).ok()?;
    let mut view = super::open_view(path).ok()?;
    let query = EventQuery { limit: 100, ..EventQuery::default() };
    let mut ids: Vec<u64> = view.events(&query).ok()?.iter().map(|row| row.id.0).collect();
    ids.reverse();
    for id in &ids {
        view.event(EventId(*id)).ok()??;
    }
    let last = store.last_event().ok()?;
    store.commit(&batch(last.0.saturating_add(1).min(i64::MAX as u64))).ok()?;
    Some(ids)
}

fn make(path: &Path) -> Whole {
    let mut store = Sqlite::open(path, Arc::default()).expect("a new spool");
    let log = path.with_extension("db-wal");
    let destined = Destined { name: "crm".into(), filter: EventFilter::all(), start: Start::Now };
    store.register(&[destined]).expect("written");
    let mut ends = Vec::new();
    for id in 1..=EVENTS {
        store.commit(&batch(id)).expect("written");
        ends.push(fs::read(&log).expect("a log").len());
    }
    let whole = Whole { file: fs::read(path).expect("a file"), log: fs::read(&log).expect("a log"), ends };
    drop(store);
    whole
}

pub(super) fn batch(id: u64) -> Batch {
    let body = Bytes::from(format!("{{\"n\":{id}}}"));
    let event = Event {
        id: EventId(id),
        request_id: RequestId::new(Uuid::from_u128(id.into())),
        subscription: "main".into(),
        kind: "e".into(),
        event_ts: None,
        received_at: Timestamp::UNIX_EPOCH,
        body: body.clone(),
        unreadable: None,
    };
    let destinations = Arc::from([super::record::DestinationId(1)]);
    let new = NewEvent { event: Arc::new(event), digest: Digest::of(&body), parked: None, destinations };
    Batch { events: vec![new], ..Batch::default() }
}
