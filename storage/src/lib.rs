//! The data directory: append, read, recover, delete.
//!
//! What it is: a log of messages in preallocated, memory-mapped files, with a queue of entries for each
//! (topic, queue) and an index of keys, laid out byte for byte as Apache RocketMQ 5.3 does. What it is not: it
//! knows nothing of groups, clients, transactions or sockets.
//!
//! [`store`] is the whole public surface. Behind it, a record's way:
//!
//! ```text
//! append ─► commit_log (one short lock) ─► consume_queue entry ─► published
//!                │                                                   │
//!              flush (durable)                                  fetch, read
//!                │                                                   │
//!           checkpoint                          dispatch ◄── recovery, followers; index behind
//! ```
//!
//! [`clock`] and [`fs`] are the outside world as traits; [`mmap`] holds all unsafe code; [`poison`] says whether writes
//! are taken; [`retention`] removes what is old; [`config`] and [`error`] are what goes in and what may come back.

pub mod checkpoint;
pub mod clock;
pub mod commit_log;
pub mod config;
pub mod config_file;
pub mod consume_queue;
pub mod data_version;
pub mod dispatch;
pub mod error;
pub mod fetch;
mod flush;
pub mod fs;
#[cfg(test)]
mod golden;
pub mod index;
mod indexing;
pub mod light;
pub mod lock;
pub mod metrics;
pub mod mmap;
#[cfg(all(test, feature = "loom"))]
mod models;
mod open;
pub mod poison;
pub mod retention;
mod sound;
pub mod store;
pub mod sync;
mod threads;
pub mod watermark;

pub use checkpoint::Checkpoint;
pub use clock::{Clock, ManualClock, SystemClock};
pub use commit_log::{Appended, CommitSeen, Gathering, LogReader, Permit, RecoveryReport, Role};
pub use config::{FlushPolicy, RetentionConfig, StoreConfig};
pub use config_file::{ConfigFile, ContentError};
pub use consume_queue::entry::Entry;
pub use consume_queue::file::QueueKind;
pub use consume_queue::lookup::{Boundary, Entries, Located};
pub use consume_queue::{Dispatch, Dispatched, Queue, SIZE_CLASSES};
pub use data_version::DataVersion;
pub use error::{AppendError, CutError, FileError, FollowError, OpenError, Unwritable};
pub use fetch::{DiskLimits, FetchLimits, FetchStatus, Fetched};
pub use index::{Index, IndexHits};
pub use metrics::StoreStats;
pub use mmap::FilePlace;
pub use poison::AppendClass;
pub use store::{Environment, KeyQuery, Store};
pub use watermark::{Durability, Mark, Ticket, Watermarks};
