//! What is compared.

use std::collections::BTreeMap;

/// What one side has under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub(super) key: String,
    pub(super) at_ms: Option<i64>,
    pub(super) amount: Option<i64>,
    pub(super) fields: BTreeMap<String, String>,
}

impl Record {
    /// A record. Keys are compared as they are written, byte by byte.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), at_ms: None, amount: None, fields: BTreeMap::new() }
    }

    /// When it happened, in ms since the Unix epoch. Without it a record counts for every period, and as settled.
    #[must_use]
    pub fn at_ms(mut self, at_ms: i64) -> Self {
        self.at_ms = Some(at_ms);
        self
    }

    /// What it is worth, in the smallest unit (cents); compared as the field `amount`, and summed up.
    #[must_use]
    pub fn amount(mut self, amount: i64) -> Self {
        self.amount = Some(amount);
        self
    }

    /// A field to compare. A field that only one side has differs: give both sides the same ones.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.fields.insert(name.into(), value.to_string());
        self
    }

    /// Its business key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The values that are compared, the amount among them, by name.
    pub(super) fn values(&self) -> BTreeMap<&str, String> {
        let mut values: BTreeMap<&str, String> =
            self.fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        if let Some(amount) = self.amount {
            values.insert("amount", amount.to_string());
        }
        values
    }
}
