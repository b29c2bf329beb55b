//! Messages that become visible at a time of their own: to the millisecond, never early.
//!
//! A message with a time of delivery is stored in the topic `rmq_sys_wheel_timer`, with the real topic and queue in its
//! properties, and is pending from then on:
//!
//! ```text
//! stored ──taken in──► pending ──due─────────────► visible in its real topic
//!                         ├─────recalled─────────► gone when it is due
//!                         └─────its log file goes► put back into the timer topic, pending again
//! ```
//!
//! Everything follows from the queue of the timer topic: [`state`] reads its records in their order and keeps sixteen
//! bytes for each in [`index`]; `scheduler` sleeps until the next one is due. A sender appends and does nothing else,
//! except waking the scheduler when it sleeps longer than the message may wait.
//!
//! Invariant: a copy is appended before anything on disk says that it was delivered. What is said (`journal`) counts
//! only for a log that still holds the copy, and copies that nobody spoke of are found in the log (`resume`): so nothing
//! is lost, and nothing delivered twice, by a stop or a kill. Apache's `timercheck` (`check`) stays at the oldest
//! pending message while we run; a clean stop writes Apache's wheel and log (`handover`), so that Apache goes on with
//! each pending message once. After a kill Apache, which knows nothing of the journal, delivers what came after that
//! oldest message again.
//!
//! Rules: `transactions-retry-delay.md` section 4, formats: `store.md` section 10.

mod check;
mod copy;
mod handover;
mod index;
mod journal;
pub mod list;
mod metrics;
pub mod recall;
mod resume;
mod scheduler;
mod state;
#[cfg(test)]
mod tests;
mod timed;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering, fence},
};

use parking_lot::Mutex;
use tenonmq_protocol::{
    body::TimerMetrics,
    code::ResponseCode,
    message::{NewRecord, Properties, properties::names as property},
};
use tenonmq_storage::{AppendClass, AppendError, Appended, FileError, Queue, Store};
use tokio::sync::Notify;

use self::{metrics::Metrics, state::State};
use crate::{core::names::TIMER_TOPIC, error::Refusal};

pub use scheduler::{Scheduler, keep_firing};
pub(crate) use timed::out_ms;

/// A time of delivery, as its message is stored with it. Times in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// When it is to be seen.
    pub due_ms: i64,
    /// `TIMER_OUT_MS`: the second in which Apache would deliver it.
    pub out_ms: i64,
}

impl Timer {
    /// Where messages with a time of delivery are stored.
    pub const TOPIC: &'static str = TIMER_TOPIC;
    /// The only queue of that topic.
    pub const QUEUE: i32 = copy::QUEUE;

    /// Notes the time and the real target in the properties.
    pub fn note_target<'a>(&self, properties: &mut Properties<'a>, topic: &'a str, queue_id: i32) {
        properties.set(property::TIMER_OUT_MS, self.out_ms.to_string());
        properties.set(property::REAL_TOPIC, topic);
        properties.set(property::REAL_QID, queue_id.to_string());
    }
}

/// The timers of a broker.
pub struct Timers {
    queue: Arc<Queue>,
    state: Mutex<State>,
    metrics: Metrics,
    /// Wakes the scheduler before its time.
    wake: Notify,
    /// Until when the scheduler sleeps, in milliseconds; `i64::MIN` while it works.
    sleeps_until: AtomicI64,
}

/// Numbers for operators.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds by which the earliest pending timer is overdue.
    pub behind_seconds: i64,
    /// Messages of the timer topic that are not taken in yet.
    pub behind_messages: i64,
    /// Pending timers.
    pub pending: usize,
    /// Timers taken in per second.
    pub taken_in: f32,
    /// Timers delivered per second.
    pub delivered: f32,
}

impl Timers {
    /// Finds out where the last run stopped. The index is filled by the scheduler. Blocking.
    ///
    /// # Errors
    /// A file that says how far the last run came exists and cannot be read.
    pub fn open(store: &Store) -> Result<Self, FileError> {
        let queue = store.queue(Timer::TOPIC, Timer::QUEUE);
        let state = State::open(store, &queue)?;
        let metrics = Metrics::new(store);
        *metrics.check.lock() = state.check();
        metrics.frontier.store(state.index.frontier(), Ordering::Relaxed);
        Ok(Self {
            queue,
            state: Mutex::new(state),
            metrics,
            wake: Notify::new(),
            sleeps_until: AtomicI64::new(i64::MIN),
        })
    }

    /// The queue in which timers wait.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Refuses a message when `max` wait already; one that takes others back only when there are as many again.
    ///
    /// # Errors
    /// 1, as Apache answers for a slot of its wheel that is full.
    pub fn admit(&self, max: u64, takes_back: bool) -> Result<(), Refusal> {
        let limit = if takes_back { max.saturating_mul(2) } else { max };
        if self.waiting() < limit {
            return Ok(());
        }
        let remark = format!("timer message is under flow control, {limit} messages wait already, see timerPendingMax");
        Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark))
    }

    /// Messages that wait, those that are not taken in yet among them.
    fn waiting(&self) -> u64 {
        self.metrics.pending.load(Ordering::Relaxed) as u64 + self.behind().unsigned_abs()
    }

    /// Messages of the timer topic that are not taken in yet.
    fn behind(&self) -> i64 {
        (self.queue.max_offset() - self.metrics.frontier.load(Ordering::Relaxed)).max(0)
    }

    /// Appends a message with a time of delivery. `record` has the topic and queue of [`Timer`].
    ///
    /// # Errors
    /// What the store says; nothing was appended then.
    pub fn append(
        &self,
        store: &Store,
        record: &NewRecord<'_>,
        tags_code: i64,
        timer: &Timer,
    ) -> Result<Appended, AppendError> {
        let appended = store.append(&self.queue, record, tags_code, AppendClass::Send)?;
        self.appended(timer);
        Ok(appended)
    }

    /// A message was appended: the scheduler is woken if it sleeps longer than the message may wait.
    pub fn appended(&self, timer: &Timer) {
        fence(Ordering::SeqCst); // pairs with the fence in `falls_asleep`
        if timer.due_ms < self.sleeps_until.load(Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// The scheduler is about to sleep. False when a message came meanwhile.
    fn falls_asleep(&self, until_ms: i64) -> bool {
        self.sleeps_until.store(until_ms, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the fence in `appended`
        self.queue.max_offset() <= self.metrics.frontier.load(Ordering::Relaxed)
    }

    fn awakes(&self) {
        self.sleeps_until.store(i64::MIN, Ordering::Relaxed);
    }

    /// Numbers for operators.
    pub fn progress(&self, now_ms: i64) -> Progress {
        let metrics = &self.metrics;
        let next_due = metrics.next_due.load(Ordering::Relaxed);
        let (taken_in, delivered) = metrics.rates();
        Progress {
            behind_seconds: now_ms.saturating_sub(next_due).max(0) / 1000,
            behind_messages: self.behind(),
            pending: metrics.pending.load(Ordering::Relaxed),
            taken_in,
            delivered,
        }
    }

    /// How many timers wait, by real topic (61).
    pub fn counts(&self) -> TimerMetrics {
        self.metrics.body()
    }

    /// Writes how many timers wait, by real topic, if that has changed. Blocking.
    ///
    /// # Errors
    /// The file cannot be written; the next call tries again.
    pub fn save_counts(&self) -> Result<(), FileError> {
        self.metrics.save()
    }

    /// How far Apache would be with what `timercheck` says now (60).
    pub fn check_point(&self) -> [u8; 56] {
        self.metrics.check.lock().encode()
    }

    /// Saves how far everything is and writes Apache's wheel and log. For a clean stop, when nobody sends any more.
    /// Blocking.
    ///
    /// # Errors
    /// A file cannot be written. The next run finds out by itself; Apache may deliver some messages twice.
    pub fn close(&self, core: &crate::core::Core) -> Result<(), FileError> {
        let mut state = self.state.lock();
        state.close(core, self)
    }
}
