//! The data directory: append, read, recover, delete.
//!
//! What it is: a log of messages in preallocated, memory-mapped files, with a queue of entries for each
//! (topic, queue) and an index of keys, laid out byte for byte as Apache RocketMQ 5.3 does. What it is not: it
//! knows nothing of groups, clients, transactions or sockets.
//!
//! [`clock`] and [`fs`] are the outside world as traits; [`mmap`] holds all unsafe code; [`config`] and [`error`]
//! are what goes in and what may come back.

pub mod checkpoint;
pub mod clock;
pub mod config;
pub mod config_file;
pub mod consume_queue;
pub mod data_version;
pub mod error;
pub mod fs;
pub mod lock;
pub mod mmap;

pub use checkpoint::Checkpoint;
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{FlushPolicy, RetentionConfig, StoreConfig};
pub use config_file::ConfigFile;
pub use consume_queue::entry::Entry;
pub use consume_queue::lookup::{Boundary, Entries, Located};
pub use consume_queue::{Dispatch, Dispatched, Queue};
pub use data_version::DataVersion;
pub use error::{AppendError, CutError, FileError, OpenError, Unwritable};
