//! What is found in parts, however small, is what fits: no more, no less, in order.

use std::path::Path;

use jiff::Timestamp;

use super::*;
use crate::config::filter::Pattern;
use crate::spool::record::GroupCursor;
use crate::spool::sqlite::schema;

const EVENTS: i64 = 48;
const STATES: [DeliveryState; 4] = DeliveryState::ALL;

/// Is an event as the tests know it.
struct Stored {
    id: i64,
    kind: &'static str,
    at: i64,
    parked: bool,
    text: Option<String>,
    deliveries: Vec<(&'static str, DeliveryState, &'static str)>,
}

#[test]
fn parts_of_every_list_join_to_what_fits() {
    let (connection, stored) = spool();
    let mut found = 0;
    for query in queries() {
        let expected: Vec<u64> = stored.iter().rev().filter(|event| event.fits(&query)).map(Stored::id).collect();
        found += expected.len();
        for (budget, limit) in [(1, 2), (9, 3), (100_000, 7), (100_000, 100)] {
            let search = Search { connection: &connection, budget, has_texts: true, has_summaries: true };
            let mut query = EventQuery { limit, ..query.clone() };
            let mut joined = Vec::new();
            loop {
                let page = search.events(&query).expect("readable");
                assert!(page.rows.len() <= limit, "{query:?}");
                joined.extend(page.rows.iter().map(|event| event.0));
                let Some(next) = page.next else { break };
                assert!(query.before.is_none_or(|before| next < before), "each part goes on: {query:?}");
                query.before = Some(next);
            }
            assert_eq!(joined, expected, "budget {budget}, {query:?}");
        }
    }
    assert!(found > 1000, "{found}");
}

#[test]
fn page_names_the_next_one_only_when_there_is_one() {
    let (connection, stored) = spool();
    let search = Search { connection: &connection, budget: BUDGET, has_texts: true, has_summaries: true };
    let page = |limit, kind: &str| {
        let query = EventQuery { limit, kind: Some(kind.parse().expect("a pattern")), ..EventQuery::default() };
        search.events(&query).expect("readable")
    };
    let count = stored.iter().filter(|event| event.kind == "meeting.ended").count();
    assert!(count > 2);
    assert_eq!(page(count, "meeting.ended").next, None);
    let short = page(count - 1, "meeting.ended");
    assert_eq!(short.next, short.rows.last().copied());
}

#[test]
fn one_part_looks_at_no_more_than_its_budget() {
    let (connection, _) = spool();
    let search = Search { connection: &connection, budget: 12, has_texts: true, has_summaries: true };
    let first = |query: EventQuery| search.events(&EventQuery { limit: 5, ..query }).expect("readable").next;
    let kind = || Some(Pattern::Exact("no.such".into()));
    let nowhere = first(EventQuery { kind: kind(), ..EventQuery::default() });
    assert_eq!(nowhere, Some(event_id(EVENTS - 11)), "a row costs one");
    let of_crm = first(EventQuery { kind: kind(), destination: Some("crm".to_owned()), ..EventQuery::default() });
    assert!(of_crm.is_some_and(|next| next > event_id(EVENTS - 11)), "a row of two tables costs more: {of_crm:?}");
    let none = first(EventQuery { destination: Some("nobody".to_owned()), ..EventQuery::default() });
    assert_eq!(none, None);
}

#[test]
fn blocks_are_passed_over_only_where_nothing_fits() {
    let (connection, stored) = spool_of(1100);
    blocks::summarise(&connection, EventId(255), EventId(1100)).expect("blocks 1 to 3, and neither 0 nor 4");
    let all = |budget, query: &EventQuery| {
        let search = |has_summaries| Search { connection: &connection, budget, has_texts: true, has_summaries };
        let [(found, parts), plain] = [true, false].map(|has_summaries| joined(search(has_summaries), query));
        assert_eq!(found, plain.0, "{query:?}");
        (found, parts, plain.1)
    };
    for words in [
        "nirgends",
        "8608470700",
        "700 sitzung",
        "RECORDING 3",
        "alteste",
        "zzq",
        "00000000-0000-4000-8000-0000000002bc",
    ] {
        for state in STATES.map(Some).into_iter().chain([None]) {
            for destination in [None, Some("audit")] {
                for parked in [false, true] {
                    let text = Text { words: words.parse().expect("words"), within: Within::Body };
                    let destination = destination.map(str::to_owned);
                    let query = EventQuery { text: Some(text), state, destination, parked, ..EventQuery::default() };
                    let fitting = stored.iter().rev().filter(|event| event.fits(&query)).map(Stored::id);
                    assert_eq!(all(90, &query).0, fitting.collect::<Vec<_>>(), "{query:?}");
                }
            }
        }
    }
    for (words, within) in [("nirgends", Within::Body), ("nirgends", Within::Row), ("sitzung", Within::Row)] {
        let text = Text { words: words.parse().expect("words"), within };
        let (found, parts, plain) = all(90, &EventQuery { text: Some(text), ..EventQuery::default() });
        assert!(found.is_empty() && parts + 10 < plain, "{words}: {parts} parts instead of {plain}");
    }
}

#[test]
fn block_that_cannot_be_read_keeps_nobody_from_writing() {
    let (connection, _) = spool_of(600);
    connection.execute("UPDATE events SET kind = CAST(x'ff' AS TEXT) WHERE id = 100", []).expect("damage");
    let without = blocks::summarise(&connection, EventId(0), EventId(600));
    assert!(without.is_err(), "where the transaction is gone, whoever writes must know it");
    let transaction = connection.unchecked_transaction().expect("a transaction");
    blocks::summarise(&transaction, EventId(0), EventId(600)).expect("the others");
    transaction.commit().expect("it is whole");
    let summarised = connection.query_row("SELECT group_concat(block) FROM summaries", [], |row| row.get(0));
    assert_eq!(summarised, Ok("1".to_owned()));
}

#[test]
fn file_without_texts_is_searched_by_what_it_has() {
    let (connection, _) = spool();
    let find = |has_texts, words: &str| {
        let search = Search { connection: &connection, budget: BUDGET, has_texts, has_summaries: has_texts };
        let text = Text { words: words.parse().expect("words"), within: Within::Body };
        let query = EventQuery { text: Some(text), limit: 100, ..EventQuery::default() };
        search.events(&query).expect("readable").rows.len()
    };
    assert!(find(true, "sitzung") > 0);
    assert_eq!(find(false, "sitzung"), 0);
    assert_eq!(find(true, "recording"), find(false, "recording"));
    assert_eq!(find(false, "7"), 1, "the number of an event");
    assert_eq!(find(false, "00000000-0000-4000-8000-000000000007"), 1, "a request id");
}

#[test]
fn dead_letters_of_one_event_stay_on_one_page() {
    let (connection, stored) = spool();
    for query in letters() {
        let expected: Vec<(u64, &str)> = stored.iter().rev().flat_map(|event| event.letters(&query)).collect();
        for (budget, limit) in [(1, 1), (7, 2), (100_000, 1), (100_000, 5), (100_000, 100)] {
            let search = Search { connection: &connection, budget, has_texts: true, has_summaries: true };
            let mut query = DeadQuery { limit, ..query.clone() };
            let mut joined = Vec::new();
            loop {
                let page = search.dead(&query).expect("readable");
                joined.extend(page.rows.iter().map(|(number, event)| (event.unsigned_abs(), name(*number))));
                let Some(next) = page.next else { break };
                assert!(page.rows.iter().all(|(_, event)| event_id(*event) >= next), "{query:?}");
                query.before = Some(next);
            }
            joined.sort_by_key(|(event, name)| (u64::MAX - event, *name));
            assert_eq!(joined, expected, "budget {budget}, {query:?}");
        }
    }
}

#[test]
fn groups_that_are_counted_in_parts_are_the_groups() {
    let (connection, stored) = spool();
    for query in letters() {
        let mut counted: Vec<(String, String, u64)> = Vec::new();
        for event in &stored {
            for (_, destination) in event.letters(&query) {
                let cause = event.deliveries.iter().find(|(name, ..)| *name == destination).map_or("", |one| one.2);
                match counted.iter_mut().find(|(name, of, _)| *name == destination && *of == cause) {
                    Some((.., count)) => *count += 1,
                    None => counted.push((destination.to_owned(), cause.to_owned(), 1)),
                }
            }
        }
        counted.sort();
        for budget in [1, 4, 100_000] {
            let search = Search { connection: &connection, budget, has_texts: true, has_summaries: true };
            let mut all = search.groups(&query, None).expect("readable");
            let mut parts = 1;
            while let Some(after) = all.next.take() {
                let after: GroupCursor = after.to_string().parse().expect("a cursor");
                all.join(search.groups(&query, Some(&after)).expect("readable"));
                parts += 1;
            }
            assert!(all.groups.is_sorted_by_key(|group| u64::MAX - group.count));
            let mut groups: Vec<(String, String, u64)> = all
                .groups
                .iter()
                .map(|group| (group.destination.to_string(), group.cause.to_string(), group.count))
                .collect();
            groups.sort();
            assert_eq!(groups, counted, "{query:?}");
            let asks_about_events = query.kind.is_some() || query.since.is_some() || query.until.is_some();
            let looks = asks_about_events || !query.events.is_empty();
            let expected = looks && budget < 100_000 && query.destination.as_deref() != Some("nobody");
            assert_eq!(parts > 1, expected, "what is counted is told at once: {query:?}");
        }
    }
}

/// Asks for every combination of what events can be asked for.
fn queries() -> Vec<EventQuery> {
    let mut queries = vec![EventQuery { before: Some(EventId(7)), ..EventQuery::default() }];
    let text = |words: &str| Text { words: words.parse().expect("words"), within: Within::Body };
    let middle = Timestamp::from_millisecond(1000 * EVENTS / 2).expect("a time");
    for kind in [None, Some("recording.*"), Some("meeting.ended")] {
        for destination in [None, Some("crm"), Some("audit")] {
            for state in STATES.map(Some).into_iter().chain([None]) {
                for (since, until) in [(None, None), (Some(middle), None), (None, Some(middle))] {
                    for parked in [false, true] {
                        for text in [None, Some(text("SITZUNG 3")), Some(text("älteste"))] {
                            queries.push(EventQuery {
                                kind: kind.map(|kind| kind.parse().expect("a pattern")),
                                state,
                                destination: destination.map(str::to_owned),
                                since,
                                until,
                                parked,
                                text,
                                before: None,
                                limit: 0,
                            });
                        }
                    }
                }
            }
        }
    }
    queries
}

/// Asks for every combination of what dead letters can be asked for.
fn letters() -> Vec<DeadQuery> {
    let mut queries = vec![DeadQuery { events: vec![EventId(7), EventId(14)], ..DeadQuery::default() }];
    let middle = Timestamp::from_millisecond(1000 * EVENTS / 2).expect("a time");
    for kind in [None, Some("meeting.*")] {
        for destination in [None, Some("crm"), Some("nobody")] {
            for cause in [None, Some("status 404"), Some("no such cause")] {
                for until in [None, Some(middle)] {
                    queries.push(DeadQuery {
                        kind: kind.map(|kind| kind.parse().expect("a pattern")),
                        destination: destination.map(str::to_owned),
                        cause: cause.map(str::to_owned),
                        until,
                        ..DeadQuery::default()
                    });
                }
            }
        }
    }
    queries
}

impl Stored {
    fn new(id: i64) -> Self {
        let turn = usize::try_from(id).expect("small");
        let parked = id % 12 == 11;
        let cause = ["status 404", "timeout", "a.b"][turn % 3];
        let mut deliveries = Vec::new();
        if !parked && id % 5 != 0 {
            deliveries.push(("crm", STATES[turn / 2 % 4], cause));
        }
        if !parked && id % 3 != 0 {
            deliveries.push(("audit", STATES[turn / 4 % 4], "status 404"));
        }
        let text = match id {
            1 => Some("alteste".to_owned()),
            id if id % 7 == 0 => None,
            id => Some(format!("sitzung {}\n8608470{id}", id % 5)),
        };
        Self {
            id,
            kind: ["meeting.started", "meeting.ended", "recording.completed"][turn % 3],
            // The clock was set back once.
            at: if id > 30 && id < 40 { id - 20 } else { id } * 1000,
            parked,
            text,
            deliveries,
        }
    }

    fn id(&self) -> u64 {
        self.id.unsigned_abs()
    }

    fn is_of(&self, kind: Option<&Pattern>, since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
        kind.is_none_or(|kind| kind.matches(self.kind))
            && since.is_none_or(|since| self.at >= since.as_millisecond())
            && until.is_none_or(|until| self.at < until.as_millisecond())
    }

    fn fits(&self, query: &EventQuery) -> bool {
        let stands = (query.destination.is_none() && query.state.is_none())
            || self.deliveries.iter().any(|(name, state, _)| {
                query.destination.as_deref().is_none_or(|wanted| wanted == *name)
                    && query.state.is_none_or(|wanted| wanted == *state)
            });
        let facts = Facts { id: self.id(), kind: self.kind, request_id: &request_id(self.id) };
        let text = self.text.as_deref().unwrap_or_default();
        stands
            && self.is_of(query.kind.as_ref(), query.since, query.until)
            && (!query.parked || self.parked)
            && query.text.as_ref().is_none_or(|wanted| wanted.words.fit(facts, text))
            && query.before.is_none_or(|before| self.id() < before.0)
    }

    fn letters(&self, query: &DeadQuery) -> Vec<(u64, &'static str)> {
        let fits = self.is_of(query.kind.as_ref(), query.since, query.until)
            && (query.events.is_empty() || query.events.contains(&EventId(self.id())));
        let mut letters: Vec<(u64, &str)> = self
            .deliveries
            .iter()
            .filter(|(name, state, cause)| {
                fits && *state == DeliveryState::Dead
                    && query.destination.as_deref().is_none_or(|wanted| wanted == *name)
                    && query.cause.as_deref().is_none_or(|wanted| wanted == *cause)
            })
            .map(|(name, ..)| (self.id(), *name))
            .collect();
        letters.sort_unstable();
        letters
    }

    fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let parked = self.parked.then_some("content is not json");
        connection.execute(
            "INSERT INTO events (id, kind, subscription, request_id, digest, received_at, size, parked, text)
             VALUES (?1, ?2, 'main', ?3, zeroblob(32), ?4, 2, ?5, ?6)",
            params![self.id, self.kind, request_id(self.id), self.at, parked, self.text],
        )?;
        for (destination, state, outcome) in &self.deliveries {
            let due = if *state == DeliveryState::Retry { 9_000_000 - self.id } else { 0 };
            connection.execute(
                "INSERT INTO deliveries (destination, event, state, attempts, due, since, settled_at, outcome)
                 SELECT id, ?2, ?3, 1, ?4, 0, ?5, ?6 FROM destinations WHERE name = ?1",
                params![destination, self.id, code(*state), due, self.at, outcome],
            )?;
        }
        Ok(())
    }
}

/// Asks on until the list ends; returns what was found, and in how many parts.
fn joined(search: Search<'_>, query: &EventQuery) -> (Vec<u64>, usize) {
    let mut query = EventQuery { limit: 100, ..query.clone() };
    let (mut joined, mut parts) = (Vec::new(), 0);
    loop {
        let page = search.events(&query).expect("readable");
        joined.extend(page.rows.iter().map(|event| event.0));
        parts += 1;
        let Some(next) = page.next else { return (joined, parts) };
        assert!(query.before.is_none_or(|before| next < before), "each part goes on: {query:?}");
        query.before = Some(next);
    }
}

fn spool() -> (Connection, Vec<Stored>) {
    spool_of(EVENTS)
}

fn spool_of(events: i64) -> (Connection, Vec<Stored>) {
    let connection = Connection::open_in_memory().expect("a database");
    schema::migrate(&connection, Path::new("memory")).expect("tables");
    for number in [1, 2] {
        connection
            .execute("INSERT INTO destinations (name, wants) VALUES (?1, '*')", [name(number)])
            .expect("a destination");
    }
    let stored: Vec<Stored> = (1..=events).map(Stored::new).collect();
    for event in &stored {
        event.insert(&connection).expect("an event");
    }
    let counts =
        "INSERT INTO dead_causes SELECT destination, outcome, count(*) FROM deliveries WHERE state = 3 GROUP BY 1, 2";
    connection.execute(counts, []).expect("counts");
    (connection, stored)
}

fn name(number: i64) -> &'static str {
    if number == 1 { "crm" } else { "audit" }
}

fn request_id(id: i64) -> String {
    format!("00000000_0000_4000_8000_{id:012x}")
}
