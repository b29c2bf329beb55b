//! A message as it lies in the commit log and travels in pull answers.
//!
//! One layout serves both: what a consumer receives is the log's own bytes. [`record`] is that layout, [`properties`]
//! the text inside it, [`batch`] the simpler layout of a client's batch, [`flags`] the meaning of its bits.

pub mod batch;
mod bytes;
pub mod cause;
pub mod compression;
pub mod flags;
pub mod id;
pub mod properties;
pub mod queue;
pub mod record;
mod view;

pub use self::batch::{BatchElement, BatchError};
pub use self::cause::FailureCause;
pub use self::compression::{Compression, CompressionError};
pub use self::flags::{SysFlag, TransactionType};
pub use self::id::{OffsetMessageId, UniqueKey, UniqueKeyGenerator};
pub use self::properties::{Properties, java_hash, tags_code};
pub use self::queue::MessageQueue;
pub use self::record::{Assigned, LogItem, NewRecord, RawRecord, RecordError, RecordView, body_crc};
