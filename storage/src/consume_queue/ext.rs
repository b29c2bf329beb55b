//! Extension files of consume queues (`consumequeue_ext`), as Apache writes them with `enableConsumeQueueExt`.
//!
//! An entry then holds, instead of the tags code, the address of a unit in these files:
//!
//! ```text
//! i16 size | i64 tags code | i64 store time | i16 length of the filter bits | the bits
//! ```
//!
//! We only read them, so that a directory from such a broker keeps filtering rightly; our own entries hold the tags
//! code itself, which Apache understands too. A size of 0 ends the data of a file, -1 closes the file.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Queue;
use super::entry::Entry;
use super::file::file_name;
use crate::fs::{FileSystem, OpenMode};

/// Directory below the root that holds the extension files.
pub const FOLDER: &str = "consumequeue_ext";
/// Length of a unit without filter bits.
const HEADER_LEN: usize = 20;

/// One unit, without its filter bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtUnit {
    /// Java hash of the message's tags; the time of delivery for `SCHEDULE_TOPIC_XXXX`.
    pub tags_code: i64,
    /// Store time of the record in milliseconds since the Unix epoch.
    pub store_timestamp: i64,
    /// Length of the unit in bytes, 20 or more: the next unit comes so much further.
    pub len: u16,
}

impl ExtUnit {
    /// Decodes the first 20 bytes of a unit; `None` when there is no unit.
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk()?;
        let (tags_code, rest) = rest.split_first_chunk()?;
        let (time, _) = rest.split_first_chunk()?;
        let len = u16::try_from(i16::from_be_bytes(*size)).ok().filter(|&len| usize::from(len) >= HEADER_LEN)?;
        Some(Self { tags_code: i64::from_be_bytes(*tags_code), store_timestamp: i64::from_be_bytes(*time), len })
    }
}

/// The extension files of one queue.
pub struct ExtFiles<'a> {
    fs: &'a dyn FileSystem,
    directory: PathBuf,
    file_size: u64,
}

impl<'a> ExtFiles<'a> {
    /// The files of `topic` and `queue_id` below the data directory `root`, each of `file_size` bytes. They need not exist.
    pub fn new(fs: &'a dyn FileSystem, root: &Path, topic: &str, queue_id: i32, file_size: u64) -> Self {
        Self { fs, directory: root.join(FOLDER).join(topic).join(queue_id.to_string()), file_size: file_size.max(1) }
    }

    /// The unit at an address taken from an entry; `Ok(None)` when there is none there.
    pub fn unit(&self, address: u64) -> io::Result<Option<ExtUnit>> {
        let start = address - address % self.file_size;
        let path = self.directory.join(file_name(start));
        let file = match self.fs.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; HEADER_LEN];
        match file.read_exact_at(&mut bytes, address - start) {
            Ok(()) => Ok(ExtUnit::from_bytes(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Queue {
    /// The tags code of an entry of this queue, read from the extension files when the entry holds an address.
    ///
    /// `None` when the unit is missing or unreadable: the entry then matches any tag, as at Apache, and the client
    /// filters. `file_size` is `mappedFileSizeConsumeQueueExt`.
    pub fn tags_code(&self, entry: &Entry, file_size: u64) -> Option<i64> {
        let Some(address) = entry.ext_address() else { return Some(entry.tags_code) };
        let place = self.place();
        let files = ExtFiles::new(&*place.fs, &place.root, &place.topic, place.queue_id, file_size);
        match files.unit(address) {
            Ok(unit) => unit.map(|unit| unit.tags_code),
            Err(error) => {
                tracing::warn!(topic = self.topic(), queue_id = self.queue_id(), %error, "extension file unreadable");
                None
            }
        }
    }
}
