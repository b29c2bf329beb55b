//! Why offsets went anywhere but forward: commits of older values, resets, clones, deletions, and what was taken back.
//!
//! Every such move is an entry of an append-only file below `<root>/tenonmq`; it can be listed, and undone by another
//! entry. Invariant: whoever moves an offset backward or away, other than [`Offsets`] itself while a start
//! reads its files, calls [`History::moved`] or [`History::backward`].

mod backward;
mod file;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
pub mod undo;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tenonmq_protocol::body::offset_desk::{ListMoves, MoveList, OffsetMove, OffsetStep};
use tenonmq_storage::{FileError, fs::FileSystem};

use self::{
    backward::{Backward, Step},
    file::Lines,
};
use super::Offsets;

/// Entries of one page at most.
const PAGE: u32 = 1000;
const USUAL_PAGE: u32 = 100;

/// What was done to a group's offsets in a topic.
#[derive(Debug, Clone, Copy)]
pub struct Moved<'a> {
    /// `reset`, `clone`, `delete-group`, `delete-topic`, `bring-back` or `undo`.
    pub action: &'a str,
    /// Who asked for it.
    pub by: &'a str,
    /// The group.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The entry that it takes back.
    pub undoes: Option<u64>,
}

/// The history of one data directory.
pub struct History {
    lines: Lines,
    backward: Mutex<Backward>,
    backward_total: AtomicU64,
}

impl History {
    /// The history in a folder; each of its two files holds at most `limit` bytes.
    ///
    /// # Errors
    /// The folder cannot be made, or what is in it cannot be read.
    pub fn open(fs: Arc<dyn FileSystem>, folder: &Path, limit: u64) -> Result<Self, FileError> {
        let lines = Lines::open(fs, folder, limit)?;
        Ok(Self { lines, backward: Mutex::default(), backward_total: AtomicU64::new(0) })
    }

    /// Records a move; the entry with its number. Writes a file.
    pub fn moved(&self, moved: &Moved<'_>, queues: Vec<OffsetStep>, now_ms: i64) -> OffsetMove {
        self.lines.write(OffsetMove {
            action: moved.action.to_owned(),
            by: moved.by.to_owned(),
            group: moved.group.to_owned(),
            topic: moved.topic.to_owned(),
            reason: moved.reason.to_owned(),
            undoes: moved.undoes,
            queues,
            time: now_ms,
            times: 1,
            id: 0,
        })
    }

    /// Notes a commit of an older value. Seldom writes a file; `by` is asked seldom.
    pub fn backward(
        &self,
        (group, topic, queue_id): (&str, &str, i32),
        (from, to): (i64, i64),
        now_ms: i64,
        by: impl FnOnce() -> String,
    ) {
        self.backward_total.fetch_add(1, Ordering::Relaxed);
        let at_once = self.backward.lock().note(Step { group, topic, queue_id, from, to }, now_ms, by);
        if let Some(entry) = at_once {
            tracing::info!(group, topic, queue_id, from, to, by = entry.by, "a consumer offset goes backward");
            self.lines.write(entry);
        }
    }

    /// Writes what was gathered of commits of older values. Blocking.
    pub fn write_gathered(&self, now_ms: i64) {
        let gathered = self.backward.lock().gather(now_ms);
        for entry in gathered {
            self.lines.write(entry);
        }
    }

    /// Commits of older values since the start.
    pub fn backward_commits(&self) -> u64 {
        self.backward_total.load(Ordering::Relaxed)
    }

    /// A page of the history, newest first. Reads files.
    pub fn list(&self, asked: &ListMoves) -> MoveList {
        let wanted = |entry: &OffsetMove| {
            asked.before.is_none_or(|before| entry.id < before)
                && asked.group.as_ref().is_none_or(|group| *group == entry.group)
                && asked.topic.as_ref().is_none_or(|topic| *topic == entry.topic)
        };
        let limit = asked.limit.unwrap_or(USUAL_PAGE).min(PAGE) as usize;
        let moves = self.lines.newest_first(wanted).take(limit).collect();
        MoveList { backward_commits: self.backward_commits(), moves }
    }

    /// The entry of that number. Reads files.
    pub fn find(&self, id: u64) -> Option<OffsetMove> {
        self.lines.newest_first(|entry| entry.id == id).next()
    }

    /// The entry that took another one back. Reads files.
    pub fn undone_by(&self, id: u64) -> Option<OffsetMove> {
        self.lines.newest_first(|entry| entry.undoes == Some(id)).next()
    }
}

/// What taking a group's offsets in a topic away means, queue by queue.
pub fn taken_away(offsets: &Offsets, group: &str, topic: &str) -> Vec<OffsetStep> {
    let stored = offsets.of_topic(group, topic).into_iter();
    stored.map(|(queue_id, offset)| OffsetStep { from: Some(offset), queue_id, to: None }).collect()
}
