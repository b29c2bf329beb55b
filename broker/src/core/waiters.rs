//! Who waits for a message in which queue.
//!
//! A queue carries a counter of its waiters, so an append to a queue on which nobody waits costs one load. A waiter
//! registers first and looks at the queue again afterwards, an append publishes first and looks at the counter
//! afterwards; both with a full fence in between, so one of the two always sees the other.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tenonmq_storage::{
    Queue,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering, fence},
    },
};
use tokio::sync::oneshot;

use crate::filter::Filter;

const SHARDS: usize = 64;

/// Identity of a queue handle: its address, which stays as long as a waiter holds the handle.
type Key = usize;

struct Waiter {
    id: u64,
    /// Queue offset that the waiter wants next.
    from: i64,
    filter: Filter,
    wake: oneshot::Sender<()>,
}

type Shard = Mutex<FxHashMap<Key, SmallVec<[Waiter; 1]>>>;

/// Is told of every message in the queues that it watches, for as long as it does.
pub trait Watcher: Send + Sync {
    /// A message at `offset` was published. Must be quick: the sender waits for it.
    fn arrived(&self, offset: i64, tags_code: i64);
}

type Watchers = SmallVec<[(u64, Arc<dyn Watcher>); 1]>;

/// All held pulls, by queue. Cheap to clone.
#[derive(Clone)]
pub struct Waiters(Arc<Inner>);

struct Inner {
    shards: Box<[Shard]>,
    watchers: Box<[Mutex<FxHashMap<Key, Watchers>>]>,
    next_id: AtomicU64,
}

impl Default for Waiters {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        let watchers = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self(Arc::new(Inner { shards, watchers, next_id: AtomicU64::new(0) }))
    }
}

impl Waiters {
    /// Waits for a message at `from` or behind it that passes `filter`. The caller looks at the queue once more after
    /// this call, and only then awaits.
    pub fn register(&self, queue: &Arc<Queue>, from: i64, filter: Filter) -> Wait {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let (wake, woken) = oneshot::channel();
        let waiter = Waiter { id, from, filter, wake };
        queue.waiters().fetch_add(1, Ordering::AcqRel);
        self.shard(queue).lock().entry(key(queue)).or_default().push(waiter);
        fence(Ordering::SeqCst); // pairs with the fence in `arrived`
        Wait { waiters: self.clone(), queue: Arc::clone(queue), id, woken }
    }

    /// Tells `watcher` of every message in `queue` from now on.
    pub fn watch(&self, queue: &Arc<Queue>, watcher: Arc<dyn Watcher>) -> Watch {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        queue.waiters().fetch_add(1, Ordering::AcqRel);
        self.watchers(queue).lock().entry(key(queue)).or_default().push((id, watcher));
        fence(Ordering::SeqCst); // pairs with the fence in `arrived`
        Watch { waiters: self.clone(), queue: Arc::clone(queue), id }
    }

    /// Wakes those whom a message at `offset` with `tags_code` concerns. Called after it was published.
    pub fn arrived(&self, queue: &Queue, offset: i64, tags_code: i64) {
        fence(Ordering::SeqCst); // pairs with the fence in `register`
        if queue.waiters().load(Ordering::Relaxed) > 0 {
            self.wake(queue, |waiter| offset >= waiter.from && waiter.filter.passes_entry(tags_code));
            let watchers = self.watchers(queue).lock().get(&key(queue)).cloned();
            watchers.iter().flatten().for_each(|(_, watcher)| watcher.arrived(offset, tags_code));
        }
    }

    /// Wakes everybody who waits on `queue`: it was deleted, or its offsets were reset.
    pub fn wake_all(&self, queue: &Queue) {
        self.wake(queue, |_| true);
    }

    /// Pulls that are held now.
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().values().map(SmallVec::len).sum::<usize>()).sum()
    }

    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn wake(&self, queue: &Queue, concerns: impl Fn(&Waiter) -> bool) {
        let mut shard = self.shard(queue).lock();
        let Some(waiting) = shard.get_mut(&key(queue)) else { return };
        let mut at = 0;
        while at < waiting.len() {
            if concerns(&waiting[at]) {
                queue.waiters().fetch_sub(1, Ordering::AcqRel);
                // The receiver may be gone already; then there is nobody to wake.
                let _ = waiting.swap_remove(at).wake.send(());
            } else {
                at += 1;
            }
        }
        if waiting.is_empty() {
            shard.remove(&key(queue));
        }
    }

    fn forget(&self, queue: &Queue, id: u64) {
        let mut shard = self.shard(queue).lock();
        let Some(waiting) = shard.get_mut(&key(queue)) else { return };
        if let Some(at) = waiting.iter().position(|waiter| waiter.id == id) {
            waiting.swap_remove(at);
            queue.waiters().fetch_sub(1, Ordering::AcqRel);
        }
        if waiting.is_empty() {
            shard.remove(&key(queue));
        }
    }

    fn watchers(&self, queue: &Queue) -> &Mutex<FxHashMap<Key, Watchers>> {
        &self.0.watchers[(key(queue) >> 6) % SHARDS]
    }

    fn shard(&self, queue: &Queue) -> &Shard {
        &self.0.shards[(key(queue) >> 6) % SHARDS]
    }
}

fn key(queue: &Queue) -> Key {
    std::ptr::from_ref(queue) as usize
}

/// Keeps a [`Watcher`] told. Dropping it ends that.
pub struct Watch {
    waiters: Waiters,
    queue: Arc<Queue>,
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = self.waiters.watchers(&self.queue).lock();
        let Some(of_queue) = watchers.get_mut(&key(&self.queue)) else { return };
        of_queue.retain(|(id, _)| *id != self.id);
        if of_queue.is_empty() {
            watchers.remove(&key(&self.queue));
        }
        self.queue.waiters().fetch_sub(1, Ordering::AcqRel);
    }
}

/// Resolves when a message of interest arrived. Dropping it ends the wait.
pub struct Wait {
    waiters: Waiters,
    queue: Arc<Queue>,
    id: u64,
    woken: oneshot::Receiver<()>,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.woken).poll(cx).map(|_| ())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waiters.forget(&self.queue, self.id);
    }
}
