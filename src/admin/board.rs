//! What the sockets and lanes say of themselves, gathered for those who watch.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::dispatch::status as lane;
use crate::zoom::status::{self as socket, Link};

/// Says that a configuration was refused, so that the one before it is in force.
#[derive(Clone, Debug)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// What is wrong with it, in words; never empty.
    pub problems: Vec<String>,
}

/// Holds the status of every subscription and destination that runs now.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// The reload that was refused last, unless one was taken since.
    pub refused: Option<Refused>,
    /// False while the bridge starts: what is configured is not here yet.
    pub started: bool,
    /// Subscriptions by name.
    pub subscriptions: Vec<(Arc<str>, watch::Receiver<socket::Status>)>,
    /// Destinations by name.
    pub destinations: Vec<(Arc<str>, watch::Receiver<lane::Status>)>,
}

impl Board {
    /// Returns what each subscription says now; one whose task has ended says nothing more, and counts as stopped.
    pub(crate) fn subscriptions(&self) -> Vec<(Arc<str>, socket::Status)> {
        let read = |(name, receiver): &(Arc<str>, watch::Receiver<socket::Status>)| {
            let mut status = receiver.borrow().clone();
            if receiver.has_changed().is_err() && status.link != Link::Stopped {
                status.link = Link::Stopped;
                status.reason = "its task has ended; restart the bridge".into();
            }
            (Arc::clone(name), status)
        };
        self.subscriptions.iter().map(read).collect()
    }

    /// Returns the names of the subscriptions.
    pub(crate) fn subscription_names(&self) -> Vec<Arc<str>> {
        self.subscriptions.iter().map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Returns the names of the destinations.
    pub(crate) fn destination_names(&self) -> Vec<Arc<str>> {
        self.destinations.iter().map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Returns what each destination says now.
    pub(crate) fn destinations(&self) -> Vec<(Arc<str>, lane::Status)> {
        self.destinations.iter().map(|(name, receiver)| (Arc::clone(name), receiver.borrow().clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscription_whose_task_has_ended_does_not_look_live() {
        let live = socket::Status { connects: 1, ..socket::Status::new(Link::Live, Timestamp::UNIX_EPOCH) };
        let (sender, receiver) = watch::channel(live);
        let board = Board { started: true, subscriptions: vec![("main".into(), receiver)], ..Board::default() };
        let link = |board: &Board| board.subscriptions().first().map(|(_, status)| status.link);
        assert_eq!(link(&board), Some(Link::Live));
        drop(sender);
        assert_eq!(link(&board), Some(Link::Stopped));
    }
}
