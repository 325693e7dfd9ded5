//! The tree of values that the rules walk: read from TOML, or put together from flags and variables.
//!
//! serde would stop at the first mistake; this tree keeps all of them, each with its line.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// Is one value and where it stands.
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Is a value in the shapes that the rules tell apart.
pub(super) enum Value {
    Text(String),
    Integer(i64),
    List(Vec<Node>),
    Table(Table),
    /// What few keys take.
    Other(Other),
}

/// Is a value of a shape that few keys take, or none.
pub(super) enum Other {
    True,
    False,
    /// A date or time, as TOML writes it.
    Time(String),
    /// What no key takes, under the name that a message gives it.
    Shape(&'static str),
}

/// Is the keys of a table.
pub(super) type Table = BTreeMap<String, Node>;

/// Says where a value stands.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// In the file, on this line.
    Line(usize),
    /// Outside of it: the flag or the variable.
    Outside(String),
}

impl Origin {
    /// Returns the line, if it is one of the file.
    pub(super) fn line(&self) -> Option<usize> {
        match self {
            Self::Line(line) => Some(*line),
            Self::Outside(_) => None,
        }
    }
}

impl Node {
    /// Makes a text that came by a flag or a variable.
    pub(super) fn outside(origin: impl Into<String>, text: impl Into<String>) -> Self {
        Self { value: Value::Text(text.into()), origin: Origin::Outside(origin.into()) }
    }

    /// Makes the table `{ env = variable }`, as if it stood in a file.
    pub(super) fn variable(variable: &str) -> Self {
        let table = Table::from([("env".to_owned(), Self::outside(variable, variable))]);
        Self { value: Value::Table(table), origin: Origin::Outside(variable.to_owned()) }
    }
}

impl Value {
    /// Names the shape, with its article.
    pub(super) fn shape(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(Other::True | Other::False) => "a boolean",
            Self::Other(Other::Time(_)) => "a date or time",
            Self::Other(Other::Shape(shape)) => shape,
        }
    }
}

/// Reads TOML. A mistake in the syntax is said without the line itself, which may hold a secret.
pub(super) fn parse(text: &str) -> Result<Table, Problem> {
    let lines = Lines::of(text);
    match DeTable::parse(text) {
        Ok(document) => Ok(table(document.into_inner(), &lines)),
        Err(error) => {
            let (line, column) = lines.position(error.span().map_or(text.len(), |span| span.start));
            let message = format!("not TOML: {} at column {column}", error.message());
            Err(Problem { line: Some(line), ..Problem::new("syntax", message) })
        }
    }
}

fn table(entries: DeTable<'_>, lines: &Lines<'_>) -> Table {
    entries.into_iter().map(|(key, value)| (key.into_inner().into_owned(), node(value, lines))).collect()
}

fn node(spanned: Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Node {
    let (line, _) = lines.position(spanned.span().start);
    let value = match spanned.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other(Other::Shape("an integer beyond 64 bits")),
        },
        DeValue::Float(_) => Value::Other(Other::Shape("a number with a fraction")),
        DeValue::Boolean(true) => Value::Other(Other::True),
        DeValue::Boolean(false) => Value::Other(Other::False),
        DeValue::Datetime(time) => Value::Other(Other::Time(time.to_string())),
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| node(item, lines)).collect()),
        DeValue::Table(entries) => Value::Table(table(entries, lines)),
    };
    Node { value, origin: Origin::Line(line) }
}

/// Turns byte offsets into lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// Line and column, both counted from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        (line, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let table = parse("a = 1\n\n[[b]]\nc = [\n  'x',\n  true,\n]\n").expect("TOML");
        assert!(matches!(table["a"].origin, Origin::Line(1)));
        let Value::List(items) = &table["b"].value else { panic!("no list") };
        assert!(matches!(items[0].origin, Origin::Line(3)));
        let Value::Table(item) = &items[0].value else { panic!("no table") };
        let Value::List(list) = &item["c"].value else { panic!("no list") };
        assert!(matches!(list[1].origin, Origin::Line(6)));
        assert_eq!(list[1].value.shape(), "a boolean");
    }

    #[test]
    fn syntax_errors_are_placed_without_quoting_the_line() {
        for text in
            ["a = 1\nsecret = \"canary\n", "a = 1\n  canary", "a = 1\nsecret = canary", "a = 1\nb = 'canary' 'canary'"]
        {
            let problem = parse(text).err().expect("not TOML");
            assert_eq!((problem.path.as_str(), problem.line), ("syntax", Some(2)), "{text}: {problem}");
            assert!(problem.message.contains("at column") && !problem.message.contains("canary"), "{problem}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_mistake() {
        assert!(parse("\u{feff}a = 1\r\n").is_ok_and(|table| table.contains_key("a")));
    }
}
