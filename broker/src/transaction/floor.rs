//! How far the offsets of `CID_RMQ_SYS_TRANS` may go: never past an undecided half message.
//!
//! Whoever opens the directory next, Apache's broker included, looks at half messages from the saved half offset on, and
//! at op records from the saved op offset on. So the half offset must not pass the oldest undecided message, and the op
//! offset must not pass an op record that names a half message at or above the half offset.

use std::collections::{BTreeSet, VecDeque};

/// Marks kept between the oldest undecided message and now; beyond that every second one is dropped.
const MARKS: usize = 1024;

/// Offsets that are safe to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SafeOffsets {
    /// Next offset to look at in the half queue.
    pub half: i64,
    /// Next offset to look at in the op queue.
    pub op: i64,
}

/// Op records below `op` name only half messages below `half`.
#[derive(Debug, Clone, Copy)]
struct Mark {
    half: i64,
    op: i64,
}

/// Follows the half queue as its messages become known, in whatever order they do.
#[derive(Debug)]
pub(super) struct Floor {
    /// Every half message below is known.
    frontier: i64,
    /// Known half messages above the frontier: appended by others while one before them is still on its way here.
    ahead: BTreeSet<i64>,
    marks: VecDeque<Mark>,
    /// Half messages between two marks: grows while an old message stays undecided.
    spacing: i64,
    last: Mark,
}

impl Floor {
    /// Starts at saved offsets.
    pub(super) fn new(start: SafeOffsets) -> Self {
        let last = Mark { half: start.half, op: start.op };
        Self { frontier: start.half, ahead: BTreeSet::new(), marks: VecDeque::new(), spacing: 1, last }
    }

    /// The half message at `offset` is known from now on. False when it was known before.
    pub(super) fn know(&mut self, offset: i64) -> bool {
        if offset != self.frontier {
            return offset > self.frontier && self.ahead.insert(offset);
        }
        self.frontier += 1;
        while self.ahead.first() == Some(&self.frontier) {
            self.ahead.pop_first();
            self.frontier += 1;
        }
        true
    }

    /// Every half message below `offset` is known.
    pub(super) fn know_all_below(&mut self, offset: i64) {
        if offset > self.frontier {
            self.frontier = offset;
            self.ahead = self.ahead.split_off(&offset);
            while self.ahead.remove(&self.frontier) {
                self.frontier += 1;
            }
        }
    }

    /// All half messages below this one are known.
    pub(super) fn frontier(&self) -> i64 {
        self.frontier
    }

    /// First offset above all known half messages.
    pub(super) fn end(&self) -> i64 {
        self.ahead.last().map_or(self.frontier, |last| last + 1)
    }

    /// Offsets that may be saved now. `op_end` is the end of the op queue, read before this call; `oldest` the oldest
    /// half message that is undecided or being decided.
    pub(super) fn safe(&mut self, op_end: i64, oldest: Option<i64>) -> SafeOffsets {
        // an op record below `op_end` was appended after its half message became known, so it names one below `end()`
        let mark = Mark { half: self.end(), op: op_end };
        if self.marks.back().is_none_or(|newest| mark.half - newest.half >= self.spacing) {
            self.marks.push_back(mark);
        }
        if self.marks.len() > MARKS {
            self.spacing *= 2;
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        let half = oldest.map_or(self.frontier, |oldest| oldest.min(self.frontier));
        while let Some(mark) = self.marks.front().filter(|mark| mark.half <= half) {
            self.last = *mark;
            self.marks.pop_front();
        }
        if self.marks.is_empty() {
            self.spacing = 1;
        }
        if half == mark.half {
            self.last = mark; // nothing is undecided: all op records are done with
        }
        SafeOffsets { half, op: self.last.op }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_half_offset_waits_for_the_oldest_undecided_message_and_the_op_offset_with_it() {
        let mut floor = Floor::new(SafeOffsets::default());
        (0..10).for_each(|offset| assert!(floor.know(offset)));
        assert_eq!(floor.safe(0, Some(3)), SafeOffsets { half: 3, op: 0 });
        (10..20).for_each(|offset| assert!(floor.know(offset)));
        assert_eq!(floor.safe(9, Some(3)), SafeOffsets { half: 3, op: 0 });
        assert_eq!(floor.safe(19, Some(12)), SafeOffsets { half: 12, op: 0 }, "op 8 may name half message 12");
        assert_eq!(floor.safe(20, None), SafeOffsets { half: 20, op: 20 });
    }

    #[test]
    fn a_message_that_is_appended_and_not_yet_known_holds_the_offset_back() {
        let mut floor = Floor::new(SafeOffsets { half: 5, op: 2 });
        floor.know(6);
        floor.know(7);
        assert_eq!(floor.safe(4, None), SafeOffsets { half: 5, op: 2 });
        floor.know(5);
        assert_eq!(floor.frontier(), 8);
        assert_eq!(floor.safe(4, None), SafeOffsets { half: 8, op: 4 });
    }

    #[test]
    fn an_old_undecided_message_costs_a_bounded_number_of_marks() {
        let mut floor = Floor::new(SafeOffsets::default());
        for offset in 0..100_000 {
            floor.know(offset);
            assert_eq!(floor.safe(offset, Some(0)), SafeOffsets { half: 0, op: 0 });
        }
        assert!(floor.marks.len() <= MARKS);
        let late = floor.safe(100_000, Some(90_000));
        assert!(late.op <= 90_000 && late.op > 80_000, "{late:?}");
    }
}
