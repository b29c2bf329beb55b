//! Which member of a group may consume a queue in order.
//!
//! A lock belongs to a client id and lives for [`LOCK_LIFETIME_MS`] after its last renewal. An expired lock is a free
//! one, whether it is still in the table or not, so removing it early or late changes no answer.
//! Rules: `transactions-retry-delay.md` section 7.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_protocol::message::queue::MessageQueue;

/// How long a lock lives without renewal, in milliseconds (`rocketmq.broker.rebalance.lockMaxLiveTime`).
pub const LOCK_LIFETIME_MS: i64 = 60_000;

/// Locks of all groups together that may be alive at the same time, unless told otherwise.
pub const DEFAULT_LOCK_LIMIT: usize = 1_000_000;

type Group = FxHashMap<MessageQueue, Lock>;

#[derive(Debug)]
struct Lock {
    client_id: Box<str>,
    renewed_ms: i64,
}

impl Lock {
    fn is_expired(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) > LOCK_LIFETIME_MS
    }
}

#[derive(Debug, Default)]
struct Table {
    groups: FxHashMap<Box<str>, Group>,
    held: usize,
}

/// The queue locks of all groups.
#[derive(Debug)]
pub struct QueueLocks {
    table: Mutex<Table>,
    limit: usize,
}

impl Default for QueueLocks {
    fn default() -> Self {
        Self::with_limit(DEFAULT_LOCK_LIMIT)
    }
}

impl QueueLocks {
    /// A table that holds at most `limit` locks. When it is full, expired ones are dropped and further ones refused.
    pub fn with_limit(limit: usize) -> Self {
        Self { table: Mutex::default(), limit }
    }

    /// Locks the queues for one member. Answers those that are its own now: renewed, free or expired ones.
    pub fn lock(&self, group: &str, client_id: &str, queues: Vec<MessageQueue>, now_ms: i64) -> Vec<MessageQueue> {
        let mut table = self.table.lock();
        let table = &mut *table;
        if table.held.saturating_add(queues.len()) > self.limit {
            table.drop_expired(now_ms);
        }
        let mut granted = Vec::with_capacity(queues.len());
        for queue in queues {
            if table.try_lock(group, client_id, &queue, now_ms, self.limit) {
                granted.push(queue);
            }
        }
        granted
    }

    /// Gives up the member's locks among `queues`. Locks of others stay.
    pub fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut table = self.table.lock();
        let table = &mut *table;
        let Some(locks) = table.groups.get_mut(group) else { return };
        for queue in queues {
            if locks.get(queue).is_some_and(|lock| *lock.client_id == *client_id) {
                locks.remove(queue);
                table.held -= 1;
            }
        }
        if locks.is_empty() {
            table.groups.remove(group);
        }
    }

    /// Whether any lock of the group is alive: its members consume in order.
    pub fn holds_any(&self, group: &str, now_ms: i64) -> bool {
        let table = self.table.lock();
        table.groups.get(group).is_some_and(|locks| locks.values().any(|lock| !lock.is_expired(now_ms)))
    }

    /// Whether this member holds the queue.
    pub fn is_locked_by(&self, group: &str, client_id: &str, queue: &MessageQueue, now_ms: i64) -> bool {
        let table = self.table.lock();
        let lock = table.groups.get(group).and_then(|locks| locks.get(queue));
        lock.is_some_and(|lock| *lock.client_id == *client_id && !lock.is_expired(now_ms))
    }

    /// Who holds the queue now.
    pub fn holder(&self, group: &str, queue: &MessageQueue, now_ms: i64) -> Option<String> {
        let table = self.table.lock();
        let lock = table.groups.get(group).and_then(|locks| locks.get(queue));
        lock.filter(|lock| !lock.is_expired(now_ms)).map(|lock| lock.client_id.to_string())
    }

    /// Forgets the locks of a deleted group.
    pub fn remove_group(&self, group: &str) {
        let mut table = self.table.lock();
        if let Some(locks) = table.groups.remove(group) {
            table.held -= locks.len();
        }
    }

    /// Frees the memory of expired locks.
    pub fn drop_expired(&self, now_ms: i64) {
        self.table.lock().drop_expired(now_ms);
    }

    /// Locks in the table, expired ones that were not dropped yet included.
    pub fn len(&self) -> usize {
        self.table.lock().held
    }

    /// Whether the table holds no lock.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Table {
    fn try_lock(&mut self, group: &str, client_id: &str, queue: &MessageQueue, now_ms: i64, limit: usize) -> bool {
        if let Some(lock) = self.groups.get_mut(group).and_then(|locks| locks.get_mut(queue)) {
            let own = *lock.client_id == *client_id;
            if !own && !lock.is_expired(now_ms) {
                return false;
            }
            if !own {
                lock.client_id = client_id.into();
            }
            lock.renewed_ms = now_ms;
            return true;
        }
        if self.held >= limit {
            return false;
        }
        let lock = Lock { client_id: client_id.into(), renewed_ms: now_ms };
        self.groups.entry(group.into()).or_default().insert(queue.clone(), lock);
        self.held += 1;
        true
    }

    fn drop_expired(&mut self, now_ms: i64) {
        self.groups.retain(|_, locks| {
            locks.retain(|_, lock| !lock.is_expired(now_ms));
            !locks.is_empty()
        });
        self.held = self.groups.values().map(Group::len).sum();
    }
}

#[cfg(test)]
#[path = "queue_lock_tests.rs"]
mod tests;
