//! Following the log: raw bytes from any offset, by reference, as they become visible.

use std::sync::Arc;

use bytes::Bytes;

use super::CommitLog;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::watermark::Mark;

/// Reads the log from an offset on, and keeps what it has not read yet from being removed.
///
/// For replication, tiering, and building the index. It returns bytes, not records: a chunk may end in the middle of one.
pub struct LogReader {
    log: Arc<CommitLog>,
    position: Arc<AtomicU64>,
    mark: Mark,
}

impl LogReader {
    pub(crate) fn new(log: Arc<CommitLog>, from: u64, mark: Mark) -> Self {
        let position = Arc::new(AtomicU64::new(from.max(log.min())));
        log.hold(&position);
        Self { log, position, mark }
    }

    /// Where the next chunk starts.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Moves to another offset; files before it may be removed from now on.
    pub fn seek(&mut self, offset: u64) {
        self.position.store(offset, Ordering::Release);
    }

    /// The next bytes, at most `max`, never across the end of a file. `None` when there is nothing new yet, or the position is outside
    /// the log.
    pub fn next(&mut self, max: usize) -> Option<Bytes> {
        let chunk = self.peek(max)?;
        self.position.fetch_add(chunk.len() as u64, Ordering::AcqRel);
        Some(chunk)
    }

    /// As [`next`](Self::next), but stays where it is.
    pub fn peek(&self, max: usize) -> Option<Bytes> {
        let from = self.position();
        let until = self.log.progress().at(self.mark);
        let segment = self.log.segment_at(from)?;
        let len = until.min(segment.end()).checked_sub(from)?.min(max as u64);
        if len == 0 { None } else { segment.bytes(from, usize::try_from(len).ok()?) }
    }

    /// Waits until there is something to read. False when waiting was given up: the store closed, was poisoned or cut.
    pub async fn wait(&self) -> bool {
        self.log.reached(self.mark, self.position() + 1, || self.log.is_shut()).await
    }
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader")
            .field("position", &self.position())
            .field("mark", &self.mark)
            .finish_non_exhaustive()
    }
}
