//! What the demo prints: a banner, a line for each event, a plain sentence for each fault, a summary.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use tokio::time::Instant;

use super::stage::Totals;
use crate::cli::output::wrapped;
use crate::cli::table::terminal_width;
use crate::config::Listen;
use crate::simulator::Simulator;
use crate::simulator::handler::{Delivery, Handler};

/// Lines of events in a second: what an eye can follow. Further ones are counted.
const LINES_A_SECOND: u32 = 20;

/// The column behind the time.
const TIME: usize = 9;
/// The column at which it is said what became of an event.
const WAY: usize = TIME + 28 + 8 + 2;
/// The fewest columns for it.
const ROOM: usize = 28;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const NOTE: Style = AnsiColor::Yellow.on_default();
const NAME: Style = AnsiColor::Cyan.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Prints, in colour on a terminal.
pub(super) struct Screen {
    out: anstream::Stdout,
    begun: Instant,
    /// The second that is being printed, the lines in it, and those that were left out.
    second: u64,
    lines: u32,
    left_out: u32,
}

impl Screen {
    pub(super) fn new(begun: Instant) -> Self {
        Self { out: anstream::stdout(), begun, second: 0, lines: 0, left_out: 0 }
    }

    pub(super) fn banner(
        &mut self,
        zoom: &Simulator,
        handler: &Handler,
        spool: &Path,
        console: Option<Listen>,
    ) -> io::Result<()> {
        let handler = handler.url();
        let (zoom, spool) = (zoom.addr().to_string(), spool.display());
        writeln!(self.out)?;
        writeln!(self.out, "  {BOLD}Zoom (simulated)   ▶   zoomhook   ▶   your handler (sample){BOLD:#}")?;
        writeln!(self.out, "  {DIM}{zoom:<19}    stores in      {handler}{DIM:#}")?;
        writeln!(self.out, "  {DIM}{:<19}    {spool}{DIM:#}", "")?;
        if let Some(console) = console {
            writeln!(self.out, "  {DIM}the console, for your browser: {DIM:#}http://{console}/")?;
        }
        writeln!(self.out, "  One line for each event. Ctrl-C ends the demo.\n")
    }

    pub(super) fn delivered(&mut self, delivery: &Delivery, status: u16, took: Duration) -> io::Result<()> {
        let signature = match delivery.verified {
            Ok(()) => format!("{GOOD}signature ok{GOOD:#}"),
            Err(rejection) => format!("{BAD}{rejection}{BAD:#}"),
        };
        let took = format!("{DIM}{:.1} ms{DIM:#}", took.as_secs_f64() * 1000.0);
        let way = |answer: &str| format!("zoom sent → stored → {GOOD}{answer}{GOOD:#}, {signature}, {took}");
        match delivery.attempt {
            0 | 1 => self.event(&delivery.event, &delivery.request_id, &way(&format!("delivered {status}"))),
            // What was tried before is what one waits to see.
            more => {
                self.line(&delivery.event, &delivery.request_id, &way(&format!("delivered {status} at attempt {more}")))
            }
        }
    }

    pub(super) fn refused(&mut self, delivery: &Delivery, status: u16) -> io::Result<()> {
        let way = format!("zoom sent → stored → {BAD}handler says {status}{BAD:#}, kept for another try");
        self.line(&delivery.event, &delivery.request_id, &way)
    }

    pub(super) fn missed(&mut self, event: &str) -> io::Result<()> {
        self.event(event, "-", &format!("{DIM}happened while no socket was live: Zoom never sends it{DIM:#}"))
    }

    /// Explains what happens in one plain sentence.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        let time = self.time();
        let text = wrapped(text, TIME + 2, terminal_width());
        writeln!(self.out, "{DIM}{time}{DIM:#}  {NOTE}■ {text}{NOTE:#}")
    }

    pub(super) fn summary(&mut self, totals: &Totals) -> io::Result<()> {
        let Totals { sent, delivered, retried, missed, waiting, lost } = totals;
        writeln!(self.out)?;
        write!(self.out, "  {BOLD}sent {sent}, delivered {delivered}, retried {retried}, lost {lost}{BOLD:#}")?;
        if *waiting > 0 {
            write!(self.out, ", {waiting} stored and waiting for another try")?;
        }
        if *missed > 0 {
            write!(self.out, "\n  {missed} more happened while no socket was live: the recorded gap says when")?;
        }
        writeln!(self.out, "\n")
    }

    /// Prints the line of an event, unless the eye could not follow.
    fn event(&mut self, event: &str, request_id: &str, way: &str) -> io::Result<()> {
        let second = self.begun.elapsed().as_secs();
        if second != self.second {
            let left_out = std::mem::take(&mut self.left_out);
            (self.second, self.lines) = (second, 0);
            if left_out > 0 {
                writeln!(self.out, "{DIM}{:>8}  … and {left_out} more{DIM:#}", "")?;
            }
        }
        if self.lines == LINES_A_SECOND {
            self.left_out += 1;
            return Ok(());
        }
        self.lines += 1;
        self.line(event, request_id, way)
    }

    fn line(&mut self, event: &str, request_id: &str, way: &str) -> io::Result<()> {
        let (time, id) = (self.time(), request_id.get(..8).unwrap_or(request_id));
        let way = placed(way, terminal_width());
        writeln!(self.out, "{DIM}{time}{DIM:#}  {NAME}{event:<28}{NAME:#}{DIM}{id:<8}{DIM:#}{way}")
    }

    /// Shows the time since the start.
    fn time(&self) -> String {
        let elapsed = self.begun.elapsed();
        format!("{:02}:{:04.1}", elapsed.as_secs() / 60, elapsed.as_secs_f64() % 60.0)
    }
}

/// Puts what became of an event beside it or, where the terminal is narrow, below it.
fn placed(way: &str, width: Option<usize>) -> String {
    if width.is_none_or(|width| width >= WAY + ROOM) {
        return format!("  {}", wrapped(way, WAY, width));
    }
    format!("\n{:TIME$}{}", "", wrapped(way, TIME, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_broken_at_the_edge_of_a_terminal() {
        let way = format!("zoom sent → stored → {GOOD}delivered 200{GOOD:#}, {GOOD}signature ok{GOOD:#}, 23.2 ms");
        let shown = |width| anstream::adapter::strip_str(&placed(&way, width)).to_string();
        assert_eq!(shown(None), "  zoom sent → stored → delivered 200, signature ok, 23.2 ms");
        assert_eq!(shown(Some(120)), shown(None));
        let indent = " ".repeat(WAY);
        assert_eq!(shown(Some(80)), format!("  zoom sent → stored → delivered\n{indent}200, signature ok, 23.2 ms"));
        let indent = " ".repeat(TIME);
        assert_eq!(
            shown(Some(40)),
            format!("\n{indent}zoom sent → stored → delivered\n{indent}200, signature ok, 23.2 ms")
        );
    }
}
