//! The state, made again from the log.
//!
//! Half messages from the saved half offset on are undecided unless an op record from the saved op offset on names them,
//! or a copy of theirs, or their visible copy lies in the log although its op record was lost in a crash. Apache's checker
//! appends a half message again for each check; such copies belong together by `UNIQ_KEY`, the newest stands for all.
//! Rules: `store.md` section 12.

use std::hash::{BuildHasher, BuildHasherDefault};

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use tenonmq_storage::{Queue, Store};

use super::{
    SafeOffsets, Verdict,
    check_log::CheckLog,
    half::immunity_ms,
    records::{HalfRecord, PARKED_TOPIC, QUEUE, op_offsets},
    state::{Half, Limits, State},
};

/// Parked messages looked at, newest first, for op records that a crash kept from being written.
const PARKED_LOOK_BACK: i64 = 4096;

/// What rebuilding goes by.
pub(super) struct Plan {
    /// Saved offsets of `CID_RMQ_SYS_TRANS` on half and op queue.
    pub(super) saved: (Option<i64>, Option<i64>),
    pub(super) timeout_ms: i64,
    pub(super) interval_ms: i64,
    pub(super) now: i64,
}

/// The outcome.
pub(super) struct Rebuilt {
    pub(super) state: State,
    /// Half-queue offsets that are decided, by what lies in the log, without an op record that says so.
    pub(super) missing_ops: Vec<i64>,
}

/// One undecided message while looking for its copies and decisions.
#[derive(Debug, Clone)]
struct Found {
    log_offset: u64,
    stored_at: i64,
    /// When it was last copied for a check; 0 if never.
    copied_at: i64,
    /// Checks sent, not counting copies made during the immunity.
    checks: u16,
    immunity_ms: i64,
    group: String,
    topic: String,
    unique_key: Option<String>,
    is_copy: bool,
}

/// What is known of all records with one unique key.
#[derive(Debug, Clone, Copy)]
enum Chain {
    Open { newest: i64 },
    Decided,
}

struct Walk<'a> {
    plan: &'a Plan,
    decided: FxHashSet<i64>,
    /// Log offsets of half messages whose visible copies recovery met.
    committed: FxHashSet<i64>,
    /// Unique keys of parked messages, by hash, with the time of parking.
    parked: FxHashMap<u64, i64>,
    chains: FxHashMap<u64, Chain>,
    found: FxHashMap<i64, Found>,
    remembered: Vec<(i64, Verdict)>,
    missing_ops: Vec<i64>,
}

/// Reads op and half queue from the saved offsets on.
pub(super) fn rebuild(
    store: &Store,
    half: &Queue,
    op: &Queue,
    checks: &CheckLog,
    plan: &Plan,
    limits: Limits,
) -> Rebuilt {
    let start = SafeOffsets { half: start(half, plan.saved.0), op: start(op, plan.saved.1) };
    let mut walk = Walk {
        plan,
        decided: FxHashSet::default(),
        committed: store.recovery().commits.iter().map(|commit| commit.prepared_offset).collect(),
        parked: parked(store),
        chains: FxHashMap::default(),
        found: FxHashMap::default(),
        remembered: Vec::new(),
        missing_ops: Vec::new(),
    };
    each(store, op, start.op, |record| {
        walk.decided.extend(op_offsets(record.record.body()).filter(|offset| *offset >= start.half));
    });
    each(store, half, start.half, |record| walk.meet(record));
    walk.finish(start, half.max_offset(), checks, limits)
}

/// Where to start: the saved offset, kept inside the queue; what was never saved starts at the queue's first message.
fn start(queue: &Queue, saved: Option<i64>) -> i64 {
    let saved = saved.filter(|offset| *offset >= 0).unwrap_or(0);
    saved.max(queue.min_offset()).min(queue.max_offset())
}

/// Calls `look` with every record of `queue` from `from` on.
pub(super) fn each(store: &Store, queue: &Queue, from: i64, mut look: impl FnMut(&HalfRecord<'_>)) {
    let mut from = from;
    while from < queue.max_offset() {
        let mut reached = from;
        for at in queue.entries(from) {
            reached = at.end_offset();
            store.peek(&at.entry, |record| look(&HalfRecord::of(*record)));
        }
        from = if reached > from { reached } else { queue.next_file_offset(from) };
    }
}

fn parked(store: &Store) -> FxHashMap<u64, i64> {
    let mut parked = FxHashMap::default();
    if let Some(queue) = store.find_queue(PARKED_TOPIC, QUEUE) {
        let from = queue.min_offset().max(queue.max_offset() - PARKED_LOOK_BACK);
        each(store, &queue, from, |record| {
            if let Some(key) = record.unique_key {
                parked.insert(hash(key), record.record.store_timestamp());
            }
        });
    }
    parked
}

fn hash(key: &str) -> u64 {
    BuildHasherDefault::<FxHasher>::default().hash_one(key)
}

impl Walk<'_> {
    /// The next record of the half queue.
    fn meet(&mut self, half: &HalfRecord<'_>) {
        let record = &half.record;
        let offset = record.queue_offset();
        let key = half.unique_key.map(hash);
        let is_copy = half.copies_before() > 0;
        let chain = key.filter(|_| is_copy).and_then(|key| self.chains.get(&key)).copied();
        let before = match chain {
            Some(Chain::Open { newest }) => self.found.remove(&newest),
            _ => None,
        };
        let decided = matches!(chain, Some(Chain::Decided)) || self.is_decided(half, key);
        let chain = if decided {
            Chain::Decided
        } else {
            let found = self.describe(half, is_copy, before);
            self.found.insert(offset, found);
            Chain::Open { newest: offset }
        };
        if let Some(key) = key {
            self.chains.insert(key, chain);
        }
    }

    fn is_decided(&mut self, half: &HalfRecord<'_>, key: Option<u64>) -> bool {
        let record = &half.record;
        let offset = record.queue_offset();
        if self.decided.contains(&offset) {
            return true;
        }
        let verdict = if self.committed.contains(&record.physical_offset()) {
            Verdict::Committed
        } else if key.and_then(|key| self.parked.get(&key)).is_some_and(|at| *at >= record.store_timestamp()) {
            Verdict::Parked
        } else {
            return false;
        };
        self.remembered.push((offset, verdict));
        self.missing_ops.push(offset);
        true
    }

    fn describe(&self, half: &HalfRecord<'_>, is_copy: bool, before: Option<Found>) -> Found {
        let record = &half.record;
        let immunity_ms = immunity_ms(half.immunity, self.plan.timeout_ms);
        let copied_at = record.store_timestamp();
        // a copy whose original is gone from here: the producer's clock is all that is left
        let stored_at = match &before {
            Some(before) => before.stored_at,
            None if is_copy => record.born_timestamp().min(copied_at),
            None => copied_at.min(self.plan.now),
        };
        let was_check = is_copy && copied_at.saturating_sub(stored_at) >= immunity_ms;
        let checks = match before {
            Some(before) => before.checks.saturating_add(u16::from(was_check)),
            None if was_check => u16::try_from(half.copies_before()).unwrap_or(u16::MAX),
            None => 0,
        };
        Found {
            log_offset: record.physical_offset().unsigned_abs(),
            stored_at,
            copied_at: if is_copy { copied_at } else { 0 },
            checks,
            immunity_ms,
            group: half.group.to_owned(),
            topic: half.real_topic.to_owned(),
            unique_key: half.unique_key.map(str::to_owned),
            is_copy,
        }
    }

    fn finish(self, start: SafeOffsets, end: i64, checks: &CheckLog, limits: Limits) -> Rebuilt {
        let mut state = State::new(start, limits);
        let mut found: Vec<_> = self.found.into_iter().collect();
        found.sort_unstable_by_key(|(offset, _)| *offset);
        for (offset, found) in found {
            let known = checks.find(offset, found.log_offset);
            let times_checked = known.map_or(found.checks, |known| known.checks.max(found.checks));
            let last_asked = known.map_or(found.copied_at, |known| known.asked_at.max(found.copied_at));
            let first_check_at = found.stored_at.saturating_add(found.immunity_ms);
            let due = if times_checked > 0 { last_asked + self.plan.interval_ms } else { first_check_at };
            state.insert(&Half {
                offset,
                log_offset: found.log_offset,
                stored_at: found.stored_at,
                first_check_at: due,
                group: &found.group,
                topic: &found.topic,
                checks: times_checked,
                copy_of: found.unique_key.as_deref().filter(|_| found.is_copy),
            });
        }
        state.know_all_below(end);
        self.remembered.iter().for_each(|(offset, verdict)| state.remember(*offset, *verdict));
        Rebuilt { state, missing_ops: self.missing_ops }
    }
}
