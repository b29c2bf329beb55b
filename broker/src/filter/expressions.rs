//! Compiled expressions, kept by their text.
//!
//! Every heartbeat and many pulls carry an expression; the same few come again and again, also from different groups. What
//! does not compile is kept too. Two generations bound the table: a full young one becomes the old one, and what nobody
//! asked for in between goes with the old one.

use std::{mem, sync::Arc};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::sql::{Sql, SqlError};
use crate::config;

type Outcome = Result<Arc<Sql>, Arc<SqlError>>;
type Generation = FxHashMap<Box<str>, Outcome>;

/// The table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Expressions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max_bytes: usize,
    refuse_rest: bool,
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    young: Generation,
    old: Generation,
}

impl Default for Expressions {
    fn default() -> Self {
        Self::new(&config::Filters::default())
    }
}

impl Expressions {
    /// An empty table.
    pub fn new(settings: &config::Filters) -> Self {
        Self(Arc::new(Inner {
            max_bytes: settings.expression_max_bytes,
            refuse_rest: settings.refuse_rest,
            most: settings.max_expressions.div_ceil(2).max(1),
            kept: Mutex::default(),
        }))
    }

    /// Compiles an expression, or finds it.
    ///
    /// # Errors
    /// It does not compile, or it is longer than `filterExpressionMaxBytes`.
    pub fn compile(&self, text: &str) -> Result<Arc<Sql>, Arc<SqlError>> {
        if let Some(found) = self.0.kept.lock().find(text, self.0.most) {
            return found;
        }
        let outcome = self.compile_anew(text).map(Arc::new).map_err(Arc::new);
        if text.len() <= self.0.max_bytes {
            self.0.kept.lock().put(text.into(), outcome.clone(), self.0.most);
        }
        outcome
    }

    fn compile_anew(&self, text: &str) -> Result<Sql, SqlError> {
        if text.len() > self.0.max_bytes {
            return Err(SqlError::too_long(text.len(), self.0.max_bytes));
        }
        let sql = Sql::compile(text)?;
        let rest = sql.ignored();
        if !rest.is_empty() {
            if self.0.refuse_rest {
                return Err(SqlError::rest(rest));
            }
            tracing::warn!(expression = text, rest, "the end of a filter expression is no part of it and is ignored");
        }
        Ok(sql)
    }
}

impl Kept {
    fn find(&mut self, text: &str, most: usize) -> Option<Outcome> {
        if let Some(found) = self.young.get(text) {
            return Some(found.clone());
        }
        let (text, found) = self.old.remove_entry(text)?;
        self.put(text, found.clone(), most);
        Some(found)
    }

    fn put(&mut self, text: Box<str>, outcome: Outcome, most: usize) {
        if self.young.len() >= most {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(text, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(settings: config::Filters) -> Expressions {
        Expressions::new(&settings)
    }

    #[test]
    fn an_expression_is_compiled_once() {
        let table = Expressions::default();
        let first = table.compile("a > 5").unwrap();
        assert!(Arc::ptr_eq(&first, &table.compile("a > 5").unwrap()));
        assert_eq!(table.compile("a >").unwrap_err(), table.compile("a >").unwrap_err());
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_makes_room() {
        let table = table(config::Filters { max_expressions: 4, ..config::Filters::default() });
        let wanted = table.compile("wanted = 1").unwrap();
        for other in 0..50 {
            table.compile(&format!("other = {other}")).unwrap();
            assert!(Arc::ptr_eq(&wanted, &table.compile("wanted = 1").unwrap()));
        }
        let kept = table.0.kept.lock();
        assert!(kept.young.len() + kept.old.len() <= 4);
    }

    #[test]
    fn an_expression_beyond_the_limit_is_refused_by_its_length() {
        let table = table(config::Filters { expression_max_bytes: 10, ..config::Filters::default() });
        let error = table.compile("a = 'long enough'").unwrap_err();
        assert_eq!(error.to_string(), "the expression has 17 bytes, which is more than 10 (filterExpressionMaxBytes)");
    }

    #[test]
    fn words_behind_the_expression_are_ignored_as_by_apache_or_refused() {
        assert!(Expressions::default().compile("a > 5 LIKE 'x'").is_ok());
        let table = table(config::Filters { refuse_rest: true, ..config::Filters::default() });
        let error = table.compile("a > 5 LIKE 'x'").unwrap_err();
        assert_eq!(error.to_string(), "the expression ends before \"LIKE 'x'\"");
    }
}
