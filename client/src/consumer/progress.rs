//! How far each queue has come, and why one does not move.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
};

use parking_lot::Mutex;
use tenonmq_protocol::message::queue::MessageQueue;

use super::{pop_lane::PopQueue, process_queue::ProcessQueue, push::Member};
use crate::session::now_ms;

/// What a queue is doing, or why it does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueState {
    /// Messages wait for handlers, or are being handled.
    Busy,
    /// All that the broker told of is done.
    Idle,
    /// It is [paused](crate::PushConsumer::pause).
    Paused,
    /// It is not pulled, because as many messages as allowed are fetched and not done.
    Full,
    /// The message at its head failed and is tried again after a pause (ordered consumers).
    Suspended,
    /// The group's lock on it is not certain any more; handlers wait until it is renewed (ordered consumers).
    Unlocked,
    /// The last pull failed, for this reason. It is tried again.
    Failing(String),
    /// It falls to this member, but could not be taken yet, for this reason. It is tried again.
    NotTaken(String),
}

/// One queue that this member reads, or should read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueProgress {
    /// The queue.
    pub queue: MessageQueue,
    /// What it is doing.
    pub state: QueueState,
    /// The offset of the first message that is not done: what is committed at the next interval. `None` while it is not
    /// known.
    pub committed: Option<i64>,
    /// Where the next pull begins.
    pub pulled: i64,
    /// The offset that the next message will get, as the last answered pull told; −1 before the first one.
    pub max: i64,
    /// Messages that are fetched and not done.
    pub cached_messages: usize,
    /// Their bytes, as stored.
    pub cached_bytes: usize,
    /// When a pull was answered last, ms since the Unix epoch; 0 before the first one.
    pub last_pull_ms: i64,
    /// When a handler ended last, ms since the Unix epoch; 0 before the first one.
    pub last_handled_ms: i64,
}

impl QueueProgress {
    /// Messages that are not done, those that no filter passes included; 0 while too little is known.
    pub fn lag(&self) -> i64 {
        self.committed.map_or(0, |committed| (self.max - committed).max(0))
    }
}

/// What a queue's tasks note as they go.
pub(crate) struct Vitals {
    max: AtomicI64,
    last_pull_ms: AtomicI64,
    last_handled_ms: AtomicI64,
    suspended: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            max: AtomicI64::new(-1),
            last_pull_ms: AtomicI64::new(0),
            last_handled_ms: AtomicI64::new(0),
            suspended: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }
}

impl Vitals {
    pub(crate) fn pulled(&self, max: i64) {
        self.max.store(max, Ordering::Relaxed);
        self.last_pull_ms.store(now_ms(), Ordering::Relaxed);
        *self.failure.lock() = None;
    }

    pub(crate) fn failed(&self, reason: String) {
        *self.failure.lock() = Some(reason);
    }

    pub(crate) fn handled(&self) {
        self.last_handled_ms.store(now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn suspend(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::Relaxed);
    }

    pub(crate) fn last_pull_ms(&self) -> i64 {
        self.last_pull_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn last_handled_ms(&self) -> i64 {
        self.last_handled_ms.load(Ordering::Relaxed)
    }
}

/// Every queue of the member, sorted.
pub(super) fn of(member: &Member) -> Vec<QueueProgress> {
    let mut all: BTreeMap<MessageQueue, QueueProgress> = BTreeMap::new();
    for (queue, reason) in member.not_taken.lock().iter() {
        all.insert(queue.clone(), unknown(queue, QueueState::NotTaken(reason.clone())));
    }
    for (queue, lane) in member.popped.lock().iter() {
        all.insert(queue.clone(), of_popped(member, lane));
    }
    for (queue, held) in member.queues.lock().iter() {
        all.insert(queue.clone(), of_held(member, held));
    }
    all.into_values().collect()
}

fn unknown(queue: &MessageQueue, state: QueueState) -> QueueProgress {
    QueueProgress {
        queue: queue.clone(),
        state,
        committed: None,
        pulled: 0,
        max: -1,
        cached_messages: 0,
        cached_bytes: 0,
        last_pull_ms: 0,
        last_handled_ms: 0,
    }
}

/// A queue that is popped: offsets are the broker's affair.
fn of_popped(member: &Member, lane: &PopQueue) -> QueueProgress {
    let cached_messages = lane.unsettled.load(Ordering::Relaxed);
    let state = match cached_messages {
        _ if member.pauses.holds(&lane.queue) => QueueState::Paused,
        0 => QueueState::Idle,
        _ => QueueState::Busy,
    };
    let last_pull_ms = lane.last_pop_ms.load(Ordering::Relaxed);
    QueueProgress { cached_messages, last_pull_ms, ..unknown(&lane.queue, state) }
}

fn of_held(member: &Member, held: &ProcessQueue) -> QueueProgress {
    let cached = held.cached();
    let vitals = &held.vitals;
    QueueProgress {
        queue: MessageQueue::clone(&held.queue),
        state: state_of(member, held, cached.count),
        committed: member.offsets.get(&held.queue),
        pulled: held.next(),
        max: vitals.max.load(Ordering::Relaxed),
        cached_messages: cached.count,
        cached_bytes: cached.bytes,
        last_pull_ms: vitals.last_pull_ms(),
        last_handled_ms: vitals.last_handled_ms(),
    }
}

fn state_of(member: &Member, held: &ProcessQueue, cached: usize) -> QueueState {
    if member.pauses.holds(&held.queue) {
        return QueueState::Paused;
    }
    if member.needs_locks() && !held.lock.is_held() {
        return QueueState::Unlocked;
    }
    if held.vitals.suspended.load(Ordering::Relaxed) {
        return QueueState::Suspended;
    }
    if let Some(reason) = &*held.vitals.failure.lock() {
        return QueueState::Failing(reason.clone());
    }
    match cached {
        _ if held.must_wait(member.settings.limits) => QueueState::Full,
        0 => QueueState::Idle,
        _ => QueueState::Busy,
    }
}
