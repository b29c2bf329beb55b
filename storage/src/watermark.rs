//! How far the log is appended, flushed and confirmed, and who waits for it.
//!
//! ```text
//! min ≤ flushed ≤ appended      confirmed ≤ appended
//! ```
//!
//! Readers see nothing beyond *confirmed*; alone it follows *appended* at the cost of one store. All waiting, for a
//! flush, for a replica or for new data, is one list: a waiter names the mark and the offset it needs.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Log offsets up to which something holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// First offset that is still there.
    pub min: u64,
    /// End of the log.
    pub appended: u64,
    /// Everything before is on disk.
    pub flushed: u64,
    /// Readers see everything before, and nothing beyond.
    pub confirmed: u64,
}

/// One of the marks that only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// See [`Watermarks::appended`].
    Appended,
    /// See [`Watermarks::flushed`].
    Flushed,
    /// See [`Watermarks::confirmed`].
    Confirmed,
}

/// What to wait for after an append, see [`Store::durable`](crate::Store::durable).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// End of the record in the log.
    pub end: u64,
    /// Epoch of the write permit under which it was appended.
    pub epoch: u32,
}

/// How waiting for a [`Ticket`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As durable as the policy asks.
    Ok,
    /// Not flushed in time. It may still be.
    FlushTimeout,
    /// Not confirmed by replicas in time. It may still be.
    ReplicaTimeout,
    /// This broker stopped being the master before that.
    NotMaster,
    /// A flush failed: what the disk holds is unknown.
    Poisoned,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    mark: Mark,
    offset: u64,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Waiters {
    list: Vec<Waiter>,
    next_id: u64,
}

/// The running marks of one log.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// End of the log with what is gathered and not written yet.
    end: AtomicU64,
    /// End of what is written.
    appended: AtomicU64,
    flushed: AtomicU64,
    confirmed: AtomicU64,
    /// Raised when waiting may make no sense any more (poisoned, closed, cut, role changed).
    generation: AtomicU32,
    epoch: AtomicU32,
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

impl Progress {
    /// End of the log, written or not.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Records were taken into the log that are not written yet. Called under the append lock.
    #[inline]
    pub(crate) fn gathered(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Whether the log is written to its end.
    #[inline]
    pub(crate) fn is_written(&self) -> bool {
        self.end() <= self.appended()
    }

    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    pub(crate) fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    pub(crate) fn at(&self, mark: Mark) -> u64 {
        self.of(mark).load(Ordering::SeqCst)
    }

    fn of(&self, mark: Mark) -> &AtomicU64 {
        match mark {
            Mark::Appended => &self.appended,
            Mark::Flushed => &self.flushed,
            Mark::Confirmed => &self.confirmed,
        }
    }

    /// Sets all marks, when the log is opened or cut.
    pub(crate) fn reset(&self, end: u64) {
        self.end.store(end, Ordering::SeqCst);
        for mark in [Mark::Confirmed, Mark::Flushed, Mark::Appended] {
            self.of(mark).store(end, Ordering::SeqCst);
        }
        self.give_up();
    }

    /// What is behind `end` was found when the log was opened, and may not be on disk.
    pub(crate) fn flushed_only_to(&self, end: u64) {
        self.flushed.store(end, Ordering::SeqCst);
    }

    /// The log grew to `appended`, and readers may see it up to `confirmed`: all of it, unless a record is not whole yet.
    /// Called under the append lock, which pairs it with [`reached`](Self::reached): no barrier of its own on the hot path.
    #[inline]
    pub(crate) fn advance(&self, appended: u64, confirmed: u64) {
        self.end.store(appended, Ordering::Release);
        self.appended.store(appended, Ordering::Release);
        self.confirmed.store(confirmed, Ordering::Release);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.wake(|waiter| match waiter.mark {
                Mark::Appended => waiter.offset <= appended,
                Mark::Confirmed => waiter.offset <= confirmed,
                Mark::Flushed => false,
            });
        }
    }

    /// The log is on disk up to `end`.
    pub(crate) fn flushed_to(&self, end: u64) {
        self.flushed.fetch_max(end, Ordering::AcqRel);
        fence(Ordering::SeqCst); // pairs with the fence in `reached`
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.wake(|waiter| waiter.mark == Mark::Flushed && waiter.offset <= end);
        }
    }

    /// Epoch of the write permit.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// The write permit changed hands: whoever waits for a ticket of another epoch is told.
    pub(crate) fn set_epoch(&self, epoch: u32) {
        self.epoch.store(epoch, Ordering::SeqCst);
        self.give_up();
    }

    /// Lets every waiter look again at why it waits.
    pub(crate) fn give_up(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.wake(|_| true);
    }

    #[cold]
    fn wake(&self, which: impl Fn(&Waiter) -> bool) {
        let mut ready = Vec::new();
        let mut waiters = self.waiters.lock();
        let mut i = 0;
        while let Some(waiter) = waiters.list.get(i) {
            if which(waiter) {
                ready.push(waiters.list.swap_remove(i).waker);
            } else {
                i += 1;
            }
        }
        self.waiting.store(waiters.list.len(), Ordering::SeqCst);
        drop(waiters);
        ready.into_iter().for_each(Waker::wake);
    }

    /// Resolves to true when `mark` reaches `offset`; to false when `hopeless` says so, looked at first and after each
    /// [`give_up`](Self::give_up). Drop it to stop waiting.
    ///
    /// `settle` takes and releases the append lock: an append that ran before it is seen by the look that follows, one that
    /// runs after it sees the waiter.
    pub(crate) async fn reached(
        &self,
        mark: Mark,
        offset: u64,
        hopeless: impl Fn() -> bool,
        settle: impl Fn(),
    ) -> bool {
        let generation = self.generation.load(Ordering::SeqCst);
        let mut registered = Registration { progress: self, id: None };
        poll_fn(|context| {
            if self.at(mark) >= offset {
                return Poll::Ready(true);
            }
            registered.set(mark, offset, context.waker());
            if mark == Mark::Flushed {
                fence(Ordering::SeqCst); // pairs with the fence in `flushed_to`
            } else {
                settle();
            }
            // Looked at again after registering: a mark raised in between would have woken nobody.
            if self.at(mark) >= offset {
                Poll::Ready(true)
            } else if hopeless() || self.generation.load(Ordering::SeqCst) != generation {
                Poll::Ready(false)
            } else {
                Poll::Pending
            }
        })
        .await
    }
}

/// A place in the list of waiters, left when dropped.
struct Registration<'a> {
    progress: &'a Progress,
    id: Option<u64>,
}

impl Registration<'_> {
    fn set(&mut self, mark: Mark, offset: u64, waker: &Waker) {
        let mut waiters = self.progress.waiters.lock();
        if let Some(known) = self.id.and_then(|id| waiters.list.iter_mut().find(|waiter| waiter.id == id)) {
            known.waker.clone_from(waker);
            return;
        }
        let id = waiters.next_id;
        waiters.next_id += 1;
        waiters.list.push(Waiter { id, mark, offset, waker: waker.clone() });
        self.progress.waiting.store(waiters.list.len(), Ordering::SeqCst);
        self.id = Some(id);
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut waiters = self.progress.waiters.lock();
        waiters.list.retain(|waiter| waiter.id != id);
        self.progress.waiting.store(waiters.list.len(), Ordering::SeqCst);
    }
}
