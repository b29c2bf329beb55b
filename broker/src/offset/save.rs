//! Consumer offsets on disk: `config/consumerOffset.json`, as Apache writes and reads it. With `enableLmq` it is
//! `config/lmqConsumerOffset.json`, where the groups of light queues have a table of their own.
//!
//! The file is written on a period and at the end, and only when something has changed. Its data version counts one step
//! for every `consumerOffsetUpdateVersionStep` changes of the table; the steps are added up when somebody looks, so a
//! commit does not pay for them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use tenonmq_protocol::body::{ConsumerOffsets, DataVersion, json};
use tenonmq_storage::{ConfigFile, FileError, Store, fs::FileSystem, light};

use super::{
    journal::{Event, Fuse, Journal, NO_FILE, Name, stamp_of},
    table::Offsets,
};
use crate::{config, core::LoadError};

/// Name of the file below `config/`.
pub const FILE_NAME: &str = "consumerOffset.json";
/// Its name where there are light queues.
const LIGHT_FILE_NAME: &str = "lmqConsumerOffset.json";

const SEPARATOR: char = '@';
/// Epochs of the journal that may wait for the first saving after a start.
const EPOCHS_MAX: usize = 4;

/// Why the offsets cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file and its backup cannot be read.
    #[error(transparent)]
    Table(#[from] LoadError),
    /// The journal's folder cannot be read or written.
    #[error(transparent)]
    Journal(#[from] FileError),
}

/// The file of the table.
pub struct Files {
    file: ConfigFile,
    /// What is read while the file does not exist; set where there are light queues.
    before: Option<ConfigFile>,
}

impl Files {
    /// The file of a data directory; `light`: `enableLmq`.
    pub fn of(store: &Store, light: bool) -> Self {
        let plain = store.config_file(FILE_NAME);
        if light { Self { file: store.config_file(LIGHT_FILE_NAME), before: Some(plain) } } else { plain.into() }
    }
}

impl From<ConfigFile> for Files {
    fn from(file: ConfigFile) -> Self {
        Self { file, before: None }
    }
}

/// Where the table is kept, and how far it has come there.
pub(super) struct OffsetFile {
    file: ConfigFile,
    /// The file has a table for groups of light queues.
    light: bool,
    /// Absent in tests of the file alone.
    pub(super) journal: Option<Journal>,
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
        Self::load_stamped(file.into(), settings).map(|(offsets, _)| offsets)
    }

    /// As [`load`](Self::load), and then what the journal in `folder` knows beyond the file; from here on it keeps what is
    /// committed.
    ///
    /// # Errors
    /// Neither the file nor its backup can be read, or the journal's folder cannot be read or written.
    pub fn open(
        file: impl Into<Files>,
        settings: &config::Offsets,
        fs: &Arc<dyn FileSystem>,
        folder: PathBuf,
    ) -> Result<Self, OpenError> {
        Self::open_with(file.into(), settings, fs, folder, Fuse::default())
    }

    pub(super) fn open_with(
        file: impl Into<Files>,
        settings: &config::Offsets,
        fs: &Arc<dyn FileSystem>,
        folder: PathBuf,
        fuse: Fuse,
    ) -> Result<Self, OpenError> {
        let (mut offsets, stamp) = Self::load_stamped(file.into(), settings)?;
        let mut apply = |event: Event<'_>| offsets.apply(event);
        let journal = Journal::open(fs, folder, stamp, fuse, &mut apply)?;
        offsets.switch_to(&journal.current(), &|| journal.begin());
        if offsets.changes() == 0 {
            journal.remove(&journal.superseded()); // the file says the same
        }
        let many = journal.waiting() >= EPOCHS_MAX;
        if let Some(file) = &mut offsets.file {
            file.journal = Some(journal);
        }
        if many && let Err(error) = offsets.save(0) {
            tracing::error!(%error, "consumer offsets not saved at start; the next period tries again");
        }
        Ok(offsets)
    }

    /// Something that the journal knows.
    fn apply(&self, event: Event<'_>) {
        match event {
            Event::Forget { group, topic } => self.remove(group, topic),
            Event::Mark { group, topic, queue_id, offset } => {
                self.restore_mark(&Name { group, topic, queue_id }, offset);
            }
            Event::Offset { group, topic, queue_id, offset } => {
                if self.stored_at(group, topic, queue_id) != Some(offset)
                    && self.set(group, topic, queue_id, offset) == super::Commit::Full
                {
                    tracing::error!(group, topic, queue_id, offset, "consumerOffsetsMax is too small for the journal");
                }
            }
        }
    }

    fn load_stamped(files: Files, settings: &config::Offsets) -> Result<(Self, u64), LoadError> {
        let Files { file, before } = files;
        let read = |file: &ConfigFile| {
            crate::core::load_json_with(file, |content, stored: ConsumerOffsets| (stored, stamp_of(content)))
        };
        let mut stored = read(&file)?;
        let existed = stored.is_some();
        if let (None, Some(before)) = (&stored, &before) {
            stored = read(before)?;
        }
        let (mut stored, stamp) = stored.unwrap_or((ConsumerOffsets::default(), NO_FILE));
        for (key, offset) in stored.lmq_offset_table.take().unwrap_or_default() {
            stored.offset_table.entry(key).or_default().insert(light::QUEUE_ID, offset);
        }
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
            light: before.is_some(),
            journal: None,
            saved_changes: Mutex::new(existed.then_some(0)),
            version: Mutex::new(Stepped { version: stored.data_version, steps: 0 }),
            step: settings.version_step.max(1),
        });
        Ok((offsets, stamp))
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
        let has_light = self.file.as_ref().is_some_and(|file| file.light);
        let mut of_light = has_light.then(BTreeMap::new);
        for stored in self.snapshot() {
            let key = format!("{}{SEPARATOR}{}", stored.topic, stored.group);
            if let Some(table) = of_light.as_mut().filter(|_| light::is_light(&stored.group)) {
                table.insert(key, stored.offset);
                continue;
            }
            let topics = body.group_topic_map.entry(stored.group).or_default();
            if topics.last() != Some(&stored.topic) {
                topics.push(stored.topic); // the snapshot is ordered by group and topic
            }
            body.offset_table.entry(key).or_default().insert(stored.queue_id, stored.offset);
        }
        body.lmq_offset_table = of_light;
        body
    }

    /// Writes the file if the table has changed since the last time. Blocks on the disk: not for a connection's task.
    ///
    /// # Errors
    /// The file cannot be written; the next call tries again.
    pub fn save(&self, now_ms: i64) -> Result<(), FileError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut saved = file.saved_changes.lock();
        if file.journal.as_ref().is_some_and(Journal::is_worn) {
            self.renew_journal();
        }
        let superseded = file.journal.as_ref().map(Journal::superseded).unwrap_or_default();
        let changes = self.changes(); // before the snapshot: what comes later is saved the next time
        if *saved == Some(changes) && superseded.is_empty() {
            return Ok(());
        }
        let content = json::to_vec_pretty(&self.body(now_ms));
        match &file.journal {
            Some(journal) => save_with(journal, &file.file, &content)?,
            None => file.file.save(&content)?,
        }
        *saved = Some(changes);
        if let Some(journal) = &file.journal {
            journal.remove(&superseded);
        }
        Ok(())
    }

    /// Has a fresh epoch take over from one that holds much of what is forgotten.
    fn renew_journal(&self) {
        let Some(journal) = self.file.as_ref().and_then(|file| file.journal.as_ref()) else { return };
        if let Err(error) = journal.renew(|epoch, begin| self.switch_to(epoch, begin)) {
            tracing::warn!(%error, "the offset journal goes on as it is; the next saving tries again");
        }
    }
}

/// Replaces the file such that the journal knows it whichever moment the process dies at.
fn save_with(journal: &Journal, file: &ConfigFile, content: &[u8]) -> Result<(), FileError> {
    journal.saving(stamp_of(content));
    if !journal.is_alive() {
        return Ok(());
    }
    let saved = file.save(content);
    let found = match &saved {
        Ok(()) => None,
        Err(_) => Some(file.load().map_or(NO_FILE, |content| stamp_of(&content))),
    };
    journal.saved(found);
    saved
}

#[cfg(test)]
#[path = "save_tests.rs"]
mod tests;
