//! Building the shared state over a data directory.

use std::{collections::HashSet, sync::Arc};

use tenonmq_protocol::body::TopicConfigTable;
use tenonmq_storage::{
    ConfigFile, Environment, FileError, OpenError, Store, StoreConfig,
    fs::{FileSystem, RealFs},
};

use super::{
    Core, LoadError,
    announce::Announcer,
    clients::{Clients, Limits},
    clock::Clock,
    groups::Groups,
    identity::Identity,
    load_json, names,
    routes::Routes,
    stats::Stats,
    topics::{BuiltIn, Topics},
    waiters::Waiters,
};
use crate::{
    config::{self, Config, LiveConfig},
    dead_letter::{self, DeadLetters},
    delay::Delays,
    filter::{self, Expressions},
    group::{
        queue_lock::QueueLocks,
        request_mode::{self, RequestModes},
    },
    offset::{self, Offsets, history::History},
    pop::{self, Pops},
    retry::Repeats,
    timer::Timers,
    transaction::{self, Transactions},
};

const TOPICS: &str = "topics.json";
const GROUPS: &str = "subscriptionGroup.json";
/// Topic attribute that says how a topic's queues are kept.
const QUEUE_TYPE: &str = "queue.type";
const BATCH: &str = "BatchCQ";
/// Share of the machine's memory that is taken to hold the newest part of the log (`accessMessageInMemoryMaxRatio`).
const HOT_PERCENT: u64 = 40;

/// Why a broker cannot start on a data directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// The store says no.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A table cannot be read.
    #[error(transparent)]
    Table(#[from] LoadError),
    /// Consumer offsets cannot be read.
    #[error(transparent)]
    Offsets(#[from] offset::save::OpenError),
    /// The history of offsets, or how far timers are, cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The undecided half messages cannot be found again.
    #[error(transparent)]
    Transactions(#[from] transaction::OpenError),
    /// What redrive jobs have sent is not known.
    #[error(transparent)]
    DeadLetters(#[from] dead_letter::OpenError),
    /// The leases of popped messages cannot be found again.
    #[error(transparent)]
    Pops(#[from] pop::OpenError),
}

impl Core {
    /// Opens the data directory, recovers what the last run left, and loads the tables. Blocking.
    ///
    /// # Errors
    /// [`CoreError`], which names the file.
    pub fn open(
        config: Arc<LiveConfig>,
        store: StoreConfig,
        clock: Clock,
        identity: Identity,
    ) -> Result<Self, CoreError> {
        Self::open_on(Arc::new(RealFs), Store::open, config, store, clock, identity)
    }

    /// As [`open`](Self::open), on another disk, and with another way to open the store on it: for tests and simulations.
    ///
    /// # Errors
    /// [`CoreError`], which names the file.
    pub fn open_on(
        fs: Arc<dyn FileSystem>,
        open_store: fn(StoreConfig, Environment) -> Result<Store, OpenError>,
        config: Arc<LiveConfig>,
        store: StoreConfig,
        clock: Clock,
        identity: Identity,
    ) -> Result<Self, CoreError> {
        let settings = config.load();
        let env = Environment { fs, clock: Arc::new(clock.clone()) };
        let batch_topics = batch_topics(&ConfigFile::new(env.fs.clone(), &store.root, TOPICS))?;
        let store = open_store(StoreConfig { batch_topics, ..store }, env)?;
        let now_ms = clock.now_ms();
        let topics = Topics::load(store.config_file(TOPICS), built_in(&settings, &identity), now_ms)?;
        let waiters = Waiters::default();
        if store.config().light_queues > 0 {
            topics.add_light(&store);
            let waiters = waiters.clone();
            store.on_light(move |queue, offset, tags_code| waiters.arrived(queue, offset, tags_code));
        }
        let groups = Groups::load(store.config_file(GROUPS), Arc::clone(&config), clock.clone())?;
        let offsets = offset::save::Files::of(&store, settings.topics.light);
        let journal = store.root().join("tenonmq").join(offset::journal::FOLDER);
        let offsets = Offsets::open(offsets, &settings.offsets, &store.environment().fs, journal)?;
        let folder = store.root().join("tenonmq");
        let offset_history = History::open(Arc::clone(store.fs()), &folder, settings.offsets.history_bytes)?;
        offset::ends::bring_back(&store, &offsets, &offset_history, now_ms)?;
        let request_modes = RequestModes::load(store.config_file(request_mode::FILE_NAME))?;
        let saved = transaction::saved_offsets(&offsets);
        let address = identity.get().address;
        let transactions = Transactions::open(store.clone(), Arc::clone(&config), saved, address)?;
        let expressions = Expressions::new(&settings.filters);
        let filters = store.config_file(filter::FILE_NAME);
        let filters = filter::Registry::load(filters, &settings.filters, now_ms)?;
        let delays = Delays::open(&store, settings.delays.version_step)?;
        let dead_letters = DeadLetters::open(&store)?;
        let pops = Pops::open(&store, &settings.pop, &offsets)?;
        let timers = Timers::open(&store)?;
        Ok(Self {
            config,
            clock,
            store,
            identity,
            topics,
            groups,
            clients: Clients::new(client_limits(&settings.clients), expressions.clone()),
            expressions,
            filters,
            locks: QueueLocks::with_limit(settings.clients.max_locks),
            request_modes,
            offsets,
            offset_history,
            transactions,
            delays,
            dead_letters,
            pops,
            timers,
            repeats: Repeats::with_limit(settings.dead_letters.send_backs_remembered),
            waiters,
            stats: Stats::with_limit(settings.stats_items),
            started_ms: now_ms,
            loads: Default::default(),
            announcer: Announcer::default(),
            routes: Routes::with_limit(settings.clients.max_routes),
            memory_hint_bytes: memory_bytes() / 100 * HOT_PERCENT,
        })
    }
}

/// Topics whose queues hold batches; the store must know them before it recovers their queues.
fn batch_topics(file: &ConfigFile) -> Result<HashSet<String>, LoadError> {
    let table: TopicConfigTable = load_json(file)?.unwrap_or_default();
    let batch = |attributes: &std::collections::BTreeMap<String, String>| {
        attributes.get(QUEUE_TYPE).is_some_and(|kind| kind == BATCH)
    };
    let topics = table.topic_config_table.into_iter().filter(|(_, config)| batch(&config.attributes));
    Ok(topics.map(|(name, _)| name).collect())
}

fn client_limits(settings: &config::Clients) -> Limits {
    Limits {
        groups: settings.max_groups,
        groups_per_connection: settings.max_groups_per_connection,
        subscriptions_per_group: settings.max_subscriptions_per_group,
        ..Limits::default()
    }
}

fn built_in(settings: &Config, identity: &Identity) -> Vec<tenonmq_protocol::body::TopicConfig> {
    let who = identity.get();
    let trace = settings.topics.trace_topic_name.as_str();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let topics = BuiltIn {
        cluster: &who.cluster,
        broker: &who.broker,
        auto_create: settings.topics.auto_create,
        default_queues: count(settings.topics.default_queues as usize),
        trace_topic: settings.topics.trace_topic.then_some(if trace.is_empty() { names::TRACE_TOPIC } else { trace }),
        timer: settings.messages.timers,
        revive_queues: count(settings.pop.revive_queues as usize),
        delay_levels: count(settings.messages.delay_levels.len()),
        cluster_topic: settings.topics.cluster_topic,
        broker_topic: settings.topics.broker_topic,
    };
    topics.topics()
}

fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    u64::from(info.mem_unit) * info.totalram
}
