//! The threads of a store, and the periodic work of one of them.
//!
//! | thread | work |
//! | --- | --- |
//! | `store-alloc` | next segment ([`Allocator`]) |
//! | `store-flush` | the log becomes durable ([`Flusher`]) |
//! | `store-index` | keys are indexed behind the log ([`Indexer`]) |
//! | `store-keep` | queues become durable, checkpoint, retention ([`Keeper`]) |
//!
//! They hold parts of the store and never the store itself, so that dropping it ends them.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::commit_log::{Allocator, CommitLog};
use crate::config::StoreConfig;
use crate::consume_queue::table::QueueTable;
use crate::error::FileError;
use crate::flush::Flusher;
use crate::indexing::Indexer;
use crate::poison::Gate;
use crate::retention::{self, Cleaning};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Pages of a queue that must wait for a flush outside the thorough ones (`flushConsumeQueueLeastPages`).
const QUEUE_LEAST_PAGES: u32 = 2;
/// Time between two flushes of everything in the queues (`flushConsumeQueueThoroughInterval`), in milliseconds.
const QUEUE_THOROUGH_MS: i64 = 60_000;
/// Time between two looks for queue files that nobody uses, in milliseconds.
const CLOSE_IDLE_MS: i64 = 60_000;
/// Rounds of removal that an operator's request is good for.
const ROUNDS_WHEN_ASKED: u32 = 20;
/// Longest time between two looks at what is due.
const LOOK: Duration = Duration::from_millis(500);

/// When each periodic job ran last, in milliseconds.
#[derive(Debug, Default)]
struct Last {
    queue_flush: i64,
    queue_thorough: i64,
    checkpoint: i64,
    retention: i64,
    idle: i64,
}

/// Periodic work that is not in a hurry.
pub(crate) struct Keeper {
    config: StoreConfig,
    clock: Arc<dyn Clock>,
    log: Arc<CommitLog>,
    queues: Arc<QueueTable>,
    checkpoint: Arc<Checkpoint>,
    flusher: Arc<Flusher>,
    indexer: Arc<Indexer>,
    gate: Arc<Gate>,
    last: Mutex<Last>,
    asked: AtomicU32,
    /// An operator asked since the last look.
    asked_now: AtomicBool,
    /// Start of the log when the queues were cleaned last.
    cleaned_to: AtomicU64,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Keeper {
    pub(crate) fn new(parts: &crate::store::Parts) -> Self {
        let now = parts.env.clock.now_ms();
        let last = Last { queue_flush: now, queue_thorough: now, checkpoint: now, retention: 0, idle: now };
        Self {
            config: parts.config.clone(),
            clock: Arc::clone(&parts.env.clock),
            log: Arc::clone(&parts.log),
            queues: Arc::clone(&parts.queues),
            checkpoint: Arc::clone(&parts.checkpoint),
            flusher: Arc::clone(&parts.flusher),
            indexer: Arc::clone(&parts.indexer),
            gate: Arc::clone(&parts.gate),
            last: Mutex::new(last),
            asked: AtomicU32::new(0),
            asked_now: AtomicBool::new(false),
            cleaned_to: AtomicU64::new(parts.log.min()),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        }
    }

    /// Removes expired files in the next rounds, whatever the hour.
    pub(crate) fn ask_cleaning(&self) {
        self.asked.store(ROUNDS_WHEN_ASKED, Ordering::Relaxed);
        self.asked_now.store(true, Ordering::Release);
    }

    /// Does what is due by the clock.
    pub(crate) fn tick(&self) {
        let now = self.clock.now_ms();
        let mut last = self.last.lock();
        let due = |last: &mut i64, period_ms: i64| {
            let due = now.saturating_sub(*last) >= period_ms || now < *last;
            if due {
                *last = now;
            }
            due
        };
        if due(&mut last.queue_thorough, QUEUE_THOROUGH_MS) {
            last.queue_flush = now;
            self.log_failure(self.flush_queues());
        } else if due(&mut last.queue_flush, millis(self.config.consume_queue_flush_interval)) {
            self.log_failure(self.sync_queues(QUEUE_LEAST_PAGES));
        }
        if due(&mut last.checkpoint, millis(self.config.checkpoint_interval)) {
            self.log_failure(self.indexer.save_note().and_then(|()| self.checkpoint.save_if_changed()));
        }
        let asked_now = self.asked_now.swap(false, Ordering::Acquire);
        if due(&mut last.retention, millis(self.config.retention.interval)) || asked_now {
            self.clean(now);
        }
        if due(&mut last.idle, CLOSE_IDLE_MS) {
            self.queues.close_idle();
        }
    }

    /// A failure poisons the store: the kernel may have dropped the pages, and a second try would find nothing to write.
    fn sync_queues(&self, least_pages: u32) -> Result<(), FileError> {
        self.queues.flush(least_pages).inspect_err(|error| {
            self.gate.poison(&format!("{error}: {}", error.source));
            self.log.progress().give_up();
        })
    }

    /// Makes the queues durable, and notes for the checkpoint up to where.
    pub(crate) fn flush_queues(&self) -> Result<(), FileError> {
        let timestamp = self.log.tail_state().last_timestamp;
        self.sync_queues(0)?;
        self.checkpoint.set_queues_timestamp(timestamp);
        Ok(())
    }

    /// Removes old files, and tells the gate how full the disk is.
    fn clean(&self, now: i64) {
        let fs = self.log.files().fs();
        let config = &self.config.retention;
        let dirs = self.log.files().dirs();
        let Some((dir, space)) = retention::least_used(fs, dirs.iter().map(AsRef::as_ref)) else { return };
        let asked = self.asked.load(Ordering::Relaxed);
        if asked > 0 {
            self.asked.store(asked - 1, Ordering::Relaxed);
        }
        let decision = retention::decide(config, retention::local_hour(now), space.used_percent(), asked > 0);
        if decision != Cleaning::None {
            self.log_failure(self.remove_segments(decision, now));
        }
        let min = self.log.min();
        if self.cleaned_to.swap(min, Ordering::Relaxed) < min {
            self.log_failure(self.queues.delete_before(min).map(|_| ()));
            self.log_failure(self.indexer.index().delete_before(min).map(|_| ()));
        }
        // Asked again, now that files may have gone.
        let space = fs.space(dir).unwrap_or(space);
        self.gate.set_disk_ratio(retention::too_full(config, dir, space));
    }

    fn remove_segments(&self, decision: Cleaning, now: i64) -> Result<(), FileError> {
        for _ in 0..self.config.retention.batch {
            let gone = self.log.remove_oldest(|segment| {
                decision == Cleaning::Forced || {
                    let modified = self.log.files().modified(segment.log.path());
                    retention::expired(modified, self.config.retention.reserved_time, now)
                }
            })?;
            if !gone {
                break;
            }
        }
        Ok(())
    }

    #[allow(clippy::unused_self)]
    fn log_failure(&self, result: Result<(), FileError>) {
        if let Err(error) = result {
            tracing::error!(%error, cause = %error.source, "periodic work of the store failed, it will be tried again");
        }
    }

    fn run(&self) {
        let mut stop = self.stop.lock();
        while !*stop {
            self.stopped.wait_for(&mut stop, LOOK);
            if !*stop {
                MutexGuard::unlocked(&mut stop, || self.tick());
            }
        }
    }

    fn stop(&self) {
        *self.stop.lock() = true;
        self.stopped.notify_all();
    }

    /// Makes everything durable: for a clean stop.
    pub(crate) fn finish(&self) -> Result<(), FileError> {
        self.flusher.flush()?;
        self.flush_queues()?;
        self.indexer.catch_up()?;
        self.indexer.index().flush()?;
        self.indexer.save_note()?;
        self.checkpoint.save()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The running threads.
pub(crate) struct Threads {
    allocator: Arc<Allocator>,
    flusher: Arc<Flusher>,
    indexer: Arc<Indexer>,
    keeper: Arc<Keeper>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Threads that do not run.
    pub(crate) fn none(parts: &crate::store::Parts, keeper: Arc<Keeper>) -> Self {
        Self {
            allocator: Arc::clone(&parts.allocator),
            flusher: Arc::clone(&parts.flusher),
            indexer: Arc::clone(&parts.indexer),
            keeper,
            handles: Mutex::default(),
        }
    }

    pub(crate) fn start(parts: &crate::store::Parts, keeper: Arc<Keeper>) -> std::io::Result<Self> {
        let threads = Self::none(parts, Arc::clone(&keeper));
        let (allocator, flusher, indexer) =
            (Arc::clone(&parts.allocator), Arc::clone(&parts.flusher), Arc::clone(&parts.indexer));
        threads.spawn("store-alloc", move || allocator.run())?;
        threads.spawn("store-flush", move || flusher.run())?;
        threads.spawn("store-index", move || indexer.run())?;
        threads.spawn("store-keep", move || keeper.run())?;
        Ok(threads)
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        self.handles.lock().push(handle);
        Ok(())
    }

    /// Ends all threads and waits for them. Nothing is flushed.
    pub(crate) fn stop(&self) {
        self.keeper.stop();
        self.indexer.stop();
        self.flusher.stop();
        self.allocator.stop();
        for handle in std::mem::take(&mut *self.handles.lock()) {
            if handle.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}
