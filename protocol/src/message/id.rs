//! Message ids: the broker's, which is an address, and the client's, which is opaque.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU16, Ordering};

use super::bytes::{canonical, host_at, i64_at};

/// Longest id as text: 28 bytes in hex.
const MAX_HEX: usize = 56;
const MILLIS_PER_DAY: i64 = 86_400_000;

/// The two digits of each byte.
static HEX: [[u8; 2]; 256] = hex_of_bytes();

const fn hex_of_bytes() -> [[u8; 2]; 256] {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
}

/// Upper-case hex text of up to 28 bytes, kept without allocating.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HexText {
    bytes: [u8; MAX_HEX],
    len: u8,
}

impl HexText {
    fn new() -> Self {
        Self { bytes: [0; MAX_HEX], len: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        let (room, _) = self.bytes.get_mut(usize::from(self.len)..).unwrap_or_default().as_chunks_mut::<2>();
        for (room, &byte) in room.iter_mut().zip(bytes) {
            *room = HEX.get(usize::from(byte)).copied().unwrap_or_default();
            self.len += 2;
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The bytes of the text: digits and letters.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for HexText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for HexText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The broker's id of a message: where it lies. Clients connect to this address to look it up.
///
/// Text: upper-case hex of address (4 or 16 bytes), port (i32), commit log offset (i64): 32 or 56 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OffsetMessageId {
    /// Address of the broker that stored it.
    pub host: SocketAddr,
    /// Commit log offset of the record.
    pub offset: i64,
}

impl OffsetMessageId {
    /// The text, without allocating.
    pub fn text(&self) -> HexText {
        let mut text = HexText::new();
        push_ip(&mut text, canonical(self.host).ip());
        text.push(&i32::from(self.host.port()).to_be_bytes());
        text.push(&self.offset.to_be_bytes());
        text
    }
}

impl fmt::Display for OffsetMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.text(), f)
    }
}

/// Text that is not an offset message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an offset message id has 32 or 56 hex digits")]
pub struct InvalidMessageId;

impl FromStr for OffsetMessageId {
    type Err = InvalidMessageId;

    fn from_str(text: &str) -> Result<Self, InvalidMessageId> {
        if text.len() != 32 && text.len() != MAX_HEX {
            return Err(InvalidMessageId);
        }
        let mut bytes = [0; MAX_HEX / 2];
        for (to, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let mut digits = pair.iter().map(|&digit| char::from(digit).to_digit(16));
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(InvalidMessageId);
            };
            *to = (high << 4 | low) as u8;
        }
        let v6 = text.len() == MAX_HEX;
        Ok(Self { host: host_at(&bytes, 0, v6), offset: i64_at(&bytes, if v6 { 20 } else { 8 }) })
    }
}

/// A client's message id (`UNIQ_KEY`), as text.
pub type UniqueKey = HexText;

/// Makes ids that are unique among all clients. Brokers use one for messages that come without.
///
/// Text: hex of address (4 or 16 bytes), process id (16 bits), a discriminator (32 bits; Java: hash of the class loader),
/// milliseconds since the month began (32 bits), a counter (16 bits).
#[derive(Debug)]
pub struct UniqueKeyGenerator {
    prefix: HexText,
    counter: AtomicU16,
}

impl UniqueKeyGenerator {
    /// A generator for this process. Two generators with equal arguments may collide.
    pub fn new(ip: IpAddr, process_id: u32, discriminator: u32) -> Self {
        let mut prefix = HexText::new();
        push_ip(&mut prefix, ip.to_canonical());
        prefix.push(&(process_id as u16).to_be_bytes());
        prefix.push(&discriminator.to_be_bytes());
        Self { prefix, counter: AtomicU16::new(0) }
    }

    /// The next id. `now_ms` is the time in milliseconds since the Unix epoch.
    pub fn next(&self, now_ms: i64) -> UniqueKey {
        let mut key = self.prefix;
        let since_month_began = now_ms - month_start(now_ms);
        key.push(&(since_month_began as u32).to_be_bytes());
        key.push(&self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        key
    }
}

fn push_ip(text: &mut HexText, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => text.push(&Ipv4Addr::octets(&v4)),
        IpAddr::V6(v6) => text.push(&Ipv6Addr::octets(&v6)),
    }
}

/// Midnight (UTC) of the first of the month of `now_ms`.
fn month_start(now_ms: i64) -> i64 {
    let day = now_ms.div_euclid(MILLIS_PER_DAY);
    (day - i64::from(day_of_month(day)) + 1) * MILLIS_PER_DAY
}

/// Day of the month, counting from 1, of a day since the Unix epoch (proleptic Gregorian calendar).
fn day_of_month(day: i64) -> u32 {
    let of_era = (day + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    (of_year - (153 * month + 2) / 5 + 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_id_is_the_address_and_the_offset_in_hex() {
        let id = OffsetMessageId { host: "127.0.0.1:10911".parse().unwrap(), offset: 12345 };
        assert_eq!(id.to_string(), "7F00000100002A9F0000000000003039");
        assert_eq!("7f00000100002A9F0000000000003039".parse(), Ok(id));
    }

    #[test]
    fn an_ipv6_id_has_56_digits_and_reads_back() {
        let id = OffsetMessageId { host: "[::1]:20911".parse().unwrap(), offset: i64::MAX };
        assert_eq!(id.to_string().len(), 56);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_mapped_ipv4_address_is_written_as_ipv4() {
        let id = OffsetMessageId { host: "[::ffff:127.0.0.1]:10911".parse().unwrap(), offset: 0 };
        assert_eq!(id.to_string().len(), 32);
    }

    #[test]
    fn text_of_another_length_or_alphabet_is_refused() {
        for text in ["", "7F", "7F00000100002A9F000000000000303G", "éééééééééééééééé"] {
            assert_eq!(text.parse::<OffsetMessageId>(), Err(InvalidMessageId), "{text}");
        }
    }

    #[test]
    fn unique_keys_differ_and_carry_the_time_since_the_month_began() {
        let keys = UniqueKeyGenerator::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0x1_0002, 7);
        let first_of_march_2024 = 1_709_251_200_000;
        let (one, two) = (keys.next(first_of_march_2024 + 5), keys.next(first_of_march_2024 - 1));
        assert_eq!(one.as_str(), "7F000001000200000007000000050000");
        assert_eq!(two.as_str(), format!("7F000001000200000007{:08X}0001", 29 * MILLIS_PER_DAY - 1));
    }
}
