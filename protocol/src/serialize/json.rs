//! Scanning a JSON header in one pass.
//!
//! Made for this one object, and as tolerant as fastjson, which Apache's peers use: white space anywhere, single quotes,
//! bare names as keys, numbers in quotes, any scalar as a field's value, unknown keys. Text is copied only where it has
//! escapes.

use super::scratch::{HeaderScratch, Span};
use super::text::{find_string_end, unescape};
use crate::command::CommandView;
use crate::error::DecodeError;
use crate::fields::Fields;
use crate::language::Language;

/// Deepest nesting of a value.
const MAX_DEPTH: usize = 16;

/// Envelope fields while they are collected. Absent ones have Java's initial values.
#[derive(Default)]
struct Envelope {
    code: i32,
    version: i32,
    opaque: i32,
    flag: i32,
    language: Language,
    remark: Option<Span>,
}

/// Reads a JSON header.
pub(crate) fn scan<'a>(header: &'a [u8], scratch: &'a mut HeaderScratch) -> Result<CommandView<'a>, DecodeError> {
    let text = std::str::from_utf8(header).map_err(|error| DecodeError::NotUtf8 { at: error.valid_up_to() })?;
    scratch.clear();
    let mut scanner = Scanner { text, at: 0, scratch, error: None };
    let mut envelope = Envelope::default();
    let scanned = scanner.header(&mut envelope);
    if scanned.and_then(|()| scanner.end()).is_err() {
        return Err(scanner.error.unwrap_or(DecodeError::Json { at: scanner.at, expected: "a header" }));
    }
    let scratch: &'a HeaderScratch = scratch;
    let remark = envelope.remark.map(|span| scratch.resolve(text, span)).filter(|remark| !remark.is_empty());
    Ok(CommandView {
        code: envelope.code,
        language: envelope.language,
        version: envelope.version,
        opaque: envelope.opaque,
        flag: envelope.flag,
        remark,
        fields: Fields::scanned(text, scratch),
    })
}

/// Scanning has stopped; [`Scanner::error`] says why. Results stay small enough for registers this way.
struct Stop;

type Step<T> = Result<T, Stop>;

struct Scanner<'t, 's> {
    text: &'t str,
    at: usize,
    scratch: &'s mut HeaderScratch,
    error: Option<DecodeError>,
}

impl Scanner<'_, '_> {
    fn header(&mut self, envelope: &mut Envelope) -> Step<()> {
        self.skip_space();
        self.eat(b'{', "an object")?;
        loop {
            while self.plain_member(envelope)? {}
            if !self.entry(&mut |scanner: &mut Self, key| scanner.envelope_value(key, envelope))? {
                return Ok(());
            }
        }
    }

    /// A member of the envelope in the form in which nearly all of them come: without white space, and a number in
    /// digits. Anything else is left for [`entry`](Self::entry).
    #[inline]
    fn plain_member(&mut self, envelope: &mut Envelope) -> Step<bool> {
        if self.peek() == Some(b',') {
            self.at += 1;
        }
        let rest = self.rest();
        let (number, name_len) = if rest.starts_with(b"\"code\":") {
            (&mut envelope.code, 7)
        } else if rest.starts_with(b"\"flag\":") {
            (&mut envelope.flag, 7)
        } else if rest.starts_with(b"\"opaque\":") {
            (&mut envelope.opaque, 9)
        } else if rest.starts_with(b"\"version\":") {
            (&mut envelope.version, 10)
        } else if rest.starts_with(b"\"extFields\":{") {
            self.at += 12;
            self.ext_fields()?;
            self.separator()?;
            return Ok(true);
        } else if rest.starts_with(b"\"language\":\"JAVA\"") {
            self.at += 17;
            self.separator()?;
            envelope.language = Language::Java;
            return Ok(true);
        } else {
            return Ok(false);
        };
        let Some((value, len)) = plain_number(rest.get(name_len..).unwrap_or_default()) else { return Ok(false) };
        *number = value;
        self.at += name_len + len;
        Ok(true)
    }

    fn envelope_value(&mut self, key: Span, envelope: &mut Envelope) -> Step<()> {
        match self.scratch.resolve(self.text, key) {
            "code" => envelope.code = self.number("code")?,
            "version" => envelope.version = self.number("version")?,
            "opaque" => envelope.opaque = self.number("opaque")?,
            "flag" => envelope.flag = self.number("flag")?,
            "language" => {
                let name = self.value()?;
                envelope.language =
                    name.map_or(Language::Other, |name| Language::from_name(self.scratch.resolve(self.text, name)));
            }
            "remark" => envelope.remark = self.value()?,
            "extFields" => return self.ext_fields(),
            _ => drop(self.value()?),
        }
        Ok(())
    }

    fn ext_fields(&mut self) -> Step<()> {
        match self.peek() {
            Some(b'{') => self.at += 1,
            Some(b'n') => return self.value().map(drop),
            _ => return Err(self.expected("an object of extFields")),
        }
        loop {
            self.plain_pairs()?;
            let more = self.entry(&mut |scanner: &mut Self, name| match scanner.value()? {
                Some(value) => scanner.push(name, value),
                None => Ok(()),
            })?;
            if !more {
                return Ok(());
            }
        }
    }

    fn push(&mut self, name: Span, value: Span) -> Step<()> {
        let pushed = self.scratch.push(name, value);
        pushed.map_err(|error| self.stop(error))
    }

    /// Names and values in the form in which nearly all of them come: `"name":"value",`, without white space or escapes
    /// in the name. Anything else is left for [`entry`](Self::entry).
    #[inline]
    fn plain_pairs(&mut self) -> Step<()> {
        let bytes = self.text.as_bytes();
        while let Some([b'"', name @ ..]) = bytes.get(self.at..) {
            // A guess at one letter spares the search where it holds, and branch prediction hides it.
            let (name_len, value) = match name {
                [letter, b'"', b':', b'"', value @ ..] if !matches!(letter, b'"' | b'\\') => (1, value),
                _ => {
                    let len = find_string_end(name, b'"').unwrap_or_default();
                    let Some(value) = name.get(len..).and_then(|rest| rest.strip_prefix(b"\":\"")) else { break };
                    (len, value)
                }
            };
            let Some(value_len) = find_string_end(value, b'"') else { break };
            let name_at = self.at + 1;
            let value_at = name_at + name_len + 3;
            let value = if value.get(value_len) == Some(&b'"') {
                self.at = value_at + value_len + 1;
                Span::new(value_at, value_at + value_len, false)
            } else {
                self.at = value_at + value_len;
                self.escaped_string(value_at, b'"')?
            };
            self.push(Span::new(name_at, name_at + name_len, false), value)?;
            if bytes.get(self.at) != Some(&b',') {
                return self.separator();
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Reads the next entry of an object, if there is one, and eats the brace if there is none.
    fn entry(&mut self, value: &mut impl FnMut(&mut Self, Span) -> Step<()>) -> Step<bool> {
        self.skip_space();
        while self.peek() == Some(b',') {
            self.at += 1;
            self.skip_space();
        }
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => {
                let key = self.key()?;
                self.skip_space();
                self.eat(b':', "a colon")?;
                self.skip_space();
                value(self, key)?;
                self.separator()?;
                Ok(true)
            }
            None => Err(self.expected("a key or the end of the object")),
        }
    }

    /// Behind a value there must be a comma or the end of the object.
    fn separator(&mut self) -> Step<()> {
        self.skip_space();
        if matches!(self.peek(), Some(b',' | b'}')) {
            Ok(())
        } else {
            Err(self.expected("a comma or the end of the object"))
        }
    }

    #[inline]
    fn key(&mut self) -> Step<Span> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote),
            _ => self.scalar("a key"),
        }
    }

    /// Any value as text; `None` for `null`. An object or array is its own text.
    #[inline]
    fn value(&mut self) -> Step<Option<Span>> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Some),
            Some(b'{' | b'[') => self.nested().map(Some),
            _ => {
                let scalar = self.scalar("a value")?;
                Ok((self.scratch.resolve(self.text, scalar) != "null").then_some(scalar))
            }
        }
    }

    #[inline]
    fn number(&mut self, field: &'static str) -> Step<i32> {
        match plain_number(self.rest()) {
            Some((number, len)) => {
                self.at += len;
                Ok(number)
            }
            None => self.any_number(field),
        }
    }

    fn any_number(&mut self, field: &'static str) -> Step<i32> {
        let Some(value) = self.value()? else { return Ok(0) };
        let text = self.scratch.resolve(self.text, value);
        match text.parse().or_else(|_| text.trim().parse()) {
            Ok(number) => Ok(number),
            Err(_) => Err(self.stop(DecodeError::Number { field })),
        }
    }

    /// A run of characters without structure: a number, `true`, `null`, a bare name.
    fn scalar(&mut self, expected: &'static str) -> Step<Span> {
        let start = self.at;
        let ends = |byte: &u8| matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"' | b'\'' | 0..=b' ');
        let rest = self.rest();
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
        if self.at == start { Err(self.expected(expected)) } else { Ok(Span::new(start, self.at, false)) }
    }

    /// A string in quotes: its place in the header, unless it has escapes.
    #[inline]
    fn string(&mut self, quote: u8) -> Step<Span> {
        self.at += 1;
        let start = self.at;
        if self.seek_string_end(quote)? {
            return self.escaped_string(start, quote);
        }
        let span = Span::new(start, self.at, false);
        self.at += 1;
        Ok(span)
    }

    /// A string that stands at its first escape; it is copied to the scratch.
    #[inline(never)]
    fn escaped_string(&mut self, start: usize, quote: u8) -> Step<Span> {
        let copied = self.scratch.text.len();
        let mut piece = start;
        loop {
            self.scratch.text.push_str(self.text.get(piece..self.at).unwrap_or_default());
            if self.peek() == Some(quote) {
                self.at += 1;
                return Ok(Span::new(copied, self.scratch.text.len(), true));
            }
            let Some((character, len)) = unescape(self.rest()) else {
                return Err(self.expected("an escape sequence"));
            };
            self.scratch.text.push(character);
            self.at += len;
            piece = self.at;
            self.seek_string_end(quote)?;
        }
    }

    /// Moves to the next quote (`false`) or backslash (`true`).
    #[inline]
    fn seek_string_end(&mut self, quote: u8) -> Step<bool> {
        match find_string_end(self.rest(), quote) {
            Some(distance) => self.at += distance,
            None => {
                self.at = self.text.len();
                return Err(self.expected("the end of a string"));
            }
        }
        Ok(self.peek() == Some(b'\\'))
    }

    /// An object or array, skipped over. Only brackets and strings are looked at.
    fn nested(&mut self) -> Step<Span> {
        let (start, mut depth) = (self.at, 0);
        loop {
            match self.peek() {
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth -= 1,
                Some(quote @ (b'"' | b'\'')) => {
                    self.skip_string(quote)?;
                    continue;
                }
                Some(_) => {}
                None => return Err(self.expected("the end of a nested value")),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(Span::new(start, self.at, false));
            }
            if depth > MAX_DEPTH {
                return Err(self.stop(DecodeError::TooDeep { limit: MAX_DEPTH }));
            }
        }
    }

    fn skip_string(&mut self, quote: u8) -> Step<()> {
        self.at += 1;
        while self.seek_string_end(quote)? {
            self.at += 2;
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing may follow the object but white space and the zero that C programs leave.
    fn end(&mut self) -> Step<()> {
        self.skip_space();
        if self.rest().iter().all(|&byte| byte == 0) { Ok(()) } else { Err(self.expected("the end of the header")) }
    }

    #[inline]
    fn eat(&mut self, byte: u8, expected: &'static str) -> Step<()> {
        if self.peek() != Some(byte) {
            return Err(self.expected(expected));
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t' | 8 | 12) = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn rest(&self) -> &[u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[cold]
    fn expected(&mut self, expected: &'static str) -> Stop {
        self.stop(DecodeError::Json { at: self.at, expected })
    }

    #[cold]
    fn stop(&mut self, error: DecodeError) -> Stop {
        self.error = Some(error);
        Stop
    }
}

/// A number in the form in which nearly all of them come, digits before a comma or a brace, and how many digits it has.
#[inline]
fn plain_number(rest: &[u8]) -> Option<(i32, usize)> {
    let mut value = 0_u32;
    for (len, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' if len < 9 => value = value * 10 + u32::from(byte - b'0'),
            b',' | b'}' if len > 0 => return Some((value.cast_signed(), len)),
            _ => return None,
        }
    }
    None
}
