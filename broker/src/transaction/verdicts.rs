//! What became of recent half messages: two bits each, over a sliding window of half-queue offsets.
//!
//! A pending message has an entry of its own; this window is what remains of it once it is decided, so that a repeated
//! decision is known as a repeat and a contradiction as one, long after. Memory grows with the first messages, up to a
//! fixed size.

/// Half-queue offsets that the window spans. A power of two; 8 Mi offsets take 2 MiB.
pub const WINDOW: i64 = 8 << 20;

const PER_WORD: i64 = 32;
const WORDS: usize = (WINDOW / PER_WORD) as usize;

/// How one half message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Its visible copy is in its real topic.
    Committed,
    /// It will never be seen.
    RolledBack,
    /// It was checked to no avail and lies in `TRANS_CHECK_MAX_TIME_TOPIC`.
    Parked,
}

impl Verdict {
    /// The word for lists, remarks and the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack => "rolled back",
            Self::Parked => "parked",
        }
    }

    /// What brings it about.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Committed => "commit",
            Self::RolledBack => "rollback",
            Self::Parked => "park",
        }
    }

    fn bits(self) -> u64 {
        match self {
            Self::Committed => 1,
            Self::RolledBack => 2,
            Self::Parked => 3,
        }
    }

    fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            1 => Some(Self::Committed),
            2 => Some(Self::RolledBack),
            3 => Some(Self::Parked),
            _ => None,
        }
    }
}

/// The window. Offsets below it, and offsets decided before this process began, have no verdict here.
///
/// Invariant: every word holds only bits of offsets in `end - WINDOW .. end`, rounded to whole words.
#[derive(Debug)]
pub(super) struct Verdicts {
    words: Vec<u64>,
    end: i64,
}

impl Verdicts {
    /// A window that knows nothing and ends before `end`.
    pub(super) fn new(end: i64) -> Self {
        Self { words: Vec::new(), end: end.max(0) }
    }

    /// Moves the end of the window past `offset`, forgetting what falls out at the other side.
    pub(super) fn cover(&mut self, offset: i64) {
        if offset < self.end {
            return;
        }
        let first_new = self.end.div_euclid(PER_WORD) + i64::from(self.end.rem_euclid(PER_WORD) != 0);
        let last_new = offset.div_euclid(PER_WORD);
        self.make_room(last_new);
        if last_new - first_new >= WORDS as i64 {
            self.words.fill(0);
        } else {
            for word in first_new..=last_new {
                if let Some(word) = self.words.get_mut(word.rem_euclid(WORDS as i64) as usize) {
                    *word = 0;
                }
            }
        }
        self.end = offset + 1;
    }

    /// Makes the words for everything up to the word `last`, if it is not all there yet.
    fn make_room(&mut self, last: i64) {
        let needed = usize::try_from(last).map_or(WORDS, |last| WORDS.min(last.saturating_add(1)));
        if self.words.len() < needed {
            self.words.resize(needed.max(self.words.len() * 2).min(WORDS), 0);
        }
    }

    /// The verdict on `offset`, if the window still knows it.
    pub(super) fn get(&self, offset: i64) -> Option<Verdict> {
        let (word, shift) = self.place(offset)?;
        Verdict::from_bits(self.words.get(word)? >> shift & 3)
    }

    /// Notes the verdict on `offset`; offsets outside the window are ignored.
    pub(super) fn set(&mut self, offset: i64, verdict: Verdict) {
        let Some((word, shift)) = self.place(offset) else { return };
        if let Some(word) = self.words.get_mut(word) {
            *word = *word & !(3 << shift) | verdict.bits() << shift;
        }
    }

    fn place(&self, offset: i64) -> Option<(usize, u32)> {
        // one word less than the whole window: the oldest word may already hold newer offsets
        let known = offset >= 0 && offset < self.end && offset >= self.end - (WINDOW - PER_WORD);
        known.then(|| {
            let word = offset.div_euclid(PER_WORD).rem_euclid(WORDS as i64) as usize;
            (word, (offset.rem_euclid(PER_WORD) * 2) as u32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_remembered_until_the_window_has_moved_past_it() {
        let mut verdicts = Verdicts::new(0);
        verdicts.cover(40);
        verdicts.set(7, Verdict::Committed);
        verdicts.set(8, Verdict::RolledBack);
        verdicts.set(9, Verdict::Parked);
        assert_eq!(verdicts.get(6), None);
        assert_eq!(verdicts.get(7), Some(Verdict::Committed));
        assert_eq!(verdicts.get(8), Some(Verdict::RolledBack));
        assert_eq!(verdicts.get(9), Some(Verdict::Parked));
        verdicts.cover(WINDOW - 100);
        assert_eq!(verdicts.get(7), Some(Verdict::Committed));
        verdicts.cover(WINDOW + 7);
        assert_eq!(verdicts.get(7), None);
        assert_eq!(verdicts.get(WINDOW + 7), None, "the place of a forgotten offset is clean for the new one");
    }

    #[test]
    fn a_jump_over_the_whole_window_forgets_everything() {
        let mut verdicts = Verdicts::new(0);
        verdicts.cover(31);
        (0..32).for_each(|offset| verdicts.set(offset, Verdict::Committed));
        verdicts.cover(5 * WINDOW);
        assert!((5 * WINDOW - 64..=5 * WINDOW).all(|offset| verdicts.get(offset).is_none()));
    }

    #[test]
    fn an_offset_that_was_never_covered_has_no_verdict() {
        let mut verdicts = Verdicts::new(1_000_000);
        verdicts.set(1_000_000, Verdict::Committed);
        verdicts.set(-1, Verdict::Committed);
        assert_eq!(verdicts.get(1_000_000), None);
        assert_eq!(verdicts.get(-1), None);
    }
}
