//! What can be measured about the store, as one snapshot.

use crate::watermark::Watermarks;

/// Numbers for metrics and admin answers. Counters start at zero with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// Offsets of the log.
    pub watermarks: Watermarks,
    /// Log offset up to which keys are indexed.
    pub indexed: u64,
    /// Commit-log files.
    pub segments: usize,
    /// Queues that exist.
    pub queues: usize,
    /// Records appended.
    pub appended_records: u64,
    /// Bytes appended.
    pub appended_bytes: u64,
    /// Appends refused.
    pub refused_appends: u64,
    /// Flushes of the commit log.
    pub flushes: u64,
    /// Time taken by the last one, in microseconds.
    pub last_flush_us: u64,
    /// Store time of the last record, in milliseconds since the Unix epoch; 0 for an empty log.
    pub last_store_timestamp: i64,
}
