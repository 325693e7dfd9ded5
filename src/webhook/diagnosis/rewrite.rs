//! ◆ What becomes of a JSON body when a program parses it and writes it again.

use std::fmt::{self, Write as _};

use serde_json::value::RawValue;

use crate::json::{self, Inside};

/// Deeper bodies are not rewritten: no event comes near it, and the rewriting calls itself for each level.
const DEEPEST: usize = 128;

/// Is one way of writing JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The white space between tokens.
    pub layout: Layout,
    /// How text is escaped.
    pub strings: Strings,
    /// The order of keys.
    pub keys: Keys,
    /// The form of numbers.
    pub numbers: Numbers,
}

/// Is the white space between tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// None.
    Compact,
    /// A space behind each comma and colon.
    Spaced,
    /// A line for each member, indented by so many spaces a level.
    Indented(usize),
    /// A line for each member, indented by a tab a level.
    Tabbed,
}

/// Says how text is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strings {
    /// Only what must be, as `JSON.stringify` does.
    Raw,
    /// As they stand.
    AsTheyStand,
    /// Everything beyond ASCII as `\u00e9`, as Python's `json.dumps` does.
    Ascii,
    /// The slash as `\/`.
    Slashed,
    /// The slash as `\/` and everything beyond ASCII as `\u00e9`, as PHP's `json_encode` does.
    SlashedAscii,
    /// `<`, `>` and `&` as `\u003c`, as Go's `json.Marshal` does.
    Html,
    /// Everything beyond ASCII, quotes and what HTML knows as `\u00E9`, as .NET's `System.Text.Json` does.
    UpperAscii,
}

/// Says in which order keys stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// As they stand.
    AsTheyStand,
    /// As an object of JavaScript has them: each once with its last value, integers first.
    JavaScript,
    /// Sorted, each once.
    Sorted,
}

/// Says in which form numbers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// As they stand.
    AsTheyStand,
    /// As JavaScript writes them: `5.0` as `5`.
    JavaScript,
}

impl Style {
    /// Returns every combination, the usual ones first.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let layouts =
            [Layout::Compact, Layout::Spaced, Layout::Indented(2), Layout::Indented(4), Layout::Tabbed].into_iter();
        let styles = layouts.flat_map(|layout| Strings::ALL.map(|strings| (layout, strings)));
        let numbers = [Numbers::AsTheyStand, Numbers::JavaScript];
        [Keys::AsTheyStand, Keys::JavaScript, Keys::Sorted].into_iter().flat_map(move |keys| {
            let styles = styles.clone();
            styles.flat_map(move |(layout, strings)| numbers.map(|numbers| Self { layout, strings, keys, numbers }))
        })
    }

    /// Writes a body in this style; `None` when it is not JSON, or nested too deeply.
    pub(super) fn write(self, body: &str) -> Option<String> {
        let mut out = String::with_capacity(body.len() + body.len() / 4);
        self.value(json::value(body)?, 0, &mut out)?;
        Some(out)
    }

    fn value(self, value: &RawValue, depth: usize, out: &mut String) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match json::inside(value) {
            Inside::Object(members) => {
                let members = self.ordered(members);
                self.list(["{", "}"], members, depth, out, |(key, value), out| {
                    self.string(key.get(), out);
                    out.push_str(if self.layout == Layout::Compact { ":" } else { ": " });
                    self.value(value, depth + 1, out)
                })
            }
            Inside::Array(items) => {
                self.list(["[", "]"], items, depth, out, |item, out| self.value(item, depth + 1, out))
            }
            Inside::Scalar => {
                let text = value.get();
                match (text.as_bytes()[0], self.numbers) {
                    (b'"', _) => self.string(text, out),
                    (b'-' | b'0'..=b'9', Numbers::JavaScript) => number(text, out),
                    _ => out.push_str(text),
                }
                Some(())
            }
        }
    }

    fn list<T>(
        self,
        [open, close]: [&str; 2],
        items: Vec<T>,
        depth: usize,
        out: &mut String,
        write: impl Fn(T, &mut String) -> Option<()>,
    ) -> Option<()> {
        out.push_str(open);
        let is_empty = items.is_empty();
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push_str(if self.layout == Layout::Spaced { ", " } else { "," });
            }
            self.line(depth + 1, out);
            write(item, out)?;
        }
        if !is_empty {
            self.line(depth, out);
        }
        out.push_str(close);
        Some(())
    }

    fn line(self, depth: usize, out: &mut String) {
        let indent = match self.layout {
            Layout::Compact | Layout::Spaced => return,
            Layout::Indented(width) => " ".repeat(width * depth),
            Layout::Tabbed => "\t".repeat(depth),
        };
        out.push('\n');
        out.push_str(&indent);
    }

    fn ordered<'a>(self, members: Vec<(&'a RawValue, &'a RawValue)>) -> Vec<(&'a RawValue, &'a RawValue)> {
        if self.keys == Keys::AsTheyStand {
            return members;
        }
        let mut once: Vec<(String, (&RawValue, &RawValue))> = Vec::with_capacity(members.len());
        for (key, value) in members {
            let name = decoded(key.get()).unwrap_or_else(|| key.get().to_owned());
            match once.iter_mut().find(|(known, _)| *known == name) {
                Some((_, member)) => member.1 = value,
                None => once.push((name, (key, value))),
            }
        }
        if self.keys == Keys::Sorted {
            once.sort_by(|(one, _), (other, _)| one.cmp(other));
        } else {
            once.sort_by_key(|(name, _)| array_index(name).unwrap_or(u32::MAX));
        }
        once.into_iter().map(|(_, member)| member).collect()
    }

    /// Writes a string, given with its quotes; one that holds half a character stays as it stands.
    fn string(self, quoted: &str, out: &mut String) {
        let text = (self.strings != Strings::AsTheyStand).then(|| decoded(quoted)).flatten();
        let Some(text) = text else { return out.push_str(quoted) };
        out.push('"');
        for c in text.chars() {
            match (c, self.strings) {
                ('"', Strings::UpperAscii) => out.push_str("\\u0022"),
                ('"', _) => out.push_str("\\\""),
                ('\\', _) => out.push_str("\\\\"),
                ('\n', _) => out.push_str("\\n"),
                ('\r', _) => out.push_str("\\r"),
                ('\t', _) => out.push_str("\\t"),
                ('\u{8}', _) => out.push_str("\\b"),
                ('\u{c}', _) => out.push_str("\\f"),
                ('/', Strings::Slashed | Strings::SlashedAscii) => out.push_str("\\/"),
                (c, strings) if strings.escapes(c) => escape(c, strings, out),
                (c, _) => out.push(c),
            }
        }
        out.push('"');
    }
}

impl Strings {
    const ALL: [Self; 7] =
        [Self::Raw, Self::AsTheyStand, Self::Ascii, Self::Slashed, Self::SlashedAscii, Self::Html, Self::UpperAscii];

    fn escapes(self, c: char) -> bool {
        c < ' '
            || match self {
                Self::Raw | Self::AsTheyStand | Self::Slashed => false,
                Self::Ascii => c >= '\u{7f}',
                Self::SlashedAscii => c > '\u{7f}',
                Self::Html => matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'),
                Self::UpperAscii => c >= '\u{7f}' || matches!(c, '<' | '>' | '&' | '\'' | '+' | '`'),
            }
    }
}

/// Writes a character as its UTF-16 units.
fn escape(c: char, strings: Strings, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let written = match strings {
            Strings::UpperAscii => write!(out, "\\u{unit:04X}"),
            Strings::Raw
            | Strings::AsTheyStand
            | Strings::Ascii
            | Strings::Slashed
            | Strings::SlashedAscii
            | Strings::Html => write!(out, "\\u{unit:04x}"),
        };
        written.expect("a string takes any text");
    }
}

fn decoded(quoted: &str) -> Option<String> {
    serde_json::from_str(quoted).ok()
}

/// Reads a key that JavaScript takes for the index of an array.
fn array_index(key: &str) -> Option<u32> {
    let index = key.parse::<u32>().ok().filter(|index| *index < u32::MAX)?;
    (index.to_string() == key).then_some(index)
}

/// Writes a number as JavaScript does.
fn number(text: &str, out: &mut String) {
    let value: f64 = text.parse().unwrap_or(f64::INFINITY);
    let size = value.abs();
    let written = if !value.is_finite() {
        write!(out, "null")
    } else if value == 0.0 {
        write!(out, "0")
    } else if (1e-6..1e21).contains(&size) {
        write!(out, "{value}")
    } else {
        let text = format!("{value:e}");
        write!(out, "{}", if size >= 1.0 { text.replace('e', "e+") } else { text })
    };
    written.expect("a string takes any text");
}

/// Shows a style in words that follow "the body written again".
impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = match (self.layout, self.strings, self.keys) {
            (Layout::Compact, Strings::Raw, Keys::AsTheyStand | Keys::JavaScript) => {
                Some("JavaScript's JSON.stringify writes it")
            }
            (Layout::Indented(_), Strings::Raw, Keys::AsTheyStand | Keys::JavaScript) => {
                Some("JavaScript's JSON.stringify with an indent writes it")
            }
            (Layout::Spaced, Strings::Ascii, _) => Some("Python's json.dumps writes it"),
            (Layout::Compact, Strings::SlashedAscii, _) => Some("PHP's json_encode writes it"),
            (Layout::Compact, Strings::Html, _) => Some("Go's json.Marshal writes it"),
            (Layout::Compact, Strings::UpperAscii, _) => Some("System.Text.Json of .NET writes it"),
            _ => None,
        };
        if let Some(known) = known {
            write!(f, "as {known}: ")?;
        }
        match self.layout {
            Layout::Compact => f.write_str("without white space")?,
            Layout::Spaced => f.write_str("with a space behind each comma and colon")?,
            Layout::Indented(width) => write!(f, "indented by {width} spaces")?,
            Layout::Tabbed => f.write_str("indented by tabs")?,
        }
        f.write_str(match self.strings {
            Strings::Raw => ", text escaped only where it must be",
            Strings::AsTheyStand => "",
            Strings::Ascii => ", everything beyond ASCII escaped (\\u00e9)",
            Strings::Slashed => ", slashes escaped (\\/)",
            Strings::SlashedAscii => ", slashes (\\/) and everything beyond ASCII (\\u00e9) escaped",
            Strings::Html => ", <, > and & escaped (\\u003c)",
            Strings::UpperAscii => ", everything beyond ASCII escaped in upper case (\\u00E9)",
        })?;
        f.write_str(match self.keys {
            Keys::AsTheyStand => "",
            Keys::JavaScript => ", keys in JavaScript's order",
            Keys::Sorted => ", keys sorted",
        })?;
        f.write_str(match self.numbers {
            Numbers::AsTheyStand => "",
            Numbers::JavaScript => ", numbers in JavaScript's form",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        r#"{"b":"é 🚀 a/b <\u0026> \"'+` \n\u007f","10":1e3,"2":[5.0,-0,1e21,2.5E-7,0.1],"a":{},"b2":[],"b":"é/"}"#;
    const PLAIN: Style = Style {
        layout: Layout::Compact,
        strings: Strings::AsTheyStand,
        keys: Keys::AsTheyStand,
        numbers: Numbers::AsTheyStand,
    };

    #[test]
    fn plain_style_changes_no_byte_of_compact_json() {
        assert_eq!(PLAIN.write(BODY).as_deref(), Some(BODY));
        assert_eq!(PLAIN.write(" { \"a\" : [ 1 ,\n2 ] } ").as_deref(), Some(r#"{"a":[1,2]}"#));
    }

    #[test]
    fn text_is_escaped_as_each_language_does() {
        let text = "\"é 🚀 a/b <\\u0026> \\\"'+` \\n\\u007f\\u2028\\u0001\"";
        let cases = [
            (Strings::Raw, "\"é 🚀 a/b <&> \\\"'+` \\n\u{7f}\u{2028}\\u0001\""),
            (Strings::Ascii, r#""\u00e9 \ud83d\ude80 a/b <&> \"'+` \n\u007f\u2028\u0001""#),
            (Strings::Slashed, "\"é 🚀 a\\/b <&> \\\"'+` \\n\u{7f}\u{2028}\\u0001\""),
            (Strings::SlashedAscii, "\"\\u00e9 \\ud83d\\ude80 a\\/b <&> \\\"'+` \\n\u{7f}\\u2028\\u0001\""),
            (Strings::Html, "\"é 🚀 a/b \\u003c\\u0026\\u003e \\\"'+` \\n\u{7f}\\u2028\\u0001\""),
            (
                Strings::UpperAscii,
                r#""\u00E9 \uD83D\uDE80 a/b \u003C\u0026\u003E \u0022\u0027\u002B\u0060 \n\u007F\u2028\u0001""#,
            ),
        ];
        for (strings, expected) in cases {
            assert_eq!(Style { strings, ..PLAIN }.write(text).as_deref(), Some(expected), "{strings:?}");
        }
        let half = r#""\ud83d é""#;
        assert_eq!(Style { strings: Strings::Ascii, ..PLAIN }.write(half).as_deref(), Some(half), "half a character");
    }

    #[test]
    fn keys_and_numbers_follow_the_language() {
        let javascript = Style { keys: Keys::JavaScript, numbers: Numbers::JavaScript, ..PLAIN };
        let expected = r#"{"2":[5,0,1e+21,2.5e-7,0.1],"10":1000,"b":"é/","a":{},"b2":[]}"#;
        assert_eq!(javascript.write(BODY).as_deref(), Some(expected));
        let sorted = Style { keys: Keys::Sorted, ..PLAIN };
        let expected = r#"{"10":1e3,"2":[5.0,-0,1e21,2.5E-7,0.1],"a":{},"b":"é/","b2":[]}"#;
        assert_eq!(sorted.write(BODY).as_deref(), Some(expected));
    }

    #[test]
    fn white_space_is_laid_out_as_usual() {
        let cases = [
            (Layout::Spaced, r#"{"a": [1, 2], "b": {}, "c": []}"#),
            (Layout::Indented(2), "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": []\n}"),
            (Layout::Tabbed, "{\n\t\"a\": [\n\t\t1,\n\t\t2\n\t],\n\t\"b\": {},\n\t\"c\": []\n}"),
        ];
        for (layout, expected) in cases {
            let style = Style { layout, ..PLAIN };
            assert_eq!(style.write(r#"{"a":[1,2],"b":{},"c":[]}"#).as_deref(), Some(expected), "{layout:?}");
        }
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_left_alone() {
        assert_eq!(PLAIN.write("a=1&b=2"), None);
        assert_eq!(PLAIN.write(&format!("{}{}", "[".repeat(200), "]".repeat(200))), None);
    }
}
