//! `zoomhook simulate`: a Zoom to practise on, alone.

mod drill;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::drill::Form;
use super::number::number;
use super::options::after;
use super::output::wrapped;
use crate::clock::Clock;
use crate::config::filter::{NotAPattern, Pattern};
use crate::config::secret::Secret;
use crate::simulator::drill::Drill;
use crate::simulator::fault::Faults;
use crate::simulator::fault::text::{BadFault, NAMES, duration};
use crate::simulator::log::{Counts, Entry, Happening, Reason};
use crate::simulator::template::one_of_each_type;
use crate::simulator::traffic::meetings::TYPES;
use crate::simulator::traffic::{self, Source, Traffic};
use crate::simulator::{Options, Simulator, Transport};

/// How often the number of events is told.
const SUMMARY: Duration = Duration::from_secs(5);
/// The width of the names of faults, and of the page that lists them.
const NAME: usize = 31;
const PAGE: usize = 80;

/// Plays Zoom on this machine: token endpoint, event socket, events at a rate, and faults on request.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = fault_help())]
pub struct Args {
    /// Loopback address to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    /// Events per second; 0 sends none by itself
    #[arg(long, value_name = "N", default_value = "1", value_parser = rate)]
    rate: f64,
    /// Stop sending after this many events
    #[arg(long, value_name = "N", value_parser = number::<u64>)]
    count: Option<u64>,
    /// Send these types: names or patterns such as recording.*, with commas. Types of the life cycle of a meeting come
    /// as such, with ids that fit; with any other, or *, one event of each type comes in turn
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = kind)]
    events: Vec<Pattern>,
    /// Send the lines of this file instead, up to the last: each is the body of one event, byte for byte
    #[arg(long, value_name = "FILE", conflicts_with = "events")]
    file: Option<PathBuf>,
    /// Begin again after the last line of the file
    #[arg(long, requires = "file")]
    again: bool,
    /// Make tokens and events repeatable
    #[arg(long, value_name = "N", value_parser = number::<u64>)]
    seed: Option<u64>,
    /// Account that clients must name for the grant account_credentials
    #[arg(long, value_name = "ID", default_value = "demo-account")]
    account_id: String,
    /// Client id that clients must show
    #[arg(long, value_name = "ID", default_value = "demo-client")]
    client_id: String,
    /// Client secret that clients must show
    #[arg(long, value_name = "SECRET", default_value = "demo-secret")]
    client_secret: String,
    /// Subscription that clients may connect to; give it again for twins, which get the same events
    #[arg(long, value_name = "ID", default_value = "demo-subscription")]
    subscription_id: Vec<String>,
    /// How long a token is good
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = span)]
    token_life: Duration,
    /// End each socket when it has lived so long: short for --fault drop-every=DURATION
    #[arg(long, value_name = "DURATION", value_parser = span)]
    drop_every: Option<Duration>,
    /// Refuse every socket in these words: short for --fault open-refused=TEXT
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "Invalid Token")]
    refuse: Option<String>,
    /// Switch a fault on (see below); may be given again
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = fault)]
    fault: Vec<String>,
    /// Play the timed steps of this file, print what clients did, and exit with 1 unless that is as expected
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "count", "events", "file", "token_life", "drop_every", "refuse", "fault"])]
    drill: Option<PathBuf>,
    /// Speak https and wss, with a certificate of its own authority, made at the start
    #[arg(long, requires = "tls_ca_out")]
    tls: bool,
    /// Write the certificate of that authority, which clients must trust, to this file
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca_out: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

fn fault_help() -> String {
    let mut text = after(
        &[
            "zoomhook simulate --rate 50 --fault drop-every=30s",
            "zoomhook simulate --drill fixtures/drills/fail-over.toml",
        ],
        "0 done or ended by Ctrl-C, 1 it failed or the drill was not as expected, 2 usage",
    );
    text.push_str("\n\nFaults:\n");
    for (name, value, what) in NAMES {
        let form = if value.is_empty() { name.to_owned() } else { format!("{name}={value}") };
        text.push_str(&format!("  {form:<NAME$}  {}\n", wrapped(what, NAME + 4, Some(PAGE))));
    }
    text.push_str(
        "\nWhile it runs, faults, sockets, rate and events are changed from outside:\n  \
         control=http://127.0.0.1:8787/_control json=content-type:application/json\n  \
         curl -H $json -d '[\"token-hang\"]' $control/faults\n  \
         curl -H $json -d '{\"as\":\"reset\"}' $control/drop\n  \
         curl -H $json -d '{\"rate\":50}' $control/rate\n  \
         curl --data-binary @event.json $control/events\n  \
         curl $control/log",
    );
    text
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0);
    rate.ok_or("expected a number of events per second, such as 50 or 0.2")
}

fn kind(text: &str) -> Result<Pattern, String> {
    let pattern: Pattern = text.parse().map_err(|error: NotAPattern| error.to_string())?;
    if TYPES.iter().any(|kind| pattern.matches(kind)) || one_of_each_type().iter().any(|of| pattern.matches(&of.kind()))
    {
        return Ok(pattern);
    }
    Err("no event of this type is known; `zoomhook send --list` names them".to_owned())
}

fn span(text: &str) -> Result<Duration, &'static str> {
    duration(text).ok_or("expected a duration such as `250ms` or `10s`")
}

fn fault(text: &str) -> Result<String, BadFault> {
    Faults::default().set(text)?;
    Ok(text.to_owned())
}

impl Args {
    fn options(&self, drill: Option<&Drill>) -> anyhow::Result<Options> {
        let mut faults = Faults::default();
        for text in &self.fault {
            faults.set(text)?;
        }
        if let Some(wording) = &self.refuse {
            faults.set(&format!("open-refused={wording}"))?;
        }
        faults.drop_every = self.drop_every.or(faults.drop_every);
        let traffic = Traffic { rate: self.rate, count: self.count, source: self.source()? };
        let mut options = Options {
            listen: self.listen,
            account_id: self.account_id.clone(),
            client_id: self.client_id.clone(),
            client_secret: Secret::new(self.client_secret.as_str()),
            subscriptions: self.subscription_id.iter().map(|id| Arc::from(id.as_str())).collect(),
            token_life: self.token_life,
            seed: self.seed.unwrap_or_else(|| Clock::system().request_id().uuid().as_u128() as u64),
            traffic: Some(traffic),
            faults,
            transport: if self.tls { Transport::Tls } else { Transport::Plain },
        };
        if let Some(drill) = drill {
            drill.prepare(&mut options);
        }
        Ok(options)
    }

    fn source(&self) -> anyhow::Result<Source> {
        let Some(path) = &self.file else {
            let of_meetings =
                |pattern: &Pattern| *pattern != Pattern::All && TYPES.iter().any(|kind| pattern.matches(kind));
            return Ok(match self.events.as_slice() {
                [] => Source::Meetings([Pattern::All].into()),
                wanted if wanted.iter().all(of_meetings) => Source::Meetings(wanted.into()),
                wanted => Source::EachType(wanted.into()),
            });
        };
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let lines = traffic::lines(&text).with_context(|| format!("cannot send {}", path.display()))?;
        Ok(if self.again { Source::Repeated(lines) } else { Source::Once(lines) })
    }

    fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }
}

/// Runs the simulator until `token` is cancelled, or a drill to its end. A drill that does not pass makes the exit code.
///
/// # Errors
/// When a file cannot be read or written, the port cannot be opened, or standard output cannot be written.
pub async fn run(args: Args, token: CancellationToken) -> anyhow::Result<ExitCode> {
    let drill = args.drill.as_deref().map(drill::read).transpose()?;
    let simulator = Simulator::bind(args.options(drill.as_ref())?).await?;
    if let (Some(path), Some(authority)) = (&args.tls_ca_out, simulator.authority()) {
        fs::write(path, authority).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = io::stdout();
    if args.json {
        writeln!(out, "{}", listening(&args, &simulator))?;
    } else {
        writeln!(out, "{}", greeting(&args, &simulator))?;
    }
    if let Some(drill) = drill {
        return play(&drill, &args, &simulator, token).await;
    }
    tokio::select! {
        () = simulator.run(token) => {}
        told = tell(&simulator, &args, &mut out) => told?,
    }
    let counts = simulator.counts();
    if !args.json {
        writeln!(out, "stopped: {} events sent, {} missed, {} sockets", counts.sent, counts.missed, counts.accepted)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Plays a drill and tells everything as it happens.
async fn play(drill: &Drill, args: &Args, simulator: &Simulator, token: CancellationToken) -> anyhow::Result<ExitCode> {
    let (form, mut out) = (args.form(), io::stdout());
    drill::announce(drill, form, &mut out)?;
    let (mut told, mut log) = (Ok(()), io::stdout());
    let played = drill.play(simulator, &token, |step| {
        if told.is_ok() {
            told = drill::step(step, form, &mut io::stdout());
        }
    });
    let report = tokio::select! {
        report = played => report,
        () = simulator.run(CancellationToken::new()) => anyhow::bail!("the simulator ended by itself"),
        told = tell(simulator, args, &mut log) => {
            told?;
            anyhow::bail!("standard output is gone")
        }
    };
    told?;
    Ok(drill::report(drill, &report, form, &mut out)?)
}

/// Is the first line of the JSON form.
fn listening(args: &Args, simulator: &Simulator) -> serde_json::Value {
    let ids = &simulator.options().subscriptions;
    json!({
        "what": "listening",
        "token_url": simulator.token_url().as_str(),
        "ws_url": simulator.ws_url(&ids[0]).as_str(),
        "control_url": control_url(simulator),
        "ca_file": args.tls_ca_out,
    })
}

/// The control endpoints speak plain text whatever the rest does.
fn control_url(simulator: &Simulator) -> String {
    format!("http://{}/_control", simulator.addr())
}

fn greeting(args: &Args, simulator: &Simulator) -> String {
    let subscriptions = &simulator.options().subscriptions;
    let mut lines = vec![
        format!("A Zoom to practise on listens on {}. In another terminal:", simulator.addr()),
        String::new(),
        format!("  export ZOOM_TOKEN_URL='{}'", simulator.token_url()),
        format!("  export ZOOM_SUBSCRIPTION_ID='{}'", simulator.ws_url(&subscriptions[0])),
        format!("  export ZOOM_ACCOUNT_ID='{}'", args.account_id),
        format!("  export ZOOM_CLIENT_ID='{}'", args.client_id),
        format!("  export ZOOM_CLIENT_SECRET='{}'", args.client_secret),
        "  export ZOOM_WEBHOOK_SECRET_TOKEN='demo-secret-token'".to_owned(),
    ];
    match &args.tls_ca_out {
        None => lines.push("  zoomhook run --to http://localhost:3000/webhook".to_owned()),
        Some(path) => lines.extend([
            String::new(),
            "Its certificate is known to this machine alone. In the [[subscription]] of a configuration file:"
                .to_owned(),
            String::new(),
            format!("  ca_file = {}", toml::Value::from(path.display().to_string())),
        ]),
    }
    if subscriptions.len() > 1 {
        lines.push(String::new());
        lines.extend(subscriptions[1..].iter().map(|id| format!("Another subscription: {}", simulator.ws_url(id))));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Tells what happens, until standard output is gone.
async fn tell(simulator: &Simulator, args: &Args, out: &mut impl Write) -> io::Result<()> {
    let mut summaries = interval(SUMMARY);
    summaries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut next, mut told) = (0, Counts::default());
    loop {
        tokio::select! {
            () = simulator.logged(next) => {
                let (entries, following) = simulator.log(next);
                next = following;
                for entry in &entries {
                    if args.json {
                        writeln!(out, "{}", json!(entry))?;
                    } else if let Some(line) = line(entry) {
                        writeln!(out, "{line}")?;
                    }
                }
            }
            _ = summaries.tick() => {
                let counts = simulator.counts();
                if (counts.sent, counts.missed) != (told.sent, told.missed) {
                    writeln!(out, "{}", summary(&counts, Clock::system().now(), args.json))?;
                }
                told = counts;
            }
        }
    }
}

/// Tells how many events were sent since the start, and how many found no socket.
fn summary(counts: &Counts, now: Timestamp, as_json: bool) -> String {
    let Counts { sent, missed, .. } = counts;
    if as_json {
        return json!({"at": now, "what": "events", "sent": sent, "missed": missed}).to_string();
    }
    let missed = if *missed > 0 { format!(", {missed} missed for want of a socket") } else { String::new() };
    format!("{}  {:<12}  {sent} sent{missed}", now.strftime("%H:%M:%S"), "events")
}

/// Tells one thing that happened; heartbeats go to the log, at debug.
fn line(entry: &Entry) -> Option<String> {
    let (what, more) = match &entry.what {
        Happening::Token { parameters, grant, status: 200 } => ("token", format!("given for {grant} by {parameters}")),
        Happening::Token { grant, status: 0, .. } => ("token", format!("request for {grant:?} without an answer")),
        Happening::Token { grant, status, .. } => ("token", format!("request for {grant:?} answered with {status}")),
        Happening::Refused { subscription, answer } => ("refused", format!("{subscription}: {answer}")),
        Happening::Held { subscription } => ("held", format!("{subscription} waits for a first frame")),
        Happening::Silent => ("silent", "a connection gets no word".to_owned()),
        Happening::NoTls { reason } => ("no tls", reason.to_string()),
        Happening::Accepted { socket, subscription } => ("connected", format!("socket {socket} of {subscription}")),
        Happening::Heartbeat { socket, after_ms } => {
            tracing::debug!(socket, after_ms, "heartbeat");
            return None;
        }
        Happening::Unexpected { socket, bytes } => {
            ("unexpected", format!("{bytes} bytes from socket {socket} that are no heartbeat"))
        }
        Happening::Closed { socket, reason, events, .. } => {
            ("closed", format!("socket {socket}, {}, after {events} events", because(*reason)))
        }
        Happening::Faults { on } if on.is_empty() => ("faults", "none".to_owned()),
        Happening::Faults { on } => ("faults", on.join(", ")),
    };
    Some(format!("{}  {what:<12}  {more}", entry.at.strftime("%H:%M:%S")))
}

fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::Evicted => "evicted by a newer one",
        Reason::Dropped => "dropped on purpose",
        Reason::Idle => "silent for too long",
        Reason::TokenExpired => "its token expired",
        Reason::ClosedByClient => "closed by the client",
        Reason::Lost => "connection lost",
        Reason::Stopped => "the simulator stops",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, Command, FromArgMatches as _};

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        let command = Args::augment_args(Command::new("simulate").no_binary_name(true));
        Args::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    #[test]
    fn flags_become_options() {
        let args = parse(&["--refuse", "--drop-every", "30s", "--fault", "ping=5s", "--rate", "0"]).unwrap();
        let options = args.options(None).unwrap();
        assert_eq!(options.faults.texts(), ["open-refused=Invalid Token", "ping=5s", "drop-every=30s"]);
        assert_eq!((options.traffic, options.listen.port()), (Some(Traffic::meetings(0.0)), 8787));
    }

    #[test]
    fn wrong_values_are_named() {
        for (args, inside) in [
            (["--rate", "fast"], "expected a number of events per second"),
            (["--fault", "toke"], "no fault is called `toke`"),
            (["--drop-every", "30"], "expected a duration"),
            (["--events", "phones.*"], "no event of this type is known"),
            (["--again", "--tls"], "--file"),
        ] {
            let error = parse(&args).unwrap_err().to_string();
            assert!(error.contains(inside), "{error}");
        }
    }

    #[test]
    fn help_lists_every_fault() {
        let help = Args::augment_args(Command::new("simulate")).render_long_help().to_string();
        assert!(NAMES.iter().all(|(name, ..)| help.contains(name)), "{help}");
    }

    #[tokio::test]
    async fn greeting_can_be_copied_into_a_shell() {
        let args = parse(&["--listen", "127.0.0.1:0", "--subscription-id", "abc"]).unwrap();
        let simulator = Simulator::bind(args.options(None).unwrap()).await.unwrap();
        let port = simulator.addr().port();
        let text = greeting(&args, &simulator);
        let expected = format!("export ZOOM_SUBSCRIPTION_ID='ws://127.0.0.1:{port}/ws?subscriptionId=abc'\n");
        assert!(text.contains(&expected), "{text}");
        assert!(text.contains(&format!("export ZOOM_TOKEN_URL='http://127.0.0.1:{port}/oauth/token'\n")), "{text}");
    }

    #[test]
    fn lines_tell_what_happened() {
        let tell = |what| line(&Entry { at: Timestamp::UNIX_EPOCH, what });
        let closed = Happening::Closed { socket: 2, subscription: "s".into(), reason: Reason::Evicted, events: 7 };
        let told = "00:00:00  closed        socket 2, evicted by a newer one, after 7 events";
        assert_eq!(tell(closed).as_deref(), Some(told));
        let refused = Happening::Refused { subscription: "s".into(), answer: "Invalid Token".into() };
        assert_eq!(tell(refused).as_deref(), Some("00:00:00  refused       s: Invalid Token"));
        assert_eq!(tell(Happening::Heartbeat { socket: 2, after_ms: 30_000 }), None);
    }
}
