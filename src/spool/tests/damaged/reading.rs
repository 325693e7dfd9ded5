//! Pages that cannot be read: what lies behind goes out, and what is on them is known by its number.

use super::*;
use crate::spool::store::{Most, Pages, Reading};

#[tokio::test]
async fn events_are_handed_out_though_others_cannot_be_read() {
    for (table, losses) in [("events", true), ("bodies", true), ("deliveries", false), ("deliveries_open", false)] {
        let bench = Bench::new();
        let running = bench.start();
        drop(running.route(&[("crm", "*")]).await);
        fill(&running).await;
        running.stop().await;
        damage(&bench, table);
        let (running, _) = start(&bench);
        let mut feed = running.route(&[("crm", "*")]).await.remove(0);
        let mut lost = 0;
        for n in 1..=EVENTS {
            let event = fresh(&mut feed).await;
            assert_eq!(event.id, EventId(n), "{table}");
            match event.unreadable {
                None => assert_eq!(event.body, format!("{:0100}", n - 1), "{table}"),
                Some(reason) => {
                    assert_eq!((reason, event.body.len()), ("damaged in the spool", 0));
                    assert!(event.received_at > Timestamp::UNIX_EPOCH, "as old as its delivery");
                    lost += 1;
                }
            }
        }
        assert!((lost > 0) == losses && lost < EVENTS / 10, "{lost} of {table}");
        goes_on(&running, &mut feed).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn retries_are_read_though_others_cannot_be() {
    for (table, losses) in [("events", true), ("bodies", true), ("deliveries", false), ("deliveries_open", false)] {
        let bench = Bench::new();
        let running = bench.start();
        let mut feed = running.route(&[("crm", "*")]).await.remove(0);
        fill(&running).await;
        let (destination, at) = (feed.destination(), Timestamp::now());
        let due = |n: u64| at + SignedDuration::from_millis(n as i64);
        for n in 1..=EVENTS {
            let event = fresh(&mut feed).await.id;
            let outcome = Outcome::Retry { due: due(n), cause: "status 503".into() };
            let settlement = Settlement { destination, event, attempts: 1, at, outcome, failed: None };
            running.spool.settle(settlement).await.expect("open");
        }
        running.stop().await;
        damage(&bench, table);
        let (running, _) = start(&bench);
        let feed = running.route(&[("crm", "*")]).await.remove(0);
        let (mut seen, mut lost, mut begun_anew) = (Vec::new(), 0, 0);
        loop {
            let (now, far) = (due(EVENTS), Timestamp::MAX);
            let DuePage { page, next } = feed.due((now, far), 200, seen.clone(), 0).await.expect("readable");
            if page.is_empty() {
                assert_eq!(next, None, "{table}");
                break;
            }
            for one in page {
                assert_eq!(one.due.as_millisecond(), due(one.event.id.0).as_millisecond());
                lost += u64::from(one.event.unreadable.is_some());
                begun_anew += u64::from(one.attempts == 0);
                seen.push(one.event.id);
            }
        }
        assert!(seen.iter().copied().eq((1..=EVENTS).map(EventId)), "{table}: {} read", seen.len());
        assert!((lost > 0) == losses && lost < EVENTS / 10, "{lost} of {table}");
        assert_eq!(begun_anew > 0, table == "deliveries", "how often they were attempted is not known there");
        let (mut after, mut waiting) = ((Timestamp::MIN, EventId(0)), 0);
        loop {
            let page = feed.waiting(after, 0).await.expect("readable");
            let Some(last) = page.last() else { break };
            (after, waiting) = ((last.due, last.event.id), waiting + page.len() as u64);
        }
        assert_eq!(waiting, EVENTS, "{table}");
        running.stop().await;
    }
}

#[tokio::test]
async fn event_that_is_missing_is_not_passed_over_in_silence() {
    let bench = Bench::new();
    let running = bench.start();
    drop(running.route(&[("crm", "*")]).await);
    for body in ["1", "2", "3"] {
        running.append("e", body).await;
    }
    running.stop().await;
    let connection = Connection::open(bench.path()).expect("opens");
    connection.execute("DELETE FROM bodies WHERE event = 2", []).expect("deleted");
    drop(connection);
    let (running, _) = start(&bench);
    let mut feed = running.route(&[("crm", "*")]).await.remove(0);
    let mut read = Vec::new();
    for _ in 0..3 {
        let event = fresh(&mut feed).await;
        read.push((event.id.0, event.unreadable));
    }
    assert_eq!(read, [(1, None), (2, Some("damaged in the spool")), (3, None)]);
    running.stop().await;
}

#[tokio::test]
async fn disk_that_fails_for_a_while_gives_up_no_event() {
    let bench = Bench::new();
    let running = bench.start();
    running.route(&[("crm", "*")]).await;
    for body in ["1", "2"] {
        running.append("e", body).await;
    }
    running.stop().await;
    let mut view = sqlite::open_view(bench.path(), Arc::default()).expect("a spool");
    let fails = |code| SpoolError::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
    let mut read = |failures, code| {
        feed::with_care(view.as_mut(), failures, |view: &mut dyn Pages, how| match how {
            Reading::AsOne => Err(fails(code)),
            Reading::Singly => {
                let (range, most) = ((EventId(0), EventId(9)), Most { events: 9, bytes: 9 });
                view.fresh(record::DestinationId(1), range, most, how).map(|page| page.len())
            }
        })
    };
    use rusqlite::ffi::{SQLITE_CORRUPT, SQLITE_IOERR_READ, SQLITE_IOERR_WRITE};
    assert!(read(feed::HICCUPS - 1, SQLITE_IOERR_READ).is_err_and(|error| error.is_unread()));
    assert_eq!(read(feed::HICCUPS, SQLITE_IOERR_READ).expect("the rest of it can be read"), 2);
    assert!(read(feed::HICCUPS, SQLITE_IOERR_WRITE).is_err(), "it is no part of the file that fails");
    assert_eq!(read(0, SQLITE_CORRUPT).expect("the rest of it can be read"), 2);
}
