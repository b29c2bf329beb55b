//! Whether bytes of the log are the record that is wanted, and whole.
//!
//! Every reader gets the cheap test, which looks at the first bytes of a record; `verifyRecordsOnRead` adds the checksums.

use tenonmq_protocol::message::RecordView;
use tenonmq_protocol::message::record::{MAGIC_V1, MAGIC_V2, PropertiesCrc};

use crate::config::StoreConfig;

/// Where the queue offset stands in a record.
const QUEUE_OFFSET: usize = 20;

/// Whether these bytes are exactly one record, as far as its length and magic say, with that queue offset.
pub(crate) fn is_record(bytes: &[u8], queue_offset: Option<i64>) -> bool {
    let known = matches!(word(bytes, 4).map(u32::cast_signed), Some(MAGIC_V1 | MAGIC_V2));
    let is_whole = word(bytes, 0).is_some_and(|size| size as usize == bytes.len());
    known && is_whole && queue_offset.is_none_or(|offset| stored_offset(bytes) == Some(offset))
}

/// What is compared when a record is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Its first bytes, at most.
    Trusted,
    /// The checksum of its body, and that over all of it if it has one.
    Verified,
    /// Both, and both must be there.
    VerifiedWhole,
}

impl Reads {
    pub(crate) fn of(config: &StoreConfig) -> Self {
        match (config.verify_reads, config.verify_record_crc) {
            (false, _) => Self::Trusted,
            (true, false) => Self::Verified,
            (true, true) => Self::VerifiedWhole,
        }
    }

    /// Whether these bytes are exactly one record whose checksums hold, that says that it stands at this place of the log
    /// and belongs to that queue.
    pub(crate) fn accept_bytes(self, bytes: &[u8], physical_offset: u64, queue: Option<(&str, i32)>) -> bool {
        RecordView::parse(bytes).is_ok_and(|record| {
            record.len() == bytes.len()
                && self.accept(&record, physical_offset)
                && queue.is_none_or(|(topic, queue_id)| record.topic() == topic && record.queue_id() == queue_id)
        })
    }

    /// Whether the checksums of a record hold, and it says that it stands at this place of the log.
    pub(crate) fn accept(self, record: &RecordView<'_>, physical_offset: u64) -> bool {
        let holds = |crc| match self {
            Self::VerifiedWhole => crc == PropertiesCrc::Good,
            _ => crc != PropertiesCrc::Bad,
        };
        self == Self::Trusted
            || record.physical_offset().cast_unsigned() == physical_offset
                && holds(record.properties_crc())
                && record.verify_crc().is_ok()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn stored_offset(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(*bytes.get(QUEUE_OFFSET..)?.first_chunk()?))
}
