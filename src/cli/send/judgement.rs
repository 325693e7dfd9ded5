//! ◆ What an answer means: did the handler do what a good handler does, and what would become of the event.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::Retry;
use crate::dispatch::retry::{Policy, next};
use crate::spool::settlement::Outcome;
use crate::tls::fault::TlsFault;
use crate::webhook::signature::Signer;
use crate::webhook::validation;
use crate::webhook::verdict::{Answer, SendError, StatusRules, verdict};
use crate::wording;

/// How long Zoom itself waits for an answer.
pub(super) const ZOOM_PATIENCE: Duration = Duration::from_secs(3);
/// The age from which on a request is stale, in seconds, as captured from Zoom's samples.
pub(super) const WINDOW: u64 = 300;

/// Says what a good handler does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Takes it.
    Accept,
    /// Takes it, though its timestamp is so many seconds old.
    AcceptOld(u64),
    /// Refuses it: its signature is wrong.
    RefuseForged,
    /// Refuses it: its timestamp is so many seconds old.
    RefuseStale(u64),
    /// Takes it or refuses it: its body is none that Zoom sends.
    Either(Oddity),
}

/// Says why a body is none that Zoom sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// It has no bytes.
    Empty,
    /// It is something else than JSON.
    NotJson,
    /// It is JSON that names no event.
    NoEvent,
}

impl Oddity {
    /// Finds out what is odd about a body, if anything is; `names_event` tells whether it has an `event`.
    pub(super) fn of(body: &[u8], names_event: bool) -> Option<Self> {
        if names_event {
            return None;
        }
        if body.is_empty() {
            return Some(Self::Empty);
        }
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        Some(if is_json { Self::NoEvent } else { Self::NotJson })
    }

    /// Says it in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotJson => "no JSON",
            Self::NoEvent => "JSON without an event",
        }
    }
}

/// Is what one answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Whether the handler did what a good handler does.
    pub(super) good: bool,
    /// What zoomhook would make of the answer.
    pub(super) zoomhook: String,
    /// What Zoom itself would make of it.
    pub(super) zoom: String,
    /// What to look at, a sentence each.
    pub(super) hints: Vec<String>,
}

/// Judges one answer that took so long.
pub(super) fn judge(
    result: &Result<Answer, SendError>,
    took: Duration,
    expected: Expected,
    now: Timestamp,
) -> Judgement {
    let in_time = if took > ZOOM_PATIENCE { &Err(SendError::Timeout) } else { result };
    let zoomhook = fate(result, &Retry::Steady, now);
    let zoom = fate(in_time, &Retry::Zoom, now);
    let (good, mut hints) = match expected {
        Expected::Accept | Expected::AcceptOld(_) => accept(result),
        Expected::RefuseForged | Expected::RefuseStale(_) => refuse(result, expected),
        Expected::Either(oddity) => either(result, oddity),
    };
    if good && took > ZOOM_PATIENCE {
        let took = wording::span(took.try_into().unwrap_or(jiff::SignedDuration::MAX));
        hints.push(format!("the answer took {took}: Zoom itself waits 3 s; answer first and work afterwards"));
    }
    Judgement { good, zoomhook, zoom, hints }
}

/// Judges the answer to a URL validation that took so long.
pub(super) fn judge_validation(
    result: &Result<Answer, SendError>,
    took: Duration,
    plain_token: &str,
    signer: &Signer,
) -> Judgement {
    let mut hints = Vec::new();
    match result {
        Ok(answer) => hints.extend(validation::judge(answer, plain_token, signer).err().map(|error| error.to_string())),
        Err(error) => hints.push(network(error).to_owned()),
    }
    if took > ZOOM_PATIENCE {
        hints.push("the answer took more than the 3 s that Zoom waits".to_owned());
    }
    let good = hints.is_empty();
    let (zoomhook, zoom) = if good {
        ("the handler passes its probe", "the endpoint can be saved, and stays")
    } else {
        (
            "the handler fails its probe",
            "the endpoint is not saved, or is switched off at the next check, 72 h after the last",
        )
    };
    Judgement { good, zoomhook: zoomhook.to_owned(), zoom: zoom.to_owned(), hints }
}

/// Says what becomes of an event whose first attempt is answered so.
fn fate(result: &Result<Answer, SendError>, retry: &Retry, now: Timestamp) -> String {
    let verdict = verdict(result, StatusRules::from(retry), 1, now);
    match next(1, verdict, &Policy::from(retry), 0.5, now, now) {
        Outcome::Delivered { .. } => "delivered".to_owned(),
        Outcome::Dead { .. } => match retry {
            Retry::Steady | Retry::List(_) => {
                "dead at once: kept, and replayable with `zoomhook dead replay`".to_owned()
            }
            Retry::Zoom => "given up at once, for good".to_owned(),
        },
        Outcome::Retry { due, .. } => {
            let due = wording::until(due, now);
            match retry {
                Retry::Steady | Retry::List(_) => format!("tried again {due}, then less and less often for 72 h"),
                Retry::Zoom => format!("tried again {due}, then after 20 and 60 min more, then given up"),
            }
        }
    }
}

fn accept(result: &Result<Answer, SendError>) -> (bool, Vec<String>) {
    let hint = match result {
        Ok(answer) => match answer.status {
            200 | 204 => return (true, Vec::new()),
            201..=299 => {
                return (
                    true,
                    vec!["Zoom itself takes nothing but 200 and 204 for a first delivery: answer 200".to_owned()],
                );
            }
            300..=399 => {
                "redirects are never followed, not by Zoom either: give the URL that answers itself (a slash at the end? \
                 a login page before the handler?)"
            }
            401 | 403 => {
                "the handler refuses the request: mostly because it has another secret token, or does not verify over \
                 the raw body; give its headers and body to `zoomhook verify`"
            }
            404 => "nothing answers at this path: look at the path of --to",
            405 => "this path takes no POST: look at the path of --to",
            400 | 415 | 422 => {
                "the handler, or its framework, cannot make sense of the body: it is JSON, `application/json; charset=utf-8`"
            }
            413 => {
                "the body is too large for the handler or a proxy before it: events can be tens of kB, some megabytes"
            }
            408 | 425 | 429 => "the handler asks for patience: it is busy, or limits the rate",
            502..=504 => "a proxy answers in place of the handler, which is down or too slow",
            500..=599 => "the handler failed: its own log says why",
            _ => "a handler takes an event with 200",
        },
        Err(error) => network(error),
    };
    (false, vec![hint.to_owned()])
}

fn refuse(result: &Result<Answer, SendError>, expected: Expected) -> (bool, Vec<String>) {
    let hint = match result {
        Ok(Answer { status: 400..=499, .. }) => return (true, Vec::new()),
        Ok(Answer { status: 200..=299, .. }) => match expected {
            Expected::RefuseStale(age) => {
                return (
                    false,
                    vec![format!(
                        "the handler ACCEPTS a request that is {age} s old: whoever records one can send it again at any \
                         time; compare x-zm-request-timestamp with the clock and refuse more than {WINDOW} s"
                    )],
                );
            }
            Expected::Accept | Expected::AcceptOld(_) | Expected::RefuseForged | Expected::Either(_) => {
                "the handler ACCEPTS A WRONG SIGNATURE: anybody who reaches it can make up events; verify x-zm-signature \
                 over the raw body and answer 401"
            }
        },
        Ok(Answer { status: 500..=599, .. }) => {
            "the handler fails where it should refuse: Zoom would send it again; answer 401"
        }
        Ok(_) => "the handler neither takes nor refuses the request: answer 401",
        Err(error) => network(error),
    };
    (false, vec![hint.to_owned()])
}

/// Judges the answer to a body that Zoom never sends: that a handler cannot read it says nothing against the handler.
fn either(result: &Result<Answer, SendError>, oddity: Oddity) -> (bool, Vec<String>) {
    let told =
        format!("the file is {}: Zoom sends no such body, and a good handler may take or refuse it", oddity.words());
    let hints = match result {
        Ok(Answer { status: 200..=299 | 400 | 415 | 422, .. }) => return (true, vec![told]),
        Ok(Answer { status: 500..=599, .. }) => {
            vec!["the handler fails at it, where a good one answers 400: its own log says why".to_owned()]
        }
        Ok(_) | Err(_) => accept(result).1,
    };
    (false, std::iter::once(told).chain(hints).collect())
}

fn network(error: &SendError) -> &'static str {
    match error {
        SendError::Dns(_) => "the host of --to has no address: look at its name, and at the DNS of this machine",
        SendError::Refused => "nothing listens at this host and port: does the handler run, and on this port?",
        SendError::Connect(_) => "no connection: look at routes and firewalls between here and the handler",
        SendError::Tls(fault, _) => of_tls(*fault),
        SendError::Timeout => "no complete answer in time: answer first and work afterwards; Zoom itself waits 3 s",
        SendError::Cut(_) | SendError::Stale(_) => {
            "the connection ended before the answer was complete: did the handler crash, or is something else there?"
        }
        SendError::Egress(_) => {
            "the address of the host is link-local, or one of a cloud's metadata: is it the right one?"
        }
        SendError::Proxy(_) => "the proxy on the way gives no connection: look at it before you look at the handler",
        SendError::Token { .. } => "the token endpoint gives no token: look at token_url, client_id and client_secret",
        SendError::Short(shortage) => shortage.advice(),
        SendError::Own(_) => "the request could not be sent: look at the URL of --to",
    }
}

/// Says what to do where there is no agreement on TLS; what is wrong, the error says.
fn of_tls(fault: TlsFault) -> &'static str {
    match fault {
        TlsFault::Authority => {
            "name the file of that authority with --ca-file (of a certificate that signs itself, its own), or let the handler \
             send its whole chain"
        }
        TlsFault::Expired => "have the handler's certificate renewed, or set the clock of this machine",
        TlsFault::NotYetValid => "set the clock of this machine, or look at the handler's certificate",
        TlsFault::Name => "put a name that is in the certificate into the URL, or have one issued for the name there",
        TlsFault::NotForServers => {
            "--ca-file does not mend it: give the handler a server's certificate, which openssl req -x509 makes with -addext \
             basicConstraints=CA:FALSE"
        }
        TlsFault::Certificate => {
            "look at the handler's certificate: is it signed by the authority that it names, with the key in --ca-file?"
        }
        TlsFault::Client => {
            "the handler asks for a client certificate: --destination shows that of the configuration (client_cert)"
        }
        TlsFault::Version => "let the handler speak TLS 1.2 or 1.3, or show it the client certificate that it wants",
        TlsFault::NotTls => "what answers at this port speaks no TLS: is it the right port?",
        TlsFault::Closed => "look at the handler's log, and at what looks into TLS on the way to it",
        TlsFault::Other => "look at the handler's log, and at its certificate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(5);

    #[test]
    fn delivery_is_what_both_take() {
        let judged = of(Ok(answer(200)), Expected::Accept);
        assert_eq!((judged.good, &*judged.zoomhook, &*judged.zoom), (true, "delivered", "delivered"));
        assert!(judged.hints.is_empty());
        let judged = of(Ok(answer(202)), Expected::Accept);
        assert_eq!((judged.good, &*judged.zoomhook), (true, "delivered"));
        assert!(judged.zoom.starts_with("tried again in 5 min") && judged.hints.len() == 1, "{judged:?}");
    }

    #[test]
    fn every_failure_has_its_fate_and_its_hint() {
        let cases = [
            (Ok(answer(401)), "dead at once", "given up at once", "zoomhook verify"),
            (Ok(answer(404)), "dead at once", "given up at once", "path of --to"),
            (Ok(answer(308)), "dead at once", "given up at once", "never followed"),
            (Ok(answer(429)), "tried again in 1 s", "given up at once", "patience"),
            (Ok(answer(500)), "tried again in 1 s", "tried again in 5 min", "its own log"),
            (Ok(answer(503)), "tried again in 1 s", "tried again in 5 min", "a proxy answers"),
            (Err(SendError::Refused), "tried again in 1 s", "tried again in 5 min", "nothing listens"),
            (Err(SendError::Timeout), "tried again in 1 s", "tried again in 5 min", "in time"),
            (
                Err(SendError::Tls(TlsFault::Authority, "bad".to_owned())),
                "tried again in 1 s",
                "tried again in 5 min",
                "with --ca-file",
            ),
            (
                Err(SendError::Tls(TlsFault::NotForServers, "bad".to_owned())),
                "tried again in 1 s",
                "tried again in 5 min",
                "--ca-file does not mend it",
            ),
            (Err(SendError::Dns("no".to_owned())), "tried again in 1 s", "tried again in 5 min", "no address"),
        ];
        for (result, zoomhook, zoom, hint) in cases {
            let judged = of(result, Expected::Accept);
            assert!(!judged.good && judged.zoomhook.starts_with(zoomhook), "{judged:?}");
            assert!(judged.zoom.starts_with(zoom) && judged.hints[0].contains(hint), "{judged:?}");
        }
    }

    #[test]
    fn retry_after_is_told_as_it_would_be_honoured() {
        let result = Ok(Answer { retry_after: Some("120".to_owned()), ..answer(503) });
        assert!(of(result, Expected::Accept).zoomhook.starts_with("tried again in 2 min"));
    }

    #[test]
    fn slow_answer_is_a_timeout_for_zoom() {
        let judged = judge(&Ok(answer(200)), Duration::from_secs(4), Expected::Accept, Timestamp::UNIX_EPOCH);
        assert_eq!((judged.good, &*judged.zoomhook), (true, "delivered"));
        assert!(judged.zoom.starts_with("tried again") && judged.hints[0].contains("took 4 s"), "{judged:?}");
    }

    #[test]
    fn good_handler_refuses_what_is_forged_or_stale() {
        for expected in [Expected::RefuseForged, Expected::RefuseStale(600)] {
            assert!(of(Ok(answer(401)), expected).good);
            assert!(of(Ok(answer(400)), expected).good);
            for bad in [Ok(answer(200)), Ok(answer(500)), Ok(answer(302)), Err(SendError::Refused)] {
                assert!(!of(bad.clone(), expected).good, "{bad:?}");
            }
        }
        assert!(of(Ok(answer(204)), Expected::RefuseForged).hints[0].contains("ACCEPTS A WRONG SIGNATURE"));
        assert!(of(Ok(answer(204)), Expected::RefuseStale(600)).hints[0].contains("600 s old"));
    }

    #[test]
    fn body_that_zoom_never_sends_is_no_fault_of_the_handler() {
        for (body, oddity) in [
            (&b""[..], Some(Oddity::Empty)),
            (b"not json", Some(Oddity::NotJson)),
            (b"{\"a\":1}", Some(Oddity::NoEvent)),
            (b"[]", Some(Oddity::NoEvent)),
        ] {
            assert_eq!(Oddity::of(body, false), oddity);
            let expected = Expected::Either(oddity.expect("odd"));
            for status in [200, 204, 400, 415, 422] {
                let judged = of(Ok(answer(status)), expected);
                assert!(judged.good && judged.hints[0].starts_with("the file is "), "{judged:?}");
            }
            for bad in [Ok(answer(500)), Ok(answer(401)), Ok(answer(404)), Err(SendError::Refused)] {
                let judged = of(bad, expected);
                assert!(!judged.good && judged.hints.len() == 2, "{judged:?}");
            }
        }
        assert_eq!(Oddity::of(b"{\"event\":\"a\"}", true), None);
    }

    fn of(result: Result<Answer, SendError>, expected: Expected) -> Judgement {
        judge(&result, QUICK, expected, Timestamp::UNIX_EPOCH)
    }

    fn answer(status: u16) -> Answer {
        Answer { status, retry_after: None, excerpt: String::new() }
    }
}
