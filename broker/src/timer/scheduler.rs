//! Delivers each timer message when it is due.
//!
//! A turn takes in what is new and delivers what is due, in batches that are appended in one step, so that a second with
//! half a million of them neither is late nor holds up ordinary sends for longer than one batch. Then it sleeps until the
//! next one is due. It runs on one thread outside those of the network.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tenonmq_protocol::message::{NewRecord, RecordView};
use tenonmq_storage::{AppendClass, AppendError, Queue, Role};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    index::Key,
    state::{self, State},
    timed::Timed,
};
use crate::{
    core::{Core, deliver},
    delay::scheduler::Next,
    group::stopped,
};

/// Messages delivered in one turn, and in one append; bytes of them in one append.
const TURN: usize = 2048;
const BATCH: usize = 64;
const BATCH_BYTES: usize = 128 << 10;
/// How long everything waits after a delivery that failed: at first, and at most, in milliseconds.
const FIRST_PAUSE_MS: i64 = 100;
const LONGEST_PAUSE_MS: i64 = 10_000;
/// Longest time without a look at what is new, in milliseconds.
const LOOK_MS: i64 = 1000;
/// How long the scheduler waits when messages come that are not due yet, so that it takes in many at once.
const GATHER: Duration = Duration::from_millis(2);

/// Delivers what is due. One at a time.
pub struct Scheduler {
    core: Arc<Core>,
    not_before: i64,
    pause_ms: i64,
    /// Nothing is taken in now: by configuration, or because this broker is not the master.
    is_blocked: bool,
}

/// One message of a batch.
struct Prepared<'a> {
    timed: Timed<'a>,
    queue: Arc<Queue>,
    text: Vec<u8>,
}

enum Kind {
    Visible,
    Rolled,
}

impl Scheduler {
    /// A scheduler that goes on where the timers stand.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, not_before: i64::MIN, pause_ms: 0, is_blocked: false }
    }

    /// Takes in what is new and delivers what is due now, a bounded number of messages. Says when to call it again.
    pub fn step(&mut self) -> Next {
        let core = Arc::clone(&self.core);
        let (timers, store) = (&core.timers, &core.store);
        let now_ms = core.clock.now_ms();
        let rules = core.config.load();
        let rules = &rules.messages;
        let is_master = store.permit().role == Role::Master;
        self.is_blocked = !is_master || !rules.timers || rules.stop_timer_enqueue;
        let mut state = timers.state.lock();
        let is_here = is_master && rules.timers;
        let turned = if is_here { state.enter(store, &timers.queue, &timers.metrics) } else { state.leave(!is_master) };
        if let Err(error) = &turned {
            tracing::error!(%error, cause = %error.source, "timers cannot follow the role of this broker; trying again");
        }
        if !is_here || turned.is_err() {
            return Next::At(now_ms + LOOK_MS);
        }
        let now_ms = if rules.stop_timer_enqueue {
            if state.is_resuming() {
                return Next::At(now_ms + LOOK_MS);
            }
            now_ms
        } else {
            let before = state.index.frontier();
            match state.take_in_all(store, &timers.queue, &timers.metrics, now_ms) {
                Some(at_ms) => at_ms,
                None if state.index.frontier() > before => return Next::Now,
                None => return Next::At(now_ms + LOOK_MS), // the disk does not give them
            }
        };
        let mut next = Next::At(self.not_before);
        let mut delivered = 0;
        if !rules.stop_timer_dequeue && now_ms >= self.not_before {
            next = self.deliver(&core, &mut state, now_ms, &mut delivered);
            if state.holds_up(store, &timers.queue) {
                delivered += self.roll(&core, &mut state, now_ms);
                next = Next::Now;
            }
        }
        state.save(store, &timers.queue, &timers.metrics, delivered > 0, now_ms);
        timers.metrics.next_due.store(state.index.next_due().unwrap_or(i64::MAX), Ordering::Relaxed);
        timers.metrics.pending.store(state.index.len(), Ordering::Relaxed);
        if rules.stop_timer_dequeue { Next::Idle } else { next }
    }

    /// Delivers what is due.
    pub(super) fn deliver(&mut self, core: &Core, state: &mut State, now_ms: i64, delivered: &mut usize) -> Next {
        while *delivered < TURN {
            let batch = due_batch(core, state, now_ms);
            if batch.is_empty() {
                state.drained(now_ms);
                return state.index.next_due().map_or(Next::Idle, Next::At);
            }
            *delivered += batch.len();
            if let Err(failed_from) = self.deliver_batch(core, state, &batch, now_ms, &Kind::Visible) {
                batch[failed_from..].iter().for_each(|(key, _)| state.index.put_back(*key));
                return self.pause(now_ms);
            }
            self.pause_ms = 0;
        }
        Next::Now
    }

    fn pause(&mut self, now_ms: i64) -> Next {
        self.pause_ms = (self.pause_ms * 2).clamp(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
        self.not_before = now_ms + self.pause_ms;
        Next::At(self.not_before)
    }

    /// Puts the oldest pending timers back into their topic, because their log file is to be removed.
    pub(super) fn roll(&mut self, core: &Core, state: &mut State, now_ms: i64) -> usize {
        let keys = state.index.take_oldest_block();
        let (store, queue) = (&core.store, &core.timers.queue);
        for (n, batch) in keys.chunks(BATCH).enumerate() {
            let read = |key: &Key| state::read(store, queue, key.at).map(|bytes| (*key, bytes));
            let batch: Vec<_> = batch.iter().filter_map(read).collect();
            if let Err(failed_from) = self.deliver_batch(core, state, &batch, now_ms, &Kind::Rolled) {
                let rest = keys.iter().skip((n + 1) * BATCH).chain(batch[failed_from..].iter().map(|(key, _)| key));
                rest.for_each(|key| state.index.put_back(*key));
                self.pause(now_ms);
                break;
            }
        }
        tracing::info!(count = keys.len(), "pending timer messages were carried on, their log file is due to go");
        keys.len()
    }

    /// Appends the copies of a batch. An error is the place of the first one that must be tried again.
    fn deliver_batch(
        &mut self,
        core: &Core,
        state: &mut State,
        batch: &[(Key, Bytes)],
        now_ms: i64,
        kind: &Kind,
    ) -> Result<(), usize> {
        let prepared: Vec<_> =
            batch.iter().map(|(key, bytes)| prepare(core, state, *key, bytes, now_ms, kind)).collect();
        let items: Vec<(&Queue, NewRecord<'_>, i64)> = prepared.iter().flatten().map(|one| one.item(kind)).collect();
        let class = if matches!(kind, Kind::Rolled) { AppendClass::Settle } else { AppendClass::Send };
        let whole = items.is_empty() || deliver::append_all(&core.store, &core.waiters, &items, class).is_ok();
        for (n, ((key, _), prepared)) in batch.iter().zip(&prepared).enumerate() {
            if let Some(one) = prepared {
                if !whole && !append_alone(core, &one.item(kind), class) {
                    return Err(n);
                }
                let change = if one.timed.deletes.is_some() { 1 } else { -1 };
                core.timers.metrics.count(one.timed.real_topic, change, now_ms);
                core.timers.metrics.delivered.fetch_add(1, Ordering::Relaxed);
            }
            if matches!(kind, Kind::Visible) {
                state.index.done(*key);
            }
        }
        Ok(())
    }
}

/// Appends one copy. False when it must be tried again; one that can never be stored is given up.
fn append_alone(core: &Core, item: &(&Queue, NewRecord<'_>, i64), class: AppendClass) -> bool {
    let Err(error) = deliver::append_all(&core.store, &core.waiters, std::slice::from_ref(item), class) else {
        return true;
    };
    let never = matches!(
        error,
        AppendError::TooLarge { .. } | AppendError::PropertiesTooLarge { .. } | AppendError::Topic { .. }
    );
    tracing::error!(topic = item.1.topic, %error, never, "a timer message is not delivered");
    never
}

/// What is due, as far as it goes into one append.
fn due_batch(core: &Core, state: &mut State, now_ms: i64) -> Vec<(Key, Bytes)> {
    let limit = BATCH_BYTES.min(usize::try_from(core.store.config().segment_size / 8).unwrap_or(usize::MAX));
    let mut batch = Vec::with_capacity(BATCH);
    let mut bytes = 0;
    while batch.len() < BATCH && bytes < limit {
        let Some(key) = state.index.take_due(now_ms) else { break };
        let Some(record) = state::read(&core.store, &core.timers.queue, key.at) else {
            tracing::error!(at = key.at, "a timer message is gone from the log");
            state.index.done(key);
            continue;
        };
        bytes += record.len();
        batch.push((key, record));
    }
    batch
}

/// What is to be appended for a message; `None` when nothing is: it was recalled, or recalls others.
fn prepare<'a>(
    core: &Core,
    state: &mut State,
    key: Key,
    bytes: &'a Bytes,
    now_ms: i64,
    kind: &Kind,
) -> Option<Prepared<'a>> {
    let timed = RecordView::parse(bytes).map_err(|_| "it is no record").and_then(Timed::of);
    let timed =
        timed.inspect_err(|reason| tracing::error!(at = key.at, reason, "a timer message is not delivered")).ok()?;
    let (store, queue) = (&core.store, &core.timers.queue);
    let precision = core.config.load().messages.timer_precision_ms;
    let mut text = Vec::with_capacity(timed.text.len() + 80);
    let queue = match kind {
        Kind::Rolled => {
            if timed.deletes.is_some() {
                state.end_deletion(&timed, key.at);
            }
            timed.rolled_text(now_ms, precision, &mut text);
            Arc::clone(queue)
        }
        Kind::Visible if timed.deletes.is_some() => {
            let was_used = state.end_deletion(&timed, key.at);
            core.timers.metrics.count(timed.real_topic, i64::from(!was_used), now_ms);
            return None;
        }
        Kind::Visible if state.is_deleted(store, queue, &timed) => return None,
        Kind::Visible => {
            timed.visible_text(now_ms, precision, &mut text);
            store.queue(timed.real_topic, timed.real_queue_id)
        }
    };
    Some(Prepared { timed, queue, text })
}

impl Prepared<'_> {
    fn item(&self, kind: &Kind) -> (&Queue, NewRecord<'_>, i64) {
        let record = match kind {
            Kind::Visible => self.timed.visible(&self.text),
            Kind::Rolled => self.timed.rolled(&self.text),
        };
        (&self.queue, record, self.timed.tags_code())
    }
}

/// Delivers what falls due until `stop`. What is saved last is for the caller: [`Timers::close`](super::Timers::close).
pub async fn keep_firing(core: Arc<Core>, stop: watch::Receiver<bool>) {
    tokio::join!(keep_delivering(core.clone(), stop.clone()), keep_counts(core, stop));
}

/// Saves the counts once a second, aside: that waits for the disk, and deliveries do not.
async fn keep_counts(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let next = core.clock.now_ms() + LOOK_MS;
        tokio::select! {
            () = core.clock.sleep_until(next) => {}
            () = stopped(&mut stop) => {}
        }
        let saving = core.clone();
        match spawn_blocking(move || saving.timers.save_counts()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, cause = %error.source, "how many timers wait is not saved; trying again");
            }
            Err(error) => tracing::error!(%error, "saving how many timers wait ended early; trying again"),
        }
    }
}

async fn keep_delivering(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut scheduler = Scheduler::new(core.clone());
    while !*stop.borrow() {
        core.timers.awakes();
        let worked = spawn_blocking(move || {
            let next = scheduler.step();
            (scheduler, next)
        });
        let next;
        (scheduler, next) = match worked.await {
            Ok(worked) => worked,
            Err(error) => {
                tracing::error!(%error, "delivering timer messages ended early; trying again");
                let retry_at = core.clock.now_ms() + LONGEST_PAUSE_MS;
                (Scheduler::new(core.clone()), Next::At(retry_at))
            }
        };
        let latest = core.clock.now_ms() + LOOK_MS;
        let until = match next {
            Next::Now => continue,
            Next::At(at) => at.min(latest),
            Next::Idle => latest,
        };
        if !core.timers.falls_asleep(until) && !scheduler.is_blocked {
            tokio::time::sleep(GATHER).await;
            continue;
        }
        tokio::select! {
            () = core.clock.sleep_until(until) => {}
            () = core.timers.wake.notified() => {}
            () = stopped(&mut stop) => {}
        }
    }
}
