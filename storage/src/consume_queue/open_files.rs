//! What all queues share: which of them have files mapped, and which have entries that are not on disk.
//!
//! The kernel bounds the number of mappings of a process (65,530 by default), so the queues are kept in the order in
//! which they mapped files, and the least used ones are closed when there are too many.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::Queue;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicIsize, Ordering};

/// Most queue files mapped at a time.
const MAX_MAPPED: isize = 16_384;

/// Shared by all queues of a table.
pub(crate) struct Shared {
    limit: isize,
    /// Signed, because a file may be closed before who mapped it has counted it.
    mapped: AtomicIsize,
    order: Mutex<VecDeque<Weak<Queue>>>,
    dirty: Mutex<Vec<Weak<Queue>>>,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_limit(MAX_MAPPED)
    }

    pub(crate) fn with_limit(limit: isize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            mapped: AtomicIsize::new(0),
            order: Mutex::new(VecDeque::new()),
            dirty: Mutex::new(Vec::new()),
        })
    }

    /// Number of files mapped now.
    pub(crate) fn mapped(&self) -> isize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Counts a file that `queue` has just mapped, and closes others if there are too many.
    pub(crate) fn opened(&self, queue: &Queue) {
        let mapped = self.mapped.fetch_add(1, Ordering::Relaxed) + 1;
        let mut order = self.order.lock();
        order.push_back(queue.this.clone());
        if mapped > self.limit {
            let rounds = order.len() * 2;
            self.close_some(&mut order, rounds, |other| !std::ptr::eq(other, queue));
        }
    }

    /// Closes the files of queues that nobody used since the last call.
    pub(crate) fn close_idle(&self) {
        let rounds = self.order.lock().len();
        for _ in 0..rounds {
            // One at a time: an append that opens a file waits for one unmapping at most.
            let mut order = self.order.lock();
            let Some(queue) = order.pop_front() else { break };
            self.close_or_keep(&mut order, queue, |_| true);
        }
    }

    fn close_some(&self, order: &mut VecDeque<Weak<Queue>>, rounds: usize, may_close: impl Fn(&Queue) -> bool) {
        for _ in 0..rounds {
            if self.mapped() <= self.limit {
                break;
            }
            let Some(queue) = order.pop_front() else { break };
            self.close_or_keep(order, queue, &may_close);
        }
    }

    /// Closes the files of one queue, or gives it a second chance when it was used since it was last looked at.
    fn close_or_keep(&self, order: &mut VecDeque<Weak<Queue>>, weak: Weak<Queue>, may_close: impl Fn(&Queue) -> bool) {
        let Some(queue) = weak.upgrade() else { return };
        if queue.used.swap(false, Ordering::Relaxed) || !may_close(&queue) {
            order.push_back(weak);
        } else {
            self.closed(queue.close());
        }
    }

    /// Counts files that were unmapped.
    pub(crate) fn closed(&self, count: usize) {
        self.mapped.fetch_sub(count.cast_signed(), Ordering::Relaxed);
    }

    /// Notes that a queue has entries which are not on disk.
    pub(crate) fn mark_dirty(&self, queue: Weak<Queue>) {
        self.dirty.lock().push(queue);
    }

    /// All queues noted since the last call.
    pub(crate) fn take_dirty(&self) -> Vec<Weak<Queue>> {
        std::mem::take(&mut self.dirty.lock())
    }
}
