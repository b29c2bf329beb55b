//! The fixed-size entries of a consume queue.
//!
//! An ordinary queue holds [`Entry`]s of 20 bytes; a queue of a BatchCQ topic holds [`BatchEntry`]s of 46 bytes. All
//! numbers are big-endian. A region that was never written is all zeros and decodes to `None`.

/// Tags codes at or below this are no tags codes but addresses of units in `consumequeue_ext`.
const MAX_EXT_ADDRESS: i64 = i32::MIN as i64 - 1;

/// Where one message of a queue lies in the commit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// First byte of the record in the commit log.
    pub physical_offset: u64,
    /// Length of the record in bytes, at most `i32::MAX`.
    pub size: u32,
    /// Java hash of the message's tags, 0 without tags; the time of delivery for `SCHEDULE_TOPIC_XXXX`.
    pub tags_code: i64,
}

impl Entry {
    /// Length of an encoded entry in bytes.
    pub const LEN: usize = 20;
    /// The same in 32-bit words.
    pub(crate) const WORDS: usize = Self::LEN / 4;

    /// What fills the places before the first message of a queue that does not start at a file's beginning.
    pub const BLANK: Self = Self { physical_offset: 0, size: i32::MAX as u32, tags_code: 0 };

    /// First byte of the log that is not part of the record.
    pub fn end(&self) -> u64 {
        self.physical_offset + u64::from(self.size)
    }

    /// True for the filler that stands for no message.
    pub fn is_blank(&self) -> bool {
        *self == Self::BLANK
    }

    /// Address of the unit in the queue's ext file that holds the real tags code, or `None` when it is stored here.
    pub fn ext_address(&self) -> Option<u64> {
        (self.tags_code <= MAX_EXT_ADDRESS).then(|| self.tags_code.wrapping_sub(i64::MIN).cast_unsigned())
    }

    /// The five words of the entry, in file order, each as a number.
    pub(crate) fn to_words(self) -> [u32; Self::WORDS] {
        let offset = self.physical_offset;
        let tags = self.tags_code.cast_unsigned();
        [high(offset), low(offset), self.size, high(tags), low(tags)]
    }

    /// Reads five words; `None` ends the data of a queue (size 0 or a sign bit where none can be).
    pub(crate) fn from_words(words: [u32; Self::WORDS]) -> Option<Self> {
        let [offset_high, offset_low, size, tags_high, tags_low] = words;
        let valid = offset_high <= i32::MAX as u32 && (1..=i32::MAX as u32).contains(&size);
        valid.then(|| Self {
            physical_offset: join(offset_high, offset_low),
            size,
            tags_code: join(tags_high, tags_low).cast_signed(),
        })
    }

    /// Encodes to the bytes of the file.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        for (chunk, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.to_words()) {
            *chunk = word.to_be_bytes();
        }
        bytes
    }

    /// Decodes the bytes of the file; `None` when they end the data of a queue.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let mut words = [0; Self::WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_be_bytes(*chunk);
        }
        Self::from_words(words)
    }
}

/// Where one batch of a BatchCQ queue lies in the commit log. A single message is a batch of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchEntry {
    /// Record, size and tags code (0 for a real batch: the tags are those of its elements).
    pub entry: Entry,
    /// Store time of the record in milliseconds since the Unix epoch.
    pub store_timestamp: i64,
    /// Queue offset of the first message of the batch.
    pub base_offset: i64,
    /// Number of messages in the batch, 1 to `i16::MAX`.
    pub batch_size: u16,
}

impl BatchEntry {
    /// Length of an encoded entry in bytes.
    pub const LEN: usize = 46;
    /// The field that only compacted topics use.
    const NO_COMPACT_OFFSET: i32 = -1;

    /// Queue offset behind the last message of the batch.
    pub fn end_offset(&self) -> i64 {
        self.base_offset + i64::from(self.batch_size)
    }

    /// Encodes to the bytes of the file.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..20].copy_from_slice(&self.entry.to_bytes());
        bytes[20..28].copy_from_slice(&self.store_timestamp.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[36..38].copy_from_slice(&self.batch_size.to_be_bytes());
        bytes[38..42].copy_from_slice(&Self::NO_COMPACT_OFFSET.to_be_bytes());
        bytes
    }

    /// Decodes the bytes of the file; `None` when they end the data of a queue.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (entry, rest) = bytes.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (base, rest) = rest.split_first_chunk()?;
        let (count, _) = rest.split_first_chunk()?;
        let base_offset = i64::from_be_bytes(*base);
        let batch_size = u16::try_from(i16::from_be_bytes(*count)).ok()?;
        let entry = Entry::from_bytes(entry)?;
        (base_offset >= 0 && batch_size > 0).then(|| Self {
            entry,
            store_timestamp: i64::from_be_bytes(*time),
            base_offset,
            batch_size,
        })
    }
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

fn low(value: u64) -> u32 {
    value as u32
}

fn join(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_bytes_of_the_reference() {
        let entry = Entry { physical_offset: 277_889, size: 435, tags_code: 97_285 };
        let bytes = [0, 0, 0, 0, 0, 4, 0x3d, 0x81, 0, 0, 1, 0xb3, 0, 0, 0, 0, 0, 1, 0x7c, 0x05];
        assert_eq!(entry.to_bytes(), bytes);
        assert_eq!(Entry::from_bytes(&bytes), Some(entry));
    }

    #[test]
    fn zeros_and_signs_where_none_can_be_end_the_data() {
        assert_eq!(Entry::from_bytes(&[0; 20]), None);
        let with_offset = |physical_offset| Entry { physical_offset, size: 1, tags_code: 0 }.to_bytes();
        assert!(Entry::from_bytes(&with_offset(i64::MAX as u64)).is_some());
        assert_eq!(Entry::from_bytes(&with_offset(1 << 63)), None);
        let with_size = |size| Entry { physical_offset: 0, size, tags_code: 0 }.to_bytes();
        assert_eq!(Entry::from_bytes(&with_size(u32::MAX)), None);
        assert!(Entry::from_bytes(&Entry::BLANK.to_bytes()).is_some_and(|entry| entry.is_blank()));
    }

    #[test]
    fn the_smallest_tags_code_is_the_first_ext_address() {
        let with_tags = |tags_code| Entry { physical_offset: 0, size: 1, tags_code };
        assert_eq!(with_tags(i64::MIN).ext_address(), Some(0));
        assert_eq!(with_tags(i64::MIN + 40).ext_address(), Some(40));
        assert_eq!(with_tags(-2_147_483_649).ext_address(), Some((1 << 63) - 2_147_483_649));
        assert_eq!(with_tags(i64::from(i32::MIN)).ext_address(), None);
        assert_eq!(with_tags(1_795_247_758_534).ext_address(), None);
    }

    #[test]
    fn a_batch_entry_without_messages_ends_the_data() {
        let entry = Entry { physical_offset: 254_170, size: 636, tags_code: 0 };
        let batch = BatchEntry { entry, store_timestamp: 1_795_247_673_054, base_offset: 0, batch_size: 3 };
        let mut bytes = batch.to_bytes();
        assert_eq!(BatchEntry::from_bytes(&bytes), Some(batch));
        assert_eq!(bytes[38..], [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        bytes[36..38].fill(0);
        assert_eq!(BatchEntry::from_bytes(&bytes), None);
    }
}
