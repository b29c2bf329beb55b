//! Pops and notifications that are held until there is something for them.
//!
//! They stand in line, by group and topic. A message wakes the first that it concerns of those that wait for any queue,
//! and the first that waits for its queue; who finds more than it takes wakes the next. A queue tells of its messages from
//! the first hold on ([`Waiting::watch`]), so nothing polls and nothing is scanned.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering, fence},
    },
    task::{Context, Poll},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::table::PopTopic;
use crate::{
    core::{
        Core,
        topics::Topic,
        waiters::{Watch, Watcher},
    },
    filter::Filter,
};

/// Queue id that means any queue.
pub const ANY_QUEUE: i32 = -1;

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A pop.
    Pop,
    /// A notification.
    Notification,
}

struct Waiter {
    id: u64,
    queue_id: i32,
    filter: Filter,
    wake: oneshot::Sender<()>,
}

#[derive(Default)]
struct Lines {
    next_id: u64,
    pops: VecDeque<Waiter>,
    notifications: VecDeque<Waiter>,
}

impl Lines {
    fn of(&mut self, kind: Kind) -> &mut VecDeque<Waiter> {
        match kind {
            Kind::Pop => &mut self.pops,
            Kind::Notification => &mut self.notifications,
        }
    }
}

/// Who waits for messages of one topic, in one group.
#[derive(Default)]
pub struct Waiting {
    lines: Mutex<Lines>,
    count: AtomicUsize,
    watched: RwLock<Vec<Option<Watch>>>,
}

/// How many requests are held, over all groups and topics.
#[derive(Debug, Default)]
pub struct Held(AtomicUsize);

impl Held {
    /// Requests that are held now.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Waiting {
    /// Stands in line. The caller looks at the queues once more after this call, and only then awaits.
    pub fn register(of: &Arc<PopTopic>, held: &Arc<Held>, kind: Kind, queue_id: i32, filter: Filter) -> Wait {
        let waiting = &of.waiting;
        let (wake, woken) = oneshot::channel();
        held.0.fetch_add(1, Ordering::Relaxed);
        let mut lines = waiting.lines.lock();
        lines.next_id += 1;
        let id = lines.next_id;
        lines.of(kind).push_back(Waiter { id, queue_id, filter, wake });
        waiting.count.fetch_add(1, Ordering::AcqRel);
        drop(lines);
        fence(Ordering::SeqCst); // pairs with the fence in `Waiters::arrived`
        Wait { of: Arc::clone(of), held: Arc::clone(held), kind, queue_id, id, woken, passed_on: false }
    }

    /// Has every queue of the topic tell of its messages.
    pub fn watch(of: &Arc<PopTopic>, core: &Core, topic: &Topic) {
        let queues = topic.config.read_queue_nums;
        let wanted = usize::try_from(queues).unwrap_or(0);
        if of.waiting.watched.read().len() >= wanted {
            return;
        }
        let mut watched = of.waiting.watched.write();
        for queue_id in (0..queues).skip(watched.len()) {
            let told = Told { of: Arc::downgrade(of), queue_id };
            watched.push(topic.queue(&core.store, queue_id).map(|queue| core.waiters.watch(queue, Arc::new(told))));
        }
    }

    /// Pops or notifications that wait for this queue, or for any with [`ANY_QUEUE`].
    pub fn count(&self, kind: Kind, queue_id: i32) -> usize {
        self.lines.lock().of(kind).iter().filter(|waiter| waiter.queue_id == queue_id).count()
    }

    /// A message is in a queue, or a queue is free again: wakes those whom it concerns. Without a tags code all are.
    pub fn arrived(&self, queue_id: i32, tags_code: Option<i64>) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut lines = self.lines.lock();
        for kind in [Kind::Pop, Kind::Notification] {
            self.wake_first(lines.of(kind), ANY_QUEUE, tags_code);
            if queue_id != ANY_QUEUE {
                self.wake_first(lines.of(kind), queue_id, tags_code);
            }
        }
    }

    /// A message is in the retry topic: whoever pops the topic gets it, whatever queue it waits for.
    pub fn arrived_again(&self) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut lines = self.lines.lock();
        for kind in [Kind::Pop, Kind::Notification] {
            let line = lines.of(kind);
            if !self.wake_first(line, ANY_QUEUE, None)
                && let Some(queue_id) = line.front().map(|waiter| waiter.queue_id)
            {
                self.wake_first(line, queue_id, None);
            }
        }
    }

    /// Who popped leaves something behind: wakes the next pop that waits for the same.
    pub fn left_over(&self, queue_id: i32) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.wake_first(&mut self.lines.lock().pops, queue_id, None);
        }
    }

    /// Wakes everybody: the topic or the group is gone.
    pub fn wake_all(&self) {
        let mut lines = self.lines.lock();
        for kind in [Kind::Pop, Kind::Notification] {
            for waiter in lines.of(kind).drain(..) {
                self.count.fetch_sub(1, Ordering::AcqRel);
                let _ = waiter.wake.send(()); // nobody to wake when the receiver is gone
            }
        }
    }

    fn wake_first(&self, line: &mut VecDeque<Waiter>, queue_id: i32, tags_code: Option<i64>) -> bool {
        let concerns = |waiter: &Waiter| {
            waiter.queue_id == queue_id && tags_code.is_none_or(|code| waiter.filter.passes_entry(code))
        };
        while let Some(at) = line.iter().position(concerns) {
            let Some(waiter) = line.remove(at) else { return false };
            self.count.fetch_sub(1, Ordering::AcqRel);
            if waiter.wake.send(()).is_ok() {
                return true;
            }
        }
        false
    }

    fn forget(&self, kind: Kind, id: u64) {
        let mut lines = self.lines.lock();
        let line = lines.of(kind);
        if let Some(at) = line.iter().position(|waiter| waiter.id == id) {
            line.remove(at);
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// What a queue tells.
struct Told {
    of: Weak<PopTopic>,
    queue_id: i32,
}

impl Watcher for Told {
    fn arrived(&self, _offset: i64, tags_code: i64) {
        if let Some(of) = self.of.upgrade() {
            of.waiting.arrived(self.queue_id, Some(tags_code));
        }
    }
}

/// Resolves when there may be something. Dropping it ends the wait; one that was woken and not looked at wakes the next.
pub struct Wait {
    of: Arc<PopTopic>,
    held: Arc<Held>,
    kind: Kind,
    queue_id: i32,
    id: u64,
    woken: oneshot::Receiver<()>,
    passed_on: bool,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = Pin::new(&mut self.woken).poll(cx).map(|_| ());
        self.passed_on |= polled.is_ready();
        polled
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.held.0.fetch_sub(1, Ordering::Relaxed);
        self.of.waiting.forget(self.kind, self.id);
        if !self.passed_on && self.woken.try_recv().is_ok() {
            self.of.waiting.arrived(self.queue_id, None);
        }
    }
}
