//! Showing the same thing again and again: in its place on a terminal, one after the other in a pipe.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::interrupted;
use super::output::print;
use super::screen::{Screen, keys};
use crate::config::quantity::{meant_duration, parse_duration};

/// The fastest that a bridge is asked, and the slowest that can be called watching.
const FASTEST: Duration = Duration::from_millis(200);
const SLOWEST: Duration = Duration::from_secs(3600);
/// Ends the watching, beside Ctrl-C.
const QUIT: u8 = b'q';

/// Says where what is shown goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Onto a terminal, each picture over the one before.
    Screen,
    /// Into a pipe or a file, one after the other.
    Stream,
}

impl Form {
    /// Chooses the form of pictures for people.
    pub(super) fn of_stdout() -> Self {
        if io::stdout().is_terminal() { Self::Screen } else { Self::Stream }
    }
}

/// Reads how often something is to be shown.
pub(super) fn rhythm(text: &str) -> Result<Duration, String> {
    let every = parse_duration(text).filter(|every| (FASTEST..=SLOWEST).contains(every));
    let meant = || meant_duration(text).filter(|meant| meant != text).map(|meant| format!(": did you mean `{meant}`?"));
    every.ok_or_else(|| {
        format!("expected a duration from 200ms to 1h, such as `1s` or `5s`{}", meant().unwrap_or_default())
    })
}

/// Shows what `next` makes, at once and then so often, until Ctrl-C, SIGTERM or `q`.
///
/// # Errors
/// When `next` fails, or stdout is closed.
pub(super) async fn watch(
    every: Duration,
    form: Form,
    mut next: impl AsyncFnMut() -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let mut wishes = Wishes::listen(every, form)?;
    let screen = match form {
        Form::Screen => Some(Screen::enter()?),
        Form::Stream => None,
    };
    loop {
        match wishes.next().await {
            Wish::Stop => return Ok(()),
            Wish::Suspend => {
                if let Some(screen) = &screen {
                    screen.suspend()?;
                }
            }
            Wish::Picture => {}
        }
        let picture = tokio::select! {
            biased;
            () = wishes.stop.cancelled() => return Ok(()),
            picture = next() => picture?,
        };
        match &screen {
            Some(screen) => screen.draw(&picture)?,
            None => print(&picture)?,
        }
    }
}

enum Wish {
    Picture,
    Suspend,
    Stop,
}

/// Is all that can happen between two pictures.
struct Wishes {
    stop: CancellationToken,
    ticks: Interval,
    /// Only of a screen: a stream has no size, no keys, and is stopped by the system itself.
    screen: Option<(Signal, Signal, mpsc::Receiver<u8>)>,
}

impl Wishes {
    fn listen(every: Duration, form: Form) -> io::Result<Self> {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let screen = match form {
            Form::Screen => {
                let suspend = signal(SignalKind::from_raw(Number::TSTP.as_raw()))?;
                Some((signal(SignalKind::window_change())?, suspend, keys()))
            }
            Form::Stream => None,
        };
        Ok(Self { stop: interrupted()?.gently, ticks, screen })
    }

    async fn next(&mut self) -> Wish {
        let Self { stop, ticks, screen } = self;
        let on_screen = async {
            let Some((resized, suspend, keys)) = screen else { return std::future::pending().await };
            loop {
                tokio::select! {
                    Some(()) = resized.recv() => return Wish::Picture,
                    Some(()) = suspend.recv() => return Wish::Suspend,
                    Some(key) = keys.recv() => {
                        if key == QUIT {
                            return Wish::Stop;
                        }
                    }
                    else => return std::future::pending().await,
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Wish::Stop,
            wish = on_screen => wish,
            _ = ticks.tick() => Wish::Picture,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rhythm_is_a_duration_that_people_and_bridges_can_follow() {
        assert_eq!(rhythm("5s"), Ok(Duration::from_secs(5)));
        for text in ["", "5", "0s", "100ms", "2h", "fast"] {
            assert!(rhythm(text).is_err(), "{text}");
        }
    }
}
