//! What was written so far: a beginning of the source, for as long as nothing is changed, else bytes of its own.

use std::ops::Range;

use super::Form;
use super::members::Member;

/// Is the output.
pub(super) struct Output<'a> {
    source: &'a [u8],
    /// While there are no bytes of its own, the output is so many bytes of the source.
    same: usize,
    own: Option<Vec<u8>>,
}

impl<'a> Output<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        Self { source, same: 0, own: None }
    }

    /// Returns what was written.
    pub(super) fn bytes(&self) -> &[u8] {
        self.own.as_deref().unwrap_or(&self.source[..self.same])
    }

    pub(super) fn len(&self) -> usize {
        self.own.as_ref().map_or(self.same, Vec::len)
    }

    /// Writes this part of the source.
    pub(super) fn keep(&mut self, part: Range<usize>) {
        if self.own.is_none() && part.start == self.same {
            self.same = part.end;
        } else {
            let source = self.source;
            self.put(&source[part]);
        }
    }

    /// Writes what is not in the source.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.own().extend_from_slice(bytes);
    }

    /// Writes the object that begins at `start` and ends the output anew, with these of its members in this order.
    pub(super) fn arrange(&mut self, start: usize, order: &[Member]) {
        let own = self.own();
        let object = own.split_off(start);
        own.push(b'{');
        for (place, member) in order.iter().enumerate() {
            if place > 0 {
                own.push(b',');
            }
            own.extend_from_slice(&object[member.start - start..member.end - start]);
        }
        own.push(b'}');
    }

    /// Tells what the output of the whole source is to it.
    pub(super) fn into_form(self) -> Form {
        match self.own {
            Some(own) => Form::Canonical(own),
            None if self.same == self.source.len() => Form::Fixed,
            None => Form::Canonical(self.source[..self.same].to_vec()),
        }
    }

    fn own(&mut self) -> &mut Vec<u8> {
        self.own.get_or_insert_with(|| {
            let mut own = Vec::with_capacity(self.source.len());
            own.extend_from_slice(&self.source[..self.same]);
            own
        })
    }
}
