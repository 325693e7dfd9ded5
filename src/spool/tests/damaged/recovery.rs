//! A new file of what can be read of a damaged one.

use super::*;
use crate::spool::recovery::{Recovered, recover_at_rest};
use crate::spool::replay::{Request, Scope, Selection, Stage};

/// Of each three in a row one waits, one is delivered and one a dead letter.
const EACH: u64 = EVENTS / 3;

#[tokio::test]
async fn whole_file_comes_out_as_it_went_in() {
    let bench = Bench::new();
    prepare(&bench).await;
    let before = dump(&bench);
    let recovered = recover(&bench);
    assert_eq!((recovered.events, recovered.without_body, recovered.waiting), (EVENTS, 0, EACH + EVENTS % 3));
    assert_eq!(recovered.damaged, [] as [Box<str>; 0]);
    assert_eq!(dump(&bench), before);
    let actions: Vec<String> = bench.audit().into_iter().filter(|row| row.starts_with("me: recover: ")).collect();
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert_eq!(integrity(bench.path()), "ok");
    assert_eq!(integrity(&recovered.kept), "ok", "with its log");
    let again = recover(&bench);
    assert!(again.kept != recovered.kept && recovered.kept.exists(), "what was kept before stays");
}

#[tokio::test]
async fn what_can_be_read_of_a_damaged_file_is_a_spool_again_and_the_rest_is_told() {
    for table in [
        "events",
        "bodies",
        "deliveries",
        "deliveries_open",
        "deliveries_dead",
        "deliveries_dead_causes",
        "dead_causes",
        "summaries",
        "attempts",
    ] {
        let bench = Bench::new();
        prepare(&bench).await;
        damage(&bench, table);
        assert_ne!(integrity(bench.path()), "ok");
        let recovered = recover(&bench);
        assert_eq!(integrity(bench.path()), "ok", "{table}");
        let is_told = recovered.damaged.iter().any(|told| told.contains(" in 1 place"));
        // Of what is made anew nothing is lost.
        let is_made_anew = ["deliveries_dead", "dead_causes"].contains(&table);
        assert!(is_told != is_made_anew, "{table}: {recovered}");
        assert_eq!(recovered.waiting, EACH + EVENTS % 3, "{table}: all that waits is known by the table or its index");
        let lost = (recovered.made_anew > 0, recovered.without_body > 0);
        assert_eq!(lost, (table == "events", table == "bodies"), "{table}: {recovered}");
        let running = bench.start();
        let mut feed = running.route(&[("crm", "*")]).await.remove(0);
        let row = running.spool.read(|view| view.destinations()).await.expect("readable").remove(0);
        assert_eq!((row.pending, row.dead), (recovered.waiting, EACH), "{table}");
        let (mut readable, mut lost) = (0, 0);
        for _ in 0..recovered.waiting {
            let event = fresh(&mut feed).await;
            match event.unreadable {
                None => readable += 1,
                Some(reason) => {
                    assert_eq!(reason, "damaged in the spool");
                    running.settle(&feed, event.id, Outcome::Dead { reason: reason.into() }).await;
                    lost += 1;
                }
            }
        }
        assert!(readable > 0 && (lost > 0) == (recovered.without_body > 0), "{table}: {readable}, {lost}");
        let dead = running.spool.read(|view| view.dead(&DeadQuery { limit: 5000, ..DeadQuery::default() })).await;
        assert_eq!(dead.expect("readable").len() as u64, EACH + lost, "{table}: all of them are listed");
        goes_on(&running, &mut feed).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn file_that_cannot_be_recovered_is_left_alone() {
    let bench = Bench::new();
    prepare(&bench).await;
    let running = bench.start();
    assert!(matches!(recover_at_rest(bench.path(), "me", &Clock::system()), Err(SpoolError::InUse(_))));
    running.stop().await;
    let mut bytes = std::fs::read(bench.path()).expect("a file");
    bytes[..16].fill(7);
    std::fs::write(bench.path(), &bytes).expect("written");
    recover_at_rest(bench.path(), "me", &Clock::system()).expect_err("its first page is gone");
    assert!(std::fs::read(bench.path()).expect("a file") == bytes);
}

#[tokio::test]
async fn dead_letters_that_cannot_be_counted_are_listed_replayed_purged_and_counted_anew() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    for body in ["1", "2", "3"] {
        running.append("e", body).await;
        let event = fresh(&mut feed).await.id;
        running.settle(&feed, event, Outcome::Dead { reason: "status 401".into() }).await;
    }
    running.stop().await;
    damage(&bench, "dead_causes");
    let (running, _) = start(&bench);
    running.route(&[("crm", "*")]).await;
    let counted = |spool: Spool| async move {
        let groups = spool.read(|view| view.dead_groups(&DeadQuery::default())).await.expect("readable");
        groups.iter().map(|group| group.count).collect::<Vec<_>>()
    };
    assert_eq!(counted(running.spool.clone()).await, [3]);
    let scope = Scope::Dead { destination: None, cause: None };
    let selection = Selection { events: vec![EventId(1)], ..Selection::all(scope) };
    let request = Request { selection, rate: None, who: "me".into() };
    let mut progress = running.spool.replay(request).await.expect("open");
    let done = progress.wait_for(|progress| progress.stage != Stage::Running).await.expect("told").clone();
    assert_eq!((done.stage, done.counts.replayed), (Stage::Done, 1));
    assert_eq!(counted(running.spool.clone()).await, [2]);
    let one = DeadQuery { limit: 1, ..DeadQuery::default() };
    let (erased, complete) =
        running.spool.erase(Erasure::Dead(one), "me", Duration::from_secs(60)).await.expect("erased");
    assert_eq!((erased.dead, complete), (1, true));
    running.stop().await;
    let recovered = recover(&bench);
    assert_eq!(recovered.waiting, 1);
    let groups = open_view(bench.path()).expect("a spool").dead_groups(&DeadQuery::default()).expect("readable");
    assert_eq!(groups.iter().map(|group| group.count).collect::<Vec<_>>(), [1]);
}

async fn prepare(bench: &Bench) {
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    fill(&running).await;
    let (destination, at) = (feed.destination(), Timestamp::now());
    for n in 1..=EVENTS {
        let event = fresh(&mut feed).await.id;
        let failed = FailedAttempt { at, elapsed_ms: 1, cause: "status 401".into(), excerpt: "".into(), number: 1 };
        let (outcome, failed) = match n % 3 {
            0 => (Outcome::Delivered { status: 200 }, None),
            1 if n <= 3 * EACH => (Outcome::Dead { reason: "status 401".into() }, Some(failed)),
            _ => continue,
        };
        running.spool.settle(Settlement { destination, event, attempts: 1, at, outcome, failed }).await.expect("open");
    }
    running.stop().await;
}

fn recover(bench: &Bench) -> Recovered {
    recover_at_rest(bench.path(), "me", &Clock::system()).expect("recovered")
}

/// Returns the rows of all tables but that of the audit, whose tail tells of the recovery.
fn dump(bench: &Bench) -> Vec<String> {
    let connection = Connection::open(bench.path()).expect("opens");
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'audit'")
        .and_then(|mut names| names.query_map([], |row| row.get(0))?.collect())
        .expect("readable");
    let mut rows = Vec::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).expect("a table");
        let columns = statement.column_count();
        let mut found = statement.query([]).expect("readable");
        while let Some(row) = found.next().expect("readable") {
            let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column).expect("a value"));
            rows.push(format!("{table} {:?}", values.collect::<Vec<_>>()));
        }
    }
    rows
}

fn integrity(path: &Path) -> String {
    let connection = Connection::open(path).expect("opens");
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap_or_else(|error| error.to_string())
}
