//! When bytes of the log become durable.
//!
//! One thread. Under the asynchronous policy it flushes on a period; under the synchronous one it flushes when somebody
//! waits, one `msync` for all that do: while it runs, others queue up for the next one (group commit).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::commit_log::CommitLog;
use crate::config::FlushPolicy;
use crate::error::FileError;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

const PAGE: u64 = 4096;
/// Under the synchronous policy, time after which bytes that nobody waits for are flushed too.
const UNASKED: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Request {
    /// Somebody waits for the log to be durable up to here.
    wanted: u64,
    stop: bool,
}

pub(crate) struct Flusher {
    log: Arc<CommitLog>,
    checkpoint: Arc<Checkpoint>,
    clock: Arc<dyn Clock>,
    policy: FlushPolicy,
    request: Mutex<Request>,
    asked: Condvar,
    /// One flush at a time.
    flushing: Mutex<()>,
    flushes: AtomicU64,
    last_us: AtomicU64,
}

impl Flusher {
    pub(crate) fn new(
        log: Arc<CommitLog>,
        checkpoint: Arc<Checkpoint>,
        clock: Arc<dyn Clock>,
        policy: FlushPolicy,
    ) -> Self {
        Self {
            log,
            checkpoint,
            clock,
            policy,
            request: Mutex::default(),
            asked: Condvar::new(),
            flushing: Mutex::default(),
            flushes: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
        }
    }

    pub(crate) fn policy(&self) -> FlushPolicy {
        self.policy
    }

    /// Number of flushes, and time taken by the last one in microseconds.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.flushes.load(Ordering::Relaxed), self.last_us.load(Ordering::Relaxed))
    }

    /// Asks for the log to be made durable up to `end`, soon. Returns at once.
    pub(crate) fn ask(&self, end: u64) {
        let mut request = self.request.lock();
        if request.wanted < end {
            request.wanted = end;
            self.asked.notify_one();
        }
    }

    /// Makes everything appended so far durable, and notes it for the checkpoint.
    pub(crate) fn flush(&self) -> Result<(), FileError> {
        let _one_at_a_time = self.flushing.lock();
        let progress = self.log.progress();
        if progress.flushed() >= progress.end() {
            return Ok(());
        }
        let started = Instant::now();
        let (_, timestamp) = self.log.flush()?;
        self.checkpoint.set_log_timestamp(timestamp);
        self.flushes.fetch_add(1, Ordering::Relaxed);
        let elapsed = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_us.store(elapsed, Ordering::Relaxed);
        Ok(())
    }

    /// Ends [`run`](Self::run).
    pub(crate) fn stop(&self) {
        self.request.lock().stop = true;
        self.asked.notify_all();
    }

    /// The flush thread. A failed flush has poisoned the store and told the waiters; there is nothing to try again, as the
    /// kernel may have dropped the pages. A failed write has not.
    pub(crate) fn run(&self) {
        let mut thorough_at = self.clock.now_ms();
        while self.wait() {
            let progress = self.log.progress();
            let _ = self.log.write_out(); // a failure is logged, and tried again
            let dirty = progress.end().saturating_sub(progress.flushed());
            if let FlushPolicy::Async { least_pages, thorough_interval, .. } = self.policy {
                let now = self.clock.now_ms();
                let asked = self.request.lock().wanted > progress.flushed();
                let thorough = now.saturating_sub(thorough_at) >= thorough_interval.as_millis() as i64;
                if dirty < u64::from(least_pages) * PAGE && !thorough && !asked {
                    continue;
                }
                thorough_at = now;
            }
            if dirty > 0 && self.flush().is_err() {
                if self.log.is_shut() {
                    return;
                }
                self.pause(); // what is gathered could not be written, which was promised to nobody
            }
        }
    }

    fn period(&self) -> Duration {
        match self.policy {
            FlushPolicy::Async { interval, .. } => interval,
            FlushPolicy::Sync => UNASKED,
        }
    }

    /// Waits for the period, whoever asks, unless it is to stop.
    fn pause(&self) {
        let mut request = self.request.lock();
        if !request.stop {
            self.asked.wait_for(&mut request, self.period());
        }
    }

    /// Waits for the period, or until somebody asks. False to stop.
    fn wait(&self) -> bool {
        let mut request = self.request.lock();
        if !request.stop && request.wanted <= self.log.progress().flushed() {
            self.asked.wait_for(&mut request, self.period());
        }
        !request.stop
    }
}
