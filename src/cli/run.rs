//! `run`: the bridge itself.

use std::sync::Arc;

use clap::Args;
use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::Failure;
use super::check::filters::doubts;
use super::check::tried;
use super::options::{BridgeArgs, after};
use crate::admin::ReloadRequest;
use crate::app::{App, Reread, Stop, descriptors};
use crate::config::problem::{Problem, Problems};
use crate::config::{Log, LogFormat};
use crate::telemetry;
use crate::tls::Roots;

/// Is the command line of `run`.
#[derive(Args, Debug)]
#[command(after_help = after(
    &["zoomhook run --config /etc/zoomhook/zoomhook.toml", "zoomhook run --to http://localhost:3000/webhook"],
    "0 stopped on request, 1 it cannot start or go on, 2 usage, 78 configuration",
))]
pub(super) struct RunArgs {
    #[command(flatten)]
    bridge: BridgeArgs,
}

/// Runs until SIGTERM or SIGINT; a second one cuts short what is left, and SIGHUP reads the configuration again.
///
/// # Errors
/// When the configuration is wrong, or the bridge cannot start or go on.
pub(super) async fn run(args: RunArgs) -> Result<(), Failure> {
    let loaded = args.bridge.load().map_err(refused)?;
    let (_flush, levels) = telemetry::install(&loaded.config.log).map_err(anyhow::Error::from)?;
    for warning in loaded.warnings.iter().chain(&doubts(&loaded.config)) {
        tracing::warn!("{warning}");
    }
    descriptors::raise(&loaded.config);
    let format = loaded.config.log.format;
    let roots = Roots::load();
    let signals = Signals::listen()?;
    let bound = async { Ok(App::bind(tried(loaded, &roots)?.config, &roots, Some(levels)).await?) };
    let app = bound.await.inspect_err(|failure| log(failure, format))?;
    let stop = Stop::default();
    tokio::spawn(signals.obey(stop.clone(), app.reloads()));
    Ok(app.run(reread(args.bridge), stop).await?)
}

/// Makes the failure of a configuration that is wrong, and logs it in the form that it asks for, as far as that is known.
fn refused(problems: Problems) -> Failure {
    let format = problems.log_format;
    let failure = Failure::from(problems);
    // What is told below as text needs no log.
    let _flush = telemetry::install(&Log { format, level: Log::LEVEL });
    log(&failure, format);
    failure
}

/// Tells a log shipper, too, why the bridge does not start: it is told on stderr as text in any case.
fn log(failure: &Failure, format: LogFormat) {
    match format {
        LogFormat::Json => tracing::error!(reason = failure.to_string(), "the bridge cannot start"),
        LogFormat::Text => {}
    }
}

/// Returns what reads the same sources again.
fn reread(bridge: BridgeArgs) -> Reread {
    Arc::new(move || match bridge.load() {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            Ok(loaded.config)
        }
        Err(problems) => Err(problems.problems.iter().map(Problem::to_string).collect()),
    })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Is not waited for: a file that may grow no further is a write that fails, and not the end of the process.
    _file_size: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            _file_size: signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?,
        })
    }

    async fn obey(mut self, stop: Stop, reloads: mpsc::Sender<ReloadRequest>) {
        loop {
            tokio::select! {
                Some(()) = self.terminate.recv() => end(&stop),
                Some(()) = self.interrupt.recv() => end(&stop),
                Some(()) = self.hang_up.recv() => {
                    // The outcome is in the log. Where many wait already, one of them reads what this one would;
                    // waiting for room would leave the other signals unheard.
                    let (reply, _) = oneshot::channel();
                    let _ = reloads.try_send(ReloadRequest { who: "SIGHUP".into(), reply });
                }
                else => return,
            }
        }
    }
}

fn end(stop: &Stop) {
    if stop.gently.is_cancelled() {
        tracing::warn!("second signal: what is in flight is cut off");
        stop.now.cancel();
    } else {
        tracing::info!("stopping: the sockets close, requests in flight may end");
        stop.gently.cancel();
    }
}
