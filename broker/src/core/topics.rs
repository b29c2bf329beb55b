//! The topics of this broker: their configuration, and the queues behind them.
//!
//! Lookups read a snapshot and take no lock. Changes copy the table, save `config/topics.json` and raise its data
//! version before they return, one at a time. A topic that comes into being with a request is saved beside the network
//! threads instead, and the request is answered after that. Rules: `transactions-retry-delay.md` section 5.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tenonmq_protocol::body::{DataVersion, TopicConfig, TopicConfigTable};
use tenonmq_storage::{ConfigFile, Queue, Store, light};
use tokio::{runtime::Handle, sync::watch};
use tracing::error;

use super::names;

/// Permission bits of topics and brokers.
pub mod perm {
    /// New topics take their permission from this one.
    pub const INHERIT: i32 = 1;
    /// Producers may send.
    pub const WRITE: i32 = 2;
    /// Consumers may pull.
    pub const READ: i32 = 4;
    /// What an ordinary topic has.
    pub const READ_WRITE: i32 = READ | WRITE;
}

/// Most queues that a topic may have; a number beyond it is a typing error that would cost memory for ever.
pub const MAX_QUEUES: i32 = 65_536;

/// One topic and handles to its queues.
#[derive(Debug)]
pub struct Topic {
    /// Its configuration, as clients and other brokers see it.
    pub config: TopicConfig,
    queues: Box<[OnceLock<Arc<Queue>>]>,
    /// Number of the change that made it; it is in the file once that change is.
    change: u64,
}

impl Topic {
    fn new(config: TopicConfig, change: u64) -> Self {
        let count = config.read_queue_nums.max(config.write_queue_nums).max(0);
        let queues = (0..count).map(|_| OnceLock::new()).collect();
        Self { config, queues, change }
    }

    /// The topic of a light queue. It is in no file.
    fn light(queue: Arc<Queue>) -> Self {
        let config = topic(queue.topic(), 1, perm::READ_WRITE);
        Self { config, queues: [OnceLock::from(queue)].into(), change: 0 }
    }

    /// The handle of one of the topic's queues; `None` for an id beyond them.
    pub fn queue(&self, store: &Store, queue_id: i32) -> Option<&Arc<Queue>> {
        let slot = self.queues.get(usize::try_from(queue_id).ok()?)?;
        Some(slot.get_or_init(|| store.queue(&self.config.topic_name, queue_id)))
    }

    /// Queues of this topic: ids are below this number.
    pub fn queue_count(&self) -> i32 {
        self.config.read_queue_nums.max(self.config.write_queue_nums).max(0)
    }

    /// Whether producers may send.
    pub fn is_writable(&self) -> bool {
        self.config.perm & perm::WRITE != 0
    }

    /// Whether consumers may pull.
    pub fn is_readable(&self) -> bool {
        self.config.perm & perm::READ != 0
    }
}

type Table = FxHashMap<Arc<str>, Arc<Topic>>;

/// The topic table.
pub struct Topics(Arc<Inner>);

struct Inner {
    table: ArcSwap<Table>,
    version: Mutex<DataVersion>,
    /// Number of changes so far. Raised with `version` locked.
    changes: AtomicU64,
    file: ConfigFile,
    /// Number of the last change that is in the file. Locked after `version` or alone.
    saved: Mutex<u64>,
    /// Why the last attempt to write the file failed, if it did.
    failure: Mutex<Option<String>>,
    /// The same as `saved`, or of the last change that could not be written, for those who wait.
    settled: watch::Sender<u64>,
    /// The same, for a look.
    settled_mark: AtomicU64,
    light: OnceLock<LightTopics>,
}

/// Topics that exist because light queues do. As many as the store has of these.
struct LightTopics {
    store: Store,
    known: RwLock<Table>,
}

/// What a put did to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The topic is new.
    Created,
    /// Its configuration differs now.
    Updated,
    /// It was like that already; version and file are as before.
    Unchanged,
}

impl Topics {
    /// The table of `config/topics.json`, with the topics added that every broker has.
    ///
    /// # Errors
    /// The file and its backup exist and neither can be read.
    pub fn load(file: ConfigFile, built_in: Vec<TopicConfig>, now_ms: i64) -> Result<Self, super::LoadError> {
        let stored: Option<TopicConfigTable> = super::load_json(&file)?;
        let TopicConfigTable { data_version, topic_config_table } = stored.unwrap_or_default();
        let mut table = Table::default();
        for (name, mut config) in topic_config_table {
            config.topic_name.clone_from(&name);
            table.insert(name.into(), Arc::new(Topic::new(config, 0)));
        }
        let mut added = false;
        for config in built_in {
            let name: Arc<str> = config.topic_name.as_str().into();
            table.entry(name).or_insert_with(|| {
                added = true;
                Arc::new(Topic::new(config, 0))
            });
        }
        let topics = Self(Arc::new(Inner {
            table: ArcSwap::from_pointee(table),
            version: Mutex::new(data_version),
            changes: AtomicU64::new(0),
            file,
            saved: Mutex::new(0),
            failure: Mutex::default(),
            settled: watch::Sender::new(0),
            settled_mark: AtomicU64::new(0),
            light: OnceLock::new(),
        }));
        if added {
            let mut version = topics.0.version.lock();
            topics.0.raise(&mut version, now_ms);
            topics.0.save(&version);
        }
        Ok(topics)
    }

    /// The topic of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        let found = self.0.table.load().get(name).cloned();
        found.or_else(|| if light::is_light(name) { self.0.light(name) } else { None })
    }

    /// From now on the light queues of `store` are topics.
    pub fn add_light(&self, store: &Store) {
        let _ = self.0.light.set(LightTopics { store: store.clone(), known: RwLock::default() });
    }

    /// Whether the file, if it can be written, holds the topic, so that somebody may be told of it.
    #[inline]
    pub fn is_saved(&self, topic: &Topic) -> bool {
        topic.change <= self.0.settled_mark.load(Ordering::Acquire)
    }

    /// Every topic as it is now.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.0.table.load().values().cloned().collect()
    }

    /// Version of the table.
    pub fn version(&self) -> DataVersion {
        *self.0.version.lock()
    }

    /// The whole table in the shape of the file and of registrations.
    pub fn snapshot(&self) -> TopicConfigTable {
        let version = self.0.version.lock();
        self.0.snapshot_at(&version)
    }

    /// Creates or replaces a topic, and saves the table.
    pub fn put(&self, config: TopicConfig, now_ms: i64) -> Change {
        self.change(now_ms, |table| {
            let change = match table.get(config.topic_name.as_str()) {
                Some(old) if old.config == config => return Change::Unchanged,
                Some(_) => Change::Updated,
                None => Change::Created,
            };
            table.insert(config.topic_name.as_str().into(), Arc::new(Topic::new(config, self.0.next_change())));
            change
        })
    }

    /// The topic of that name, created as `config` says when it is missing. True with a topic that is new.
    ///
    /// A new topic is there at once and saved soon: within a tokio runtime the file is written by another thread. Nobody may
    /// be told of it before [`saved`](Self::saved) resolves.
    pub fn get_or_create(&self, name: &str, now_ms: i64, config: impl FnOnce() -> TopicConfig) -> (Arc<Topic>, bool) {
        if let Some(topic) = self.get(name) {
            return (topic, false);
        }
        let mut version = self.0.version.lock();
        if let Some(topic) = self.get(name) {
            return (topic, false);
        }
        let topic = Arc::new(Topic::new(config(), self.0.next_change()));
        let mut table = Table::clone(&self.0.table.load());
        table.insert(name.into(), Arc::clone(&topic));
        self.0.table.store(Arc::new(table));
        self.0.raise(&mut version, now_ms);
        match Handle::try_current() {
            Ok(runtime) => {
                let inner = Arc::clone(&self.0);
                drop(runtime.spawn_blocking(move || inner.catch_up())); // it runs to its end by itself
            }
            Err(_) => self.0.save(&version),
        }
        (topic, true)
    }

    /// Resolves when every change so far is in the file, or the log says that it cannot be written.
    pub async fn saved(&self) {
        let change = self.0.changes.load(Ordering::Acquire);
        let mut settled = self.0.settled.subscribe();
        // The sender lives as long as this table.
        let _ = settled.wait_for(|&saved| saved >= change).await;
    }

    /// Writes the file if it lacks a change. Blocking.
    pub fn save(&self) {
        self.0.catch_up();
    }

    /// As [`save`](Self::save), for who must know.
    ///
    /// # Errors
    /// A change is not in the file, and why. It is in force, and each saving tries again.
    pub fn ensure_saved(&self) -> Result<(), String> {
        self.save();
        self.0.failure.lock().clone().map_or(Ok(()), Err)
    }

    /// Removes a topic from the table. False when there was none. Its queues are the store's to delete.
    pub fn remove(&self, name: &str, now_ms: i64) -> bool {
        let change =
            self.change(now_ms, |table| if table.remove(name).is_some() { Change::Updated } else { Change::Unchanged });
        change != Change::Unchanged
    }

    fn change(&self, now_ms: i64, edit: impl FnOnce(&mut Table) -> Change) -> Change {
        let mut version = self.0.version.lock();
        let mut table = Table::clone(&self.0.table.load());
        let change = edit(&mut table);
        if change != Change::Unchanged {
            self.0.table.store(Arc::new(table));
            self.0.raise(&mut version, now_ms);
            self.0.save(&version);
        }
        change
    }
}

impl Inner {
    /// Number of the change that is being made, with `version` locked.
    fn next_change(&self) -> u64 {
        self.changes.load(Ordering::Acquire) + 1
    }

    /// The topic of a light queue.
    fn light(&self, name: &str) -> Option<Arc<Topic>> {
        let light = self.light.get()?;
        let is_deleted = |topic: &Topic| topic.queues.iter().filter_map(OnceLock::get).any(|queue| queue.is_deleted());
        if let Some(topic) = light.known.read().get(name).filter(|topic| !is_deleted(topic)) {
            return Some(Arc::clone(topic));
        }
        let topic = Arc::new(Topic::light(light.store.light_queue(name)?));
        let mut known = light.known.write();
        if known.len() >= light.store.config().light_queues {
            known.retain(|_, topic| !is_deleted(topic));
        }
        known.insert(name.into(), Arc::clone(&topic));
        Some(topic)
    }

    fn raise(&self, version: &mut DataVersion, now_ms: i64) {
        raise(version, now_ms);
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn snapshot_at(&self, version: &DataVersion) -> TopicConfigTable {
        let table = self.table.load();
        let topic_config_table: BTreeMap<_, _> =
            table.iter().map(|(name, topic)| (name.to_string(), topic.config.clone())).collect();
        TopicConfigTable { data_version: *version, topic_config_table }
    }

    /// Saves the table as it is, with `version` locked.
    fn save(&self, version: &DataVersion) {
        let change = self.changes.load(Ordering::Acquire);
        self.write(&self.snapshot_at(version), change);
    }

    /// Saves the table unless its last change is saved. Changes that came together are saved together.
    fn catch_up(&self) {
        if *self.saved.lock() >= self.changes.load(Ordering::Acquire) {
            return;
        }
        let (snapshot, change) = {
            let version = self.version.lock();
            (self.snapshot_at(&version), self.changes.load(Ordering::Acquire))
        };
        self.write(&snapshot, change);
    }

    /// A table that cannot be saved stays in force: the next saving tries again, and the log says so.
    fn write(&self, table: &TopicConfigTable, change: u64) {
        let mut saved = self.saved.lock();
        if *saved >= change && change > 0 {
            return; // a later state is in the file
        }
        let failure = super::save_json(&self.file, table).err().map(|error| format!("{error}: {}", error.source));
        match &failure {
            Some(error) => error!(error, "topics not saved"),
            None => *saved = change,
        }
        *self.failure.lock() = failure;
        self.settled_mark.store(change, Ordering::Release);
        self.settled.send_replace(change);
    }
}

/// Records one more change of a table.
pub fn raise(version: &mut DataVersion, now_ms: i64) {
    *version = DataVersion { counter: version.counter.wrapping_add(1), timestamp: now_ms, ..*version };
}

/// A topic with `queues` queues to read and to write.
pub fn topic(name: impl Into<String>, queues: i32, perm: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.into(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm,
        ..TopicConfig::default()
    }
}

/// What decides which topics a new broker has.
pub struct BuiltIn<'a> {
    /// `brokerClusterName`.
    pub cluster: &'a str,
    /// `brokerName`.
    pub broker: &'a str,
    /// `autoCreateTopicEnable`: whether TBW102 exists.
    pub auto_create: bool,
    /// `defaultTopicQueueNums`: queues of TBW102.
    pub default_queues: i32,
    /// `traceTopicEnable` and `msgTraceTopicName`.
    pub trace_topic: Option<&'a str>,
    /// `timerWheelEnable`.
    pub timer: bool,
    /// `reviveQueueNum`.
    pub revive_queues: i32,
    /// Number of delay levels.
    pub delay_levels: i32,
    /// `clusterTopicEnable`: the cluster's topic may be read and written.
    pub cluster_topic: bool,
    /// `brokerTopicEnable`: the same for the broker's topic.
    pub broker_topic: bool,
}

impl BuiltIn<'_> {
    /// The topics that a new broker creates (`transactions-retry-delay.md` section 5.2).
    pub fn topics(&self) -> Vec<TopicConfig> {
        let rw = perm::READ_WRITE;
        let named = |enabled: bool| if enabled { perm::INHERIT | rw } else { perm::INHERIT };
        let mut topics = vec![
            topic(names::SELF_TEST_TOPIC, 1, rw),
            topic(names::BENCHMARK_TOPIC, 1024, rw),
            topic(self.cluster, 16, named(self.cluster_topic)),
            topic(self.broker, 1, named(self.broker_topic)),
            topic(names::OFFSET_MOVED_EVENT, 1, rw),
            topic(names::SCHEDULE_TOPIC, self.delay_levels, rw),
            topic(names::reply_topic(self.cluster), 1, rw),
            topic(names::revive_topic(self.cluster), self.revive_queues, rw),
            topic(names::sync_broker_member_topic(self.broker), 1, perm::INHERIT),
            topic(names::HALF_TOPIC, 1, rw),
            topic(names::OP_TOPIC, 1, rw),
        ];
        if self.auto_create {
            topics.push(topic(names::AUTO_CREATE_TOPIC, self.default_queues, perm::INHERIT | rw));
        }
        if let Some(name) = self.trace_topic {
            topics.push(topic(name, 1, rw));
        }
        if self.timer {
            topics.push(topic(names::TIMER_TOPIC, 1, rw));
        }
        topics
    }
}

#[cfg(test)]
mod tests {
    use tenonmq_protocol::{
        Command,
        header::{CreateTopic, SendMessage},
    };

    use crate::remoting::testing::{Peer, START_MS, TestBroker};

    async fn send(broker: &TestBroker, topic: &str) {
        let header = SendMessage {
            producer_group: "shop",
            topic,
            default_topic: "TBW102",
            default_topic_queue_nums: 2,
            ..SendMessage::default()
        };
        assert_eq!(broker.call(&Peer::new(1), Command::with_header(&header).with_body("order")).await.code, 0);
    }

    #[tokio::test]
    async fn a_topic_that_a_send_created_is_saved_when_the_send_is_answered() {
        let broker = TestBroker::new();
        send(&broker, "orders").await;
        let broker = broker.crashed();
        assert_eq!(broker.core.topics.get("orders").map(|topic| topic.config.write_queue_nums), Some(2));
    }

    #[tokio::test]
    async fn a_topic_that_cannot_be_saved_is_refused_with_the_file_and_saved_when_the_disk_takes_it() {
        let broker = TestBroker::new();
        let in_the_way = broker.folder().join("config/topics.json.tmp");
        std::fs::create_dir(&in_the_way).unwrap();
        let header = CreateTopic {
            topic: "orders",
            default_topic: None,
            read_queue_nums: 1,
            write_queue_nums: 1,
            perm: 6,
            filter_type: None,
            topic_sys_flag: None,
            order: false,
            attributes: None,
            force: false,
        };
        for _ in 0..2 {
            let answer = broker.ask(&Peer::new(1), &header).await;
            let remark = answer.remark.unwrap();
            assert!(answer.code == 1 && remark.contains("not saved: cannot write"), "{} {remark}", answer.code);
            assert!(remark.contains("topics.json.tmp"), "{remark}");
        }
        std::fs::remove_dir(&in_the_way).unwrap();
        broker.core.topics.save(); // what happens every few seconds, and at a stop
        let broker = broker.crashed();
        assert!(broker.core.topics.get("orders").is_some());
    }

    #[tokio::test]
    async fn a_change_that_comes_before_a_new_topic_is_saved_is_not_undone_by_it() {
        let broker = TestBroker::new();
        broker.core.topics.get_or_create("one", START_MS, || super::topic("one", 1, 6));
        broker.topic("two", 1);
        broker.core.topics.get_or_create("three", START_MS, || super::topic("three", 1, 6));
        assert!(broker.core.topics.remove("one", START_MS));
        broker.core.topics.saved().await;
        let broker = broker.crashed();
        let exists = |name| broker.core.topics.get(name).is_some();
        assert_eq!((exists("one"), exists("two"), exists("three")), (false, true, true));
    }
}
