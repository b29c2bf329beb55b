//! What all services share: the tables of topics, groups, clients and offsets, the store, the clock, and who we are.
//!
//! Services are modules over `&Core`. They take typed values and return typed values or a future; none sees a socket.

pub mod announce;
pub mod clients;
pub mod clock;
pub mod deliver;
pub mod groups;
pub mod identity;
pub mod names;
mod open;
pub mod routes;
pub mod snapshot_map;
pub mod stats;
pub mod topics;
pub mod waiters;

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use tenonmq_protocol::body::{JsonError, TopicConfig, json};
use tenonmq_storage::{ConfigFile, ContentError, FileError, Store};

pub use open::CoreError;

use self::{
    announce::Announcer, clients::Clients, clock::Clock, groups::Groups, identity::Identity, routes::Routes,
    stats::Stats, topics::Topics, waiters::Waiters,
};
use crate::{
    config::LiveConfig,
    dead_letter::DeadLetters,
    delay::Delays,
    filter::{self, Expressions},
    group::{queue_lock::QueueLocks, request_mode::RequestModes},
    offset::{Offsets, history::History},
    pop::Pops,
    retry::Repeats,
    timer::Timers,
    transaction::Transactions,
};

/// Everything the services share.
pub struct Core {
    /// Settings; some change while the broker runs.
    pub config: Arc<LiveConfig>,
    /// Time.
    pub clock: Clock,
    /// The data directory.
    pub store: Store,
    /// Who this broker is.
    pub identity: Identity,
    /// Topics and their queues.
    pub topics: Topics,
    /// Subscription groups.
    pub groups: Groups,
    /// Who is connected, and what they subscribe to.
    pub clients: Clients,
    /// Compiled SQL expressions.
    pub expressions: Expressions,
    /// SQL conditions as `consumerFilter.json` keeps them.
    pub filters: filter::Registry,
    /// Which member may consume a queue in order.
    pub locks: QueueLocks,
    /// Which groups pop instead of pull.
    pub request_modes: RequestModes,
    /// How far groups have come.
    pub offsets: Offsets,
    /// Why offsets went anywhere but forward.
    pub offset_history: History,
    /// Half messages and their fate.
    pub transactions: Transactions,
    /// Messages that wait for their delay.
    pub delays: Delays,
    /// Redrive jobs, and which dead letters were sent again.
    pub dead_letters: DeadLetters,
    /// Messages that are popped and not acknowledged.
    pub pops: Pops,
    /// Messages that wait for a time of their own.
    pub timers: Timers,
    /// What was sent back a moment ago.
    pub repeats: Repeats,
    /// Held pulls.
    pub waiters: Waiters,
    /// Counters.
    pub stats: Stats,
    /// When this broker started, in milliseconds.
    pub started_ms: i64,
    /// What the connections come to, by port.
    pub loads: parking_lot::Mutex<Vec<(&'static str, crate::remoting::Load)>>,
    /// Tells the name servers about topics.
    pub announcer: Announcer,
    /// What the name servers say of topics.
    pub routes: Routes,
    /// Records within this distance of the end of the log are taken to be in memory.
    pub memory_hint_bytes: u64,
}

impl Core {
    /// Saves a new or changed topic, and tells the name servers. Whoever asked for it is answered after that.
    pub async fn topic_changed(&self, topic: &TopicConfig) {
        self.topics.saved().await;
        self.announcer.topic_changed(topic).await;
    }

    /// Has held pulls and pops of a queue look for a reset mark; to be called once it is there.
    pub fn wake_for_reset(&self, group: &str, topic: &str, queue_id: i32) {
        if let Some(queue) = self.store.find_queue(topic, queue_id) {
            self.waiters.wake_all(&queue);
        }
        self.pops.wake(group, topic, queue_id);
    }
}

/// A table of the data directory that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The disk does not give it.
    #[error(transparent)]
    Disk(FileError),
    /// It makes no sense, nor does its backup.
    #[error("neither {path} nor its backup can be read: {source}")]
    Table {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: JsonError,
    },
}

fn not_loaded(file: &ConfigFile) -> impl FnOnce(ContentError<JsonError>) -> LoadError {
    let path = file.path().display().to_string();
    move |error| match error {
        ContentError::File(error) => LoadError::Disk(error),
        ContentError::Refused(source) => LoadError::Table { path, source },
    }
}

/// Reads a JSON table; `None` when there is none yet.
///
/// # Errors
/// There is one, and neither it nor its backup can be read.
pub fn load_json<T: DeserializeOwned>(file: &ConfigFile) -> Result<Option<T>, LoadError> {
    file.load_with(json::from_slice).map_err(not_loaded(file))
}

/// As [`load_json`], with something that `with` makes of the content besides.
///
/// # Errors
/// As [`load_json`].
pub fn load_json_with<T: DeserializeOwned, R>(
    file: &ConfigFile,
    with: impl Fn(&[u8], T) -> R,
) -> Result<Option<R>, LoadError> {
    let parse = |content: &[u8]| json::from_slice(content).map(|table| with(content, table));
    file.load_with(parse).map_err(not_loaded(file))
}

/// Writes a JSON table as Apache lays it out.
///
/// # Errors
/// The old content stays then.
pub fn save_json(file: &ConfigFile, table: &impl Serialize) -> Result<(), FileError> {
    file.save(&json::to_vec_pretty(table))
}
