//! Too few file descriptors, and little memory.

use std::process::Stdio;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::process::Command;
use zoomhook::simulator::fault::Cut;

use super::books::Books;
use super::limit;
use crate::lab::{Bridge, Lab, bodies, body};
use crate::receiver::Answer;

/// Resident memory that the bridge may take, whatever waits: what its users are told.
const MEMORY: u64 = 64 << 20;
/// Events that wait.
const MILLION: usize = 1_000_000;

#[tokio::test]
async fn bridge_without_file_descriptors_recovers_when_there_are_some() {
    let mut lab = Lab::new(&["crm", "audit"]).await;
    lab.destination_lines = format!("retry = [{}]", ["\"1s\""; 12].join(", "));
    let bridge = lab.live_bridge().await;
    let mut books = Books::default();
    books.send(&lab.zoom, 50).await;
    lab.handler("crm").has_taken(50).await;
    // Not one more can be opened; the connections to the handler end, and then the socket.
    limit(&bridge, "--nofile=3:");
    lab.handler("crm").answer(Answer::Cut);
    books.send(&lab.zoom, 100).await;
    lab.handler("audit").has_taken(150).await;
    bridge.logged("this machine has no file descriptor left").await;
    lab.zoom.drop_sockets(Cut::Reset);
    lab.zoom.wait_for(|counts| counts.live() == 0).await;
    bridge.logged("has no socket").await;
    lab.handler("crm").answer(Answer::Status(200));
    limit(&bridge, "--nofile=1024:");
    let account = books.close(&lab, &bridge).await;
    assert_eq!(account.stored + account.in_gaps, 151, "{account:?}");
    bridge.stop().await;
}

#[tokio::test]
async fn destination_that_takes_every_descriptor_costs_its_neighbour_no_attempt() {
    let mut lab = Lab::new(&["slow", "crm"]).await;
    lab.destination_lines = "concurrency = 64\nordering = \"none\"\nretry = []".to_owned();
    lab.write_configuration(&["slow", "crm"]);
    let bridge = Bridge::start(with_descriptors(&lab.command(&["run"]), "ulimit -n 64")).await;
    bridge.logged("Set LimitNOFILE=192 in the service").await;
    bridge.until_ready().await;
    lab.handler("slow").answer(Answer::Slow(Duration::from_secs(1)));
    lab.zoom.push_all(&bodies(0..120)).await;
    bridge.logged("this machine has no file descriptor left").await;
    lab.zoom.push_all(&bodies(120..180)).await;
    for name in ["slow", "crm"] {
        lab.handler(name).has_taken(180).await;
    }
    let (_, metrics) = bridge.get("/metrics").await;
    let mut not_sent = metrics.lines().filter(|line| line.contains("outcome=\"not_sent\""));
    assert!(not_sent.any(|line| !line.ends_with(" 0")), "{metrics}");
    bridge.stop().await;
    assert_eq!(count(&lab, "state = 2 and attempts = 1"), 360, "delivered at the first attempt, every one of them");
}

#[tokio::test]
async fn limit_of_file_descriptors_is_raised_as_far_as_the_system_lets_us() {
    let lab = Lab::new(&["crm"]).await;
    lab.write_configuration(&["crm"]);
    let bridge = Bridge::start(with_descriptors(&lab.command(&["run"]), "ulimit -S -n 60; ulimit -H -n 200")).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", bridge.pid())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["Max", "open", "files", "200", "200", "files"]);
    assert!(!bridge.stop().await.contains("LimitNOFILE="), "that is enough for one destination");
}

/// Runs a command with other limits.
fn with_descriptors(command: &Command, limits: &str) -> Command {
    let program = command.as_std();
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", &format!("{limits}; exec \"$@\""), "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .env_clear()
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    limited
}

/// Address space is no measure of memory, and a control group takes rights: what is checked is the peak that the kernel
/// counted, which bounds what was resident at any moment.
#[tokio::test]
async fn million_waiting_events_take_no_more_than_64_megabytes() {
    let lab = Lab::new(&["crm"]).await;
    let bridge = lab.live_bridge().await;
    bridge.post("/api/v1/destinations/crm/pause", &json!({})).await;
    lab.zoom.push(&body(0)).await;
    bridge.until("/api/v1/status", |_, text| text.contains("\"pending\":1,")).await;
    bridge.stop().await;
    multiply(&lab);

    let bridge = lab.live_bridge().await;
    bridge.until("/api/v1/status", |_, text| text.contains("1,000,000 events waiting")).await;
    bridge.post("/api/v1/destinations/crm/resume", &json!({})).await;
    lab.handler("crm").has_taken(1000).await;
    lab.zoom.push_all(&bodies(MILLION..MILLION + 1000)).await;
    lab.handler("crm").has_taken(3000).await;
    let peak = bridge.peak_bytes();
    assert!(peak <= MEMORY, "{peak} bytes");
    bridge.stop().await;

    let (waiting, delivered) = (count(&lab, "state < 2"), count(&lab, "state = 2"));
    assert_eq!(waiting + delivered, MILLION + 1000);
    assert_eq!(delivered, lab.handler("crm").taken().len());
    let (_, out, _) = lab.run(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&out).expect("json");
    let backlog = &status["destinations"][0]["backlog"];
    assert_eq!((&backlog["pending"], &backlog["delivered"]), (&waiting.into(), &delivered.into()), "{status:#}");
}

/// Makes a million of the one event that waits, each with a body of its own.
fn multiply(lab: &Lab) {
    let spool = Connection::open(lab.spool()).expect("a spool");
    let numbers = format!("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {} )", MILLION - 1);
    let statements = format!(
        "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;
         {numbers} INSERT INTO events SELECT n + 1, kind, subscription,
           printf('%08x_0000_4000_8000_%012x', n, n), randomblob(32), event_ts, received_at, size, NULL, text
           FROM n, (SELECT * FROM events WHERE id = 1);
         {numbers} INSERT INTO bodies
           SELECT n + 1, NULL, CAST(replace(CAST(body AS TEXT), '\"id\":\"0\"', '\"id\":\"' || n || '\"') AS BLOB)
           FROM n, (SELECT body FROM bodies WHERE event = 1);
         {numbers} INSERT INTO deliveries SELECT destination, n + 1, 0, 0, 0, since, NULL, NULL, 0
           FROM n, (SELECT * FROM deliveries WHERE event = 1);
         UPDATE meta SET value = {MILLION} WHERE key IN ('last_event', 'events');
         UPDATE destinations SET pending = {MILLION};
         COMMIT;"
    );
    spool.execute_batch(&statements).expect("the tables");
}

fn count(lab: &Lab, condition: &str) -> usize {
    let spool = Connection::open(lab.spool()).expect("a spool");
    let sql = format!("SELECT count(*) FROM deliveries WHERE {condition}");
    spool.query_row(&sql, [], |row| row.get(0)).expect("a number")
}
