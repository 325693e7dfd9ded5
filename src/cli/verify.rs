//! `verify`: is the signature of a request right and, if not, why.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::Failure;
use super::options::after;
use super::output::{BAD, GOOD, plain, print, print_json, styled};
use super::secret_token::SecretTokenArgs;
use crate::clock::Clock;
use crate::webhook::diagnosis::headers::Headers;
use crate::webhook::diagnosis::{Claim, ClockState, Diagnosis, Difference, diagnose};
use crate::wording;

/// Tells whether the signature of a request is right and, if not, why
#[derive(Args)]
#[command(after_help = after(&EXAMPLES, EXITS))]
pub struct VerifyArgs {
    /// The value of x-zm-signature
    #[arg(long, value_name = "TEXT", required_unless_present = "headers")]
    signature: Option<String>,
    /// The value of x-zm-request-timestamp
    #[arg(long, value_name = "TEXT", required_unless_present = "headers")]
    timestamp: Option<String>,
    /// File with the headers of the request, a line each, in place of the two options
    #[arg(long, value_name = "PATH")]
    headers: Option<PathBuf>,
    /// File with the body, every byte as it came; - reads standard input
    #[arg(long, value_name = "PATH")]
    body: PathBuf,
    #[command(flatten)]
    secret_token: SecretTokenArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: [&str; 3] = [
    "zoomhook verify --signature v0=5c3f... --timestamp 1785368934 --body body.json",
    "zoomhook verify --headers headers.txt --body - --secret-file token < body.json",
    "zoomhook verify --headers headers.txt --body body.json --destination crm",
];

const EXITS: &str = "0 the signature is right, 1 it is not, 2 usage. A timestamp out of the window of 300 s is told, and \
     changes neither: what was saved to a file is soon older than that";

/// Reads what came, finds out what is wrong with it, and says so.
///
/// # Errors
/// When something cannot be read, or the output cannot be written.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let now = Clock::system().now();
    let secrets = match args.secret_token.destination()? {
        Some(destination) => destination.secret_tokens(now).into_iter().cloned().collect(),
        None => vec![args.secret_token.read()?],
    };
    let headers = match &args.headers {
        Some(path) => Headers::read(&String::from_utf8_lossy(&read(path, "--headers")?)),
        None => Headers::default(),
    };
    let missing = |name| Failure::usage(missing(name, &headers));
    let signature = args.signature.as_deref().or(headers.signature()).ok_or_else(|| missing("x-zm-signature"))?;
    let timestamp = args.timestamp.as_deref().or(headers.timestamp());
    let timestamp = timestamp.ok_or_else(|| missing("x-zm-request-timestamp"))?;
    let body = read(&args.body, "--body")?;

    let claim = Claim { signature, timestamp, body: &body, headers: &headers };
    // The first that fits best; the last of equals is what comes out.
    let diagnoses = secrets.iter().rev().map(|secret| diagnose(&claim, secret, now));
    let found = diagnoses.max_by_key(|found| (found.is_right(), found.differences.is_some()));
    let found = found.expect("a destination has a secret token");
    if args.json {
        print_json(&Report::of(&found))?;
    } else {
        print(&told(&found, body.len()))?;
    }
    Ok(if found.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    Ok(read.with_context(|| format!("{option}: {} cannot be read", path.display()))?)
}

fn missing(name: &str, headers: &Headers) -> String {
    let alike = headers.lookalikes();
    let hint = match alike.as_slice() {
        [] => "is it Zoom's request, and do all of its headers reach the handler?".to_owned(),
        alike => format!("does a proxy rename it? there is {}", wording::list(alike)),
    };
    format!("--headers: there is no {name}: {hint}")
}

/// Is a diagnosis as a document.
#[derive(Serialize)]
struct Report {
    right: bool,
    /// What the signature was made of, where that was found out.
    fits: Option<Vec<String>>,
    form: Vec<String>,
    clock: Option<String>,
    advice: Vec<&'static str>,
    tried: usize,
}

impl Report {
    fn of(found: &Diagnosis) -> Self {
        let texts = |differences: &Vec<Difference>| differences.iter().map(ToString::to_string).collect();
        Self {
            right: found.is_right(),
            fits: found.differences.as_ref().map(texts),
            form: found.form.iter().map(ToString::to_string).collect(),
            clock: clock(found.clock),
            advice: advice(found),
            tried: found.tried,
        }
    }
}

fn told(found: &Diagnosis, bytes: usize) -> String {
    let mut lines = Vec::new();
    let body = format!("a body of {}", wording::counted(bytes as u64, "byte"));
    match &found.differences {
        Some(differences) if found.is_right() && differences.is_empty() => {
            lines.push(format!("{}: the signature is right for {body}", styled(GOOD, "OK")));
        }
        Some(differences) if differences.is_empty() => {
            lines.push(format!("{}: the signature is right for {body}, but not in form", styled(BAD, "NOT OK")));
        }
        Some(differences) => {
            lines.push(format!("{}: the signature is not the one of this request. It fits:", styled(BAD, "NOT OK")));
            lines.extend(differences.iter().map(|difference| format!("  {difference}")));
        }
        None => {
            lines.push(format!("{}: the signature is not the one of this request", styled(BAD, "NOT OK")));
            if found.tried > 0 {
                let tried = wording::counted(found.tried as u64, "signature");
                lines.push(format!("  {tried} made with this secret, and none fits. Excluded are:"));
                lines.extend(EXCLUDED.iter().map(|what| format!("    {what}")));
            }
        }
    }
    lines.extend(found.form.iter().map(|fault| format!("  {}", plain(&fault.to_string()))));
    lines.extend(clock(found.clock).map(|clock| format!("  {clock}")));
    let advice = advice(found);
    if !advice.is_empty() {
        lines.push(String::new());
        lines.extend(advice.iter().map(ToString::to_string));
    }
    lines.join("\n") + "\n"
}

/// What an unexplained signature was tried with.
const EXCLUDED: [&str; 4] = [
    "a newline, carriage return or byte order mark too many or too few, and UTF-8 read as Latin-1",
    "JSON written again: by JavaScript, Python, PHP, Go or .NET, indented, keys sorted, escapes and numbers changed",
    "a secret with a newline, blanks or quotes around it",
    "a timestamp in other units, of the body or of another header, and a message without `v0:` or timestamp",
];

fn clock(state: ClockState) -> Option<String> {
    match state {
        ClockState::Fresh => None,
        ClockState::Old(age) => Some(format!(
            "the timestamp is {} old: handlers refuse what is older than 300 s; if it was so when it came, look at both clocks",
            wording::span(age)
        )),
        ClockState::Ahead(by) => Some(format!(
            "the timestamp lies {} ahead: handlers refuse more than 300 s; look at both clocks",
            wording::span(by)
        )),
        ClockState::Milliseconds => Some("the timestamp counts milliseconds: Zoom sends seconds, 10 digits".to_owned()),
        ClockState::NotATime => {
            Some("the timestamp is no number of seconds since 1970: Zoom sends 10 digits".to_owned())
        }
    }
}

fn advice(found: &Diagnosis) -> Vec<&'static str> {
    let Some(differences) = &found.differences else {
        return vec![if found.clock == ClockState::NotATime {
            "Give the text of the header x-zm-request-timestamp: the signature covers it, so that nothing else can be told \
             without it."
        } else if found.tried == 0 {
            "Take the signature as it stands in the header x-zm-signature."
        } else {
            "What is left: another secret token (each app of the Marketplace has its own, and regenerating it makes \
             the old one worthless), or a body that lost more than its form: keys left out, text cut or replaced."
        }];
    };
    let of = |difference: &Difference| match difference {
        Difference::Body(_) => {
            "Verify over the raw bytes of the request, before anything parses them (express.raw, request.body, php://input)."
        }
        Difference::Secret(_) => "Make the secret the same on both sides: the token alone, without anything around it.",
        Difference::Timestamp(_) => "Use the text of the header x-zm-request-timestamp exactly as it came.",
        Difference::Message(_) => "Sign `v0:<timestamp>:<body>`, with the two colons.",
    };
    let mut advice: Vec<_> = differences.iter().map(of).collect();
    if !found.form.is_empty() {
        advice.push("Write the signature as `v0=` and the 64 lower-case hexadecimal digits of the HMAC-SHA256.");
    }
    advice
}
