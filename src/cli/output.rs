//! What commands print: text for people through [`print()`], documents and bodies as they are.

use std::borrow::Cow;
use std::io::{self, Write as _};

use anstream::adapter::strip_str;
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde::de::IgnoredAny;
use unicode_width::UnicodeWidthStr as _;

/// Is the style of what is well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Is the style of what wants a look.
pub(super) const FAIR: Style = AnsiColor::Yellow.on_default();
/// Is the style of what is bad.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Is the style of headings.
pub(super) const HEADING: Style = Style::new().bold();

/// Writes text to stdout; colours only reach a terminal.
///
/// # Errors
/// When stdout is closed.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes bytes to stdout, every one as it is.
///
/// # Errors
/// When stdout is closed.
pub(super) fn print_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Writes one JSON document to stdout.
///
/// # Errors
/// When stdout is closed.
pub(super) fn print_json<T: Serialize>(document: &T) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    print_bytes(text.as_bytes())
}

/// Writes a JSON document to stdout as it came, indented; control characters in its texts as JSON escapes them.
///
/// # Errors
/// When stdout is closed.
pub(super) fn print_document(document: &str) -> io::Result<()> {
    print_bytes(laid_out(document).as_bytes())
}

/// Lays a document out for [`print_document()`].
fn laid_out(document: &str) -> String {
    let mut text = String::with_capacity(document.len() * 2);
    for c in indent(document).chars() {
        match c {
            '\u{7f}'..='\u{9f}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => text.push(c),
        }
    }
    text.push('\n');
    text
}

/// Begins the bar of long work on so many things. It is drawn on a terminal alone, and on stderr: the outcome is what stdout
/// gets.
pub(super) fn progress(verb: &'static str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos} of {human_len}");
    let style = style.expect("the form of the bar is one");
    let bar = ProgressBar::new(total).with_style(style).with_message(verb);
    bar.tick();
    bar
}

/// Puts a text into a style.
pub(super) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Breaks a text at its blanks into lines of at most `width` columns, of which the first begins at column `indent`
/// and the others are indented so far. Without a width it stays one line.
pub(super) fn wrapped(text: &str, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let (mut out, mut column) = (String::with_capacity(text.len()), indent);
    for word in text.split(' ') {
        // Colours take no room.
        let columns = strip_str(word).to_string().width();
        let fits = column + 1 + columns <= width;
        if column > indent && fits {
            out.push(' ');
            column += 1;
        } else if column > indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        }
        out.push_str(word);
        column += columns;
    }
    out
}

/// Shows control characters as escapes: what Zoom and handlers wrote must not move the cursor, nor turn the direction.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    escape_controls(text, is_control)
}

/// Shows a body: JSON indented, everything else as it is, control characters as escapes.
///
/// Only white space between tokens changes: numbers and escapes stay as Zoom wrote them.
pub(super) fn pretty_body(body: &str) -> String {
    let shown = match serde_json::from_str::<IgnoredAny>(body) {
        Ok(IgnoredAny) => Cow::Owned(indent(body)),
        Err(_) => Cow::Borrowed(body),
    };
    escape_controls(&shown, |c| is_control(c) && c != '\n').into_owned()
}

/// Tells what is no text of its own, the marks of the bidirectional algorithm included (Unicode, annex 9).
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape_controls(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_bad(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// Puts every member of valid JSON on a line of its own.
fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut rest = json.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => {}
            '"' => {
                out.push(c);
                copy_string(&mut rest, &mut out);
            }
            '{' | '[' => {
                out.push(c);
                while rest.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = rest.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    break_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(c),
        }
    }
    out
}

fn copy_string(rest: &mut impl Iterator<Item = char>, out: &mut String) {
    while let Some(c) = rest.next() {
        out.push(c);
        match c {
            '"' => return,
            '\\' => out.extend(rest.next()),
            _ => {}
        }
    }
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_indented_and_nothing_but_white_space_changes() {
        let body = r#"{"a":[1, 5.0,{}],"b":{"c":"x, \"{y}\": [z]\\","d":[ ]},"big":12345678901234567890}"#;
        insta::assert_snapshot!(pretty_body(body), @r#"
        {
          "a": [
            1,
            5.0,
            {}
          ],
          "b": {
            "c": "x, \"{y}\": [z]\\",
            "d": []
          },
          "big": 12345678901234567890
        }
        "#);
    }

    #[test]
    fn document_is_laid_out_as_a_library_would_and_moves_no_cursor() {
        let document = serde_json::json!({ "a": [1, {}, []], "b": "Überblick\u{9b}2J\n", "c": null });
        let text = laid_out(&document.to_string());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("json"), document);
        assert!(text.contains("Überblick\\u009b2J\\n") && !text.contains('\u{9b}'), "{text}");
        let plain = serde_json::json!({ "a": [1, {}, []], "c": null });
        assert_eq!(laid_out(&plain.to_string()), format!("{plain:#}\n"));
    }

    #[test]
    fn sentence_is_broken_at_its_blanks_and_keeps_its_indent() {
        let text = "main: live since 10:02:11 UTC (4 min), last event just now";
        assert_eq!(wrapped(text, 4, None), text);
        let lines = format!("    {}", wrapped(text, 4, Some(30)));
        assert_eq!(lines, "    main: live since 10:02:11\n    UTC (4 min), last event\n    just now");
        assert!(lines.lines().all(|line| line.width() <= 30), "{lines}");
        assert_eq!(wrapped("a-word-that-is-too-long b", 2, Some(10)), "a-word-that-is-too-long\n  b");
    }

    #[test]
    fn body_that_is_no_json_is_shown_as_it_is() {
        assert_eq!(pretty_body("<b>not, json</b>"), "<b>not, json</b>");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(pretty_body("\"\u{9b}2J\""), "\"\\u{9b}2J\"");
        assert_eq!(plain("Überblick 週次"), "Überblick 週次");
    }
}
