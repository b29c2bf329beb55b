//! Every way the store can say no. One type per operation, so that a caller meets only what can happen there.

use std::io;
use std::path::{Path, PathBuf};

use tenonmq_protocol::message::RecordError;

/// An operation on a file failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op} {}", .path.display())]
pub struct FileError {
    /// What was tried, as a verb: `create`, `map`, `sync` …
    pub op: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the system answered.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// An error of `op` on `path`, to be used with `map_err`.
    pub fn of(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { op, path: path.to_owned(), source }
    }
}

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting makes no sense.
    #[error("configuration: {0}")]
    Config(String),
    /// Another process has the directory.
    #[error("{} is in use by another process", .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file has a length that its configured size does not allow: written with another configuration, by a newer
    /// version, or damaged.
    #[error("{} is {found} bytes long but the configuration says {expected} ({key})", .path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Length that the configuration asks for.
        expected: u64,
        /// Length of the file.
        found: u64,
        /// The configuration key that says so.
        key: &'static str,
    },
    /// A file cannot be understood.
    #[error("{}: {reason}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused.
    #[error("{file}: {}", .file.source)]
    Io {
        /// Operation, path and cause.
        #[from]
        file: FileError,
    },
}

/// Why nothing, or only what settles open work, can be appended now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritable {
    /// An earlier flush failed, so what the disk holds is unknown. Only a restart clears this.
    #[error("the store takes no writes since a flush failed: {0}")]
    Poisoned(String),
    /// No room for the next file. Clears by itself when there is.
    #[error("disk full: {} needs {needed} bytes, {available} are available", .path.display())]
    DiskFull {
        /// The file that could not be made.
        path: PathBuf,
        /// Bytes it needs.
        needed: u64,
        /// Bytes the partition has.
        available: u64,
    },
    /// The partition is fuller than `diskSpaceWarningLevelRatio` allows. Clears by itself.
    #[error("disk of {} is {used_percent} % full, more than the limit of {limit_percent} %: {available} bytes are available", .path.display())]
    DiskRatio {
        /// A directory on the partition.
        path: PathBuf,
        /// Used percent.
        used_percent: u8,
        /// Percent at which sends are refused.
        limit_percent: u8,
        /// Bytes the partition has.
        available: u64,
    },
    /// The next file cannot be made for another reason than space.
    #[error("{0}")]
    Io(String),
    /// This broker may not write now.
    #[error("this broker is not the master")]
    NotMaster,
    /// The store is shut down.
    #[error("the store is shut down")]
    Closed,
}

/// Why a record was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The record, or the batch, can never fit. Retrying will not help.
    #[error("record of {len} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Encoded length.
        len: usize,
        /// What fits.
        limit: usize,
    },
    /// The properties are longer than their length field can say.
    #[error("properties of {len} bytes exceed the limit of 32767 bytes")]
    PropertiesTooLarge {
        /// Their length.
        len: usize,
    },
    /// The topic is empty or longer than 255 bytes.
    #[error("topic of {len} bytes; 1 to 255 are allowed")]
    Topic {
        /// Its length.
        len: usize,
    },
    /// Nothing to append.
    #[error("an empty batch")]
    Empty,
    /// The record names a light queue that does not exist, and there are as many as may be.
    #[error("there are {limit} light queues already, as many as maxLmqConsumeQueueNum allows")]
    LightQueues {
        /// How many may be.
        limit: usize,
    },
    /// The store takes no such writes now.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

/// Why the log could not be cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CutError {
    /// The offset is outside the log.
    #[error("cannot cut at {offset}: the log is {min}..{max}")]
    Outside {
        /// Where to cut.
        offset: u64,
        /// First offset of the log.
        min: u64,
        /// End of the log.
        max: u64,
    },
    /// The file system refused. The store is poisoned.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why bytes of another broker's log were not taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// Only a slave follows.
    #[error("this broker does not follow another one")]
    NotSlave,
    /// The bytes do not start where the log ends.
    #[error("bytes from {offset} do not continue a log that ends at {end}")]
    Gap {
        /// Where they start.
        offset: u64,
        /// End of the log.
        end: u64,
    },
    /// The bytes go beyond the end of a file.
    #[error("{len} bytes do not fit in the {left} bytes left of the file")]
    CrossesFile {
        /// Their number.
        len: usize,
        /// Bytes left.
        left: u64,
    },
    /// What arrived is no log. The bytes were taken over; cut the log to go on.
    #[error("no record at {offset}")]
    Corrupt {
        /// Where.
        offset: u64,
        /// What is wrong there.
        #[source]
        source: RecordError,
    },
    /// The store takes no writes now.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}
