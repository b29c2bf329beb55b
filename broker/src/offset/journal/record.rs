//! What is appended to an epoch's names: which slot belongs to which queue of which group, and what was forgotten.
//!
//! Each record has a check that only this epoch's records pass, so a torn end, or a page that never reached the disk,
//! ends the list. All numbers are little endian.

const HEAD: usize = 28;
/// Names longer than this together are not journalled.
const NAMES_MAX: usize = 16 << 10;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A slot is this queue's from now on; `number` is the key of its values.
    Assign = 1,
    /// Everything about the group in the topic is gone.
    Forget = 2,
    /// A reset mark at offset `number`.
    Mark = 3,
    /// The reset mark was taken.
    Unmark = 4,
    /// The list goes on in the next file.
    Skip = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Assign, Self::Forget, Self::Mark, Self::Unmark, Self::Skip].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    pub(super) slot: u32,
    pub(super) queue_id: i32,
    pub(super) number: u64,
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
}

impl<'a> Record<'a> {
    /// A record about a group in a topic.
    pub(super) fn new(kind: Kind, group: &'a str, topic: &'a str, queue_id: i32) -> Self {
        Self { kind, slot: 0, queue_id, number: 0, group, topic }
    }

    /// The record as bytes: whole words, at least [`HEAD`]. `None` when the names are too long.
    pub(super) fn encode(&self, nonce: u64, out: &mut Vec<u8>) -> Option<()> {
        out.clear();
        let names = self.group.len() + self.topic.len();
        if names > NAMES_MAX {
            return None;
        }
        let words = u16::try_from((HEAD + names).div_ceil(4)).ok()?;
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&words.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, 0]);
        out.extend_from_slice(&self.slot.to_le_bytes());
        out.extend_from_slice(&self.queue_id.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&u16::try_from(self.group.len()).ok()?.to_le_bytes());
        out.extend_from_slice(&u16::try_from(self.topic.len()).ok()?.to_le_bytes());
        out.extend_from_slice(self.group.as_bytes());
        out.extend_from_slice(self.topic.as_bytes());
        out.resize(usize::from(words) * 4, 0);
        let check = check(nonce, out.get(4..)?);
        out.get_mut(..4)?.copy_from_slice(&check.to_le_bytes());
        Some(())
    }

    /// Bytes of the shortest record: what must be left in a file for the list to go on there.
    pub(super) const SHORTEST: usize = HEAD;

    /// Length of the record that begins with `head`, in bytes; `None` when none begins there.
    pub(super) fn len(head: &[u8]) -> Option<usize> {
        let words = u16::from_le_bytes(*head.get(4..)?.first_chunk::<2>()?);
        Some(usize::from(words) * 4).filter(|len| *len >= HEAD)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(bytes: &'a [u8], nonce: u64) -> Option<Self> {
        let (stored, content) = bytes.split_first_chunk::<4>()?;
        if check(nonce, content) != u32::from_le_bytes(*stored) {
            return None;
        }
        let kind = Kind::of(*content.get(2)?)?;
        let slot = u32::from_le_bytes(*content.get(4..)?.first_chunk()?);
        let queue_id = i32::from_le_bytes(*content.get(8..)?.first_chunk()?);
        let number = u64::from_le_bytes(*content.get(12..)?.first_chunk()?);
        let group_len = usize::from(u16::from_le_bytes(*content.get(20..)?.first_chunk()?));
        let topic_len = usize::from(u16::from_le_bytes(*content.get(22..)?.first_chunk()?));
        let (group, rest) = content.get(24..)?.split_at_checked(group_len)?;
        let topic = rest.get(..topic_len)?;
        let (group, topic) = (std::str::from_utf8(group).ok()?, std::str::from_utf8(topic).ok()?);
        Some(Self { kind, slot, queue_id, number, group, topic })
    }
}

fn check(nonce: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&nonce.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_by_its_own_epoch_only() {
        let record = Record { slot: 7, number: 99, ..Record::new(Kind::Assign, "billing", "paid", -3) };
        let mut bytes = Vec::new();
        record.encode(5, &mut bytes).unwrap();
        assert_eq!((bytes.len() % 4, Record::len(&bytes)), (0, Some(bytes.len())));
        assert_eq!(Record::decode(&bytes, 5), Some(record));
        assert_eq!(Record::decode(&bytes, 6), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(Record::decode(&damaged, 5), None);
        }
        assert_eq!(Record::new(Kind::Forget, &"g".repeat(NAMES_MAX), "t", 0).encode(5, &mut bytes), None);
    }
}
