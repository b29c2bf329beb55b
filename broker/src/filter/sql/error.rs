//! Why a text is no SQL92 expression, in the words of Apache's parser.
//!
//! `CHECK_CLIENT_CONFIG` is answered with these texts, class names included, because that is what the people who know
//! Apache search for.

use super::lexer::{Kind, Token};

/// Why an expression does not compile. `Display` is the remark that Apache answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{remark}")]
pub struct SqlError {
    remark: String,
    /// The text has words where the grammar has none, and it is not the end of a wrong look ahead.
    pub(super) is_syntax: bool,
}

impl SqlError {
    fn new(remark: String) -> Self {
        Self { remark, is_syntax: false }
    }

    /// Characters that start no word. `found` is a UTF-16 unit, which is what Apache counts in; `None` at the end.
    pub(super) fn lexical(at: Position, found: Option<u16>, after: &str) -> Self {
        let found = match found {
            Some(unit) => format!("\"{}\" ({unit}), ", escape_units(&[unit])),
            None => "<EOF> ".to_owned(),
        };
        Self::new(format!(
            "org.apache.rocketmq.filter.parser.TokenMgrError: Lexical error at line {}, column {}.  Encountered: {found}after : \"{}\"",
            at.line,
            at.column,
            escape(after)
        ))
    }

    /// A word that the grammar does not have here.
    pub(super) fn syntax(text: &str, found: Token, expected: &[Kind]) -> Self {
        let at = if found.kind == Kind::End { Position::of_end(text) } else { Position::of(text, found.start) };
        let mut remark = "org.apache.rocketmq.filter.parser.ParseException: Encountered \"".to_owned();
        if found.kind == Kind::End {
            remark += found.kind.image();
        } else {
            let image = text.get(found.start..found.end).unwrap_or_default();
            remark += &format!(" {} \"{} \"", found.kind.image(), escape(image));
        }
        remark += &format!("\" at line {}, column {}.\n", at.line, at.column);
        remark += if expected.len() == 1 { "Was expecting:\n    " } else { "Was expecting one of:\n    " };
        for kind in expected {
            remark += kind.image();
            remark += " ...\n    ";
        }
        Self { remark, is_syntax: true }
    }

    /// Something that is neither true nor false stands where that is asked for.
    pub(super) fn not_boolean(rendered: &str) -> Self {
        Self::new(format!(
            "org.apache.rocketmq.filter.parser.ParseException: Expression will not result in a boolean value: {rendered}"
        ))
    }

    /// Types that do not go together.
    pub(super) fn types(what: impl std::fmt::Display) -> Self {
        Self::new(format!("java.lang.RuntimeException: {what}"))
    }

    /// A number that Java cannot read.
    pub(super) fn number(digits: &str) -> Self {
        Self::new(format!("java.lang.NumberFormatException: For input string: \"{digits}\""))
    }

    /// A truth value compared with a text.
    pub(super) fn class_cast() -> Self {
        Self::new(
            "java.lang.ClassCastException: class java.lang.Boolean cannot be cast to class java.lang.String \
             (java.lang.Boolean and java.lang.String are in module java.base of loader 'bootstrap')"
                .to_owned(),
        )
    }

    /// Nested too deep. Apache's parser runs out of stack somewhere beyond.
    pub(super) fn too_deep(text: &str, at: usize, limit: usize) -> Self {
        let at = Position::of(text, at);
        Self::new(format!("the expression nests deeper than {limit} levels at line {}, column {}", at.line, at.column))
    }

    /// Words behind the expression, where they are refused.
    pub(in crate::filter) fn rest(rest: &str) -> Self {
        Self::new(format!("the expression ends before \"{rest}\""))
    }

    /// Longer than this broker compiles.
    pub(in crate::filter) fn too_long(len: usize, limit: usize) -> Self {
        Self::new(format!("the expression has {len} bytes, which is more than {limit} (filterExpressionMaxBytes)"))
    }
}

/// A place in a text as editors count it: from one, a tab reaches to the next multiple of eight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    line: usize,
    column: usize,
}

impl Position {
    /// Where the character at byte `at` stands.
    pub(super) fn of(text: &str, at: usize) -> Self {
        let end = text.get(at..).and_then(|rest| rest.chars().next()).map_or(text.len(), |found| at + found.len_utf8());
        let mut units = [0; 2];
        let extra = text.get(at..end).and_then(|found| found.chars().next());
        let extra = extra.map_or(0, |found| found.encode_utf16(&mut units).len() - 1);
        let position = Self::of_end(text.get(..end).unwrap_or(text));
        Self { column: position.column - extra, ..position }
    }

    /// Where the last character of the text stands; zeros for no text.
    pub(super) fn of_end(text: &str) -> Self {
        let mut position = Self { line: 0, column: 0 };
        let (mut newline, mut carriage) = (true, false);
        for unit in text.encode_utf16() {
            position.column += 1;
            if newline || (carriage && unit != u16::from(b'\n')) {
                position.line += 1;
                position.column = 1;
            }
            (newline, carriage) = match unit {
                0x0A => (true, false),
                0x0D => (false, true),
                _ => (false, false),
            };
            if unit == u16::from(b'\t') {
                position.column -= 1;
                position.column += 8 - position.column % 8;
            }
        }
        position
    }

    /// The place behind this one, which is that of the last character.
    pub(super) fn after_last(self, text: &str) -> Self {
        match text.bytes().last() {
            Some(b'\n' | b'\r') => Self { line: self.line + 1, column: 0 },
            _ => Self { column: self.column + 1, ..self },
        }
    }
}

fn escape(text: &str) -> String {
    escape_units(&text.encode_utf16().collect::<Vec<u16>>())
}

/// As Java source would write it.
fn escape_units(units: &[u16]) -> String {
    let mut out = String::new();
    for &unit in units {
        match unit {
            0 => {}
            0x08 => out += "\\b",
            0x09 => out += "\\t",
            0x0A => out += "\\n",
            0x0C => out += "\\f",
            0x0D => out += "\\r",
            0x22 => out += "\\\"",
            0x27 => out += "\\'",
            0x5C => out += "\\\\",
            0x20..=0x7E => out.extend(char::from_u32(u32::from(unit))),
            _ => out += &format!("\\u{unit:04x}"),
        }
    }
    out
}
