//! The store: the whole public surface of a data directory.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tenonmq_protocol::message::properties::names;
use tenonmq_protocol::message::record::reserve_properties_crc;
use tenonmq_protocol::message::{NewRecord, Properties, RecordView, SysFlag};

use crate::checkpoint::Checkpoint;
use crate::clock::{Clock, SystemClock};
use crate::commit_log::{Allocator, Appended, CommitLog, LogReader, Permit, RecoveryReport, Role};
use crate::config::{FlushPolicy, StoreConfig};
use crate::config_file::ConfigFile;
use crate::consume_queue::Queue;
use crate::consume_queue::entry::Entry;
use crate::consume_queue::file::QueueKind;
use crate::consume_queue::lookup::Boundary;
use crate::consume_queue::table::QueueTable;
use crate::dispatch::Dispatcher;
use crate::error::{AppendError, CutError, FileError, FollowError, OpenError, Unwritable};
use crate::fetch::{FetchLimits, Fetched};
use crate::flush::Flusher;
use crate::fs::{FileSystem, RealFs};
use crate::indexing::Indexer;
use crate::light::{self, Assigner, Places};
use crate::lock::{AbortFile, DirectoryLock};
use crate::metrics::StoreStats;
use crate::mmap::FilePlace;
use crate::open::{self, RunMark};
use crate::poison::{AppendClass, Gate};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::threads::{Keeper, Threads};
use crate::watermark::{Durability, Mark, Ticket, Watermarks};

/// The outside world of a store.
#[derive(Clone)]
pub struct Environment {
    /// Files and directories.
    pub fs: Arc<dyn FileSystem>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Environment {
    /// The real disk and the real time.
    pub fn system() -> Self {
        Self { fs: Arc::new(RealFs), clock: Arc::new(SystemClock) }
    }
}

/// What a query by key found.
#[derive(Debug, Clone, Default)]
pub struct KeyQuery {
    /// Log offsets of records that may have the key, newest first. Equal hashes are enough: compare the keys.
    pub offsets: Vec<u64>,
    /// The same records.
    pub records: Vec<Bytes>,
    /// Store time of the newest entry of the index, in milliseconds.
    pub last_update_timestamp: i64,
    /// Log offset of the newest entry of the index.
    pub last_update_offset: u64,
}

/// What an opened directory consists of.
pub(crate) struct Parts {
    pub(crate) config: StoreConfig,
    pub(crate) env: Environment,
    pub(crate) log: Arc<CommitLog>,
    pub(crate) queues: Arc<QueueTable>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) checkpoint: Arc<Checkpoint>,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) indexer: Arc<Indexer>,
    pub(crate) allocator: Arc<Allocator>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) abort: AbortFile,
    #[allow(dead_code)]
    pub(crate) mark: RunMark,
    pub(crate) lock: DirectoryLock,
    pub(crate) report: RecoveryReport,
}

/// Told of the queue, the message's offset in it, and its tags code.
type LightHook = Box<dyn Fn(&Queue, i64, i64) + Send + Sync>;

struct Shared {
    // Dropped in this order: the threads end before the directory is given back.
    threads: Threads,
    keeper: Arc<Keeper>,
    parts: Parts,
    refused: AtomicU64,
    /// Taken by appends to batch queues and light queues: their records carry queue offsets in their properties.
    offsets_in_text: Mutex<()>,
    /// Told of every message in a light queue.
    light_hook: OnceLock<LightHook>,
    closing: Mutex<bool>,
}

/// An open data directory. A cheap clone; the directory is given back when the last one is dropped.
///
/// Dropping without [`shutdown`](Self::shutdown) is a crash: nothing is lost that the page cache holds, and the next
/// [`open`](Self::open) recovers.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

impl Store {
    /// Locks the directory, loads it, recovers what the last run left, and starts the threads of the store.
    ///
    /// Blocking. Progress of a long recovery is reported through `tracing`; what was found is in [`recovery`](Self::recovery).
    pub fn open(config: StoreConfig, env: Environment) -> Result<Self, OpenError> {
        let parts = open::open(config, env)?;
        let keeper = Arc::new(Keeper::new(&parts));
        let threads = Threads::start(&parts, Arc::clone(&keeper))
            .map_err(FileError::of("start the threads for", &parts.config.root))?;
        parts.log.prepare();
        Ok(Self::of(parts, keeper, threads))
    }

    /// As [`open`](Self::open), but nothing runs beside the caller, so that a run can be repeated exactly: the append that
    /// needs a log file makes it, and [`flush`](Self::flush), [`index_now`](Self::index_now) and [`maintain`](Self::maintain)
    /// are what lets time pass. For simulations.
    pub fn open_in_place(config: StoreConfig, env: Environment) -> Result<Self, OpenError> {
        let parts = open::open(config, env)?;
        parts.allocator.work_in_place();
        let keeper = Arc::new(Keeper::new(&parts));
        let threads = Threads::none(&parts, Arc::clone(&keeper));
        Ok(Self::of(parts, keeper, threads))
    }

    fn of(parts: Parts, keeper: Arc<Keeper>, threads: Threads) -> Self {
        let (refused, offsets_in_text, closing) = (AtomicU64::new(0), Mutex::new(()), Mutex::new(false));
        let light_hook = OnceLock::new();
        Self(Arc::new(Shared { threads, keeper, parts, refused, offsets_in_text, light_hook, closing }))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    fn log(&self) -> &CommitLog {
        &self.0.parts.log
    }

    /// Existing or new queue. Keep the handle: appending then needs no lookup. A handle of a topic deleted since takes no
    /// more appends; look it up again.
    pub fn queue(&self, topic: &str, queue_id: i32) -> Arc<Queue> {
        self.parts().queues.get(topic, queue_id)
    }

    /// The queue, if it exists.
    pub fn find_queue(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
        self.parts().queues.find(topic, queue_id)
    }

    /// Says whether queues of `topic` that are made from now on hold batches (attribute `queue.type=BatchCQ`).
    pub fn declare_batch_topic(&self, topic: &str, batch: bool) {
        self.parts().queues.declare_batch(topic, batch);
    }

    /// Appends one record under one short lock: it gets its physical offset, its queue offset and its store time, is encoded
    /// and written, and can be fetched when this returns. A thread that [gathers](crate::Gathering) has it written later.
    ///
    /// `record.topic` and `record.queue_id` must be those of `queue`. `tags_code` is what its entry holds; for a queue of
    /// [`SCHEDULE_TOPIC`](crate::dispatch::SCHEDULE_TOPIC) it is the delay in milliseconds, and the entry holds the time of delivery.
    pub fn append(
        &self,
        queue: &Queue,
        record: &NewRecord<'_>,
        tags_code: i64,
        class: AppendClass,
    ) -> Result<Appended, AppendError> {
        let mut appended = None;
        self.append_items(&[(queue, *record, tags_code)], class, |place| appended = Some(place))?;
        appended.ok_or(AppendError::Empty)
    }

    /// Appends several records next to each other in one file under one hold of the lock: a client's batch, or a committed
    /// message and its op record. All or nothing.
    pub fn append_all(
        &self,
        items: &[(&Queue, NewRecord<'_>, i64)],
        class: AppendClass,
    ) -> Result<SmallVec<[Appended; 2]>, AppendError> {
        let mut appended = SmallVec::with_capacity(items.len());
        self.append_items(items, class, |place| appended.push(place))?;
        Ok(appended)
    }

    /// Appends a client's batch of `count` messages as one record to a queue of kind [`QueueKind::Batch`]. Sets the flags
    /// and the properties `INNER_NUM` and `INNER_BASE`; the queue offset returned is that of the first message.
    pub fn append_inner_batch(
        &self,
        queue: &Queue,
        record: &NewRecord<'_>,
        count: u16,
        class: AppendClass,
    ) -> Result<Appended, AppendError> {
        let _base_stays = self.0.offsets_in_text.lock();
        let text = std::str::from_utf8(record.properties).unwrap_or_default();
        let mut properties = Properties::parse(text);
        properties.set(names::INNER_NUM, count.to_string());
        properties.set(names::INNER_BASE, queue.max_offset().to_string());
        let mut encoded = Vec::with_capacity(text.len() + 64);
        properties.encode_into(&mut encoded);
        let sys_flag = record.sys_flag | SysFlag::INNER_BATCH | SysFlag::NEED_UNWRAP;
        let record = NewRecord { properties: &encoded, sys_flag, ..*record };
        let mut appended = None;
        self.append_locked(&[(queue, record, 0)], &[], count.max(1), class, |place| appended = Some(place))?;
        appended.ok_or(AppendError::Empty)
    }

    fn append_items(
        &self,
        items: &[(&Queue, NewRecord<'_>, i64)],
        class: AppendClass,
        place: impl FnMut(Appended),
    ) -> Result<(), AppendError> {
        let light = self.parts().config.light_queues > 0;
        if light && items.iter().any(|(_, record, _)| light::wanted(record)) {
            return self.append_light(items, class, place);
        }
        let text_has_offsets =
            |queue: &Queue| queue.kind() == QueueKind::Batch || (light && light::is_light(queue.topic()));
        let holds = items.iter().any(|(queue, _, _)| text_has_offsets(queue));
        let _offsets_stay = holds.then(|| self.0.offsets_in_text.lock());
        self.append_locked(items, &[], 1, class, place)
    }

    /// Appends records of which some are in light queues too.
    fn append_light(
        &self,
        items: &[(&Queue, NewRecord<'_>, i64)],
        class: AppendClass,
        mut place: impl FnMut(Appended),
    ) -> Result<(), AppendError> {
        let offsets_stay = self.0.offsets_in_text.lock();
        let mut assigner = Assigner::new(&self.parts().queues, self.parts().config.light_queues);
        let (mut texts, mut places) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for (_, record, _) in items {
            let assigned = if light::wanted(record) { Some(assigner.assign(record)?) } else { None };
            let (text, of_record) = assigned.map_or_else(Default::default, |(text, places)| (Some(text), places));
            texts.push(text);
            places.push(of_record);
        }
        for (queue, _) in places.iter().flatten() {
            queue.prepare();
        }
        let with_offsets = items.iter().zip(&texts).map(|((queue, record, tags_code), text)| {
            let properties = text.as_deref().unwrap_or(record.properties);
            (*queue, NewRecord { properties, ..*record }, *tags_code)
        });
        self.append_locked(&with_offsets.collect::<Vec<_>>(), &places, 1, class, &mut place)?;
        drop(offsets_stay);
        if let Some(hook) = self.0.light_hook.get() {
            for ((_, _, tags_code), places) in items.iter().zip(&places) {
                places.iter().for_each(|(queue, offset)| hook(queue, *offset, *tags_code));
            }
        }
        Ok(())
    }

    /// Tells `hook` of every message in a light queue: of the queue, the offset in it, and the tags code. Only the first
    /// call counts.
    pub fn on_light(&self, hook: impl Fn(&Queue, i64, i64) + Send + Sync + 'static) {
        let _ = self.0.light_hook.set(Box::new(hook));
    }

    /// The light queue of that name, made if it does not exist. `None` when the store has no light queues, the name is
    /// none of a light queue, or there are as many as may be.
    pub fn light_queue(&self, name: &str) -> Option<Arc<Queue>> {
        let limit = self.parts().config.light_queues;
        (limit > 0 && light::is_legal(name)).then(|| self.parts().queues.light(name, limit))?
    }

    fn append_locked(
        &self,
        items: &[(&Queue, NewRecord<'_>, i64)],
        light: &[Places],
        batch: u16,
        class: AppendClass,
        place: impl FnMut(Appended),
    ) -> Result<(), AppendError> {
        let mut prepared = None;
        for (queue, _, _) in items {
            if !prepared.replace(*queue).is_some_and(|before| std::ptr::eq(before, *queue)) {
                queue.prepare();
            }
        }
        let result = if self.parts().config.record_crc {
            let room = |(_, record, _): &(&Queue, NewRecord<'_>, i64)| {
                let mut properties = record.properties.to_vec();
                reserve_properties_crc(&mut properties);
                properties
            };
            let properties: Vec<_> = items.iter().map(room).collect();
            let with_room = items.iter().zip(&properties).map(|((queue, record, tags_code), properties)| {
                (*queue, NewRecord { properties, ..*record }, *tags_code)
            });
            let items: Vec<_> = with_room.collect();
            self.log().append(&items, light, batch, class, place)
        } else {
            self.log().append(items, light, batch, class, place)
        };
        if result.is_err() {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// What to wait for until everything appended so far is durable.
    pub fn ticket(&self) -> Ticket {
        let log = self.log();
        Ticket { end: log.progress().end(), epoch: log.progress().epoch() }
    }

    /// Resolves when the record of `ticket` is as durable as the flush policy asks: at once for the asynchronous one.
    ///
    /// Must be polled by a tokio runtime with timers.
    pub fn durable(&self, ticket: Ticket, timeout: Duration) -> impl Future<Output = Durability> + Send + 'static {
        let parts = self.parts();
        let waits = parts.flusher.policy() == FlushPolicy::Sync && parts.log.progress().flushed() < ticket.end;
        let waiting = waits.then(|| {
            parts.flusher.ask(ticket.end);
            (Arc::clone(&parts.log), Arc::clone(&parts.gate))
        });
        async move {
            let Some((log, gate)) = waiting else { return Durability::Ok };
            let progress = log.progress();
            let hopeless = || gate.is_shut() || progress.epoch() != ticket.epoch;
            match tokio::time::timeout(timeout, log.reached(Mark::Flushed, ticket.end, hopeless)).await {
                Ok(true) => Durability::Ok,
                Ok(false) if gate.is_poisoned() => Durability::Poisoned,
                Ok(false) if progress.epoch() != ticket.epoch => Durability::NotMaster,
                Ok(false) | Err(_) => Durability::FlushTimeout,
            }
        }
    }

    /// Where in a file of the log `records` are, when they are a slice of it that starts with a record, as those of a
    /// [`fetch`](Self::fetch) are.
    pub fn place_of(&self, records: &Bytes) -> Option<FilePlace> {
        let offset = RecordView::parse(records).ok()?.physical_offset().cast_unsigned();
        let segment = self.log().segment_at(offset)?;
        FilePlace::of(&segment.log, usize::try_from(offset - segment.base).ok()?, records)
    }

    /// Makes everything appended so far durable. Blocking.
    pub fn flush(&self) -> Result<(), FileError> {
        self.parts().flusher.flush()
    }

    /// The whole record that starts at a log offset, by reference to its segment; `None` when there is none (any more).
    pub fn read(&self, physical_offset: u64) -> Option<Bytes> {
        self.log().record(physical_offset)
    }

    /// As [`read`](Self::read), when the length is known from a queue entry: no parsing.
    pub fn read_entry(&self, entry: &Entry) -> Option<Bytes> {
        self.log().bytes(entry.physical_offset, entry.size)
    }

    /// Looks at the record of an entry in place; `None` when it is gone.
    pub fn peek<T>(&self, entry: &Entry, look: impl FnOnce(&RecordView<'_>) -> T) -> Option<T> {
        self.log().peek(entry.physical_offset, entry.size, look)
    }

    /// Records of `queue` from the offset `from` on whose entries `matches` accepts. Statuses and next offsets are Apache's.
    pub fn fetch(&self, queue: &Queue, from: i64, limits: FetchLimits, matches: impl FnMut(&Entry) -> bool) -> Fetched {
        self.log().fetch(queue, from, &limits, matches, |_, _| true)
    }

    /// As [`fetch`](Self::fetch), with a second test that sees the bytes of the whole record.
    pub fn fetch_filtered(
        &self,
        queue: &Queue,
        from: i64,
        limits: FetchLimits,
        matches: impl FnMut(&Entry) -> bool,
        matches_record: impl FnMut(&Entry, &[u8]) -> bool,
    ) -> Fetched {
        self.log().fetch(queue, from, &limits, matches, matches_record)
    }

    /// The tags code of an entry, read from the extension files when the entry holds an address (a directory written by
    /// Apache with `enableConsumeQueueExt`). `None` when it cannot be told: then any tag matches.
    pub fn tags_code(&self, queue: &Queue, entry: &Entry) -> Option<i64> {
        queue.tags_code(entry)
    }

    /// The queue offset that belongs to a store time in milliseconds, see [`Boundary`].
    pub fn offset_by_time(&self, queue: &Queue, ms: i64, boundary: Boundary) -> i64 {
        queue.offset_by_time(ms, boundary, |entry| self.store_time(entry))
    }

    /// When the message at a queue offset was stored, in milliseconds; `None` when it is not there.
    pub fn message_time(&self, queue: &Queue, offset: i64) -> Option<i64> {
        self.store_time(&queue.entry(offset)?)
    }

    /// When the oldest message of a queue was stored, in milliseconds; `None` for a queue without one.
    pub fn earliest_message_time(&self, queue: &Queue) -> Option<i64> {
        self.message_time(queue, queue.min_offset())
    }

    /// When the oldest record of the log was stored, in milliseconds; `None` for an empty log.
    pub fn earliest_log_time(&self) -> Option<i64> {
        let record = self.read(self.log().min())?;
        RecordView::parse(&record).ok().map(|record| record.store_timestamp())
    }

    fn store_time(&self, entry: &Entry) -> Option<i64> {
        self.peek(entry, |record| record.store_timestamp())
    }

    /// Records of `topic` that may have `key`, stored between `begin_ms` and `end_ms`, newest first, at most `max`.
    pub fn query_by_key(&self, topic: &str, key: &str, max: usize, begin_ms: i64, end_ms: i64) -> KeyQuery {
        let hits = self.parts().indexer.index().query(topic, key, max, begin_ms, end_ms);
        let (mut offsets, mut records) = (Vec::new(), Vec::new());
        for offset in hits.offsets {
            if let Some(record) = self.read(offset) {
                offsets.push(offset);
                records.push(record);
            }
        }
        KeyQuery { offsets, records, last_update_timestamp: hits.last_timestamp, last_update_offset: hits.last_offset }
    }

    /// Removes the queues of a topic. Its records stay in the log until they are old.
    pub fn delete_topic(&self, topic: &str) -> Result<(), FileError> {
        self.parts().queues.delete_topic(topic)
    }

    /// The queues of a topic that exist, by id.
    pub fn topic_queues(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.parts().queues.topic_queues(topic)
    }

    /// Messages and bytes appended to each topic since the store was opened; topics without any are left out.
    pub fn traffic(&self) -> Vec<(Arc<str>, [u64; 2])> {
        self.parts().queues.traffic()
    }

    /// Indexes the keys of what is not indexed yet, so that [`query_by_key`](Self::query_by_key) finds all that is in the
    /// log. False if that is more than `max_bytes`, or if it fails. Nothing to do where keys are not indexed at all.
    pub fn index_now(&self, max_bytes: u64) -> bool {
        let parts = self.parts();
        if !self.config().index_enabled {
            return true;
        }
        let behind = parts.log.watermarks().appended.saturating_sub(parts.indexer.indexed());
        if behind > max_bytes || self.write_out().is_err() {
            return false; // what is gathered is in the log as well
        }
        let indexed = parts.indexer.catch_up();
        if let Err(error) = &indexed {
            tracing::error!(%error, cause = %error.source, "keys are not indexed for now");
        }
        indexed.is_ok()
    }

    /// Topics that have queues, with their queue ids.
    pub fn topics_with_queues(&self) -> Vec<(String, Vec<i32>)> {
        self.parts().queues.topics()
    }

    /// How far the log is appended, flushed and confirmed, after what was gathered is written.
    pub fn watermarks(&self) -> Watermarks {
        let _ = self.write_out(); // then `appended` is ahead of the others, and so it is said
        self.log().watermarks()
    }

    /// Writes what threads have [gathered](crate::Gathering), so that a process that is killed leaves it behind. Costs nothing when
    /// nothing is.
    ///
    /// # Errors
    /// The records keep their places and are tried again by whoever comes next. Nobody may be told of them.
    pub fn write_out(&self) -> Result<(), FileError> {
        self.log().write_out()
    }

    /// Whether ordinary sends are taken now, and if not, the exact reason.
    pub fn writable(&self) -> Result<(), Unwritable> {
        self.log().writable()
    }

    /// Lets this broker write, or not; who waits for a ticket of another epoch is told. A record that a slave has in part only is cut
    /// off before it becomes master; if that fails the store is poisoned.
    pub fn set_permit(&self, permit: Permit) {
        let Watermarks { confirmed, appended, .. } = self.watermarks();
        if permit.role == Role::Master
            && confirmed < appended
            && let Err(error) = self.cut(confirmed)
        {
            tracing::error!(%error, confirmed, appended, "the part of a record cannot be cut off");
        }
        self.log().set_permit(permit);
    }

    /// The right to write, as it stands.
    pub fn permit(&self) -> Permit {
        self.log().tail_state().permit
    }

    /// Numbers for metrics and admin answers.
    pub fn stats(&self) -> StoreStats {
        let parts = self.parts();
        let (flushes, last_flush_us) = parts.flusher.counts();
        let tail = parts.log.tail_state();
        let watermarks = parts.log.watermarks();
        StoreStats {
            watermarks,
            indexed: parts.indexer.indexed(),
            segments: parts.log.segments().len(),
            queues: parts.queues.all().len(),
            appended_records: tail.records,
            appended_bytes: tail.bytes,
            refused_appends: self.0.refused.load(Ordering::Relaxed),
            flushes,
            last_flush_us,
            last_store_timestamp: tail.last_timestamp,
        }
    }

    /// What opening found and did.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.parts().report
    }

    /// The settings it was opened with.
    pub fn config(&self) -> &StoreConfig {
        &self.parts().config
    }

    /// The data directory.
    pub fn root(&self) -> &Path {
        &self.parts().config.root
    }

    /// The outside world it was opened with.
    pub fn environment(&self) -> &Environment {
        &self.parts().env
    }

    /// The disk it was opened on.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.parts().env.fs
    }

    /// A file below `config/`, loaded and saved with Apache's `.bak` rule.
    pub fn config_file(&self, name: &str) -> ConfigFile {
        ConfigFile::new(Arc::clone(&self.parts().env.fs), &self.parts().config.root, name)
    }

    /// Reads the log from an offset on, and keeps what it has not read from being removed. Sees what readers may see.
    pub fn log_reader(&self, from: u64) -> LogReader {
        LogReader::new(Arc::clone(&self.parts().log), from, Mark::Confirmed)
    }

    /// End of the last log file that should have been removed and was kept for a [`LogReader`], if there was one: who
    /// reads before it is asked to move on.
    pub fn removal_held_up(&self) -> Option<u64> {
        Some(self.log().held_up()).filter(|end| *end > 0)
    }

    /// As [`log_reader`](Self::log_reader), up to the end of the log: for replication.
    pub fn replica_reader(&self, from: u64) -> LogReader {
        LogReader::new(Arc::clone(&self.parts().log), from, Mark::Appended)
    }

    /// Takes over bytes of the master's log, which start at `offset` = the end of this one and do not cross the end of a file; files
    /// of both must have one length. Needs the role of a slave. Records are readable when their last byte is there. Returns the new end.
    pub fn follow(&self, offset: u64, bytes: &[u8]) -> Result<u64, FollowError> {
        self.log().follow(offset, bytes, &self.parts().dispatcher)
    }

    /// Takes the log back to `offset`, which must be the start of a record, or its end: what is behind is gone from log and queues,
    /// durably, and cannot come back. Records that readers still hold stay readable. Blocking.
    pub fn cut(&self, offset: u64) -> Result<(), CutError> {
        let parts = self.parts();
        parts.log.cut(offset, || {
            parts.queues.truncate(offset)?;
            parts.indexer.cut(offset)
        })
    }

    /// Removes expired files in the next rounds, whatever the hour (an operator asked).
    pub fn trigger_clean(&self) {
        self.0.keeper.ask_cleaning();
    }

    /// Does the periodic work that is due by the clock. The store does so by itself twice a second; a test that moves the clock need
    /// not wait for it.
    pub fn maintain(&self) {
        self.parts().allocator.tick_in_place();
        self.0.keeper.tick();
    }

    /// Stops in order: no more writes, threads ended, log and queues and checkpoint on disk, the segment prepared in vain removed, `abort` removed.
    ///
    /// After an error, or on a poisoned store, `abort` stays, and the next start recovers. Calling it again does nothing.
    pub fn shutdown(&self) -> Result<(), FileError> {
        let mut closing = self.0.closing.lock();
        if std::mem::replace(&mut *closing, true) {
            return Ok(());
        }
        let parts = self.parts();
        parts.gate.close();
        parts.log.wait_for_appends();
        self.0.threads.stop();
        if parts.gate.is_poisoned() {
            tracing::error!("the store is poisoned: stopping without a flush, the next start recovers");
            parts.log.progress().give_up();
            return Ok(());
        }
        self.0.keeper.finish()?;
        parts.allocator.discard()?;
        let _ = &parts.lock;
        parts.abort.remove()?;
        parts.log.progress().give_up();
        tracing::info!(root = %parts.config.root.display(), "the store is shut down");
        Ok(())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("root", &self.root())
            .field("watermarks", &self.watermarks())
            .finish_non_exhaustive()
    }
}
