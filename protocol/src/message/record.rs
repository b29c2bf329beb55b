//! The commit log record: one layout for the log, pull answers, message look-ups and transaction checks.
//!
//! ```text
//! totalSize magic bodyCRC queueId flag queueOffset physicalOffset sysFlag bornTime bornHost
//! storeTime storeHost reconsumeTimes preparedTransactionOffset body(i32) topic(i8, V2: i16) properties(i16)
//! ```
//!
//! All integers are big endian; hosts take 8 bytes (IPv4) or 20 (IPv6), by two bits of `sysFlag`.
//! Reading is in [`view`](RecordView); this file writes.

use std::net::SocketAddr;

use bytes::BufMut;

use super::bytes::{canonical, host_len};
use super::flags::SysFlag;

pub use super::view::{LogItem, PropertiesCrc, RawRecord, RecordError, RecordView};

/// Magic of a record whose topic length takes one byte.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32 as i32;
/// Magic of a record whose topic length takes two bytes.
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32 as i32;
/// Magic of the filler that ends a log file.
pub const MAGIC_BLANK: i32 = 0xCBD4_3194_u32 as i32;
/// Bytes of the filler that mean something: its length and its magic.
pub const BLANK_LEN: usize = 8;
/// Longest topic that the first layout holds, in bytes.
pub const MAX_V1_TOPIC: usize = 127;
/// Longest property text, in bytes: its length is a signed 16-bit number.
pub const MAX_PROPERTIES: usize = i16::MAX as usize;
/// Longest topic the second layout holds, in bytes.
pub const MAX_TOPIC: usize = i16::MAX as usize;

/// Bytes of a record besides hosts, body, topic length, topic and properties.
const FIXED_LEN: usize = 74;

/// CRC-32 of a body as records carry it: the sign bit is cleared, an empty body has 0.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

/// A record that has not been given its place in the log yet.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    /// Topic it is stored under. More than 127 bytes make it a V2 record.
    pub topic: &'a str,
    /// Queue of that topic.
    pub queue_id: i32,
    /// The application's flag, stored untouched.
    pub flag: i32,
    /// See [`SysFlag`]; its two address bits are derived from the hosts when encoding.
    pub sys_flag: i32,
    /// When the producer made the message, in milliseconds.
    pub born_timestamp: i64,
    /// Who sent it.
    pub born_host: SocketAddr,
    /// The broker's reachable address; it is part of the message id.
    pub store_host: SocketAddr,
    /// How often it was consumed in vain.
    pub reconsume_times: i32,
    /// Log offset of the half message that a committed message came from, else 0.
    pub prepared_transaction_offset: i64,
    /// The body as stored, perhaps compressed.
    pub body: &'a [u8],
    /// Property text, see [`Properties`](super::Properties).
    pub properties: &'a [u8],
    /// [`body_crc`] of `body`, computed before any lock is taken.
    pub body_crc: u32,
}

/// What the log decides about a record at the moment of appending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Assigned {
    /// Index in the consume queue.
    pub queue_offset: i64,
    /// Log offset of the record's first byte.
    pub physical_offset: i64,
    /// When it was stored, in milliseconds.
    pub store_timestamp: i64,
}

impl<'a> NewRecord<'a> {
    /// The message of a stored record once more, with another property text; what else differs is the caller's to set.
    /// It comes from no half message.
    pub fn copy_of(record: &RecordView<'a>, properties: &'a [u8]) -> Self {
        Self {
            topic: record.topic(),
            queue_id: record.queue_id(),
            flag: record.flag(),
            sys_flag: record.sys_flag().0,
            born_timestamp: record.born_timestamp(),
            born_host: record.born_host(),
            store_host: record.store_host(),
            reconsume_times: record.reconsume_times(),
            prepared_transaction_offset: 0,
            body: record.body(),
            properties,
            body_crc: record.body_crc(),
        }
    }
}

impl NewRecord<'_> {
    /// Whether the layout can hold topic, properties and body. Configured limits are the caller's.
    pub fn check(&self) -> Result<(), RecordError> {
        let too_long = |field, len| RecordError::TooLong { field, len };
        if self.topic.len() > MAX_TOPIC {
            return Err(too_long("topic", self.topic.len()));
        }
        if self.properties.len() > MAX_PROPERTIES {
            return Err(too_long("properties", self.properties.len()));
        }
        if self.body.len() > i32::MAX as usize - 0x2_0000 {
            return Err(too_long("body", self.body.len()));
        }
        Ok(())
    }

    /// Bytes that [`encode`](Self::encode) writes.
    pub fn encoded_len(&self) -> usize {
        FIXED_LEN
            + host_len(is_v6(self.born_host))
            + host_len(is_v6(self.store_host))
            + if self.is_v2() { 2 } else { 1 }
            + self.body.len()
            + self.topic.len()
            + self.properties.len()
    }

    /// Writes the record.
    ///
    /// # Panics
    /// When `buf` is shorter than [`encoded_len`](Self::encoded_len). A record that [`check`](Self::check) refuses is
    /// written with truncated length fields, so check first.
    pub fn encode(&self, buf: &mut [u8], at: Assigned) {
        let len = self.encoded_len();
        let mut out = buf;
        out.put_i32(len as i32);
        out.put_i32(if self.is_v2() { MAGIC_V2 } else { MAGIC_V1 });
        out.put_u32(self.body_crc);
        out.put_i32(self.queue_id);
        out.put_i32(self.flag);
        out.put_i64(at.queue_offset);
        out.put_i64(at.physical_offset);
        out.put_i32(self.stored_sys_flag().0);
        out.put_i64(self.born_timestamp);
        put_host(&mut out, self.born_host);
        out.put_i64(at.store_timestamp);
        put_host(&mut out, self.store_host);
        out.put_i32(self.reconsume_times);
        out.put_i64(self.prepared_transaction_offset);
        out.put_i32(self.body.len() as i32);
        out.put_slice(self.body);
        if self.is_v2() {
            out.put_u16(self.topic.len() as u16);
        } else {
            out.put_u8(self.topic.len() as u8);
        }
        out.put_slice(self.topic.as_bytes());
        out.put_u16(self.properties.len() as u16);
        out.put_slice(self.properties);
    }

    /// The system flag as it is stored: address bits set by the addresses.
    pub fn stored_sys_flag(&self) -> SysFlag {
        let mut bits = self.sys_flag & !(SysFlag::BORN_HOST_V6 | SysFlag::STORE_HOST_V6);
        if is_v6(self.born_host) {
            bits |= SysFlag::BORN_HOST_V6;
        }
        if is_v6(self.store_host) {
            bits |= SysFlag::STORE_HOST_V6;
        }
        SysFlag(bits)
    }

    fn is_v2(&self) -> bool {
        self.topic.len() > MAX_V1_TOPIC
    }
}

/// Writes the filler that closes a log file: `left` is the number of bytes up to the file's end.
///
/// # Panics
/// When `buf` is shorter than [`BLANK_LEN`].
pub fn encode_blank(buf: &mut [u8], left: u32) {
    let mut out = buf;
    out.put_u32(left);
    out.put_i32(MAGIC_BLANK);
}

/// Bytes that the whole-record checksum takes at the end of the properties.
pub const PROPERTIES_CRC_LEN: usize = 20;
pub(super) const PROPERTIES_CRC_NAME: &[u8] = b"__CRC32#\x01";

/// Makes room for the whole-record checksum at the end of a property text (`enabledAppendPropCRC`).
/// [`fill_properties_crc`] fills it once the record is encoded.
pub fn reserve_properties_crc(properties: &mut Vec<u8>) {
    if properties.last().is_some_and(|&last| last != 2) {
        properties.push(2);
    }
    properties.extend_from_slice(PROPERTIES_CRC_NAME);
    properties.extend_from_slice(b"0000000000\x02");
}

/// Writes the checksum over an encoded record into the room made by [`reserve_properties_crc`].
/// Returns `false`, and changes nothing, when the record does not end with that room.
pub fn fill_properties_crc(record: &mut [u8]) -> bool {
    let Some((head, tail)) = record.split_last_chunk_mut::<PROPERTIES_CRC_LEN>() else { return false };
    if !tail.starts_with(PROPERTIES_CRC_NAME) || tail.last() != Some(&2) {
        return false;
    }
    let crc = crc32fast::hash(head) & 0x7FFF_FFFF;
    let digits = tail.iter_mut().skip(PROPERTIES_CRC_NAME.len()).take(10);
    for (digit, value) in digits.zip(properties_crc_digits(crc)) {
        *digit = value;
    }
    true
}

/// The checksum's ten decimal digits, least significant first.
pub(super) fn properties_crc_digits(mut crc: u32) -> [u8; 10] {
    [(); 10].map(|()| {
        let digit = b'0' + (crc % 10) as u8;
        crc /= 10;
        digit
    })
}

fn is_v6(host: SocketAddr) -> bool {
    canonical(host).is_ipv6()
}

fn put_host(out: &mut &mut [u8], host: SocketAddr) {
    match canonical(host) {
        SocketAddr::V4(v4) => out.put_slice(&v4.ip().octets()),
        SocketAddr::V6(v6) => out.put_slice(&v6.ip().octets()),
    }
    out.put_i32(i32::from(host.port()));
}
