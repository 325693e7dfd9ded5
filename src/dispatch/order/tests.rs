//! Order under random latencies and failures, in made-up time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::held::GATHERING;
use super::*;
use crate::clock::Clock;
use crate::dispatch::key::key;
use crate::event::Event;

proptest! {
    // That a page is cut between two of a thing, and its head fails again, is rare.
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn object_never_has_two_of_one_thing_in_flight_and_strict_never_inverts(
        strict: bool,
        apart in prop::sample::select(vec![1, 2, 3, HELD_APART]),
        arrivals in prop::collection::vec(0..4_u8, 1..60),
        choices in prop::collection::vec((any::<u8>(), any::<bool>(), page(), any::<u8>()), 1..400),
        loses: bool,
    ) {
        let ordering = if strict { Ordering::Strict } else { Ordering::Object };
        let mut play = Play::new(ordering, apart);
        let mut arrivals = (1..).zip(arrivals);
        for (choice, fails, page, chance) in choices {
            play.loses = loses && chance < 16;
            match choice % 4 {
                0 => if let Some((id, thing)) = arrivals.next() { play.arrive(id, thing) },
                1 | 2 => play.start(usize::from(choice)),
                _ => play.end(usize::from(choice), fails, page),
            }
            prop_assert!(play.in_flight_things().len() == play.in_flight.len(), "two of one thing in flight");
        }
        for (id, thing) in arrivals {
            play.arrive(id, thing);
        }
        // Once nothing fails any more, everything is delivered: no thing is forgotten behind another, or behind what is lost.
        play.loses = false;
        play.settle();
        prop_assert_eq!(play.order.count(), 0);
        prop_assert_eq!(play.order.bytes(), 0);
        prop_assert!(play.disk.is_empty() && play.order.held.count() == 0);
        if strict {
            for delivered in play.delivered.values() {
                prop_assert!(delivered.is_sorted(), "{:?}", delivered);
            }
        }
    }
}

/// Chooses how many events the next page holds: now and then no look happens, and a page is cut anywhere.
fn page() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![0, 0, 0, 1, 2, 8])
}

#[test]
fn head_that_fails_again_while_others_are_on_the_disk_yet_is_overtaken_by_none_of_them() {
    let mut play = Play::new(Ordering::Strict, HELD_APART);
    play.arrive(1, 0);
    play.start(0);
    play.end(0, true, 0);
    play.arrive(2, 0);
    // The page is cut behind the first, which fails again.
    for _ in 0..3 {
        play.end(0, true, 1);
    }
    play.start(0);
    play.end(0, true, 0);
    play.arrive(3, 0);
    for _ in 0..3 {
        play.end(0, true, 0);
    }
    play.end(0, true, 8);
    play.settle();
    assert_eq!(play.delivered.get(&0), Some(&vec![1, 2, 3]));
}

#[test]
fn nothing_waits_for_an_event_that_is_lost_and_its_thing_is_forgotten_with_the_last() {
    for apart in [1, HELD_APART] {
        let at = |second| Timestamp::from_second(second).expect("within range");
        let mut order = Order::new(Ordering::Strict, apart);
        let thing = item(1, Some(0)).key;
        for id in [1, 2] {
            order.found_waiting(thing, EventId(id), at(20));
        }
        let other = item(1, Some(1)).key;
        order.found_waiting(other, EventId(7), at(10));
        let Put::Held(_, until) = order.put(item(3, Some(0))) else { panic!("it is held") };
        let second = |order: &mut Order| {
            let mut retry = Item { kind: Kind::Retry, ..item(2, Some(0)) };
            retry.due.due = until;
            matches!(order.put(retry), Put::Waits)
        };
        assert!(!second(&mut order), "the first is on the disk");
        order.lost(thing, EventId(1));
        assert!(second(&mut order), "nothing comes before it");
        assert!(matches!(order.put(item(4, Some(0))), Put::Held(..)), "the third is on the disk");
        for id in [3, 4] {
            order.lost(thing, EventId(id));
        }
        order.lost(other, EventId(7));
        assert_eq!(order.held.count(), 0);
        order.lost(thing, EventId(4));
        order.found_waiting(other, EventId(8), at(30));
        order.found_waiting(thing, EventId(9), at(30));
        assert_eq!(order.held.count(), apart.min(2), "they are held apart again");
    }
}

#[test]
fn head_that_fails_again_by_a_clock_that_was_set_back_is_overtaken_by_none() {
    let second = |second| Timestamp::from_second(second).expect("within range");
    let mut order = Order::new(Ordering::Strict, HELD_APART);
    let mut head = item(1, Some(0));
    assert!(matches!(order.put(item(1, Some(0))), Put::Waits));
    let taken = order.take(Kind::First).expect("ready");
    assert!(matches!(order.put(item(2, Some(0))), Put::Waits));
    let behind = order.waits_for_retry(taken.key, EventId(1), second(100));
    assert_eq!(
        behind.iter().map(|(item, until)| (item.due.event.id.0, *until)).collect::<Vec<_>>(),
        [(2, second(100))]
    );
    (head.kind, head.due.due) = (Kind::Retry, second(100));
    assert!(matches!(order.put(head), Put::Waits));
    let taken = order.take(Kind::Retry).expect("ready");
    order.waits_for_retry(taken.key, EventId(1), second(50));
    let Put::Held(_, until) = order.put(item(3, Some(0))) else { panic!("it is held") };
    assert_eq!(until, second(100), "the second comes due then");
}

#[test]
fn other_things_flow_past_one_that_is_held() {
    let mut play = Play::new(Ordering::Strict, HELD_APART);
    play.arrive(1, 0);
    play.start(0);
    play.end(0, true, 2);
    play.arrive(2, 0);
    play.arrive(3, 1);
    play.start(0);
    play.end(0, false, 2);
    assert_eq!(play.delivered.get(&1), Some(&vec![3]));
    assert_eq!(play.disk.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [1, 2], "the follower waits with its head");
}

#[test]
fn events_about_nothing_keep_no_order() {
    let mut order = Order::new(Ordering::Strict, HELD_APART);
    for id in [1, 2] {
        assert!(matches!(order.put(item(id, None)), Put::Waits));
    }
    assert!(order.take(Kind::First).is_some() && order.take(Kind::First).is_some(), "both at once");
}

#[test]
fn head_that_was_found_at_the_start_holds_later_events_back() {
    let mut order = Order::new(Ordering::Strict, HELD_APART);
    let thing = item(9, Some(0)).key;
    order.found_waiting(thing, EventId(4), Timestamp::UNIX_EPOCH);
    order.found_waiting(thing, EventId(5), Timestamp::UNIX_EPOCH);
    let retry = |id| Item { kind: Kind::Retry, ..item(id, Some(0)) };
    assert!(matches!(order.put(item(9, Some(0))), Put::Held(..)));
    assert!(matches!(order.put(retry(5)), Put::Held(..)), "the earliest goes first");
    assert!(matches!(order.put(retry(4)), Put::Waits));
    assert!(matches!(order.put(item(10, Some(0))), Put::Held(..)), "and no later one before those on the disk");
    assert!(matches!(order.put(retry(5)), Put::Waits));
}

#[test]
fn what_was_planned_under_another_order_goes_on_by_its_numbers() {
    let mut order = Order::new(Ordering::Strict, HELD_APART);
    let at = |second| Timestamp::from_second(second).expect("within range");
    let thing = item(9, Some(0)).key;
    for (id, due) in [(1, 20), (3, 25), (2, 40)] {
        order.found_waiting(thing, EventId(id), at(due));
    }
    let until = |put| match put {
        Put::Held(_, until) => Some(until),
        Put::Waits => None,
    };
    let mut retry = |id, due: Timestamp| {
        let mut item = Item { kind: Kind::Retry, ..item(id, Some(0)) };
        item.due.due = due;
        until(order.put(item))
    };
    let gathered = at(40) + GATHERING;
    assert_eq!((retry(1, at(20)), retry(3, at(25))), (None, Some(gathered)), "the third waits for the second");
    assert_eq!(retry(2, at(40)), Some(gathered), "the second was read before the third was there");
    assert_eq!((retry(2, gathered), retry(3, gathered)), (None, None));
    let mut order = Order::new(Ordering::Strict, HELD_APART);
    order.found_waiting(thing, EventId(1), at(20));
    order.found_waiting(thing, EventId(2), at(40));
    assert_eq!(until(order.put(item(3, Some(0)))), Some(at(40)), "a new one comes due behind the last");
}

#[test]
fn things_beyond_those_that_are_held_apart_share_their_places_and_none_is_put_out_of_order() {
    const APART: usize = 64;
    const THINGS: u64 = 20_000;
    let at = |second| Timestamp::from_second(second).expect("within range");
    let mut order = Order::new(Ordering::Strict, APART);
    let thing = |number: u64| key(format!(r#"{{"payload":{{"object":{{"uuid":"{number}"}}}}}}"#).as_bytes());
    let of = |number: u64, id| Item { key: thing(number), ..item(id, Some(0)) };
    let mut disk = BTreeSet::new();
    for number in 0..THINGS {
        order.found_waiting(thing(number), EventId(number + 1), at((number % 97).cast_signed()));
        disk.insert((at((number % 97).cast_signed()), number + 1));
        assert!(order.held.count() <= APART, "{} places", order.held.count());
    }
    for number in 0..THINGS {
        let id = THINGS + number + 1;
        let Put::Held(_, until) = order.put(of(number, id)) else { panic!("an event of thing {number} overtakes") };
        disk.insert((until, id));
    }
    let mut came = BTreeMap::new();
    let mut looks = 0_u64;
    while let Some((due, id)) = disk.pop_first() {
        looks += 1;
        let number = (id - 1) % THINGS;
        let mut retry = Item { kind: Kind::Retry, ..of(number, id) };
        retry.due.due = due;
        match order.put(retry) {
            Put::Held(_, until) => assert!(disk.insert((until, id))),
            Put::Waits => {
                let kind = if order.waits(Kind::Retry) { Kind::Retry } else { Kind::First };
                let taken = order.take(kind).expect("ready");
                order.ended(taken.key);
                came.entry(number).or_insert_with(Vec::new).push(id);
            }
        }
    }
    assert!(came.len() as u64 == THINGS && came.values().all(|ids| ids.len() == 2 && ids.is_sorted()));
    assert!(looks < 10 * THINGS, "{looks} looks for {} events", 2 * THINGS);
    assert_eq!(order.held.count(), 0);
    assert!(matches!(order.put(of(1, 3 * THINGS)), Put::Waits), "and they are held apart again");
}

#[test]
fn what_the_spool_planned_by_itself_is_not_taken_for_an_event_that_is_held() {
    let at = |second| Timestamp::from_second(second).expect("within range");
    let mut order = Order::new(Ordering::Strict, HELD_APART);
    let thing = item(9, Some(0)).key;
    for id in [4, 5] {
        order.found_waiting(thing, EventId(id), at(20));
    }
    let mut retry = |id, second, is_planned| {
        let mut retry = Item { kind: Kind::Retry, ..item(id, Some(0)) };
        (retry.due.due, retry.due.is_planned) = (at(second), is_planned);
        matches!(order.put(retry), Put::Waits)
    };
    assert!(!retry(2, 1, true) && !retry(3, 2, true), "replays wait with the others");
    assert!(!retry(4, 20, false));
    assert!(retry(2, 20, false) && retry(3, 20, false) && retry(4, 20, false));
    assert!(matches!(order.put(item(9, Some(0))), Put::Held(..)), "the fifth is on the disk yet");
}

#[test]
fn what_is_sent_back_stops_the_rest_of_its_page() {
    let at = |second| Timestamp::from_second(second).expect("within range");
    let mut order = Order::new(Ordering::Strict, HELD_APART);
    let thing = item(9, Some(0)).key;
    for (id, second) in [(1, 10), (3, 25), (2, 20), (4, 40)] {
        order.found_waiting(thing, EventId(id), at(second));
    }
    let gathered = at(40) + GATHERING;
    let mut retry = |id, due| {
        let mut retry = Item { kind: Kind::Retry, ..item(id, Some(0)) };
        retry.due.due = due;
        matches!(order.put(retry), Put::Waits)
    };
    assert!(retry(1, at(10)) && !retry(2, at(20)));
    // The next page was read after the second had gathered, and before the third and the fourth had.
    assert!(!retry(3, at(25)) && !retry(4, at(40)) && !retry(2, gathered));
    assert!(!retry(5, gathered), "the third is behind it");
    assert!(retry(2, gathered) && retry(3, gathered) && retry(4, gathered) && retry(5, gathered));
}

#[test]
fn what_a_clock_planned_that_was_set_back_since_is_not_sent_back_there_and_keeps_its_order() {
    let at = |second| Timestamp::from_second(second).expect("within range");
    let mut order = Order::new(Ordering::Strict, HELD_APART);
    let thing = item(9, Some(0)).key;
    for (id, second) in [(1, 20), (2, 7_200), (3, 7_200)] {
        order.found_waiting(thing, EventId(id), at(second));
    }
    order.look_up_to(at(60));
    let mut retry = |id, second| {
        let mut retry = Item { kind: Kind::Retry, ..item(id, Some(0)) };
        retry.due.due = at(second);
        match order.put(retry) {
            Put::Held(_, until) => Some(until),
            Put::Waits => None,
        }
    };
    // What lies beyond is read first.
    assert_eq!([retry(2, 7_200), retry(1, 20), retry(3, 7_200)], [Some(at(60)); 3]);
    assert_eq!([retry(1, 60), retry(2, 60), retry(3, 60)], [None; 3]);
}

/// Plays lane and disk around an order.
struct Play {
    order: Order,
    now: Timestamp,
    in_flight: Vec<Item>,
    /// What waits for its retry: when it is due, and its number.
    disk: BTreeSet<(Timestamp, u64)>,
    /// What is sent to the disk now does not get there.
    loses: bool,
    /// What did not, and the order does not know of yet.
    lost: Vec<u64>,
    things: BTreeMap<u64, u8>,
    delivered: BTreeMap<u8, Vec<u64>>,
}

impl Play {
    fn new(ordering: Ordering, apart: usize) -> Self {
        Self {
            order: Order::new(ordering, apart),
            now: Timestamp::UNIX_EPOCH,
            in_flight: Vec::new(),
            disk: BTreeSet::new(),
            loses: false,
            lost: Vec::new(),
            things: BTreeMap::new(),
            delivered: BTreeMap::new(),
        }
    }

    fn arrive(&mut self, id: u64, thing: u8) {
        self.things.insert(id, thing);
        self.put(item(id, Some(thing)));
    }

    fn put(&mut self, item: Item) {
        if let Put::Held(item, until) = self.order.put(item) {
            self.store(until, item.due.event.id.0);
        }
    }

    fn store(&mut self, until: Timestamp, id: u64) {
        if self.loses {
            self.lost.push(id);
        } else {
            self.disk.insert((until, id));
        }
    }

    fn start(&mut self, choice: usize) {
        for id in self.lost.drain(..) {
            self.order.lost(item(id, Some(self.things[&id])).key, EventId(id));
        }
        let kind = if choice.is_multiple_of(2) { Kind::First } else { Kind::Retry };
        let other = if kind == Kind::First { Kind::Retry } else { Kind::First };
        if let Some(item) = self.order.take(kind).or_else(|| self.order.take(other)) {
            self.in_flight.push(item);
        }
    }

    /// Ends an attempt, and looks for a page of so many events.
    fn end(&mut self, choice: usize, fails: bool, page: usize) {
        self.now = self.now.checked_add(jiff::SignedDuration::from_millis(100)).expect("within range");
        if !self.in_flight.is_empty() {
            let item = self.in_flight.swap_remove(choice % self.in_flight.len());
            let id = item.due.event.id;
            if fails {
                let due = self.now.checked_add(jiff::SignedDuration::from_millis(250)).expect("within range");
                self.store(due, id.0);
                for (follower, until) in self.order.waits_for_retry(item.key, id, due) {
                    self.store(until, follower.due.event.id.0);
                }
            } else {
                self.delivered.entry(self.things[&id.0]).or_default().push(id.0);
                self.order.ended(item.key);
            }
        }
        let due = self.disk.iter().take_while(|(due, _)| *due <= self.now);
        let page: Vec<_> = due.take(page).copied().collect();
        for (due, id) in page {
            self.disk.remove(&(due, id));
            let mut retry = Item { kind: Kind::Retry, ..item(id, Some(self.things[&id])) };
            retry.due.due = due;
            self.put(retry);
        }
    }

    fn settle(&mut self) {
        for turn in 0..10_000 {
            if self.order.count() + self.in_flight.len() + self.disk.len() + self.lost.len() == 0 {
                return;
            }
            self.start(turn);
            self.end(turn, false, 8);
        }
    }

    fn in_flight_things(&self) -> BTreeSet<u8> {
        self.in_flight.iter().map(|item| self.things[&item.due.event.id.0]).collect()
    }
}

fn item(id: u64, thing: Option<u8>) -> Item {
    let body = match thing {
        Some(thing) => format!(r#"{{"payload":{{"object":{{"uuid":"{thing}"}}}}}}"#),
        None => "{}".to_owned(),
    };
    let event = Event {
        id: EventId(id),
        request_id: Clock::system().request_id(),
        subscription: "main".into(),
        kind: "meeting.started".into(),
        event_ts: None,
        received_at: Timestamp::UNIX_EPOCH,
        body: Bytes::from(body),
        unreadable: None,
    };
    let key = key(&event.body);
    Item {
        kind: Kind::First,
        due: Due {
            event: Arc::new(event),
            attempts: 0,
            since: Timestamp::UNIX_EPOCH,
            due: Timestamp::UNIX_EPOCH,
            replays: 0,
            is_planned: false,
        },
        key,
    }
}
