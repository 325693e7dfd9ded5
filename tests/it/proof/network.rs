//! A network that fails, on Zoom's side and on the handlers'.
//!
//! On Zoom's side the bridge's clock goes ten times as fast, so that its real deadlines take seconds. What is asserted
//! is counts: of sockets, of missed heartbeats, of gaps.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rusqlite::Connection;

use super::books::{Account, Books};
use super::proxy::{Fault, Proxy};
use super::{faketime, names};
use crate::lab::{Bridge, Lab};

/// How many times as fast the bridge's clock goes.
const TIMES: i32 = 10;
/// Requests to a handler at once.
const CONCURRENCY: usize = 8;
/// How long a handler may take, where it is to take longer, and where it is not.
const SHORT: &str = "500ms";
const LONG: &str = "30s";

/// Is a bridge that reaches Zoom through a proxy.
struct ZoomSide {
    lab: Lab,
    proxy: Proxy,
    bridge: Bridge,
    books: Books,
}

impl ZoomSide {
    /// Starts one with a fault; `None` where there is no other clock to be had.
    async fn start(fault: Fault) -> Option<Self> {
        let variables = faketime::fast(TIMES)?;
        let lab = Lab::new(&["crm", "audit"]).await;
        let proxy = Proxy::start(lab.zoom.addr()).await;
        proxy.set(fault);
        lab.write_configuration(&names(&lab));
        lead_through(&lab, lab.zoom.addr(), proxy.address);
        let mut command = lab.command(&["run"]);
        command.envs(variables);
        let bridge = Bridge::start(command).await;
        let mut books = Books::default();
        books.follow_clock(&bridge, TIMES).await;
        Some(Self { lab, proxy, bridge, books })
    }

    async fn send(&mut self, events: usize) {
        self.books.send(&self.lab.zoom, events).await;
    }

    async fn until_metric(&self, line: &str) {
        self.bridge.until("/metrics", |_, text| text.contains(line)).await;
    }

    /// Closes the books, and returns them with the number of gaps.
    async fn close(mut self) -> (Account, usize) {
        let account = self.books.close(&self.lab, &self.bridge).await;
        assert!(account.repeated <= failed_attempts(&self.lab), "{account:?}");
        let gaps = self.lab.gaps();
        assert!(gaps.iter().all(|gap| gap.closed_at.is_some()), "{gaps:#?}");
        self.bridge.stop().await;
        (account, gaps.len())
    }
}

#[tokio::test]
async fn socket_that_swallows_everything_is_found_dead_and_its_gap_covers_what_was_lost() {
    let Some(mut side) = ZoomSide::start(Fault::None).await else { return };
    side.bridge.until_ready().await;
    side.send(50).await;
    side.lab.handler("crm").has_taken(50).await;
    side.proxy.set(Fault::Swallow);
    side.send(50).await;
    side.until_metric("zoomhook_heartbeats_missed_total{subscription=\"main\"} 1").await;
    // New connections are accepted and swallowed, too.
    side.until_metric("zoomhook_connects_total{subscription=\"main\",outcome=\"timeout\"} 1").await;
    side.proxy.set(Fault::None);
    let (account, gaps) = side.close().await;
    assert_eq!((account.stored, account.in_gaps, gaps), (51, 50, 2));
}

#[tokio::test]
async fn connection_that_swallows_the_handshake_is_given_up_and_tried_again() {
    let Some(side) = ZoomSide::start(Fault::Swallow).await else { return };
    side.until_metric("zoomhook_connects_total{subscription=\"main\",outcome=\"timeout\"} 2").await;
    side.proxy.set(Fault::None);
    let (account, gaps) = side.close().await;
    assert_eq!((account.stored, account.in_gaps, gaps), (1, 0, 1));
}

#[tokio::test]
async fn trickling_handshake_is_given_up_and_a_trickling_link_is_kept() {
    let Some(mut side) = ZoomSide::start(Fault::Trickle(1, Duration::from_millis(50))).await else { return };
    side.until_metric("zoomhook_connects_total{subscription=\"main\",outcome=\"timeout\"} 1").await;
    side.proxy.set(Fault::None);
    side.bridge.until_ready().await;
    side.proxy.set(Fault::Trickle(64, Duration::from_millis(2)));
    side.send(50).await;
    side.lab.handler("crm").has_taken(50).await;
    let accepted = side.lab.zoom.counts().accepted;
    assert_eq!(accepted, 1);
    let (account, gaps) = side.close().await;
    assert_eq!((account.stored, account.in_gaps, gaps), (51, 0, 1));
}

#[tokio::test]
async fn slow_network_costs_nothing() {
    let Some(mut side) = ZoomSide::start(Fault::Delay(Duration::from_millis(50))).await else { return };
    side.bridge.until_ready().await;
    side.send(100).await;
    side.lab.handler("crm").has_taken(100).await;
    let (account, gaps) = side.close().await;
    assert_eq!((account.stored, account.in_gaps, gaps), (101, 0, 1));
}

#[tokio::test]
async fn link_that_is_reset_again_and_again_loses_nothing_outside_of_its_gaps() {
    let Some(mut side) = ZoomSide::start(Fault::None).await else { return };
    side.bridge.until_ready().await;
    // In the midst of a frame, whichever it is; the token and the handshake pass.
    for (losses, bytes) in [7_000, 11_111].into_iter().enumerate() {
        let accepted = losses as u64 + 1;
        side.proxy.set(Fault::ResetAfter(bytes));
        side.send(100).await;
        side.lab.zoom.wait_for(|counts| counts.accepted > accepted).await;
        side.bridge.until_ready().await;
    }
    side.proxy.set(Fault::None);
    // Between two frames.
    side.send(50).await;
    side.proxy.cut();
    side.lab.zoom.wait_for(|counts| counts.accepted > 3).await;
    let (account, gaps) = side.close().await;
    assert!(account.in_gaps > 0 && account.stored > 10, "{account:?}");
    assert_eq!(gaps, 4, "the start, and each loss");
}

/// Plays a fault between the bridge and one of two handlers while events are sent; then it goes, but where time runs out
/// for requests not before it has for one.
async fn handler_side(fault: Fault, cuts: usize, timeout: &str) -> (Account, Lab) {
    let mut lab = Lab::new(&["crm", "audit"]).await;
    let retries = ["\"1s\""; 30].join(", ");
    lab.destination_lines = format!("timeout = {timeout:?}\nconcurrency = {CONCURRENCY}\nretry = [{retries}]");
    let url: url::Url = lab.handler("crm").url().parse().expect("a url");
    let handler = SocketAddr::from(([127, 0, 0, 1], url.port().expect("a port")));
    let proxy = Proxy::start(handler).await;
    lab.write_configuration(&names(&lab));
    lead_through(&lab, handler, proxy.address);
    let bridge = Bridge::start(lab.command(&["run"])).await;
    bridge.until_ready().await;
    let mut books = Books::default();
    books.send(&lab.zoom, 100).await;
    lab.handler("crm").has_taken(50).await;
    proxy.set(fault);
    let connections = proxy.connections();
    for cut in 0..cuts {
        books.send(&lab.zoom, 50).await;
        proxy.cut();
        proxy.has_accepted(connections + cut + 1).await;
    }
    books.send(&lab.zoom, 100).await;
    // The neighbour has it all while the fault lasts.
    lab.handler("audit").has_taken(200 + 50 * cuts).await;
    while timeout == SHORT && failed_attempts(&lab) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.set(Fault::None);
    let account = books.close(&lab, &bridge).await;
    assert_eq!((account.stored, account.in_gaps), (201 + 50 * cuts, 0));
    let most = failed_attempts(&lab) + (cuts + 1) * CONCURRENCY;
    assert!(account.repeated <= most, "{account:?}, at most {most}");
    bridge.stop().await;
    (account, lab)
}

#[tokio::test]
async fn connections_to_a_handler_that_are_cut_cost_a_few_repeats() {
    handler_side(Fault::None, 5, LONG).await;
}

#[tokio::test]
async fn handler_that_swallows_requests_gets_every_event_later() {
    let (_, lab) = handler_side(Fault::Swallow, 0, SHORT).await;
    assert!(failed_attempts(&lab) > 0);
}

#[tokio::test]
async fn trickling_handler_gets_every_event() {
    let (_, lab) = handler_side(Fault::Trickle(20, Duration::from_millis(50)), 0, SHORT).await;
    assert!(failed_attempts(&lab) > 0, "no answer came in time");
}

#[tokio::test]
async fn slow_handler_gets_every_event_once() {
    let (account, lab) = handler_side(Fault::Delay(Duration::from_millis(30)), 0, LONG).await;
    assert_eq!((account.repeated, failed_attempts(&lab)), (0, 0));
}

#[tokio::test]
async fn handler_whose_connections_are_reset_in_a_request_gets_every_event() {
    let (_, lab) = handler_side(Fault::ResetAfter(300), 0, LONG).await;
    assert!(failed_attempts(&lab) > 0, "no connection lasted as long as a request");
}

#[tokio::test]
async fn handler_whose_kept_connections_are_reset_gets_every_event() {
    // A request or some, and no more: most resets cost a second request, and no attempt.
    handler_side(Fault::ResetAfter(2_000), 0, LONG).await;
}

/// Puts a proxy into the configuration.
fn lead_through(lab: &Lab, target: SocketAddr, proxy: SocketAddr) {
    let text = fs::read_to_string(lab.file()).expect("written");
    let led = text.replace(&target.to_string(), &proxy.to_string());
    assert_ne!(text, led);
    fs::write(lab.file(), led).expect("written");
}

/// Counts the attempts that failed, as the spool remembers them.
fn failed_attempts(lab: &Lab) -> usize {
    let spool = Connection::open(lab.spool()).expect("a spool");
    spool.query_row("SELECT count(*) FROM attempts", [], |row| row.get(0)).expect("a number")
}
