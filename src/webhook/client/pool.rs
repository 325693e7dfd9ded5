//! Connections that wait for the next request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::connection::Connection;

/// How long an idle connection is kept: shorter than the 5 s of Node's servers, so that a request rarely
/// meets a connection that the handler is just closing.
const IDLE: Duration = Duration::from_secs(4);

/// Holds the idle connections to one host.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    /// How many are kept.
    size: usize,
    /// How many are in use.
    lent: AtomicUsize,
    idle: Mutex<Idle>,
}

/// Is a connection in use.
pub(super) struct Lent(Arc<Shared>);

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.lent.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Idle {
    /// With when each is given up; the first of them next.
    connections: Vec<(Instant, Connection)>,
    /// Whether somebody waits for that.
    is_watched: bool,
    /// One is to be given up, so that others can make theirs.
    owes: bool,
}

impl Pool {
    pub(super) fn new(size: usize) -> Self {
        Self { shared: Arc::new(Shared { size, lent: AtomicUsize::new(0), idle: Mutex::default() }) }
    }

    /// Takes the connection that was used last, of those that can be used still.
    pub(super) fn take(&self) -> Option<Connection> {
        let now = Instant::now();
        loop {
            let (until, mut connection) = self.shared.idle().connections.pop()?;
            if now < until && connection.is_ready() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request, if it can be used for one and there is room.
    pub(super) fn put(&self, mut connection: Connection) {
        if !connection.is_ready() {
            return;
        }
        let mut idle = self.shared.idle();
        // The only one is nobody's to take.
        if self.shared.lent.load(Ordering::Relaxed) > 1 && std::mem::take(&mut idle.owes) {
            return;
        }
        if idle.connections.len() < self.shared.size {
            idle.connections.push((Instant::now() + IDLE, connection));
            if !idle.is_watched {
                idle.is_watched = true;
                tokio::spawn(watch(Arc::downgrade(&self.shared)));
            }
        }
    }

    /// Counts a connection as in use until the answer is dropped.
    pub(super) fn lend(&self) -> Lent {
        self.shared.lent.fetch_add(1, Ordering::Relaxed);
        Lent(Arc::clone(&self.shared))
    }

    /// Gives up the next one that comes back while others are in use: this machine has no room for more.
    pub(super) fn give_one_up(&self) {
        self.shared.idle().owes = true;
    }

    /// Gives up all that is idle.
    pub(super) fn clear(&self) {
        self.shared.idle().connections.clear();
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        // A connection is in it or it is not, whatever panicked meanwhile.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up what has been idle for too long; answers when to look again.
    fn sift(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.idle();
        let old = idle.connections.iter().take_while(|(until, _)| *until <= now).count();
        idle.connections.drain(..old);
        let next = idle.connections.first().map(|(until, _)| *until);
        idle.is_watched = next.is_some();
        next
    }
}

/// Looks after a pool until nothing is left in it.
async fn watch(pool: Weak<Shared>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.sift()) {
        sleep_until(next).await;
    }
}
