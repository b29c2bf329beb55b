//! Words of an SQL92 expression, one at a time.
//!
//! The rules are those of Apache's token manager: the longest match wins, `--` starts a comment only when a line end
//! follows it, `0` ends a number (`007` is three numbers), names are ASCII. Words are made on demand, because Apache
//! never looks at what stands behind the first word that cannot go on an expression.

use super::error::{Position, SqlError};

/// Kinds of words, in the order in which Apache lists what it expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    End,
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    Whole,
    Decimal,
    Text,
    Name,
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    Open,
    Comma,
    Close,
    Plus,
    Minus,
}

impl Kind {
    /// How Apache's messages call it.
    pub(super) fn image(self) -> &'static str {
        match self {
            Self::End => "<EOF>",
            Self::Not => "\"NOT\"",
            Self::And => "\"AND\"",
            Self::Or => "\"OR\"",
            Self::Between => "\"BETWEEN\"",
            Self::In => "\"IN\"",
            Self::True => "\"TRUE\"",
            Self::False => "\"FALSE\"",
            Self::Null => "\"NULL\"",
            Self::Is => "\"IS\"",
            Self::Contains => "\"CONTAINS\"",
            Self::StartsWith => "\"STARTSWITH\"",
            Self::EndsWith => "\"ENDSWITH\"",
            Self::Whole => "<DECIMAL_LITERAL>",
            Self::Decimal => "<FLOATING_POINT_LITERAL>",
            Self::Text => "<STRING_LITERAL>",
            Self::Name => "<ID>",
            Self::Equal => "\"=\"",
            Self::NotEqual => "\"<>\"",
            Self::Greater => "\">\"",
            Self::GreaterEqual => "\">=\"",
            Self::Less => "\"<\"",
            Self::LessEqual => "\"<=\"",
            Self::Open => "\"(\"",
            Self::Comma => "\",\"",
            Self::Close => "\")\"",
            Self::Plus => "\"+\"",
            Self::Minus => "\"-\"",
        }
    }
}

/// One word and where it stands, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

const KEYWORDS: &[(&str, Kind)] = &[
    ("NOT", Kind::Not),
    ("AND", Kind::And),
    ("OR", Kind::Or),
    ("BETWEEN", Kind::Between),
    ("IN", Kind::In),
    ("TRUE", Kind::True),
    ("FALSE", Kind::False),
    ("NULL", Kind::Null),
    ("IS", Kind::Is),
    ("CONTAINS", Kind::Contains),
    ("STARTSWITH", Kind::StartsWith),
    ("ENDSWITH", Kind::EndsWith),
];

/// Cuts a text into words.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next word; [`Kind::End`] for ever at the end.
    pub(super) fn next(&mut self) -> Result<Token, SqlError> {
        self.skip()?;
        let start = self.at;
        let (kind, len) = match self.byte(0) {
            None => (Kind::End, 0),
            Some(b'0'..=b'9') => self.number(),
            Some(b'.') if self.digits(1) > 0 => (Kind::Decimal, self.fraction(0)),
            Some(b'\'') => (Kind::Text, self.quoted()?),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$') => self.name(),
            Some(byte) => self.sign(byte)?,
        };
        self.at += len;
        Ok(Token { kind, start, end: self.at })
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes over blanks and comments.
    fn skip(&mut self) -> Result<(), SqlError> {
        loop {
            match (self.byte(0), self.byte(1)) {
                (Some(b' ' | b'\t' | b'\n' | b'\r' | b'\x0c'), _) => self.at += 1,
                (Some(b'-'), Some(b'-')) => match self.rest().find(['\n', '\r']) {
                    Some(end) => self.at += end + 1, // the second half of \r\n is a blank
                    None => return Ok(()),           // no comment, two minus signs
                },
                (Some(b'/'), Some(b'*')) => match self.rest().get(2..).and_then(|inner| inner.find("*/")) {
                    Some(end) => self.at += end + 4,
                    None => return Err(self.stray(self.rest().len())),
                },
                _ => return Ok(()),
            }
        }
    }

    fn digits(&self, from: usize) -> usize {
        let bytes = self.text.as_bytes().get(self.at + from..).unwrap_or_default();
        bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    fn number(&self) -> (Kind, usize) {
        let whole = self.digits(0);
        if self.byte(whole) == Some(b'.') {
            return (Kind::Decimal, self.fraction(whole));
        }
        match self.exponent(whole) {
            0 if self.byte(0) == Some(b'0') => (Kind::Whole, 1),
            0 => (Kind::Whole, whole + usize::from(matches!(self.byte(whole), Some(b'l' | b'L')))),
            exponent => (Kind::Decimal, whole + exponent),
        }
    }

    /// Length of a number whose point stands at `point`.
    fn fraction(&self, point: usize) -> usize {
        let end = point + 1 + self.digits(point + 1);
        end + self.exponent(end)
    }

    fn exponent(&self, from: usize) -> usize {
        if !matches!(self.byte(from), Some(b'e' | b'E')) {
            return 0;
        }
        let sign = usize::from(matches!(self.byte(from + 1), Some(b'+' | b'-')));
        match self.digits(from + 1 + sign) {
            0 => 0,
            digits => 1 + sign + digits,
        }
    }

    /// Length of a text with its quotes. Of one that never ends after a doubled quote, the part before that.
    fn quoted(&self) -> Result<usize, SqlError> {
        let bytes = self.rest().as_bytes();
        let mut whole = 0;
        let mut at = 1;
        while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == b'\'')) {
            at += found + 1;
            whole = at;
            if bytes.get(at) != Some(&b'\'') {
                return Ok(at);
            }
            at += 1;
        }
        if whole > 0 { Ok(whole) } else { Err(self.stray(bytes.len())) }
    }

    fn name(&self) -> (Kind, usize) {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        let rest = self.rest();
        let len = rest.bytes().take_while(is_part).count();
        let word = rest.get(..len).unwrap_or_default();
        let keyword = KEYWORDS.iter().find(|(keyword, _)| keyword.eq_ignore_ascii_case(word));
        (keyword.map_or(Kind::Name, |&(_, kind)| kind), len)
    }

    fn sign(&self, byte: u8) -> Result<(Kind, usize), SqlError> {
        Ok(match (byte, self.byte(1)) {
            (b'<', Some(b'>')) => (Kind::NotEqual, 2),
            (b'<', Some(b'=')) => (Kind::LessEqual, 2),
            (b'>', Some(b'=')) => (Kind::GreaterEqual, 2),
            (b'<', _) => (Kind::Less, 1),
            (b'>', _) => (Kind::Greater, 1),
            (b'=', _) => (Kind::Equal, 1),
            (b'(', _) => (Kind::Open, 1),
            (b',', _) => (Kind::Comma, 1),
            (b')', _) => (Kind::Close, 1),
            (b'+', _) => (Kind::Plus, 1),
            (b'-', _) => (Kind::Minus, 1),
            (b'.' | b'/', _) => return Err(self.stray(1)),
            _ => return Err(self.stray(0)),
        })
    }

    /// No word starts here. The first `taken` bytes could have been one.
    fn stray(&self, taken: usize) -> SqlError {
        let rest = self.rest();
        let (before, behind) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        let mut behind = behind.encode_utf16();
        let found = behind.next();
        if found.is_some() && behind.next().is_some() {
            return SqlError::lexical(Position::of(self.text, self.at + taken), found, before);
        }
        // Apache reads on to see whether this is the end, and then names the end.
        let after = if rest.chars().count() <= 1 { "" } else { rest };
        SqlError::lexical(Position::of_end(self.text).after_last(self.text), None, after)
    }
}
