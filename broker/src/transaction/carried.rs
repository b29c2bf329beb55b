//! What an undecided message takes along when it is appended again because its log file is to go.
//!
//! The copy has the property `TENON_CARRIED`, for the record that it stands for will be gone:
//!
//! ```text
//! 1;<stored first>;<checks>;<asked last>;<o, or c for a copy of Apache's checker>;<half offset>@<log offset>,…
//! ```
//!
//! The places are those of the records before it, oldest first: under any of them its producer may still decide it.
//! Apache's checker copies properties as they are and counts up `TRANSACTION_CHECK_TIMES`, which is how such a copy of
//! a copy is told from ours.

use std::fmt::Write;

use smallvec::SmallVec;

/// The property.
pub(super) const CARRIED: &str = "TENON_CARRIED";

/// Places that are remembered: the first one, and the last ones.
const PLACES: usize = 8;

/// Half-queue offset and commit-log offset of a record.
pub(super) type Place = (i64, u64);

/// See the module. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carried {
    /// When the first record was stored.
    pub(super) stored_at: i64,
    /// Checks sent until then.
    pub(super) checks: u16,
    /// When it was asked about last; 0 if never.
    pub(super) asked_at: i64,
    /// Whether Apache's checker had copied it before.
    pub(super) of_copy: bool,
    /// The records before this one, oldest first.
    pub(super) places: SmallVec<[Place; 1]>,
}

impl Carried {
    /// Reads the property.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ';');
        if parts.next()? != "1" {
            return None;
        }
        let stored_at = parts.next()?.parse().ok()?;
        let checks = parts.next()?.parse().ok()?;
        let asked_at = parts.next()?.parse().ok()?;
        let of_copy = parts.next()? == "c";
        let place = |text: &str| {
            let (offset, log_offset) = text.split_once('@')?;
            Some((offset.parse().ok()?, log_offset.parse().ok()?))
        };
        let places: Option<SmallVec<_>> = parts.next()?.split(',').map(place).collect();
        places.map(|places| Self { stored_at, checks, asked_at, of_copy, places })
    }

    /// The value of the property.
    pub(super) fn encode(&self) -> String {
        let kind = if self.of_copy { 'c' } else { 'o' };
        let mut text = format!("1;{};{};{};{kind};", self.stored_at, self.checks, self.asked_at);
        for (n, (offset, log_offset)) in self.places.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let _ = write!(text, "{comma}{offset}@{log_offset}"); // a String takes everything
        }
        text
    }

    /// Half-queue offsets of the records before this one.
    pub(super) fn offsets(&self) -> SmallVec<[i64; 1]> {
        self.places.iter().map(|(offset, _)| *offset).collect()
    }
}

/// Adds what came last to a list of records; in a long one the second oldest makes room.
pub(super) fn add_place<T>(places: &mut SmallVec<[T; 1]>, last: T) {
    if places.len() >= PLACES {
        places.remove(1);
    }
    places.push(last);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_property_is_read_as_it_was_written() {
        let mut carried =
            Carried { stored_at: 1_800, checks: 3, asked_at: 1_900, of_copy: false, places: SmallVec::new() };
        for n in 0..20 {
            add_place(&mut carried.places, (n, n.unsigned_abs() * 100));
            assert_eq!(Carried::parse(&carried.encode()), Some(carried.clone()));
        }
        assert_eq!(carried.offsets().to_vec(), [0, 13, 14, 15, 16, 17, 18, 19]);
        assert_eq!(carried.encode().split(';').take(5).collect::<Vec<_>>(), ["1", "1800", "3", "1900", "o"]);
    }

    #[test]
    fn nonsense_is_no_such_property() {
        for text in ["", "1", "2;1;1;1;o;1@1", "1;1;1;1;o;", "1;1;1;1;o;1", "1;x;1;1;o;1@1", "1;1;1;1;o;1@1,"] {
            assert_eq!(Carried::parse(text), None, "{text}");
        }
    }
}
