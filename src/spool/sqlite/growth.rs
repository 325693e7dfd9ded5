//! That what is asked often costs by what it returns, and not by what is kept: counted in steps of the engine.

use std::sync::Arc;

use rusqlite::{Connection, Params, StatementStatus};

use super::search::groups::COUNTED;
use super::{Sqlite, page, view};

const FEW: u64 = 100;
const MANY: u64 = 10_000;
/// Rows in a page: fewer than there are.
const PAGE: u64 = 20;
/// Steps that a deeper tree may cost.
const SLACK: i32 = 10;

#[test]
fn pages_of_a_backlog_cost_the_same_whatever_waits() {
    for state in ["0, 0, 0", "1, 1, n"] {
        let steps = [FEW, MANY].map(|count| {
            let (_directory, engine) = spool(count, state);
            let spool = &engine.connection;
            [
                steps(spool, page::FRESH, (1, 0, count, PAGE)),
                steps(spool, page::DUE, (1, 0, count, PAGE)),
                steps(spool, page::WAITING, (1, 0, 0, PAGE)),
                steps(spool, page::NEXT_DUE, (1, PAGE)),
                steps(spool, view::DESTINATIONS, ()),
            ]
        });
        assert_same(steps, state);
    }
}

#[test]
fn groups_of_dead_letters_cost_the_same_however_many_there_are() {
    let steps = [FEW, MANY].map(|count| {
        let (_directory, engine) = spool(count, "3, 1, 0");
        let spool = &engine.connection;
        [steps(spool, COUNTED, (None::<i64>, None::<&str>)), steps(spool, view::DESTINATIONS, ())]
    });
    assert_same(steps, "dead");
}

fn assert_same<const N: usize>([few, many]: [[i32; N]; 2], what: &str) {
    for (few, many) in few.into_iter().zip(many) {
        assert!(few > 0 && many <= few + SLACK, "{what}: {few} steps with {FEW}, {many} with {MANY}");
    }
}

/// Runs a query to its end, and returns how many steps of the engine it took.
fn steps(spool: &Connection, sql: &str, parameters: impl Params) -> i32 {
    let mut statement = spool.prepare(sql).expect("a query");
    let mut rows = statement.query(parameters).expect("parameters");
    while rows.next().expect("a row").is_some() {}
    drop(rows);
    statement.get_status(StatementStatus::VmStep)
}

/// Makes a spool with so many deliveries to one destination in a state, with attempts and due.
fn spool(count: u64, state: &str) -> (tempfile::TempDir, Sqlite) {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Sqlite::open(&directory.path().join("zoomhook.db"), Arc::default()).expect("a spool");
    let numbers = format!("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count})");
    let rows = format!(
        "BEGIN; INSERT INTO destinations (id, name, wants) VALUES (1, 'crm', '*');
         {numbers} INSERT INTO events (id, kind, subscription, request_id, digest, received_at, size)
           SELECT n, 'meeting.started', 'main', printf('%08x_0000_4000_8000_%012x', n, n), zeroblob(32), n, 2 FROM n;
         {numbers} INSERT INTO bodies (event, body) SELECT n, CAST('{{}}' AS BLOB) FROM n;
         {numbers} INSERT INTO deliveries (destination, event, state, attempts, due, since, settled_at, outcome)
           SELECT 1, n, {state}, n, n, 'status 404' FROM n;
         INSERT INTO dead_causes SELECT destination, outcome, count(*) FROM deliveries WHERE state = 3 GROUP BY 1, 2;
         COMMIT"
    );
    engine.connection.execute_batch(&rows).expect("rows");
    (directory, engine)
}
