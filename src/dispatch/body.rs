//! What is posted of an event's body, and what is told of bodies that JavaScript would write differently.

use std::collections::HashSet;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;

use crate::config::BodyForm;
use crate::event::Event;
use crate::telemetry::metrics::{ByDestinationOutcome, Metrics};
use crate::webhook::canonical::{Form, Unsafe};

/// More types than Zoom has; what comes beyond them is counted and not warned about.
const MOST_TYPES: usize = 1000;
/// Longer names of types are cut, in the log and in memory.
const LONGEST_TYPE: usize = 100;

/// Says how a body that is no fixed point of JavaScript is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// As JavaScript would write it.
    Canonical,
    /// As it came, because of this.
    Kept(Unsafe),
}

/// Chooses the bytes to post. The same body and form give the same bytes: every attempt carries them.
pub(super) fn posted(body: &Bytes, form: BodyForm) -> (Bytes, Option<Change>) {
    match form {
        BodyForm::Verbatim => (body.clone(), None),
        BodyForm::JavaScript => match Form::of(body) {
            Form::Fixed => (body.clone(), None),
            Form::Canonical(bytes) => (bytes.into(), Some(Change::Canonical)),
            Form::Unsafe(why) => (body.clone(), Some(Change::Kept(why))),
        },
    }
}

/// Tells metrics and log of one destination.
pub(super) struct Herald {
    canonical: Counter,
    kept: Counter,
    warned: HashSet<Box<str>>,
}

impl Herald {
    pub(super) fn new(metrics: &Metrics, destination: &str) -> Self {
        let outcome = |outcome| {
            let labels = ByDestinationOutcome { destination: destination.to_owned(), outcome };
            metrics.bodies_not_fixed_point.get_or_create(&labels).clone()
        };
        Self { canonical: outcome("canonical"), kept: outcome("unsafe"), warned: HashSet::new() }
    }

    /// Counts an event, and warns of the first of its type that is posted as it came.
    pub(super) fn tell(&mut self, destination: &str, event: &Event, change: Change) {
        match change {
            Change::Canonical => _ = self.canonical.inc(),
            Change::Kept(why) => {
                self.kept.inc();
                let kind = &event.kind[..event.kind.floor_char_boundary(LONGEST_TYPE)];
                if self.is_first(kind) {
                    tracing::warn!(
                        destination.name = %destination, event.id = event.id.0, event.kind = kind, reason = %why,
                        "posted as it came: a handler that verifies over JSON.stringify(req.body) refuses it; \
                         said once for each type"
                    );
                }
            }
        }
    }

    fn is_first(&mut self, kind: &str) -> bool {
        !self.warned.contains(kind) && self.warned.len() < MOST_TYPES && self.warned.insert(kind.into())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::event::{EventId, RequestId};

    #[test]
    fn fixed_point_is_posted_as_it_is_without_a_copy() {
        let body = Bytes::from_static(br#"{"event":"a","payload":{}}"#);
        let (bytes, change) = posted(&body, BodyForm::JavaScript);
        assert_eq!((bytes.as_ptr(), change), (body.as_ptr(), None));
    }

    #[test]
    fn other_bodies_are_posted_in_the_form_that_was_chosen() {
        let (canonical, large) =
            (Bytes::from_static(b"{\"a\": 5.0}"), Bytes::from_static(b"{\"a\": 9007199254740993}"));
        let javascript = |body| posted(body, BodyForm::JavaScript);
        assert_eq!(javascript(&canonical), (Bytes::from_static(b"{\"a\":5}"), Some(Change::Canonical)));
        assert_eq!(javascript(&large), (large.clone(), Some(Change::Kept(Unsafe::Number))));
        assert_eq!(posted(&canonical, BodyForm::Verbatim), (canonical.clone(), None));
    }

    #[test]
    fn each_type_is_warned_about_once_and_not_for_ever() {
        let metrics = Metrics::new();
        let mut herald = Herald::new(&metrics, "crm");
        assert!(herald.is_first("meeting.started") && !herald.is_first("meeting.started"));
        for n in 1..MOST_TYPES {
            assert!(herald.is_first(&n.to_string()));
        }
        assert!(!herald.is_first("meeting.ended"));
        assert_eq!(herald.warned.len(), MOST_TYPES);
    }

    #[test]
    fn every_event_is_counted_and_a_long_type_is_cut_between_characters() {
        let metrics = Metrics::new();
        let mut herald = Herald::new(&metrics, "crm");
        let event = Event {
            id: EventId(1),
            request_id: RequestId::new(Uuid::nil()),
            subscription: "main".into(),
            kind: "é".repeat(51).replacen('é', "e", 1).into(),
            event_ts: None,
            received_at: Timestamp::UNIX_EPOCH,
            body: Bytes::new(),
            unreadable: None,
        };
        for _ in 0..2 {
            herald.tell("crm", &event, Change::Kept(Unsafe::NotJson));
        }
        herald.tell("crm", &event, Change::Canonical);
        assert_eq!(herald.warned.iter().map(|kind| kind.len()).collect::<Vec<_>>(), [99]);
        let page = metrics.render().expect("a page");
        for line in [
            "zoomhook_bodies_not_fixed_point_total{destination=\"crm\",outcome=\"unsafe\"} 2\n",
            "zoomhook_bodies_not_fixed_point_total{destination=\"crm\",outcome=\"canonical\"} 1\n",
        ] {
            assert!(page.contains(line), "{page}");
        }
    }
}
