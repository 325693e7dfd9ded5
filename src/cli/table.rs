//! Tables that fit the terminal.

use std::io::{self, IsTerminal as _};

use anstyle::Style;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::output::{HEADING, plain, styled};

/// Stands between two columns.
const SEPARATOR: &str = "  ";
/// No column is made narrower than this, even where the table is wider than the terminal then.
const NARROWEST: usize = 8;

/// Is a table: a heading, and rows of as many cells.
pub(super) struct Table<const N: usize> {
    heading: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

/// Is one cell.
pub(super) struct Cell {
    text: String,
    style: Style,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Gives way first where the table is too wide.
    Text,
    /// Means nothing when it is cut, as a time.
    Fact,
    /// A fact that stands on the right.
    Number,
}

impl Cell {
    /// Makes a cell of text, which may be cut.
    pub(super) fn text(text: &str) -> Self {
        Self { text: plain(text).into_owned(), style: Style::new(), kind: Kind::Text }
    }

    /// Makes a cell of text that is cut last, as a time.
    pub(super) fn fact(text: String) -> Self {
        Self { text, style: Style::new(), kind: Kind::Fact }
    }

    /// Makes a cell of a number that is written already: it stands on the right.
    pub(super) fn number(text: String) -> Self {
        Self { text, style: Style::new(), kind: Kind::Number }
    }

    /// Puts the cell into a style.
    pub(super) fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

impl<const N: usize> Table<N> {
    /// Begins a table.
    pub(super) fn new(heading: [&'static str; N]) -> Self {
        Self { heading, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// Writes the table in lines of at most so many columns; what does not fit ends in `…`.
    pub(super) fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let headings = self.heading.iter().zip(&widths);
        let mut out = line(headings.map(|(text, width)| laid(text, HEADING, Kind::Text, *width)));
        for row in &self.rows {
            let cells = row.iter().zip(&widths);
            out.push_str(&line(cells.map(|(cell, width)| laid(&cell.text, cell.style, cell.kind, *width))));
        }
        out
    }

    /// Gives each column what it needs, then takes from the widest until the table fits.
    fn widths(&self, limit: Option<usize>) -> [usize; N] {
        let mut widths = self.heading.map(|text| text.width());
        let mut may_be_cut = [false; N];
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                widths[column] = widths[column].max(cell.text.width());
                may_be_cut[column] |= cell.kind == Kind::Text;
            }
        }
        let room = limit.unwrap_or(usize::MAX).saturating_sub(SEPARATOR.len() * N.saturating_sub(1));
        shrink(&mut widths, room, |column| may_be_cut[column]);
        shrink(&mut widths, room, |_| true);
        widths
    }
}

fn shrink(widths: &mut [usize], room: usize, may_be_cut: impl Fn(usize) -> bool) {
    while widths.iter().sum::<usize>() > room {
        let open = widths.iter_mut().enumerate().filter(|(column, width)| may_be_cut(*column) && **width > NARROWEST);
        let Some((_, widest)) = open.max_by_key(|(_, width)| **width) else { return };
        *widest -= 1;
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let line = cells.collect::<Vec<_>>().join(SEPARATOR);
    format!("{}\n", line.trim_end())
}

/// Lays a text into a column; the blanks beside it stay without style.
fn laid(text: &str, style: Style, kind: Kind, width: usize) -> String {
    let text = cut(text, width);
    let gap = " ".repeat(width.saturating_sub(text.width()));
    let text = if style.is_plain() { text } else { styled(style, &text) };
    match kind {
        Kind::Text | Kind::Fact => text + &gap,
        Kind::Number => gap + &text,
    }
}

/// Tells how wide the terminal is, if stdout is one.
pub(super) fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or_default();
        // One column stays for the mark.
        if used >= width {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        insta::assert_snapshot!(shown(None), @"
        ID      NAME                     REASON
             7  main                     closed by the other side without a word
        12,345  週次                     reset
             9  a longer name than most
        ");
    }

    #[test]
    fn widest_columns_give_way_where_the_terminal_is_narrow() {
        let narrow = shown(Some(40));
        assert!(narrow.lines().all(|line| line.width() <= 40), "{narrow}");
        insta::assert_snapshot!(narrow, @"
        ID      NAME             REASON
             7  main             closed by the …
        12,345  週次             reset
             9  a longer name …
        ");
    }

    #[test]
    fn columns_are_never_cut_to_nothing() {
        let lines = shown(Some(1));
        assert_eq!(lines.lines().count(), 4, "{lines}");
        assert!(lines.contains("週次") && lines.contains("12,345") && lines.contains("closed …"), "{lines}");
    }

    #[test]
    fn times_are_cut_last() {
        let mut table = Table::new(["AT", "REASON"]);
        table.push([Cell::fact("2026-07-30 10:02:11 UTC".to_owned()), Cell::text("a reason of some length")]);
        let narrow = strip_str(&table.render(Some(40))).to_string();
        assert!(narrow.ends_with("2026-07-30 10:02:11 UTC  a reason of so…\n"), "{narrow}");
    }

    fn shown(width: Option<usize>) -> String {
        let mut table = Table::new(["ID", "NAME", "REASON"]);
        table.push([
            Cell::number("7".to_owned()),
            Cell::text("main"),
            Cell::text("closed by the other side without a word"),
        ]);
        table.push([Cell::number("12,345".to_owned()), Cell::text("週次"), Cell::text("reset").styled(HEADING)]);
        table.push([Cell::number("9".to_owned()), Cell::text("a longer name than most"), Cell::text("")]);
        strip_str(&table.render(width)).to_string()
    }
}
