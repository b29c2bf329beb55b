//! What became of every transaction whose records are still in the log.
//!
//! Reads both system queues and the queues of the real topics from end to end: for tools and tests, not for a running
//! broker's answers. Rules: `store.md` section 12.

use rustc_hash::FxHashMap;
use tenonmq_storage::{FileError, Store};

use super::{
    rebuild::each,
    records::{HALF_TOPIC, HalfRecord, OP_TOPIC, PARKED_TOPIC, QUEUE, op_offsets},
};

/// Why a record stands in the half queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// The producer sent it.
    Original,
    /// Apache's checker appended it with a check.
    Check,
    /// Apache's checker appended it instead of a check, because the immunity was not over.
    Immunity,
    /// This broker appended it when the log file of the one before was to go.
    Carried,
}

/// One record of a transaction in the half queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Half-queue offset.
    pub queue_offset: i64,
    /// Commit-log offset.
    pub log_offset: i64,
    /// Why it is there.
    pub kind: CopyKind,
}

/// How a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Published.
    Committed,
    /// Forgotten.
    RolledBack,
    /// In `TRANS_CHECK_MAX_TIME_TOPIC`.
    Exhausted,
    /// Undecided.
    Pending,
}

/// One transaction with all its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// `UNIQ_KEY`.
    pub unique_key: String,
    /// `KEYS`.
    pub keys: Option<String>,
    /// `PGROUP`.
    pub group: String,
    /// `REAL_TOPIC`.
    pub topic: String,
    /// `REAL_QID`.
    pub queue_id: i32,
    /// How it stands.
    pub fate: Fate,
    /// `TRANSACTION_CHECK_TIMES` of the newest copy.
    pub check_times: u32,
    /// `CHECK_IMMUNITY_TIME_IN_SECONDS`.
    pub immunity_seconds: Option<String>,
    /// Records in the half queue, oldest first.
    pub half: Vec<Member>,
    /// Op-queue offset of the record that decided it.
    pub op_offset: Option<i64>,
    /// Queue offset and commit-log offset of the visible message.
    pub visible: Option<(i64, i64)>,
}

/// Every transaction in the log, in the order of their first records.
///
/// # Errors
/// A file of a queue is there and cannot be read.
pub fn transactions(store: &Store) -> Result<Vec<Transaction>, FileError> {
    let mut all: Vec<Transaction> = Vec::new();
    let mut by_key: FxHashMap<String, usize> = FxHashMap::default();
    if let Some(queue) = store.find_queue(HALF_TOPIC, QUEUE) {
        each(store, &queue, queue.min_offset(), |half| add(&mut all, &mut by_key, half))?;
    }
    note_ops(store, &mut all)?;
    note_visible(store, &mut all)?;
    let parked = keys_in(store, PARKED_TOPIC)?;
    for transaction in &mut all {
        transaction.fate = if transaction.visible.is_some() {
            Fate::Committed
        } else if parked.contains(&transaction.unique_key) {
            Fate::Exhausted
        } else if transaction.op_offset.is_some() {
            Fate::RolledBack
        } else {
            Fate::Pending
        };
    }
    Ok(all)
}

fn add(all: &mut Vec<Transaction>, by_key: &mut FxHashMap<String, usize>, half: &HalfRecord<'_>) {
    let key = half.unique_key.unwrap_or_default().to_owned();
    let check_times = half.copies_before();
    let is_carried = half.carried().is_some();
    let kind = match (check_times, half.record.properties().get("WAIT")) {
        _ if is_carried => CopyKind::Carried,
        (0, _) => CopyKind::Original,
        (_, Some("false")) if half.first_copy.is_some() => CopyKind::Immunity,
        _ => CopyKind::Check,
    };
    let member = Member { queue_offset: half.record.queue_offset(), log_offset: half.record.physical_offset(), kind };
    let known = by_key.get(&key).and_then(|index| all.get_mut(*index));
    if let Some(transaction) = known.filter(|_| check_times > 0 || is_carried) {
        transaction.check_times = check_times;
        transaction.half.push(member);
        return;
    }
    by_key.insert(key.clone(), all.len());
    all.push(Transaction {
        unique_key: key,
        keys: half.keys.map(str::to_owned),
        group: half.group.to_owned(),
        topic: half.real_topic.to_owned(),
        queue_id: half.real_queue_id,
        fate: Fate::Pending,
        check_times,
        immunity_seconds: half.immunity.map(str::to_owned),
        half: vec![member],
        op_offset: None,
        visible: None,
    });
}

fn note_ops(store: &Store, all: &mut [Transaction]) -> Result<(), FileError> {
    let mut ops: FxHashMap<i64, i64> = FxHashMap::default();
    if let Some(queue) = store.find_queue(OP_TOPIC, QUEUE) {
        each(store, &queue, queue.min_offset(), |op| {
            for offset in op_offsets(op.record.body()) {
                ops.entry(offset).or_insert(op.record.queue_offset());
            }
        })?;
    }
    for transaction in all {
        // what was carried forward has an op record that decides nothing
        let last_carried = transaction.half.iter().rposition(|member| member.kind == CopyKind::Carried).unwrap_or(0);
        let members = transaction.half.iter().skip(last_carried);
        transaction.op_offset = members.filter_map(|member| ops.get(&member.queue_offset).copied()).next();
    }
    Ok(())
}

fn note_visible(store: &Store, all: &mut [Transaction]) -> Result<(), FileError> {
    let mut by_log_offset: FxHashMap<i64, usize> = FxHashMap::default();
    let mut queues: Vec<(String, i32)> = Vec::new();
    for (index, transaction) in all.iter().enumerate() {
        by_log_offset.extend(transaction.half.iter().map(|member| (member.log_offset, index)));
        queues.push((transaction.topic.clone(), transaction.queue_id));
    }
    queues.sort_unstable();
    queues.dedup();
    for queue in queues.iter().filter_map(|(topic, queue_id)| store.find_queue(topic, *queue_id)) {
        each(store, &queue, queue.min_offset(), |message| {
            let record = &message.record;
            let transaction = by_log_offset
                .get(&record.prepared_transaction_offset())
                .filter(|_| message.is_commit())
                .and_then(|index| all.get_mut(*index));
            if let Some(transaction) = transaction.filter(|transaction| transaction.visible.is_none()) {
                transaction.visible = Some((record.queue_offset(), record.physical_offset()));
            }
        })?;
    }
    Ok(())
}

fn keys_in(store: &Store, topic: &str) -> Result<std::collections::HashSet<String>, FileError> {
    let mut keys = std::collections::HashSet::new();
    if let Some(queue) = store.find_queue(topic, QUEUE) {
        each(store, &queue, queue.min_offset(), |record| keys.extend(record.unique_key.map(str::to_owned)))?;
    }
    Ok(keys)
}
