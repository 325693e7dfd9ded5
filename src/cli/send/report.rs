//! What `send` prints.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;
use url::Url;

use super::exchange::Exchange;
use super::judgement::Expected;
use crate::cli::output::{BAD, FAIR, GOOD, plain, print, print_json, styled};
use crate::cli::table::{Cell, Table, terminal_width};
use crate::config::address;
use crate::event::RequestId;
use crate::simulator::template;
use crate::webhook::verdict::{Answer, SendError};
use crate::wording;

/// Is what was sent, and what came back.
pub(super) struct Sent<'a> {
    pub(super) url: &'a Url,
    pub(super) exchanges: &'a [Exchange],
    /// How many samples there were to send.
    pub(super) planned: usize,
    pub(super) repeat: Option<u16>,
}

impl Sent<'_> {
    /// Tells whether the handler did what a good handler does, each time.
    pub(super) fn is_good(&self) -> bool {
        self.exchanges.iter().all(|exchange| exchange.judgement.good) && !self.is_cut_short()
    }

    fn is_cut_short(&self) -> bool {
        self.exchanges.len() < self.planned
    }
}

/// Lists the samples.
///
/// # Errors
/// When stdout is closed.
pub(super) fn list(as_json: bool) -> io::Result<()> {
    #[derive(Serialize)]
    struct Listed {
        name: &'static str,
        event: Cow<'static, str>,
        family: &'static str,
        bytes: usize,
    }
    let listed = template::all().iter().map(|template| Listed {
        name: template.name,
        event: template.kind(),
        family: template.family,
        bytes: template.body.len(),
    });
    if as_json {
        return print_json(&listed.collect::<Vec<_>>());
    }
    let mut table = Table::new(["SAMPLE", "EVENT", "FAMILY", "BYTES"]);
    for Listed { name, event, family, bytes } in listed {
        table.push([
            Cell::text(name),
            Cell::text(&event),
            Cell::text(family),
            Cell::number(wording::count(bytes as u64)),
        ]);
    }
    print(&table.render(terminal_width()))
}

/// Prints everything as one document.
///
/// # Errors
/// When stdout is closed.
pub(super) fn document(sent: &Sent<'_>) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document<'a> {
        to: String,
        good: bool,
        sent: Vec<Entry<'a>>,
    }
    #[derive(Serialize)]
    struct Entry<'a> {
        event: &'a str,
        bytes: usize,
        request_id: RequestId,
        status: Option<u16>,
        error: Option<String>,
        answer: Option<&'a str>,
        elapsed_ms: u64,
        good: bool,
        zoomhook: &'a str,
        zoom: &'a str,
        hints: &'a [String],
    }
    fn entry(exchange: &Exchange) -> Entry<'_> {
        let Exchange { event, bytes, request_id, result, took, judgement, .. } = exchange;
        Entry {
            event,
            bytes: *bytes,
            request_id: *request_id,
            status: result.as_ref().ok().map(|answer| answer.status),
            error: result.as_ref().err().map(SendError::to_string),
            answer: result.as_ref().ok().map(|answer| answer.excerpt.as_str()),
            elapsed_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            good: judgement.good,
            zoomhook: &judgement.zoomhook,
            zoom: &judgement.zoom,
            hints: &judgement.hints,
        }
    }
    let entries = sent.exchanges.iter().map(entry).collect();
    print_json(&Document { to: address::masked(sent.url), good: sent.is_good(), sent: entries })
}

/// Tells everything to people: one request in full, several as a table.
///
/// # Errors
/// When stdout is closed.
pub(super) fn tell(sent: &Sent<'_>) -> io::Result<()> {
    let text = match sent.exchanges {
        [one] => in_full(one, sent),
        _ => as_table(sent),
    };
    print(&text)
}

fn in_full(exchange: &Exchange, sent: &Sent<'_>) -> String {
    let Exchange { event, bytes, judgement, .. } = exchange;
    let mut text = format!(
        "{} ({}{}) to {}\n\n",
        plain(event),
        wording::size(*bytes as u64),
        how(exchange.expected),
        address::masked(sent.url)
    );
    let answer = match &exchange.result {
        Ok(_) => format!("{} in {}", outcome(&exchange.result), span(exchange.took)),
        // What went wrong is a sentence of its own.
        Err(_) => format!("none, after {}: {}", span(exchange.took), outcome(&exchange.result)),
    };
    line(&mut text, "answer", &answer);
    if let Ok(Answer { excerpt, .. }) = &exchange.result
        && !judgement.good
        && !excerpt.trim().is_empty()
    {
        line(&mut text, "it says", &plain(excerpt.trim()));
    }
    // What becomes of a request that no bridge would send is nobody's question.
    if matches!(exchange.expected, Expected::Accept) {
        line(&mut text, "zoomhook", &judgement.zoomhook);
        line(&mut text, "Zoom", &judgement.zoom);
    }
    judgement.hints.iter().for_each(|hint| line(&mut text, "hint", hint));
    text.push('\n');
    text.push_str(&conclusion(sent));
    text
}

fn as_table(sent: &Sent<'_>) -> String {
    let mut table = Table::new(["EVENT", "BYTES", "ANSWER", "TIME", "ZOOMHOOK"]);
    let mut hints: Vec<&str> = Vec::new();
    for exchange in sent.exchanges {
        let style = if exchange.judgement.good { GOOD } else { BAD };
        table.push([
            Cell::text(&exchange.event),
            Cell::number(wording::count(exchange.bytes as u64)),
            Cell::text(&outcome(&exchange.result)).styled(style),
            Cell::number(span(exchange.took)),
            Cell::text(&exchange.judgement.zoomhook),
        ]);
        for hint in &exchange.judgement.hints {
            if !hints.contains(&hint.as_str()) {
                hints.push(hint);
            }
        }
    }
    let mut text = table.render(terminal_width());
    text.push('\n');
    hints.iter().for_each(|hint| line(&mut text, "hint", hint));
    text.push_str(&conclusion(sent));
    text
}

fn conclusion(sent: &Sent<'_>) -> String {
    let good = sent.exchanges.iter().filter(|exchange| exchange.judgement.good).count();
    let all = sent.exchanges.len();
    let mut text = if good == all {
        format!("{}: the handler did what a good handler does", styled(GOOD, "OK"))
    } else {
        format!("{}: the handler did not do what a good handler does", styled(BAD, "NOT OK"))
    };
    if all > 1 {
        append(&mut text, format_args!(", {} of {} times", wording::count(good as u64), wording::count(all as u64)));
    }
    if sent.is_cut_short() {
        let left = wording::counted((sent.planned - all) as u64, "more sample");
        append(&mut text, format_args!("\n{}: {left} not sent, for want of answers", styled(FAIR, "CUT SHORT")));
    }
    if sent.repeat.is_some() && good == all {
        text.push_str("\nAll had the same body and x-zm-request-id: see whether the work was done once");
    }
    text + "\n"
}

fn how(expected: Expected) -> String {
    match expected {
        Expected::Accept => String::new(),
        Expected::RefuseForged => ", signed with another secret".to_owned(),
        Expected::Either(oddity) => format!(", {}", oddity.words()),
        Expected::AcceptOld(age) | Expected::RefuseStale(age) => format!(", {age} s old"),
    }
}

fn outcome(result: &Result<Answer, SendError>) -> String {
    match result {
        Ok(answer) => format!("status {}", answer.status),
        Err(error) => error.to_string(),
    }
}

fn span(took: Duration) -> String {
    wording::span(SignedDuration::try_from(took).unwrap_or(SignedDuration::MAX))
}

fn line(text: &mut String, label: &str, value: &str) {
    append(text, format_args!("  {label:<9} {value}\n"));
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes any text");
}
