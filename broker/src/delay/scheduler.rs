//! Delivers each delayed message when it is due, not before, and not at some next tick.
//!
//! The scheduler sleeps until the earliest message of all levels is due. A level without messages has nothing to wait
//! for; an append to it wakes the scheduler. A message that was delivered counts as such when the offset behind it is in
//! `delayOffset.json`, so a crash may repeat what was delivered since the last saving; [`super::resume`] finds most of it.

use std::sync::{
    Arc,
    atomic::{Ordering, fence},
};

use tenonmq_protocol::message::RecordView;
use tenonmq_storage::{AppendClass, AppendError, Entry};
use tokio::{sync::watch, task::spawn_blocking};

use super::{delivery::Delayed, levels::Level};
use crate::{
    core::{Core, deliver},
    group::stopped,
};

/// Messages of one level that are delivered before the next level has its turn.
const TURN: usize = 256;
/// How long a level waits after a delivery that failed: at first, and at most, in milliseconds.
const FIRST_PAUSE_MS: i64 = 100;
const LONGEST_PAUSE_MS: i64 = 10_000;

/// When the scheduler has something to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// There is more to deliver already.
    Now,
    /// At this time, in milliseconds since the epoch.
    At(i64),
    /// When a message is appended.
    Idle,
}

impl Next {
    fn earlier(self, other: Self) -> Self {
        match (self, other) {
            (Self::Now, _) | (_, Self::Now) => Self::Now,
            (Self::At(a), Self::At(b)) => Self::At(a.min(b)),
            (Self::At(at), Self::Idle) | (Self::Idle, Self::At(at)) => Self::At(at),
            (Self::Idle, Self::Idle) => Self::Idle,
        }
    }
}

/// What the scheduler remembers of a level from one turn to the next.
#[derive(Default)]
pub(super) struct Turn {
    /// Nothing is tried before this time: a delivery failed.
    not_before: i64,
    pause_ms: i64,
    /// A message that is due later than its level allows, and when it is delivered instead.
    corrected: Option<(i64, i64)>,
}

/// Delivers what is due. One at a time.
pub struct Scheduler {
    core: Arc<Core>,
    turns: Vec<Turn>,
}

enum Outcome {
    Delivered,
    /// There is nothing to deliver, and never will be.
    Passed,
    /// Not now.
    Failed,
}

impl Scheduler {
    /// A scheduler that goes on where the levels stand.
    pub fn new(core: Arc<Core>) -> Self {
        let turns = core.delays.levels.iter().map(|_| Turn::default()).collect();
        Self { core, turns }
    }

    /// Delivers what is due now, a bounded number of messages. Says when to call it again.
    pub fn step(&mut self) -> Next {
        let core = Arc::clone(&self.core);
        let turns = core.delays.levels.iter().zip(&mut self.turns);
        turns.map(|(level, turn)| turn.take(&core, level)).fold(Next::Idle, Next::earlier)
    }
}

impl Turn {
    fn take(&mut self, core: &Core, level: &Level) -> Next {
        level.is_idle.store(false, Ordering::Relaxed);
        let now_ms = core.clock.now_ms();
        if now_ms < self.not_before {
            return Next::At(self.not_before);
        }
        for _ in 0..TURN {
            let at = level.next.load(Ordering::Relaxed);
            if at >= level.queue.max_offset() && find_idle(level, at) {
                return Next::Idle;
            }
            let entry = match level.queue.entry(at) {
                Some(entry) if !entry.is_blank() => entry,
                blank if pass_gap(level, at, blank.is_some()) => continue,
                _unreadable => return self.pause(now_ms),
            };
            let due_ms = self.due(core, level, at, &entry, now_ms);
            if due_ms > now_ms {
                return Next::At(due_ms);
            }
            match deliver(core, &entry) {
                Outcome::Delivered => core.delays.file.note_delivery(),
                Outcome::Passed => {}
                Outcome::Failed => return self.pause(now_ms),
            }
            self.pause_ms = 0;
            level.next.store(at + 1, Ordering::Release);
        }
        Next::Now
    }

    /// Something failed: tries again later, each time later.
    fn pause(&mut self, now_ms: i64) -> Next {
        self.pause_ms = (self.pause_ms * 2).clamp(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
        self.not_before = now_ms + self.pause_ms;
        Next::At(self.not_before)
    }

    /// When the message at `at` is due. No message waits longer than its level says, counted from now, whatever the clock
    /// was when it was stored. `now_ms` is when the turn began: the message may have been stored since.
    pub(super) fn due(&mut self, core: &Core, level: &Level, at: i64, entry: &Entry, now_ms: i64) -> i64 {
        let stored =
            || core.store.peek(entry, |record| record.store_timestamp()).unwrap_or(0).saturating_add(level.delay_ms);
        let due_ms = core.store.tags_code(&level.queue, entry).unwrap_or_else(stored);
        if let Some((offset, due_ms)) = self.corrected
            && offset == at
        {
            return due_ms;
        }
        if due_ms <= now_ms.saturating_add(level.delay_ms) {
            return due_ms;
        }
        let latest = core.clock.now_ms().saturating_add(level.delay_ms);
        if due_ms <= latest {
            return due_ms;
        }
        tracing::warn!(
            queue = level.queue.queue_id(),
            at,
            due_ms,
            latest,
            "a delayed message is due too late: corrected"
        );
        self.corrected = Some((at, latest));
        latest
    }
}

/// Declares the level idle, unless a message came meanwhile.
fn find_idle(level: &Level, at: i64) -> bool {
    level.is_idle.store(true, Ordering::Relaxed);
    fence(Ordering::SeqCst); // pairs with the fence in `Delays::appended`
    let is_idle = at >= level.queue.max_offset();
    if !is_idle {
        level.is_idle.store(false, Ordering::Relaxed);
    }
    is_idle
}

/// Goes past places of the queue that hold no message (any more). False when that is not known, as they cannot be read.
fn pass_gap(level: &Level, at: i64, is_filler: bool) -> bool {
    let queue = &level.queue;
    let behind = if is_filler {
        at + 1
    } else if at < queue.min_offset() {
        queue.min_offset()
    } else {
        match queue.behind_gap(at) {
            Some(behind) => behind,
            None => return false,
        }
    };
    let next = behind.max(at + 1).min(queue.max_offset().max(at));
    tracing::warn!(queue = queue.queue_id(), at, next, "delayed messages are gone from the log");
    level.next.store(next, Ordering::Release);
    true
}

fn deliver(core: &Core, entry: &Entry) -> Outcome {
    let Some(bytes) = core.store.read_entry(entry) else {
        tracing::error!(offset = entry.physical_offset, "a delayed message is gone from the log");
        return Outcome::Passed;
    };
    let delayed = match RecordView::parse(&bytes).map_err(|_| "it is no record").and_then(Delayed::of) {
        Ok(delayed) => delayed,
        Err(reason) => {
            tracing::error!(offset = entry.physical_offset, reason, "a delayed message cannot be delivered");
            return Outcome::Passed;
        }
    };
    let queue = delayed.queue(&core.store);
    let record = delayed.record();
    match deliver::append(&core.store, &core.waiters, &queue, &record, delayed.tags_code(), AppendClass::Send) {
        Ok(_) => Outcome::Delivered,
        Err(error) => {
            let never = matches!(
                error,
                AppendError::TooLarge { .. } | AppendError::PropertiesTooLarge { .. } | AppendError::Topic { .. }
            );
            tracing::error!(offset = entry.physical_offset, topic = record.topic, %error, never, "not delivered");
            if never { Outcome::Passed } else { Outcome::Failed }
        }
    }
}

/// Delivers what falls due and saves how far that is every `flushDelayOffsetInterval`, until `stop`. What is saved last is
/// for the caller: [`Delays::save`](super::Delays::save).
pub async fn keep_delivering(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut scheduler = Scheduler::new(core.clone());
    let mut save_at = core.clock.now_ms();
    while !*stop.borrow() {
        let saves = core.clock.now_ms() >= save_at;
        let worked = spawn_blocking(move || {
            let next = scheduler.step();
            let core = &scheduler.core;
            if saves && let Err(error) = core.delays.save(&core.store, core.clock.now_ms()) {
                tracing::error!(%error, "delay offsets not saved; the next period tries again");
            }
            (scheduler, next)
        });
        let next;
        (scheduler, next) = match worked.await {
            Ok(worked) => worked,
            Err(error) => {
                tracing::error!(%error, "delivering delayed messages ended early; trying again");
                let retry_at = core.clock.now_ms() + LONGEST_PAUSE_MS;
                (Scheduler::new(core.clone()), Next::At(retry_at))
            }
        };
        if saves {
            let interval = core.config.load().delays.flush_interval;
            save_at = core.clock.now_ms().saturating_add(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
        }
        let until = match next {
            Next::Now => continue,
            Next::At(at) => at.min(save_at),
            Next::Idle => save_at,
        };
        tokio::select! {
            () = core.clock.sleep_until(until) => {}
            () = core.delays.wake.notified() => {}
            () = stopped(&mut stop) => {}
        }
    }
}
