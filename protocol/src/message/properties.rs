//! The property text of a message: `name \x01 value \x02` repeated.
//!
//! Apache keeps properties in a Java `HashMap` and writes them in its iteration order. We keep them in the order of
//! their arrival and write them in that same order of buckets, so that a record has the bytes Apache would have stored.

use std::borrow::Cow;
use std::collections::HashMap;

use smallvec::SmallVec;

use crate::serialize::{find_byte, find_byte_up_to};

/// Separates a name from its value.
pub const NAME_END: u8 = 1;
/// Ends a property.
pub const VALUE_END: u8 = 2;

/// Above this many entries duplicates are looked up by hashing instead of comparing.
const LINEAR_LIMIT: usize = 32;

/// The table that Apache would hold the properties in; it decides the order of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Text went through Apache's parser: 128 buckets. Everything that clients send.
    Parsed,
    /// A message that the broker makes from nothing: 16 buckets (op records, pop check points and acks).
    Fresh,
}

impl Table {
    /// Buckets of the table once it holds `entries`; Java doubles it above three quarters.
    fn buckets(self, entries: usize) -> u32 {
        let mut buckets: u32 = match self {
            Self::Parsed => 128,
            Self::Fresh => 16,
        };
        while entries as u64 * 4 > u64::from(buckets) * 3 {
            buckets *= 2;
        }
        buckets
    }
}

#[derive(Debug, Clone)]
struct Property<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

/// The properties of one message, in order of arrival; names are unique.
#[derive(Debug, Clone, Default)]
pub struct Properties<'a> {
    entries: SmallVec<[Property<'a>; 12]>,
}

impl<'a> Properties<'a> {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a property text. Nothing is an error: pieces without name or value are dropped, the last of two values
    /// for one name wins, the last separator may be missing. That is what Apache's parser does.
    pub fn parse(text: &'a str) -> Self {
        let mut parsed = Self::new();
        let mut index = None;
        for (name, value) in pairs(text) {
            let found = match &mut index {
                None => parsed.position(name),
                Some(index) => position_or_insert(index, name, parsed.entries.len()),
            };
            match found.and_then(|at| parsed.entries.get_mut(at)) {
                Some(entry) => entry.value = Cow::Borrowed(value),
                None => parsed.entries.push(Property { name: Cow::Borrowed(name), value: Cow::Borrowed(value) }),
            }
            if index.is_none() && parsed.entries.len() > LINEAR_LIMIT {
                index = Some(parsed.build_index());
            }
        }
        parsed
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.get(self.position(name)?).map(|entry| &*entry.value)
    }

    /// The value of `name` as a piece of `text`, which was parsed; `None` also when it was set since.
    pub fn value_in<'t>(&self, text: &'t str, name: &str) -> Option<&'t str> {
        let value = self.get(name)?;
        let start = value.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
        text.get(start..start.checked_add(value.len())?)
    }

    /// Whether `name` is set.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether `name` holds `true` in any case, as Java reads booleans.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The value of `name` as a number; `None` when it is absent or not one.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Sets `name`. A name that was there keeps its place.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        match self.position(&name).and_then(|at| self.entries.get_mut(at)) {
            Some(entry) => entry.value = value,
            None => self.entries.push(Property { name, value }),
        }
    }

    /// Takes `name` out and returns what it held.
    pub fn remove(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let at = self.position(name)?;
        Some(self.entries.remove(at).value)
    }

    /// Number of properties.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names and values in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (&*entry.name, &*entry.value))
    }

    /// Appends the text in the order of Apache's 128-bucket table.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        self.encode_as(Table::Parsed, out);
    }

    /// Appends the text in the order of the given table. Transient properties are left out.
    pub fn encode_as(&self, table: Table, out: &mut Vec<u8>) {
        let mask = table.buckets(self.entries.len()) - 1;
        // Bucket in the high half, place in the low half: places are unique, so the order is a stable one.
        let mut order: SmallVec<[u64; 32]> = self
            .entries
            .iter()
            .zip(0u64..)
            .map(|(entry, at)| u64::from(bucket(java_hash(&entry.name), mask)) << 32 | at)
            .collect();
        order.sort_unstable();
        for entry in order.iter().filter_map(|&key| self.entries.get(key as u32 as usize)) {
            if !entry.name.starts_with(names::TRANSIENT_PREFIX) {
                out.extend_from_slice(entry.name.as_bytes());
                out.push(NAME_END);
                out.extend_from_slice(entry.value.as_bytes());
                out.push(VALUE_END);
            }
        }
    }

    /// The same properties, owning their text.
    pub fn into_owned(self) -> Properties<'static> {
        let own = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        Properties {
            entries: self
                .entries
                .into_iter()
                .map(|entry| Property { name: own(entry.name), value: own(entry.value) })
                .collect(),
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == name)
    }

    /// Where each name stands; only text that was parsed, so every name is borrowed.
    fn build_index(&self) -> HashMap<&'a str, usize> {
        let borrowed = self.entries.iter().enumerate().filter_map(|(at, entry)| match entry.name {
            Cow::Borrowed(name) => Some((name, at)),
            Cow::Owned(_) => None,
        });
        borrowed.collect()
    }
}

fn position_or_insert<'a>(index: &mut HashMap<&'a str, usize>, name: &'a str, end: usize) -> Option<usize> {
    let at = *index.entry(name).or_insert(end);
    (at < end).then_some(at)
}

fn bucket(hash: i32, mask: u32) -> u32 {
    let hash = hash as u32;
    (hash ^ (hash >> 16)) & mask
}

/// Names and values of a property text, duplicates included, by the rules of [`Properties::parse`].
pub fn pairs(text: &str) -> Pairs<'_> {
    Pairs { rest: text }
}

/// See [`pairs`].
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (name, after) = self.cut(self.name_end()?)?;
            if after == VALUE_END {
                continue; // a piece without a value
            }
            let end = find_byte(self.rest.as_bytes(), VALUE_END).unwrap_or(self.rest.len());
            let value = self.cut(end).map_or("", |(value, _)| value);
            if !name.is_empty() && !value.is_empty() {
                return Some((name, value));
            }
        }
    }
}

impl<'a> Pairs<'a> {
    /// The next separator of either kind.
    #[inline]
    fn name_end(&self) -> Option<usize> {
        let bytes = self.rest.as_bytes();
        let mut end = find_byte_up_to(bytes, VALUE_END)?;
        while bytes.get(end) == Some(&0) {
            end += 1 + find_byte_up_to(bytes.get(end + 1..)?, VALUE_END)?;
        }
        Some(end)
    }

    /// Takes the text before `end`, and the separator there; the end of the text counts as one.
    fn cut(&mut self, end: usize) -> Option<(&'a str, u8)> {
        let separator = self.rest.as_bytes().get(end).copied().unwrap_or(VALUE_END);
        let piece = self.rest.get(..end)?;
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some((piece, separator))
    }
}

/// One value out of a property text without parsing all of it. The last one wins.
pub fn find<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let [value] = find_each(text.as_bytes(), [name]);
    // A piece between two ASCII characters of a text.
    value.and_then(|value| std::str::from_utf8(value).ok())
}

/// Several values in one pass, of a property text that need not be UTF-8; see [`find`].
#[inline(always)] // with names that are known to the compiler a piece is compared in a few instructions
pub fn find_each<'a, const N: usize>(text: &'a [u8], names: [&str; N]) -> [Option<&'a [u8]>; N] {
    let mut values = [None; N];
    let mut rest = text;
    loop {
        let end = find_byte(rest, VALUE_END).unwrap_or(rest.len());
        let (piece, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        for (name, place) in names.iter().zip(&mut values) {
            if begins_with_name(piece, name.as_bytes()) {
                *place = piece.get(name.len() + 1..);
            }
        }
        let Some((_, after)) = after.split_first() else { return values };
        rest = after;
    }
}

/// Whether a property text's piece has that name, which is not empty, and a value.
#[inline]
fn begins_with_name(piece: &[u8], name: &[u8]) -> bool {
    piece.len() > name.len() + 1 && piece.get(name.len()) == Some(&NAME_END) && piece.starts_with(name)
}

/// Java's `String.hashCode`: over UTF-16 units.
pub fn java_hash(text: &str) -> i32 {
    let (hash, is_ascii) = ascii_hash_behind(0, text.as_bytes());
    if is_ascii { hash } else { unit_hash_behind(0, text) }
}

/// Hash of a text of which `text` is the end and `hash` that of what comes before; `None` when it is not UTF-8.
#[inline]
pub fn java_hash_behind(hash: i32, text: &[u8]) -> Option<i32> {
    match ascii_hash_behind(hash, text) {
        (hash, true) => Some(hash),
        _ => std::str::from_utf8(text).ok().map(|text| unit_hash_behind(hash, text)),
    }
}

fn unit_hash_behind(hash: i32, text: &str) -> i32 {
    text.encode_utf16().fold(hash, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The hash of bytes that stand for a character each, and whether all of them do.
#[inline]
fn ascii_hash_behind(hash: i32, text: &[u8]) -> (i32, bool) {
    /// Every second byte of a word, and every second pair of bytes.
    const BYTES: u64 = 0x00FF_00FF_00FF_00FF;
    const PAIRS: u64 = 0x0000_FFFF_0000_FFFF;
    let (words, rest) = text.as_chunks::<8>();
    let (mut hash, mut seen) = (hash.cast_unsigned(), 0);
    for word in words {
        let word = u64::from_le_bytes(*word);
        seen |= word;
        // Neighbours are joined until one number is left. What is joined has room: a pair is at most 255 * 32.
        let pairs = (word & BYTES) * 31 + (word >> 8 & BYTES);
        let quads = (pairs & PAIRS) * 31_u64.pow(2) + (pairs >> 16 & PAIRS);
        let all = (quads as u32).wrapping_mul(31_u32.pow(4)).wrapping_add((quads >> 32) as u32);
        hash = hash.wrapping_mul(31_u32.wrapping_pow(8)).wrapping_add(all);
    }
    for byte in rest {
        seen |= u64::from(*byte);
        hash = hash.wrapping_mul(31).wrapping_add(u32::from(*byte));
    }
    (hash.cast_signed(), seen & 0x8080_8080_8080_8080 == 0)
}

/// The consume queue's code for a `TAGS` value: its Java hash, 0 without tags.
pub fn tags_code(tags: Option<&str>) -> i64 {
    i64::from(tags.map_or(0, java_hash))
}

/// Names with a meaning to brokers and clients. Origin: `MessageConst`.
pub mod names {
    macro_rules! names {
        ($($constant:ident = $text:literal, $doc:literal;)*) => {
            $(#[doc = $doc] pub const $constant: &str = $text;)*
        };
    }
    names! {
        KEYS = "KEYS", "Index keys, separated by one space.";
        TAGS = "TAGS", "The tag that subscriptions filter by.";
        WAIT = "WAIT", "`false`: do not wait for flush or replica.";
        DELAY = "DELAY", "Delay level, 1 to 18.";
        RETRY_TOPIC = "RETRY_TOPIC", "Original topic of a retried message.";
        REAL_TOPIC = "REAL_TOPIC", "Target topic of a half, delayed or timer message.";
        REAL_QID = "REAL_QID", "Target queue of a half, delayed or timer message.";
        TRAN_MSG = "TRAN_MSG", "`true`: a half message.";
        PGROUP = "PGROUP", "Producer group, whom the transaction check asks.";
        MIN_OFFSET = "MIN_OFFSET", "Set by consumers from the pull answer.";
        MAX_OFFSET = "MAX_OFFSET", "Set by consumers from the pull answer.";
        BUYER_ID = "BUYER_ID", "Legacy.";
        ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID", "First offset id of a retried message.";
        TRANSFER_FLAG = "TRANSFER_FLAG", "Legacy.";
        CORRECTION_FLAG = "CORRECTION_FLAG", "Legacy.";
        MQ2_FLAG = "MQ2_FLAG", "Legacy.";
        RECONSUME_TIME = "RECONSUME_TIME", "Moved to a header when a consumer sends to its retry topic.";
        MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES", "Moved to a header when a consumer sends to its retry topic.";
        MSG_REGION = "MSG_REGION", "The broker's region.";
        TRACE_ON = "TRACE_ON", "Whether clients trace.";
        UNIQ_KEY = "UNIQ_KEY", "The client's message id, also the transaction id.";
        EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO", "Commercial; kept.";
        DUP_INFO = "DUP_INFO", "Commercial; kept.";
        CONSUME_START_TIME = "CONSUME_START_TIME", "Consumer-local.";
        INNER_NUM = "INNER_NUM", "Messages in an inner batch.";
        INNER_BASE = "INNER_BASE", "Queue offset of the first message of an inner batch.";
        CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS", "Age below which a half message is not checked.";
        TRAN_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET", "Half-queue offset of the first copy of a half message.";
        TRANSACTION_ID = "__transactionId__", "Transaction id.";
        TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES", "Checks made of a half message.";
        INSTANCE_ID = "INSTANCE_ID", "Namespace.";
        CORRELATION_ID = "CORRELATION_ID", "Pairs a reply with its request.";
        REPLY_TO_CLIENT = "REPLY_TO_CLIENT", "Client id that a reply goes to.";
        TTL = "TTL", "How long a requester waits, in milliseconds.";
        ARRIVE_TIME = "ARRIVE_TIME", "When a request or reply arrived.";
        PUSH_REPLY_TIME = "PUSH_REPLY_TIME", "When the broker pushed a reply.";
        MSG_TYPE = "MSG_TYPE", "`reply` for replies.";
        CLUSTER = "CLUSTER", "The broker's cluster.";
        POP_CK = "POP_CK", "Receipt handle of a popped message.";
        POP_CK_OFFSET = "POP_CK_OFFSET", "Queue offset in a receipt handle.";
        FIRST_POP_TIME = "1ST_POP_TIME", "When a message was popped first.";
        SHARDING_KEY = "__SHARDINGKEY", "FIFO message group.";
        FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID", "Slave acting as master.";
        REDIRECT = "REDIRECT", "Slave acting as master.";
        INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH", "Light queues that the message also belongs to.";
        INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET", "Its offsets there.";
        TRACE_CONTEXT = "TRACE_CONTEXT", "Tracing of gRPC clients.";
        TIMER_DELAY_SEC = "TIMER_DELAY_SEC", "Delay in seconds.";
        TIMER_DELIVER_MS = "TIMER_DELIVER_MS", "Delivery time.";
        TIMER_DELAY_MS = "TIMER_DELAY_MS", "Delay in milliseconds.";
        TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS", "When a timer message was put on the wheel.";
        TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS", "When it was taken off.";
        TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES", "How often it was put back.";
        TIMER_OUT_MS = "TIMER_OUT_MS", "When it is due.";
        TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY", "Timer message to delete.";
        TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL", "Delay level turned into a timer.";
        BORN_HOST = "__BORNHOST", "Original host of a message that came through a proxy.";
        BORN_TIMESTAMP = "BORN_TIMESTAMP", "Original time of a message that came through a proxy.";
        CRC32 = "__CRC32#", "Checksum of the whole record.";
        DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC", "Topic of a dead letter.";
        DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID", "Id of a dead letter.";
        MAX_RETRIES = "TENON_MAX_RETRIES", "Ours. How often the message is retried, whatever its consumers and their group say. Set by its producer.";
        CAUSES = "TENON_CAUSES", "Ours. Why the last tries failed, see [`FailureCause`](super::super::FailureCause).";
        REDRIVEN = "TENON_REDRIVEN", "Ours. How often the message was sent again out of the dead letters.";
        REDRIVE_OF = "TENON_REDRIVE_OF", "Ours. Job and dead letter that the message was sent again by and from: `job:logOffset`.";
    }
    /// Names that users may not choose for their own properties (gRPC refuses them). Origin: `STRING_HASH_SET`; names
    /// that are absent there, such as `__SHARDINGKEY`, are free.
    pub const SYSTEM: &[&str] = &[
        TRACE_ON,
        MSG_REGION,
        KEYS,
        TAGS,
        WAIT,
        DELAY,
        RETRY_TOPIC,
        REAL_TOPIC,
        REAL_QID,
        TRAN_MSG,
        PGROUP,
        MIN_OFFSET,
        MAX_OFFSET,
        BUYER_ID,
        ORIGIN_MESSAGE_ID,
        TRANSFER_FLAG,
        CORRECTION_FLAG,
        MQ2_FLAG,
        RECONSUME_TIME,
        UNIQ_KEY,
        MAX_RECONSUME_TIMES,
        CONSUME_START_TIME,
        POP_CK,
        POP_CK_OFFSET,
        FIRST_POP_TIME,
        TRAN_PREPARED_QUEUE_OFFSET,
        DUP_INFO,
        EXTEND_UNIQ_INFO,
        INSTANCE_ID,
        CORRELATION_ID,
        REPLY_TO_CLIENT,
        TTL,
        ARRIVE_TIME,
        PUSH_REPLY_TIME,
        CLUSTER,
        MSG_TYPE,
        INNER_MULTI_QUEUE_OFFSET,
        TIMER_DELAY_MS,
        TIMER_DELAY_SEC,
        TIMER_DELIVER_MS,
        TIMER_ENQUEUE_MS,
        TIMER_DEQUEUE_MS,
        TIMER_ROLL_TIMES,
        TIMER_OUT_MS,
        TIMER_DEL_UNIQKEY,
        TIMER_DELAY_LEVEL,
        BORN_HOST,
        BORN_TIMESTAMP,
        DLQ_ORIGIN_TOPIC,
        DLQ_ORIGIN_MESSAGE_ID,
        CRC32,
    ];
    /// Delivery time of commercial clients; only tells message types apart.
    pub const START_DELIVER_TIME: &str = "__STARTDELIVERTIME";
    /// Properties with this prefix are never stored.
    pub const TRANSIENT_PREFIX: &str = "__RMQ.TRANSIENT.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_apaches_parser_hold() {
        let read = |text| pairs(text).collect::<Vec<_>>();
        assert_eq!(read("a\u{1}b\u{2}c\u{1}d"), [("a", "b"), ("c", "d")]);
        assert_eq!(read("a\u{1}b\u{1}c\u{2}"), [("a", "b\u{1}c")]);
        assert_eq!(read("\u{1}b\u{2}a\u{1}\u{2}ab\u{2}\u{2}x\u{1}y"), [("x", "y")]);
        assert_eq!(read("long enough a name\u{1}a value of é属性\u{2}"), [("long enough a name", "a value of é属性")]);
        assert_eq!(read("\0a\0\0b\0\u{1}v\0\u{2}\0\0"), [("\0a\0\0b\0", "v\0")]);
        assert_eq!(find("a\u{1}b\u{2}a\u{1}c\u{2}", "a"), Some("c"));
        assert_eq!(find("ab\u{1}b\u{2}a\u{1}c", "a"), Some("c"));
        assert_eq!(find("a\u{1}\u{2}a\u{2}\u{1}a\u{2}b\u{1}a\u{1}a", "a"), None);
        assert_eq!(find("a\u{1}b\u{1}c\u{2}a\u{1}\u{2}", "a"), Some("b\u{1}c"));
        assert_eq!(
            Properties::parse("a\u{1}b\u{2}c\u{1}d\u{2}a\u{1}e").iter().collect::<Vec<_>>(),
            [("a", "e"), ("c", "d")]
        );
    }

    #[test]
    fn hashes_are_javas() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash("UNIQ_KEY"), 488471169);
        assert_eq!(java_hash("中"), 0x4E2D);
        assert_eq!(java_hash("😀"), 0xD83D * 31 + 0xDE00);
    }

    #[test]
    fn hashes_of_any_length_are_javas_and_go_on_anywhere() {
        let one_by_one = |text: &str| {
            text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
        };
        let text =
            "\u{7f}AC1100021F2218B4AAC2~\u{1}\0 paid# 属性 order-42 \u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}\u{7f} é";
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let part = &text[..end];
            assert_eq!(java_hash(part), one_by_one(part));
            for (before, after) in (0..=end).filter_map(|at| part.split_at_checked(at)) {
                assert_eq!(java_hash_behind(java_hash(before), after.as_bytes()), Some(one_by_one(part)));
            }
        }
        assert_eq!(java_hash_behind(0, b"eight or more\xff"), None);
        assert_eq!(java_hash_behind(0, b"\x80"), None);
    }

    #[test]
    fn tables_double_above_three_quarters() {
        assert_eq!(Table::Parsed.buckets(96), 128);
        assert_eq!(Table::Parsed.buckets(97), 256);
        assert_eq!(Table::Fresh.buckets(12), 16);
        assert_eq!(Table::Fresh.buckets(13), 32);
    }

    #[test]
    fn many_names_are_told_apart_as_few_are() {
        let text: String = (0..200).map(|at| format!("n{}\u{1}{at}\u{2}", at % 100)).collect();
        let properties = Properties::parse(&text);
        assert_eq!((properties.len(), properties.get("n7")), (100, Some("107")));
    }
}
