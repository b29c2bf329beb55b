//! The keys of the data directory as the storage crate wants them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tenonmq_storage::{FlushPolicy, RetentionConfig, StoreConfig};

use super::read::Reader;
use super::values::ConfigError;

type Result<T> = std::result::Result<T, ConfigError>;

/// Bytes that upstream's 32-bit size keys can hold.
const MOST: u64 = i32::MAX as u64;

pub(super) fn store(read: &Reader<'_>, root: &Path, delay_levels: &[Duration]) -> Result<StoreConfig> {
    let paths = read.text("storePathCommitLog");
    let store = StoreConfig {
        commit_log_dirs: paths.split(',').map(str::trim).filter(|path| !path.is_empty()).map(PathBuf::from).collect(),
        segment_size: read.number("mappedFileSizeCommitLog", 4_096..=MOST)?,
        consume_queue_file_size: read.number("mappedFileSizeConsumeQueue", 20..=MOST)?,
        batch_consume_queue_file_size: read.number("mapperFileSizeBatchConsumeQueue", 46..=MOST)?,
        consume_queue_ext_file_size: read.number("mappedFileSizeConsumeQueueExt", 1_024..=MOST)?,
        consume_queue_ext: read.flag("enableConsumeQueueExt")?,
        index_enabled: read.flag("messageIndexEnable")?,
        index_slots: read.number("maxHashSlotNum", 1..=i32::MAX as u32)?,
        index_entries: read.number("maxIndexNum", 2..=i32::MAX as u32)?,
        max_message_size: read.number("maxMessageSize", 1..=MOST as usize)?,
        flush: flush(read)?,
        consume_queue_flush_interval: read.millis("flushIntervalConsumeQueue", 1)?,
        retention: retention(read)?,
        check_crc: read.flag("checkCRCOnRecover")?,
        record_crc: read.flag("enabledAppendPropCRC")?,
        verify_record_crc: read.flag("forceVerifyPropCRC")?,
        verify_reads: read.flag("verifyRecordsOnRead")?,
        light_queues: light_queues(read)?,
        delay_levels_ms: delay_levels.iter().map(|delay| delay.as_millis() as i64).collect(),
        ..StoreConfig::new(root)
    };
    store.check().map_err(ConfigError::Conflict)?;
    Ok(store)
}

/// Apache assigns offsets with the first key, and fills the queues with the second as well.
fn light_queues(read: &Reader<'_>) -> Result<usize> {
    let most = read.number("maxLmqConsumeQueueNum", 1..=10_000_000)?;
    Ok(if read.flag("enableLmq")? && read.flag("enableMultiDispatch")? { most } else { 0 })
}

fn flush(read: &Reader<'_>) -> Result<FlushPolicy> {
    let asynchronous = FlushPolicy::Async {
        interval: read.millis("flushIntervalCommitLog", 1)?,
        least_pages: read.number("flushCommitLogLeastPages", 0..=i32::MAX as u32)?,
        thorough_interval: read.millis("flushCommitLogThoroughInterval", 1)?,
    };
    Ok(match read.choice("flushDiskType")? {
        "SYNC_FLUSH" => FlushPolicy::Sync,
        _ => asynchronous,
    })
}

fn retention(read: &Reader<'_>) -> Result<RetentionConfig> {
    let percent = |name| read.number::<u8>(name, 1..=100);
    let hours: u64 = read.number("fileReservedTime", 0..=u64::from(u32::MAX))?;
    Ok(RetentionConfig {
        reserved_time: Duration::from_secs(hours * 3_600),
        delete_hours: delete_hours(read)?,
        // Upstream's bounds: outside of them it would never delete, or always.
        max_used_percent: percent("diskMaxUsedSpaceRatio")?.clamp(10, 95),
        force_clean_percent: percent("diskSpaceCleanForciblyRatio")?,
        refuse_percent: percent("diskSpaceWarningLevelRatio")?,
        force_clean: read.flag("cleanFileForciblyEnable")?,
        interval: read.millis("cleanResourceInterval", 1)?,
        batch: read.number("deleteFileBatchMax", 1..=100_000)?,
    })
}

/// `04` or `04;16`: hours of the local day.
fn delete_hours(read: &Reader<'_>) -> Result<Vec<u8>> {
    let text = read.text("deleteWhen");
    let hours = text.split(';').map(str::trim).filter(|hour| !hour.is_empty());
    hours
        .map(|hour| hour.parse().ok().filter(|hour| *hour < 24))
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| read.bad("deleteWhen", "use hours of the day from 00 to 23, several separated by ;"))
}
