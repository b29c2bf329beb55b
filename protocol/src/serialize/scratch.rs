//! Memory that scanning a header needs, kept from one header to the next.

use crate::command::MAX_FIELDS;
use crate::error::DecodeError;

/// Text capacity above which the memory is given back before the next header.
const KEEP_TEXT: usize = 64 * 1024;

/// Reusable memory for scanning headers; one for each connection.
#[derive(Debug, Default)]
pub struct HeaderScratch {
    /// Text that does not stand in the header as such: unescaped strings, and all text of binary headers.
    pub(super) text: String,
    entries: Vec<Entry>,
}

/// A piece of text: in the header, or in the scratch. One word, so that it travels in a register: start in the low half,
/// length above it, the place in the top bit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(u64);

#[derive(Debug, Clone, Copy)]
struct Entry {
    name: Span,
    value: Span,
}

impl Span {
    const IN_SCRATCH: u64 = 1 << 63;

    /// Header lengths are limited far below 2 GiB, so the halves hold them.
    #[inline]
    pub(super) fn new(start: usize, end: usize, in_scratch: bool) -> Self {
        let place = if in_scratch { Self::IN_SCRATCH } else { 0 };
        Self(place | ((end - start) as u64) << 32 | start as u64)
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        (self.0 & !Self::IN_SCRATCH) as usize >> 32
    }

    #[inline]
    fn start(self) -> usize {
        self.0 as u32 as usize
    }
}

impl HeaderScratch {
    /// Forgets the last header.
    pub(super) fn clear(&mut self) {
        if self.text.capacity() > KEEP_TEXT {
            self.text = String::new();
        }
        self.text.clear();
        self.entries.clear();
    }

    #[inline]
    pub(super) fn push(&mut self, name: Span, value: Span) -> Result<(), DecodeError> {
        if self.entries.len() == MAX_FIELDS {
            return Err(DecodeError::TooManyFields { limit: MAX_FIELDS });
        }
        self.entries.push(Entry { name, value });
        Ok(())
    }

    #[inline]
    pub(super) fn resolve<'a>(&'a self, header: &'a str, span: Span) -> &'a str {
        let text = if span.0 & Span::IN_SCRATCH == 0 { header } else { self.text.as_str() };
        text.get(span.start()..span.start() + span.len()).unwrap_or_default()
    }

    /// The same, for whoever only compares.
    #[inline]
    fn bytes<'a>(&'a self, header: &'a str, span: Span) -> &'a [u8] {
        let text = if span.0 & Span::IN_SCRATCH == 0 { header } else { self.text.as_str() };
        text.as_bytes().get(span.start()..span.start() + span.len()).unwrap_or_default()
    }

    /// The last value of `name`. There are few fields, so comparing lengths is quicker than any table.
    #[inline]
    pub(crate) fn find<'a>(&'a self, header: &'a str, name: &str) -> Option<&'a str> {
        let is_it =
            |entry: &&Entry| entry.name.len() == name.len() && self.bytes(header, entry.name) == name.as_bytes();
        let entry = self.entries.iter().rev().find(is_it)?;
        Some(self.resolve(header, entry.value))
    }

    /// The last values of the fields whose name is one letter, by letter from `a` on.
    #[inline]
    pub(crate) fn letters<'a, const N: usize>(&'a self, header: &'a str) -> [Option<&'a str>; N] {
        let mut values = [None; N];
        for entry in &self.entries {
            if entry.name.len() == 1
                && let [letter] = self.bytes(header, entry.name)
                && let Some(place) = values.get_mut(usize::from(letter.wrapping_sub(b'a')))
            {
                *place = Some(self.resolve(header, entry.value));
            }
        }
        values
    }

    #[inline]
    pub(crate) fn at<'a>(&'a self, header: &'a str, at: usize) -> Option<(&'a str, &'a str)> {
        let entry = self.entries.get(at)?;
        Some((self.resolve(header, entry.name), self.resolve(header, entry.value)))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
