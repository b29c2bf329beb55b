//! Where the log ended when it was read how far the levels are: `<root>/tenonmq/delay-ends`.
//!
//! `delayOffset.json` says which messages were delivered, not where their copies are. With the end of the log at that moment
//! it is known: the copies of what comes behind lie behind that end, and those of what comes before lie before it. So a search
//! after a crash cannot take one for the other.
//!
//! Invariant: the file is written before `delayOffset.json` is, and keeps what belongs to the content that is replaced. So
//! whatever a crash leaves of the two, the table that is read is found here. What does not fit a table of
//! `delayOffset.json`, as after a run of Apache's broker, says nothing. The file may be removed at any time.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use tenonmq_storage::{
    FileError, Store,
    fs::{FileSystem, read_if_there, replace},
};

/// Offset of the next message to deliver, by level.
type Table = BTreeMap<i32, i64>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Moment {
    offsets: Table,
    log_end: u64,
}

/// What the file holds.
pub(super) struct Ends {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    moments: Vec<Moment>,
}

impl Ends {
    /// Reads the file. One that makes no sense is none.
    ///
    /// # Errors
    /// The disk does not give it.
    pub(super) fn load(store: &Store) -> Result<Self, FileError> {
        let path = store.root().join("tenonmq").join("delay-ends");
        let content = read_if_there(&**store.fs(), &path).map_err(FileError::of("read", &path))?;
        let moments = content.and_then(|content| serde_json::from_slice(&content).ok()).unwrap_or_default();
        Ok(Self { fs: Arc::clone(store.fs()), path, moments })
    }

    /// Where the log ended when the levels stood there, as far as that is known.
    pub(super) fn of(&self, offsets: &Table) -> Option<u64> {
        self.moments.iter().find(|moment| moment.offsets == *offsets).map(|moment| moment.log_end)
    }

    /// Writes down that the log ended at `log_end` after `offsets` were read. `kept` is what `delayOffset.json` holds.
    ///
    /// # Errors
    /// The disk refused.
    pub(super) fn note(&mut self, kept: Option<&Table>, offsets: &Table, log_end: u64) -> Result<(), FileError> {
        let mut moments = self.moments.clone();
        moments.retain(|moment| Some(&moment.offsets) == kept);
        moments.push(Moment { offsets: offsets.clone(), log_end });
        let failed = FileError::of("write", &self.path);
        let content = serde_json::to_vec(&moments).map_err(|error| failed(error.into()))?;
        if let Some(folder) = self.path.parent() {
            self.fs.create_dir_all(folder).map_err(FileError::of("create", folder))?;
        }
        replace(&*self.fs, &self.path, &content).map_err(FileError::of("write", &self.path))?;
        self.moments = moments;
        Ok(())
    }
}
