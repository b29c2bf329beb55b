//! How far the delay levels are delivered, on disk: `config/delayOffset.json`, as Apache writes and reads it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tenonmq_protocol::body::{DataVersion, DelayOffsets};
use tenonmq_storage::{ConfigFile, FileError, Store};

use super::{ends::Ends, levels::Delays};
use crate::core::{self, LoadError};

/// Name of the file below `config/`.
pub const FILE_NAME: &str = "delayOffset.json";

/// The file, and what it holds beside the offsets of our levels.
pub(super) struct OffsetFile {
    file: ConfigFile,
    /// Offsets of levels that are not configured any more.
    other: BTreeMap<i32, i64>,
    /// Deliveries since the start.
    delivered: AtomicU64,
    step: u64,
    written: Mutex<Written>,
}

/// Held while the file is written.
struct Written {
    version: DataVersion,
    /// Steps that the version has taken since the start.
    steps: u64,
    /// What the file holds.
    table: Option<BTreeMap<i32, i64>>,
    ends: Ends,
}

/// How far the levels were when that was saved last.
pub(super) struct Saved {
    /// Next offset by level.
    pub(super) offsets: BTreeMap<i32, i64>,
    /// Where the log ended then: what was delivered since lies behind it. `None` when that is not known.
    pub(super) log_end: Option<u64>,
}

impl OffsetFile {
    /// The file, and what it says.
    pub(super) fn load(store: &Store, step: u64) -> Result<(Self, Saved), LoadError> {
        let file = store.config_file(FILE_NAME);
        let stored: Option<DelayOffsets> = core::load_json(&file)?;
        let table = stored.as_ref().map(|stored| stored.offset_table.clone());
        let ends = Ends::load(store).map_err(LoadError::Disk)?;
        // an end that a log cut short does not reach was that of another log
        let log_end =
            ends.of(table.as_ref().unwrap_or(&BTreeMap::new())).filter(|end| *end <= store.watermarks().appended);
        let DelayOffsets { data_version, offset_table } = stored.unwrap_or_default();
        let levels = i32::try_from(store.config().delay_levels_ms.len()).unwrap_or(i32::MAX);
        let other = offset_table.iter().filter(|(level, _)| !(1..=levels).contains(*level));
        let file = Self {
            file,
            other: other.map(|(level, offset)| (*level, *offset)).collect(),
            delivered: AtomicU64::new(0),
            step: step.max(1),
            written: Mutex::new(Written { version: data_version, steps: 0, table, ends }),
        };
        Ok((file, Saved { offsets: offset_table, log_end }))
    }

    /// Counts a delivery.
    pub(super) fn note_delivery(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    fn version(&self, written: &mut Written, now_ms: i64) -> DataVersion {
        let steps = self.delivered.load(Ordering::Relaxed) / self.step;
        if steps > written.steps {
            let taken = i64::try_from(steps - written.steps).unwrap_or(i64::MAX);
            written.version.counter = written.version.counter.wrapping_add(taken);
            written.version.timestamp = now_ms;
            written.steps = steps;
        }
        written.version
    }
}

impl Delays {
    /// The next offset to deliver of every level that has ever had a message, in the shape of the file and of code 45.
    pub fn body(&self, now_ms: i64) -> DelayOffsets {
        let data_version = self.file.version(&mut self.file.written.lock(), now_ms);
        DelayOffsets { data_version, offset_table: self.offsets() }
    }

    /// Writes the file if a level has moved since the last time, after what was delivered is on the disk: a power cut that
    /// took a copy, but not that it was made, would lose the message. Blocks on the disk: not for a connection's task.
    ///
    /// # Errors
    /// The log cannot be flushed, or the file not be written; the next call tries again.
    pub fn save(&self, store: &Store, now_ms: i64) -> Result<(), FileError> {
        let mut written = self.file.written.lock();
        let table = self.offsets();
        if written.table.as_ref() == Some(&table) {
            return Ok(());
        }
        let log_end = store.watermarks().appended; // after the table: behind it lies nothing that the table counts
        store.flush()?;
        let Written { table: kept, ends, .. } = &mut *written;
        ends.note(kept.as_ref(), &table, log_end)?;
        let data_version = self.file.version(&mut written, now_ms);
        let body = DelayOffsets { data_version, offset_table: table };
        core::save_json(&self.file.file, &body)?;
        written.table = Some(body.offset_table);
        Ok(())
    }

    fn offsets(&self) -> BTreeMap<i32, i64> {
        let used = self.levels.iter().zip(1..).filter(|(level, _)| level.queue.max_offset() > 0);
        let mut table: BTreeMap<_, _> = used.map(|(level, n)| (n, level.next.load(Ordering::Acquire))).collect();
        table.extend(&self.file.other);
        table
    }
}
