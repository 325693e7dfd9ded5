//! Events that are held back: late ones, bursts, and those that overtake each other.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Simulator;
use super::fault::FlowFault;

/// Events that may be held back; further ones let the oldest go early. A drill holds back some minutes of traffic.
const HELD: usize = 16_384;

/// Is an event that waits for its time.
struct Held {
    /// When it goes; `None` waits for more to come.
    due: Option<Instant>,
    subscription: Option<Arc<str>>,
    body: Box<str>,
}

/// Holds events back.
#[derive(Default)]
pub(super) struct Flow {
    held: Mutex<VecDeque<Held>>,
    changed: Notify,
}

impl Flow {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds events back as the fault says.
    pub(super) fn hold<T: AsRef<str>>(&self, fault: FlowFault, subscription: Option<&str>, bodies: &[T], now: Instant) {
        let mut held = self.lock();
        let due = match fault {
            FlowFault::Late(late) => Some(now + late),
            // All go with the first of them.
            FlowFault::Burst(every) => held.front().and_then(|first| first.due).or(Some(now + every)),
            FlowFault::Reversed(_) | FlowFault::Withheld => None,
        };
        let subscription: Option<Arc<str>> = subscription.map(Into::into);
        for body in bodies {
            held.push_back(Held { due, subscription: subscription.clone(), body: body.as_ref().into() });
        }
        if let FlowFault::Reversed(count) = fault {
            turn(&mut held, count, now);
        }
        if let Some(excess) = held.len().checked_sub(HELD + 1) {
            held.iter_mut().take(excess + 1).for_each(|event| event.due = Some(now));
        }
        drop(held);
        self.changed.notify_one();
    }

    /// Lets everything go.
    pub(super) fn release(&self, now: Instant) {
        self.lock().iter_mut().for_each(|held| held.due = Some(now));
        self.changed.notify_one();
    }

    /// Drops everything, and says how many events that were.
    pub(super) fn give_up(&self) -> u64 {
        self.lock().drain(..).count() as u64
    }

    /// Takes the events that are due.
    fn due(&self, now: Instant) -> Vec<Held> {
        let mut held = self.lock();
        let count = held.iter().take_while(|event| event.due.is_some_and(|due| due <= now)).count();
        held.drain(..count).collect()
    }

    fn next(&self) -> Option<Instant> {
        self.lock().front().and_then(|first| first.due)
    }
}

/// Turns each `count` of the events that wait for more, and lets them go.
fn turn(held: &mut VecDeque<Held>, count: usize, now: Instant) {
    let waiting = held.iter().position(|event| event.due.is_none()).unwrap_or(held.len());
    for group in held.make_contiguous()[waiting..].chunks_exact_mut(count) {
        group.reverse();
        group.iter_mut().for_each(|event| event.due = Some(now));
    }
}

/// Sends events when they are due, for as long as the simulator runs.
pub(super) async fn run(zoom: &Simulator) {
    let flow = &zoom.0.flow;
    loop {
        let next = flow.next();
        let due = async {
            match next {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = flow.changed.notified() => {}
            () = due => {}
        }
        let ready = flow.due(zoom.0.clock.instant());
        for group in ready.chunk_by(|one, other| one.subscription == other.subscription) {
            let bodies: Vec<&str> = group.iter().map(|held| &*held.body).collect();
            zoom.deliver(group[0].subscription.as_deref(), &bodies).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bodies(held: &[Held]) -> Vec<&str> {
        held.iter().map(|held| &*held.body).collect()
    }

    #[test]
    fn late_events_go_each_at_its_time() {
        let (flow, now) = (Flow::default(), Instant::now());
        let late = Duration::from_secs(60);
        flow.hold(FlowFault::Late(late), None, &["a"], now);
        flow.hold(FlowFault::Late(late), None, &["b"], now + Duration::from_secs(1));
        assert_eq!((flow.next(), bodies(&flow.due(now)).len()), (Some(now + late), 0));
        assert_eq!(bodies(&flow.due(now + late)), ["a"]);
        assert_eq!(bodies(&flow.due(now + late + Duration::from_secs(1))), ["b"]);
    }

    #[test]
    fn burst_goes_with_its_first_event() {
        let (flow, now) = (Flow::default(), Instant::now());
        let every = Duration::from_secs(10);
        flow.hold(FlowFault::Burst(every), None, &["a"], now);
        flow.hold(FlowFault::Burst(every), None, &["b", "c"], now + Duration::from_secs(9));
        assert_eq!(bodies(&flow.due(now + every)), ["a", "b", "c"]);
    }

    #[test]
    fn events_of_a_full_group_go_the_newest_first() {
        let (flow, now) = (Flow::default(), Instant::now());
        flow.hold(FlowFault::Reversed(3), None, &["a", "b"], now);
        assert_eq!(flow.next(), None);
        flow.hold(FlowFault::Reversed(3), None, &["c", "d"], now);
        assert_eq!(bodies(&flow.due(now)), ["c", "b", "a"]);
        flow.release(now);
        assert_eq!(bodies(&flow.due(now)), ["d"]);
    }

    #[test]
    fn held_events_are_bounded() {
        let (flow, now) = (Flow::default(), Instant::now());
        flow.hold(FlowFault::Late(Duration::from_secs(1)), None, &["a"; HELD + 5], now);
        assert_eq!(flow.due(now).len(), 5);
    }
}
