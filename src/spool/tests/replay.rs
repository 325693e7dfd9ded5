//! Replays and fills on a real file.

use std::num::NonZeroU32;

use tokio::sync::watch;

use super::*;
use crate::spool::record::DeliveryRow;
use crate::spool::replay::{Counts, Progress, Request, Scope, Selection, Stage, replay_at_rest};
use crate::spool::store::{Filled, Store as _};

#[tokio::test]
async fn replay_takes_what_fits_and_leaves_alone_what_is_on_its_way() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    graveyard(&running, &mut feed).await;
    let before = Timestamp::now();
    let progress = running.replay(Selection::all(Scope::Had { destination: Some("crm".into()) })).await;
    assert_eq!(progress.counts, Counts { replayed: 3, skipped: 2, unwanted: 0 });
    assert!(matches!(feed.next(Room::ForEvents).await, Some(Item::Due(_))), "the lane is woken");
    let due = feed.due((Timestamp::now(), Timestamp::MAX), 10, Vec::new(), 0).await.expect("readable").page;
    let ids: Vec<u64> = due.iter().map(|due| due.event.id.0).collect();
    assert_eq!(ids, [1, 2, 3], "in the order of the events");
    for delivery in due {
        assert_eq!((delivery.attempts, delivery.replays), (0, 1));
        assert!(delivery.since.as_millisecond() >= before.as_millisecond(), "its age counts from now");
    }
    running.stop().await;
    let (fresh, retrying) = (bench.delivery(4), bench.delivery(5));
    assert_eq!((fresh.state, fresh.replays), (DeliveryState::Fresh, 0));
    assert_eq!((retrying.state, retrying.attempts, retrying.replays), (DeliveryState::Retry, 1, 0));
    assert_eq!((bench.pending(), bench.dead()), (vec![5], 0));
    assert_eq!(bench.audit(), ["test: replay: 3 made due, 2 on their way left alone: events, destination crm"]);
}

#[tokio::test]
async fn dead_letters_are_chosen_by_destination_cause_type_time_and_id() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    graveyard(&running, &mut feed).await;
    let dead = |destination: Option<&str>, cause: Option<&str>| {
        Selection::all(Scope::Dead { destination: destination.map(Box::from), cause: cause.map(Box::from) })
    };
    let now = Timestamp::now();
    let (hour_ago, in_an_hour) = (now - SignedDuration::from_hours(1), now + SignedDuration::from_hours(1));
    let all = dead(None, None);
    let cases = [
        (all.clone(), 2),
        (dead(Some("crm"), None), 2),
        (dead(None, Some("status 404")), 1),
        (dead(Some("crm"), Some("status 404")), 1),
        (dead(Some("crm"), Some("status 40")), 0),
        (Selection { kind: Some("meeting.*".parse().expect("a pattern")), ..all.clone() }, 1),
        (Selection { since: Some(hour_ago), until: Some(in_an_hour), ..all.clone() }, 2),
        (Selection { since: Some(in_an_hour), ..all.clone() }, 0),
        (Selection { until: Some(hour_ago), ..all.clone() }, 0),
        (Selection { events: vec![EventId(3), EventId(2), EventId(1), EventId(3), EventId(99)], ..all.clone() }, 2),
        (Selection { events: vec![EventId(2)], ..dead(None, Some("status 404")) }, 1),
        (Selection { events: vec![EventId(3)], ..dead(None, Some("status 404")) }, 0),
    ];
    for (selection, expected) in cases {
        let shown = selection.to_string();
        let counts = running.spool.read(move |view| view.survey(&selection, u64::MAX)).await.expect("readable");
        assert_eq!(counts, Counts { replayed: expected, ..Counts::default() }, "{shown}");
    }
    let progress = running.replay(dead(Some("crm"), Some("status 404"))).await;
    assert_eq!(progress.counts.replayed, 1);
    running.stop().await;
    assert_eq!([2, 3].map(|id| bench.delivery(id).state), [DeliveryState::Retry, DeliveryState::Dead]);
}

#[tokio::test]
async fn destination_that_never_had_an_event_gets_it_if_it_wants_it() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    for (kind, body) in [("meeting.started", "1"), ("user.created", "2"), ("meeting.ended", "3")] {
        running.append(kind, body).await;
    }
    let parked = Received { parked: Some("not json"), ..received("main", "meeting.odd", "4") };
    running.spool.appender().append(parked).await.expect("open");
    running.route(&[("crm", "*"), ("new", "meeting.* !meeting.ended")]).await;
    let progress = running.replay(Selection::all(Scope::To("new".into()))).await;
    assert_eq!(progress.counts, Counts { replayed: 1, skipped: 0, unwanted: 3 });
    let again = running.replay(Selection::all(Scope::To("new".into()))).await;
    assert_eq!(again.counts, Counts { replayed: 0, skipped: 1, unwanted: 3 }, "given again, it does nothing twice");
    running.stop().await;
    let deliveries = bench.event(1).deliveries;
    assert_eq!((&*deliveries[1].destination, deliveries[1].replays), ("new", 1));
    assert_eq!(bench.pending(), [3, 1]);
    let nothing = "test: replay: 0 made due, 1 on their way left alone: events, to new";
    assert_eq!(bench.audit().last().map(String::as_str), Some(nothing), "one that does nothing was asked for, too");
}

#[tokio::test]
async fn rate_is_written_into_the_due_times_across_every_step() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*"), ("audit", "*")]).await;
    const COUNT: u64 = 2500;
    for n in 0..COUNT {
        running.append("e", &n.to_string()).await;
    }
    running.route(&[("crm", "*"), ("audit", "*"), ("new", "*")]).await;
    let selection = Selection::all(Scope::To("new".into()));
    let request = Request { rate: NonZeroU32::new(40), ..request(selection) };
    let progress = done(running.spool.replay(request).await.expect("open")).await;
    assert_eq!(progress.counts.replayed, COUNT);
    running.stop().await;
    let dues = bench.dues("new");
    let offsets: Vec<i64> = dues.iter().map(|(_, due, _)| due - dues[0].1).collect();
    let expected: Vec<i64> = (0..i64::try_from(COUNT).expect("small")).map(|n| n * 1000 / 40).collect();
    assert_eq!(offsets, expected);
    assert!(dues.iter().all(|(_, due, since)| due == since), "its age counts from when it may go out");
    assert_eq!(progress.last_due.map(Timestamp::as_millisecond), dues.last().map(|(_, due, _)| *due));
    let told = [
        "test: replay_begun: events, to new".to_owned(),
        format!("test: replay: {COUNT} made due, 0 on their way left alone: events, to new (begun in row 1)"),
    ];
    assert_eq!(bench.audit(), told, "one row when it begins, one when it ends");
}

#[tokio::test]
async fn survey_changes_nothing_and_stops_counting_when_it_knows_enough() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    for n in 0..5000 {
        running.append("e", &n.to_string()).await;
    }
    running.route(&[("crm", "*"), ("new", "*")]).await;
    let selection = Selection::all(Scope::To("new".into()));
    let count = |most: u64| {
        let selection = selection.clone();
        running.spool.read(move |view| view.survey(&selection, most))
    };
    assert_eq!(count(u64::MAX).await.expect("readable").replayed, 5000);
    assert!((101..5000).contains(&count(100).await.expect("readable").replayed));
    running.stop().await;
    assert_eq!(bench.pending(), [5000, 0]);
}

#[tokio::test]
async fn events_that_come_during_a_replay_are_none_of_its_business() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*")]).await;
    for n in 0..3000 {
        running.append("e", &n.to_string()).await;
    }
    feeds.extend(running.route(&[("crm", "*"), ("new", "*")]).await);
    let watched = running.spool.replay(request(Selection::all(Scope::To("new".into())))).await.expect("open");
    for n in 0..100 {
        running.append("e", &format!("live {n}")).await;
        assert_eq!(first_fresh(&mut feeds[1]).await.body, format!("live {n}"), "it waits for no replay");
    }
    assert_eq!(done(watched).await.counts, Counts { replayed: 3000, skipped: 0, unwanted: 0 });
    running.stop().await;
    assert_eq!(bench.pending(), [3100, 3100]);
}

#[tokio::test]
async fn replay_that_breaks_off_says_so_and_can_be_given_again() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    graveyard(&running, &mut feed).await;
    running.stop().await;
    let full = Arc::new(AtomicBool::new(true));
    let running = bench.start_on(FullDisk::under(&bench, &full));
    let dead = Selection::all(Scope::Dead { destination: None, cause: None });
    let failed = running.replay(dead.clone()).await;
    assert!(matches!(&failed.stage, Stage::Failed(reason) if reason.contains("full")), "{failed:?}");
    full.store(false, Ordering::Relaxed);
    assert_eq!(running.replay(dead).await.counts.replayed, 2);
    running.stop().await;
}

#[test]
fn replay_of_a_spool_at_rest_tells_of_each_step() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let running = bench.start();
        running.route(&[("crm", "*")]).await;
        for n in 0..2500 {
            running.append("e", &n.to_string()).await;
        }
        running.route(&[("crm", "*"), ("new", "*")]).await;
        running.stop().await;
    });
    let mut steps = Vec::new();
    let tell = |progress: &Progress| steps.push(progress.counts.replayed);
    let asked = request(Selection::all(Scope::To("new".into())));
    let progress = replay_at_rest(bench.path(), asked, Timestamp::now(), tell).expect("at rest");
    assert_eq!(steps, [1000, 2000, 2500]);
    assert_eq!((progress.stage, progress.counts.replayed), (Stage::Done, 2500));
    assert_eq!(bench.pending(), [2500, 2500]);
}

#[tokio::test]
async fn groups_tell_how_many_died_of_what_and_when() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feeds = running.route(&[("crm", "*"), ("audit", "*")]).await;
    for n in 0..4 {
        running.append("meeting.started", &n.to_string()).await;
        fresh(&mut feeds[0]).await;
    }
    for (id, reason) in [(1, "status 404"), (2, "timeout"), (3, "status 404")] {
        running.settle(&feeds[0], EventId(id), Outcome::Dead { reason: reason.into() }).await;
    }
    running.settle(&feeds[1], EventId(4), Outcome::Dead { reason: "status 404".into() }).await;
    let group = |query: DeadQuery| running.spool.read(move |view| view.dead_groups(&query));
    let all = group(DeadQuery::default()).await.expect("readable");
    let seen: Vec<_> = all.iter().map(|g| (&*g.destination, &*g.cause, g.count, g.sample.0)).collect();
    assert_eq!(seen[0], ("crm", "status 404", 2, 3), "the largest first");
    assert_eq!(seen.len(), 3);
    assert!(all[0].oldest_at <= all[0].newest_at);
    let some = DeadQuery {
        destination: Some("crm".to_owned()),
        kind: Some("meeting.*".parse().expect("a pattern")),
        since: Some(Timestamp::now() - SignedDuration::from_hours(1)),
        ..DeadQuery::default()
    };
    assert_eq!(group(some.clone()).await.expect("readable").len(), 2);
    let rows = DeadQuery { cause: Some("status 404".to_owned()), limit: 10, ..some };
    let rows = running.spool.read(move |view| view.dead(&rows)).await.expect("readable");
    assert_eq!(rows.iter().map(|row| row.event.0).collect::<Vec<_>>(), [3, 1]);
    running.stop().await;
}

#[tokio::test]
async fn late_destination_is_given_what_was_kept_once_and_only_what_it_wants() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    for n in 0..1500 {
        running.append(if n % 3 == 0 { "user.created" } else { "meeting.started" }, &n.to_string()).await;
    }
    let mut feeds = running.route_from(&[("crm", "*", Start::Now), ("late", "meeting.*", Start::Beginning)]).await;
    running.append("meeting.started", "live").await;
    assert_eq!(first_fresh(&mut feeds[0]).await.body, "live", "what comes flows at once");
    bench.until(|| bench.pending()[1] == 1001).await;
    bench.until(|| !bench.audit().is_empty()).await;
    let due = feeds[0].due((Timestamp::now(), Timestamp::MAX), 2000, Vec::new(), 0).await.expect("readable").page;
    assert!(due.iter().all(|due| due.replays == 0 && due.event.kind.starts_with("meeting.")));
    running.stop().await;
    let audit = ["the configuration: fill: 1000 first deliveries made due: events, to late, up to event 1500"];
    assert_eq!(bench.audit(), audit);

    // Neither a restart nor a time under another name applies it again.
    for names in [&[("crm", "*", Start::Beginning)][..], &[("late", "*", Start::Beginning)]] {
        let running = bench.start();
        running.route_from(names).await;
        running.spool.flush().await.expect("open");
        running.stop().await;
    }
    assert_eq!((bench.pending(), bench.audit().len()), (vec![1501, 1001], 1));
}

#[tokio::test]
async fn late_destination_can_begin_at_a_time() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    let noon: Timestamp = "2026-07-30T12:00:00Z".parse().expect("a time");
    for minutes in [-60, -1, 0, 1] {
        let received_at = noon + SignedDuration::from_mins(minutes);
        let received = Received { received_at, ..received("main", "e", &minutes.to_string()) };
        running.spool.appender().append(received).await.expect("open");
    }
    running.route_from(&[("crm", "*", Start::Now), ("late", "*", Start::At(noon))]).await;
    bench.until(|| !bench.audit().is_empty()).await;
    running.stop().await;
    assert_eq!(bench.dues("late").iter().map(|(event, ..)| *event).collect::<Vec<_>>(), [3, 4]);
}

#[tokio::test]
async fn fill_goes_on_where_it_was_cut_off() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    for n in 0..1000 {
        running.append("e", &n.to_string()).await;
    }
    running.stop().await;
    let late = Destined { name: "late".into(), filter: EventFilter::all(), start: Start::Beginning };
    let mut store = sqlite::Sqlite::open(bench.path(), Arc::default()).expect("opens");
    let registered = store.register(&[late]).expect("stored").remove(0);
    assert!(registered.is_filling);
    assert_eq!(store.fill(registered.id, 300, Timestamp::now()).expect("filled"), Filled::Partly);
    drop(store);
    assert_eq!(bench.pending(), [1000, 300]);

    let running = bench.start();
    running.route_from(&[("late", "*", Start::Beginning)]).await;
    bench.until(|| !bench.audit().is_empty()).await;
    running.stop().await;
    assert_eq!(bench.dues("late").iter().map(|(event, ..)| *event).collect::<Vec<_>>(), (1..=1000).collect::<Vec<_>>());
    assert!(bench.audit()[0].contains("1000 first deliveries"), "all of it is counted: {:?}", bench.audit());
}

#[tokio::test]
async fn replays_that_were_not_attempted_hold_nothing_back_in_strict_order() {
    let bench = Bench::new();
    let running = bench.start();
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    graveyard(&running, &mut feed).await;
    running.replay(Selection::all(Scope::Had { destination: None })).await;
    let waiting = feed.waiting((Timestamp::MIN, EventId(0)), 0).await.expect("readable");
    assert_eq!(waiting.iter().map(|waiting| waiting.event.id.0).collect::<Vec<_>>(), [5], "the retry alone");
    running.stop().await;
}

/// Stores five events: delivered, dead of two causes, not attempted, and waiting for a retry.
async fn graveyard(running: &Running, feed: &mut Feed) {
    for (n, kind) in (1..).zip(["meeting.started", "meeting.started", "user.created", "e", "e"]) {
        running.append(kind, &format!("{n}")).await;
        fresh(feed).await;
    }
    let due = Timestamp::now() + SignedDuration::from_hours(1);
    for (id, outcome) in [
        (1, Outcome::Delivered { status: 200 }),
        (2, Outcome::Dead { reason: "status 404".into() }),
        (3, Outcome::Dead { reason: "timeout after 3 attempts".into() }),
        (5, Outcome::Retry { due, cause: "status 503".into() }),
    ] {
        running.settle(feed, EventId(id), outcome).await;
    }
}

fn request(selection: Selection) -> Request {
    Request { selection, rate: None, who: "test".into() }
}

async fn done(mut watched: watch::Receiver<Progress>) -> Progress {
    watched.wait_for(|progress| progress.stage != Stage::Running).await.expect("open").clone()
}

/// Returns the first event that was never attempted, passing over the news that others are due.
async fn first_fresh(feed: &mut Feed) -> Arc<crate::event::Event> {
    loop {
        match feed.next(Room::ForEvents).await {
            Some(Item::Fresh(event)) => return event,
            Some(Item::Due(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

impl Running {
    async fn replay(&self, selection: Selection) -> Progress {
        done(self.spool.replay(request(selection)).await.expect("open")).await
    }
}

impl Bench {
    fn delivery(&self, event: u64) -> DeliveryRow {
        self.event(event).deliveries.remove(0)
    }

    /// Returns event, due time and beginning of each delivery to a destination, in the order in which they go out.
    fn dues(&self, name: &str) -> Vec<(i64, i64, i64)> {
        let connection = rusqlite::Connection::open(self.path()).expect("opens");
        let mut statement = connection
            .prepare(
                "SELECT event, due, since FROM deliveries WHERE destination = (SELECT id FROM destinations WHERE name = ?1)
                 ORDER BY due, event",
            )
            .expect("a table");
        let rows = statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.expect("rows").collect::<Result<_, _>>().expect("numbers")
    }
}
