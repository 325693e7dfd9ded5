//! A bounded record of what happened that can be waited for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// Keeps the newest entries, numbered from 0 upward over the whole life of the journal.
pub(super) struct Journal<T> {
    entries: Mutex<VecDeque<T>>,
    capacity: usize,
    written: watch::Sender<u64>,
}

impl<T: Clone> Journal<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: Mutex::default(), capacity, written: watch::Sender::new(0) }
    }

    /// Writes an entry, over the oldest one when the journal is full.
    pub(super) fn write(&self, entry: T) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == self.capacity {
            entries.pop_front();
        }
        entries.push_back(entry);
        self.written.send_modify(|written| *written += 1);
    }

    /// Returns how many entries were ever written.
    pub(super) fn written(&self) -> u64 {
        *self.written.borrow()
    }

    /// Returns the entries from number `from` on, as far as they are still kept, and the number of the next one.
    pub(super) fn since(&self, from: u64) -> (Vec<T>, u64) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.written();
        let oldest = written - entries.len() as u64;
        let skip = from.saturating_sub(oldest) as usize;
        (entries.iter().skip(skip).cloned().collect(), written)
    }

    /// Waits until more than `seen` entries were written.
    pub(super) async fn beyond(&self, seen: u64) {
        let mut written = self.written.subscribe();
        written.wait_for(|written| *written > seen).await.expect("the sender is in self");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_and_counts_them_all() {
        let journal = Journal::new(3);
        (0..5).for_each(|entry| journal.write(entry));
        assert_eq!(journal.since(0), (vec![2, 3, 4], 5));
        assert_eq!(journal.since(4), (vec![4], 5));
        assert_eq!(journal.since(5), (vec![], 5));
    }

    #[tokio::test]
    async fn writing_wakes_who_waits() {
        let journal = Journal::new(3);
        tokio::join!(journal.beyond(0), async { journal.write(()) });
        assert_eq!(journal.written(), 1);
    }
}
