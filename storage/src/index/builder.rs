//! From records to index entries.
//!
//! The store runs this behind the log in a thread of its own. Which records are indexed under which keys is Apache's
//! rule: first the unique key, then each word of `KEYS`, under the topic that the record is stored in. So delayed and
//! half messages are found under the system topics they wait in, and a batch under the unique key of the batch.

use std::sync::Arc;

use smallvec::SmallVec;
use tenonmq_protocol::message::properties::{find_each, names};
use tenonmq_protocol::message::{RecordView, TransactionType};

use super::file::IndexFile;
use super::{Index, key_hash};
use crate::error::FileError;
use crate::sync::MutexGuard;

/// The right to add to an [`Index`], for one record after the other.
pub struct Builder<'a> {
    index: &'a Index,
    newest: Option<Arc<IndexFile>>,
    _writing: MutexGuard<'a, ()>,
}

impl Index {
    /// Waits until nobody else adds to the index or removes from it.
    pub fn build(&self) -> Builder<'_> {
        let writing = self.writing.lock();
        Builder { index: self, newest: self.files.load().last().cloned(), _writing: writing }
    }
}

impl Builder<'_> {
    /// Adds the keys of a record that lies at `physical` in the log. Rolled-back records and those without keys are left out.
    ///
    /// After an error the same record should be given again later.
    pub fn add_record(&mut self, record: &RecordView<'_>, physical: u64) -> Result<(), FileError> {
        if record.sys_flag().transaction() == TransactionType::Rollback {
            return Ok(());
        }
        self.add(record.topic(), keys(record.properties_bytes()), physical, record.store_timestamp())
    }

    /// Adds the keys of one record, in this order. A record before the last indexed one is ignored, and so are those
    /// keys of the last one that are there.
    ///
    /// An error (disk full) may leave some of the keys added; add the record again later.
    pub fn add<'k>(
        &mut self,
        topic: &str,
        keys: impl IntoIterator<Item = &'k str>,
        physical: u64,
        store_timestamp: i64,
    ) -> Result<(), FileError> {
        let hashes: SmallVec<[u32; 4]> = keys.into_iter().map(|key| key_hash(topic, key)).collect();
        let Ok(offset) = i64::try_from(physical) else { return Ok(()) };
        let newest = self.newest.as_deref();
        if newest.is_some_and(|file| offset < file.header().end_physical) {
            return Ok(());
        }
        // Of the last indexed record only the keys behind the last entry are missing, if any.
        let last = newest.and_then(IndexFile::last).filter(|&(_, last)| last == offset);
        let done = last.and_then(|(last, _)| hashes.iter().position(|&hash| hash == last)).map_or(0, |at| at + 1);
        for &hash in hashes.iter().skip(done) {
            self.put(hash, offset, store_timestamp)?;
        }
        Ok(())
    }

    fn put(&mut self, hash: u32, physical: i64, timestamp: i64) -> Result<(), FileError> {
        loop {
            if let Some(file) = self.newest.as_ref().filter(|file| !file.is_full()) {
                file.put(&*self.index.fs, hash, physical, timestamp).map_err(FileError::of("write", file.path()))?;
                return Ok(());
            }
            self.newest = Some(self.index.start_file(self.newest.as_deref())?);
        }
    }
}

/// The keys in a property text: the unique key, then the words of `KEYS`. A key that is not UTF-8 is left out.
pub fn keys(properties: &[u8]) -> impl Iterator<Item = &str> {
    let [unique, words] = find_each(properties, [names::UNIQ_KEY, names::KEYS]);
    let text = |value: Option<_>| value.and_then(|value| std::str::from_utf8(value).ok());
    text(unique).into_iter().chain(text(words).unwrap_or_default().split(' ').filter(|word| !word.is_empty()))
}
