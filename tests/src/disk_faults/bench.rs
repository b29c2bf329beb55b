//! A broker without sockets, with one thread, over a disk that a test breaks and a clock that it moves.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use bytes::BytesMut;
use tenonmq_broker::{
    config::{ConfigError, LiveConfig, updates},
    core::{
        Core,
        clock::{Clock, ManualClock},
        identity::{Identity, Who},
    },
    delay, lifecycle,
    namesrv::kv::Kv,
    pop,
    remoting::{BrokerDispatch, Connection, Dispatch, Handled, Outbox, Request},
    timer, transaction,
};
use tenonmq_protocol::{Command, CommandView, FrameView, HeaderScratch, Serialization, frame::DEFAULT_MAX_FRAME};
use tenonmq_storage::{FlushPolicy, RetentionConfig, Store, StoreConfig, fs::FileSystem};
use tokio::runtime::Runtime;

/// The settings: files so small that a few messages fill them; and what requests changed.
fn config(root: &Path, fs: &Arc<dyn FileSystem>) -> Result<Arc<LiveConfig>, ConfigError> {
    let changes = updates::kept(&**fs, root)?;
    let kept_in = updates::path(root);
    let root = root.display().to_string();
    let settings = [
        ("storePathRootDir", &*root),
        ("mappedFileSizeCommitLog", "8192"),
        ("mappedFileSizeConsumeQueue", "200"),
        ("mappedFileSizeTimerLog", "4096"),
        ("maxHashSlotNum", "20"),
        ("maxIndexNum", "30"),
        ("transactionTimeOut", "6000"),
    ];
    let config = LiveConfig::embedded_in(settings, changes)?;
    Ok(Arc::new(config.keeping_changes_on(Arc::clone(fs), kept_in)))
}

/// A running broker.
pub(super) struct Broker {
    pub(super) core: Arc<Core>,
    /// The name server's keys and values.
    pub(super) keys: Kv,
    dispatch: BrokerDispatch,
    connection: Arc<Connection>,
    timers: timer::Scheduler,
    delays: delay::Scheduler,
    runtime: Runtime,
}

impl Broker {
    /// Starts over the directory.
    pub(super) fn start(
        root: &Path,
        fs: Arc<dyn FileSystem>,
        clock: &Arc<ManualClock>,
        is_sync: bool,
    ) -> Result<Self, Box<dyn Error>> {
        let config = config(root, &fs)?;
        let keys = Kv::open_on(Arc::clone(&fs), root.join("namesrv").join("kvConfig.json"))?;
        let mut store = StoreConfig { reserve_bytes: 65_536, ..config.load().store.clone() };
        // nothing is too old, and nothing too full, unless a test says so
        let retention = RetentionConfig { delete_hours: Vec::new(), max_used_percent: 100, ..store.retention };
        store.retention = RetentionConfig { refuse_percent: 100, force_clean: false, ..retention };
        store.flush = if is_sync {
            FlushPolicy::Sync
        } else {
            FlushPolicy::Async { interval: Duration::MAX, least_pages: 1, thorough_interval: Duration::MAX }
        };
        let address = ([127, 0, 0, 1], 10911).into();
        let (cluster, broker) = ("DefaultCluster".into(), "broker-a".into());
        let identity = Identity::new(Who { cluster, broker, broker_id: 0, address, ha_address: address });
        let clock = Clock::manual(Arc::clone(clock));
        let core = Arc::new(Core::open_on(fs, Store::open_in_place, config, store, clock, identity)?);
        let (connection, _) = Connection::detached(1);
        Ok(Self {
            keys,
            dispatch: BrokerDispatch::new(Arc::clone(&core)),
            connection,
            timers: timer::Scheduler::new(Arc::clone(&core)),
            delays: delay::Scheduler::new(Arc::clone(&core)),
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"),
            core,
        })
    }

    /// A request, and its answer.
    pub(super) fn call(&self, command: &Command) -> Command {
        let mut bytes = BytesMut::new();
        command.encode(Serialization::Json, &mut bytes);
        let frame = FrameView::peek(&bytes, DEFAULT_MAX_FRAME).expect("a frame").expect("a whole one");
        let mut scratch = HeaderScratch::default();
        let view = CommandView::parse(&frame, &mut scratch).expect("a command");
        let request = Request {
            command: &view,
            body: frame.body,
            serialization: frame.serialization,
            connection: &self.connection,
        };
        let mut out = Outbox::default();
        // outside of a runtime the broker writes its tables where it stands, in an order that can be repeated
        if let Handled::Later(reply) = self.dispatch.handle(&request, &mut out) {
            drop(self.core.store.flush()); // what the flush thread does; who waits is told
            out.respond(&request, self.runtime.block_on(reply));
        }
        let written = out.take_all();
        let answer = FrameView::peek(&written, DEFAULT_MAX_FRAME).expect("a frame").expect("an answer");
        Command::decode(&answer).expect("a command")
    }

    /// Everything that the broker's tasks and threads do when their time has come.
    pub(super) fn tick(&mut self) {
        let core = &self.core;
        let now = core.clock.now_ms();
        drop(core.store.flush());
        let _ = core.store.index_now(u64::MAX);
        core.store.maintain();
        while core.transactions.check(&**core) == transaction::state::Next::Now {}
        transaction::save(core);
        drop(core.offsets.save(now));
        core.offset_history.write_gathered(now);
        core.topics.save();
        drop(core.groups.save());
        drop(core.filters.save(now));
        drop(core.delays.save(&core.store, now));
        drop(core.timers.save_counts());
        pop::returning::step(core);
        pop::returning::keep_files(core, false);
        for _ in 0..20 {
            if self.timers.step() != delay::scheduler::Next::Now {
                break;
            }
        }
        for _ in 0..20 {
            if self.delays.step() != delay::scheduler::Next::Now {
                break;
            }
        }
    }

    /// Stops in order. False when the next start has to recover.
    pub(super) fn stop(self) -> bool {
        self.core.groups.save().is_ok() & lifecycle::close(&self.core).is_ok()
    }
}
