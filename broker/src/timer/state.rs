//! The queue of the timer topic, taken in record by record, and what is done with those that are due.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tenonmq_protocol::message::{RecordView, properties::java_hash};
use tenonmq_storage::{Entry, FileError, LogReader, Queue, Store};

use super::{
    Timers,
    check::{Check, CheckFile},
    handover::{self, Shape, Unit},
    index::{Index, Key},
    journal::{Journal, Line},
    metrics::Metrics,
    resume::{Resume, take},
    timed::Timed,
};
use crate::core::Core;

/// Records taken in before those that are due have their turn.
const TAKE_IN: usize = 4096;
/// Time between two savings for Apache, in milliseconds (`timerFlushIntervalMs`).
const SAVE_MS: i64 = 1000;
/// Least time between two lines of the journal, in milliseconds: what is delivered between them is found in the log.
const LINE_MS: i64 = 100;

/// A message that deletes others, at a place of the queue.
#[derive(Clone, Copy)]
pub(super) struct Deletion {
    pub(super) at: i64,
    pub(super) was_used: bool,
}

/// See the module.
pub(super) struct State {
    pub(super) index: Index,
    pub(super) deletions: FxHashMap<u64, SmallVec<[Deletion; 1]>>,
    /// What was done before this run; gone when everything of then is taken in.
    resume: Option<Resume>,
    /// Everything that was due was delivered once since the start: a mark tells the truth from then on.
    is_settled: bool,
    journal: Journal,
    file: CheckFile,
    check: Check,
    /// The log goes on without us; and: another broker writes it.
    is_stale: bool,
    is_others: bool,
    saved_ms: i64,
    line_ms: i64,
    /// Apache's wheel and log may be there.
    apache_is_there: bool,
    /// Keeps the log files of pending timers.
    hold: LogReader,
    /// Where `hold` goes when the log is on disk up to the first offset: copies that are not do not free their origin.
    hold_next: Option<(u64, u64)>,
    /// End of the queue up to which everything is taken in before the next deliveries, and when that was decided.
    goal: Option<(i64, i64)>,
}

impl State {
    pub(super) fn open(store: &Store, queue: &Queue) -> Result<Self, FileError> {
        let file = CheckFile::new(store);
        let check = file.read()?.map(|found| found.check).unwrap_or_default();
        let (resume, journal) = Resume::find(store, queue)?;
        let end = store.watermarks().appended;
        let hold = store.log_reader(first_from(queue, resume.floor).unwrap_or(end));
        Ok(Self {
            index: Index::new(resume.mark.through, resume.floor),
            deletions: FxHashMap::default(),
            resume: Some(resume),
            is_settled: false,
            journal,
            file,
            check,
            is_stale: false,
            is_others: false,
            saved_ms: i64::MIN,
            line_ms: i64::MIN,
            apache_is_there: true,
            hold,
            hold_next: None,
            goal: None,
        })
    }

    pub(super) fn check(&self) -> Check {
        self.check
    }

    /// Whether messages from before the start are still to be taken in; nothing may be delivered until then.
    pub(super) fn is_resuming(&self) -> bool {
        self.resume.is_some()
    }

    /// Another broker is the master, or timers are switched off: what is known here may be wrong when that ends, and no
    /// log file is kept for it.
    pub(super) fn leave(&mut self, others_write: bool) -> Result<(), FileError> {
        if others_write && !self.is_others {
            self.journal.clear()?;
            self.is_others = true;
        }
        if !self.is_stale {
            self.is_stale = true;
            self.hold.seek(u64::MAX);
        }
        Ok(())
    }

    /// This broker is the master and delivers. If it did not before, everything is found out anew.
    pub(super) fn enter(&mut self, store: &Store, queue: &Queue, metrics: &Metrics) -> Result<(), FileError> {
        if self.is_stale {
            *self = Self::open(store, queue)?;
            metrics.forget();
            metrics.frontier.store(self.index.frontier(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes in, in bounded steps, what there was at some moment. That moment when it is all in: then no recall that came
    /// before it is missed.
    pub(super) fn take_in_all(&mut self, store: &Store, queue: &Queue, metrics: &Metrics, now_ms: i64) -> Option<i64> {
        let (end, at_ms) = *self.goal.get_or_insert_with(|| (queue.max_offset(), now_ms));
        self.take_in(store, queue, metrics, now_ms);
        if self.index.frontier() < end {
            return None;
        }
        self.goal = None;
        Some(at_ms)
    }

    /// Takes in what is new, a bounded number of records. True when there is more that can be read.
    pub(super) fn take_in(&mut self, store: &Store, queue: &Queue, metrics: &Metrics, now_ms: i64) -> bool {
        if self.index.frontier() < queue.min_offset() {
            tracing::warn!(
                from = self.index.frontier(),
                to = queue.min_offset(),
                "timer messages are gone from the log"
            );
            self.index.pass(queue.min_offset());
        }
        let end = queue.max_offset();
        let mut left = TAKE_IN;
        while left > 0 && self.index.frontier() < end {
            let start = self.index.frontier();
            for at in queue.entries(start).take(left) {
                left -= 1;
                self.take_one(store, &at.entry, at.queue_offset, metrics, now_ms);
            }
            if self.index.frontier() == start {
                let Some(behind) = queue.behind_gap(start) else { return false }; // later perhaps
                let next = behind.min(end).max(start + 1);
                tracing::warn!(from = start, to = next, "timer messages are gone from the log");
                self.index.pass(next);
                left -= 1;
            }
        }
        if self.resume.as_ref().is_some_and(|resume| self.index.frontier() >= resume.until) {
            self.end_resuming(store, queue);
        }
        metrics.pending.store(self.index.len(), Ordering::Relaxed);
        metrics.frontier.store(self.index.frontier(), Ordering::Relaxed);
        self.index.frontier() < queue.max_offset()
    }

    fn take_one(&mut self, store: &Store, entry: &Entry, at: i64, metrics: &Metrics, now_ms: i64) {
        let taken =
            store.peek(entry, |record| Timed::of(*record).map(|timed| self.take_timed(&timed, at, metrics, now_ms)));
        self.index.pass(at + 1);
        match taken {
            Some(Ok(())) => {}
            Some(Err(reason)) => tracing::error!(at, reason, "a timer message cannot be delivered"),
            None => tracing::error!(at, "a timer message is gone from the log"),
        }
    }

    fn take_timed(&mut self, timed: &Timed<'_>, at: i64, metrics: &Metrics, now_ms: i64) {
        let key = timed.key(at);
        if let Some(resume) = self.resume.as_mut().filter(|resume| at < resume.until) {
            if resume.mark.is_done(key) {
                return;
            }
            if timed.rolls > 0 {
                *resume.put_back.entry(timed.identity(timed.rolls - 1)).or_default() += 1;
            }
            if resume.take_delivered(timed) {
                return;
            }
        }
        let is_deletion = timed.deletes.is_some();
        if is_deletion {
            self.deletions.entry(timed.deletion_hash()).or_default().push(Deletion { at, was_used: false });
        }
        self.index.add(key);
        metrics.taken_in.fetch_add(1, Ordering::Relaxed);
        metrics.count(timed.real_topic, if is_deletion { -1 } else { 1 }, now_ms);
    }

    /// All messages from before the start are in: those that were put back since are dropped.
    fn end_resuming(&mut self, store: &Store, queue: &Queue) {
        let Some(Resume { until, mut put_back, .. }) = self.resume.take() else { return };
        if !put_back.is_empty() {
            self.index.retain(|key| {
                let is_replaced = key.at < until
                    && peek(store, queue, key.at, |timed| take(&mut put_back, timed.identity(timed.rolls)))
                        == Some(true);
                !is_replaced
            });
        }
        if self.index.len() > 0 {
            tracing::info!(pending = self.index.len(), "timer messages wait");
        }
    }

    /// Whether a pending timer was recalled.
    pub(super) fn is_deleted(&mut self, store: &Store, queue: &Queue, timed: &Timed<'_>) -> bool {
        if self.deletions.is_empty() || timed.deletes.is_some() {
            return false;
        }
        let Some(deletions) = self.deletions.get_mut(&timed.deletion_hash()) else { return false };
        let hit = |deletion: &&mut Deletion| {
            peek(store, queue, deletion.at, |other| timed.is_deleted_by(other)).unwrap_or(false)
        };
        deletions.iter_mut().find(hit).map(|deletion| deletion.was_used = true).is_some()
    }

    /// Places of messages that may delete this one.
    pub(super) fn deletions_of(&self, timed: &Timed<'_>) -> SmallVec<[i64; 1]> {
        self.deletions.get(&timed.deletion_hash()).into_iter().flatten().map(|deletion| deletion.at).collect()
    }

    /// A message that deletes others has done so, or never will. Whether it has.
    pub(super) fn end_deletion(&mut self, timed: &Timed<'_>, at: i64) -> bool {
        let hash = timed.deletion_hash();
        let Some(deletions) = self.deletions.get_mut(&hash) else { return false };
        let found = deletions.iter().position(|deletion| deletion.at == at);
        let was_used = found.is_some_and(|found| deletions.swap_remove(found).was_used);
        if deletions.is_empty() {
            self.deletions.remove(&hash);
        }
        was_used
    }

    /// Nothing that is due is left.
    pub(super) fn drained(&mut self, now_ms: i64) {
        self.index.drained(now_ms);
        self.is_settled = true;
    }

    /// Writes what was done, if it can be told, and for Apache once a second.
    pub(super) fn save(&mut self, store: &Store, queue: &Queue, metrics: &Metrics, delivered: bool, now_ms: i64) {
        let is_past = |since_ms: i64, least_ms: i64| now_ms.saturating_sub(since_ms) >= least_ms || now_ms < since_ms;
        let is_time = is_past(self.saved_ms, SAVE_MS);
        let is_wanted = is_time || (delivered && is_past(self.line_ms, LINE_MS));
        if !self.is_settled || !is_wanted {
            return;
        }
        if self.index.frontier() == 0 {
            self.saved_ms = now_ms;
            self.move_hold(store, queue); // there never was a timer: the log goes all the same
            return;
        }
        let Some(line) = self.line(store) else { return };
        self.line_ms = now_ms;
        let saved = self.save_line(store, line).and_then(|()| {
            if !is_time {
                return Ok(());
            }
            self.saved_ms = now_ms;
            metrics.sample(now_ms);
            self.move_hold(store, queue);
            self.save_check(store, line, metrics, now_ms)
        });
        if let Err(error) = saved {
            tracing::error!(%error, cause = %error.source, "how far timers are is not saved; trying again");
        }
    }

    fn line(&self, store: &Store) -> Option<Line> {
        let log_end = store.watermarks().appended; // every delivery so far lies before it: this thread made them
        self.index.mark().map(|mark| Line { mark, floor: self.index.floor(), log_end })
    }

    fn save_line(&mut self, store: &Store, line: Line) -> Result<(), FileError> {
        if self.journal.last().is_some_and(|last| last.log_end == line.log_end && last.floor == line.floor) {
            return Ok(());
        }
        self.journal.write(line, store.watermarks().flushed)
    }

    fn save_check(&mut self, store: &Store, line: Line, metrics: &Metrics, now_ms: i64) -> Result<(), FileError> {
        let read_ms = line.mark.through.due_ms.min(now_ms).max(0);
        let check = self.next_check(read_ms - read_ms % 1000, 0, line.floor, now_ms);
        self.write_check(check, metrics, false)?;
        if self.apache_is_there {
            handover::remove(store)?; // not before journal and check say where the run goes on without them
            self.apache_is_there = false;
        }
        Ok(())
    }

    fn next_check(&self, read_ms: i64, log_position: i64, queue_offset: i64, now_ms: i64) -> Check {
        let counter = self.check.counter.wrapping_add(1);
        Check { read_ms, log_position, queue_offset, changed_ms: now_ms, counter }
    }

    fn write_check(&mut self, check: Check, metrics: &Metrics, durable: bool) -> Result<(), FileError> {
        if check.says_the_same_as(&self.check) && !self.apache_is_there {
            return Ok(());
        }
        self.file.write(&check, durable)?;
        self.check = check;
        *metrics.check.lock() = check;
        Ok(())
    }

    /// Lets log files go that no pending timer needs.
    fn move_hold(&mut self, store: &Store, queue: &Queue) {
        let marks = store.watermarks(); // before the look into the queue: what comes next lies behind the end
        if let Some((until, first)) = self.hold_next {
            if marks.flushed < until {
                return;
            }
            self.hold.seek(first);
        }
        let oldest = self.oldest(store, queue);
        let end = (oldest >= queue.max_offset()).then_some(marks.appended);
        self.hold_next = first_from(queue, oldest).or(end).map(|first| (marks.appended, first));
    }

    /// Whether a log file cannot be removed because of the oldest pending timers.
    pub(super) fn holds_up(&self, store: &Store, queue: &Queue) -> bool {
        let Some(wanted) = store.removal_held_up() else { return false };
        self.is_settled
            && self.index.len() > 0
            && first_from(queue, self.oldest(store, queue)).is_some_and(|first| first < wanted)
    }

    /// The oldest pending place; exactly, when a log file waits for it.
    fn oldest(&self, store: &Store, queue: &Queue) -> i64 {
        let floor = self.index.floor();
        let wanted = store.removal_held_up().unwrap_or(0);
        let is_wanted = first_from(queue, floor).is_some_and(|first| first < wanted);
        if is_wanted { self.index.oldest() } else { floor }
    }

    /// See [`Timers::close`].
    pub(super) fn close(&mut self, core: &Core, timers: &Timers) -> Result<(), FileError> {
        let (store, queue) = (&core.store, &*timers.queue);
        if self.is_stale || !self.is_settled || self.index.frontier() == 0 {
            return Ok(()); // the files say as before where to go on
        }
        let now_ms = core.clock.now_ms();
        while self.take_in(store, queue, &timers.metrics, now_ms) {}
        let Some(line) = self.line(store) else { return Ok(()) };
        self.journal.write(line, store.watermarks().flushed)?;
        self.journal.sync()?;
        timers.metrics.save()?;
        handover::remove(store)?;
        self.apache_is_there = true;
        if self.index.len() == 0 {
            let read_ms = line.mark.through.due_ms.min(now_ms).max(0);
            let check = self.next_check(read_ms - read_ms % 1000, 0, self.index.frontier(), now_ms);
            return self.write_check(check, &timers.metrics, true);
        }
        let mut pending: Vec<_> = self.index.pending().collect();
        pending.sort_unstable_by_key(|key| key.at);
        let rules = &core.config.load().messages;
        let shape = Shape {
            precision_ms: rules.timer_precision_ms,
            window: rules.timer_roll_window,
            file_size: rules.timer_log_file_size,
        };
        let units = pending.into_iter().filter_map(|key| unit(store, queue, key));
        let written = handover::write(store, shape, now_ms, units)?;
        let check = self.next_check(written.first_ms, written.log_position, self.index.frontier(), now_ms);
        self.write_check(check, &timers.metrics, true)
    }
}

fn unit(store: &Store, queue: &Queue, key: Key) -> Option<Unit> {
    let entry = queue.entry(key.at)?;
    store.peek(&entry, |record| {
        let timed = Timed::of(*record).ok()?;
        Some(Unit {
            out_ms: timed.out_ms,
            stored_ms: record.store_timestamp(),
            log_offset: entry.physical_offset,
            size: entry.size,
            topic_hash: java_hash(timed.real_topic),
            is_deletion: timed.deletes.is_some(),
        })
    })?
}

/// Log offset of the first message at this place of the queue or behind it.
pub(super) fn first_from(queue: &Queue, at: i64) -> Option<u64> {
    queue.entries(at.max(queue.min_offset())).next().map(|first| first.entry.physical_offset)
}

/// Looks at the timer message at a place of the queue; `None` when it is gone.
pub(super) fn peek<T>(store: &Store, queue: &Queue, at: i64, look: impl FnOnce(&Timed<'_>) -> T) -> Option<T> {
    let entry = queue.entry(at)?;
    store.peek(&entry, |record| Timed::of(*record).ok().map(|timed| look(&timed)))?
}

/// The record at a place of the queue, by reference.
pub(super) fn read(store: &Store, queue: &Arc<Queue>, at: i64) -> Option<Bytes> {
    let bytes = store.read_entry(&queue.entry(at)?)?;
    RecordView::parse(&bytes).is_ok().then_some(bytes)
}
