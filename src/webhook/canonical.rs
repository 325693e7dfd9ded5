//! The form that JavaScript gives a body: what `JSON.stringify(JSON.parse(body))` makes of it.
//!
//! Many handlers verify a signature over `JSON.stringify(req.body)`, as Zoom's published sample does, and many over the
//! bytes that came. Both are satisfied by a body that is a fixed point of the two functions, and by no other.
//!
//! What JavaScript changes: spaces go; escapes become characters and characters escapes where there is but one
//! spelling for them (`\/`, `\u00e9`, `\uD83D\uDE80`, `\u000A`); numbers get their shortest digits (`5.0`, `1e3`, `-0`);
//! keys that are array indices come first, in ascending order; of members with the same key the last value stays, in
//! the place of the first.
//!
//! A body stays as it is, [`Unsafe`], where that would change a number. The value written in the body and the value of
//! what JavaScript writes are compared as exact decimals, so that `9007199254740993` (which becomes `…992`), `1e400`
//! (which becomes `null`) and `0.1000000000000000055` (which becomes `0.1`) are changes, and `5.0` and `-0` are none.
//! That holds for a number in a member that a later one of the same key hides, too.
//!
//! One pass, without recursion. A fixed point is recognised without allocating, as long as it is nested at most 32 deep
//! and the objects that are open at one time have at most 64 keys.

mod members;
mod number;
mod output;
mod text;

#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use self::members::Member;
use self::output::Output;

/// Deepest nesting of a body that is rewritten. JavaScript engines parse any depth and write some thousands before
/// their stack ends; Zoom's bodies stay below ten.
pub const DEEPEST: usize = 1000;

/// Says how a body relates to the form that JavaScript gives it.
#[derive(Clone, PartialEq, Eq)]
pub enum Form {
    /// JavaScript leaves it as it is.
    Fixed,
    /// JavaScript makes this of it, and every number keeps its value.
    Canonical(Vec<u8>),
    /// There is no such form that says the same.
    Unsafe(Unsafe),
}

/// Says why a body must stay as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// JavaScript cannot read it: not JSON, not UTF-8, or a byte order mark before it.
    #[error("it is not json")]
    NotJson,
    /// It is nested deeper than [`DEEPEST`].
    #[error("it is nested too deeply")]
    TooDeep,
    /// A number in it has more digits or a larger exponent than JavaScript keeps.
    #[error("a number in it would change")]
    Number,
}

impl Form {
    /// Decides for a body; total, whatever the bytes are.
    pub fn of(body: &[u8]) -> Self {
        if str::from_utf8(body).is_err() {
            return Self::Unsafe(Unsafe::NotJson);
        }
        let reader =
            Reader { source: body, at: 0, output: Output::new(body), open: SmallVec::new(), members: SmallVec::new() };
        reader.read().unwrap_or_else(Self::Unsafe)
    }
}

// Payloads must not reach a log by way of `{:?}`.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed => f.write_str("Fixed"),
            Self::Canonical(bytes) => write!(f, "Canonical({} bytes)", bytes.len()),
            Self::Unsafe(why) => f.debug_tuple("Unsafe").field(why).finish(),
        }
    }
}

/// Reads JSON (RFC 8259) and writes what JavaScript makes of it.
struct Reader<'a> {
    /// What is read; UTF-8.
    source: &'a [u8],
    at: usize,
    output: Output<'a>,
    /// The arrays and objects around the place that is read, outermost first.
    open: SmallVec<[Open; 32]>,
    /// The members read so far of every open object, those of the innermost last.
    members: SmallVec<[Member; 64]>,
}

/// Is an array or an object whose end was not read yet.
#[derive(Clone, Copy)]
enum Open {
    Array,
    /// Begins at `start` of the output; its members are those from `first` upward.
    Object {
        start: usize,
        first: usize,
    },
}

/// Says what is to be read next.
enum Next {
    /// A value.
    Value,
    /// What follows a value that has ended.
    AfterValue,
    /// Nothing.
    End,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Form, Unsafe> {
        loop {
            let mut next = self.value()?;
            while let Next::AfterValue = next {
                next = self.after_value()?;
            }
            if let Next::End = next {
                return Ok(self.output.into_form());
            }
        }
    }

    /// Reads a scalar, an empty container, or the beginning of another one.
    fn value(&mut self) -> Result<Next, Unsafe> {
        match self.token()? {
            b'{' => {
                self.enter(Open::Object { start: self.output.len(), first: self.members.len() })?;
                if self.token()? == b'}' {
                    return Ok(self.leave());
                }
                self.key()?;
                return Ok(Next::Value);
            }
            b'[' => {
                self.enter(Open::Array)?;
                if self.token()? == b']' {
                    return Ok(self.leave());
                }
                return Ok(Next::Value);
            }
            b'"' => self.text()?,
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return Err(Unsafe::NotJson),
        }
        Ok(Next::AfterValue)
    }

    /// Reads what follows a value: a comma, the end of the container around it, or of the document.
    fn after_value(&mut self) -> Result<Next, Unsafe> {
        let Some(&open) = self.open.last() else {
            self.skip_spaces();
            return if self.at == self.source.len() { Ok(Next::End) } else { Err(Unsafe::NotJson) };
        };
        match (open, self.token()?) {
            (Open::Array, b',') => self.keep(1),
            (Open::Array, b']') => return Ok(self.leave()),
            (Open::Object { .. }, b',') => {
                self.end_member();
                self.keep(1);
                self.key()?;
            }
            (Open::Object { start, first }, b'}') => {
                self.end_member();
                let next = self.leave();
                if let Some(order) = members::order(self.output.bytes(), &self.members[first..]) {
                    self.output.arrange(start, &order);
                }
                self.members.truncate(first);
                return Ok(next);
            }
            (Open::Array | Open::Object { .. }, _) => return Err(Unsafe::NotJson),
        }
        Ok(Next::Value)
    }

    fn enter(&mut self, open: Open) -> Result<(), Unsafe> {
        if self.open.len() == DEEPEST {
            return Err(Unsafe::TooDeep);
        }
        self.open.push(open);
        self.keep(1);
        Ok(())
    }

    fn leave(&mut self) -> Next {
        self.open.pop();
        self.keep(1);
        Next::AfterValue
    }

    fn key(&mut self) -> Result<(), Unsafe> {
        if self.token()? != b'"' {
            return Err(Unsafe::NotJson);
        }
        let start = self.output.len();
        self.text()?;
        self.members.push(Member { start, key_end: self.output.len(), end: start });
        if self.token()? != b':' {
            return Err(Unsafe::NotJson);
        }
        self.keep(1);
        Ok(())
    }

    fn end_member(&mut self) {
        // The members of objects within have gone when these ended.
        if let Some(member) = self.members.last_mut() {
            member.end = self.output.len();
        }
    }

    fn text(&mut self) -> Result<(), Unsafe> {
        let mut from = self.at;
        self.at += 1;
        loop {
            self.at += text::plain(&self.source[self.at..]);
            match self.source.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    self.output.keep(from..self.at);
                    return Ok(());
                }
                Some(b'\\') => {
                    let (length, code) = text::escape(&self.source[self.at..]).ok_or(Unsafe::NotJson)?;
                    let end = self.at + length;
                    let spelling = text::spell(code);
                    if spelling.as_slice() != &self.source[self.at..end] {
                        self.output.keep(from..self.at);
                        self.output.put(&spelling);
                        from = end;
                    }
                    self.at = end;
                }
                Some(_) | None => return Err(Unsafe::NotJson),
            }
        }
    }

    fn number(&mut self) -> Result<(), Unsafe> {
        let length = number::length(&self.source[self.at..]).ok_or(Unsafe::NotJson)?;
        let literal = &self.source[self.at..self.at + length];
        if number::is_plain(literal) {
            self.keep(length);
            return Ok(());
        }
        let spelling = number::spell(literal).ok_or(Unsafe::Number)?;
        if spelling.as_slice() == literal {
            self.keep(length);
        } else {
            self.output.put(spelling.as_slice());
            self.at += length;
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Unsafe> {
        if !self.source[self.at..].starts_with(word) {
            return Err(Unsafe::NotJson);
        }
        self.keep(word.len());
        Ok(())
    }

    /// Looks at the next byte that is no space.
    fn token(&mut self) -> Result<u8, Unsafe> {
        self.skip_spaces();
        self.source.get(self.at).copied().ok_or(Unsafe::NotJson)
    }

    fn skip_spaces(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.source.get(self.at) {
            self.at += 1;
        }
    }

    fn keep(&mut self, length: usize) {
        self.output.keep(self.at..self.at + length);
        self.at += length;
    }
}
