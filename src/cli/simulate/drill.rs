//! `zoomhook simulate --drill FILE`: a drill from its file to its report.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::simulator::drill::{Action, Drill, Ending, Report, Step};

/// How the lines of a drill are printed.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Text,
    Json,
}

/// Reads a drill file.
pub(super) fn read(path: &Path) -> anyhow::Result<Drill> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Drill::parse(&text).with_context(|| format!("{} is no drill", path.display()))
}

/// Says what will be played.
pub(super) fn announce(drill: &Drill, form: Form, out: &mut impl Write) -> io::Result<()> {
    let Drill { name, about, duration, .. } = drill;
    match form {
        Form::Json => writeln!(out, "{}", json!({"what": "drill", "name": name, "about": about})),
        Form::Text => writeln!(
            out,
            "Drill `{name}`: {about}\nIt begins with the first word of a client and lasts {}.\n",
            clock(*duration)
        ),
    }
}

/// Says what a step has done.
pub(super) fn step(step: &Step, form: Form, out: &mut impl Write) -> io::Result<()> {
    let done: Vec<String> = step.actions.iter().map(describe).collect();
    match form {
        Form::Json => {
            let at_ms = step.at.as_millis() as u64;
            writeln!(out, "{}", json!({"what": "step", "at_ms": at_ms, "say": step.say, "done": done}))
        }
        Form::Text => {
            let say = step.say.as_deref().unwrap_or_default();
            let done = done.join(", ");
            let done = if say.is_empty() || done.is_empty() { done } else { format!(" ({done})") };
            writeln!(out, "{:<8}  step          {say}{done}", clock(step.at))
        }
    }
}

fn describe(action: &Action) -> String {
    match action {
        Action::Faults(faults) => match faults.texts() {
            texts if texts.is_empty() => "no faults".to_owned(),
            texts => format!("faults {}", texts.join(", ")),
        },
        Action::Drop(cut, None) => format!("drop {cut}"),
        Action::Drop(cut, Some(subscription)) => format!("drop {cut} of {subscription}"),
        Action::Rate(rate) => format!("rate {rate}"),
        Action::Send(count) => format!("send {count}"),
        Action::Event(_) => "send 1".to_owned(),
    }
}

/// Says what clients did and whether that is as expected.
pub(super) fn report(drill: &Drill, report: &Report, form: Form, out: &mut impl Write) -> io::Result<ExitCode> {
    let passed = report.passed();
    match form {
        Form::Json => {
            let document = json!({
                "what": "report",
                "name": drill.name,
                "passed": passed,
                "complete": report.ending == Ending::Complete,
                "lasted_ms": report.lasted.as_millis() as u64,
                "counts": report.counts,
                "requests": report.account.requests,
                "subscriptions": report.account.subscriptions,
                "expect": report.verdicts,
            });
            writeln!(out, "{document}")?;
        }
        Form::Text => write!(out, "{}", text(drill, report))?,
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(drill: &Drill, report: &Report) -> String {
    let Report { ending, lasted, counts, account, verdicts } = report;
    let ended = match ending {
        Ending::Complete => "is over",
        Ending::Interrupted => "was interrupted",
    };
    let mut lines = vec![String::new(), format!("Drill `{}` {ended} after {}.", drill.name, clock(*lasted))];
    let requests = &account.requests;
    lines.push(format!(
        "  tokens   {} asked for ({} by form, {} by query), {} given",
        counts.token_requests, requests.form, requests.query, counts.tokens
    ));
    lines.push(format!(
        "  sockets  {} accepted, {} refused, {} left waiting, {} live at the end",
        counts.accepted,
        counts.refused,
        counts.held,
        counts.live()
    ));
    for (subscription, usage) in &account.subscriptions {
        let between = match (usage.shortest_interval_ms, usage.longest_interval_ms) {
            (Some(least), Some(most)) => format!(", {} to {} apart", seconds(least), seconds(most)),
            _ => String::new(),
        };
        lines.push(format!(
            "           {subscription}: {} sockets, {} heartbeats{between}",
            usage.sockets, usage.heartbeats
        ));
    }
    lines.push(format!("  events   {} sent, {} missed for want of a socket", counts.sent, counts.missed));
    lines.push(String::new());
    for verdict in verdicts {
        let word = if verdict.passed { "ok" } else { "FAILED" };
        lines.push(format!("  {word:<7}  {}: {}", verdict.expected, verdict.found));
    }
    lines.push(if report.passed() { "passed".to_owned() } else { "not passed".to_owned() });
    lines.join("\n") + "\n"
}

fn clock(time: Duration) -> String {
    format!("{:02}:{:04.1}", time.as_secs() / 60, (time.as_millis() % 60_000) as f64 / 1000.0)
}

fn seconds(millis: u64) -> String {
    format!("{:.1} s", millis as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::drill::expect::Verdict;
    use crate::simulator::log::{Account, Counts, Usage};

    fn sample(passed: &str, ending: Ending) -> (Drill, Report) {
        let drill = Drill::parse("name = 'n'\nabout = 'a'\nduration = '90s'").unwrap();
        let usage = Usage {
            sockets: 2,
            heartbeats: 5,
            shortest_interval_ms: Some(25_000),
            longest_interval_ms: Some(29_950),
            ..Usage::default()
        };
        let mut account = Account::default();
        account.subscriptions.insert("s".into(), usage);
        let verdict =
            |expected: &str, passed| Verdict { expected: expected.into(), found: "2 accepted".into(), passed };
        let report = Report {
            ending,
            lasted: Duration::from_secs(90),
            counts: Counts {
                token_requests: 1,
                tokens: 1,
                accepted: 2,
                closed: 1,
                sent: 40,
                missed: 3,
                ..Counts::default()
            },
            account,
            verdicts: vec![verdict("sockets = 2", true), verdict(passed, passed == "sockets_at_most = 2")],
        };
        (drill, report)
    }

    fn printed(passed: &str, ending: Ending) -> (ExitCode, String) {
        let (drill, sample) = sample(passed, ending);
        let mut out = Vec::new();
        let code = report(&drill, &sample, Form::Text, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn report_tells_what_clients_did_and_what_failed() {
        let (code, text) = printed("sockets = 3", Ending::Complete);
        assert_eq!(code, ExitCode::FAILURE);
        let expected = "
Drill `n` is over after 01:30.0.
  tokens   1 asked for (0 by form, 0 by query), 1 given
  sockets  2 accepted, 0 refused, 0 left waiting, 1 live at the end
           s: 2 sockets, 5 heartbeats, 25.0 s to 29.9 s apart
  events   40 sent, 3 missed for want of a socket

  ok       sockets = 2: 2 accepted
  FAILED   sockets = 3: 2 accepted
not passed
";
        assert_eq!(text, expected);
    }

    #[test]
    fn only_a_complete_drill_can_pass() {
        assert_eq!(printed("sockets_at_most = 2", Ending::Complete).0, ExitCode::SUCCESS);
        let (code, text) = printed("sockets_at_most = 2", Ending::Interrupted);
        assert!(code == ExitCode::FAILURE && text.contains("was interrupted after 01:30.0"), "{text}");
    }

    #[test]
    fn step_tells_its_words_and_its_deeds() {
        let text = "name = 'n'\nabout = 'a'\nduration = '90s'\nsubscriptions = ['b']\n[[step]]\nat = '61500ms'\n\
                    say = 'Zoom goes.'\ndrop = 'reset'\nsubscription = 'b'\nfaults = ['tcp-silent']";
        let drill = Drill::parse(text).unwrap();
        let mut out = Vec::new();
        step(&drill.steps[0], Form::Text, &mut out).unwrap();
        let expected = "01:01.5   step          Zoom goes. (faults tcp-silent, drop reset of b)\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
