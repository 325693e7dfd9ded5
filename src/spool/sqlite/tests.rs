//! What the engine reads to answer, and what it does with a file that is taken away.

use super::search::Search;
use super::*;
use crate::spool::record::{DeadQuery, DeliveryState, EventQuery};

#[test]
fn file_is_open_once_by_whatever_name_and_without_the_lock_beside_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, link) = (directory.path().join("zoomhook.db"), directory.path().join("link.db"));
    let engine = Sqlite::open(&path, Arc::default()).expect("a spool");
    std::fs::hard_link(&path, &link).expect("a link");
    std::fs::remove_file(directory.path().join("zoomhook.db.lock")).expect("removed");
    for name in [&path, &link] {
        assert!(matches!(Sqlite::open(name, Arc::default()), Err(SpoolError::InUse(_))), "{}", name.display());
    }
    drop(engine);
    Sqlite::open(&path, Arc::default()).expect("closed");
}

#[test]
fn frequent_queries_read_what_they_return_and_no_delivered_rows() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Sqlite::open(&directory.path().join("zoomhook.db"), Arc::default()).expect("a spool");
    let open = "deliveries_open (destination=? AND state=?";
    let letters = erase::fitting("d.state = 3");
    let key = "SEARCH d USING PRIMARY KEY (destination=? AND event=?)";
    let all = DeadQuery::default();
    let of_destination = DeadQuery { destination: Some("crm".to_owned()), ..all.clone() };
    let one_cause = DeadQuery { cause: Some("status 404".to_owned()), ..of_destination.clone() };
    let search = Search { connection: &engine.connection, budget: 1, has_texts: true, has_summaries: true };
    let events = |query: EventQuery, destination| search.roads(&query, destination);
    let dead = |query: &DeadQuery, destination| search.dead_roads(query, destination);
    let groups = Search::group_roads;
    let kind = || Some("meeting.*".parse().expect("a pattern"));
    let parked = EventQuery { parked: true, ..EventQuery::default() };
    let died = EventQuery { state: Some(DeliveryState::Dead), kind: kind(), ..EventQuery::default() };
    let wanted = EventQuery { kind: kind(), ..EventQuery::default() };
    let typed = DeadQuery { kind: kind(), ..all.clone() };
    for (query, expected, times) in [
        (page::FRESH, open, 1),
        (page::DUE, open, 1),
        (page::NEXT_DUE, open, 1),
        (page::WAITING, open, 1),
        (singly::FRESH[0], open, 1),
        (singly::FRESH[1], "SEARCH deliveries USING PRIMARY KEY (destination=? AND event>? AND event<?)", 1),
        (singly::DUE[0], open, 1),
        (singly::WAITING[0], open, 1),
        (singly::LAST_DUE[0], open, 1),
        (view::DESTINATIONS, open, 1),
        (view::DESTINATIONS, "COVERING INDEX deliveries_retries (destination=?)", 1),
        (view::DELIVERIES, key, 1),
        (view::DEAD_ROW, "SEARCH d USING PRIMARY KEY (destination=? AND event=?)", 1),
        (&events(EventQuery::default(), None), "SEARCH e USING INTEGER PRIMARY KEY (rowid<?)", 1),
        (&events(wanted.clone(), Some(1)), "SEARCH d USING PRIMARY KEY (destination=? AND event<?)", 1),
        (&events(wanted, Some(1)), "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)", 1),
        (&events(parked, Some(1)), "SEARCH e USING INDEX events_parked (id<?)", 1),
        (&events(died, Some(1)), "deliveries_dead (event<?)", 1),
        (blocks::ROWS, "SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", 1),
        (search::STANDS, key, 1),
        (search::FRESH, "COVERING INDEX deliveries_open (destination=? AND state=? AND due=? AND event<?)", 1),
        (search::RETRYING, "COVERING INDEX deliveries_open (destination=? AND state=?)", 1),
        (search::groups::COUNTED, "COVERING INDEX deliveries_dead_times (destination=? AND outcome=?)", 2),
        (search::groups::COUNTED, "COVERING INDEX deliveries_dead_causes (destination=? AND outcome=?)", 1),
        (&groups(&all, None), "SEARCH d USING COVERING INDEX deliveries_dead_causes", 1),
        (&groups(&all, Some(1)), "COVERING INDEX deliveries_dead_causes (destination=? AND (outcome,event)>(?,?))", 1),
        (&groups(&typed, None), "SEARCH d USING COVERING INDEX deliveries_dead_causes", 1),
        (&dead(&all, None), "SEARCH d USING COVERING INDEX deliveries_dead (event<?)", 1),
        (&dead(&of_destination, Some(1)), "SEARCH d USING COVERING INDEX deliveries_dead (event<?)", 1),
        (&dead(&typed, Some(1)), "SEARCH d USING COVERING INDEX deliveries_dead (event<?)", 1),
        (&dead(&one_cause, Some(1)), "deliveries_dead_causes (destination=? AND outcome=? AND event<?)", 1),
        (replay::DEAD, "COVERING INDEX deliveries_dead ((event,destination)>(?,?) AND event<?)", 1),
        (replay::DEAD_OF_CAUSE, "deliveries_dead_causes (destination=? AND outcome=? AND event>? AND event<?)", 1),
        (replay::EVENTS, "SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", 1),
        (replay::EVENT, "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)", 1),
        (replay::DELIVERY, "SEARCH deliveries USING PRIMARY KEY (destination=? AND event=?)", 1),
        (erase::DEAD, "COVERING INDEX deliveries_dead ((event,destination)>(?,?))", 1),
        (&letters, "deliveries_dead ((event,destination)>(?,?) AND (event,destination)<(?,?))", 1),
        (erase::OLDEST_DEAD, "COVERING INDEX deliveries_dead", 1),
        (erase::PARKED, "events_parked", 1),
        (erase::DELIVERIES_OF, "PRIMARY KEY (destination=?)", 1),
        (rekey::NEXT, "SEARCH bodies USING INTEGER PRIMARY KEY (rowid>?)", 1),
        (sealed::KEYS, "COVERING INDEX bodies_sealed", 2),
    ] {
        let plan = plan(&engine.connection, query);
        assert_eq!(plan.matches(expected).count(), times, "{query}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{query}\n{plan}");
    }
}

#[test]
fn file_that_was_taken_away_takes_nothing_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, aside) = (directory.path().join("zoomhook.db"), directory.path().join("aside.db"));
    let mut engine = Sqlite::open(&path, Arc::default()).expect("a spool");
    engine.commit(&Batch::default()).expect("in place");
    std::fs::rename(&path, &aside).expect("moved");
    let error = engine.commit(&Batch::default()).expect_err("a file that is gone").to_string();
    assert!(error.contains("was removed or replaced"), "{error}");
    std::fs::copy(&aside, &path).expect("copied");
    assert!(matches!(engine.commit(&Batch::default()), Err(SpoolError::Removed(_))), "another file of that name");
    std::fs::rename(&aside, &path).expect("moved back");
    engine.commit(&Batch::default()).expect("in place again");
}

#[test]
fn log_that_was_taken_away_takes_nothing_more_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, copy) = (directory.path().join("zoomhook.db"), directory.path().join("copy.db"));
    let mut engine = Sqlite::open(&path, Arc::default()).expect("a spool");
    engine.audit("me", "before", "", Timestamp::UNIX_EPOCH).expect("written");
    engine.commit(&Batch::default()).expect("in place");
    let (log, aside) = (file::beside(&path, "-wal"), file::beside(&path, "-aside"));
    std::fs::rename(&log, &aside).expect("moved");
    assert!(matches!(engine.commit(&Batch::default()), Err(SpoolError::Removed(path)) if path == log));
    std::fs::copy(&path, &copy).expect("copied");
    let found = Connection::open(&copy).and_then(|copy| copy.query_row("SELECT who FROM audit", [], |row| row.get(0)));
    assert_eq!(found, Ok("me".to_owned()), "what was durable is in the file itself now");
    std::fs::rename(&aside, &log).expect("moved back");
    engine.commit(&Batch::default()).expect("in place again");
}

#[test]
fn file_that_is_damaged_where_nothing_begins_without_says_what_to_do() {
    for (at, advice) in
        [(0, "its first page is damaged"), (100, "bring back a backup"), (8192, "zoomhook spool recover")]
    {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("zoomhook.db");
        drop(Sqlite::open(&path, Arc::default()).expect("a spool"));
        let mut bytes = std::fs::read(&path).expect("a file");
        bytes[at..at + 8].fill(0xff);
        std::fs::write(&path, bytes).expect("written");
        let error = Sqlite::open(&path, Arc::default()).err().expect("damaged").to_string();
        assert!(error.contains(advice) && error.contains("zoomhook.db"), "{error}");
        let recovered = recover(&path, "me", &crate::clock::Clock::system());
        assert_eq!(recovered.is_ok(), at == 8192, "{recovered:?}");
    }
}

fn plan(connection: &Connection, query: &str) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).expect("a query");
    let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
    let steps = statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3));
    steps.expect("a plan").collect::<Result<Vec<_>, _>>().expect("text").join("\n")
}
