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
    let scanned = scanner.object(|scanner, key| scanner.envelope_value(key, &mut envelope));
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
            while let Some((name, value)) = self.plain_pair()? {
                self.push(name, value)?;
                if self.peek() == Some(b',') {
                    self.at += 1;
                } else {
                    self.separator()?;
                }
            }
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

    /// A name and a value in the form in which nearly all of them come: `"name":"value"`, without white space or escapes
    /// in the name. Anything else is left for [`entry`](Self::entry).
    #[inline]
    fn plain_pair(&mut self) -> Step<Option<(Span, Span)>> {
        let Some(name) = self.rest().strip_prefix(b"\"") else { return Ok(None) };
        // A guess at one letter spares the search where it holds, and branch prediction hides it.
        let one_letter = name.get(1) == Some(&b'"') && name.first() != Some(&b'\\') && name.first() != Some(&b'"');
        let name_len = if one_letter { 1 } else { find_string_end(name, b'"').unwrap_or_default() };
        let Some(value) = name.get(name_len..).and_then(|rest| rest.strip_prefix(b"\":\"")) else { return Ok(None) };
        let Some(value_len) = find_string_end(value, b'"') else { return Ok(None) };
        let is_plain = value.get(value_len) == Some(&b'"');
        let name_at = self.at + 1;
        let value_at = name_at + name_len + 3;
        let name = Span::new(name_at, name_at + name_len, false);
        self.at = value_at + value_len;
        if !is_plain {
            return Ok(Some((name, self.escaped_string(value_at, b'"')?)));
        }
        self.at += 1;
        Ok(Some((name, Span::new(value_at, value_at + value_len, false))))
    }

    /// Reads an object; `value` is called behind each key's colon.
    fn object(&mut self, mut value: impl FnMut(&mut Self, Span) -> Step<()>) -> Step<()> {
        self.skip_space();
        self.eat(b'{', "an object")?;
        while self.entry(&mut value)? {}
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
        match self.plain_number() {
            Some(number) => Ok(number),
            None => self.any_number(field),
        }
    }

    /// A number in the form in which nearly all of them come: digits before a comma or a brace. Anything else is left for
    /// [`any_number`](Self::any_number).
    #[inline]
    fn plain_number(&mut self) -> Option<i32> {
        let mut value = 0_u32;
        for (len, byte) in self.rest().iter().enumerate() {
            match byte {
                b'0'..=b'9' if len < 9 => value = value * 10 + u32::from(byte - b'0'),
                b',' | b'}' if len > 0 => {
                    self.at += len;
                    return Some(value.cast_signed());
                }
                _ => return None,
            }
        }
        None
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
