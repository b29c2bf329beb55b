//! Places of groups in the bit maps that Apache keeps in extension files (`enableCalcFilterBitMap`).
//!
//! We write the places into `consumerFilter.json`, so that Apache takes the file over; bit maps themselves are neither
//! written nor used.

use tenonmq_protocol::body::BloomFilterData;

/// How many places a group has, and among how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bloom {
    places: i32,
    bits: i32,
}

impl Bloom {
    /// For so many groups and a rate of errors in percent (`expectConsumerNumUseFilter`, `maxErrorRateOfBloomFilter`).
    pub(super) fn new(error_percent: u32, groups: u32) -> Self {
        let rate = f64::from(error_percent.clamp(1, 99)) / 100.0;
        let log = |base: f64, of: f64| of.ln() / base.ln();
        let places = log(0.5, rate).ceil() as i32;
        let bits = (f64::from(groups.max(1)) * log(2.0, 1.0 / rate) * log(2.0, std::f64::consts::E)).ceil();
        Self { places, bits: (8.0 * (bits / 8.0).ceil()) as i32 }
    }

    /// The places of a group that filters a topic.
    pub(super) fn of(self, group: &str, topic: &str) -> BloomFilterData {
        let hash = murmur3_low(format!("{group}#{topic}").as_bytes());
        let (low, high) = (hash as i32, (hash >> 32) as i32);
        let place = |at: i32| {
            let mixed = low.wrapping_add(at.wrapping_mul(high));
            (if mixed < 0 { !mixed } else { mixed }) % self.bits
        };
        BloomFilterData { bit_num: self.bits, bit_pos: (1..=self.places).map(place).collect() }
    }

    /// Whether places were given out under these settings.
    pub(super) fn gave(self, data: Option<&BloomFilterData>) -> bool {
        data.is_some_and(|data| data.bit_num == self.bits && data.bit_pos.len() == self.places as usize)
    }
}

/// The first half of MurmurHash3 x64 128 with seed 0.
fn murmur3_low(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87C3_7B91_1142_53D5;
    const C2: u64 = 0x4CF5_AD43_2745_937F;
    let first = |word: u64| word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let second = |word: u64| word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let finish = |mut hash: u64| {
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        hash ^ (hash >> 33)
    };
    let (mut one, mut two) = (0_u64, 0_u64);
    let (blocks, rest) = bytes.as_chunks::<16>();
    for block in blocks {
        let block = u128::from_le_bytes(*block);
        one = (one ^ first(block as u64)).rotate_left(27).wrapping_add(two);
        one = one.wrapping_mul(5).wrapping_add(0x52DC_E729);
        two = (two ^ second((block >> 64) as u64)).rotate_left(31).wrapping_add(one);
        two = two.wrapping_mul(5).wrapping_add(0x3849_5AB5);
    }
    let mut last = [0; 16];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let last = u128::from_le_bytes(last);
    two ^= second((last >> 64) as u64);
    one ^= first(last as u64);
    one ^= bytes.len() as u64;
    two ^= bytes.len() as u64;
    one = one.wrapping_add(two);
    two = two.wrapping_add(one);
    finish(one).wrapping_add(finish(two))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_those_that_apache_gives() {
        let bloom = Bloom::new(20, 32);
        assert_eq!(bloom.of("CG_sql", "T_sql"), BloomFilterData { bit_num: 112, bit_pos: vec![66, 7, 60] });
        assert!(bloom.gave(Some(&bloom.of("billing", "a topic with more than sixteen bytes"))));
        assert!(!Bloom::new(10, 32).gave(Some(&bloom.of("CG_sql", "T_sql"))));
        assert!(!bloom.gave(None));
    }

    #[test]
    fn the_hash_is_murmur3() {
        assert_eq!(murmur3_low(b""), 0);
        assert_eq!(murmur3_low(b"hello"), 0xCBD8_A7B3_41BD_9B02);
        assert_eq!(murmur3_low(b"The quick brown fox jumps over the lazy dog"), 0xE34B_BC7B_BC07_1B6C);
    }
}
