//! Half messages and their fate.
//!
//! A half message is stored under `RMQ_SYS_TRANS_HALF_TOPIC`, where no consumer looks. It leaves that topic once, by
//! commit, rollback, or too many unanswered checks:
//!
//! ```text
//! prepared ──commit────────────► visible in its real topic
//!    │ └────rollback───────────► gone
//!    ├──unknown, N checks──────► TRANS_CHECK_MAX_TIME_TOPIC
//!    └──its log file is to go──► appended again, prepared as before
//! ```
//!
//! Invariant: the visible copy is appended before the op record that ends the half message, and next to it, under one
//! hold of the append lock. A crash in between loses nothing, and the next start finds the copy in the log instead of
//! appending it again. The first decision wins: a repeat is answered with success, a contradiction is refused.
//!
//! [`state`] decides and does no I/O; [`end`] and [`check`] carry its decisions out; `carry` keeps
//! messages from going with their log files; `rebuild` makes it again from the
//! log; [`operator`] shows it and lets people decide by hand. [`Host`] is what all of this needs of the broker around it.

mod audit;
mod carried;
mod carry;
pub mod check;
mod check_log;
pub mod desk;
pub mod end;
mod find;
mod floor;
pub mod half;
pub mod history;
mod host;
mod names;
pub mod operator;
mod rebuild;
mod records;
mod resend;
mod save;
mod snapshot;
pub mod state;
pub mod tally;
pub mod trail;
mod verdicts;

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_protocol::message::{Properties, properties::names as property};
use tenonmq_storage::{AppendClass, AppendError, Appended, FileError, Queue, Role, Store};
use tokio::sync::Notify;

pub use check::Question;
pub use end::{End, EndRefused, Ended};
pub use floor::SafeOffsets;
pub use host::{keep_checking, save, save_finally, saved_offsets};
pub(crate) use records::without_checksum;
pub use verdicts::{Verdict, WINDOW};

use self::{
    audit::AuditLog,
    carry::Carrier,
    check_log::CheckLog,
    save::Saver,
    snapshot::Snapshot,
    state::{GroupCount, Half, Limits, Rules, State},
    tally::Tally,
    trail::Trail,
};
use crate::{config::LiveConfig, timer::Timer};

/// What transactions need of the broker around them.
pub trait Host: Send + Sync {
    /// Address that clients reach this broker at: store host of the records it makes.
    fn address(&self) -> SocketAddr;

    /// Name of this broker, as in routes.
    fn broker_name(&self) -> String;

    /// A queue of an existing topic; `None` when the topic does not exist (any more).
    fn real_queue(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>>;

    /// The queue of `TRANS_CHECK_MAX_TIME_TOPIC`, which is created when missing.
    fn parked_queue(&self) -> Arc<Queue>;

    /// A message became visible in `queue`: whoever waits for it is woken.
    fn arrived(&self, queue: &Queue, queue_offset: i64, tags_code: i64);

    /// Where messages of a delay level wait, and for how many milliseconds; `None` when there are no delays.
    fn delayed_queue(&self, level: i32) -> Option<(Arc<Queue>, i64)> {
        let _ = level;
        None
    }

    /// A message of a delay level was appended to its queue.
    fn delayed(&self, level: i32) {
        let _ = level;
    }

    /// Where messages with a time of their own wait.
    fn timer_queue(&self) -> Option<Arc<Queue>> {
        None
    }

    /// A message was appended there.
    fn timed(&self, timer: &Timer) {
        let _ = timer;
    }

    /// The time of delivery that a property text asks for, if it lies ahead. A delay counts from now.
    fn time_of(&self, properties: &str) -> Option<Timer> {
        let _ = properties;
        None
    }

    /// Whether a producer of `group` is connected. Called under the lock of the state: must not call back.
    fn is_online(&self, group: &str) -> bool;

    /// Puts a question to a connected producer of `group`: the `turn`-th one modulo their number, or the next that
    /// takes it. Its address, or `None` when nobody took it.
    fn ask(&self, group: &str, turn: usize, question: &Question) -> Option<Arc<str>>;
}

/// Why transactions could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file of our own folder cannot be read or written, or one of a system queue not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Op records of commits found in the log could not be appended.
    #[error("op records of commits found in the log could not be appended")]
    Append(#[from] AppendError),
}

/// The transactions of a broker.
pub struct Transactions {
    store: Store,
    config: Arc<LiveConfig>,
    half: Arc<Queue>,
    op: Arc<Queue>,
    state: Mutex<State>,
    /// Wakes the checker before its time.
    wake: Notify,
    checks: CheckLog,
    audit: AuditLog,
    trail: Trail,
    tally: Tally,
    /// Held while a commit that answers a check is carried out.
    answering: Mutex<()>,
    /// Held while a message is taken up again, so that two requests do not both do it.
    resuming: Mutex<()>,
    /// Held while a message moves; taken before the state.
    carrier: Mutex<Carrier>,
    saver: Mutex<Saver>,
}

impl Transactions {
    /// Rebuilds what is undecided from the log. `saved` are the offsets of `CID_RMQ_SYS_TRANS` on half and op queue,
    /// `broker` the address of this broker.
    ///
    /// # Errors
    /// When files of our own folder cannot be read or written, or those of half and op queue not be read, or the log takes no
    /// op records that are missing.
    pub fn open(
        store: Store,
        config: Arc<LiveConfig>,
        saved: (Option<i64>, Option<i64>),
        broker: SocketAddr,
    ) -> Result<Self, OpenError> {
        let half = store.queue(records::HALF_TOPIC, records::QUEUE);
        let op = store.queue(records::OP_TOPIC, records::QUEUE);
        let (checks, counts) = CheckLog::open(&store)?;
        let audit = AuditLog::new(&store);
        let carrier = Mutex::new(Carrier::new(&store));
        let saver = Mutex::new(Saver::new(&store));
        let tally = Tally::with_limit(config.load().metrics.max_rows);
        let state = Mutex::new(State::new(SafeOffsets::default(), Limits::default()));
        let transactions = Self {
            store,
            config,
            half,
            op,
            state,
            wake: Notify::new(),
            checks,
            audit,
            trail: Trail::default(),
            tally,
            answering: Mutex::default(),
            resuming: Mutex::new(()),
            carrier,
            saver,
        };
        let snapshot = Snapshot::load(&transactions.store, &transactions.half, &transactions.op);
        transactions.rebuild(saved, snapshot, counts, broker)?;
        Ok(transactions)
    }

    /// Makes the state again from the log: this broker has become master of a log that another one wrote.
    ///
    /// # Errors
    /// As [`Transactions::open`].
    pub fn reload(&self, saved: (Option<i64>, Option<i64>), broker: SocketAddr) -> Result<(), OpenError> {
        *self.carrier.lock() = Carrier::new(&self.store);
        self.rebuild(saved, None, check_log::Counts::default(), broker)
    }

    fn rebuild(
        &self,
        saved: (Option<i64>, Option<i64>),
        snapshot: Option<Snapshot>,
        counts: check_log::Counts,
        broker: SocketAddr,
    ) -> Result<(), OpenError> {
        let now = self.now_ms();
        let timeout_ms = self.timeout_ms();
        let plan = rebuild::Plan { saved, snapshot, counts, timeout_ms, rules: self.rules(), now };
        let rebuilt = rebuild::rebuild(&self.store, &self.half, &self.op, &plan, Limits::default())?;
        if !self.is_slave() {
            for offsets in rebuilt.missing_ops.chunks(512) {
                let body = records::OpBody::of(offsets);
                let class = AppendClass::Settle;
                self.store.append(&self.op, &body.record(broker, now), records::OP_TAGS_CODE, class)?;
            }
        }
        *self.state.lock() = rebuilt.state;
        self.trail.clear();
        let listed = self.take_snapshot()?;
        self.saver.lock().snapshot = listed.unwrap_or_default();
        self.wake.notify_one();
        Ok(())
    }

    /// Whether this broker follows another one: then it decides nothing.
    fn is_slave(&self) -> bool {
        self.store.permit().role == Role::Slave
    }

    /// The queue that half messages are appended to.
    pub fn half_queue(&self) -> &Arc<Queue> {
        &self.half
    }

    /// A half message was appended. `properties` are those it is stored with; `producer_group` is asked about it unless
    /// they name a group.
    pub fn half_stored(&self, appended: &Appended, properties: &Properties<'_>, producer_group: &str) {
        let group = properties.get(property::PGROUP).unwrap_or(producer_group);
        let unchecked = self.unchecked_ms(group, properties.get(property::CHECK_IMMUNITY_TIME_IN_SECONDS));
        let wake = self.state.lock().insert(&Half {
            offset: appended.queue_offset,
            log_offset: appended.physical_offset,
            stored_at: appended.store_timestamp,
            first_check_at: appended.store_timestamp.saturating_add(unchecked),
            group,
            topic: properties.get(property::REAL_TOPIC).unwrap_or_default(),
            checks: 0,
            asked_at: None,
            copy_of: None,
            back_off: half::back_off_percent(properties.get(half::CHECK_BACK_OFF)),
        });
        self.wake_checker(wake);
    }

    /// A producer of `group` came online: what waits for one is asked about now.
    pub fn producer_online(&self, group: &str) {
        let wake = self.state.lock().producer_online(group);
        self.wake_checker(wake);
    }

    /// Undecided messages.
    pub fn pending(&self) -> usize {
        self.state.lock().len()
    }

    /// Checks sent and not answered yet.
    pub fn checks_in_flight(&self) -> usize {
        self.state.lock().in_flight()
    }

    /// What became of transactions since the start.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Questions that got no answer in time.
    pub fn checks_unanswered(&self) -> u64 {
        self.state.lock().unanswered()
    }

    /// Undecided messages by real topic; topics that had some before are listed with 0.
    pub fn pending_by_topic(&self) -> Vec<(String, u64)> {
        self.state.lock().topic_counts().map(|(topic, count)| (topic.to_owned(), count)).collect()
    }

    /// Producer groups with undecided messages.
    pub fn groups_pending(&self) -> Vec<GroupCount> {
        self.state.lock().groups_pending()
    }

    /// Store time of each producer group's oldest undecided message. Looks at all that is undecided, a few hundred under one
    /// hold of the lock.
    pub fn oldest_by_group(&self) -> FxHashMap<Arc<str>, i64> {
        let mut oldest = FxHashMap::default();
        let mut after = None;
        loop {
            after = self.state.lock().note_oldest(after, &mut oldest);
            if after.is_none() {
                return oldest;
            }
        }
    }

    fn now_ms(&self) -> i64 {
        self.store.environment().clock.now_ms()
    }

    fn timeout_ms(&self) -> i64 {
        millis(self.config.load().transactions.immunity)
    }

    /// Age in milliseconds at which a message with this wished immunity is checked first.
    fn unchecked_ms(&self, group: &str, wished_seconds: Option<&str>) -> i64 {
        let timeout_ms = self.timeout_ms();
        match wished_seconds {
            Some(_) => half::unchecked_ms(group, wished_seconds, timeout_ms, &self.rules()),
            None => timeout_ms,
        }
    }

    fn rules(&self) -> Rules {
        let config = self.config.load();
        Rules {
            all: config.transactions.checks,
            groups: config.transactions.group_checks.clone(),
            give_up_ms: config.transactions.give_up_after.map_or(i64::MAX, millis),
            reserved_ms: millis(self.store.config().retention.reserved_time),
        }
    }

    fn wake_checker(&self, wake: bool) {
        if wake {
            self.wake.notify_one();
        }
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
