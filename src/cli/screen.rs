//! A picture on the terminal that is drawn again and again in its place, and leaves nothing behind.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// The other screen, no cursor, and lines that are cut at the edge.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// Keys that wait: more are not of interest, since any `q` ends it.
const KEYS: usize = 8;

/// Is the terminal while a picture is on it; dropping it gives the terminal back as it was.
pub(super) struct Screen {
    /// How the terminal was, where stdin is one.
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When stdout is closed.
    pub(super) fn enter() -> io::Result<Self> {
        let screen = Self { before: tcgetattr(io::stdin()).ok() };
        screen.take()?;
        Ok(screen)
    }

    /// Draws a picture over the one before.
    ///
    /// # Errors
    /// When stdout is closed.
    pub(super) fn draw(&self, picture: &str) -> io::Result<()> {
        // Whoever does not want colours still wants the cursor to move.
        let plain = matches!(AutoStream::choice(&io::stdout()), ColorChoice::Never);
        let picture = if plain { strip_str(picture).to_string() } else { picture.to_owned() };
        let height = terminal_size::terminal_size().map_or(usize::MAX, |(_, height)| usize::from(height.0));
        write(&frame(&picture, height))
    }

    /// Gives the terminal back, stops as Ctrl-Z has asked, and takes it again when the shell says so.
    ///
    /// # Errors
    /// When stdout is closed.
    pub(super) fn suspend(&self) -> io::Result<()> {
        self.give_back()?;
        kill_process(getpid(), Signal::STOP)?;
        self.take()
    }

    fn take(&self) -> io::Result<()> {
        if let Some(before) = &self.before {
            // Keys come one by one and are not shown; Ctrl-C and Ctrl-Z stay what they are.
            let mut modes = before.clone();
            modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        }
        write(ENTER)
    }

    fn give_back(&self) -> io::Result<()> {
        if let Some(before) = &self.before {
            tcsetattr(io::stdin(), OptionalActions::Now, before)?;
        }
        write(LEAVE)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = self.give_back();
    }
}

/// Returns the keys that are pressed, where stdin is a terminal.
pub(super) fn keys() -> mpsc::Receiver<u8> {
    let (sender, receiver) = mpsc::channel(KEYS);
    if io::stdin().is_terminal() {
        // A thread of its own, which ends with the process: the runtime would wait for one of its own to return.
        std::thread::spawn(move || {
            for key in io::stdin().lock().bytes().map_while(Result::ok) {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// Makes of a picture what draws it from the upper left corner; what is too high is cut, and that is said.
fn frame(picture: &str, height: usize) -> String {
    let lines: Vec<&str> = picture.lines().collect();
    let shown = if lines.len() > height { height.saturating_sub(1) } else { lines.len() };
    let mut out = String::from(HOME);
    for (number, line) in lines[..shown].iter().enumerate() {
        if number > 0 {
            out.push_str("\r\n");
        }
        // Before the text: behind a line that reaches the edge it would take the last letter away.
        out.push_str(CLEAR_LINE);
        out.push_str(line);
    }
    if shown < lines.len() {
        out.push_str(&format!("\r\n{CLEAR_LINE}… {} more lines: make the window higher", lines.len() - shown));
    }
    if lines.len() < height {
        out.push_str("\r\n");
        out.push_str(CLEAR_BELOW);
    }
    out
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_is_drawn_over_the_one_before_and_clears_what_that_one_had_more() {
        assert_eq!(frame("a\nb\n", 5), "\x1b[H\x1b[Ka\r\n\x1b[Kb\r\n\x1b[J");
    }

    #[test]
    fn picture_that_is_too_high_says_so_and_does_not_scroll() {
        let text = frame("a\nb\nc\nd\n", 3);
        assert_eq!(text, "\x1b[H\x1b[Ka\r\n\x1b[Kb\r\n\x1b[K… 2 more lines: make the window higher");
        assert_eq!(text.matches("\r\n").count(), 2, "the cursor stays on the last line");
    }
}
