//! What the broker knows of pops, and how it is found again at start.

use std::{
    cmp::Ordering as Order,
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;
use tenonmq_storage::{FileError, Queue, Store};
use tokio::sync::Notify;

use super::{
    lease::{Change, Lease, LeaseKey, Leases},
    log::LeaseLog,
    record::Event,
    replay::{Kept, Replay},
    save::OrderFile,
    table::{Limits, PopQueue, QueueState, Table},
    wait::Held,
};
use crate::{config, core::LoadError, offset::Offsets};

/// Leases, ordered pops, and who waits.
pub struct Pops {
    /// States by group, topic and queue.
    pub table: Table,
    /// Held requests, all together.
    pub held: Arc<Held>,
    pub(super) log: LeaseLog,
    pub(super) orders: OrderFile,
    /// Open leases, over all queues.
    pub(super) open: AtomicI64,
    /// Which queue has leases due when. A queue may stand here more than once.
    pub(super) deadlines: Mutex<BinaryHeap<Armed>>,
    /// A deadline before all others was added.
    pub(super) sooner: Notify,
    /// Pops so far, to spread revive queue ids.
    pub(super) pops: AtomicU32,
}

/// Why the leases of the last run cannot be found again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The lease log.
    #[error("lease log: {0}")]
    Log(#[from] FileError),
    /// `consumerOrderInfo.json`.
    #[error(transparent)]
    Orders(#[from] LoadError),
}

/// A queue and when something of it is due. The earliest is the greatest.
pub(super) struct Armed {
    pub(super) at: i64,
    pub(super) queue: Arc<PopQueue>,
}

impl PartialEq for Armed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}

impl Eq for Armed {}

impl PartialOrd for Armed {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Armed {
    fn cmp(&self, other: &Self) -> Order {
        other.at.cmp(&self.at).then_with(|| other.queue.id.cmp(&self.queue.id))
    }
}

impl Pops {
    /// Reads what the last run left, and brings it in line with the stored offsets. Blocking.
    ///
    /// # Errors
    /// The log or the table of ordered pops cannot be read.
    pub fn open(store: &Store, settings: &config::Pop, offsets: &Offsets) -> Result<Self, OpenError> {
        let mut replay = Replay::new(store.watermarks().appended);
        let folder = store.root().join("tenonmq").join("pop-leases");
        let fs = Arc::clone(&store.environment().fs);
        let log = LeaseLog::open(&folder, fs, settings.log_file_len, &mut replay)?;
        let states = replay.finish();
        let now = store.environment().clock.now_ms();
        let first_id = states.keys().max().map_or(1, |id| id + 1);
        let limits = Limits { topics: settings.max_topics, queues: settings.max_queues };
        let pops = Self {
            table: Table::new(limits, first_id),
            held: Arc::default(),
            log,
            orders: OrderFile::new(store),
            open: AtomicI64::new(0),
            deadlines: Mutex::default(),
            sooner: Notify::new(),
            pops: AtomicU32::new(0),
        };
        let mut is_brought_back = false;
        for (id, kept) in states {
            is_brought_back |= pops.take_over(store, offsets, id, kept, now);
        }
        pops.load_orders(offsets, now)?;
        if is_brought_back {
            pops.renew_log(store)?; // the queues may have grown past what it says when it is read again
        }
        Ok(pops)
    }

    /// Leases that are open.
    pub fn open_leases(&self) -> i64 {
        self.open.load(Ordering::Relaxed)
    }

    /// A state of the last run goes on here. True when it was of other messages than those that are there.
    fn take_over(&self, store: &Store, offsets: &Offsets, id: u32, kept: Kept, now: i64) -> bool {
        let Kept { group, topic, queue_id, mut leases, order } = kept;
        let Some(there) = store.find_queue(&topic, queue_id) else {
            tracing::warn!(group, topic, queue_id, leases = leases.len(), "leases of a queue that is gone are dropped");
            let _ = self.log.append(id, &Event::Dropped); // the next start drops it otherwise
            return false;
        };
        let stored = offsets.get(&group, &topic, queue_id);
        let is_brought_back = drop_other_epochs(&there, &mut leases, stored.unwrap_or(0));
        if let Some(stored) = stored.filter(|stored| *stored > leases.floor()) {
            moved_on(&mut leases, stored);
        }
        if let Some(order) = &order {
            leases.advance(order.next().max(leases.next()));
        }
        let stored = stored.unwrap_or(-1);
        self.open.fetch_add(leases.len() as i64, Ordering::Relaxed);
        let Some(of) = self.table.topic(&group, &topic) else { return is_brought_back };
        let read_from = order.is_none().then(|| leases.next());
        let state = QueueState { leases, order, stored, inherited_before: now, read_from, ..QueueState::default() };
        let added = self.table.add(&of, queue_id, Some(id), state, |_| Ok::<(), FileError>(()));
        if let Ok(Some(queue)) = added {
            self.arm(&queue, &mut queue.state.lock(), now);
        }
        is_brought_back
    }

    /// Has the returner come when the next lease of `queue` is due, or when it is free for an ordered pop.
    pub(super) fn arm(&self, queue: &Arc<PopQueue>, state: &mut QueueState, now: i64) {
        let free = state.order.as_ref().and_then(|order| order.free_at(now));
        let Some(at) = state.leases.earliest().into_iter().chain(free).min() else { return };
        if state.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        state.armed = Some(at);
        let mut deadlines = self.deadlines.lock();
        let is_first = deadlines.peek().is_none_or(|first| at < first.at);
        deadlines.push(Armed { at, queue: Arc::clone(queue) });
        drop(deadlines);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// Writes that something happened, and then makes it true.
    pub(super) fn change(&self, queue: &PopQueue, state: &mut QueueState, change: Change) -> Result<(), FileError> {
        self.log.change(queue.id, &change)?;
        if let Change::Reset { next } = change {
            state.read_from = state.read_from.map(|from| from.max(next)); // what lies between may not be read
        }
        let before = state.leases.len() as i64;
        state.leases.apply(change);
        self.open.fetch_add(state.leases.len() as i64 - before, Ordering::Relaxed);
        Ok(())
    }
}

/// Leases of a queue that was deleted and created again while this broker did not look, or of which a power cut took the end,
/// are over: their messages are others now, and are read from the first of them on. A queue that is shorter than what was popped is
/// read again from the stored offset on. True if there was such a thing.
fn drop_other_epochs(queue: &Queue, leases: &mut Leases, stored: i64) -> bool {
    let is_other = |key: &LeaseKey, lease: &Lease| {
        let first = lease.offset(key.start, 0);
        lease.physical != 0
            && first >= queue.min_offset()
            && queue.entry(first).is_none_or(|entry| entry.physical_offset != lease.physical)
    };
    let others = leases.iter().filter(|(key, lease)| is_other(key, lease));
    let others: Vec<_> = others.map(|(key, lease)| (key, lease.offset(key.start, 0))).collect();
    let next = match others.iter().map(|(_, first)| *first).min() {
        _ if queue.max_offset() < leases.next() => stored.min(queue.max_offset()),
        Some(first) => first.min(leases.next()),
        None => return false,
    };
    leases.apply(Change::Reset { next });
    if !others.is_empty() {
        tracing::warn!(topic = queue.topic(), leases = others.len(), "leases of messages that are gone are dropped");
        others.into_iter().for_each(|(key, _)| leases.remove(key));
    }
    true
}

/// The group was moved on while this broker did not look, by Apache's broker or by an administrator: what lies before is
/// not ours any more.
fn moved_on(leases: &mut Leases, stored: i64) {
    let mut kept = Leases::starting_at(leases.next().max(stored));
    for (key, lease) in leases.iter() {
        let mut lease = lease.clone();
        for index in 0..u32::from(lease.count) {
            if lease.offset(key.start, index) < stored {
                lease.pending &= !1u32.checked_shl(index).unwrap_or(0);
            }
        }
        kept.insert(key, lease);
    }
    *leases = kept;
}
