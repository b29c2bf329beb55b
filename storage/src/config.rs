//! What an operator can set about the data directory.
//!
//! Names are ours, defaults are Apache's; each field says its upstream key. Values are taken as given: the
//! broker's loader clamps and warns, [`StoreConfig::check`] refuses what cannot work at all.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// When bytes of the commit log become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushPolicy {
    /// On a period (`flushDiskType=ASYNC_FLUSH`); a send is answered before.
    Async {
        /// Time between two flushes (`flushIntervalCommitLog`).
        interval: Duration,
        /// Pages of 4096 bytes that must be dirty for a flush (`flushCommitLogLeastPages`).
        least_pages: u32,
        /// Time after which fewer pages are flushed too (`flushCommitLogThoroughInterval`).
        thorough_interval: Duration,
    },
    /// Before a send is answered (`flushDiskType=SYNC_FLUSH`), one `fdatasync` for all that wait.
    Sync,
}

impl Default for FlushPolicy {
    fn default() -> Self {
        Self::Async { interval: Duration::from_millis(500), least_pages: 4, thorough_interval: Duration::from_secs(10) }
    }
}

/// When old files are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Age of the last write after which a file may go (`fileReservedTime`, hours). Default 72 h.
    pub reserved_time: Duration,
    /// Hours of the local day, 0 to 23, in which files past that age are removed (`deleteWhen`). Default 4.
    pub delete_hours: Vec<u8>,
    /// Used percent of the partition above which files past that age are removed at any hour
    /// (`diskMaxUsedSpaceRatio`). Default 75.
    pub max_used_percent: u8,
    /// Used percent above which files are removed whatever their age (`diskSpaceCleanForciblyRatio`). Default 85.
    pub force_clean_percent: u8,
    /// Used percent above which ordinary sends are refused (`diskSpaceWarningLevelRatio`). Default 90.
    pub refuse_percent: u8,
    /// Whether files may be removed whatever their age at all (`cleanFileForciblyEnable`). Default true.
    pub force_clean: bool,
    /// Time between two looks (`cleanResourceInterval`). Default 10 s.
    pub interval: Duration,
    /// Commit-log files removed in one look at most (`deleteFileBatchMax`). Default 10.
    pub batch: usize,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            reserved_time: Duration::from_secs(72 * 3600),
            delete_hours: vec![4],
            max_used_percent: 75,
            force_clean_percent: 85,
            refuse_percent: 90,
            force_clean: true,
            interval: Duration::from_secs(10),
            batch: 10,
        }
    }
}

/// Settings of a [`Store`](crate::Store).
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The data directory (`storePathRootDir`). Created if missing.
    pub root: PathBuf,
    /// Directories of the commit log (`storePathCommitLog`); empty means `commitlog` below the root. With more
    /// than one, file number n goes to number n modulo count of the sorted directories.
    pub commit_log_dirs: Vec<PathBuf>,
    /// Length of a commit-log file in bytes (`mappedFileSizeCommitLog`). Default 1 GiB.
    pub segment_size: u64,
    /// Length of a consume-queue file in bytes (`mappedFileSizeConsumeQueue`), rounded up to entries of 20.
    pub consume_queue_file_size: u64,
    /// Length of a batch-consume-queue file in bytes (`mapperFileSizeBatchConsumeQueue`), rounded up to entries of 46.
    pub batch_consume_queue_file_size: u64,
    /// Length of a consume-queue extension file in bytes (`mappedFileSizeConsumeQueueExt`).
    pub consume_queue_ext_file_size: u64,
    /// Whether entries get a unit in an extension file that holds tags code and store time (`enableConsumeQueueExt`). Default false.
    pub consume_queue_ext: bool,
    /// Whether keys are indexed (`messageIndexEnable`). Default true.
    pub index_enabled: bool,
    /// Hash slots of an index file (`maxHashSlotNum`). Default 5,000,000.
    pub index_slots: u32,
    /// Entries of an index file (`maxIndexNum`), one of which stays unused. Default 20,000,000.
    pub index_entries: u32,
    /// Longest body in bytes (`maxMessageSize`). A record may be 64 KiB longer. Default 4 MiB.
    pub max_message_size: usize,
    /// When the commit log becomes durable.
    pub flush: FlushPolicy,
    /// Time between two flushes of the consume queues (`flushIntervalConsumeQueue`). Default 1 s.
    pub consume_queue_flush_interval: Duration,
    /// Time between two checkpoints; recovery after a crash walks what came after the last. Default 1 s.
    pub checkpoint_interval: Duration,
    /// When old files go.
    pub retention: RetentionConfig,
    /// Whether recovery checks body checksums (`checkCRCOnRecover`). Default true.
    pub check_crc: bool,
    /// Whether each record gets a checksum over all of it, besides that over its body (`enabledAppendPropCRC`). Default false.
    pub record_crc: bool,
    /// Whether recovery goes by that checksum and takes a record without one for damaged (`forceVerifyPropCRC`). Default false.
    pub verify_record_crc: bool,
    /// Whether checksums and places of records are compared whenever one is read, not only at recovery (`verifyRecordsOnRead`).
    /// What does not hold is treated as gone. Default false.
    pub verify_reads: bool,
    /// Bytes set aside on disk for commits, rollbacks and offsets when the disk is full. Default 8 MiB.
    pub reserve_bytes: u64,
    /// Delay of level n in milliseconds at position n - 1 (`messageDelayLevel`).
    pub delay_levels_ms: Vec<i64>,
    /// Topics whose queues are batch consume queues (attribute `queue.type=BatchCQ`), known before the store opens.
    pub batch_topics: HashSet<String>,
    /// Light queues that may exist (`maxLmqConsumeQueueNum`). Default 0: there are none (`enableLmq` with `enableMultiDispatch`).
    pub light_queues: usize,
}

impl StoreConfig {
    /// Apache's defaults over the data directory `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            commit_log_dirs: Vec::new(),
            segment_size: 1 << 30,
            consume_queue_file_size: 300_000 * 20,
            batch_consume_queue_file_size: 300_000 * 46,
            consume_queue_ext_file_size: 48 << 20,
            consume_queue_ext: false,
            index_enabled: true,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            max_message_size: 4 << 20,
            flush: FlushPolicy::default(),
            consume_queue_flush_interval: Duration::from_secs(1),
            checkpoint_interval: Duration::from_secs(1),
            retention: RetentionConfig::default(),
            check_crc: true,
            record_crc: false,
            verify_record_crc: false,
            verify_reads: false,
            reserve_bytes: 8 << 20,
            delay_levels_ms: default_delay_levels(),
            batch_topics: HashSet::new(),
            light_queues: 0,
        }
    }

    /// Longest record in bytes: the longest body and 64 KiB for the rest.
    pub fn max_record(&self) -> usize {
        self.max_message_size.saturating_add(64 << 10)
    }

    /// Directories of the commit log, sorted as files are spread over them.
    pub fn commit_log_dirs(&self) -> Vec<PathBuf> {
        if self.commit_log_dirs.is_empty() {
            return vec![self.root.join("commitlog")];
        }
        let mut dirs = self.commit_log_dirs.clone();
        dirs.sort();
        dirs
    }

    /// Refuses what no store can be opened with, naming the upstream key.
    pub fn check(&self) -> Result<(), String> {
        if self.segment_size < 4096 || self.segment_size > i32::MAX as u64 {
            return Err(format!("mappedFileSizeCommitLog must be 4096 to 2147483647, not {}", self.segment_size));
        }
        if self.consume_queue_file_size < 20 {
            return Err(format!(
                "mappedFileSizeConsumeQueue must be at least 20, not {}",
                self.consume_queue_file_size
            ));
        }
        if self.index_slots == 0 || self.index_entries < 2 {
            return Err("maxHashSlotNum must be at least 1 and maxIndexNum at least 2".to_owned());
        }
        Ok(())
    }
}

/// `1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h`, Apache's `messageDelayLevel`.
fn default_delay_levels() -> Vec<i64> {
    const SECONDS: [i64; 18] = [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
    SECONDS.iter().map(|seconds| seconds * 1000).collect()
}
