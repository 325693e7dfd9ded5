//! The live sockets by subscription, and the rule that each subscription has one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;

use super::fault::{Cut, Evict};
use super::log::Reason;

/// Batches that may wait for a socket. A client that reads slower than events come holds up who pushes them.
const QUEUE: usize = 64;

/// Is the frames of some events, written with one flush.
#[derive(Clone)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    pub(super) events: u64,
}

/// Holds every accepted socket.
#[derive(Default)]
pub(super) struct Hub {
    sockets: Mutex<Sockets>,
}

#[derive(Default)]
struct Sockets {
    last: u64,
    live: Vec<Live>,
}

struct Live {
    number: u64,
    subscription: Arc<str>,
    batches: mpsc::Sender<Batch>,
    end: watch::Sender<Option<(Cut, Reason)>>,
}

impl Live {
    fn end(&self, cut: Cut, reason: Reason) {
        self.end.send_replace(Some((cut, reason)));
    }
}

/// Is a socket's place in the hub, as the socket itself sees it.
pub(super) struct Seat {
    pub(super) number: u64,
    pub(super) subscription: Arc<str>,
    pub(super) batches: mpsc::Receiver<Batch>,
    pub(super) end: watch::Receiver<Option<(Cut, Reason)>>,
}

impl Hub {
    /// Seats a new socket and ends whoever must go for it, which may be the new one itself.
    pub(super) fn enter(&self, subscription: Arc<str>, evict: Evict, cut: Cut) -> Seat {
        let (sender, batches) = mpsc::channel(QUEUE);
        let (end_sender, end) = watch::channel(None);
        let mut sockets = self.lock();
        sockets.last += 1;
        let number = sockets.last;
        let new = Live { number, subscription: Arc::clone(&subscription), batches: sender, end: end_sender };
        let taken = sockets.live.iter().any(|live| live.subscription == subscription);
        match evict {
            Evict::Older => {
                let gone = sockets.live.extract_if(.., |live| live.subscription == subscription);
                gone.for_each(|live| live.end(cut, Reason::Evicted));
                sockets.live.push(new);
            }
            Evict::Newer if taken => new.end(cut, Reason::Evicted),
            Evict::Newer | Evict::Nobody => sockets.live.push(new),
        }
        Seat { number, subscription, batches, end }
    }

    /// Gives up a socket's place, if it still has one.
    pub(super) fn leave(&self, number: u64) {
        self.lock().live.retain(|live| live.number != number);
    }

    /// Hands a batch to the sockets of one subscription, or of all, and says how many took it.
    pub(super) async fn send(&self, subscription: Option<&str>, batch: Batch) -> usize {
        let receivers: Vec<mpsc::Sender<Batch>> = {
            let sockets = self.lock();
            let chosen = sockets.live.iter().filter(|live| subscription.is_none_or(|name| *live.subscription == *name));
            chosen.map(|live| live.batches.clone()).collect()
        };
        let mut taken = 0;
        for receiver in receivers {
            taken += usize::from(receiver.send(batch.clone()).await.is_ok());
        }
        taken
    }

    /// Ends the sockets of one subscription, or of all, and says how many there were.
    pub(super) fn end(&self, subscription: Option<&str>, cut: Cut) -> usize {
        let mut sockets = self.lock();
        let chosen = sockets.live.extract_if(.., |live| subscription.is_none_or(|name| *live.subscription == *name));
        chosen.map(|live| live.end(cut, Reason::Dropped)).count()
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
