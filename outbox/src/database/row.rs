//! Rows that are read column by column, and that say which column cannot be read.

use std::{fmt, vec};

use bytes::Bytes;

/// What is in one column.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    /// A value of a type that no column of ours has.
    Foreign(String),
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Int(value) => write!(f, "the number {value}"),
            Self::Text(text) => write!(f, "the text {:?}", text.chars().take(40).collect::<String>()),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Foreign(what) => write!(f, "a value of type {what}"),
        }
    }
}

/// One row, read from the left: ask for the columns in the statement's order.
#[doc(hidden)]
#[derive(Debug)]
pub struct Row(vec::IntoIter<Cell>);

/// A column that does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) column: &'static str,
    pub(crate) reason: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.reason)
    }
}

impl Row {
    pub(crate) fn new(cells: Vec<Cell>) -> Self {
        Self(cells.into_iter())
    }

    pub(crate) fn int(&mut self, column: &'static str) -> Result<i64, Unreadable> {
        self.opt_int(column)?.ok_or_else(|| empty(column))
    }

    pub(crate) fn opt_int(&mut self, column: &'static str) -> Result<Option<i64>, Unreadable> {
        match self.cell() {
            Cell::Null => Ok(None),
            Cell::Int(value) => Ok(Some(value)),
            other => Err(unlike(column, "a number", &other)),
        }
    }

    /// A count that is never negative.
    pub(crate) fn count(&mut self, column: &'static str) -> Result<u32, Unreadable> {
        let value = self.int(column)?;
        u32::try_from(value).map_err(|_| unlike(column, "a count", &Cell::Int(value)))
    }

    pub(crate) fn text(&mut self, column: &'static str) -> Result<String, Unreadable> {
        self.opt_text(column)?.ok_or_else(|| empty(column))
    }

    pub(crate) fn opt_text(&mut self, column: &'static str) -> Result<Option<String>, Unreadable> {
        match self.cell() {
            Cell::Null => Ok(None),
            Cell::Text(text) => Ok(Some(text)),
            Cell::Bytes(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(error) => Err(unlike(column, "text", &Cell::Bytes(error.into_bytes()))),
            },
            other => Err(unlike(column, "text", &other)),
        }
    }

    /// A text that stands for something else.
    pub(crate) fn parsed<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Unreadable> {
        parse(&self.text(column)?).map_err(|reason| Unreadable { column, reason })
    }

    pub(crate) fn bytes(&mut self, column: &'static str) -> Result<Bytes, Unreadable> {
        match self.cell() {
            Cell::Bytes(bytes) => Ok(bytes.into()),
            Cell::Text(text) => Ok(text.into()),
            Cell::Null => Err(empty(column)),
            other => Err(unlike(column, "bytes", &other)),
        }
    }

    pub(crate) fn opt_bytes(&mut self, column: &'static str) -> Result<Option<Bytes>, Unreadable> {
        match self.cell() {
            Cell::Null => Ok(None),
            Cell::Bytes(bytes) => Ok(Some(bytes.into())),
            Cell::Text(text) => Ok(Some(text.into())),
            other => Err(unlike(column, "bytes", &other)),
        }
    }

    fn cell(&mut self) -> Cell {
        self.0.next().unwrap_or(Cell::Null)
    }
}

fn empty(column: &'static str) -> Unreadable {
    Unreadable { column, reason: "it is empty".into() }
}

fn unlike(column: &'static str, wanted: &str, found: &Cell) -> Unreadable {
    Unreadable { column, reason: format!("{wanted} is expected, {found:?} is there") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_holds_something_else_is_named() {
        let mut row = Row::new(vec![Cell::Int(1), Cell::Text("soon".into()), Cell::Bytes(vec![0xff])]);
        assert_eq!(row.int("id"), Ok(1));
        let wrong = row.int("attempts").unwrap_err();
        assert_eq!(wrong.to_string(), "column attempts: a number is expected, the text \"soon\" is there");
        assert!(row.text("headers").unwrap_err().to_string().contains("headers"));
        assert!(row.text("missing").is_err());
    }
}
