//! Popping in order: what one group holds of one queue, and when the queue is free again. No I/O, no clock.
//!
//! A queue is *blocked* while a message that was popped from it is neither acknowledged nor visible again. Only the same
//! attempt may ask once more: its answer was lost, and it gets the same messages. A queue goes on at its first message that is
//! not acknowledged. What follows it comes again too, acknowledged or not: of two messages in order, the later one has the
//! last word (upstream's `PopOrderlyIT` expects it). With `popOrderedSkipsAcknowledged` it does not. Upstream:
//! `ConsumerOrderInfoManager.OrderInfo`.

use std::collections::BTreeMap;

/// Most messages of one ordered pop: they are bits of a word.
pub const ORDER_MAX: usize = 64;

/// What a group holds of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// When it was popped, in milliseconds.
    pub pop_time: i64,
    /// How long it stays invisible, in milliseconds.
    pub invisible: i64,
    /// The messages, ascending.
    pub offsets: Vec<i64>,
    /// Messages with a time of their own at which they become visible again.
    pub visible_at: BTreeMap<i64, i64>,
    /// How often messages were popped before in vain; none for the first time.
    pub counts: BTreeMap<i64, i32>,
    /// When it was popped by the broker's clock.
    pub last_consumed: i64,
    /// Acknowledged messages, a bit each.
    pub acked: u64,
    /// The attempt that popped it.
    pub attempt: Option<Box<str>>,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acked {
    /// The group's offset may go here.
    Next(i64),
    /// It belongs to another pop; nothing happened.
    Other,
    /// No such message was popped.
    Unknown,
}

impl Order {
    /// Whether the queue is blocked for `attempt` at `now`.
    pub fn blocks(&self, attempt: Option<&str>, now: i64) -> bool {
        self.is_other_attempt(attempt) && self.open().any(|offset| now < self.visible(offset))
    }

    /// When the queue is free: the latest time at which a message of it becomes visible. `None` when it is free already.
    pub fn free_at(&self, now: i64) -> Option<i64> {
        self.open().map(|offset| self.visible(offset)).filter(|at| *at > now).max()
    }

    /// Whether a message was acknowledged and must not be given again.
    pub fn is_acked(&self, offset: i64) -> bool {
        self.offsets.binary_search(&offset).is_ok_and(|at| self.acked >> at & 1 == 1)
    }

    /// A message is done. Where the group's offset may go then.
    pub fn ack(&mut self, offset: i64, pop_time: i64) -> Acked {
        if self.offsets.is_empty() {
            return Acked::Unknown;
        }
        if pop_time != self.pop_time {
            return Acked::Other;
        }
        let Ok(at) = self.offsets.binary_search(&offset) else { return Acked::Unknown };
        self.acked |= 1 << at;
        Acked::Next(self.next())
    }

    /// The first message that is not acknowledged, or what follows the last one.
    pub fn next(&self) -> i64 {
        self.open().next().or(self.offsets.last().map(|last| last + 1)).unwrap_or(0)
    }

    /// Gives a message a time of its own. False, and nothing done, when it belongs to another pop.
    pub fn show_at(&mut self, offset: i64, pop_time: i64, at: i64) -> bool {
        let own = pop_time == self.pop_time && self.offsets.binary_search(&offset).is_ok();
        if own {
            self.visible_at.insert(offset, at);
        }
        own
    }

    /// What the group holds after it popped once more, when `self` was what it held before. With `skips_acked`, what was
    /// acknowledged stays so.
    pub fn again(&self, mut popped: Self, skips_acked: bool) -> Self {
        let acked = popped.offsets.iter().zip(0u32..).filter(|(offset, _)| skips_acked && self.is_acked(**offset));
        popped.acked = acked.fold(0, |bits, (_, at)| bits | 1 << at);
        if self.attempt.is_some() && self.attempt == popped.attempt {
            popped.counts = self.counts.clone();
            return popped;
        }
        let again = popped.open().filter(|offset| self.offsets.binary_search(offset).is_ok());
        popped.counts = again.map(|offset| (offset, self.counts.get(&offset).map_or(1, |count| count + 1))).collect();
        popped
    }

    /// How often every message was popped before at least: 0 as soon as one is new.
    pub fn least_count(&self) -> i32 {
        self.open().map(|offset| self.counts.get(&offset).copied().unwrap_or(0)).min().unwrap_or(0)
    }

    /// Messages that are not acknowledged, ascending.
    pub fn open(&self) -> impl Iterator<Item = i64> + '_ {
        self.offsets.iter().zip(0u32..).filter(|(_, at)| self.acked >> at & 1 == 0).map(|(offset, _)| *offset)
    }

    fn visible(&self, offset: i64) -> i64 {
        self.visible_at.get(&offset).copied().unwrap_or(self.pop_time.saturating_add(self.invisible))
    }

    fn is_other_attempt(&self, attempt: Option<&str>) -> bool {
        self.attempt.is_none() || self.attempt.as_deref() != attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popped(offsets: &[i64], pop_time: i64, attempt: &str) -> Order {
        let attempt = Some(attempt.into());
        Order {
            pop_time,
            invisible: 100,
            offsets: offsets.to_vec(),
            last_consumed: pop_time,
            attempt,
            ..Order::default()
        }
    }

    #[test]
    fn a_queue_is_blocked_until_its_last_message_is_done_or_visible_again() {
        let mut order = popped(&[3, 4, 9], 1_000, "a");
        assert!(order.blocks(Some("b"), 1_099) && !order.blocks(Some("b"), 1_100));
        assert!(!order.blocks(Some("a"), 1_000), "the same attempt asks again");
        assert!(order.show_at(4, 1_000, 1_500) && !order.show_at(4, 999, 9_999) && !order.show_at(5, 1_000, 9_999));
        assert!(order.blocks(None, 1_499));
        assert_eq!(order.free_at(1_200), Some(1_500));
        assert_eq!(order.ack(4, 1_000), Acked::Next(3));
        assert!(!order.blocks(None, 1_200));
    }

    #[test]
    fn the_offset_goes_to_the_first_message_that_is_not_acknowledged() {
        let mut order = popped(&[3, 4, 9], 1_000, "a");
        assert_eq!(order.ack(4, 1_000), Acked::Next(3));
        assert_eq!(order.ack(4, 1_001), Acked::Other);
        assert_eq!(order.ack(5, 1_000), Acked::Unknown);
        assert_eq!(order.ack(3, 1_000), Acked::Next(9));
        assert_eq!(order.ack(9, 1_000), Acked::Next(10));
        assert_eq!(order.free_at(1_000), None);
    }

    #[test]
    fn a_message_that_was_acknowledged_stays_so_when_its_neighbours_come_again_if_that_is_wanted() {
        let mut first = popped(&[3, 4, 9], 1_000, "a");
        first.ack(9, 1_000);
        let all = first.again(popped(&[3, 4, 9, 10], 2_000, "b"), false);
        assert_eq!(all.open().collect::<Vec<_>>(), [3, 4, 9, 10], "the later message has the last word");
        let mut second = first.again(popped(&[3, 4, 9, 10], 2_000, "b"), true);
        assert_eq!(second.open().collect::<Vec<_>>(), [3, 4, 10]);
        assert_eq!(second.counts, BTreeMap::from([(3, 1), (4, 1)]));
        assert_eq!(second.least_count(), 0, "10 is new");
        assert_eq!(second.ack(3, 2_000), Acked::Next(4));
        let third = second.again(popped(&[4, 9, 10], 3_000, "c"), true);
        assert_eq!((third.counts, third.acked), (BTreeMap::from([(4, 2), (10, 1)]), 0b10));
    }

    #[test]
    fn an_attempt_that_asks_again_does_not_count() {
        let first = popped(&[3], 1_000, "a");
        let second = first.again(popped(&[3], 1_050, "a"), false);
        assert_eq!(second.counts, BTreeMap::new());
    }
}
