//! The tolerant parser: text to a tree that still borrows from it.

use std::borrow::Cow;

use super::JsonError;
use crate::serialize::{find_string_end, unescape};

/// Deepest nesting of values.
const MAX_DEPTH: usize = 64;

/// One value. A key is a value too: bare ones are text, raw object keys are objects.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    /// As it was written.
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<(Node<'a>, Node<'a>)>),
}

impl Node<'_> {
    /// What it is, for error messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads one value; only white space and zeros may follow it.
pub(super) fn parse(text: &str) -> Result<Node<'_>, JsonError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.skip_space();
    let node = parser.value()?;
    parser.skip_space();
    if parser.rest().iter().any(|&byte| byte != 0) {
        return Err(parser.expected("the end of the body"));
    }
    Ok(node)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Node<'a>, JsonError> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Node::Text),
            _ => self.scalar(),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Node<'a>, JsonError>) -> Result<Node<'a>, JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep { limit: MAX_DEPTH });
        }
        self.depth += 1;
        self.at += 1;
        let node = read(self);
        self.depth -= 1;
        node
    }

    /// The rest of an object, behind its brace.
    fn object(&mut self) -> Result<Node<'a>, JsonError> {
        let mut entries = Vec::new();
        while !self.closes(b'}')? {
            let key = self.key()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.expected("a colon"));
            }
            self.at += 1;
            self.skip_space();
            entries.push((key, self.value()?));
            self.separator(b'}', "a comma or the end of the object")?;
        }
        Ok(Node::Object(entries))
    }

    /// The rest of an array, behind its bracket.
    fn array(&mut self) -> Result<Node<'a>, JsonError> {
        let mut items = Vec::new();
        while !self.closes(b']')? {
            items.push(self.value()?);
            self.separator(b']', "a comma or the end of the array")?;
        }
        Ok(Node::Array(items))
    }

    /// Skips white space and commas; eats `end` if it stands there.
    fn closes(&mut self, end: u8) -> Result<bool, JsonError> {
        self.skip_space();
        while self.peek() == Some(b',') {
            self.at += 1;
            self.skip_space();
        }
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Ok(false),
            None => Err(self.expected("more text")),
        }
    }

    /// Behind a value there must be a comma or `end`.
    fn separator(&mut self, end: u8, expected: &'static str) -> Result<(), JsonError> {
        self.skip_space();
        match self.peek() {
            Some(byte) if byte == b',' || byte == end => Ok(()),
            _ => Err(self.expected(expected)),
        }
    }

    fn key(&mut self) -> Result<Node<'a>, JsonError> {
        match self.peek() {
            Some(b'{' | b'[' | b'"' | b'\'') => self.value(),
            _ => self.token("a key").map(|key| Node::Text(Cow::Borrowed(key))),
        }
    }

    fn scalar(&mut self) -> Result<Node<'a>, JsonError> {
        let start = self.at;
        match self.token("a value")? {
            "null" | "undefined" | "NaN" => Ok(Node::Null),
            "true" => Ok(Node::Bool(true)),
            "false" => Ok(Node::Bool(false)),
            number if number.parse::<f64>().is_ok() => Ok(Node::Number(number)),
            _ => {
                self.at = start;
                Err(self.expected("a value"))
            }
        }
    }

    /// A run of characters without structure.
    fn token(&mut self, expected: &'static str) -> Result<&'a str, JsonError> {
        let ends = |byte: &u8| matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"' | b'\'' | 0..=b' ');
        let start = self.at;
        let rest = self.rest();
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
        if self.at == start { Err(self.expected(expected)) } else { Ok(self.slice(start)) }
    }

    fn string(&mut self, quote: u8) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let mut start = self.at;
        let mut copied: Option<String> = None;
        loop {
            let Some(distance) = find_string_end(self.rest(), quote) else {
                self.at = self.text.len();
                return Err(self.expected("the end of a string"));
            };
            self.at += distance;
            let piece = self.slice(start);
            if self.peek() == Some(quote) {
                self.at += 1;
                return Ok(match copied {
                    Some(copied) => Cow::Owned(copied + piece),
                    None => Cow::Borrowed(piece),
                });
            }
            let (character, len) = unescape(self.rest()).ok_or_else(|| self.expected("an escape sequence"))?;
            let copied = copied.get_or_insert_default();
            copied.push_str(piece);
            copied.push(character);
            self.at += len;
            start = self.at;
        }
    }

    fn slice(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t' | 8 | 12) = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax { at: self.at, expected }
    }
}
