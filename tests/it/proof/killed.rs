//! `kill -9`, again and again.

use std::time::Duration;

use zoomhook::clock::Clock;

use super::books::Books;
use super::is_long;
use crate::lab::Lab;
use crate::receiver::Answer;

/// Events of one burst: more than the bridge takes in the time that it has.
const BURST: usize = 400;
/// A bridge is killed within this time after it went live.
const LIFE: Duration = Duration::from_millis(60);

#[tokio::test]
async fn kill_9_at_random_moments_loses_nothing() {
    let lab = Lab::new(&["slow", "fast"]).await;
    lab.handler("slow").answer(Answer::Slow(Duration::from_millis(3)));
    let mut books = Books::default();
    for _ in 0..if is_long() { 500 } else { 50 } {
        let bridge = lab.live_bridge().await;
        let life = LIFE.mul_f64(Clock::system().jitter());
        tokio::join!(books.send(&lab.zoom, BURST), async {
            tokio::time::sleep(life).await;
            bridge.kill().await;
        });
        lab.zoom.wait_for(|counts| counts.live() == 0).await;
    }
    let bridge = lab.live_bridge().await;
    let account = books.close(&lab, &bridge).await;
    bridge.stop().await;
    assert!(account.stored > 1000 && account.in_gaps > 0, "it was killed in the midst of bursts: {account:?}");
}
