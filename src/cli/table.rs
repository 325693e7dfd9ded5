//! Tables that fit the terminal.

use std::io::{self, IsTerminal as _};

use anstyle::Style;
use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::output::{HEADING, plain, styled, wrapped};
use crate::wording::{ago, time_ago};

/// Stands between two columns.
const SEPARATOR: &str = "  ";
/// No text is cut to less than this, unless a table asks for more: what is left of it would say nothing.
const NARROWEST: usize = 10;

/// Is a table: a heading, and rows of as many cells.
///
/// Where it is wider than the terminal, columns of text are cut first, then the columns that may go are left out; what
/// is still too wide is laid out in blocks, a line for each cell. Without a terminal nothing is cut.
pub(super) struct Table<const N: usize> {
    heading: [&'static str; N],
    rows: Vec<[Cell; N]>,
    may_go: &'static [usize],
    narrowest: usize,
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

    /// Makes a cell of text that is never cut, as a time.
    pub(super) fn fact(text: String) -> Self {
        Self { text, style: Style::new(), kind: Kind::Fact }
    }

    /// Makes a cell of a number that is written already: it stands on the right.
    pub(super) fn number(text: String) -> Self {
        Self { text, style: Style::new(), kind: Kind::Number }
    }

    /// Makes a cell of a moment: how long ago on a terminal, with the exact time where nobody counts the columns.
    pub(super) fn moment(at: Timestamp, now: Timestamp, width: Option<usize>) -> Self {
        Self::fact(if width.is_some() { ago(at, now) } else { time_ago(at, now) })
    }

    /// Puts the cell into a style.
    pub(super) fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

impl<const N: usize> Table<N> {
    /// Begins a table.
    pub(super) fn new(heading: [&'static str; N]) -> Self {
        Self { heading, rows: Vec::new(), may_go: &[], narrowest: NARROWEST }
    }

    /// Names columns that are left out where the table is too wide, the first one first.
    pub(super) fn may_go(self, columns: &'static [usize]) -> Self {
        Self { may_go: columns, ..self }
    }

    /// Cuts no text to less than this.
    pub(super) fn narrowest(self, columns: usize) -> Self {
        Self { narrowest: columns, ..self }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// Writes the table in lines of at most so many columns; what does not fit ends in `…`.
    pub(super) fn render(&self, width: Option<usize>) -> String {
        let layouts = (0..=self.may_go.len()).map(|gone| self.layout(&self.may_go[..gone], width));
        match layouts.flatten().next() {
            Some(columns) => self.lines(&columns),
            None => self.blocks(width.unwrap_or(usize::MAX)),
        }
    }

    /// Gives each column what it needs, then takes from the widest texts until the table fits, if it does.
    fn layout(&self, gone: &[usize], limit: Option<usize>) -> Option<Vec<(usize, usize)>> {
        let mut columns: Vec<(usize, usize)> = (0..N)
            .filter(|column| !gone.contains(column))
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].text.width());
                (column, cells.fold(self.heading[column].width(), usize::max))
            })
            .collect();
        let room = limit.unwrap_or(usize::MAX).saturating_sub(SEPARATOR.len() * columns.len().saturating_sub(1));
        while columns.iter().map(|(_, width)| width).sum::<usize>() > room {
            let texts = columns.iter_mut().filter(|(column, width)| *width > self.narrowest && self.is_text(*column));
            let (_, widest) = texts.max_by_key(|(_, width)| *width)?;
            *widest -= 1;
        }
        Some(columns)
    }

    fn is_text(&self, column: usize) -> bool {
        self.rows.iter().all(|row| row[column].kind == Kind::Text)
    }

    fn lines(&self, columns: &[(usize, usize)]) -> String {
        let mut out =
            line(columns.iter().map(|(column, width)| laid(self.heading[*column], HEADING, Kind::Text, *width)));
        for row in &self.rows {
            let cells = columns.iter().map(|(column, width)| (&row[*column], width));
            out.push_str(&line(cells.map(|(cell, width)| laid(&cell.text, cell.style, cell.kind, *width))));
        }
        out
    }

    /// Writes each row as a block of lines, in which nothing is cut.
    fn blocks(&self, width: usize) -> String {
        let names = self.heading.iter().map(|name| name.width()).max().unwrap_or_default();
        let indent = names + SEPARATOR.len();
        let block = |row: &[Cell; N]| {
            let cells = self.heading.iter().zip(row).filter(|(_, cell)| !cell.text.is_empty());
            let lines = cells.map(|(name, cell)| {
                let text = styled(cell.style, &wrapped(&cell.text, indent, Some(width)));
                format!("{}{text}\n", laid(name, HEADING, Kind::Text, indent))
            });
            lines.collect::<String>()
        };
        self.rows.iter().map(block).collect::<Vec<_>>().join("\n")
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
    fn table_that_cannot_fit_is_laid_out_in_blocks_and_loses_nothing() {
        insta::assert_snapshot!(shown(Some(26)), @"
        ID      7
        NAME    main
        REASON  closed by the
                other side without
                a word

        ID      12,345
        NAME    週次
        REASON  reset

        ID      9
        NAME    a longer name than
                most
        ");
    }

    #[test]
    fn columns_that_may_go_are_left_out_before_anything_else_gives_way() {
        let table = || {
            let mut table = Table::new(["NAME", "AT", "STATE"]);
            let at = Cell::fact("2026-07-30 10:02:11 UTC".to_owned());
            table.push([Cell::text("crm"), at, Cell::fact("retrying".to_owned())]);
            table
        };
        assert_eq!(strip_str(&table().may_go(&[1]).render(Some(20))).to_string(), "NAME  STATE\ncrm   retrying\n");
        assert!(table().may_go(&[1]).render(Some(80)).contains("10:02:11"));
        assert!(table().render(Some(20)).contains("10:02:11"), "what may not go is never lost");
    }

    #[test]
    fn moments_are_exact_where_nobody_counts_the_columns() {
        let (at, now) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(240).expect("a time"));
        assert_eq!(Cell::moment(at, now, Some(80)).text, "4 min ago");
        assert_eq!(Cell::moment(at, now, None).text, "00:00:00 UTC (4 min ago)");
    }

    #[test]
    fn times_are_never_cut() {
        let mut table = Table::new(["AT", "REASON"]);
        table.push([Cell::fact("2026-07-30 10:02:11 UTC".to_owned()), Cell::text("a reason of some length")]);
        let narrow = strip_str(&table.render(Some(40))).to_string();
        assert!(narrow.ends_with("2026-07-30 10:02:11 UTC  a reason of so…\n"), "{narrow}");
        assert!(table.render(Some(30)).contains("2026-07-30"), "{narrow}");
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
