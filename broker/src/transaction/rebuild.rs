//! The state, made again from the log.
//!
//! Half messages from the saved half offset on are undecided unless an op record from the saved op offset on names them,
//! or a copy of theirs, or their visible copy lies in the log although its op record was lost in a crash. Apache's checker
//! appends a half message again for each check; such copies belong together by `UNIQ_KEY`, the newest stands for all.
//! Where there are no copies, as this broker makes none while it asks, each message is taken up as it is met.
//! A message that was carried forward stands for those that it names, whose op records decide nothing.
//! Rules: `store.md` section 12.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault},
};

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use tenonmq_storage::{FileError, Queue, Store};

use super::{
    SafeOffsets, Verdict,
    carried::Carried,
    check_log::Counts,
    half::{back_off_percent, immunity_ms, unchecked_ms},
    records::{HalfRecord, OP_TOPIC, PARKED_TOPIC, QUEUE, op_offsets},
    snapshot::{Remembered, Snapshot},
    state::{Half, Limits, Rules, State},
};

/// Parked messages looked at, newest first, for op records that a crash kept from being written.
const PARKED_LOOK_BACK: i64 = 4096;

/// What rebuilding goes by.
pub(super) struct Plan {
    /// Saved offsets of `CID_RMQ_SYS_TRANS` on half and op queue.
    pub(super) saved: (Option<i64>, Option<i64>),
    /// What was undecided at some moment, if that is known.
    pub(super) snapshot: Option<Snapshot>,
    /// Checks since then.
    pub(super) counts: Counts,
    pub(super) timeout_ms: i64,
    pub(super) rules: Rules,
    pub(super) now: i64,
}

/// The outcome.
pub(super) struct Rebuilt {
    pub(super) state: State,
    /// Half-queue offsets that are decided, by what lies in the log, without an op record that says so.
    pub(super) missing_ops: Vec<i64>,
}

/// One undecided message while looking for its copies and decisions.
#[derive(Debug, Clone, Copy)]
struct Found {
    log_offset: u64,
    stored_at: i64,
    /// When it was last asked about, or copied for a check by Apache; 0 if never.
    asked_at: i64,
    /// Checks sent, not counting copies made during the immunity.
    checks: u16,
}

impl Found {
    fn of(known: &Remembered) -> Self {
        let Remembered { log_offset, stored_at, asked_at, checks, .. } = *known;
        Self { log_offset, stored_at, asked_at, checks }
    }
}

/// What is known of all records with one unique key.
#[derive(Debug, Clone, Copy)]
enum Chain {
    Open { newest: i64 },
    Decided,
}

struct Walk<'a> {
    /// Takes up what is undecided at once; `None`: there are copies, so that the last record of a message counts.
    state: Option<State>,
    /// A copy was met although nothing was kept for it.
    has_copies: bool,
    store: &'a Store,
    plan: &'a Plan,
    decided: FxHashSet<i64>,
    /// Log offsets of half messages whose visible copies recovery met.
    committed: FxHashSet<i64>,
    /// Parked messages whose op records are missing: log offsets by unique key, by hash.
    parked: FxHashMap<u64, Vec<i64>>,
    chains: FxHashMap<u64, Chain>,
    found: BTreeMap<i64, Found>,
    remembered: Vec<(i64, Verdict)>,
    missing_ops: Vec<i64>,
}

/// Reads op and half queue from the saved offsets, or from the snapshot on.
///
/// # Errors
/// A file of a queue cannot be read: what is undecided in it would be forgotten.
pub(super) fn rebuild(
    store: &Store,
    half: &Queue,
    op: &Queue,
    plan: &Plan,
    limits: Limits,
) -> Result<Rebuilt, FileError> {
    let start = SafeOffsets { half: start(half, plan.saved.0), op: start(op, plan.saved.1) };
    let quick = walk(store, half, op, plan, start, Some(State::new(start, limits)))?;
    let walk = if quick.has_copies { walk(store, half, op, plan, start, None)? } else { quick };
    Ok(walk.finish(store, half, start, limits))
}

fn walk<'a>(
    store: &'a Store,
    half: &Queue,
    op: &Queue,
    plan: &'a Plan,
    start: SafeOffsets,
    state: Option<State>,
) -> Result<Walk<'a>, FileError> {
    let mut walk = Walk {
        state,
        has_copies: false,
        store,
        plan,
        decided: FxHashSet::default(),
        committed: committed(store),
        parked: parked(store)?,
        chains: FxHashMap::default(),
        found: BTreeMap::new(),
        remembered: Vec::new(),
        missing_ops: Vec::new(),
    };
    let from = plan.snapshot.as_ref().map_or(start, |snapshot| snapshot.next);
    each(store, op, from.op, |record| walk.decided.extend(op_offsets(record.record.body())))?;
    // what lies below the saved half offset was passed by whoever saved it: decided, copied or given up
    let listed = plan.snapshot.iter().flat_map(|snapshot| &snapshot.pending);
    for known in listed.filter(|known| known.offset >= start.half) {
        if walk.has_copies {
            return Ok(walk);
        }
        let bytes = store.read(known.log_offset);
        match bytes.as_deref().and_then(HalfRecord::parse).filter(|found| known.is(found)) {
            Some(found) => walk.meet(&found, Some(known)),
            None => tracing::error!(half_offset = known.offset, "undecided half message is gone from the log"),
        }
    }
    each(store, half, from.half.max(start.half), |record| walk.meet(record, None))?;
    Ok(walk)
}

/// Where to start: the saved offset, kept inside the queue; what was never saved starts at the queue's first message.
fn start(queue: &Queue, saved: Option<i64>) -> i64 {
    let saved = saved.filter(|offset| *offset >= 0).unwrap_or(0);
    saved.max(queue.min_offset()).min(queue.max_offset())
}

/// Calls `look` with every record of `queue` from `from` on.
///
/// # Errors
/// A file of the queue is there and cannot be read: nobody may go past it.
pub(super) fn each(
    store: &Store,
    queue: &Queue,
    from: i64,
    mut look: impl FnMut(&HalfRecord<'_>),
) -> Result<(), FileError> {
    let mut from = from;
    while from < queue.max_offset() {
        let mut reached = from;
        for at in queue.entries(from) {
            reached = at.end_offset();
            store.peek(&at.entry, |record| look(&HalfRecord::of(*record)));
        }
        from = if reached > from { reached } else { queue.judge_gap(from)? };
    }
    Ok(())
}

/// Log offsets of half messages whose visible copies recovery met. Retried and delayed copies of a committed message name
/// offset 0, so what names the first record of the log must have its key.
fn committed(store: &Store) -> FxHashSet<i64> {
    let is_of_first = |log_offset: u64| {
        let (Some(first), Some(copy)) = (store.read(0), store.read(log_offset)) else { return false };
        let key = |bytes: &'_ [u8]| HalfRecord::parse(bytes).and_then(|half| half.unique_key.map(hash));
        key(&first).is_some() && key(&first) == key(&copy)
    };
    let commits = store.recovery().commits.iter();
    let real = commits.filter(|commit| commit.prepared_offset != 0 || is_of_first(commit.physical_offset));
    real.map(|commit| commit.prepared_offset).collect()
}

/// A parked message and its op record lie next to each other; one that has none stands for a half message before it.
fn parked(store: &Store) -> Result<FxHashMap<u64, Vec<i64>>, FileError> {
    let mut parked = FxHashMap::<u64, Vec<i64>>::default();
    let has_op = |record: &HalfRecord<'_>| {
        let behind = record.record.physical_offset().unsigned_abs() + record.record.len() as u64;
        store
            .read(behind)
            .is_some_and(|bytes| HalfRecord::parse(&bytes).is_some_and(|op| op.record.topic() == OP_TOPIC))
    };
    if let Some(queue) = store.find_queue(PARKED_TOPIC, QUEUE) {
        let from = queue.min_offset().max(queue.max_offset() - PARKED_LOOK_BACK);
        each(store, &queue, from, |record| {
            if let Some(key) = record.unique_key.filter(|_| !has_op(record)) {
                parked.entry(hash(key)).or_default().push(record.record.physical_offset());
            }
        })?;
    }
    Ok(parked)
}

fn hash(key: &str) -> u64 {
    BuildHasherDefault::<FxHasher>::default().hash_one(key)
}

impl Walk<'_> {
    /// The next record of the half queue, with what a snapshot knows of it.
    fn meet(&mut self, half: &HalfRecord<'_>, known: Option<&Remembered>) {
        if self.has_copies {
            return; // everything is walked through once more
        }
        let offset = half.record.queue_offset();
        let key = half.unique_key.map(hash);
        if let Some(mut state) = self.state.take() {
            self.has_copies = half.copies_before() > 0 || half.carried().is_some();
            if !self.has_copies && !self.is_decided(half, key) {
                let found = known.map_or_else(|| self.describe(half, false, None), Found::of);
                self.take_up(&mut state, half, offset, found);
            }
            self.state = Some(state);
            return;
        }
        if let Some(carried) = half.carried() {
            return self.meet_carried(half, &carried, known);
        }
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
            let found = match known {
                Some(known) => Found::of(known),
                None => self.describe(half, is_copy, before),
            };
            self.found.insert(offset, found);
            Chain::Open { newest: offset }
        };
        if let Some(key) = key {
            self.chains.insert(key, chain);
        }
    }

    /// A message that was carried forward: it stands for those before it, and is decided only by what names it, or by a
    /// visible copy of any of them.
    fn meet_carried(&mut self, half: &HalfRecord<'_>, carried: &Carried, known: Option<&Remembered>) {
        let offset = half.record.queue_offset();
        let key = half.unique_key.map(hash);
        for (before, log_offset) in &carried.places {
            let is_it = self.found.get(before).is_some_and(|found| found.log_offset == *log_offset);
            if is_it && self.is_of(*log_offset, half) {
                self.found.remove(before);
                self.missing_ops.push(*before); // a crash took the op record that belongs to the copy
            }
        }
        let was_published = |(_, log_offset): &(i64, u64)| self.committed.contains(&log_offset.cast_signed());
        let decided = if carried.places.iter().any(was_published) && !self.decided.contains(&offset) {
            self.remembered.push((offset, Verdict::Committed));
            self.missing_ops.push(offset);
            true
        } else {
            self.is_decided(half, key)
        };
        if !decided {
            let found = Found {
                log_offset: half.record.physical_offset().unsigned_abs(),
                stored_at: carried.stored_at,
                asked_at: known.map_or(carried.asked_at, |known| known.asked_at),
                checks: known.map_or(carried.checks, |known| known.checks),
            };
            self.found.insert(offset, found);
        }
        if let Some(key) = key {
            self.chains.insert(key, if decided { Chain::Decided } else { Chain::Open { newest: offset } });
        }
    }

    /// Whether the record at `log_offset` has the key of `half`: what cannot be read is believed.
    fn is_of(&self, log_offset: u64, half: &HalfRecord<'_>) -> bool {
        let bytes = self.store.read(log_offset);
        let before = bytes.as_deref().and_then(HalfRecord::parse);
        before.is_none_or(|before| (before.unique_key, before.group) == (half.unique_key, half.group))
    }

    fn is_decided(&mut self, half: &HalfRecord<'_>, key: Option<u64>) -> bool {
        let record = &half.record;
        let offset = record.queue_offset();
        if self.decided.contains(&offset) {
            return true;
        }
        let verdict = if self.committed.contains(&record.physical_offset()) {
            Verdict::Committed
        } else if key.is_some_and(|key| self.take_parked(key, record.physical_offset())) {
            Verdict::Parked
        } else {
            return false;
        };
        self.remembered.push((offset, verdict));
        self.missing_ops.push(offset);
        true
    }

    /// Whether a parked message with this key stands for the half message at `log_offset`; it stands for no other then.
    fn take_parked(&mut self, key: u64, log_offset: i64) -> bool {
        let Some(copies) = self.parked.get_mut(&key) else { return false };
        let found = copies.iter().position(|copy| *copy > log_offset);
        found.map(|at| copies.swap_remove(at)).is_some()
    }

    fn describe(&self, half: &HalfRecord<'_>, is_copy: bool, before: Option<Found>) -> Found {
        let record = &half.record;
        let immunity_ms = immunity_ms(half.immunity, self.plan.timeout_ms);
        let copied_at = record.store_timestamp();
        // a copy whose original is gone from here: the producer's clock is all that is left
        let stored_at = match &before {
            Some(before) => before.stored_at,
            None if is_copy => half.first_stored().min(record.born_timestamp()).min(copied_at),
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
            asked_at: if is_copy { copied_at } else { 0 },
            checks,
        }
    }

    fn finish(mut self, store: &Store, half: &Queue, start: SafeOffsets, limits: Limits) -> Rebuilt {
        let mut state = self.state.take().unwrap_or_else(|| State::new(start, limits));
        for (offset, found) in &self.found {
            let bytes = store.read(found.log_offset);
            if let Some(half) = bytes.as_deref().and_then(HalfRecord::parse) {
                self.take_up(&mut state, &half, *offset, *found);
            }
        }
        state.know_all_below(half.max_offset());
        self.remembered.iter().for_each(|(offset, verdict)| state.remember(*offset, *verdict));
        Rebuilt { state, missing_ops: self.missing_ops }
    }

    fn take_up(&self, state: &mut State, half: &HalfRecord<'_>, offset: i64, found: Found) {
        let counted = self.plan.counts.get(&offset).filter(|counted| counted.log_offset == found.log_offset);
        let checks = counted.map_or(found.checks, |counted| counted.checks.max(found.checks));
        let asked_at = counted.map_or(found.asked_at, |counted| counted.asked_at.max(found.asked_at));
        let unchecked = unchecked_ms(half.group, half.immunity, self.plan.timeout_ms, &self.plan.rules);
        let first_check_at = found.stored_at.saturating_add(unchecked);
        let carried = half.carried();
        let back_off = back_off_percent(half.back_off);
        let wait_ms = self.plan.rules.of(half.group).wait_ms(checks, back_off, offset);
        let due = if checks > 0 { asked_at.saturating_add(wait_ms) } else { first_check_at };
        state.insert(&Half {
            offset,
            log_offset: found.log_offset,
            stored_at: found.stored_at,
            first_check_at: due,
            group: half.group,
            topic: half.real_topic,
            checks,
            asked_at: Some(asked_at).filter(|at| *at > 0 && checks > 0),
            copy_of: half.unique_key.filter(|_| match &carried {
                Some(carried) => carried.of_copy,
                None => half.copies_before() > 0,
            }),
            back_off,
        });
        if let Some(carried) = carried {
            state.note_places(offset, carried.offsets());
        }
    }
}
