//! The data directory: append, read, recover, delete.
//!
//! What it is: a log of messages in preallocated, memory-mapped files, with a queue of entries for each
//! (topic, queue) and an index of keys, laid out byte for byte as Apache RocketMQ 5.3 does. What it is not: it
//! knows nothing of groups, clients, transactions or sockets.
//!
//! [`clock`] and [`fs`] are the outside world as traits; [`mmap`] holds all unsafe code; [`config`] and [`error`]
//! are what goes in and what may come back.

pub mod clock;
pub mod config;
pub mod error;
pub mod fs;
pub mod mmap;

pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{FlushPolicy, RetentionConfig, StoreConfig};
pub use error::{AppendError, CutError, FileError, OpenError, Unwritable};
