//! Statements.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::{Dialect, Words};

/// A statement in one database's words. It is made from texts of this crate, names that [`Schema`](crate::Schema) has
/// checked, and nothing else: values are bound.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Sql(Arc<str>);

impl Sql {
    /// Puts words and names in place of `{tokens}`, and the database's placeholders in place of `?`.
    pub(crate) fn new<D: Dialect>(template: &str, names: &[(&str, &str)]) -> Self {
        let mut text = template.to_owned();
        for (token, word) in names.iter().chain(D::WORDS.tokens) {
            text = text.replace(&format!("{{{token}}}"), word);
        }
        Self(number(&text, D::WORDS).into())
    }

    /// A text that all databases understand, or that is one's own.
    pub(crate) fn verbatim(text: &str) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn to_sqlx(&self) -> SqlStr {
        AssertSqlSafe(Arc::clone(&self.0)).into_sql_str()
    }
}

/// As many placeholders as a list needs, rounded up so that few different statements exist; bind by [`padded`].
pub(crate) fn placeholders(count: usize) -> String {
    let mut list = "?, ".repeat(count.max(1).next_power_of_two());
    list.truncate(list.len().saturating_sub(2));
    list
}

/// The ids as often as [`placeholders`] has room: the last one is repeated.
pub(crate) fn padded(ids: &[i64]) -> impl Iterator<Item = i64> {
    let last = ids.last().copied().unwrap_or(0);
    let missing = ids.len().max(1).next_power_of_two() - ids.len();
    ids.iter().copied().chain(std::iter::repeat_n(last, missing))
}

fn number(text: &str, words: &Words) -> String {
    if !words.numbered {
        return text.to_owned();
    }
    let mut parts = text.split('?');
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        numbered.push_str(&format!("${}", at + 1));
        numbered.push_str(part);
    }
    numbered
}
