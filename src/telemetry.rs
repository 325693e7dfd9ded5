//! What the program says of itself: log lines, metrics and traces.
//!
//! Only this crate's own records are ever written. The libraries below it (hyper, tungstenite,
//! rustls) print headers, URLs and frames at their lower levels, tokens and payloads with them, so
//! they are off at every level and no setting turns them on.
//!
//! Lines are written by a thread of their own. When nobody reads them (a pipe that is full), they wait up to a bound and
//! are dropped beyond it: deliveries do not wait for the log.

mod levels;
pub mod metrics;
#[cfg(not(feature = "otel"))]
mod no_traces;
#[cfg(feature = "otel")]
mod otlp;
pub mod spans;

use std::io::IsTerminal as _;
use std::panic::{self, PanicHookInfo};

use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

pub use self::levels::LogLevels;
pub(crate) use self::levels::WITNESS;
#[cfg(not(feature = "otel"))]
pub(crate) use self::no_traces::Exporter;
#[cfg(feature = "otel")]
pub(crate) use self::otlp::Exporter;
use crate::config::{Log, LogFormat};

/// Lines that wait for their reader; some seconds of a log at its lowest level.
const LINES: usize = 8192;

/// Says why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A subscriber is there already.
    #[error("logging is set up already")]
    AlreadyInstalled,
}

/// Writes what waits, as far as it is read, when it is dropped at the end of the program.
#[must_use = "lines that wait when the program ends are lost without it"]
#[derive(Debug)]
pub struct Flush {
    _guard: WorkerGuard,
}

/// Says whether lines carry colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    On,
    Off,
}

/// Sends the log to stderr from now on, for the whole process; returns what changes how much.
///
/// Text lines are coloured on a terminal, unless `NO_COLOR` is set; times are UTC.
///
/// # Errors
/// When logging has been set up before.
pub fn install(log: &Log) -> Result<(Flush, LogLevels), TelemetryError> {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let colour = if wanted && std::io::stderr().is_terminal() { Colour::On } else { Colour::Off };
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES)
        .thread_name("zoomhook-log")
        .finish(std::io::stderr());
    let (subscriber, levels) = subscriber(log, colour, writer);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadyInstalled)?;
    panic::set_hook(Box::new(panicked));
    Ok((Flush { _guard: guard }, levels))
}

/// Logs a panic without its message, which may quote a payload or a secret.
fn panicked(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    tracing::error!(place, "a part of the program panicked: please report the place, and what went before");
}

fn subscriber<W>(log: &Log, colour: Colour, writer: W) -> (impl Subscriber + Send + Sync, LogLevels)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => Box::new(fmt::layer().compact().with_ansi(colour == Colour::On).with_writer(writer)),
        LogFormat::Json => Box::new(fmt::layer().json().flatten_event(true).with_writer(writer)),
    };
    let (filter, levels) = LogLevels::filter(&log.level);
    (tracing_subscriber::registry().with(lines.with_filter(filter)), levels)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn dependencies_are_silent_at_every_level() {
        let written = written(LogFormat::Text, "trace", |_| {
            tracing::error!(target: "hyper::proto::h1", "canary");
            tracing::warn!(target: "tungstenite::protocol", "canary");
            tracing::trace!(target: "rustls", "canary");
            tracing::debug!(target: "h2", "canary");
            tracing::trace!(target: "reqwest::connect", "canary");
            tracing::trace!(target: "zoomhook::zoom", "own record");
        });
        assert!(written.contains("own record") && !written.contains("canary"), "{written}");
    }

    #[test]
    fn level_holds_for_own_records() {
        let written = written(LogFormat::Text, "info", |_| {
            tracing::debug!(target: "zoomhook::zoom", "below");
            tracing::info!(target: "zoomhook::zoom", "at");
        });
        assert!(written.contains("at") && !written.contains("below"), "{written}");
    }

    #[test]
    fn part_of_the_program_has_a_level_of_its_own() {
        let written = written(LogFormat::Text, "warn,zoomhook::dispatch=debug,zoomhook::dispatch::lane=error", |_| {
            tracing::info!(target: "zoomhook::zoom", "general below");
            tracing::warn!(target: "zoomhook::zoom", "general at");
            tracing::debug!(target: "zoomhook::dispatch::retry", "own at");
            tracing::trace!(target: "zoomhook::dispatch::retry", "own below");
            tracing::warn!(target: "zoomhook::dispatch::lane", "narrower below");
        });
        assert!(written.contains("general at") && written.contains("own at"), "{written}");
        assert!(!written.contains("below"), "{written}");
    }

    #[test]
    fn levels_change_under_the_log_and_dependencies_stay_silent() {
        let speak = |text: &str| {
            tracing::debug!(target: "zoomhook::dispatch", "{text}");
            tracing::trace!(target: "hyper::proto::h1", "canary");
        };
        let written = written(LogFormat::Text, "info", |levels| {
            speak("before");
            levels.set("info,zoomhook::dispatch=trace".parse().expect("levels")).expect("a log");
            speak("while");
            levels.set(levels.configured().clone()).expect("a log");
            speak("after");
            assert_eq!(levels.current().to_string(), "info");
        });
        assert!(written.contains("while"), "{written}");
        assert!(["before", "after", "canary"].iter().all(|text| !written.contains(text)), "{written}");
    }

    #[test]
    fn json_lines_carry_time_level_target_and_fields() {
        let written = written(LogFormat::Json, "info", |_| {
            tracing::info!(target: "zoomhook::zoom", { event.id = 7 }, "stored");
        });
        let line: serde_json::Value = serde_json::from_str(&written).expect("one JSON object");
        assert_eq!(line["message"], "stored");
        assert_eq!(line["event.id"], 7);
        assert_eq!(line["level"], "INFO");
        let time = line["timestamp"].as_str().expect("a time");
        assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }

    #[test]
    fn panic_is_one_line_that_names_the_place_and_quotes_nothing() {
        let written = written(LogFormat::Json, "info", |_| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(panicked));
            let caught = panic::catch_unwind(|| panic!("canary\ncanary"));
            panic::set_hook(before);
            assert!(caught.is_err());
        });
        let line: serde_json::Value = serde_json::from_str(&written).expect("one JSON object");
        assert!(line["place"].as_str().is_some_and(|place| place.starts_with("src/telemetry.rs:")), "{line}");
        assert!(!written.contains("canary"), "{written}");
    }

    #[test]
    fn second_set_up_is_an_error() {
        let log = Log { format: LogFormat::Text, level: "error".parse().expect("a level") };
        let first = install(&log);
        let second = install(&log);
        assert!(first.is_ok());
        assert!(matches!(second, Err(TelemetryError::AlreadyInstalled)));
    }

    fn written(format: LogFormat, level: &str, records: impl FnOnce(&LogLevels)) -> String {
        let buffer = Buffer::default();
        let log = Log { format, level: level.parse().expect("levels") };
        let writer = buffer.clone();
        let (subscriber, levels) = subscriber(&log, Colour::Off, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || records(&levels));
        let bytes = buffer.0.lock().expect("no writer panicked").clone();
        String::from_utf8(bytes).expect("log lines are text")
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
