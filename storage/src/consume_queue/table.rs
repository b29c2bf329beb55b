//! All queues of the store, by topic and queue id.
//!
//! A lookup borrows the topic and allocates nothing. Loading many queues is spread over the processors: it is mostly
//! waiting for the kernel to list directories.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::ext::ExtSettings;
use super::file::{Place, QueueKind, is_file_name};
use super::load::LastRun;
use super::open_files::Shared;
use super::{Dispatch, Dispatched, Queue};
use crate::config::StoreConfig;
use crate::error::{FileError, OpenError};
use crate::fs::FileSystem;
use crate::light::{self, is_light};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, RwLock};

/// Most threads used for loading.
const MAX_LOADERS: usize = 8;

/// The queues of one topic, sorted by id.
type TopicQueues = Vec<Arc<Queue>>;

/// Every queue of the store.
pub struct QueueTable {
    fs: Arc<dyn FileSystem>,
    root: Arc<Path>,
    simple_size: u64,
    batch_size: u64,
    ext: ExtSettings,
    pub(super) shared: Arc<Shared>,
    topics: RwLock<HashMap<Arc<str>, TopicQueues>>,
    /// Topics whose new queues hold batches.
    batch_topics: RwLock<HashSet<String>>,
    /// Number of light queues.
    light: AtomicUsize,
}

impl QueueTable {
    /// Loads all queues below the root of `config`. `last` says how the last run ended.
    ///
    /// Fails when a file has another length than configured, or cannot be read.
    pub fn load(config: &StoreConfig, fs: &Arc<dyn FileSystem>, last: LastRun) -> Result<Self, OpenError> {
        let table = Self {
            fs: Arc::clone(fs),
            root: config.root.as_path().into(),
            simple_size: config.consume_queue_file_size.next_multiple_of(QueueKind::Simple.entry_len()),
            batch_size: config.batch_consume_queue_file_size.next_multiple_of(QueueKind::Batch.entry_len()),
            ext: ExtSettings { file_size: config.consume_queue_ext_file_size.max(1), write: config.consume_queue_ext },
            shared: Shared::new(),
            topics: RwLock::default(),
            batch_topics: RwLock::new(config.batch_topics.clone()),
            light: AtomicUsize::new(0),
        };
        for kind in [QueueKind::Simple, QueueKind::Batch] {
            table.load_kind(kind, last)?;
        }
        let light = table.topics.read().keys().filter(|topic| is_light(topic)).count();
        table.light.store(light, Ordering::Relaxed);
        Ok(table)
    }

    /// The queue, if it exists.
    pub fn find(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
        let topics = self.topics.read();
        let queues = topics.get(topic)?;
        let at = queues.binary_search_by_key(&queue_id, |queue| queue.queue_id()).ok()?;
        queues.get(at).cloned()
    }

    /// The queue, made if it does not exist. No file is made before its first entry.
    pub fn get(&self, topic: &str, queue_id: i32) -> Arc<Queue> {
        if let Some(queue) = self.find(topic, queue_id) {
            return queue;
        }
        let kind = if self.batch_topics.read().contains(topic) { QueueKind::Batch } else { QueueKind::Simple };
        let mut topics = self.topics.write();
        let name = topics.get_key_value(topic).map_or_else(|| topic.into(), |(name, _)| Arc::clone(name));
        let queues = topics.entry(Arc::clone(&name)).or_default();
        if queues.is_empty() && is_light(topic) {
            self.light.fetch_add(1, Ordering::Relaxed);
        }
        match queues.binary_search_by_key(&queue_id, |queue| queue.queue_id()) {
            // The search found it: inside.
            Ok(at) => Arc::clone(&queues[at]),
            Err(at) => {
                let queue = Queue::new(self.place(name, queue_id, kind), Arc::clone(&self.shared));
                queues.insert(at, Arc::clone(&queue));
                queue
            }
        }
    }

    /// The light queue of that name, made if it does not exist; `None` when there are `limit` already.
    pub fn light(&self, name: &str, limit: usize) -> Option<Arc<Queue>> {
        let found = self.find(name, light::QUEUE_ID);
        found.or_else(|| (self.light.load(Ordering::Relaxed) < limit).then(|| self.get(name, light::QUEUE_ID)))
    }

    /// Says whether queues of `topic` that are made from now on hold batches (attribute `queue.type=BatchCQ`).
    pub fn declare_batch(&self, topic: &str, batch: bool) {
        let mut topics = self.batch_topics.write();
        if batch {
            topics.insert(topic.to_owned());
        } else {
            topics.remove(topic);
        }
    }

    /// Writes the entry of one record to its queue: the way of records that recovery meets or another broker sends.
    /// What was appended here takes [`Queue::dispatch_reserved`], which ends in the same place.
    pub fn dispatch(&self, topic: &str, queue_id: i32, record: &Dispatch) -> Result<Dispatched, FileError> {
        self.get(topic, queue_id).dispatch(record)
    }

    /// Every queue, in no order.
    pub fn all(&self) -> Vec<Arc<Queue>> {
        self.topics.read().values().flatten().cloned().collect()
    }

    /// Topics with the ids of their queues, sorted.
    pub fn topics(&self) -> Vec<(String, Vec<i32>)> {
        let topics = self.topics.read();
        let ids = |queues: &TopicQueues| queues.iter().map(|queue| queue.queue_id()).collect();
        let mut list: Vec<_> = topics.iter().map(|(topic, queues)| (topic.to_string(), ids(queues))).collect();
        list.sort_unstable();
        list
    }

    /// Messages and bytes appended to each topic since the store was opened; topics without any are left out.
    pub fn traffic(&self) -> Vec<(Arc<str>, [u64; 2])> {
        let add = |[messages, bytes]: [u64; 2], queue: &Arc<Queue>| {
            let [more, longer] = queue.appended();
            [messages + more, bytes + longer]
        };
        let topics = self.topics.read();
        let totals = topics.iter().map(|(topic, queues)| (topic, queues.iter().fold([0; 2], add)));
        totals.filter(|(_, [messages, _])| *messages > 0).map(|(topic, counts)| (Arc::clone(topic), counts)).collect()
    }

    /// Queues of one topic, by id.
    pub fn topic_queues(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.topics.read().get(topic).cloned().unwrap_or_default()
    }

    /// End of the last indexed record over all queues; `None` when no queue has an entry. Recovery dispatches
    /// records from there on again.
    pub fn max_physical_offset(&self) -> Option<u64> {
        let topics = self.topics.read();
        topics.values().flatten().map(|queue| queue.max_physical_offset()).max().filter(|&end| end > 0)
    }

    /// Takes every queue back to a point of the log, durably: entries of records at `physical` or behind it are gone.
    /// Call with the append lock held, or before the store is open.
    pub fn truncate(&self, physical: u64) -> Result<(), FileError> {
        for queue in self.all() {
            if queue.max_physical_offset() > physical && queue.truncate(physical)? {
                queue.sync_end()?;
            }
        }
        Ok(())
    }

    /// Raises the minimum offsets to what the log still has, without touching files: at start.
    pub fn correct_min(&self, physical: u64) {
        for queue in self.all() {
            queue.correct_min(physical);
        }
    }

    /// Forgets entries of records before `physical` and removes files that held only such. Goes on after an error, and
    /// returns the first one. `Ok` is the number of files removed.
    pub fn delete_before(&self, physical: u64) -> Result<usize, FileError> {
        let mut removed = 0;
        let mut failed = None;
        for queue in self.all() {
            match queue.delete_before(physical) {
                Ok(count) => removed += count,
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    /// Makes the entries of all queues durable in which at least `least_pages` pages of 4096 bytes wait for it.
    ///
    /// 0 is the thorough flush, after which the store time of the last record dispatched *before the call* may go
    /// to the checkpoint. Looks only at queues that were written since the last call. After an error everything that was
    /// not flushed is tried again by the next call.
    pub fn flush(&self, least_pages: u32) -> Result<(), FileError> {
        let mut failed = None;
        for weak in self.shared.take_dirty() {
            let Some(queue) = weak.upgrade().filter(|queue| !queue.is_deleted()) else { continue };
            // First, so that an entry written from here on is noted again.
            queue.dirty.store(false, Ordering::Release);
            match queue.flush(least_pages) {
                Ok(true) => {}
                Ok(false) => queue.note_dirty(),
                Err(error) => {
                    queue.note_dirty();
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Unmaps the files of queues that nobody used since the last call. To be called every minute or so.
    pub fn close_idle(&self) {
        self.shared.close_idle();
    }

    /// Number of queue files mapped now.
    pub fn mapped_files(&self) -> usize {
        self.shared.mapped().max(0).cast_unsigned()
    }

    /// Removes all queues of a topic with their files and extension files. Handles that others keep take no more entries.
    pub fn delete_topic(&self, topic: &str) -> Result<(), FileError> {
        let queues = self.topics.write().remove(topic).unwrap_or_default();
        if is_light(topic) && !queues.is_empty() {
            self.light.fetch_sub(1, Ordering::Relaxed);
        }
        for queue in &queues {
            queue.destroy()?;
        }
        self.declare_batch(topic, false);
        if !is_file_name(topic) {
            return Ok(());
        }
        for folder in [QueueKind::Simple.folder(), QueueKind::Batch.folder(), super::ext::FOLDER] {
            let directory = self.root.join(folder).join(topic);
            if self.fs.exists(&directory) {
                self.fs.remove_dir_all(&directory).map_err(FileError::of("remove", &directory))?;
            }
        }
        Ok(())
    }

    /// Removes every queue: there is no log that they could point to.
    pub fn delete_all(&self) -> Result<(), FileError> {
        for (topic, _) in self.topics() {
            let batch = self.batch_topics.read().contains(&topic);
            self.delete_topic(&topic)?;
            self.declare_batch(&topic, batch);
        }
        Ok(())
    }

    fn place(&self, topic: Arc<str>, queue_id: i32, kind: QueueKind) -> Place {
        let file_size = match kind {
            QueueKind::Simple => self.simple_size,
            QueueKind::Batch => self.batch_size,
        };
        Place {
            fs: Arc::clone(&self.fs),
            root: Arc::clone(&self.root),
            topic,
            queue_id,
            kind,
            file_size,
            ext: self.ext,
        }
    }

    /// Loads the queues of one kind, a topic at a time, on several threads.
    fn load_kind(&self, kind: QueueKind, last: LastRun) -> Result<(), OpenError> {
        let folder = self.root.join(kind.folder());
        let topics = self.fs.list(&folder).map_err(FileError::of("list", &folder))?;
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let work = || {
            while let Some(topic) = topics.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !topic.is_dir || failed.lock().is_some() {
                    continue;
                }
                if let Err(error) = self.load_topic(&topic.name, kind, last) {
                    failed.lock().get_or_insert(error);
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MAX_LOADERS);
        if topics.len() < 64 {
            work();
        } else {
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            });
        }
        failed.into_inner().map_or(Ok(()), Err)
    }

    fn load_topic(&self, topic: &str, kind: QueueKind, last: LastRun) -> Result<(), OpenError> {
        let directory = self.root.join(kind.folder()).join(topic);
        let name: Arc<str> = topic.into();
        let mut queues = Vec::new();
        for entry in self.fs.list(&directory).map_err(FileError::of("list", &directory))? {
            let Ok(queue_id) = entry.name.parse::<i32>() else { continue };
            if entry.is_dir {
                let place = self.place(Arc::clone(&name), queue_id, kind);
                queues.push(Queue::load(place, Arc::clone(&self.shared), last)?);
            }
        }
        let mut topics = self.topics.write();
        let all = topics.entry(name).or_default();
        for queue in queues {
            // A queue that exists in both kinds was one topic deleted and made again: the later kind, batches, holds.
            all.retain(|other| other.queue_id() != queue.queue_id());
            all.push(queue);
        }
        all.sort_unstable_by_key(|queue| queue.queue_id());
        Ok(())
    }
}
