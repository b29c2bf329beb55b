//! Reading records out of a log or an answer without copying.

use std::net::SocketAddr;

use super::bytes::{host_at, host_len, i16_at, i32_at, i64_at};
use super::flags::SysFlag;
use super::id::OffsetMessageId;
use super::properties::Properties;
use super::record::{
    MAGIC_BLANK, MAGIC_V1, MAGIC_V2, PROPERTIES_CRC_LEN, PROPERTIES_CRC_NAME, body_crc, properties_crc_digits,
};

/// Why bytes are not a record, or not a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The buffer ends before the record does.
    #[error("record needs {needed} bytes, only {available} are there")]
    Truncated {
        /// Bytes that the record says it has.
        needed: usize,
        /// Bytes in the buffer.
        available: usize,
    },
    /// The magic number belongs to no known layout.
    #[error("magic {0:#010x} is not one of a record")]
    Magic(i32),
    /// A length field is negative or reaches beyond the record.
    #[error("{field} is {value}, which does not fit in a record of {total} bytes")]
    Length {
        /// Name of the field.
        field: &'static str,
        /// What it holds.
        value: i64,
        /// `totalSize` of the record.
        total: usize,
    },
    /// The parts do not add up to the record's size.
    #[error("record says {total} bytes but its parts take {parts}")]
    Size {
        /// `totalSize` of the record.
        total: usize,
        /// Sum of the parts.
        parts: usize,
    },
    /// The topic is not UTF-8.
    #[error("topic is not UTF-8")]
    TopicNotUtf8,
    /// The body does not match its checksum.
    #[error("body checksum is {stored:#010x}, the body has {computed:#010x}")]
    BodyCrc {
        /// What the record holds.
        stored: u32,
        /// What the body has.
        computed: u32,
    },
    /// The property text ends with zeros, as a file that nothing was written to: its writer died before the end.
    #[error("the end of the properties was never written")]
    Unwritten,
    /// A part is longer than the layout can say.
    #[error("{field} of {len} bytes does not fit in a record")]
    TooLong {
        /// Name of the part.
        field: &'static str,
        /// Its length in bytes.
        len: usize,
    },
}

/// What stands at a place in a log file.
#[derive(Debug, Clone, Copy)]
pub enum LogItem<'a> {
    /// A record.
    Record(RecordView<'a>),
    /// The filler up to the end of the file.
    Blank {
        /// Bytes from here to the end of the file.
        len: usize,
    },
    /// Nothing was written here yet.
    End,
}

impl<'a> LogItem<'a> {
    /// Reads the item at the start of `buf`; bytes behind it do not matter.
    pub fn parse(buf: &'a [u8]) -> Result<Self, RecordError> {
        if buf.len() < 8 {
            return if buf.iter().all(|&byte| byte == 0) {
                Ok(Self::End)
            } else {
                Err(RecordError::Truncated { needed: 8, available: buf.len() })
            };
        }
        let size = i32_at(buf, 0);
        match i32_at(buf, 4) {
            MAGIC_BLANK if size >= 8 => Ok(Self::Blank { len: size as usize }),
            MAGIC_BLANK => Err(length("blank size", i64::from(size), 8)),
            0 if size == 0 => Ok(Self::End),
            _ => RecordView::parse(buf).map(Self::Record),
        }
    }
}

/// What the whole-record checksum says (`__CRC32#`, written under `enabledAppendPropCRC`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertiesCrc {
    /// The record carries none.
    Absent,
    /// It matches.
    Good,
    /// It does not.
    Bad,
}

/// One whole record, borrowed. Every length inside it has been checked.
#[derive(Clone, Copy)]
pub struct RecordView<'a> {
    /// Exactly the record.
    bytes: &'a [u8],
    body: &'a [u8],
    topic: &'a str,
    properties: &'a [u8],
    sys_flag: SysFlag,
}

/// One whole record, borrowed, for who reads many and needs little of each. Every length inside it has been checked; the
/// topic need not be UTF-8.
#[derive(Clone, Copy)]
pub struct RawRecord<'a> {
    /// Exactly the record.
    bytes: &'a [u8],
    body: &'a [u8],
    topic: &'a [u8],
    properties: &'a [u8],
    sys_flag: SysFlag,
}

impl<'a> RawRecord<'a> {
    /// Reads the record at the start of `buf`; bytes behind it do not matter. Checks structure, not checksums.
    #[inline]
    pub fn parse(buf: &'a [u8]) -> Result<Self, RecordError> {
        let truncated = |needed| RecordError::Truncated { needed, available: buf.len() };
        let (size, magic) = (i32_at(buf, 0), i32_at(buf, 4));
        if buf.len() < 8 {
            return Err(truncated(8));
        }
        let v2 = match magic {
            MAGIC_V1 => false,
            MAGIC_V2 => true,
            other => return Err(RecordError::Magic(other)),
        };
        let total = usize::try_from(size).map_err(|_| length("totalSize", i64::from(size), 0))?;
        let bytes = buf.get(..total).ok_or_else(|| truncated(total))?;
        let sys_flag = SysFlag(i32_at(bytes, 36));
        let mut rest = Parts { bytes, at: 68 + host_len(sys_flag.born_host_v6()) + host_len(sys_flag.store_host_v6()) };
        let body = rest.part("bodyLength", Width::Four)?;
        let topic = rest.part("topicLength", if v2 { Width::Two } else { Width::One })?;
        let properties = rest.part("propertiesLength", Width::Two)?;
        if rest.at != total {
            return Err(RecordError::Size { total, parts: rest.at });
        }
        Ok(Self { bytes, body, topic, properties, sys_flag })
    }

    /// Length of the whole record in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a record is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The system flag.
    pub fn sys_flag(&self) -> SysFlag {
        self.sys_flag
    }

    /// When it was stored, in milliseconds.
    #[inline]
    pub fn store_timestamp(&self) -> i64 {
        i64_at(self.bytes, 48 + host_len(self.sys_flag.born_host_v6()))
    }

    /// The topic it is stored under.
    pub fn topic_bytes(&self) -> &'a [u8] {
        self.topic
    }

    /// The property text.
    pub fn properties_bytes(&self) -> &'a [u8] {
        self.properties
    }
}

impl std::fmt::Debug for RawRecord<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawRecord")
            .field("topic", &self.topic.escape_ascii().to_string())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<'a> RecordView<'a> {
    /// Reads the record at the start of `buf`; bytes behind it do not matter. Checks structure, not checksums.
    pub fn parse(buf: &'a [u8]) -> Result<Self, RecordError> {
        let RawRecord { bytes, body, topic, properties, sys_flag } = RawRecord::parse(buf)?;
        let topic = std::str::from_utf8(topic).map_err(|_| RecordError::TopicNotUtf8)?;
        Ok(Self { bytes, body, topic, properties, sys_flag })
    }

    /// Iterates over records that follow each other, as in the body of a pull answer. Ends after the first error.
    pub fn iter_all(buf: &'a [u8]) -> impl Iterator<Item = Result<Self, RecordError>> + 'a {
        let mut rest = buf;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let parsed = Self::parse(rest);
            rest = parsed.as_ref().ok().and_then(|record| rest.get(record.len()..)).unwrap_or_default();
            Some(parsed)
        })
    }

    /// Length of the whole record in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a record is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The record's own bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// [`MAGIC_V1`] or [`MAGIC_V2`].
    pub fn magic(&self) -> i32 {
        i32_at(self.bytes, 4)
    }

    /// Stored checksum of the body.
    pub fn body_crc(&self) -> u32 {
        i32_at(self.bytes, 8) as u32
    }

    /// Queue that the record belongs to.
    pub fn queue_id(&self) -> i32 {
        i32_at(self.bytes, 12)
    }

    /// The application's flag.
    pub fn flag(&self) -> i32 {
        i32_at(self.bytes, 16)
    }

    /// Index in the consume queue.
    pub fn queue_offset(&self) -> i64 {
        i64_at(self.bytes, 20)
    }

    /// Log offset of the record's first byte, as stored.
    pub fn physical_offset(&self) -> i64 {
        i64_at(self.bytes, 28)
    }

    /// The system flag.
    pub fn sys_flag(&self) -> SysFlag {
        self.sys_flag
    }

    /// When the producer made the message, in milliseconds.
    pub fn born_timestamp(&self) -> i64 {
        i64_at(self.bytes, 40)
    }

    /// Who sent it.
    pub fn born_host(&self) -> SocketAddr {
        host_at(self.bytes, 48, self.sys_flag.born_host_v6())
    }

    /// When it was stored, in milliseconds.
    pub fn store_timestamp(&self) -> i64 {
        i64_at(self.bytes, 48 + self.born_len())
    }

    /// Address of the broker that stored it.
    pub fn store_host(&self) -> SocketAddr {
        host_at(self.bytes, 56 + self.born_len(), self.sys_flag.store_host_v6())
    }

    /// How often it was consumed in vain.
    pub fn reconsume_times(&self) -> i32 {
        i32_at(self.bytes, self.after_hosts())
    }

    /// Log offset of the half message it came from, or 0.
    pub fn prepared_transaction_offset(&self) -> i64 {
        i64_at(self.bytes, self.after_hosts() + 4)
    }

    /// The body as stored, perhaps compressed.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The topic it is stored under.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The property text. Usually UTF-8, but a client's batch keeps what the client sent.
    pub fn properties_bytes(&self) -> &'a [u8] {
        self.properties
    }

    /// The property text, or `""` when it is not UTF-8.
    pub fn properties_text(&self) -> &'a str {
        std::str::from_utf8(self.properties).unwrap_or_default()
    }

    /// The properties, parsed.
    pub fn properties(&self) -> Properties<'a> {
        Properties::parse(self.properties_text())
    }

    /// The offset message id.
    pub fn message_id(&self) -> OffsetMessageId {
        OffsetMessageId { host: self.store_host(), offset: self.physical_offset() }
    }

    /// Compares the body with its checksum. An empty body always passes, as in Apache's decoder.
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        let (stored, computed) = (self.body_crc(), body_crc(self.body));
        if self.body.is_empty() || stored == computed { Ok(()) } else { Err(RecordError::BodyCrc { stored, computed }) }
    }

    /// Compares the whole record with the checksum at the end of its properties, if it carries one.
    pub fn properties_crc(&self) -> PropertiesCrc {
        let Some((head, tail)) = self.bytes.split_last_chunk::<PROPERTIES_CRC_LEN>() else {
            return PropertiesCrc::Absent;
        };
        let carries = self.properties.len() >= PROPERTIES_CRC_LEN && tail.starts_with(PROPERTIES_CRC_NAME);
        if !carries {
            return PropertiesCrc::Absent;
        }
        let expected = properties_crc_digits(crc32fast::hash(head) & 0x7FFF_FFFF);
        let stored = tail.iter().skip(PROPERTIES_CRC_NAME.len());
        if stored.eq(expected.iter().chain(&[2])) { PropertiesCrc::Good } else { PropertiesCrc::Bad }
    }

    fn born_len(&self) -> usize {
        host_len(self.sys_flag.born_host_v6())
    }

    fn after_hosts(&self) -> usize {
        56 + self.born_len() + host_len(self.sys_flag.store_host_v6())
    }
}

impl std::fmt::Debug for RecordView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordView")
            .field("topic", &self.topic)
            .field("queue_id", &self.queue_id())
            .field("queue_offset", &self.queue_offset())
            .field("physical_offset", &self.physical_offset())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// How wide a length field is, in bytes.
#[derive(Clone, Copy)]
enum Width {
    One = 1,
    Two = 2,
    Four = 4,
}

/// The length-prefixed parts at the end of a record.
struct Parts<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parts<'a> {
    fn part(&mut self, field: &'static str, width: Width) -> Result<&'a [u8], RecordError> {
        let total = self.bytes.len();
        let start = self.at + width as usize;
        if start > total {
            return Err(RecordError::Size { total, parts: start });
        }
        let value = match width {
            Width::One => i32::from(self.bytes.get(self.at).copied().unwrap_or_default() as i8),
            Width::Two => i32::from(i16_at(self.bytes, self.at)),
            Width::Four => i32_at(self.bytes, self.at),
        };
        let part = usize::try_from(value)
            .ok()
            .and_then(|len| self.bytes.get(start..start.checked_add(len)?))
            .ok_or_else(|| length(field, i64::from(value), total))?;
        self.at = start + part.len();
        Ok(part)
    }
}

fn length(field: &'static str, value: i64, total: usize) -> RecordError {
    RecordError::Length { field, value, total }
}
