//! A process that is stopped for a while, as a debugger, a frozen container or a paused machine does it.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use zoomhook::simulator::fault::Cut;

use super::books::Books;
use super::is_long;
use crate::lab::{Bridge, Lab};

#[tokio::test]
async fn stopped_process_reads_on_where_its_socket_outlived_it() {
    let lab = Lab::new(&["crm", "audit"]).await;
    let bridge = lab.live_bridge().await;
    let mut books = Books::default();
    books.send(&lab.zoom, 50).await;
    stop(&bridge).await;
    // They wait in the buffers of the machine.
    books.send(&lab.zoom, 100).await;
    tokio::time::sleep(absence()).await;
    bridge.signal("CONT");
    let account = books.close(&lab, &bridge).await;
    assert_eq!((account.stored, account.in_gaps), (151, 0));
    assert_eq!(lab.zoom.counts().accepted, 1, "the socket was good all the time");
    bridge.stop().await;
}

#[tokio::test]
async fn gap_covers_the_time_in_which_a_stopped_process_lost_its_socket() {
    let lab = Lab::new(&["crm", "audit"]).await;
    let bridge = lab.live_bridge().await;
    let mut books = Books::default();
    books.send(&lab.zoom, 50).await;
    lab.handler("crm").has_taken(50).await;
    stop(&bridge).await;
    let stopped = Timestamp::now();
    // Read when it goes on, they must not make the socket look alive until then.
    books.send(&lab.zoom, 20).await;
    lab.zoom.drop_sockets(Cut::Fin);
    lab.zoom.wait_for(|counts| counts.live() == 0).await;
    tokio::time::sleep(absence()).await;
    let continued = Timestamp::now();
    bridge.signal("CONT");
    lab.zoom.wait_for(|counts| counts.accepted == 2).await;
    let account = books.close(&lab, &bridge).await;
    assert_eq!((account.stored, account.in_gaps), (71, 0));
    let gaps = lab.gaps();
    let covers = gaps.iter().any(|gap| gap.opened_at <= stopped && gap.closed_at.is_some_and(|at| at >= continued));
    assert!(covers, "from {stopped} to {continued}: {gaps:#?}");
    bridge.stop().await;
}

/// Stops every thread of a bridge.
async fn stop(bridge: &Bridge) {
    bridge.signal("STOP");
    let threads = format!("/proc/{}/task", bridge.pid());
    let is_stopped = |thread: &fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).expect("a thread that is stopped stays");
        status.contains("State:\tT")
    };
    while !fs::read_dir(&threads).expect("it runs").flatten().all(|thread| is_stopped(&thread)) {
        tokio::task::yield_now().await;
    }
}

/// Returns for how long the process is stopped: longer than any pause that the bridge takes for a busy machine's.
fn absence() -> Duration {
    Duration::from_secs(if is_long() { 70 } else { 5 })
}
