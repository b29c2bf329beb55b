//! Which group pops which queues: the states, found by borrowed names.

use std::{
    hash::{BuildHasher, BuildHasherDefault},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHasher};

use super::{lease::Leases, order::Order, wait::Waiting};

const SHARDS: usize = 32;

/// One group's pops of one topic.
pub struct PopTopic {
    /// The group.
    pub group: Box<str>,
    /// The topic, perhaps a retry topic.
    pub topic: Box<str>,
    /// Its retry topics, first version and second. Empty for a retry topic.
    pub retry: [Box<str>; 2],
    /// Held pops and notifications.
    pub waiting: Waiting,
    queues: RwLock<Vec<Option<Arc<PopQueue>>>>,
}

/// One group's pops of one queue.
pub struct PopQueue {
    /// Names the state in the log.
    pub id: u32,
    /// Group and topic.
    pub of: Arc<PopTopic>,
    /// Queue of the topic.
    pub queue_id: i32,
    /// What is leased.
    pub state: Mutex<QueueState>,
}

/// What a group has popped of a queue.
#[derive(Debug, Default)]
pub struct QueueState {
    /// Leases of pops without order.
    pub leases: Leases,
    /// What an ordered pop holds.
    pub order: Option<Order>,
    /// What was stored as the group's offset last.
    pub stored: i64,
    /// Earliest deadline that the returner knows of.
    pub armed: Option<i64>,
    /// Group or topic are gone: nothing may be popped from this state any more.
    pub is_gone: bool,
    /// Leases that began before are of an earlier run, which may have returned some without noting it.
    pub inherited_before: i64,
    /// From this offset on every message is, or will be, popped in this run: nobody else's lease of one counts.
    pub read_from: Option<i64>,
}

type Topics = FxHashMap<Box<str>, Arc<PopTopic>>;
type Shard = RwLock<FxHashMap<Box<str>, Topics>>;

/// All states.
pub struct Table {
    shards: Box<[Shard]>,
    topics: AtomicUsize,
    queues: AtomicUsize,
    next_id: AtomicU32,
    limits: Limits,
}

/// How large the table may grow.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Topics, counted for each group.
    pub topics: usize,
    /// Queues, counted for each group.
    pub queues: usize,
}

impl Table {
    /// An empty table. Numbers of queues begin at `first_id`.
    pub fn new(limits: Limits, first_id: u32) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        let next_id = AtomicU32::new(first_id);
        Self { shards, topics: AtomicUsize::new(0), queues: AtomicUsize::new(0), next_id, limits }
    }

    /// What a group pops of a topic, if it ever did.
    pub fn find(&self, group: &str, topic: &str) -> Option<Arc<PopTopic>> {
        self.shard(group).read().get(group)?.get(topic).cloned()
    }

    /// What a group pops of a topic. `None` when the table is full.
    pub fn topic(&self, group: &str, topic: &str) -> Option<Arc<PopTopic>> {
        if let Some(found) = self.find(group, topic) {
            return Some(found);
        }
        let mut shard = self.shard(group).write();
        if let Some(found) = shard.get(group).and_then(|topics| topics.get(topic)) {
            return Some(Arc::clone(found));
        }
        if self.topics.load(Ordering::Relaxed) >= self.limits.topics {
            return None;
        }
        self.topics.fetch_add(1, Ordering::Relaxed);
        let added = Arc::new(PopTopic::new(group, topic));
        shard.entry(group.into()).or_default().insert(topic.into(), Arc::clone(&added));
        Some(added)
    }

    /// Adds a queue; `tell` writes it down before anybody sees it. `None` when the table is full.
    ///
    /// # Errors
    /// What `tell` says; nothing is added then.
    pub fn add<E>(
        &self,
        of: &Arc<PopTopic>,
        queue_id: i32,
        id: Option<u32>,
        state: QueueState,
        tell: impl FnOnce(&PopQueue) -> Result<(), E>,
    ) -> Result<Option<Arc<PopQueue>>, E> {
        let Ok(at) = usize::try_from(queue_id) else { return Ok(None) };
        let mut queues = of.queues.write();
        if let Some(Some(found)) = queues.get(at) {
            return Ok(Some(Arc::clone(found)));
        }
        if id.is_none() && self.queues.load(Ordering::Relaxed) >= self.limits.queues {
            return Ok(None);
        }
        let id = id.unwrap_or_else(|| self.next_id.fetch_add(1, Ordering::Relaxed));
        let queue = Arc::new(PopQueue { id, of: Arc::clone(of), queue_id, state: Mutex::new(state) });
        tell(&queue)?;
        if queues.len() <= at {
            queues.resize(at + 1, None);
        }
        if let Some(place) = queues.get_mut(at) {
            *place = Some(Arc::clone(&queue));
            self.queues.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Some(queue))
    }

    /// Topics that a group pops.
    pub fn of_group(&self, group: &str) -> Vec<Arc<PopTopic>> {
        let shard = self.shard(group).read();
        shard.get(group).map(|topics| topics.values().cloned().collect()).unwrap_or_default()
    }

    /// Everything.
    pub fn all(&self) -> Vec<Arc<PopTopic>> {
        let of_shard =
            |shard: &Shard| shard.read().values().flat_map(|topics| topics.values().cloned()).collect::<Vec<_>>();
        self.shards.iter().flat_map(of_shard).collect()
    }

    /// Takes a topic of a group out.
    pub fn remove(&self, group: &str, topic: &str) -> Option<Arc<PopTopic>> {
        let mut shard = self.shard(group).write();
        let topics = shard.get_mut(group)?;
        let removed = topics.remove(topic)?;
        if topics.is_empty() {
            shard.remove(group);
        }
        self.topics.fetch_sub(1, Ordering::Relaxed);
        self.queues.fetch_sub(removed.queues().len(), Ordering::Relaxed);
        Some(removed)
    }

    fn shard(&self, group: &str) -> &Shard {
        let hash = BuildHasherDefault::<FxHasher>::default().hash_one(group);
        let middle_bits = usize::from((hash >> 32) as u16); // the map inside uses the lowest and the highest ones
        &self.shards[middle_bits % SHARDS]
    }
}

impl PopTopic {
    fn new(group: &str, topic: &str) -> Self {
        let is_retry = topic.starts_with(crate::core::names::RETRY_PREFIX);
        let retry = if is_retry {
            Default::default()
        } else {
            ["_", "+"].map(|sign| [crate::core::names::RETRY_PREFIX, group, sign, topic].concat().into())
        };
        Self { group: group.into(), topic: topic.into(), retry, waiting: Waiting::default(), queues: RwLock::default() }
    }

    /// The state of a queue, if the group has popped it.
    pub fn queue(&self, queue_id: i32) -> Option<Arc<PopQueue>> {
        self.queues.read().get(usize::try_from(queue_id).ok()?)?.clone()
    }

    /// All queues that the group has popped.
    pub fn queues(&self) -> Vec<Arc<PopQueue>> {
        self.queues.read().iter().flatten().cloned().collect()
    }
}
