//! Who did what to a transaction by hand, and what was given up: one JSON object a line, never rewritten.

use std::{
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use parking_lot::Mutex;
use serde::Serialize;
use tenonmq_protocol::body::transaction_desk::{AuditEntry, AuditPage};
use tenonmq_storage::{
    Store,
    fs::{AppendFile, FileReader, FileSystem},
};

use super::check_log::folder;

/// Bytes of the file that one page looks at.
const LOOK: u64 = 1 << 20;
/// Entries on one page.
const PAGE: usize = 1000;

/// One line of `<root>/tenonmq/transaction-audit.jsonl`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditLine<'a> {
    /// Milliseconds since the epoch.
    pub(super) time: i64,
    /// Who asked for it; `broker` for what the broker did by itself, `producer` for verdicts of a client.
    pub(super) by: &'a str,
    /// Why, as they say.
    pub(super) reason: &'a str,
    /// What was done.
    pub(super) action: &'a str,
    pub(super) half_queue_offset: i64,
    pub(super) commit_log_offset: i64,
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    pub(super) unique_key: &'a str,
    pub(super) checks: u16,
    /// What came of it.
    pub(super) result: String,
}

/// The audit log.
pub(super) struct AuditLog {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    /// One at a time, so that lines of two writers do not mix.
    writing: Mutex<()>,
}

impl AuditLog {
    /// The log of a store. A line that a crash tore is closed, so that it spoils no other.
    pub(super) fn new(store: &Store) -> Self {
        let log = Self::at(Arc::clone(store.fs()), folder(store).join("transaction-audit.jsonl"));
        if let Err(error) = log.close_torn_line() {
            tracing::warn!(path = %log.path.display(), %error, "the end of the audit cannot be read");
        }
        log
    }

    fn at(fs: Arc<dyn FileSystem>, path: PathBuf) -> Self {
        Self { fs, path, writing: Mutex::default() }
    }

    /// Adds a line; a failure is logged with the line. What people gave a reason for is on the disk when this returns.
    pub(super) fn write(&self, line: &AuditLine<'_>) {
        if let Err(error) = self.try_write(line) {
            tracing::error!(path = %self.path.display(), %error, ?line, "audit line not written");
        }
    }

    /// Whether a line could be added now.
    pub(super) fn writable(&self) -> io::Result<()> {
        self.open().map(drop)
    }

    /// Entries from the byte `from` on that are wanted: those of a bounded part of the file.
    pub(super) fn read(&self, from: u64, is_wanted: impl Fn(&AuditEntry) -> bool) -> io::Result<AuditPage> {
        let mut page = AuditPage::default();
        let Some(end) = self.len()? else { return Ok(page) };
        let from = from.min(end);
        let block = self.block(from, LOOK)?;
        let mut at = from;
        // a line that begins before `from` is no line of this page
        let mut is_whole = from == 0 || self.byte_before(from)? == Some(b'\n');
        for line in block.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            if page.entries.len() == PAGE {
                break;
            }
            at += line.len() as u64;
            if std::mem::replace(&mut is_whole, true) {
                page.entries.extend(serde_json::from_slice(line).ok().filter(|entry| is_wanted(entry)));
            }
        }
        if at == from && block.len() as u64 == LOOK {
            at += LOOK; // no line is so long
        }
        let is_end = at >= end || (at == from && end - from < LOOK);
        page.next = if is_end { None } else { Some(at.cast_signed()) };
        Ok(page)
    }

    /// The newest entries that are wanted, oldest first: those of a bounded part of the file.
    pub(super) fn newest(&self, is_wanted: impl Fn(&AuditEntry) -> bool) -> io::Result<Vec<AuditEntry>> {
        let Some(length) = self.len()? else { return Ok(Vec::new()) };
        Ok(self.read(length.saturating_sub(LOOK), is_wanted)?.entries)
    }

    /// Length of the file, if there is one.
    fn len(&self) -> io::Result<Option<u64>> {
        match FileReader::open(&*self.fs, &self.path).and_then(|file| file.file_len()) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn block(&self, from: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut block = Vec::new();
        FileReader::open(&*self.fs, &self.path)?.from(from).take(length).read_to_end(&mut block)?;
        Ok(block)
    }

    fn byte_before(&self, at: u64) -> io::Result<Option<u8>> {
        let Some(before) = at.checked_sub(1) else { return Ok(None) };
        Ok(self.block(before, 1)?.first().copied())
    }

    fn try_write(&self, line: &AuditLine<'_>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let _one_at_a_time = self.writing.lock();
        let mut file = self.open()?;
        if line.reason.is_empty() { file.append(&text) } else { file.append_durably(&text) }
    }

    fn open(&self) -> io::Result<AppendFile> {
        AppendFile::open(&self.fs, &self.path)
    }

    fn close_torn_line(&self) -> io::Result<()> {
        let end = self.len()?.unwrap_or(0);
        match self.byte_before(end)? {
            Some(b'\n') | None => Ok(()),
            Some(_) => self.open()?.append(b"\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tenonmq_storage::fs::RealFs;

    use super::*;

    fn line(time: i64, reason: &str) -> AuditLine<'_> {
        AuditLine {
            time,
            by: "ann",
            reason,
            action: "commit",
            half_queue_offset: 7,
            commit_log_offset: 4711,
            group: "orders",
            topic: "paid",
            unique_key: "FD0001",
            checks: 3,
            result: "done".into(),
        }
    }

    fn all(log: &AuditLog) -> Vec<i64> {
        let (mut from, mut times) = (0, Vec::new());
        loop {
            let page = log.read(from, |_| true).unwrap();
            times.extend(page.entries.iter().map(|entry| entry.time));
            match page.next {
                Some(next) => from = next.cast_unsigned(),
                None => return times,
            }
        }
    }

    #[test]
    fn every_line_is_read_once_page_by_page() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::at(Arc::new(RealFs), folder.path().join("audit.jsonl"));
        assert!(all(&log).is_empty());
        let reason = "x".repeat(2000);
        let lines: Vec<u8> = (0..2500)
            .flat_map(|time| [serde_json::to_vec(&line(time, &reason)).unwrap(), b"\n".to_vec()].concat())
            .collect();
        std::fs::write(&log.path, lines).unwrap();
        assert_eq!(all(&log), (0..2500).collect::<Vec<_>>());
        let newest = log.newest(|entry| entry.time % 2 == 0).unwrap();
        assert_eq!(newest.last().map(|entry| (entry.time, entry.half_queue_offset)), Some((2498, 7)));
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::at(Arc::new(RealFs), folder.path().join("audit.jsonl"));
        log.try_write(&line(1, "")).unwrap();
        log.open().unwrap().append(b"{\"time\":2,\"by\":").unwrap();
        assert_eq!(all(&log), [1]);
        log.close_torn_line().unwrap();
        log.try_write(&line(3, "why")).unwrap();
        assert_eq!(all(&log), [1, 3]);
    }
}
