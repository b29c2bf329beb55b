//! A process that dies in the middle of an append.
//!
//! An append encodes its records into the mapping, publishes them, and then writes their queue entries one after the
//! other. A mapping survives the process, so what a kill leaves is some beginning of that sequence. The run lets the
//! append happen, ends the process, and takes back in the files what comes behind a point of its choice.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use tenonmq_protocol::message::{Assigned, NewRecord, RecordView, TransactionType};

use super::{
    broker::{Broker, QUEUE_FILE, SEGMENT},
    dice::Dice,
    ledger::{HALF, OP},
};

/// A record that was appended by the call in which the process dies.
pub(super) struct Written {
    bytes: bytes::Bytes,
    at: u64,
    topic: String,
    queue_id: i32,
    queue_offset: i64,
    is_visible: bool,
}

/// The records from `from` on, while the store is open.
pub(super) fn written(broker: &Broker, from: u64) -> Vec<Written> {
    let mut all = Vec::new();
    let mut at = from;
    while at < broker.store.watermarks().appended {
        let Some(bytes) = broker.store.read(at) else {
            at = (at / SEGMENT + 1) * SEGMENT;
            continue;
        };
        let len = bytes.len() as u64;
        if let Ok(record) = RecordView::parse(&bytes) {
            all.push(Written {
                at,
                topic: record.topic().to_owned(),
                queue_id: record.queue_id(),
                queue_offset: record.queue_offset(),
                is_visible: record.sys_flag().transaction() == TransactionType::Commit,
                bytes: bytes::Bytes::copy_from_slice(&bytes), // what is there now: it is about to be changed
            });
        }
        at += len;
    }
    all
}

/// How much of the written records is left, for the history.
pub(super) enum Left {
    /// These many whole records, these many bytes of the next one, and no entries of the append that it belongs to.
    Records(usize, u64),
    /// All records, but the last so many entries.
    AllBut(usize),
    /// The op record in front, and its visible message not: a mutation.
    OpOnly,
}

/// Takes back what comes behind a point in the sequence of writes.
pub(super) fn take_back(root: &Path, written: &[Written], op_first: bool, dice: &mut Dice) -> io::Result<Left> {
    if op_first && let Some(first) = written.iter().position(|record| record.is_visible) {
        return op_only(root, &written[first..]);
    }
    // an append of several records ends with its op record; half messages are appended alone
    let ends_append = |record: &Written| record.topic == OP || record.topic == HALF;
    let cut = dice.below(written.len() + 1);
    let Some(torn) = written.get(cut) else {
        let before = written.len().saturating_sub(1);
        let begin = written[..before].iter().rposition(ends_append).map_or(0, |end| end + 1);
        let lost = dice.below(written.len() - begin + 1);
        written.iter().rev().take(lost).try_for_each(|record| clear_entry(root, record))?;
        return Ok(Left::AllBut(lost));
    };
    let begin = written[..cut].iter().rposition(ends_append).map_or(0, |end| end + 1);
    written[begin..].iter().try_for_each(|record| clear_entry(root, record))?;
    let kept = if dice.percent(50) { 0 } else { dice.below(torn.bytes.len()) as u64 };
    for record in &written[cut..] {
        let kept = if record.at == torn.at { kept } else { 0 };
        clear(&log_file(root, record.at), record.at % SEGMENT + kept, record.bytes.len() as u64 - kept)?;
    }
    Ok(Left::Records(cut, kept))
}

fn op_only(root: &Path, written: &[Written]) -> io::Result<Left> {
    let (Some(first), Some(op)) = (written.first(), written.iter().find(|record| record.topic == OP)) else {
        return Ok(Left::AllBut(0));
    };
    written.iter().try_for_each(|record| clear_entry(root, record))?;
    for record in written {
        clear(&log_file(root, record.at), record.at % SEGMENT, record.bytes.len() as u64)?;
    }
    let Ok(view) = RecordView::parse(&op.bytes) else { return Ok(Left::AllBut(0)) };
    let record = NewRecord {
        topic: OP,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: view.born_timestamp(),
        born_host: view.born_host(),
        store_host: view.store_host(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: view.body(),
        properties: view.properties_bytes(),
        body_crc: view.body_crc(),
    };
    let assigned = Assigned {
        queue_offset: op.queue_offset,
        physical_offset: first.at.cast_signed(),
        store_timestamp: view.store_timestamp(),
    };
    let mut bytes = vec![0; record.encoded_len()];
    record.encode(&mut bytes, assigned);
    write(&log_file(root, first.at), first.at % SEGMENT, &bytes)?;
    Ok(Left::OpOnly)
}

fn clear_entry(root: &Path, record: &Written) -> io::Result<()> {
    let at = record.queue_offset.unsigned_abs() * 20;
    let file = root
        .join("consumequeue")
        .join(&record.topic)
        .join(record.queue_id.to_string())
        .join(format!("{:020}", at / QUEUE_FILE * QUEUE_FILE));
    clear(&file, at % QUEUE_FILE, 20)
}

fn log_file(root: &Path, at: u64) -> PathBuf {
    root.join("commitlog").join(format!("{:020}", at / SEGMENT * SEGMENT))
}

fn clear(path: &Path, at: u64, len: u64) -> io::Result<()> {
    write(path, at, &vec![0; len as usize])
}

fn write(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all_at(bytes, at)
}
