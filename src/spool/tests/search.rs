//! What events are found by, in files of every kind.

use super::*;
use crate::config::encryption::EncryptionKey;
use crate::config::secret::Secret;
use crate::event::text::summary::BLOCK;
use crate::spool::record::{Text, Within};
use crate::spool::rekey::rekey_at_rest;

const BODY: &str = r#"{"payload":{"object":{"topic":"Kieferorthopädie","id":"86084701483"}}}"#;
/// The topic as it would stand in the column.
const CANARY: &[u8] = b"kieferorthopadie";

/// The table as it was in format 1.
const FORMAT_1: &str = "
DROP TABLE events;
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  subscription TEXT NOT NULL,
  request_id TEXT NOT NULL,
  digest BLOB NOT NULL,
  event_ts INTEGER,
  received_at INTEGER NOT NULL,
  size INTEGER NOT NULL,
  parked TEXT
);
CREATE INDEX events_parked ON events (id) WHERE parked IS NOT NULL;
DROP INDEX deliveries_retries;
DROP INDEX deliveries_dead_times;
DROP TABLE dead_causes;
DROP TABLE summaries;
INSERT INTO destinations (id, name, wants) VALUES (1, 'crm', '*');
INSERT INTO deliveries (destination, event, state, attempts, due, since, settled_at, outcome)
  VALUES (1, 1, 3, 1, 0, 0, 0, 'status 404');
UPDATE meta SET value = 1 WHERE key IN ('format', 'last_event', 'events');
INSERT INTO events VALUES (1, 'meeting.started', 'main', '00000000_0000_4000_8000_000000000001', zeroblob(32), NULL,
  unixepoch() * 1000, 2, NULL);
";

#[tokio::test]
async fn event_is_found_by_its_topic_until_that_is_encrypted_and_again_when_it_is_not() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    running.append("meeting.started", BODY).await;
    running.stop().await;
    let request_id = bench.event(1).request_id.to_string();
    assert_eq!(bench.found("KIEFERORTHOPADIE 1483"), [1]);
    assert!(bench.found("zahn").is_empty());
    assert!(bench.holds_topic());

    let key = EncryptionKey::new(&Secret::new("07".repeat(31) + "aa")).expect("a key");
    let sealed = config::Spool { encryption_key: Some(key.clone()), ..bench.settings() };
    rekey_at_rest(&sealed, "test", Timestamp::now()).expect("at rest");
    assert!(!bench.holds_topic(), "the column goes with the body");
    let (spool, writer) = Spool::open(&sealed, Clock::system(), Arc::default()).expect("opens");
    let running = Bench::run(spool, writer);
    running.append("meeting.ended", BODY).await;
    running.stop().await;
    assert!(!bench.holds_topic());
    assert!(bench.found("kieferorthopädie").is_empty());
    assert_eq!(bench.found("meeting"), [2, 1], "what stands in clear is searched");
    assert_eq!(bench.found(&request_id), [1]);

    let plain = config::Spool { old_encryption_keys: vec![key], ..bench.settings() };
    rekey_at_rest(&plain, "test", Timestamp::now()).expect("at rest");
    assert_eq!(bench.found("kieferorthopädie"), [2, 1]);
}

#[tokio::test]
async fn spool_of_the_first_format_is_read_as_it_is_and_brought_to_this_one_when_it_is_opened() {
    let bench = Bench::new();
    drop(bench.open().expect("a new spool"));
    let connection = rusqlite::Connection::open(bench.path()).expect("opens");
    connection.execute_batch(FORMAT_1).expect("tables");
    connection.execute("INSERT INTO bodies (event, body) VALUES (1, ?1)", [BODY.as_bytes()]).expect("a body");
    assert_eq!(bench.found("started"), [1], "nobody has to open it for writing first");
    assert!(bench.found("kieferorthopädie").is_empty());
    let groups = || open_view(bench.path()).expect("a spool").dead_groups(&DeadQuery::default()).expect("readable");
    assert_eq!(groups().iter().map(|group| group.count).collect::<Vec<_>>(), [1], "one by one");

    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    running.append("meeting.ended", &BODY.replace("1483", "1484")).await;
    running.stop().await;
    assert_eq!(bench.ids(), [2, 1]);
    assert_eq!(groups().iter().map(|group| group.count).collect::<Vec<_>>(), [1], "those of before are counted");
    assert_eq!(bench.found("kieferorthopädie"), [2], "what was there before has no text");
    let format = "SELECT value FROM meta WHERE key = 'format'";
    assert_eq!(connection.query_row(format, [], |row| row.get::<_, i64>(0)), Ok(3));

    let rekeyed = rekey_at_rest(&bench.settings(), "test", Timestamp::now()).expect("at rest");
    assert_eq!(rekeyed.rewritten, 1);
    assert_eq!(bench.found("kieferorthopädie"), [2, 1]);
    assert_eq!(rekey_at_rest(&bench.settings(), "test", Timestamp::now()).expect("at rest").rewritten, 0);
}

#[tokio::test]
async fn who_may_not_see_payloads_does_not_find_by_them() {
    let bench = Bench::new();
    let running = bench.start();
    running.append("meeting.started", BODY).await;
    running.stop().await;
    assert!(bench.found_within("kieferorthopädie", Within::Row).is_empty());
    assert_eq!(bench.found_within("started", Within::Row), [1]);
}

#[tokio::test]
async fn block_of_events_has_a_summary_as_long_as_that_tells_of_nothing_else() {
    let mut bench = Bench::new();
    bench.fill(2 * BLOCK + 9).await;
    let request_id = bench.event(300).request_id.to_string();
    assert_eq!(bench.summaries("text <> zeroblob(7000)"), [0, 1], "the third block is not full");
    assert_eq!(bench.found("kieferorthopädie 300"), [300]);
    assert!(bench.found("zahnarzt").is_empty());

    let key = EncryptionKey::new(&Secret::new("07".repeat(31) + "aa")).expect("a key");
    let sealed = config::Spool { encryption_key: Some(key.clone()), ..bench.settings() };
    rekey_at_rest(&sealed, "test", Timestamp::now()).expect("at rest");
    assert_eq!(bench.summaries("text = zeroblob(7000)"), [0, 1], "what a topic could be guessed by goes with it");
    assert!(bench.found("kieferorthopädie").is_empty());
    assert_eq!(bench.found(&request_id), [300]);
    assert_eq!(bench.found("meeting").len(), 100);

    let plain = config::Spool { old_encryption_keys: vec![key], ..bench.settings() };
    rekey_at_rest(&plain, "test", Timestamp::now()).expect("at rest");
    assert_eq!(bench.summaries("text <> zeroblob(7000)"), [0, 1]);
    assert_eq!(bench.found("kieferorthopädie 300"), [300]);

    bench.retention = Duration::ZERO;
    let running = bench.start();
    running.route(&[("late", "*")]).await;
    running.append("meeting.started", "{}").await;
    bench.until(|| bench.ids() == [2 * BLOCK + 10]).await;
    running.stop().await;
    assert_eq!(bench.summaries("true"), [0; 0], "nothing is left of what was purged");
}

#[tokio::test]
async fn spool_of_the_second_format_is_searched_event_by_event_until_it_is_rekeyed() {
    let bench = Bench::new();
    bench.fill(BLOCK).await;
    let connection = rusqlite::Connection::open(bench.path()).expect("opens");
    connection
        .execute_batch(
            "DROP TABLE summaries; UPDATE meta SET value = 2 WHERE key = 'format';
             CREATE TRIGGER delivery_dies AFTER UPDATE OF state ON deliveries WHEN old.state <> 3 AND new.state = 3
             BEGIN INSERT INTO dead_causes VALUES (new.destination, new.outcome, 1); END;",
        )
        .expect("as it was in format 2");
    assert_eq!(bench.found("kieferorthopädie 200"), [200], "nobody has to open it for writing first");
    drop(bench.open().expect("brought to this format"));
    let triggers = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'deliveries'";
    assert_eq!(connection.query_row(triggers, [], |row| row.get(0)), Ok(0), "dead letters are not counted twice");
    assert_eq!((bench.summaries("true"), bench.found("kieferorthopädie 200")), (vec![], vec![200]));
    rekey_at_rest(&bench.settings(), "test", Timestamp::now()).expect("at rest");
    assert_eq!((bench.summaries("true"), bench.found("kieferorthopädie 200")), (vec![0], vec![200]));
}

#[tokio::test]
async fn events_are_stored_though_their_block_cannot_be_summarised() {
    let bench = Bench::new();
    bench.fill(BLOCK - 2).await;
    let connection = rusqlite::Connection::open(bench.path()).expect("opens");
    connection.execute_batch("DROP TABLE summaries").expect("a table");
    bench.fill(3).await;
    let count = |table: &str| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
    assert_eq!([count("events"), count("bodies"), count("deliveries")], [Ok(BLOCK + 1), Ok(BLOCK + 1), Ok(0)]);
}

impl Bench {
    /// Stores so many events, each with a number in its topic.
    async fn fill(&self, events: u64) {
        let running = self.start();
        for n in 1..=events {
            running.append("meeting.started", &BODY.replace("pädie", &format!("pädie {n}"))).await;
        }
        running.stop().await;
    }

    /// Returns the blocks whose summary is so.
    fn summaries(&self, condition: &str) -> Vec<u64> {
        let connection = rusqlite::Connection::open(self.path()).expect("opens");
        let sql = format!("SELECT block FROM summaries WHERE {condition} ORDER BY block");
        let mut statement = connection.prepare(&sql).expect("a table");
        statement.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("numbers")
    }

    fn found(&self, words: &str) -> Vec<u64> {
        self.found_within(words, Within::Body)
    }

    fn found_within(&self, words: &str, within: Within) -> Vec<u64> {
        let text = Text { words: words.parse().expect("words"), within };
        let query = EventQuery { text: Some(text), limit: 100, ..EventQuery::default() };
        let rows = open_view(self.path()).expect("a spool").events(&query).expect("readable");
        rows.iter().map(|row| row.id.0).collect()
    }

    /// Tells whether somebody finds the topic who has the files.
    fn holds_topic(&self) -> bool {
        let files = std::fs::read_dir(self.directory.path()).expect("a directory");
        let mut read = files.map(|file| std::fs::read(file.expect("a file").path()).expect("readable"));
        read.any(|bytes| bytes.windows(CANARY.len()).any(|window| window == CANARY))
    }
}
