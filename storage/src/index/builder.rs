//! From records to index entries.
//!
//! The store runs this behind the log in a thread of its own. Which records are indexed under which keys is Apache's
//! rule: first the unique key, then each word of `KEYS`, under the topic that the record is stored in. So delayed and
//! half messages are found under the system topics they wait in, and a batch under the unique key of the batch.

use std::sync::Arc;

use tenonmq_protocol::message::properties::{find_each, names};
use tenonmq_protocol::message::{RawRecord, TransactionType};

use super::file::{IndexFile, Key};
use super::{Index, hash_behind, topic_hash};
use crate::error::FileError;
use crate::sync::MutexGuard;

/// Keys that are taken together to the file. Their slots are anywhere in it: the processor fetches those of several keys
/// at a time when nothing else is between them.
const TOGETHER: usize = 64;

/// The right to add to an [`Index`], for one record after the other, in the order of the log.
pub struct Builder<'a> {
    index: &'a Index,
    newest: Option<Arc<IndexFile>>,
    /// Keys that are not in the file yet.
    waiting: Vec<Key>,
    _writing: MutexGuard<'a, ()>,
}

impl Index {
    /// Waits until nobody else adds to the index or removes from it.
    pub fn build(&self) -> Builder<'_> {
        let writing = self.writing.lock();
        let newest = self.files.load().last().cloned();
        Builder { index: self, newest, waiting: Vec::with_capacity(TOGETHER + 4), _writing: writing }
    }
}

impl Builder<'_> {
    /// Adds the keys of a record that lies at `physical` in the log. Rolled-back records and those without keys are left out,
    /// and so is what is there: records before the last indexed one, and those keys of the last one that were added.
    ///
    /// Keys may wait for those of other records until [`finish`](Self::finish).
    ///
    /// # Errors
    /// Some of what was added so far may not be there (disk full). Whoever adds all of it again adds what is missing.
    pub fn add(&mut self, record: &RawRecord<'_>, physical: u64) -> Result<(), FileError> {
        if record.sys_flag().transaction() == TransactionType::Rollback {
            return Ok(());
        }
        let Some(topic) = topic_hash(record.topic_bytes()) else { return Ok(()) };
        let hashes = key_bytes(record.properties_bytes()).filter_map(|key| hash_behind(topic, key));
        self.add_hashes(hashes, physical, record.store_timestamp())
    }

    /// Adds hashes of one record, as [`add`](Self::add) does.
    pub(super) fn add_hashes(
        &mut self,
        hashes: impl IntoIterator<Item = u32>,
        physical: u64,
        timestamp: i64,
    ) -> Result<(), FileError> {
        let Ok(physical) = i64::try_from(physical) else { return Ok(()) };
        self.waiting.extend(hashes.into_iter().map(|hash| Key { hash, physical, timestamp }));
        if self.waiting.len() < TOGETHER { Ok(()) } else { self.write() }
    }

    /// Takes what waits to the file.
    ///
    /// # Errors
    /// As those of [`add`](Self::add).
    pub fn finish(mut self) -> Result<(), FileError> {
        self.write()
    }

    fn write(&mut self) -> Result<(), FileError> {
        let mut keys = missing(self.newest.as_deref(), &self.waiting);
        while !keys.is_empty() {
            let put = match &self.newest {
                Some(file) => file.put(&*self.index.fs, keys).map_err(FileError::of("write", file.path()))?,
                None => 0,
            };
            keys = keys.get(put..).unwrap_or_default();
            if !keys.is_empty() {
                self.newest = Some(self.index.start_file(self.newest.as_deref())?);
            }
        }
        self.waiting.clear();
        Ok(())
    }
}

/// Those of `keys` that the index does not have. Of the last indexed record only those behind the last entry are missing.
fn missing<'k>(newest: Option<&IndexFile>, keys: &'k [Key]) -> &'k [Key] {
    let Some(file) = newest else { return keys };
    let end = file.header().end_physical;
    let keys = keys.get(keys.partition_point(|key| key.physical < end)..).unwrap_or_default();
    let Some((hash, last)) = file.last().filter(|(_, last)| keys.first().is_some_and(|key| key.physical == *last))
    else {
        return keys;
    };
    let done = keys.iter().take_while(|key| key.physical == last).position(|key| key.hash == hash);
    keys.get(done.map_or(0, |at| at + 1)..).unwrap_or_default()
}

/// The keys in a property text: the unique key, then the words of `KEYS`. A key that is not UTF-8 is left out.
pub fn keys(properties: &[u8]) -> impl Iterator<Item = &str> {
    key_bytes(properties).filter_map(|key| std::str::from_utf8(key).ok())
}

fn key_bytes(properties: &[u8]) -> impl Iterator<Item = &[u8]> {
    let [unique, words] = find_each(properties, [names::UNIQ_KEY, names::KEYS]);
    let words = words.unwrap_or_default().split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    unique.into_iter().chain(words)
}
