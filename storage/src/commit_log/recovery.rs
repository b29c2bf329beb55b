//! Finding the end of the log again.
//!
//! After a clean stop the queues say where the log ended. After a crash the walk starts at a record that is known to be
//! in order ([`Start`]), checks every record behind it, enters each into its queue through the one dispatch path, and
//! ends at the first thing that is no record. What lies behind that is a torn tail: it is zeroed, durably, because a stale
//! record of equal length behind the new end would line up again and pass its checksum.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenonmq_protocol::message::record::PropertiesCrc;
use tenonmq_protocol::message::{LogItem, RecordError, RecordView, TransactionType};

use super::{Segment, SegmentFiles};
use crate::error::{FileError, OpenError};
use crate::mmap::LogWriter;

/// Time between two lines about progress in the log.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Where the walk starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At a record that must be there; if it is not, as `otherwise` says.
    At {
        offset: u64,
        record_len: u32,
        /// Store time for [`Start::Before`], or `None` to start at the file that holds `offset`.
        otherwise: Option<i64>,
    },
    /// At the newest file whose first record was stored at or before this time, in milliseconds.
    Before(i64),
    /// At the first file.
    First,
}

impl Start {
    /// The log offset at which it is.
    pub(crate) fn offset(self, loaded: &[(u64, LogWriter)], checks: Checks) -> u64 {
        let (first, position) = locate(loaded, self, checks);
        loaded.get(first).map_or(0, |(base, _)| base + position as u64)
    }
}

/// What makes a record count besides its structure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checks {
    /// The checksum of its body.
    pub(crate) body: bool,
    /// The checksum of all of it, which must be there.
    pub(crate) record: bool,
}

impl Checks {
    fn verify(self, record: &RecordView<'_>) -> Result<(), RecordError> {
        if self.record && record.properties_crc() != PropertiesCrc::Good {
            return Err(RecordError::BodyCrc { stored: record.body_crc(), computed: 0 });
        }
        // no checksum covers these: what was not written reads as zero
        if record.properties_bytes().last() == Some(&0) {
            return Err(RecordError::Unwritten);
        }
        if self.body { record.verify_crc() } else { Ok(()) }
    }
}

/// A committed message met while walking: its op record may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitSeen {
    /// Log offset of its half message.
    pub prepared_offset: i64,
    /// Its own log offset.
    pub physical_offset: u64,
}

/// What opening the store found and did.
#[derive(Debug, Clone, Default)]
pub struct RecoveryReport {
    /// Whether the last run ended with a clean stop.
    pub clean: bool,
    /// Whether the machine may have died in the last run, and taken what was not synced.
    pub machine_died: bool,
    /// Log offset at which the walk started.
    pub started_at: u64,
    /// Bytes of log walked over.
    pub scanned_bytes: u64,
    /// Records among them.
    pub records: u64,
    /// End of the log, when something behind it was cut off.
    pub cut_at: Option<u64>,
    /// End of the log.
    pub end: u64,
    /// Time taken by all of opening.
    pub elapsed: Duration,
    /// Records of committed messages met while walking.
    pub commits: Vec<CommitSeen>,
}

/// The log as recovery leaves it.
pub(crate) struct RecoveredLog {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) tail: Option<LogWriter>,
    pub(crate) end: u64,
    pub(crate) last_timestamp: i64,
    /// Start of the last record met, if any.
    pub(crate) last_record: Option<u64>,
    /// Up to here it is on disk: what a killed process wrote behind that may be in memory only.
    pub(crate) durable: u64,
}

/// Walks the log from `start`, gives every record to `dispatch`, and leaves the segments ready for appending. What was
/// stored at or before `durable`, in milliseconds, is on disk.
pub(crate) fn recover(
    files: &SegmentFiles,
    loaded: Vec<(u64, LogWriter)>,
    start: Start,
    checks: Checks,
    durable: i64,
    report: &mut RecoveryReport,
    mut dispatch: impl FnMut(&RecordView<'_>, u64) -> Result<(), FileError>,
) -> Result<RecoveredLog, OpenError> {
    let mut walk = Walk { checks, report, last_report: Instant::now(), last_timestamp: 0, last_record: None };
    let (first, position) = locate(&loaded, start, checks);
    walk.report.started_at = loaded.get(first).map_or(0, |(base, _)| base + position as u64);
    let mut end = None;
    for (n, (base, writer)) in loaded.iter().enumerate().skip(first) {
        let from = if n == first { position } else { 0 };
        let stopped = walk.segment(*base, writer.all(), from, &mut dispatch)?;
        match stopped {
            Stopped::Blank { at } => end = Some((n, at, false)),
            Stopped::End { at } => {
                // An empty file behind a closed one: the log goes on in it.
                end = Some((n, at, false));
                break;
            }
            Stopped::Torn { at, why } => {
                tracing::warn!(offset = base + at as u64, %why, "the log ends in the middle of a record");
                end = Some((n, at, true));
                break;
            }
        }
    }
    let (last_timestamp, last_record) = (walk.last_timestamp, walk.last_record);
    let clean = report.clean;
    let synced = loaded.get(newest_before(&loaded, durable)).map_or(0, |(base, _)| *base);
    let mut log = settle(files, loaded, end, clean, report)?;
    log.last_timestamp = last_timestamp;
    log.last_record = last_record;
    log.durable = if clean { log.end } else { synced.min(log.end) };
    Ok(log)
}

/// Removes what is behind the end, zeroes the torn tail, and publishes the rest.
fn settle(
    files: &SegmentFiles,
    loaded: Vec<(u64, LogWriter)>,
    end: Option<(usize, usize, bool)>,
    clean: bool,
    report: &mut RecoveryReport,
) -> Result<RecoveredLog, OpenError> {
    let mut log =
        RecoveredLog { segments: Vec::new(), tail: None, end: 0, last_timestamp: 0, last_record: None, durable: 0 };
    let Some((last, at, torn)) = end else { return Ok(log) };
    if torn {
        report.cut_at = loaded.get(last).map(|(base, _)| base + at as u64);
    }
    for (n, (base, mut writer)) in loaded.into_iter().enumerate() {
        if n > last {
            let unused = writer.all().iter().take(8).all(|&byte| byte == 0);
            if !unused {
                tracing::warn!(path = %writer.log().path().display(), "removing a commit-log file behind the end of the log");
                report.cut_at = Some(log.end);
            }
            files.remove(writer.log().path())?;
            continue;
        }
        if n < last {
            writer.publish(writer.log().len());
            log.segments.push(Arc::new(Segment { base, log: writer.seal() }));
            continue;
        }
        writer.publish(at);
        let path = writer.log().path().to_owned();
        if torn || !clean {
            writer.clear_rest(files.fs()).map_err(FileError::of("zero the end of", &path))?;
        } else {
            writer.reserve_rest(files.fs()).map_err(FileError::of("preallocate", &path))?;
        }
        log.end = base + at as u64;
        log.segments.push(Arc::new(Segment { base, log: Arc::clone(writer.log()) }));
        log.tail = Some(writer);
    }
    report.end = log.end;
    Ok(log)
}

/// Number of the file and position in it at which to start.
fn locate(loaded: &[(u64, LogWriter)], start: Start, checks: Checks) -> (usize, usize) {
    match start {
        Start::First => (0, 0),
        Start::Before(timestamp) => (newest_before(loaded, timestamp), 0),
        Start::At { offset, record_len, otherwise } => {
            let n = loaded.iter().rposition(|(base, _)| *base <= offset).unwrap_or(0);
            let Some((base, writer)) = loaded.get(n) else { return (0, 0) };
            let position = usize::try_from(offset.saturating_sub(*base)).unwrap_or(usize::MAX);
            match writer.all().get(position..) {
                Some(rest) if plausible(rest, record_len, checks) => (n, position),
                _ => match otherwise {
                    Some(timestamp) => (newest_before(loaded, timestamp), 0),
                    None => (n, 0),
                },
            }
        }
    }
}

/// Whether the record that a queue speaks of is here.
fn plausible(rest: &[u8], record_len: u32, checks: Checks) -> bool {
    RecordView::parse(rest).is_ok_and(|record| record.len() == record_len as usize && checks.verify(&record).is_ok())
}

fn newest_before(loaded: &[(u64, LogWriter)], timestamp: i64) -> usize {
    let stored_before = |writer: &LogWriter| {
        RecordView::parse(writer.all())
            .is_ok_and(|record| record.store_timestamp() != 0 && record.store_timestamp() <= timestamp)
    };
    loaded.iter().rposition(|(_, writer)| stored_before(writer)).unwrap_or(0)
}

/// Why the walk over one file ended, and where in it.
enum Stopped {
    Blank { at: usize },
    End { at: usize },
    Torn { at: usize, why: RecordError },
}

struct Walk<'a> {
    checks: Checks,
    report: &'a mut RecoveryReport,
    last_report: Instant,
    last_timestamp: i64,
    last_record: Option<u64>,
}

impl Walk<'_> {
    fn segment(
        &mut self,
        base: u64,
        bytes: &[u8],
        from: usize,
        dispatch: &mut impl FnMut(&RecordView<'_>, u64) -> Result<(), FileError>,
    ) -> Result<Stopped, OpenError> {
        let mut at = from;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let record = match LogItem::parse(rest) {
                Ok(LogItem::Record(record)) => record,
                Ok(LogItem::Blank { .. }) => return Ok(Stopped::Blank { at }),
                Ok(LogItem::End) => return Ok(Stopped::End { at }),
                Err(RecordError::TopicNotUtf8) => {
                    // Apache reads such a topic with replacement characters and goes on. Nothing can be entered for it.
                    tracing::warn!(offset = base + at as u64, "skipping a record whose topic is not UTF-8");
                    at += total_size(rest);
                    continue;
                }
                Err(why) => return Ok(Stopped::Torn { at, why }),
            };
            if let Err(why) = self.checks.verify(&record) {
                return Ok(Stopped::Torn { at, why });
            }
            let offset = base + at as u64;
            dispatch(&record, offset)?;
            self.seen(&record, offset);
            at += record.len();
        }
    }

    fn seen(&mut self, record: &RecordView<'_>, offset: u64) {
        self.last_timestamp = self.last_timestamp.max(record.store_timestamp());
        self.last_record = Some(offset);
        self.report.records += 1;
        self.report.scanned_bytes += record.len() as u64;
        if record.sys_flag().transaction() == TransactionType::Commit {
            let prepared_offset = record.prepared_transaction_offset();
            self.report.commits.push(CommitSeen { prepared_offset, physical_offset: offset });
        }
        if self.last_report.elapsed() >= REPORT_EVERY {
            self.last_report = Instant::now();
            tracing::info!(
                offset,
                records = self.report.records,
                bytes = self.report.scanned_bytes,
                "recovering the log"
            );
        }
    }
}

/// The length field of a record whose structure was found in order.
fn total_size(rest: &[u8]) -> usize {
    let size = rest.first_chunk().map_or(0, |size| i32::from_be_bytes(*size));
    usize::try_from(size).unwrap_or(0).max(8)
}
