//! SQL92 conditions on a message's properties, with the grammar, types and three-valued logic of Apache's filter.
//!
//! ```text
//! text ─lexer─► words ─parser─► steps ─eval─► true, false, unknown
//! ```
//!
//! [`Sql::compile`] is done once per expression, [`Sql::matches`] once per message and without allocation. Both are
//! checked against Apache's own classes (`apache.tsv`): what an expression comes to for a message, and the words in which
//! a wrong one is refused. The parser is written by hand, because it must stop, fail and count columns where Apache's
//! generated one does; a parser library would save the smaller part of it.
//!
//! Invariant: the program of a compiled expression never takes a value from an empty stack.

mod error;
mod eval;
mod lexer;
mod parser;
mod program;
mod value;

pub use error::SqlError;

use program::Step;

/// How deep an expression may nest: parentheses, `NOT` and signs. Apache's parser runs out of stack at some thousand.
pub const MAX_DEPTH: usize = 200;

/// A compiled expression.
#[derive(Debug)]
pub struct Sql {
    text: Box<str>,
    steps: Box<[Step]>,
    names: Box<[Box<str>]>,
    end: usize,
}

impl PartialEq for Sql {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Sql {}

impl Sql {
    /// Compiles an expression.
    ///
    /// # Errors
    /// The text is no expression, compares what cannot be compared, or nests deeper than [`MAX_DEPTH`].
    pub fn compile(text: &str) -> Result<Self, SqlError> {
        let mut parsed = parser::parse(text)?;
        for step in &mut parsed.steps {
            if let Step::In { list, .. } = step {
                list.sort_unstable(); // `eval` searches by halves
            }
        }
        let (steps, names) = (parsed.steps.into(), parsed.names.into());
        Ok(Self { text: text.into(), steps, names, end: parsed.end })
    }

    /// Whether a message with these properties (the stored text) is wanted: the condition is true, not unknown, and
    /// comes to an end without a comparison that Apache ends with an exception.
    pub fn matches(&self, properties: &str) -> bool {
        matches!(eval::evaluate(&self.steps, &self.names, properties), Ok(Some(true)))
    }

    /// The expression as it was sent.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands behind the expression and is not part of it, as in `a > 5 LIKE 'x'`. Apache ignores it without a word.
    pub fn ignored(&self) -> &str {
        self.text.get(self.end..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
