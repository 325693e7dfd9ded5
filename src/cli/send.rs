//! `send`: fires signed requests at a handler, exactly as the bridge would, and explains the answers.

mod exchange;
mod judgement;
mod report;

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::{ArgGroup, Args};
use indicatif::ProgressBar;
use serde::Deserialize;
use url::Url;

use self::exchange::{Exchange, Handler};
use self::judgement::{Expected, Oddity, WINDOW};
use super::Failure;
use super::number::within;
use super::options::after;
use super::output::plain;
use super::secret_token::SecretTokenArgs;
use crate::clock::Clock;
use crate::config::Destination;
use crate::config::address::{self, Protocol};
use crate::config::quantity::meant_duration;
use crate::simulator::fault::text::duration;
use crate::simulator::template::edit::Edit;
use crate::simulator::template::{self, Template};

/// The most repeats of one request: far more than anybody's retries, and over in seconds.
const REPEATS: u16 = 100;
/// After so many requests without an answer in a row, the rest of `--all` is not sent: nobody is there.
const SILENCE: usize = 3;
/// The oldest timestamp that can be sent, in seconds: a year.
const STALEST: u32 = 366 * 24 * 3600;
/// The least likeness (Jaro-Winkler) of a name that is offered in place of an unknown one.
const ALIKE: f64 = 0.8;

/// Fires a signed sample event, or a file, at a handler and explains the answer
#[derive(Args)]
#[command(after_help = after(&EXAMPLES, EXITS))]
#[command(group = ArgGroup::new("what").args(["event", "file", "all", "list", "url_validation"]).required(true))]
pub struct SendArgs {
    /// Event to send a fresh sample of, such as meeting.started (see --list)
    #[arg(value_name = "EVENT", value_parser = known)]
    event: Option<&'static Template>,
    /// URL of the handler; http:// towards this machine only
    #[arg(long, value_name = "URL", value_parser = handler_url)]
    #[arg(required_unless_present_any = ["list", "destination"], conflicts_with = "destination")]
    to: Option<Url>,
    #[command(flatten)]
    secret_token: SecretTokenArgs,
    /// Set one field of the sample: text, unless it reads as JSON; may be given again
    #[arg(long, value_name = "PATH=VALUE", requires = "event", conflicts_with_all = ["file", "all", "list", "url_validation"])]
    set: Vec<Edit>,
    /// Send this file, every byte as it is; - reads standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Send one sample of each event type, one after the other
    #[arg(long)]
    all: bool,
    /// List the samples, and send nothing
    #[arg(long)]
    list: bool,
    /// Ask the question that Zoom asks when an endpoint is saved, and judge the answer
    #[arg(long)]
    url_validation: bool,
    /// Send the same request so often, as retries are: same body, same x-zm-request-id
    #[arg(long, value_name = "N", value_parser = within(2..=REPEATS))]
    #[arg(conflicts_with_all = ["all", "list", "url_validation", "bad_signature", "stale"])]
    repeat: Option<u16>,
    /// Sign with another secret: a good handler refuses the request
    #[arg(long, conflicts_with_all = ["list", "url_validation", "stale"])]
    bad_signature: bool,
    /// Sign with a timestamp so many seconds old: a good handler refuses more than 300
    #[arg(long, value_name = "SECONDS", value_parser = within(1..=STALEST))]
    #[arg(conflicts_with_all = ["list", "url_validation"])]
    stale: Option<u32>,
    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = span)]
    timeout: Duration,
    /// Certificates to trust beside the system's
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: [&str; 7] = [
    "zoomhook send meeting.started --to http://localhost:3000/webhook",
    "zoomhook send meeting.started --set payload.object.topic=Round --to http://localhost:3000/",
    "zoomhook send meeting.started --secret-env CRM_TOKEN --to https://crm.internal/zoom",
    "zoomhook send meeting.started --bad-signature --to http://localhost:3000/webhook",
    "zoomhook send --url-validation --to http://localhost:3000/webhook",
    "zoomhook send --all --to http://localhost:3000/webhook",
    "zoomhook send meeting.started --destination crm",
];

const EXITS: &str =
    "0 the handler did what a good one does: take what is genuine, refuse what is not; 1 it did not; 2 usage";

/// Sends what was asked for, and says what came back.
///
/// # Errors
/// When something cannot be read, or the output cannot be written.
pub(super) async fn run(args: &SendArgs) -> Result<ExitCode, Failure> {
    let Some(destination) = args.destination()? else {
        report::list(args.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let url = &destination.url.clone();
    let clock = Clock::system();
    let samples = if args.url_validation { Vec::new() } else { args.samples(&clock)? };
    let handler = Handler::new(destination, clock).context("the certificates cannot be used")?;
    let exchanges = if args.url_validation {
        vec![handler.validate().await]
    } else {
        send(&handler, &samples, args.repeat.unwrap_or(1), args.expected(&samples)).await
    };
    let sent = report::Sent { url, exchanges: &exchanges, planned: samples.len(), repeat: args.repeat };
    if args.json {
        report::document(&sent)?
    } else {
        report::tell(&sent)?
    }
    let good = sent.is_good();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Is one body to send.
struct Sample {
    event: Cow<'static, str>,
    body: Bytes,
    /// Why Zoom sends no such body; samples of this program are its own.
    oddity: Option<Oddity>,
}

async fn send(handler: &Handler, samples: &[Sample], repeat: u16, expected: Expected) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    let bar = ProgressBar::new(samples.len() as u64 * u64::from(repeat));
    for sample in samples {
        // Repeats share the request id, as the attempts of a bridge do.
        let request_id = handler.request_id();
        for _ in 0..repeat {
            exchanges.push(handler.exchange(sample, request_id, expected).await);
            bar.inc(1);
        }
        let silent = exchanges.iter().rev().take_while(|exchange| exchange.result.is_err()).count();
        if silent >= SILENCE {
            break;
        }
    }
    bar.finish_and_clear();
    exchanges
}

impl SendArgs {
    /// Returns what is posted to, and how; `None` when nothing is to be sent.
    fn destination(&self) -> Result<Option<Destination>, Failure> {
        if self.list {
            return Ok(None);
        }
        let destination = match (self.secret_token.destination()?, &self.to) {
            (Some(destination), _) => destination,
            (None, Some(url)) => Destination::new("send", url.clone(), self.secret_token.read()?),
            (None, None) => return Ok(None),
        };
        let ca_file = self.ca_file.clone().or(destination.ca_file);
        Ok(Some(Destination { timeout: self.timeout, ca_file, ..destination }))
    }

    fn samples(&self, clock: &Clock) -> Result<Vec<Sample>, Failure> {
        if let Some(path) = &self.file {
            return Ok(vec![Sample::of(read(path)?)]);
        }
        let (now, seed) = (clock.now(), clock.request_id().uuid().as_u128() as u64);
        let templates = if self.all { template::one_of_each_type() } else { self.event.into_iter().collect() };
        let sample = |template: &'static Template| {
            let mut body = template.fresh(now, seed);
            for edit in &self.set {
                // Of many samples, most lack what one of them has.
                if let Some(path) = edit.missing(&body).filter(|_| !self.all) {
                    let warning = format!("warning: --set: {} has no field {path}: it is added", template.name);
                    let _ = writeln!(anstream::stderr(), "{}", plain(&warning));
                }
                body = edit.apply(&body).map_err(|error| Failure::usage(format!("--set: {error}")))?;
            }
            Ok(Sample { event: template.name.into(), body: body.into(), oddity: None })
        };
        templates.into_iter().map(sample).collect()
    }

    fn expected(&self, samples: &[Sample]) -> Expected {
        let oddity = samples.iter().find_map(|sample| sample.oddity);
        match (self.stale.map(u64::from), oddity) {
            _ if self.bad_signature => Expected::RefuseForged,
            (Some(age), _) if age > WINDOW => Expected::RefuseStale(age),
            (_, Some(oddity)) => Expected::Either(oddity),
            (Some(age), None) => Expected::AcceptOld(age),
            (None, None) => Expected::Accept,
        }
    }
}

impl Sample {
    /// Makes a sample of a file, named by its event if it has one.
    fn of(body: Vec<u8>) -> Self {
        #[derive(Deserialize)]
        struct Known {
            event: String,
        }
        let known = serde_json::from_slice::<Known>(&body).ok();
        let oddity = Oddity::of(&body, known.is_some());
        Self { event: known.map_or("no event".into(), |known| known.event.into()), body: body.into(), oddity }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.with_context(|| format!("--file: {} cannot be read", path.display()))
}

fn known(name: &str) -> Result<&'static Template, String> {
    template::find(name).ok_or_else(|| {
        let alike = |known: &&Template| strsim::jaro_winkler(known.name, name);
        let nearest = template::all().iter().max_by(|one, other| alike(one).total_cmp(&alike(other)));
        match nearest.filter(|nearest| alike(nearest) >= ALIKE) {
            Some(nearest) => format!("no sample is called so: did you mean `{}`? (see --list)", nearest.name),
            None => "no sample is called so: see --list, or send your own with --file".to_owned(),
        }
    })
}

fn handler_url(text: &str) -> Result<Url, String> {
    address::parse(text, Protocol::Http)
}

fn span(text: &str) -> Result<Duration, String> {
    let meant = || meant_duration(text).filter(|meant| meant != text).map(|meant| format!(": did you mean `{meant}`?"));
    let wrong = || format!("expected a duration such as `250ms` or `10s`{}", meant().unwrap_or_default());
    duration(text).filter(|span| !span.is_zero()).ok_or_else(wrong)
}
