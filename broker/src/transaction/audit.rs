//! Who did what to a transaction by hand, and what was given up: one JSON object a line, never rewritten.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
};

use serde::Serialize;
use tenonmq_storage::Store;

use super::check_log::folder;

/// One line of `<root>/tenonmq/transaction-audit.jsonl`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditLine<'a> {
    /// Milliseconds since the epoch.
    pub(super) time: i64,
    /// Who asked for it; `broker` for what the broker did by itself.
    pub(super) by: &'a str,
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
    path: PathBuf,
}

impl AuditLog {
    pub(super) fn new(store: &Store) -> Self {
        Self { path: folder(store).join("transaction-audit.jsonl") }
    }

    /// Adds a line. One write, so that lines of two writers do not mix; a failure is logged with the line.
    pub(super) fn write(&self, line: &AuditLine<'_>) {
        if let Err(error) = self.try_write(line) {
            tracing::error!(path = %self.path.display(), %error, ?line, "audit line not written");
        }
    }

    fn try_write(&self, line: &AuditLine<'_>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(&text)
    }
}
