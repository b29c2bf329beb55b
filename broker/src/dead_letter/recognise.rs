//! After a crash: which copies are in the log and not in the journal.

use tenonmq_protocol::message::{
    RecordView,
    properties::{find, names as property},
};

use super::job::{Copied, Recognised};
use crate::core::Core;

/// Log that is looked at for one job. A job notes what it did several times a second, so this is far more than a crash
/// leaves.
const MOST: u64 = 4 << 30;

/// Copies that the job has sent, from a log offset on.
pub(super) fn sent_before(core: &Core, job: i64, from: u64) -> Recognised {
    let mut found = Recognised::default();
    let end = core.store.watermarks().appended;
    let segment = core.store.config().segment_size.max(1);
    if end.saturating_sub(from) > MOST {
        tracing::warn!(job, from, end, "too much log to look for what was sent before a crash; some may be sent twice");
    }
    let end = end.min(from.saturating_add(MOST));
    let mut at = from;
    while at < end {
        let Some(bytes) = core.store.read(at) else {
            at = (at / segment + 1) * segment; // the end of a file
            continue;
        };
        let Ok(record) = RecordView::parse(&bytes) else { break };
        if let Some((letter, copied)) = copy_of(job, &record) {
            found.insert(letter, copied);
        }
        at += record.len() as u64;
    }
    if !found.is_empty() {
        tracing::info!(job, copies = found.len(), "recognised what was sent before the stop");
    }
    found
}

fn copy_of(job: i64, record: &RecordView<'_>) -> Option<(u64, Copied)> {
    let (by, letter) = find(record.properties_text(), property::REDRIVE_OF)?.split_once(':')?;
    let is_ours = by.parse::<i64>() == Ok(job) && record.reconsume_times() == 0;
    let copied =
        Copied { topic: record.topic().to_owned(), queue_id: record.queue_id(), id: record.message_id().to_string() };
    is_ours.then(|| Some((letter.parse().ok()?, copied))).flatten()
}
