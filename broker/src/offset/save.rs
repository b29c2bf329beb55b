//! Consumer offsets on disk: `config/consumerOffset.json`, as Apache writes and reads it.
//!
//! The file is written on a period and at the end, and only when something has changed. Its data version counts one step
//! for every `consumerOffsetUpdateVersionStep` changes of the table; the steps are added up when somebody looks, so a
//! commit does not pay for them.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tenonmq_protocol::body::{ConsumerOffsets, DataVersion, json};
use tenonmq_storage::{ConfigFile, FileError};

use super::table::Offsets;
use crate::{config, core::LoadError};

/// Name of the file below `config/`.
pub const FILE_NAME: &str = "consumerOffset.json";

const SEPARATOR: char = '@';

/// Where the table is kept, and how far it has come there.
pub(super) struct OffsetFile {
    file: ConfigFile,
    /// Held while the file is written.
    saved_changes: Mutex<Option<u64>>,
    version: Mutex<Stepped>,
    step: u64,
}

struct Stepped {
    version: DataVersion,
    /// Steps that the version has taken since the start.
    steps: u64,
}

impl Offsets {
    /// The table of `config/consumerOffset.json`. What it already holds may exceed
    /// the limit.
    ///
    /// Keys that are not `topic@group` are left out, and the log names them.
    ///
    /// # Errors
    /// The file and its backup exist and neither can be read.
    pub fn load(file: ConfigFile, settings: &config::Offsets) -> Result<Self, LoadError> {
        let stored: Option<ConsumerOffsets> = crate::core::load_json(&file)?;
        let existed = stored.is_some();
        let stored = stored.unwrap_or_default();
        let entries = stored.offset_table.values().map(BTreeMap::len).sum::<usize>();
        let mut offsets = Self::with_limit(settings.max.max(entries));
        for (key, queues) in &stored.offset_table {
            let Some((topic, group)) = key.split_once(SEPARATOR).filter(|(_, group)| !group.contains(SEPARATOR)) else {
                tracing::warn!(key, "an entry of consumerOffset.json is not of a topic and a group; left out");
                continue;
            };
            for (queue_id, offset) in queues {
                offsets.set(group, topic, *queue_id, *offset);
            }
        }
        offsets.forget_changes();
        offsets.file = Some(OffsetFile {
            file,
            saved_changes: Mutex::new(existed.then_some(0)),
            version: Mutex::new(Stepped { version: stored.data_version, steps: 0 }),
            step: settings.version_step.max(1),
        });
        Ok(offsets)
    }

    /// Version of the table. A table without a file stays at the first.
    pub fn version(&self, now_ms: i64) -> DataVersion {
        let Some(file) = &self.file else { return DataVersion::default() };
        let mut stepped = file.version.lock();
        let steps = self.changes() / file.step;
        if steps > stepped.steps {
            let taken = i64::try_from(steps - stepped.steps).unwrap_or(i64::MAX);
            stepped.version.counter = stepped.version.counter.wrapping_add(taken);
            stepped.version.timestamp = now_ms;
            stepped.steps = steps;
        }
        stepped.version
    }

    /// The whole table in the shape of the file and of code 43.
    pub fn body(&self, now_ms: i64) -> ConsumerOffsets {
        let mut body = ConsumerOffsets { data_version: self.version(now_ms), ..ConsumerOffsets::default() };
        for stored in self.snapshot() {
            let key = format!("{}{SEPARATOR}{}", stored.topic, stored.group);
            let topics = body.group_topic_map.entry(stored.group).or_default();
            if topics.last() != Some(&stored.topic) {
                topics.push(stored.topic); // the snapshot is ordered by group and topic
            }
            body.offset_table.entry(key).or_default().insert(stored.queue_id, stored.offset);
        }
        body
    }

    /// Writes the file if the table has changed since the last time. Blocks on the disk: not for a connection's task.
    ///
    /// # Errors
    /// The file cannot be written; the next call tries again.
    pub fn save(&self, now_ms: i64) -> Result<(), FileError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut saved = file.saved_changes.lock();
        let changes = self.changes(); // before the snapshot: what comes later is saved the next time
        if *saved == Some(changes) {
            return Ok(());
        }
        file.file.save(&json::to_vec_pretty(&self.body(now_ms)))?;
        *saved = Some(changes);
        Ok(())
    }
}

#[cfg(test)]
#[path = "save_tests.rs"]
mod tests;
