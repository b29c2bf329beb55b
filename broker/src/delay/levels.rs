//! Delay levels: a queue and a time each, and putting a message where it waits.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering, fence},
    },
};

use tenonmq_protocol::message::{NewRecord, Properties, properties::names as property};
use tenonmq_storage::{AppendClass, AppendError, Appended, Queue, Store};
use tokio::sync::Notify;

use super::save::OffsetFile;
use crate::core::{LoadError, deliver, names::SCHEDULE_TOPIC, waiters::Waiters};

/// One level.
pub(super) struct Level {
    /// Where its messages wait.
    pub(super) queue: Arc<Queue>,
    /// How long they wait, in milliseconds.
    pub(super) delay_ms: i64,
    /// Offset of the next message to deliver.
    pub(super) next: AtomicI64,
    /// The scheduler found nothing to wait for: an append wakes it.
    pub(super) is_idle: AtomicBool,
}

/// The delay levels of a broker.
pub struct Delays {
    pub(super) levels: Box<[Level]>,
    /// Wakes the scheduler before its time.
    pub(super) wake: Notify,
    pub(super) file: OffsetFile,
}

/// Where a delayed message is stored.
#[derive(Clone, Copy)]
pub struct Waiting<'a> {
    level: &'a Level,
}

impl<'a> Waiting<'a> {
    /// The topic of all delayed messages.
    pub const TOPIC: &'static str = SCHEDULE_TOPIC;

    /// The queue of the level.
    pub fn queue(&self) -> &'a Arc<Queue> {
        &self.level.queue
    }

    /// The number of the level, from 1.
    pub fn level(&self) -> i32 {
        self.level.queue.queue_id() + 1
    }

    /// What [`Store::append`] takes for the tags code there: the delay in milliseconds.
    pub fn delay_ms(&self) -> i64 {
        self.level.delay_ms
    }
}

impl Delays {
    /// The levels that the store was opened with, as far as `config/delayOffset.json` and the log say they have come. The
    /// data version of that file takes a step every `version_step` deliveries. Blocking.
    ///
    /// # Errors
    /// The file and its backup exist and neither can be read.
    pub fn open(store: &Store, version_step: u64) -> Result<Self, LoadError> {
        let (file, saved) = OffsetFile::load(store, version_step)?;
        let delays = store.config().delay_levels_ms.iter();
        let levels = delays.zip(0..).map(|(delay_ms, queue_id)| {
            let queue = store.queue(SCHEDULE_TOPIC, queue_id);
            let next = start(&queue, &saved.offsets, queue_id + 1);
            Level { queue, delay_ms: *delay_ms, next: AtomicI64::new(next), is_idle: AtomicBool::new(false) }
        });
        let delays = Self { levels: levels.collect(), wake: Notify::new(), file };
        if !store.recovery().clean {
            super::resume::skip_delivered(store, &delays.levels, saved.log_end);
        }
        Ok(delays)
    }

    /// Where a message of this level waits; one beyond the highest is taken to the highest. `None` for levels below 1,
    /// and when there are no levels at all.
    pub fn waiting(&self, level: i32) -> Option<Waiting<'_>> {
        let at = usize::try_from(level).ok()?.min(self.levels.len()).checked_sub(1)?;
        self.levels.get(at).map(|level| Waiting { level })
    }

    /// Where a message waits that may not be seen for `ms` milliseconds: at the shortest level that is long enough, or else
    /// at the longest. `None` when it need not wait, or there are no levels.
    pub fn at_least(&self, ms: i64) -> Option<Waiting<'_>> {
        if ms <= 0 {
            return None;
        }
        let long_enough = self.levels.iter().filter(|level| level.delay_ms >= ms).min_by_key(|level| level.delay_ms);
        let longest = || self.levels.iter().max_by_key(|level| level.delay_ms);
        long_enough.or_else(longest).map(|level| Waiting { level })
    }

    /// Appends a delayed message. `record` has the topic and queue of `waiting`.
    ///
    /// # Errors
    /// What the store says; nothing was appended then.
    pub fn append(
        &self,
        store: &Store,
        waiters: &Waiters,
        waiting: &Waiting<'_>,
        record: &NewRecord<'_>,
    ) -> Result<Appended, AppendError> {
        let level = waiting.level;
        let appended = deliver::append(store, waiters, &level.queue, record, level.delay_ms, AppendClass::Send)?;
        self.appended(waiting);
        Ok(appended)
    }

    /// A message was appended there: the scheduler is woken unless it waits for an earlier one.
    pub fn appended(&self, waiting: &Waiting<'_>) {
        fence(Ordering::SeqCst); // pairs with the fence in the scheduler's `find_idle`
        if waiting.level.is_idle.load(Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }
}

/// Where a level goes on: at the saved offset, moved into the queue.
fn start(queue: &Queue, saved: &BTreeMap<i32, i64>, level: i32) -> i64 {
    let (min, max) = (queue.min_offset(), queue.max_offset());
    let saved = saved.get(&level).copied().unwrap_or(0);
    let next = saved.max(min).min(max);
    if next != saved && saved != 0 {
        tracing::warn!(level, saved, min, max, next, "a saved delay offset is outside its queue");
    }
    next
}

/// Notes the real target of a delayed message in its properties, and the level that it really gets; drops its wishes for
/// a time.
pub fn note_target<'a>(properties: &mut Properties<'a>, level: i32, topic: &'a str, queue_id: i32) {
    if properties.number(property::DELAY) != Some(level) {
        properties.set(property::DELAY, level.to_string());
    }
    for name in [property::TIMER_DELIVER_MS, property::TIMER_DELAY_SEC, property::TIMER_DELAY_MS] {
        properties.remove(name);
    }
    properties.set(property::REAL_TOPIC, topic);
    properties.set(property::REAL_QID, queue_id.to_string());
}
