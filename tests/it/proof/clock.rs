//! A wall clock that is set both ways while the bridge runs.
//!
//! What is expected: retries come, those that were planned by the old clock too; signatures carry the time that the clock
//! shows, for it is all that the bridge has; every gap ends no earlier than it began, and none is missing; nothing is
//! lost, given up or purged for a step that is shorter than the age of a delivery and the retention.

use jiff::{SignedDuration, Timestamp};
use zoomhook::simulator::fault::Cut;

use super::books::Books;
use super::faketime::Wall;
use super::live_bridge_under;
use crate::lab::{Bridge, Lab};
use crate::receiver::{Answer, Receiver};

const DAY: SignedDuration = SignedDuration::from_hours(24);

#[tokio::test]
async fn clock_that_is_set_both_ways_costs_nothing() {
    let mut lab = Lab::new(&["crm", "audit"]).await;
    lab.destination_lines = format!("retry = [{}]", ["\"1s\""; 12].join(", "));
    let Some(wall) = Wall::new(lab.directory.path()) else { return };
    let bridge = live_bridge_under(&lab, &[], &wall.variables()).await;
    let mut books = Books::default();
    books.send(&lab.zoom, 20).await;
    lab.handler("audit").has_taken(20).await;
    assert_signed(lab.handler("audit"), SignedDuration::ZERO);
    let mut gaps = 1;
    for ahead in [-DAY, DAY, SignedDuration::ZERO] {
        // Retries wait, planned by the old clock.
        lab.handler("crm").answer(Answer::Status(503));
        let seen = lab.handler("crm").requests();
        books.send(&lab.zoom, 5).await;
        lab.handler("crm").has_seen(seen + 5).await;
        wall.set(ahead);
        books.set_clock(ahead);
        lab.handler("crm").answer(Answer::Status(200));
        books.send(&lab.zoom, 20).await;

        // A socket is lost, heard before the step or after it.
        let accepted = lab.zoom.counts().accepted;
        lab.zoom.drop_sockets(Cut::Close(1012));
        lab.zoom.wait_for(|counts| counts.accepted > accepted).await;
        books.close(&lab, &bridge).await;
        assert_signed(lab.handler("audit"), ahead);
        gaps += 1;
        let known = lab.gaps();
        assert_eq!(known.len(), gaps, "{known:#?}");
        assert!(known.iter().all(|gap| gap.closed_at.is_some_and(|at| gap.opened_at <= at)), "{known:#?}");
    }
    bridge.stop().await;
}

#[tokio::test]
async fn crash_after_the_clock_was_set_back_is_in_a_gap() {
    let lab = Lab::new(&["crm"]).await;
    let Some(wall) = Wall::new(lab.directory.path()) else { return };
    let bridge = live_bridge_under(&lab, &[], &wall.variables()).await;
    let mut books = Books::default();
    books.send(&lab.zoom, 20).await;
    lab.handler("crm").has_taken(20).await;
    wall.set(-DAY);
    books.set_clock(-DAY);
    // Whatever is heard stores a sign of life by the new clock.
    books.send(&lab.zoom, 20).await;
    lab.handler("crm").has_taken(40).await;
    bridge.kill().await;
    let killed = books.shown(Timestamp::now());
    lab.zoom.wait_for(|counts| counts.live() == 0).await;
    let bridge: Bridge = live_bridge_under(&lab, &[], &wall.variables()).await;
    let live = books.shown(Timestamp::now());
    books.close(&lab, &bridge).await;
    let gap = &lab.gaps()[0];
    assert!(gap.opened_at <= killed && gap.closed_at.is_some_and(|at| at > gap.opened_at && at <= live), "{gap:#?}");
    bridge.stop().await;
}

/// Checks that requests are signed with the time that the bridge's clock shows, as closely as any handler asks for.
fn assert_signed(handler: &Receiver, ahead: SignedDuration) {
    let off = Timestamp::now().as_second() + ahead.as_secs() - handler.last_timestamp();
    assert!(off.abs() < 300, "{off} s off");
}
