//! From records to index entries.
//!
//! The store runs this behind the log in a thread of its own. Which records are indexed under which keys is Apache's
//! rule: first the unique key, then each word of `KEYS`, under the topic that the record is stored in. So delayed and
//! half messages are found under the system topics they wait in, and a batch under the unique key of the batch.

use tenonmq_protocol::message::properties::{find_each, names};
use tenonmq_protocol::message::{RecordView, TransactionType};

use super::Index;
use crate::error::FileError;

impl Index {
    /// Adds the keys of a record that lies at `physical` in the log. Rolled-back records and those without keys are left out.
    ///
    /// After an error the same record should be given again later.
    pub fn add_record(&self, record: &RecordView<'_>, physical: u64) -> Result<(), FileError> {
        if record.sys_flag().transaction() == TransactionType::Rollback {
            return Ok(());
        }
        self.add(record.topic(), keys(record.properties_text()), physical, record.store_timestamp())
    }
}

/// The keys in a property text: the unique key, then the words of `KEYS`.
pub fn keys(properties: &str) -> impl Iterator<Item = &str> {
    let [unique, words] = find_each(properties, [names::UNIQ_KEY, names::KEYS]);
    unique.into_iter().chain(words.unwrap_or_default().split(' ').filter(|word| !word.is_empty()))
}
