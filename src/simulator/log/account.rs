//! What clients did, added up: how they asked for tokens, and how they treated each subscription.
//!
//! The entries of the log are dropped one day; these sums are kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::Happening;

/// Adds up what happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// Token requests by the place of their parameters.
    pub requests: Requests,
    /// What happened to each subscription that had a socket.
    pub subscriptions: BTreeMap<Arc<str>, Usage>,
    /// The sockets that are live.
    #[serde(skip)]
    sockets: HashMap<u64, Socket>,
}

/// Counts token requests by their form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// With the parameters in a form.
    pub form: u64,
    /// With the parameters in the query.
    pub query: u64,
    /// Without parameters in either.
    pub neither: u64,
    /// For the grant `account_credentials`.
    pub account_credentials: u64,
    /// For the grant `client_credentials`.
    pub client_credentials: u64,
    /// For another grant or none.
    pub other_grant: u64,
}

/// Is the history of one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Sockets that were accepted.
    pub sockets: u64,
    /// Those that have not ended.
    pub live: u64,
    /// The most that were live at once.
    pub most_live: u64,
    /// Events that were written to sockets that have ended.
    pub events: u64,
    /// Heartbeats that came.
    pub heartbeats: u64,
    /// The latest that a socket began with its heartbeats.
    pub latest_first_heartbeat_ms: Option<u64>,
    /// The shortest time between two heartbeats of a socket.
    pub shortest_interval_ms: Option<u64>,
    /// The longest time between two heartbeats of a socket.
    pub longest_interval_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Socket {
    subscription: Arc<str>,
    has_beaten: bool,
}

impl Account {
    pub(super) fn enter(&mut self, what: &Happening) {
        match what {
            Happening::Token { parameters, grant, .. } => self.requests.count(parameters, grant),
            Happening::Accepted { socket, subscription } => {
                let usage = self.subscriptions.entry(Arc::clone(subscription)).or_default();
                usage.sockets += 1;
                usage.live += 1;
                usage.most_live = usage.most_live.max(usage.live);
                self.sockets.insert(*socket, Socket { subscription: Arc::clone(subscription), has_beaten: false });
            }
            Happening::Heartbeat { socket, after_ms } => self.heartbeat(*socket, *after_ms),
            Happening::Closed { socket, subscription, events, .. } => {
                self.sockets.remove(socket);
                if let Some(usage) = self.subscriptions.get_mut(subscription) {
                    usage.live -= 1;
                    usage.events += events;
                }
            }
            Happening::Refused { .. }
            | Happening::Held { .. }
            | Happening::Silent
            | Happening::NoTls { .. }
            | Happening::Unexpected { .. }
            | Happening::Faults { .. } => {}
        }
    }

    fn heartbeat(&mut self, socket: u64, after_ms: u64) {
        let Some(socket) = self.sockets.get_mut(&socket) else { return };
        let Some(usage) = self.subscriptions.get_mut(&socket.subscription) else { return };
        usage.heartbeats += 1;
        if std::mem::replace(&mut socket.has_beaten, true) {
            usage.shortest_interval_ms = Some(usage.shortest_interval_ms.map_or(after_ms, |least| least.min(after_ms)));
            usage.longest_interval_ms = usage.longest_interval_ms.max(Some(after_ms));
        } else {
            usage.latest_first_heartbeat_ms = usage.latest_first_heartbeat_ms.max(Some(after_ms));
        }
    }
}

impl Requests {
    fn count(&mut self, parameters: &str, grant: &str) {
        *match parameters {
            "form" => &mut self.form,
            "query" => &mut self.query,
            _ => &mut self.neither,
        } += 1;
        *match grant {
            "account_credentials" => &mut self.account_credentials,
            "client_credentials" => &mut self.client_credentials,
            _ => &mut self.other_grant,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reason;
    use super::*;

    fn account(happenings: &[Happening]) -> Account {
        let mut account = Account::default();
        happenings.iter().for_each(|what| account.enter(what));
        account
    }

    #[test]
    fn sockets_and_heartbeats_are_added_up_by_subscription() {
        let beat = |socket, after_ms| Happening::Heartbeat { socket, after_ms };
        let accepted = |socket, name: &str| Happening::Accepted { socket, subscription: name.into() };
        let closed = Happening::Closed { socket: 1, subscription: "a".into(), reason: Reason::Lost, events: 7 };
        let account = account(&[
            accepted(1, "a"),
            beat(1, 3),
            beat(1, 30_000),
            beat(1, 26_000),
            accepted(2, "b"),
            closed,
            accepted(3, "a"),
            beat(3, 5),
            beat(3, 29_000),
        ]);
        let expected = Usage {
            sockets: 2,
            live: 1,
            most_live: 1,
            events: 7,
            heartbeats: 5,
            latest_first_heartbeat_ms: Some(5),
            shortest_interval_ms: Some(26_000),
            longest_interval_ms: Some(30_000),
        };
        assert_eq!(account.subscriptions["a"], expected);
        assert_eq!((account.subscriptions["b"].live, account.sockets.len()), (1, 2));
    }

    #[test]
    fn token_requests_are_added_up_by_form_and_grant() {
        let asked = |parameters, grant: &str| Happening::Token { parameters, grant: grant.into(), status: 200 };
        let Account { requests, .. } =
            account(&[asked("form", "account_credentials"), asked("query", "client_credentials"), asked("form", "x")]);
        let expected =
            Requests { form: 2, query: 1, neither: 0, account_credentials: 1, client_credentials: 1, other_grant: 1 };
        assert_eq!(requests, expected);
    }
}
