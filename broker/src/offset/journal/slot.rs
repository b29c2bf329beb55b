//! Where one queue's offset stands in the journal.
//!
//! A slot has two copies that are written in turn, each with a count and a check. A kill between two words leaves one
//! copy torn and the other whole. The check needs the key that the slot was assigned with: what a former owner of the
//! slot left, or a page that never reached the disk, is nobody's value.

/// Bytes of a slot.
pub(super) const SLOT: u64 = 2 * COPY as u64;
const COPY: usize = 16;
const NONE: u32 = u32::MAX;

/// A queue's place in the current epoch, if it has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    index: u32,
    count: u32,
    key: u64,
}

impl Default for Slot {
    fn default() -> Self {
        Self { index: NONE, count: 0, key: 0 }
    }
}

impl Slot {
    pub(super) fn new(index: u32, key: u64) -> Self {
        Self { index, count: 0, key }
    }

    /// Its number; `None` before the first commit of the epoch.
    pub(in crate::offset) fn index(&self) -> Option<u32> {
        (self.index != NONE).then_some(self.index)
    }

    /// The next value: where it goes, and its bytes.
    pub(super) fn next(&mut self, offset: i64) -> (u64, [u8; COPY]) {
        self.count = self.count.wrapping_add(1);
        let mut bytes = [0; COPY];
        let (number, rest) = bytes.split_at_mut(8);
        number.copy_from_slice(&offset.to_le_bytes());
        let (count, stored) = rest.split_at_mut(4);
        count.copy_from_slice(&self.count.to_le_bytes());
        stored.copy_from_slice(&check(self.key, self.count, offset).to_le_bytes());
        (u64::from(self.index) * SLOT + u64::from(self.count & 1) * COPY as u64, bytes)
    }
}

/// The newest whole value in a slot's bytes.
pub(super) fn value(bytes: &[u8], key: u64) -> Option<i64> {
    let (first, second) = bytes.split_at_checked(COPY)?;
    match (copy(first, key), copy(second, key)) {
        (Some((a, left)), Some((b, right))) => Some(if a.wrapping_sub(b).cast_signed() > 0 { left } else { right }),
        (left, right) => left.or(right).map(|(_, offset)| offset),
    }
}

fn copy(bytes: &[u8], key: u64) -> Option<(u32, i64)> {
    let offset = i64::from_le_bytes(*bytes.first_chunk()?);
    let count = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    let stored = u32::from_le_bytes(*bytes.get(12..)?.first_chunk()?);
    (stored == check(key, count, offset)).then_some((count, offset))
}

/// Never 0, so that empty bytes are no value.
fn check(key: u64, count: u32, offset: i64) -> u32 {
    let mixed = mix(mix(key ^ offset.cast_unsigned()).wrapping_add(u64::from(count)));
    (mixed >> 32) as u32 | 1
}

/// Spreads every bit of `x` over the whole word (the finish of `splitmix64`).
pub(super) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(slot: &mut Slot, bytes: &mut [u8; 32], offset: i64) {
        let (place, copy) = slot.next(offset);
        bytes[place as usize..place as usize + COPY].copy_from_slice(&copy);
    }

    #[test]
    fn the_last_value_counts_and_a_torn_one_leaves_the_one_before() {
        let (mut slot, mut bytes) = (Slot::new(0, 42), [0; 32]);
        assert_eq!(value(&bytes, 42), None);
        for offset in [7, 3, i64::MAX, -1, 100] {
            write(&mut slot, &mut bytes, offset);
            assert_eq!(value(&bytes, 42), Some(offset));
        }
        let whole = bytes;
        let (place, copy) = slot.next(101);
        for words in 0..4 {
            bytes = whole;
            bytes[place as usize..place as usize + words * 4].copy_from_slice(&copy[..words * 4]);
            assert_eq!(value(&bytes, 42), Some(100), "{words} words of the next value");
        }
    }

    #[test]
    fn what_a_former_owner_left_is_nobodys_value() {
        let (mut slot, mut bytes) = (Slot::new(0, 42), [0; 32]);
        write(&mut slot, &mut bytes, 7);
        write(&mut slot, &mut bytes, 8);
        assert_eq!(value(&bytes, 43), None);
        let mut next = Slot::new(0, 43);
        write(&mut next, &mut bytes, 5);
        assert_eq!(value(&bytes, 43), Some(5));
    }

    #[test]
    fn the_count_may_wrap() {
        let mut slot = Slot { index: 0, count: u32::MAX - 1, key: 1 };
        let mut bytes = [0; 32];
        for offset in 1..5 {
            write(&mut slot, &mut bytes, offset);
            assert_eq!(value(&bytes, 1), Some(offset));
        }
    }
}
