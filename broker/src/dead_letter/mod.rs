//! Dead letters: what lies in the `%DLQ%` topics, and sending it again.
//!
//! [`view`] lists groups and shows letters. A redrive job sends letters again: to the retry topic of the group that gave
//! them up, to the topic they came from, or to another one. [`service`] begins and steers jobs, `batch` sends a few
//! letters at a time, [`runner`] gives every job its turns, `journal` keeps on disk what became of each letter, and
//! `recognise` finds after a crash what was sent and not noted yet.
//!
//! Everything is in `<root>/tenonmq/redrive/`: one `ID.jsonl` a job, and `sent.log` with the letters that were sent again,
//! by their log offsets, so that a second job does not send them twice. A dead letter itself never changes.
//!
//! Invariant: a letter counts as sent when its copy is on disk, and only then; the copy is flushed before the journal says
//! so. A copy carries the job and the letter it came from, so a crash in between is seen in the log and repeats nothing.
//!
//! A message that was sent again too often and came back (`deadLetterRedrivesMax`) is in quarantine: it is told apart by
//! the count that it carries, and only a job that is told to force it sends it.

mod batch;
mod job;
mod journal;
mod letter;
mod recognise;
pub mod runner;
mod sent;
pub mod service;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod thread_tests;
pub mod view;

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use tenonmq_storage::Store;
use tokio::sync::Notify;

pub use runner::keep_redriving;

use self::{job::Job, sent::SentAgain};

/// Redrive jobs, and which letters were sent again.
pub struct DeadLetters {
    folder: PathBuf,
    jobs: Mutex<BTreeMap<i64, Arc<Job>>>,
    sent: Mutex<SentAgain>,
    /// Wakes the runner before its time.
    wake: Notify,
}

/// A file of redrive jobs that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", .path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

impl DeadLetters {
    /// Reads what former runs left. A job whose file makes no sense is left out, and the log says so. Blocking.
    ///
    /// # Errors
    /// The folder or the list of sent letters cannot be read: without it letters would be sent twice.
    pub fn open(store: &Store) -> Result<Self, OpenError> {
        let folder = store.root().join("tenonmq").join("redrive");
        let failed = |path: PathBuf| move |source| OpenError { path, source };
        let path = folder.join("sent.log");
        let sent = SentAgain::load(path.clone(), store).map_err(failed(path))?;
        let jobs = journal::load_all(store.fs(), &folder).map_err(failed(folder.clone()))?;
        Ok(Self { folder, jobs: Mutex::new(jobs), sent: Mutex::new(sent), wake: Notify::new() })
    }

    fn job(&self, id: i64) -> Option<Arc<Job>> {
        self.jobs.lock().get(&id).cloned()
    }

    /// Every job, oldest first.
    fn all(&self) -> Vec<Arc<Job>> {
        self.jobs.lock().values().cloned().collect()
    }

    /// Whether a redrive job has sent the letter at this log offset.
    fn is_sent(&self, group: &str, log_offset: u64) -> bool {
        self.sent.lock().contains(group, log_offset)
    }
}
