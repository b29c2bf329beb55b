//! The broker of a run: the real transactions over the real store, and as much of a broker around them as they need.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tenonmq_broker::{
    config::LiveConfig,
    transaction::{Host, Question, SafeOffsets, Transactions},
};
use tenonmq_protocol::message::RecordView;
use tenonmq_storage::{Environment, FlushPolicy, ManualClock, OpenError, Queue, Store, StoreConfig};

use super::{
    disk::SimDisk,
    ledger::{Allowed, Checked, Ledger, PARKED, SCHEDULE},
};

pub(super) const GROUPS: [&str; 3] = ["orders", "stock", "mail"];
pub(super) const TOPICS: [&str; 2] = ["paid", "shipped"];
pub(super) const QUEUES: i32 = 2;
/// The delay level that some messages ask for, and its length.
pub(super) const DELAY: (i32, i64) = (2, 5_000);
/// Age at which log files go, in runs in which they do.
pub(super) const RESERVED_MS: i64 = 30 * 60_000;
pub(super) const SEGMENT: u64 = 8 << 10;
pub(super) const QUEUE_FILE: u64 = 20 * 50;

/// What is fixed for a run.
pub(super) struct Rules {
    pub(super) live: Arc<LiveConfig>,
    pub(super) max_checks: u32,
    /// Whether log files go when they are old.
    pub(super) retention: bool,
    pub(super) is_sync: bool,
    pub(super) index: bool,
}

/// What the transactions see of the broker around them.
#[derive(Default)]
pub(super) struct Around {
    store: Mutex<Option<Store>>,
    /// Connected producers of each group of [`GROUPS`].
    pub(super) online: Mutex<[usize; 3]>,
    /// Connected producers take no question.
    pub(super) is_deaf: AtomicBool,
    /// Attempts are taken by producers that are not there: a mutation.
    pub(super) takes_offline: AtomicBool,
    pub(super) asked: Mutex<Vec<Question>>,
}

impl Around {
    fn queue(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
        self.store.lock().as_ref().map(|store| store.queue(topic, queue_id))
    }

    fn members(&self, group: &str) -> usize {
        let number = GROUPS.iter().position(|known| *known == group);
        number.and_then(|number| self.online.lock().get(number).copied()).unwrap_or(0)
    }
}

impl Host for Around {
    fn address(&self) -> SocketAddr {
        address()
    }

    fn broker_name(&self) -> String {
        "broker-a".into()
    }

    fn real_queue(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
        self.queue(topic, queue_id)
    }

    fn parked_queue(&self) -> Arc<Queue> {
        self.queue(PARKED, 0).expect("it is asked for while the store is open")
    }

    fn arrived(&self, _queue: &Queue, _queue_offset: i64, _tags_code: i64) {}

    fn delayed_queue(&self, level: i32) -> Option<(Arc<Queue>, i64)> {
        self.queue(SCHEDULE, level - 1).map(|queue| (queue, DELAY.1))
    }

    fn is_online(&self, group: &str) -> bool {
        self.members(group) > 0 || self.takes_offline.load(Ordering::Relaxed)
    }

    fn ask(&self, group: &str, turn: usize, question: &Question) -> Option<Arc<str>> {
        match self.members(group) {
            0 => self.takes_offline.load(Ordering::Relaxed).then(|| "nobody".into()),
            _ if self.is_deaf.load(Ordering::Relaxed) => None,
            members => {
                self.asked.lock().push(question.clone());
                Some(format!("{group} {}", turn % members).into())
            }
        }
    }
}

pub(super) fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10911))
}

/// A running broker.
pub(super) struct Broker {
    pub(super) store: Store,
    pub(super) transactions: Transactions,
}

impl Broker {
    /// Starts over the directory, with the offsets of `CID_RMQ_SYS_TRANS` that were saved.
    pub(super) fn start(
        root: &Path,
        rules: &Rules,
        disk: &Arc<SimDisk>,
        clock: &Arc<ManualClock>,
        around: &Around,
        saved: SafeOffsets,
    ) -> Result<Self, String> {
        let env = Environment { fs: Arc::clone(disk) as _, clock: Arc::clone(clock) as _ };
        let store = Store::open_in_place(store_config(root, rules), env).map_err(|error| described(&error))?;
        *around.store.lock() = Some(store.clone());
        let saved = (Some(saved.half), Some(saved.op));
        let transactions = Transactions::open(store.clone(), Arc::clone(&rules.live), saved, address());
        let transactions = transactions.map_err(|error| error.to_string())?;
        Ok(Self { store, transactions })
    }

    /// Ends without a word.
    pub(super) fn drop(self, around: &Around) {
        around.store.lock().take();
        around.asked.lock().clear();
    }

    /// Shows the ledger every record between what it has seen and the end of the log.
    pub(super) fn show(&self, ledger: &mut Ledger, allowed: Allowed) -> Checked {
        let marks = self.store.watermarks();
        let mut at = ledger.seen.max(marks.min);
        while at < marks.appended {
            match self.store.read(at) {
                Some(bytes) => {
                    if let Ok(record) = RecordView::parse(&bytes) {
                        ledger.observe(&record, allowed)?;
                    }
                    at += bytes.len() as u64;
                }
                None => at = (at / SEGMENT + 1) * SEGMENT, // the filler at the end of a file
            }
        }
        ledger.seen = at;
        Ok(())
    }
}

fn described(error: &OpenError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn store_config(root: &Path, rules: &Rules) -> StoreConfig {
    let mut config = StoreConfig::new(PathBuf::from(root));
    config.segment_size = SEGMENT;
    config.consume_queue_file_size = QUEUE_FILE;
    config.index_enabled = rules.index;
    config.index_slots = 20;
    config.index_entries = 40;
    config.reserve_bytes = 0;
    config.retention.reserved_time =
        Duration::from_millis(if rules.retention { RESERVED_MS.unsigned_abs() } else { u64::MAX });
    config.retention.delete_hours = (0..24).collect();
    config.flush = if rules.is_sync {
        FlushPolicy::Sync
    } else {
        FlushPolicy::Async { interval: Duration::MAX, least_pages: 4, thorough_interval: Duration::MAX }
    };
    config
}
