use super::*;
use crate::dispatch::status::{Expired, Failure, Status as Lane, Unreadable};
use crate::spool::record::{Acknowledged, DestinationId, Opened};
use crate::tls::fault::TlsFault;
use crate::zoom::status::Status as Socket;

const NOW: &str = "2026-07-30T10:06:11Z";

#[test]
fn live_subscription_is_fine() {
    let status = Socket { last_event_at: Some(at("2026-07-30T10:06:08Z")), ..socket(Link::Live) };
    assert_eq!(
        said(subscription("main", &status, None, now())),
        "Fine main: live since 10:02:11 UTC (4 min), last event 3 s ago"
    );
}

#[test]
fn live_subscription_tells_what_is_odd() {
    let silent = Socket { since: at("2026-07-30T07:06:11Z"), ..socket(Link::Live) };
    let late = Socket { last_event_at: Some(now()), last_event_lag_ms: Some(7_200_000), ..socket(Link::Live) };
    let stalled = Socket { stalled: true, ..socket(Link::Live) };
    let cases = [
        (socket(Link::Live), "Fine main: live since 10:02:11 UTC (4 min), no event yet"),
        (
            silent,
            "Fine main: live since 07:06:11 UTC (3 h), no event yet; if there should be, check the event types chosen at Zoom",
        ),
        (
            late,
            "Degraded main: live since 10:02:11 UTC (4 min), last event just now, which came 2 h late; Zoom holds events up, see its status page",
        ),
        (
            stalled,
            "Losing main: socket open, but not read while the spool takes no events; repair the spool before Zoom drops it",
        ),
    ];
    for (status, expected) in cases {
        assert_eq!(said(subscription("main", &status, None, now())), expected);
    }
}

#[test]
fn subscription_without_a_live_socket_loses() {
    let reason = "client secret refused by Zoom: correct client_secret and reload";
    let cases = [
        (
            Link::Connecting,
            "Losing main: connecting, no socket since 10:02:11 UTC (4 min); what Zoom sends meanwhile is lost",
        ),
        (
            Link::Waiting,
            "Losing main: no socket since 10:02:11 UTC (4 min): client secret refused by Zoom: correct client_secret and reload; next try in 12 s; what Zoom sends meanwhile is lost",
        ),
        (
            Link::Parked,
            "Losing main: refused since 10:02:11 UTC (4 min): client secret refused by Zoom: correct client_secret and reload; next try in 12 s; what Zoom sends meanwhile is lost",
        ),
        (
            Link::Contended,
            "Losing main: no lasting socket since 10:02:11 UTC (4 min): client secret refused by Zoom: correct client_secret and reload; next try in 12 s",
        ),
        (
            Link::Stopped,
            "Losing main: stopped since 10:02:11 UTC (4 min): client secret refused by Zoom: correct client_secret and reload; what Zoom sends meanwhile is lost",
        ),
    ];
    for (link, expected) in cases {
        let status = Socket { reason: reason.into(), next_try_at: Some(at("2026-07-30T10:06:23Z")), ..socket(link) };
        assert_eq!(said(subscription("main", &status, None, now())), expected);
    }
}

#[test]
fn outage_is_counted_from_its_beginning_and_not_from_the_last_try() {
    let down_since = Some(at("2026-07-30T09:06:11Z"));
    for link in [Link::Connecting, Link::Waiting, Link::Parked] {
        let shown = said(subscription("main", &Socket { down_since, ..socket(link) }, None, now()));
        assert!(shown.contains("since 09:06:11 UTC (1 h)"), "{shown}");
    }
}

#[test]
fn network_that_leads_nowhere_says_where_to_look() {
    let cases = [
        ("no token from zoom.us: failed to lookup address information: Name or service not known", "; check DNS"),
        ("no token from zoom.us: Connection refused (os error 111)", "; check the network"),
        ("no token from zoom.us within 10 s", "; check the network"),
        ("no token within 30 s", "; check the network"),
        ("cannot connect to ws.zoom.us: Network is unreachable (os error 101)", "; check the network"),
        (
            "no token from zoom.us: its certificate has expired, or the clock of this machine is wrong",
            "wrong; next try",
        ),
        ("closed by zoom: 1000 Bye", "Bye; next try"),
    ];
    for (reason, expected) in cases {
        let status =
            Socket { reason: reason.into(), next_try_at: Some(at("2026-07-30T10:06:23Z")), ..socket(Link::Waiting) };
        let shown = said(subscription("main", &status, None, now()));
        assert!(shown.contains(&format!("{reason}; ")) && shown.contains(expected), "{shown}");
    }
}

#[test]
fn destination_that_is_paused_is_said_to_be_while_no_bridge_runs() {
    let paused = DestinationRow { paused_at: Some(at("2026-07-30T09:06:11Z")), ..row(0, 0) };
    assert_eq!(said(backlog(&paused, now())), "Degraded crm: paused since 09:06:11 UTC (1 h), nothing waiting");
    let since = at("2026-07-30T10:02:11Z");
    let broken = DestinationRow { breaker: Some(Opened { since, probe_at: now(), probes: 2 }), ..row(2, 0) };
    let words = "Degraded crm: its breaker is open since 10:02:11 UTC (4 min), 2 events waiting, oldest 4 min old";
    assert_eq!(said(backlog(&broken, now())), words);
}

#[test]
fn open_gap_outlasts_the_tries_to_connect() {
    let gap = gap("2026-07-30T09:06:11Z", None);
    let shown = said(subscription("main", &socket(Link::Connecting), Some(&gap), now()));
    assert!(shown.contains("no socket since 09:06:11 UTC (1 h)"), "{shown}");
}

#[test]
fn failing_destination_says_since_when_why_and_what_to_do() {
    let status = failing_lane("status 503");
    let row = row(213, 0);
    assert_eq!(
        said(destination("crm", Some(&status), Some(&row), now())),
        "Degraded crm: failing since 10:02:11 UTC (4 min): status 503 from the handler, 213 events waiting, oldest 4 min old; \
         next try in 12 s. Check the handler's log; nothing is lost"
    );
}

#[test]
fn every_cause_has_its_own_advice() {
    let cases = [
        ("status 401", "secret_token"),
        ("status 404", "path"),
        ("status 413", "limit on the size"),
        ("status 429", "concurrency"),
        ("status 307", "redirects to"),
        ("status 500", "handler's log"),
        ("name does not resolve", "DNS"),
        ("connection refused", "Start the handler"),
        ("cannot connect", "firewall"),
        ("tls failed", "ca_file"),
        ("no token from token_url: tls failed: certificate expired", "tls_min_version"),
        ("timeout", "answer first"),
        ("answer cut off", "proxy"),
        ("no token from token_url", "client_secret"),
        ("request cannot be sent", "url and secret_token"),
        ("this machine has no file descriptor left", "LimitNOFILE="),
        ("this machine has no local port left", "ip_local_port_range"),
        ("this machine has no memory left for sockets", "tcp_mem"),
        ("url validation answered with a wrong encryptedToken", "secret_token"),
        ("url validation answered with status 404", "endpoint.url_validation"),
    ];
    for (cause, advice) in cases {
        let shown = said(destination("crm", Some(&failing_lane(cause)), Some(&row(1, 0)), now()));
        assert!(shown.contains(cause) && shown.contains(advice), "{shown}");
    }
}

#[test]
fn every_fault_of_tls_has_its_own_advice() {
    let all = [
        (TlsFault::Authority, "ca_file; or"),
        (TlsFault::Expired, "renewed"),
        (TlsFault::NotYetValid, "Set the clock"),
        (TlsFault::Name, "issued for the name"),
        (TlsFault::NotForServers, "CA:FALSE"),
        (TlsFault::Certificate, "Check the handler's certificate"),
        (TlsFault::Client, "client_key"),
        (TlsFault::Version, "tls_min_version"),
        (TlsFault::NotTls, "port"),
        (TlsFault::Closed, "log"),
        (TlsFault::Other, "ca_file"),
    ];
    for (fault, advice) in all {
        let cause = fault.to_string();
        let shown = said(destination("crm", Some(&failing_lane(&cause)), Some(&row(1, 0)), now()));
        assert!(shown.contains(&cause) && shown.contains(advice), "{shown}");
    }
}

#[test]
fn destination_that_signs_with_its_next_secret_says_what_to_do() {
    let status =
        Lane { next_secret_since: Some(at("2026-07-30T09:06:11Z")), last_success_at: Some(now()), ..Lane::default() };
    let shown = said(destination("crm", Some(&status), Some(&row(0, 0)), now()));
    let told = "nothing waiting; next_secret_token signs since 09:06:11 UTC (1 h): make it the secret_token";
    assert!(shown.starts_with("Fine ") && shown.ends_with(told), "{shown}");
}

#[test]
fn destination_that_takes_events_tells_its_backlog() {
    let lane = Lane { last_success_at: Some(at("2026-07-30T10:06:09Z")), ..Lane::default() };
    let behind = row(2313, 0);
    let fresh = DestinationRow {
        oldest_pending_at: Some(at("2026-07-30T10:06:10Z")),
        paused_at: None,
        breaker: None,
        ..row(3, 0)
    };
    let cases = [
        (Some(&lane), Some(row(0, 0)), "Fine crm: taking events, last one 2 s ago, nothing waiting"),
        (Some(&lane), Some(fresh), "Fine crm: taking events, last one 2 s ago, 3 events waiting, oldest 1 s old"),
        (
            Some(&lane),
            Some(behind),
            "Degraded crm: behind, 2,313 events waiting, oldest 4 min old, taking events, last one 2 s ago; \
             raise its concurrency or rate, or let the handler answer sooner",
        ),
        (
            Some(&lane),
            Some(row(0, 12)),
            "Degraded crm: 12 dead letters kept: zoomhook dead list --destination crm; taking events, last one 2 s ago, nothing waiting",
        ),
        (Some(&lane), None, "Fine crm: taking events, last one 2 s ago, backlog not known"),
        (Some(&Lane::default()), Some(row(0, 0)), "Fine crm: nothing delivered since the start, nothing waiting"),
        (
            None,
            Some(row(5, 0)),
            "Degraded crm: no longer configured, 5 events waiting, oldest 4 min old; configure it again to have them delivered, or zoomhook orphans purge crm deletes them",
        ),
        (
            None,
            Some(row(0, 1)),
            "Degraded crm: 1 dead letter kept: zoomhook dead list --destination crm; no longer configured, nothing waiting",
        ),
    ];
    for (lane, row, expected) in cases {
        assert_eq!(said(destination("crm", lane, row.as_ref(), now())), expected);
    }
}

#[test]
fn expired_events_are_told_while_their_dead_letters_are_kept() {
    let expired = Some(Expired { count: 3, last_at: at("2026-07-30T10:02:11Z") });
    let lane = Lane { last_success_at: Some(at("2026-07-30T10:06:09Z")), expired, ..Lane::default() };
    let shown = |dead| said(destination("crm", Some(&lane), Some(&row(0, dead)), now()));
    let told = "; 3 events expired since the start, the last one 4 min ago";
    assert!(shown(3).starts_with("Degraded crm: 3 dead letters kept: ") && shown(3).ends_with(told), "{}", shown(3));
    assert!(shown(0).starts_with("Fine ") && !shown(0).contains("expired"), "{}", shown(0));
}

#[test]
fn lane_that_cannot_read_the_spool_says_since_when_and_why() {
    let unreadable = Some(Unreadable { since: at("2026-07-30T10:02:11Z"), reason: "disk I/O error".into() });
    let lane = Lane { unreadable, ..failing_lane("status 503") };
    assert_eq!(
        said(destination("crm", Some(&lane), Some(&row(213, 0)), now())),
        "Degraded crm: events cannot be read from the spool since 10:02:11 UTC (4 min): disk I/O error, 213 events \
         waiting, oldest 4 min old. Repair its disk; nothing is lost"
    );
}

#[test]
fn spool_that_takes_no_events_loses() {
    let failing = Health::Failing { since: at("2026-07-30T10:02:11Z"), reason: "disk full; free it".into() };
    assert_eq!(
        said(spool(&failing, Some("disk full"), 0, 0, now())),
        "Losing spool: takes no events since 10:02:11 UTC (4 min): disk full; free it"
    );
    assert_eq!(said(spool(&Health::Writable, None, 0, 0, now())), "Fine spool: takes events");
    assert_eq!(
        said(spool(&Health::Writable, None, 1, 0, now())),
        "Degraded spool: takes events, and keeps 1 frame that is not understood and went to nobody: zoomhook events list --parked"
    );
    let unreadable = said(spool(&Health::Writable, Some("disk error"), 0, 0, now()));
    assert_eq!(unreadable, "Degraded spool: takes events, but cannot be read: disk error");
    let damaged = said(spool(&Health::Writable, None, 1, 2, now()));
    assert!(
        damaged.starts_with("Degraded spool: takes events, but its file is damaged: 2 reports of what came"),
        "{damaged}"
    );
}

#[test]
fn summary_leads_with_the_worst() {
    let part = |level, text: &str| Sentence::short(level, text.to_owned());
    let fine = part(Level::Fine, "main: live");
    let failing = part(Level::Degraded, "crm: failing");
    let behind = part(Level::Degraded, "audit: behind");
    let down = part(Level::Losing, "twin: no socket");
    let full =
        spool(&Health::Failing { since: at("2026-07-30T10:02:11Z"), reason: "disk full".into() }, None, 0, 0, now());
    let stalled = subscription("main", &Socket { stalled: true, ..socket(Link::Live) }, None, now());
    let threat = "Losing Nothing is lost yet, but events will be if Zoom drops its socket or the bridge ends before this is \
                  mended: spool: takes no events since 10:02:11 UTC (4 min): disk full";
    let cases: [(&[&Sentence], &str, Option<usize>); 7] = [
        (&[&full, &fine], &format!("{threat}."), Some(0)),
        (&[&full, &stalled, &failing], &format!("{threat} (and 1 more below)."), Some(0)),
        (&[&full, &stalled, &down], "Losing Events are being lost: twin: no socket (and 2 more below).", Some(2)),
        (&[&fine], "Fine Nothing is being lost: 1 subscription live, 2 destinations taking events.", None),
        (&[&fine, &failing], "Degraded Nothing is being lost, but crm: failing.", Some(1)),
        (&[&fine, &failing, &behind], "Degraded Nothing is being lost, but crm: failing (and 1 more below).", Some(1)),
        (&[&fine, &failing, &behind, &down], "Losing Events are being lost: twin: no socket.", Some(3)),
    ];
    for (parts, expected, told) in cases {
        let mut parts: Vec<Sentence> = parts.iter().map(|part| (*part).clone()).collect();
        let mut refs: Vec<&mut Sentence> = parts.iter_mut().collect();
        assert_eq!(said(summary(1, 2, &mut refs, &[], now())), expected);
        let knows: Vec<usize> = (0..parts.len()).filter(|at| parts[*at].in_summary).collect();
        assert_eq!(knows, Vec::from_iter(told), "{expected}");
    }
    assert_eq!(summary(0, 2, &mut [], &[], now()).level, Level::Losing);
}

#[test]
fn summary_and_row_do_not_say_the_same_words_twice() {
    let mut failing = destination("crm", Some(&failing_lane("status 503")), Some(&row(213, 0)), now());
    assert_eq!(
        said(summary(1, 1, &mut [&mut failing], &[], now())),
        "Degraded Nothing is being lost, but crm: failing since 10:02:11 UTC (4 min): status 503 from the handler, \
         213 events waiting, oldest 4 min old; next try in 12 s. Check the handler's log."
    );
    assert_eq!((failing.brief.as_str(), failing.in_summary), ("crm: failing", true));
    let mut down = subscription("main", &Socket { reason: "reset".into(), ..socket(Link::Waiting) }, None, now());
    assert_eq!(
        said(summary(1, 1, &mut [&mut down], &[], now())),
        "Losing Events are being lost: main: no socket since 10:02:11 UTC (4 min): reset."
    );
    assert_eq!((down.brief.as_str(), down.in_summary), ("main: no socket", true));
}

#[test]
fn summary_tells_what_was_missed_lately() {
    let gaps = [
        gap("2026-07-30T09:00:00Z", Some("2026-07-30T09:03:00Z")),
        gap("2026-07-30T08:00:00Z", Some("2026-07-30T08:01:00Z")),
        gap("2026-07-20T08:00:00Z", Some("2026-07-20T08:01:00Z")),
    ];
    assert_eq!(
        said(summary(1, 1, &mut [], &gaps, now())),
        "Fine Nothing is being lost: 1 subscription live, 1 destination taking events. \
         In the last 24 h there were 2 gaps (4 min in all): zoomhook gaps."
    );
    let one = said(summary(1, 1, &mut [], &gaps[..1], now()));
    assert!(one.ends_with("In the last 24 h there was 1 gap (3 min in all): zoomhook gaps."), "{one}");
    let open = [gap("2026-07-30T10:04:11Z", None), gaps[0].clone()];
    let told = said(summary(1, 1, &mut [], &open, now()));
    assert!(told.ends_with("there were 2 gaps (5 min in all, 1 of them open still): zoomhook gaps."), "{told}");
    let acknowledged = Acknowledged { at: now(), by: "operator".into(), note: "reports fetched".into() };
    let dealt_with = [GapRow { acknowledged: Some(acknowledged), ..gaps[0].clone() }];
    assert!(
        said(summary(1, 1, &mut [], &dealt_with, now())).ends_with("1 destination taking events."),
        "no more of it"
    );
}

#[test]
fn certificate_that_is_not_renewed_in_time_is_told_of() {
    let said = |end: &str, problem| said(certificate(at(end), problem, now()));
    assert_eq!(said("2026-09-30T10:06:11Z", None), "Fine admin port: its certificate expires in 62 d");
    assert_eq!(said("2026-08-03T10:06:11Z", None), "Degraded admin port: its certificate expires in 4 d; renew it");
    assert_eq!(
        said("2026-07-30T10:02:11Z", None),
        "Degraded admin port: its certificate has expired since 10:02:11 UTC (4 min); renew it"
    );
    assert_eq!(
        said("2026-09-30T10:06:11Z", Some("no key")),
        "Degraded admin port: keeps its certificate, which expires in 62 d, for the new one is no good: no key"
    );
}

#[test]
fn bridge_that_does_not_run_says_since_when_and_what_waits() {
    let alive = Some(at("2026-07-30T10:02:11Z"));
    let audit = DestinationRow { name: "audit".into(), ..row(1, 0) };
    assert_eq!(
        said(not_running("127.0.0.1:8686", alive, &[row(213, 0), audit, row(0, 3)], now())),
        "Losing No bridge is running on 127.0.0.1:8686: last sign of life 10:02:11 UTC (4 min ago), \
         waiting: 213 events for crm and 1 event for audit. What Zoom sends meanwhile is lost; start it: its service, or `zoomhook run`."
    );
    let held = [
        DestinationRow { paused_at: alive, ..row(0, 0) },
        DestinationRow { name: "audit".into(), paused_at: alive, ..row(2, 0) },
        DestinationRow { name: "old".into(), orphaned_at: alive, ..row(1, 0) },
    ];
    let held = said(not_running("127.0.0.1:8686", alive, &held, now()));
    let words =
        "waiting: nothing for crm (paused), 2 events for audit (paused) and 1 event for old (no longer configured).";
    assert!(held.contains(words), "{held}");
    let never = said(not_running("127.0.0.1:8686", None, &[], now()));
    assert!(never.contains("none ever ran on this spool, waiting: nothing"), "{never}");
}

fn said(sentence: Sentence) -> String {
    format!("{:?} {}", sentence.level, sentence.sentence)
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn now() -> Timestamp {
    at(NOW)
}

fn socket(link: Link) -> Socket {
    Socket { connects: 1, ..Socket::new(link, at("2026-07-30T10:02:11Z")) }
}

fn failing_lane(cause: &str) -> Lane {
    Lane {
        failing_since: Some(at("2026-07-30T10:02:11Z")),
        last_failure: Some(Failure { at: at("2026-07-30T10:06:00Z"), cause: cause.into(), event: Some(7) }),
        failures_in_a_row: 9,
        next_retry_at: Some(at("2026-07-30T10:06:23Z")),
        ..Lane::default()
    }
}

fn row(pending: u64, dead: u64) -> DestinationRow {
    DestinationRow {
        id: DestinationId(1),
        name: "crm".into(),
        pending,
        dead,
        delivered: 0,
        oldest_pending_at: (pending > 0).then(|| at("2026-07-30T10:02:11Z")),
        paused_at: None,
        breaker: None,
        orphaned_at: None,
    }
}

fn gap(opened: &str, closed: Option<&str>) -> GapRow {
    GapRow {
        id: 1,
        subscription: "main".into(),
        opened_at: at(opened),
        closed_at: closed.map(at),
        reason: "closed by Zoom".into(),
        last_event_at: None,
        acknowledged: None,
    }
}
